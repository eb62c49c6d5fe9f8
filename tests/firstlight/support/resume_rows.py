"""What Lightning and torch offer that shapes a training run: overrides of one row of the resume matrix each."""

PLAIN = "model=plain_finetuned"
CALLBACKS = "lightning.pytorch.callbacks"
SCHEDULERS = "torch.optim.lr_scheduler"


def add_callback(name: str, arguments: str = "", package: str = CALLBACKS) -> list[str]:
    """Return the overrides that add a callback."""
    return [f"+callbacks.more={{_target_: {package}.{name}{f', {arguments}' if arguments else ''}}}"]


def use_scheduler(name: str, arguments: str = "", package: str = SCHEDULERS) -> list[str]:
    """Return the overrides that replace the constant learning rate."""
    keys = dict(part.split(": ") for part in f"interval: step, {arguments}".strip(", ").split(", "))
    return [
        f"scheduler._target_={package}.{name}",
        "~scheduler.factor",
        *(f"{'' if key in ('interval', 'monitor') else '+'}scheduler.{key}={value}" for key, value in keys.items()),
    ]


def use_own(schedule: str, interval: str = "step", frequency: int = 1) -> list[str]:
    """Return the overrides that select a module with an optimizer and a scheduler of its own."""
    return [
        "model._target_=support.plain.finetuned.OwnScheduler",
        "~model.dropout",
        f"+model.schedule={schedule}",
        f"+model.interval={interval}",
        f"+model.frequency={frequency}",
    ]


MONITOR = "monitor: val/loss"
CALLBACK_ROWS = {
    "WeightAveraging": add_callback("WeightAveraging"),
    "EMAWeightAveraging": add_callback("EMAWeightAveraging", "decay: 0.9"),
    "EMA every 4 steps": add_callback("EMAWeightAveraging", "decay: 0.9, update_every_n_steps: 4"),
    "EMA from step 9": add_callback("EMAWeightAveraging", "decay: 0.9, update_starting_at_step: 9"),
    "EMA from epoch 1": add_callback(
        "EMAWeightAveraging", "decay: 0.9, update_every_n_steps: 0, update_starting_at_epoch: 1"
    ),
    "EMA without buffers": add_callback("EMAWeightAveraging", "decay: 0.9, use_buffers: false"),
    "EMA, accumulation": [*add_callback("EMAWeightAveraging", "decay: 0.9"), "trainer.accumulate_grad_batches=2"],
    "EMA, val_check_interval": [*add_callback("EMAWeightAveraging", "decay: 0.9"), "trainer.val_check_interval=3"],
    "StochasticWeightAveraging": add_callback("StochasticWeightAveraging", "swa_lrs: 0.01, swa_epoch_start: 2"),
    "StochasticWeightAveraging fraction": add_callback(
        "StochasticWeightAveraging", "swa_lrs: 0.01, swa_epoch_start: 0.5, annealing_strategy: linear"
    ),
    "StochasticWeightAveraging without batch norm": [
        "model=tiny_mlp",
        "model.batch_norm=false",
        *add_callback("StochasticWeightAveraging", "swa_lrs: 0.01, swa_epoch_start: 2"),
    ],
    "GradientAccumulationScheduler": add_callback("GradientAccumulationScheduler", "scheduling: {0: 1, 1: 3}"),
    "GradientAccumulationScheduler 4": add_callback("GradientAccumulationScheduler", "scheduling: {0: 4, 2: 1, 3: 2}"),
    "EarlyStopping": add_callback("EarlyStopping", f"{MONITOR}, patience: 1, min_delta: 0.05"),
    "EarlyStopping on validation": [
        *add_callback("EarlyStopping", f"{MONITOR}, patience: 3, min_delta: 0.5, check_on_train_epoch_end: false"),
        "trainer.val_check_interval=2",
    ],
    "EarlyStopping on training": add_callback(
        "EarlyStopping", "monitor: train/loss_epoch, patience: 1, min_delta: 0.05"
    ),
    "EarlyStopping, min_epochs": [
        *add_callback("EarlyStopping", f"{MONITOR}, patience: 1, min_delta: 9"),
        "+trainer.min_epochs=3",
    ],
    "EarlyStopping, min_steps": [
        *add_callback("EarlyStopping", f"{MONITOR}, patience: 1, min_delta: 9"),
        "+trainer.min_steps=15",
    ],
    "BackboneFinetuning": add_callback("BackboneFinetuning", "unfreeze_backbone_at_epoch: 1"),
    "BackboneFinetuning frozen batch norm": add_callback(
        "BackboneFinetuning", "unfreeze_backbone_at_epoch: 2, train_bn: false"
    ),
    "Timer": add_callback("Timer", "duration: '00:01:00:00'"),
    "LearningRateMonitor": add_callback("LearningRateMonitor", "log_momentum: true, log_weight_decay: true"),
    "DeviceStatsMonitor": add_callback("DeviceStatsMonitor", "cpu_stats: false"),
    "ModelSummary": add_callback("ModelSummary"),
    "RichModelSummary": add_callback("RichModelSummary"),
    "TQDMProgressBar": [*add_callback("TQDMProgressBar"), "+trainer.enable_progress_bar=true"],
    "RichProgressBar": [*add_callback("RichProgressBar"), "+trainer.enable_progress_bar=true"],
    "LambdaCallback": add_callback("LambdaCallback"),
    "OnExceptionCheckpoint": add_callback("OnExceptionCheckpoint", "dirpath: ${output_dir}/more"),
    "ModelCheckpoint": add_callback("ModelCheckpoint", f"{MONITOR}, dirpath: '${{output_dir}}/more', save_top_k: 2"),
    "ModelCheckpoint every 4 steps": add_callback(
        "ModelCheckpoint", "dirpath: '${output_dir}/more', every_n_train_steps: 4, save_top_k: -1"
    ),
    "ModelCheckpoint save_last": add_callback(
        "ModelCheckpoint", f"{MONITOR}, dirpath: '${{output_dir}}/more', save_last: true"
    ),
    "ModelCheckpoint after validation": [
        *add_callback("ModelCheckpoint", f"{MONITOR}, dirpath: '${{output_dir}}/more', save_on_train_epoch_end: false"),
        "trainer.val_check_interval=2",
    ],
    "BestCheckpoint top 3": ["callbacks.best.save_top_k=3"],
    "BestCheckpoint on training": ["callbacks.best.monitor=train/loss_epoch"],
}
# Resuming them is rejected. Lightning 2.6's SpikeDetection cannot run at all: it lacks attributes.
REJECTED_ROWS = {
    "ModelPruning": add_callback("ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2"),
    "ModelPruning lottery ticket": add_callback(
        "ModelPruning", "pruning_fn: l1_unstructured, amount: 0.2, use_lottery_ticket_hypothesis: true"
    ),
    "ModelPruning at validation": add_callback(
        "ModelPruning", "pruning_fn: random_unstructured, amount: 0.2, prune_on_train_epoch_end: false"
    ),
    "BatchSizeFinder": add_callback("BatchSizeFinder", "max_trials: 1, init_val: 4"),
    "LearningRateFinder": [*add_callback("LearningRateFinder", "num_training_steps: 8"), *use_own("lambda")],
}
CONFIG_SCHEDULER_ROWS = {
    "StepLR": use_scheduler("StepLR", "step_size: 3"),
    "StepLR epoch": use_scheduler("StepLR", "step_size: 2, interval: epoch"),
    "MultiStepLR": use_scheduler("MultiStepLR", "milestones: [3\\,8]").copy(),
    "ConstantLR": use_scheduler("ConstantLR", "factor: 0.3, total_iters: 10"),
    "LinearLR": use_scheduler("LinearLR", "total_iters: 15"),
    "ExponentialLR": use_scheduler("ExponentialLR", "gamma: 0.9"),
    "ExponentialLR epoch": use_scheduler("ExponentialLR", "gamma: 0.5, interval: epoch"),
    "PolynomialLR": use_scheduler("PolynomialLR", "total_iters: 20, power: 2"),
    "CosineAnnealingLR": use_scheduler("CosineAnnealingLR", "eta_min: 0.001"),
    "CosineAnnealingLR epoch": use_scheduler("CosineAnnealingLR", "eta_min: 0.001, interval: epoch"),
    "CosineAnnealingWarmRestarts": use_scheduler("CosineAnnealingWarmRestarts", "T_0: 5"),
    "CyclicLR": use_scheduler("CyclicLR", "base_lr: 0.01, cycle_momentum: false, step_size_up: 4"),
    "OneCycleLR": use_scheduler("OneCycleLR"),
    "ReduceLROnPlateau": use_scheduler(
        "ReduceLROnPlateau", "interval: epoch, monitor: val/loss, patience: 0, threshold: 0.5"
    ),
    "ReduceLROnPlateau step": use_scheduler("ReduceLROnPlateau", "monitor: train/loss, patience: 2"),
    "ReduceLROnPlateau on training": use_scheduler(
        "ReduceLROnPlateau", "interval: epoch, monitor: train/loss_epoch, patience: 0, threshold: 0.5"
    ),
    "SWALR": use_scheduler("SWALR", "swa_lr: 0.005, anneal_epochs: 9", "torch.optim.swa_utils"),
    "WarmupCosineLR": use_scheduler("WarmupCosineLR", "", "firstlight.model.lr_scheduler"),
}
OWN_SCHEDULER_ROWS = {
    f"own {name} {interval} {frequency}": use_own(name, interval, frequency)
    for name in ("lambda", "multiplicative", "sequential", "chained", "swa", "cycle")
    for interval, frequency in (("step", 1), ("epoch", 1), ("step", 4))
} | {"own plateau epoch 1": use_own("plateau", "epoch", 1), "own plateau epoch 2": use_own("plateau", "epoch", 2)}
ARGUMENT_ROWS = {
    "defaults": [],
    "overfit_batches=3": ["trainer.overfit_batches=3"],
    "overfit_batches=0.5": ["trainer.overfit_batches=0.5"],
    "limit_train_batches=5": ["trainer.limit_train_batches=5"],
    "limit_train_batches=0.7": ["trainer.limit_train_batches=0.7"],
    "limit_val_batches=1": ["trainer.limit_val_batches=1"],
    "limit_val_batches=0.5": ["trainer.limit_val_batches=0.5"],
    "limit_val_batches=0": ["trainer.limit_val_batches=0"],
    "limit_test_batches=1": ["trainer.limit_test_batches=1"],
    "limit_test_batches=0.5": ["trainer.limit_test_batches=0.5"],
    "val_check_interval=2": ["trainer.val_check_interval=2"],
    "val_check_interval=4": ["trainer.val_check_interval=4"],
    "val_check_interval=0.5": ["trainer.val_check_interval=0.5"],
    "val_check_interval=9 across epochs": ["trainer.val_check_interval=9", "trainer.check_val_every_n_epoch=null"],
    "check_val_every_n_epoch=2": ["trainer.check_val_every_n_epoch=2"],
    "check_val_every_n_epoch=3": ["trainer.check_val_every_n_epoch=3"],
    "accumulate_grad_batches=2": ["trainer.accumulate_grad_batches=2"],
    "accumulate_grad_batches=4": ["trainer.accumulate_grad_batches=4"],
    "accumulate 4, val_check_interval=2": ["trainer.accumulate_grad_batches=4", "trainer.val_check_interval=2"],
    "accumulate 2, val_check_interval=3": ["trainer.accumulate_grad_batches=2", "trainer.val_check_interval=3"],
    "reload_dataloaders_every_n_epochs=1": ["+trainer.reload_dataloaders_every_n_epochs=1"],
    "reload_dataloaders_every_n_epochs=2": ["+trainer.reload_dataloaders_every_n_epochs=2"],
    "min_epochs=2": ["+trainer.min_epochs=2"],
    "min_steps=20": ["+trainer.min_steps=20"],
    "max_steps=21": ["trainer.max_steps=21"],
    "max_steps=24": ["trainer.max_steps=24"],
    "max_steps=24, endless": ["trainer.max_steps=24", "trainer.max_epochs=-1"],
    "max_steps=11, accumulate 2": ["trainer.max_steps=11", "trainer.accumulate_grad_batches=2"],
    "max_time": ["trainer.max_time='00:01:00:00'"],
    "num_sanity_val_steps=1": ["+trainer.num_sanity_val_steps=1"],
    "num_sanity_val_steps=-1": ["+trainer.num_sanity_val_steps=-1"],
    "log_every_n_steps=5": ["trainer.log_every_n_steps=5"],
    "gradient_clip_val": ["trainer.gradient_clip_val=0.1"],
    "gradient_clip_algorithm": ["+trainer.gradient_clip_algorithm=value", "trainer.gradient_clip_val=0.01"],
    "every_n_train_steps=1": ["callbacks.last.every_n_train_steps=1"],
    "every_n_epochs=2": ["callbacks.last.every_n_epochs=2"],
    "inference_mode=false": ["+trainer.inference_mode=false"],
    "bf16-mixed": ["trainer.precision=bf16-mixed"],
    "num_workers=2": ["data.num_workers=2"],
    "drop_last=false": ["data.drop_last=false", "data.num_samples=22"],
    "balanced_sampler": ["data.balanced_sampler=true"],
}

# The training switches of configs/callbacks/default.yaml.
EMA = ["callbacks.ema.decay=0.9"]
STOPPING = ["callbacks.early_stopping.patience=1", "callbacks.early_stopping.min_delta=0.05"]
STOPPING += ["callbacks.early_stopping.monitor=val/loss"]
ACCUMULATION = ["callbacks.accumulation.scheduling={0:4,2:1,3:2}"]
UNFREEZING = ["callbacks.unfreezing.schedule={0:[network.5.*],1:[network.2.*],2:[network.*]}"]
SWITCH_ROWS = {
    "ema": EMA,
    "ema every 4 steps from step 9": [
        *EMA,
        "callbacks.ema.update_every_n_steps=4",
        "callbacks.ema.update_starting_at_step=9",
    ],
    "early_stopping": STOPPING,
    "early_stopping auto": ["callbacks.early_stopping.patience=2", "trainer.val_check_interval=2"],
    "accumulation": ACCUMULATION,
    "accumulation, cosine": [*ACCUMULATION, "scheduler=cosine"],
    "unfreezing": UNFREEZING,
    "unfreezing, momentum": [*UNFREEZING, "optimizer=sgd", "optimizer.lr=0.03"],
    "unfreezing, freeze": [*UNFREEZING, "freeze=[network.1.bias]"],
    "ema, accumulation, unfreezing": [*EMA, *ACCUMULATION, *UNFREEZING, "scheduler=cosine"],
    "all switches": [*EMA, *STOPPING, *ACCUMULATION, *UNFREEZING],
}
# A text model with dropout, whose adapters and head are trained.
LORA = ["model=text_classifier", "model.lora_rank=2", "model.lora_alpha=4", "model.lora_dropout=0.2"]
LORA += ["model.config_overrides={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2}"]
LORA_UNFREEZING = [
    "callbacks.unfreezing.schedule={0:[network.*classifier*],1:['*.lora_A.*'],2:['*.lora_B.*']}",
    "callbacks.early_stopping.patience=2",
    "callbacks.early_stopping.min_delta=0.5",
]
TEXT_ROWS = {
    "lora": LORA,
    "lora, all switches": [*LORA, *EMA, *ACCUMULATION, *LORA_UNFREEZING],
}


def make_overrides(model: str, overrides: list[str]) -> list[str]:
    """Return the overrides of a run of a model; an override of the row takes precedence."""
    return [*([] if any(override.startswith("model=") for override in overrides) else [f"model={model}"]), *overrides]


PLAIN_SWITCHES = {name: SWITCH_ROWS[name] for name in ("ema", "early_stopping", "accumulation")} | {
    "unfreezing": ["callbacks.unfreezing.schedule={0:[head.*],1:[backbone.1.*],2:['*']}"],
}
PLAIN_ROWS = {**PLAIN_SWITCHES, **CALLBACK_ROWS, **CONFIG_SCHEDULER_ROWS, **OWN_SCHEDULER_ROWS, **ARGUMENT_ROWS}
TASK_ROWS = {
    **ARGUMENT_ROWS,
    **SWITCH_ROWS,
    **{name: CALLBACK_ROWS[name] for name in ("EMAWeightAveraging", "StochasticWeightAveraging")},
}
