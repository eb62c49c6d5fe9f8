"""Arguments of Lightning's Trainer that the project's Trainer passes on."""

from typing import Any, Literal, TypedDict


class TrainerKwargs(TypedDict, total=False):
    """Arguments passed through to Lightning's Trainer unchanged.

    Omitted arguments use Lightning's defaults, except `max_epochs` (1).

    Attributes:
        fast_dev_run: Number of batches of a single trial epoch; True: one.
        min_epochs: Minimum number of epochs.
        min_steps: Minimum number of optimizer steps.
        limit_predict_batches: Number or fraction of batches.
        num_sanity_val_steps: Validation batches before training.
        reload_dataloaders_every_n_epochs: Epochs between calls of the dataloader hooks; 0: they are called once.
        use_distributed_sampler: Whether Lightning shards loaders with samplers of their own across devices.
        gradient_clip_algorithm: "norm" or "value".
        inference_mode: Whether evaluation uses torch.inference_mode; False: torch.no_grad.
        enable_progress_bar: Whether to add Lightning's progress bar.
        enable_model_summary: Whether to print Lightning's model summary.
        enable_autolog_hparams: Whether Lightning logs the hyperparameters of the module.
        barebones: Whether to disable everything that costs time, to measure the loop.
        plugins: Lightning plugins.
        model_registry: Name of the model in Lightning's model registry.
        sync_batchnorm: Synchronize BatchNorm statistics across devices; slower, and only on CUDA.
        max_epochs: Maximum number of epochs.
        max_steps: Maximum number of optimizer steps; -1 means no limit.
        max_time: Maximum training time as DD:HH:MM:SS.
        limit_train_batches: Number or fraction of batches.
        limit_val_batches: Number or fraction of batches.
        limit_test_batches: Number or fraction of batches.
        overfit_batches: Number or fraction of training batches to both train and validate on.
        accumulate_grad_batches: Batches per optimizer step.
        gradient_clip_val: Maximum norm of the gradient. If None, gradients are not clipped.
        check_val_every_n_epoch: Epochs between validations.
        val_check_interval: Batches, or fraction of an epoch, between validations.
        log_every_n_steps: Steps between log entries.
        deterministic: Whether to raise for nondeterministic operations (True) or to report them ("warn").
        benchmark: Whether cuDNN chooses its algorithms by their speed. Two runs may then use different ones.
        detect_anomaly: Whether to stop at the first NaN gradient, which is slow.
        profiler: "simple", "advanced" or "pytorch"; writes fit-profile.txt to the run directory.
        logger: Lightning loggers.
        default_root_dir: Directory for files that libraries write by default.
    """

    fast_dev_run: int | bool
    min_epochs: int | None
    min_steps: int | None
    limit_predict_batches: int | float | None
    num_sanity_val_steps: int
    reload_dataloaders_every_n_epochs: int
    use_distributed_sampler: bool
    gradient_clip_algorithm: Literal["norm", "value"] | None
    inference_mode: bool
    enable_progress_bar: bool
    enable_model_summary: bool
    enable_autolog_hparams: bool
    barebones: bool
    plugins: list[Any] | None
    model_registry: str | None
    sync_batchnorm: bool
    max_epochs: int
    max_steps: int
    max_time: str | None
    limit_train_batches: int | float | None
    limit_val_batches: int | float | None
    limit_test_batches: int | float | None
    overfit_batches: int | float
    accumulate_grad_batches: int
    gradient_clip_val: float | None
    check_val_every_n_epoch: int | None
    val_check_interval: int | float | None
    log_every_n_steps: int
    deterministic: bool | Literal["warn"] | None
    benchmark: bool | None
    detect_anomaly: bool
    profiler: Literal["simple", "advanced", "pytorch"] | None
    logger: list[Any] | None
    default_root_dir: str | None
