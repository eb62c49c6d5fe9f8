"""For notebooks and scripts: load what was trained, or build what `make train` would."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningModule
from omegaconf import DictConfig, OmegaConf, open_dict

from firstlight.build import build
from firstlight.checkpoint.resolve import resolve_checkpoint
from firstlight.cli import summary
from firstlight.config.compose import compose_config, load_run_config, strip_unsafe_keys
from firstlight.config.instantiate import instantiate
from firstlight.config.validate import validate_config
from firstlight.data.datamodule import ClassificationDataModule
from firstlight.data.text import TextDataModule
from firstlight.model.classifier import Classifier
from firstlight.model.load import allows_remote_code, load_model
from firstlight.run.files import list_checkpoints, to_plain_dict
from firstlight.run.lock import acquire_run_lock
from firstlight.run.record import RunRecord, make_initial_fields, update_run_record
from firstlight.trainer.trainer import Trainer


@dataclass(frozen=True)
class LoadedRun:
    """A trained model.

    Attributes:
        model: with its weights, on the CPU, in evaluation mode.
        data: what it was trained on, its texts cut by the model's tokenizer. Nothing is read or downloaded yet: a
            trainer does that, or `data.prepare_data()` and `data.setup()`.
        config: the configuration of its training.
    """

    model: Classifier
    data: ClassificationDataModule
    config: DictConfig


@dataclass(frozen=True)
class Experiment:
    """A training that can start.

    Attributes:
        model: on the CPU, in training mode.
        data: read, and its texts cut by the model's tokenizer.
        trainer: `trainer.fit(model, data)` trains, and makes the run's folder, `config.output_dir`.
        config: the configuration.
    """

    model: Classifier
    data: ClassificationDataModule
    trainer: Trainer
    config: DictConfig


def load(source: str | os.PathLike[str]) -> LoadedRun:
    """Load a trained model.

    Args:
        source: the folder of a run, of which the best checkpoint is taken, else the last one; or a checkpoint.

    Raises:
        ValueError: there is no such run, it has no checkpoint yet, or that is damaged.
    """
    path = Path(source)
    cfg = strip_unsafe_keys(load_run_config(path))
    validate_config(cfg)
    is_file = path.suffix == ".ckpt"
    checkpoint = resolve_checkpoint(OmegaConf.create({"run": str(path), "ckpt": str(path) if is_file else None}))
    settings = to_plain_dict(cfg)
    model = load_model(checkpoint, allows_remote_code(settings)).eval()
    data: ClassificationDataModule = instantiate(settings["data"])
    if isinstance(data, TextDataModule):
        data.set_tokenizer(model.tokenizer)
    return LoadedRun(model, data, cfg)


def create(overrides: list[str] | None = None) -> Experiment:
    """Build model, data and trainer as `make train` does, but without a logger unless the overrides name one.

    Metrics and checkpoints go to a folder below logs/train of the working directory, or `output_dir=<folder>`; it is
    made when the training starts, or by a logger.

    Args:
        overrides: words of the command line, such as ["model=bert", "data.batch_size=8"].

    Raises:
        ValueError: what the words describe cannot be built here.
        HydraException: a word is none that Hydra can read, or names no setting.
    """
    words = list(overrides or [])
    if not any(word.startswith(("logger=", "resume=")) for word in words):
        words.append("logger=none")  # a run of W&B begins as soon as it is built
    cfg = compose_config("train", words, hydra=True)
    HydraConfig.instance().set_config(cfg)  # the name of the folder tells its choices
    with open_dict(cfg):
        cfg.output_dir = str(cfg.output_dir)
        cfg.pop("hydra")
    HydraConfig.instance().cfg = None
    validate_config(cfg)
    model, data, trainer = build(cfg)
    trainer.callbacks.append(RunRecorder(cfg, words))  # type: ignore[attr-defined]
    return Experiment(model, data, trainer, cfg)


class RunRecorder(Callback):
    """Keep config.yaml and run.json of a training that no command started, from its first step on."""

    def __init__(self, cfg: DictConfig, words: list[str]) -> None:
        """Keep the configuration and the words that it is of."""
        self.cfg, self.words = cfg, words
        self.folder = Path(cfg.output_dir)
        self.record: RunRecord | None = None
        # The lock of the folder, and the run.json of the training that is under way.
        self.open = ExitStack()

    def setup(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        """Make the run's folder.

        Raises:
            ValueError: it holds another run.
        """
        if stage != "fit":
            return
        if self.record is None and (self.folder / "run.json").exists():
            raise ValueError(f"{self.folder} holds a run already: create with output_dir=<a new folder>")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.open.enter_context(acquire_run_lock(self.folder))
        fields = {**make_initial_fields(self.cfg), "command": "firstlight.create", "overrides": self.words}
        self.record = RunRecord(self.folder, self.record.fields if self.record else fields, self.cfg)
        self.open.enter_context(update_run_record(self.record, self.cfg, self.words))
        summary.print_run_header(self.cfg, pl_module, trainer.datamodule, trainer, self.record)  # type: ignore[arg-type]

    def on_exception(self, trainer: Any, pl_module: LightningModule, exception: BaseException) -> None:
        """Write down how the training ended."""
        self.open.__exit__(type(exception), exception, exception.__traceback__)

    def teardown(self, trainer: Any, pl_module: LightningModule, stage: str) -> None:
        """Write down what came out."""
        if self.record is not None:
            figures = {**self.record.fields["metrics"], **summary.read_latest_metrics(trainer)}
            self.record.update(metrics=figures, checkpoints=list_checkpoints(self.folder))
        self.open.close()
