"""A schedule of unfreezing: parameters are bitwise unchanged before their epoch, and trained from then on."""

import subprocess
import sys

import pytest
import torch
from lightning.pytorch import Callback

from firstlight import build, train
from firstlight.callbacks.unfreezing import UnfreezingSchedule
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError
from support.interruption import load_saved
from support.tiny_training import NO_PLOTS, OVERRIDES

RUN = [*OVERRIDES, *NO_PLOTS, "data.num_samples=24", "trainer.max_epochs=4", "optimizer.lr=0.03"]
SCHEDULE = "callbacks.unfreezing.schedule={0:[network.5.*],1:[network.2.*],3:[network.*]}"
RMSPROP = ["optimizer=adamw", "optimizer._target_=torch.optim.RMSprop", "+optimizer.momentum=0.9"]
# network.1 and network.5 are linear layers, and network.2 is a batch norm.
FIRST_EPOCHS = {"network.1": 3, "network.2": 1, "network.5": 0}


class StateRecorder(Callback):
    """Record the state dict and the modes of the modules at the start and after each epoch."""

    def __init__(self):
        self.states, self.modes, self.gradients = [], [], []

    def record(self, module):
        self.states.append({name: value.clone() for name, value in module.state_dict().items()})

    def on_train_start(self, trainer, pl_module):
        self.record(pl_module)

    def on_train_batch_start(self, trainer, pl_module, *args):
        self.modes.append({name: module.training for name, module in pl_module.named_modules()})

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients.append({name for name, param in pl_module.named_parameters() if param.grad is not None})

    def on_train_epoch_end(self, trainer, pl_module):
        self.record(pl_module)


def train_and_record(compose_cfg, *overrides):
    """Train, and return the recorder."""
    model, data, trainer = build.build(compose_cfg(*RUN, *overrides))
    recorder = StateRecorder()
    trainer.callbacks.append(recorder)
    trainer.fit(model, data)
    return recorder


def list_changed(before, after):
    """Return the layers of which a parameter or a buffer has changed."""
    return {name.rpartition(".")[0] for name in before if not torch.equal(before[name], after[name])}


@pytest.mark.parametrize("optimizer", [["optimizer=adamw"], ["optimizer=sgd"], RMSPROP])
def test_parameters_change_from_their_epoch_on(compose_cfg, optimizer):
    recorder = train_and_record(compose_cfg, SCHEDULE, *optimizer, "optimizer.weight_decay=0.1")

    for epoch in range(4):
        expected = {name for name, first_epoch in FIRST_EPOCHS.items() if epoch >= first_epoch}
        assert list_changed(recorder.states[epoch], recorder.states[epoch + 1]) == expected
        assert {name.rpartition(".")[0] for name in recorder.gradients[6 * epoch]} == expected
        modes = recorder.modes[6 * epoch]
        assert {name for name in FIRST_EPOCHS if modes[name]} == expected
        assert modes["network"]


@pytest.mark.parametrize("optimizer", ["optimizer=adamw", "optimizer=sgd"])
def test_schedule_from_epoch_0_equals_a_run_without_a_schedule(compose_cfg, optimizer):
    schedule = "callbacks.unfreezing.schedule={0:[network.*]}"
    first, second = (train_and_record(compose_cfg, optimizer, *overrides).states for overrides in ([schedule], []))

    assert all(torch.equal(first[-1][name], value) for name, value in second[-1].items())
    assert list_changed(second[0], second[-1]) == set(FIRST_EPOCHS)


def test_frozen_parameters_stay_frozen(compose_cfg):
    recorder = train_and_record(compose_cfg, SCHEDULE, "freeze=[network.1.bias]")

    assert torch.equal(recorder.states[0]["network.1.bias"], recorder.states[-1]["network.1.bias"])
    assert not torch.equal(recorder.states[0]["network.1.weight"], recorder.states[-1]["network.1.weight"])


def test_average_of_frozen_parameters_is_exact(compose_cfg, tmp_path):
    recorder = train_and_record(compose_cfg, SCHEDULE, "callbacks.ema.decay=0.9", "trainer.max_epochs=1")
    saved = load_saved(tmp_path / "run")["state_dict"]

    assert list_changed(recorder.states[0], saved) == {"network.5"}


@pytest.mark.parametrize(
    ("schedule", "overrides", "message"),
    [
        ("{1:[network.*]}", [], "freezes all parameters in epoch 0, so there is nothing to train. Add the last layer"),
        (
            "{0:[network.9.*],1:[network.1.*]}",
            [],
            r"schedule=\{0:\[network\.9\.\*\]\} matches no parameter of TinyMLP\. Nearest .*schedule=\{0:\['network",
        ),
        ("{2:[network.1.*]}", ["freeze=['network.1.*']"], r"no effect on the parameters of network\.1\.\*, because"),
    ],
)
def test_schedule_without_effect_is_one_line(compose_cfg, schedule, overrides, message):
    model, data, trainer = build.build(compose_cfg(*RUN, f"callbacks.unfreezing.schedule={schedule}", *overrides))
    with pytest.raises(ConfigError, match=message):
        trainer.fit(model, data)


def test_earliest_epoch_wins():
    callback = UnfreezingSchedule({4: ["*"], 0: ["2.*"], 2: ["1.*"]})

    assert list(callback.schedule) == [0, 2, 4]


@pytest.mark.slow
def test_two_ranks_train_like_one_device(tmp_path):
    shape = [override for override in RUN if not override.startswith(("trainer=", "data.batch_size"))]
    shape += ["callbacks.unfreezing.schedule={0:[network.5.*],2:[network.*]}", "callbacks.ema.decay=0.5"]
    shape += ["model.batch_norm=false", "trainer.gradient_clip_val=null"]
    single = ["trainer=cpu", "data.batch_size=4", f"output_dir={tmp_path / 'single'}"]
    train.main(compose_config("train", [*shape, *single]))
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=2"]
    command = [sys.executable, "-m", "firstlight.train", *shape, *ddp, f"output_dir={tmp_path / 'ddp'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    expected, found = (load_saved(tmp_path / name)["state_dict"] for name in ("single", "ddp"))

    # The mean over two ranks is rounded differently.
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-5)
