"""Values that a stranger could write into the config of a run to leave its directory."""

LIGHTNING = "lightning.pytorch"


def hostile_values(victim):
    """Return values that a stranger could write in place of any value."""
    file = str(victim / "secret.txt")
    strings = ["", str(victim), file, f"../{victim.name}", f"~/../{victim}", "${oc.env:CANARY}", "${oc.env:HOME}/x"]
    strings += [
        "local:///x",
        "http://127.0.0.1:9/x",
        "\x00",
        "a" * 5000,
        "$(touch x)",
        "`touch x`",
        "../" * 30,
        "\ud800",
    ]
    plain = [
        None,
        True,
        -1,
        0,
        0.5,
        float("nan"),
        float("inf"),
        [],
        {},
        [[]],
        {"a": 1},
        [None],
        {"_target_": "os.system"},
    ]
    return [*strings, *plain, {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": str(victim)}]


def hostile_keys(victim):
    """Return keys of a config, and values with which a stranger could leave the run directory."""
    place, url = str(victim), "http://127.0.0.1:9"
    return {
        "callbacks.predictions.output_dir": place,
        "callbacks.best.dirpath": place,
        "callbacks.last.dirpath": place,
        "callbacks.curves.output_dir": f"{place}/new",
        "callbacks.x": {"_target_": f"{LIGHTNING}.callbacks.ModelCheckpoint", "dirpath": place},
        "callbacks.y": {"_target_": f"{LIGHTNING}.callbacks.ModelCheckpoint", "filename": f"../../../{victim.name}/z"},
        "callbacks.z": {"_target_": f"{LIGHTNING}.callbacks.OnExceptionCheckpoint", "dirpath": place},
        "logger.csv": {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": place},
        "logger.tb": {"_target_": f"{LIGHTNING}.loggers.TensorBoardLogger", "save_dir": place},
        "logger.wandb": {"_target_": f"{LIGHTNING}.loggers.WandbLogger", "settings": {"base_url": url}},
        "logger.mlflow": {"_target_": f"{LIGHTNING}.loggers.MLFlowLogger", "tracking_uri": url},
        "trainer.default_root_dir": place,
        "trainer.logger": {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": place},
        "trainer.plugins": [{"_target_": f"{LIGHTNING}.plugins.io.TorchCheckpointIO"}],
        "trainer.profiler": "simple",
        "trainer._target_": "os.system",
        "output_dir": place,
        "hydra.callbacks": {"x": {"_target_": "os.system"}},
        "hydra.run.dir": place,
        "data.cache_dir": place,
        "data.root": place,
        "data._target_": f"{LIGHTNING}.loggers.CSVLogger",
        "model.weights": f"{place}/secret.txt",
        "model._target_": f"{LIGHTNING}.Trainer",
        "model.extra": {"_target_": f"{LIGHTNING}.loggers.CSVLogger", "save_dir": place},
        "optimizer._target_": f"{LIGHTNING}.loggers.CSVLogger",
        "scheduler._target_": "torch.hub.load",
        "init_from.path": f"{place}/secret.txt",
        "resume": place,
        "output": f"{place}/x.csv",
        "input": place,
        "defaults": ["/data: none"],
        "command": "train",
    }
