"""Everything that may take long is shown in a log, each with what it is. The waits are fake: nothing is slow here."""

import io
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
import torchvision
from rich.console import Console
from rich.file_proxy import FileProxy
from torchvision.models import SqueezeNet1_1_Weights

from firstlight.callbacks.last_checkpoint import copy_atomically
from firstlight.checkpoint.io import AtomicCheckpointIO, read_checkpoint, verify_checkpoint
from firstlight.data.slow_hooks import show_slow_hooks
from firstlight.export.suppress_output import suppress_output
from firstlight.model.hub_weights import show_hub_download
from firstlight.model.pretrained import load_pretrained
from firstlight.run import progress
from firstlight.run.console_log import RedactedFile, TeeStream
from firstlight.trainer import compile as compile_module
from support.plain.tabular import TabularDataModule
from support.tiny_training import build_tiny


@pytest.fixture
def wait_for_line(monkeypatch, capsys):
    """Make lines appear at once; return a function that blocks until a text is printed, like slow work does."""
    monkeypatch.setattr(progress, "SHOW_AFTER_S", 0.0)
    monkeypatch.setattr(progress, "LINE_INTERVAL_S", 0.01)
    printed = [""]

    def wait(text):
        deadline = time.monotonic() + 10
        while text not in printed[0]:
            assert time.monotonic() < deadline, f"{text!r} was not printed, only {printed[0][-300:]!r}"
            time.sleep(0.005)
            printed[0] += capsys.readouterr().err

    return wait


@pytest.fixture
def slow_down(monkeypatch, wait_for_line):
    """Return a function that replaces a function by one that first waits for a line."""

    def slow_down_(owner, name, text):
        fast = getattr(owner, name)

        def slow(*args, **kwargs):
            wait_for_line(text)
            return fast(*args, **kwargs)

        monkeypatch.setattr(owner, name, slow)

    return slow_down_


def test_checkpoints(tmp_path, monkeypatch, slow_down):
    path = tmp_path / "last.ckpt"
    slow_down(torch, "save", f"Saving {path}: 0 s")
    AtomicCheckpointIO().save_checkpoint({"state_dict": {"weight": torch.ones(2)}}, path)
    slow_down(__import__("zipfile").ZipFile, "testzip", f"Verifying {path}: 0 s")
    verify_checkpoint(path)
    slow_down(torch, "load", f"Loading {path}: 0 s")
    assert read_checkpoint(path)["state_dict"]["weight"].tolist() == [1, 1]
    slow_down(shutil, "copyfileobj", f"Copying {path} to {path}.copy: 0 s")
    assert copy_atomically(path, Path(f"{path}.copy"))


def test_export_whose_libraries_are_silenced(wait_for_line):
    with progress.show_progress("Exporting to format=onnx"), suppress_output():
        print("noise", file=sys.stderr)
        wait_for_line("Exporting to format=onnx: 0 s")


def test_bar_of_an_epoch_is_not_mixed_with_another_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    for name in ("stdout", "stderr", "__stdout__"):
        monkeypatch.setattr(sys, name, terminal)
    assert progress.is_terminal()
    monkeypatch.setattr(sys, "stderr", FileProxy(Console(), terminal))
    assert not progress.is_terminal()
    monkeypatch.setattr(sys, "stderr", TeeStream(FileProxy(Console(), terminal), RedactedFile(None)))
    assert not progress.is_terminal()


def test_compilation_of_a_task(compose_cfg, monkeypatch, slow_down):
    slow_down(compile_module, "warm_up", "Compiling the model: 0 s")
    monkeypatch.setattr(torch.nn.Module, "compile", lambda *args, **kwargs: None)
    model, data, trainer, _ = build_tiny(compose_cfg, "data.num_samples=8", "callbacks=none", "trainer.compile=true")
    trainer.fit(model, data)
    assert trainer.global_step == 2


def test_compilation_of_any_other_module(compose_cfg, monkeypatch, slow_down):
    from firstlight import build
    from support.plain.tabular import TabularRegressor

    monkeypatch.setattr(torch.nn.Module, "compile", lambda *args, **kwargs: None)
    slow_down(TabularRegressor, "training_step", "Compiling the model in the first step: 0 s")
    overrides = ["model=plain_tabular", "trainer=cpu", "trainer.compile=true", "trainer.max_steps=2"]
    model, data, trainer = build.build(compose_cfg(*overrides, "callbacks=none", "logger=none"))
    trainer.fit(model, data)
    assert trainer.global_step == 2
    assert not progress.WorkProgress.is_any_shown


def test_weights_of_torchvision(monkeypatch, slow_down):
    from torchvision.models import _api

    network = torchvision.models.squeezenet1_1()
    monkeypatch.setattr(_api, "load_state_dict_from_url", lambda *args, **kwargs: network.state_dict())
    slow_down(
        _api,
        "load_state_dict_from_url",
        "Downloading model.weights=IMAGENET1K_V1 for SqueezeNet1_1 (MB): 0 of 5 (0 %), 0 s",
    )
    load_pretrained(network, "IMAGENET1K_V1", SqueezeNet1_1_Weights, skip_prefix="classifier.")


def test_weights_of_the_hub(wait_for_line):
    with show_hub_download("org/name"):
        wait_for_line("Downloading model.weights=org/name (MB): 0 s")


def test_hooks_of_any_datamodule(slow_down):
    slow_down(TabularDataModule, "setup", "Running TabularDataModule.setup: 0 s")
    data = show_slow_hooks(TabularDataModule())
    data.setup("fit")
    assert data.num_setups == 1
