"""Both loops of a measurement do the same work, and leave the weights as they were."""

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from firstlight.benchmark import plain_loop
from firstlight.benchmark.throughput import ModelBenchmark
from firstlight.build import resolve_auto_settings
from support.options import get_tiny_model, make_tiny_overrides

TINY = [*make_tiny_overrides(get_tiny_model("images")), "data.num_samples=20", "callbacks=none"]


def make_benchmark(compose_cfg, *overrides, phase="train"):
    measured = ModelBenchmark(resolve_auto_settings(compose_cfg(*overrides)))
    assert measured.prepare(phase) is None
    return measured


@pytest.mark.parametrize("phase", ["eval", "predict"])
def test_both_loops_use_the_same_input(compose_cfg, phase):
    measured = make_benchmark(compose_cfg, *TINY, phase=phase)
    inputs = []
    measured.model.network.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
    measured.time_trainer(phase, 1)
    measured.time_plain_loop(phase, 1)

    assert len(inputs) == 4  # Each loop runs one warm-up step.
    assert all(torch.equal(tensor, inputs[0]) for tensor in inputs)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ([], (torch.optim.AdamW, 1.0)),
        (["optimizer=sgd", "trainer.gradient_clip_val=0.25"], (torch.optim.SGD, 0.25)),
        (["trainer.gradient_clip_val=null"], (torch.optim.AdamW, None)),
    ],
)
def test_both_loops_step_and_clip_alike(compose_cfg, monkeypatch, overrides, expected):
    measured = make_benchmark(compose_cfg, *TINY, *overrides)
    steps, norms = [], []
    clip = torch.nn.utils.clip_grad_norm_

    def record_norm(parameters, max_norm, *args, **kwargs):
        norms.append(max_norm)
        return clip(parameters, max_norm, *args, **kwargs)

    def record_step(optimizer, args, kwargs):
        group = optimizer.param_groups[0]
        steps.append((type(optimizer), group["lr"], group["fused"], group["weight_decay"]))

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", record_norm)
    monkeypatch.setitem(plain_loop.CLIP_FUNCTIONS, "norm", record_norm)
    handle = register_optimizer_step_post_hook(record_step)
    try:
        for measure in (measured.time_trainer, measured.time_plain_loop):
            measure("train", 1)
            optimizer_class, max_norm = expected
            assert [(step[0], step[1], step[2]) for step in steps] == [(optimizer_class, 0.0, True)] * 2
            assert norms == [max_norm] * (2 if max_norm else 0)
            steps.clear()
            norms.clear()
    finally:
        handle.remove()


def test_measurements_change_no_weight_and_start_from_the_same_buffers(compose_cfg):
    measured = make_benchmark(compose_cfg, *TINY, "scheduler=one_cycle")
    before = {name: tensor.clone() for name, tensor in measured.model.state_dict().items()}
    starts = []
    measured.model.network.register_forward_pre_hook(
        lambda *_: starts.append([buffer.clone() for buffer in measured.model.buffers()])
    )
    for measure in (measured.time_trainer, measured.time_plain_loop):
        measure("train", 3)
        for name, param in measured.model.named_parameters():
            assert torch.equal(param, before[name]), name
        for start, (name, _) in zip(starts[0], measured.model.named_buffers(), strict=True):
            assert torch.equal(start, before[name]), name
        starts.clear()


def test_loss_that_is_not_finite_does_not_end_the_measurement(compose_cfg, monkeypatch):
    monkeypatch.setenv("FAULT", "batch>0:nan")
    overrides = ["model=tiny_faulty", *TINY[1:-1], "callbacks=default", "trainer.log_every_n_steps=1"]
    measured = make_benchmark(compose_cfg, *overrides)

    assert "loss_guard" not in measured.settings["callbacks"]
    assert measured.time_trainer("train", 3).seconds > 0


def test_limits_of_the_training_run_do_not_apply(compose_cfg):
    measured = make_benchmark(compose_cfg, *TINY, "trainer.limit_train_batches=1", "trainer.max_steps=1")

    assert measured.time_trainer("train", 3).seconds > 0


def test_no_checkpoint_is_written(compose_cfg, tmp_path):
    measured = make_benchmark(compose_cfg, *TINY[:-1])
    measured.time_trainer("train", 1)

    assert list(tmp_path.rglob("*.ckpt")) == []


@pytest.mark.parametrize("name", ["tiny_images_multilabel", "tiny_images_regressor"])
def test_other_tasks_are_measured(compose_cfg, name):
    overrides = [f"model={name}", *TINY[1:]]
    for phase in ("train", "eval", "predict"):
        measured = make_benchmark(compose_cfg, *overrides, phase=phase)
        assert {result.loop for result in measured.run(phase, 0.001, 1, 1)} == {"trainer", "plain"}


@pytest.mark.parametrize(("phase", "hook"), [("train", "training_step"), ("eval", "test_step")])
def test_plain_loop_of_any_module_calls_its_steps(compose_cfg, phase, hook):
    measured = make_benchmark(compose_cfg, "model=plain_autoencoder", "trainer=cpu", "logger=none", phase=phase)
    calls = []
    original = getattr(measured.model, hook)

    def record_batch(batch, batch_idx):
        calls.append(batch[0])
        return original(batch, batch_idx)

    setattr(measured.model, hook, record_batch)
    results = measured.run(phase, 0.001, 1, 1)

    assert [result.loop for result in results] == ["trainer", "plain"]
    assert {result.batch_size for result in results} == {8}
    # Trial and repeat of the Trainer and the plain loop, each with a warm-up step.
    assert len(calls) == 2 + 2 * (1 + results[0].steps)
    assert torch.equal(calls[0], calls[-1])


def test_module_without_derivable_plain_loop_is_measured_with_the_trainer(compose_cfg, capsys):
    measured = make_benchmark(compose_cfg, "model=plain_gan", "trainer=cpu", "logger=none")
    results = measured.run("train", 0.001, 1, 1)

    assert [result.loop for result in results] == ["trainer"]
    assert "No plain loop for GAN (train): GAN optimizes manually.\n" in capsys.readouterr().out
    assert measured.prepare("eval") == "GAN and its data support neither test nor validation"
    assert measured.prepare("predict") == "GAN has no predict_step"


def test_evaluation_with_several_loaders_times_the_first(compose_cfg):
    measured = make_benchmark(compose_cfg, "model=plain_two_loaders", "trainer=cpu", "logger=none", phase="eval")

    assert len(measured.batches["eval"]) == 2
    assert [result.loop for result in measured.run("eval", 0.001, 1, 1)] == ["trainer", "plain"]
