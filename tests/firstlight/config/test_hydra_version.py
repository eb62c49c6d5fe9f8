"""The engine passes no argument that the installed version of Hydra deprecates."""

import pickle
import re
import warnings
from importlib import import_module

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf

from firstlight.config.compose import compose_config
from firstlight.config.hydra_version import REPLACE, register_plugin
from firstlight.config.instantiate import instantiate
from firstlight.config.options import ENGINE_DIR


class EmptyLauncher(Launcher):
    """Launches nothing."""

    def setup(self, *, hydra_context, task_function, config):
        self.config = config

    def launch(self, job_overrides, initial_job_idx):
        return [JobReturn()]


@pytest.fixture
def errors_for_warnings():
    """Raise an error for each warning, also the deprecation warnings of Hydra, which are UserWarnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_composing_a_config_warns_about_nothing(errors_for_warnings):
    assert compose_config("train", ["model=tiny_images", "seed=7"]).seed == 7


def test_storing_a_config_of_the_same_name_replaces_it_without_a_warning(errors_for_warnings):
    store = ConfigStore.instance()
    for value in (1, 2):
        store.store("replaced", {"value": value}, "hydra/launcher", **REPLACE)

    assert store.load("hydra/launcher/replaced.yaml").node == {"value": 2}


def test_hydra_accepts_a_launcher_of_any_package(errors_for_warnings):
    target = register_plugin(EmptyLauncher)
    config = OmegaConf.create({"hydra": {"launcher": {"_target_": target}}})
    launcher = Plugins.instance().instantiate_launcher(hydra_context=None, task_function=len, config=config)

    assert type(launcher) is EmptyLauncher
    assert launcher.config == config


def test_partial_of_a_config_can_be_pickled():
    partial = instantiate({"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.5})
    restored = pickle.loads(pickle.dumps(partial))

    assert restored.func is import_module("torch.optim").AdamW
    assert restored.keywords == {"lr": 0.5}


def test_engine_does_not_use_instantiate_of_hydra():
    # Hydra 1.4 warns about calls without a whitelist. The engine has its own function, and a list of trusted packages.
    used = re.compile(r"hydra\.utils import|import hydra\.utils|hydra\.utils\.\w+\(")
    files = [file for file in ENGINE_DIR.rglob("*.py") if used.search(file.read_text(encoding="utf-8"))]

    assert files == []
