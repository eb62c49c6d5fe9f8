"""The trust boundary: what the config of a loaded run may state, and which override allows another value."""

import pytest
from omegaconf import OmegaConf

from firstlight.config.compose import compose_config
from firstlight.config.instantiate import validate_classes
from firstlight.config.run_config import load_run_config, load_verified_config, rebase_paths
from firstlight.config.untrusted import select_run_config
from firstlight.run.containment import find_run_dir
from firstlight.run.errors import CheckpointError, ConfigError
from firstlight.run.files import append_checksum
from support.options import get_tiny_model, make_tiny_overrides

LIGHTNING = "lightning.pytorch"
GROUPS = ("callbacks", "logger")
LOGGERS = "logger=[wandb,tensorboard,mlflow]"


@pytest.fixture
def run_dir(tmp_path, monkeypatch):
    """Return a run directory without files, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def make_config(run_dir, changes, *overrides):
    """Return the config that a stranger's run would have: the one of a tiny run, with changes by dotted key."""
    cfg = compose_config("train", [*make_tiny_overrides(get_tiny_model()), f"output_dir={run_dir}", *overrides])
    config = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    for path, value in changes.items():
        OmegaConf.update(config, path, value, force_add=True)
    return config


def select(run_dir, changes, overrides=(), groups=GROUPS, options=()):
    """Return what a command takes from a run with changes."""
    return select_run_config(make_config(run_dir, changes, *options), run_dir, overrides, groups)


def test_config_of_own_run_is_complete(run_dir):
    config = make_config(run_dir, {}, "logger=wandb", "+callbacks.x._target_=lightning.pytorch.callbacks.Timer")
    selected = select_run_config(config, run_dir, (), GROUPS)

    assert {*config} - {*selected} == {"json", "resume"}
    assert {name: selected[name] for name in selected if name != "command"} == {
        name: config[name] for name in selected if name != "command"
    }


DENIED = {
    "callbacks.best.dirpath": "/elsewhere",
    "callbacks.predictions.output_dir": "elsewhere",
    "callbacks.last.dirpath": "run/../elsewhere",
    "callbacks.curves.output_dir": "~/elsewhere",
    "callbacks.x": {"_target_": f"{LIGHTNING}.callbacks.ModelCheckpoint", "filename": "../../x"},
    "callbacks.y": {"_target_": f"{LIGHTNING}.callbacks.OnExceptionCheckpoint", "dirpath": "s3://bucket/x"},
    "callbacks.z": {"_target_": f"{LIGHTNING}.callbacks.Timer", "parts": [{"webhook_url": "x"}]},
    "logger.tb": {"_target_": f"{LIGHTNING}.loggers.TensorBoardLogger", "save_dir": "run"},
    "logger.wandb.project": "other",
    "logger.wandb.entity": "other",
    "logger.wandb.mode": "online",
    "logger.wandb.id": "../../x",
    "logger.wandb.save_dir": "elsewhere",
    "logger.wandb.settings": {"base_url": "http://x"},
    "logger.mlflow.tracking_uri": "http://x",
    "logger.mlflow.id": "../../x",
    "logger.tensorboard.save_dir": "elsewhere",
    "trainer.default_root_dir": "elsewhere",
    "trainer.model_registry": "other",
    "trainer.plugins": [{"_target_": f"{LIGHTNING}.plugins.io.TorchCheckpointIO"}],
    "trainer.profiler": {"_target_": f"{LIGHTNING}.profilers.SimpleProfiler"},
    "data.cache_dir": "elsewhere",
}


@pytest.mark.parametrize("path", DENIED)
def test_run_cannot_name_places_and_servers(run_dir, path):
    with pytest.raises(ConfigError, match=rf"^The config of .*run sets {path}.*=.*must not do so.*[pP]ass {path}"):
        select(run_dir, {path: DENIED[path]}, options=[LOGGERS])
    assert OmegaConf.select(select(run_dir, {path: DENIED[path]}, [path], options=[LOGGERS]), path) is not None


ALLOWED = {
    "callbacks.best.dirpath": "run/checkpoints",
    "callbacks.best.monitor": "val/loss",
    "callbacks.best.filename": "{epoch}-{val/loss:.2f}",
    "callbacks.x": {"_target_": f"{LIGHTNING}.callbacks.EarlyStopping", "monitor": "val/f1", "patience": 3},
    "logger.wandb.name": "a/b",
    "logger.wandb.id": "0a1b2c3d",
    "logger.wandb.mode": "offline",
    "logger.wandb.tags": ["x"],
    "logger.mlflow.experiment_name": "other",
    "logger.mlflow.run_name": "a/b",
    "logger.mlflow.id": "0a1b2c3d",
    "trainer.max_epochs": 7,
    "trainer.profiler": "simple",
    "data.root": "/data/images",
}


@pytest.mark.parametrize("path", ALLOWED)
def test_run_states_how_it_was_trained(run_dir, path):
    assert OmegaConf.select(select(run_dir, {path: ALLOWED[path]}, options=[LOGGERS]), path) == ALLOWED[path]


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a${seed}", ["x", {"y": "${oc.env:HOME}"}]])
def test_run_cannot_refer_to_the_environment(run_dir, text):
    with pytest.raises(CheckpointError, match=r"contains the interpolation .*\. Use another run\."):
        select_run_config(OmegaConf.create({"output_dir": "run", "tags": text}), run_dir)


def test_commands_without_callbacks_ignore_those_of_the_run(run_dir):
    selected = select(run_dir, {"callbacks.best.dirpath": "/x", "logger.x": {"_target_": "y"}}, groups=())

    assert (selected.callbacks, selected.logger) == ({}, {})


def test_run_states_no_keys_of_commands(run_dir):
    denied = {"hydra.run.dir": "/x", "defaults": ["x"], "output": "/x.csv", "input": "/x", "resume": "/x", "runs": "/"}
    denied |= {"json": True}
    selected = select(run_dir, {**denied, "output_dir": "/elsewhere"})

    assert {*denied, "hydra"}.isdisjoint(selected)
    assert selected.output_dir == str(run_dir)


@pytest.mark.parametrize("before", ["/", "", "/home", "run"])
def test_rebased_paths_cannot_lead_out(run_dir, before):
    config = rebase_paths(
        make_config(run_dir, {"output_dir": before, "callbacks.best.dirpath": f"{before}/../../x"}), run_dir
    )

    with pytest.raises(ConfigError, match="sets callbacks.best.dirpath="):
        select_run_config(config, run_dir, (), GROUPS)


BOMB = "output_dir: run\na: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a]\n" for n in range(3))


@pytest.mark.parametrize("text", [BOMB, "[" * 5000, "a: !!python/object/apply:os.system ['touch x']", "\x00", "- x"])
def test_hostile_yaml_is_corrupt(run_dir, text):
    (run_dir / "config.yaml").write_text(append_checksum(text))

    with pytest.raises(CheckpointError, match=r"config\.yaml is (corrupt|not the config of a run)"):
        load_verified_config(run_dir / "config.yaml")
    assert not (run_dir.parent / "x").exists()


def test_run_directory_of_a_checkpoint(run_dir):
    assert find_run_dir(run_dir) == run_dir
    assert find_run_dir(run_dir / "checkpoints" / "best.ckpt") == run_dir
    assert find_run_dir(run_dir / "other.ckpt") == run_dir
    (run_dir / "config.yaml").touch()
    assert find_run_dir(run_dir / "models" / "best.ckpt") == run_dir


def test_linked_run_is_rejected_before_its_config_is_read(run_dir):
    (run_dir / "config.yaml").write_text(append_checksum("output_dir: run\n"))
    (run_dir / ".run.json.tmp").symlink_to(run_dir.parent / "private.txt")

    with pytest.raises(CheckpointError, match=r"\.run\.json\.tmp is a link that leads out of the run directory to"):
        load_run_config(run_dir)


LOGGER = {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": "elsewhere"}


@pytest.mark.parametrize(
    "config",
    [
        {"model": LOGGER},
        {"data": {"_target_": f"{LIGHTNING}.Trainer"}},
        {"optimizer": {"_target_": f"{LIGHTNING}.callbacks.ModelCheckpoint"}},
        {"callbacks": {"x": LOGGER}},
        {"model": {"_target_": "torch.nn.Linear", "in_features": LOGGER}},
        {
            "callbacks": {
                "x": {"_target_": f"{LIGHTNING}.callbacks.Timer", "y": [{"z": {"_target_": f"{LIGHTNING}.Trainer"}}]}
            }
        },
    ],
)
def test_section_names_classes_of_its_kind(config):
    with pytest.raises(ConfigError, match=r"cannot be a (CSVLogger|Trainer|ModelCheckpoint)\. Use a subclass of "):
        validate_classes(config)
    validate_classes({"logger": {"x": LOGGER}, "model": {"_target_": "torch.nn.Linear"}, "data": None})
