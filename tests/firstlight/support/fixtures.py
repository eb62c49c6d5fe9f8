"""What tests share: one thread each, no network, and configurations composed in process."""

import os
import signal
import sys
from pathlib import Path

# Before torch is imported: tests run side by side, and threads that spin for a core halve the speed of all.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Options of the tests themselves.
os.environ["FIRSTLIGHT_CONFIG_PATH"] = str(Path(__file__).parent / "configs")
# What a test starts in a process of its own finds these helpers, too.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
# A shell lets what it starts in the background ignore Ctrl-C, and so would all that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TextIO

import omegaconf.omegaconf
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from firstlight.config.compose import OptionSearchPath
from firstlight.config.options import CONFIG_DIR

# Some helpers are tests that several files import, and all of them assert.
SUPPORT_MODULES = [file.stem for file in Path(__file__).parent.glob("*.py")]
pytest.register_assert_rewrite(
    *(f"support.{name}" for name in SUPPORT_MODULES if name not in ("__init__", Path(__file__).stem))
)

PARSED_YAML: dict[str, Any] = {}


def parse_once(stream: TextIO | str, Loader: type) -> Any:  # noqa: N803
    """Return what YAML says: most tests compose the same thirty files, and parsing takes longer than the rest."""
    text = stream if isinstance(stream, str) else stream.read()
    if text not in PARSED_YAML:
        # By the stream, so that an error names the file.
        isinstance(stream, str) or stream.seek(0)
        PARSED_YAML[text] = yaml.load(stream, Loader)
    return PARSED_YAML[text]


# Hydra finds the options of the tests, also where no command has composed before.
Plugins.instance().register(OptionSearchPath)
omegaconf.omegaconf.yaml = SimpleNamespace(load=parse_once, dump=yaml.dump)

__all__ = ["compose_cfg", "requires_text_packages", "restore_determinism"]


@pytest.fixture(autouse=True)
def restore_determinism() -> Iterator[None]:
    """Take back what a training with trainer.deterministic=true asked of torch."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].use_deterministic_algorithms(False)


@pytest.fixture
def compose_cfg(tmp_path: Path) -> Callable[..., DictConfig]:
    """Return a function that composes a training into a folder of the test's own, of a tiny model if none is named."""

    def compose_(*overrides: str, root: str = "train", folder: str = "run") -> DictConfig:
        named = root != "train" or any(word.startswith("model=") for word in overrides)
        model = [] if named else ["model=tiny_images"]
        with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
            return compose(root, [f"output_dir={tmp_path / folder}", *model, *overrides])

    return compose_


@pytest.fixture
def requires_text_packages() -> None:
    """Skip a test of texts in a project that does not install the extra `text`."""
    pytest.importorskip("transformers", reason="the extra text is not installed")
