"""Fixtures of all tests: one thread per process, no network, and configs composed in process."""

import os
import signal
import sys
from pathlib import Path

# Set before torch is imported. Tests run in parallel, and threads that wait for a core halve the speed of all tests.
os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="offline", WANDB_SILENT="true")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
# Config options that only the tests use.
os.environ["FIRSTLIGHT_CONFIG_PATH"] = str(Path(__file__).parent / "configs")
# Subprocesses of tests also import these helpers.
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
# Background processes of a shell ignore SIGINT, and all subprocesses of the tests would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, TextIO

import omegaconf.omegaconf
import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from firstlight.config.compose import OptionSearchPath
from firstlight.config.hydra_version import VERSION_BASE
from firstlight.config.options import CONFIG_DIR

# Helper modules contain assertions, and some contain tests that several files import.
SUPPORT_MODULES = [file.stem for file in Path(__file__).parent.glob("*.py")]
pytest.register_assert_rewrite(
    *(f"support.{name}" for name in SUPPORT_MODULES if name not in ("__init__", Path(__file__).stem))
)

PARSED_YAML: dict[str, Any] = {}


def parse_once(stream: TextIO | str, Loader: type) -> Any:  # noqa: N803
    """Parse YAML with a cache, because most tests compose the same 30 files and parsing takes most of the time."""
    text = stream if isinstance(stream, str) else stream.read()
    if text not in PARSED_YAML:
        # Parse the stream, so that errors contain the file name.
        isinstance(stream, str) or stream.seek(0)
        PARSED_YAML[text] = yaml.load(stream, Loader)
    return PARSED_YAML[text]


# Register the search path, so that Hydra finds the options of the tests before any command has run.
Plugins.instance().register(OptionSearchPath)
omegaconf.omegaconf.yaml = SimpleNamespace(load=parse_once, dump=yaml.dump)

__all__ = ["compose_cfg", "requires_text_packages", "restore_determinism", "restore_environment", "restore_hydra"]


@pytest.fixture(autouse=True)
def restore_determinism() -> Iterator[None]:
    """Reset torch after a run with trainer.deterministic=true."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def restore_hydra() -> Iterator[None]:
    """Forget the overrides of a command that a test has run in this process."""
    yield
    HydraConfig.instance().cfg = None


@pytest.fixture(autouse=True)
def restore_environment() -> Iterator[None]:
    """Restore the environment variables that commands set in this process, such as the backend of plots."""
    environment = os.environ.copy()
    yield
    current_test = "PYTEST_CURRENT_TEST"  # pytest deletes it after each phase of a test
    for name in os.environ.keys() - environment.keys() - {current_test}:
        del os.environ[name]
    os.environ.update({name: value for name, value in environment.items() if name != current_test})


@pytest.fixture
def compose_cfg(tmp_path: Path) -> Callable[..., DictConfig]:
    """Return a function that composes a config with a temporary run directory; the default model is tiny_images."""

    def compose_(*overrides: str, root: str = "train", run_dir: str = "run") -> DictConfig:
        has_model = root != "train" or any(override.startswith("model=") for override in overrides)
        model = [] if has_model else ["model=tiny_images"]
        with initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
            return compose(root, [f"output_dir={tmp_path / run_dir}", *model, *overrides])

    return compose_


@pytest.fixture
def requires_text_packages() -> None:
    """Skip text tests in a project that does not install the extra `text`."""
    pytest.importorskip("transformers", reason="the extra text is not installed")
