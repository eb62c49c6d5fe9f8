"""Start a new model from the weights of another run: the config key `init_from`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from torch import Tensor, nn

from firstlight.checkpoint.io import read_checkpoint
from firstlight.data.split_datamodule import SplitDataModule
from firstlight.data.split_state import parse_state
from firstlight.model.lora import is_adapter, rename_adapted_layers
from firstlight.model.pretrained import WeightsReport, load_state_dict, print_report
from firstlight.model.weights_file import read_state_dict
from firstlight.run.errors import CheckpointError, not_found
from firstlight.run.files import get_best_or_last_checkpoint
from firstlight.run.rank import is_nonzero_rank


def find_weights_file(settings: Mapping[str, Any] | None) -> str | None:
    """Return the file that `init_from.path` names: of a run directory, its best checkpoint, or else its last one.

    Args:
        settings: The config section `init_from`: "path" and "strict".

    Raises:
        CheckpointError: If the file does not exist, or the run has no checkpoint.
    """
    if not settings or settings["path"] is None:
        return None
    path = Path(settings["path"])
    if not path.exists():
        fix = "Use a run directory, a checkpoint or a file with a state dict."
        raise CheckpointError(not_found(f"init_from.path={path}", fix))
    if path.is_file() or path.suffix == ".ckpt":  # a sharded checkpoint is a directory
        return str(path)
    checkpoint = get_best_or_last_checkpoint(path)
    if checkpoint is None:
        raise CheckpointError(f"init_from.path={path} has no checkpoint. Use the directory of a run with a checkpoint.")
    return checkpoint


def init_from_file(model: nn.Module, file: str, strict: bool, data: LightningDataModule | None = None) -> WeightsReport:
    """Load the tensors of a file that have a name and a shape of the model, and print how many were loaded.

    Args:
        model: Any module.
        file: A checkpoint or state dict; the names in a state dict of `model.network` lack the prefix "network.".
        strict: Whether all tensors of the model and of the file must match.
        data: The dataset of the new model, to warn if the weights were trained on its test samples.

    Raises:
        CheckpointError: If the weights do not fit the model, or not exactly if `strict` is set.
    """
    state_dict = add_network_prefix(read_state_dict(file, "init_from.path"), model.state_dict())
    state_dict = rename_adapted_layers(state_dict, model, file)
    head = find_last_layer(model)
    try:
        report = load_state_dict(
            model, state_dict, lambda name: name.startswith(head) or is_adapter(name), skip_head=False
        )
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"init_from.path={file} is incompatible with this network ({' '.join(str(error).split())[:200]}). Use the "
            "weights of another run."
        ) from error
    if strict and (report.initialized or report.unused):
        raise CheckpointError(
            f"init_from.path={file} does not match {type(model).__name__} exactly ({report.format()}; first: "
            f"{[*report.initialized, *report.unused][0]}). Set init_from.strict=false to load the tensors that match."
        )
    report.check(f"init_from.path={file}", "Use the weights of a run with the same model.")
    print_report(f"{report.format()}, from {file}")
    warn_about_trained_samples(data, file)
    return report


def warn_about_trained_samples(data: LightningDataModule | None, file: str) -> None:
    """Print a warning if weights come from a run that was trained on samples of the val or test split.

    Args:
        data: The dataset, after its setup.
        file: The file that `init_from` names.
    """
    if not isinstance(data, SplitDataModule) or data.splitter.state is None or Path(file).suffix != ".ckpt":
        return
    saved = read_checkpoint(Path(file)).get(type(data).__qualname__)
    if not saved or is_nonzero_rank():
        return
    trained = parse_state(saved).records["train"]
    for split in ("val", "test"):
        record = data.splitter.state.records.get(split)
        if record and (count := trained.count_equal(record)):
            print(
                f"Warning: {count:,} of {record.num_samples:,} {split} samples are training samples of {file}, so that "
                f"the {split} metrics are too good. Use weights of a run with the same split or fold.",
                flush=True,
            )


def add_network_prefix(state_dict: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict with the prefix "network." of a `Task`, if its names lack it."""
    prefixed = {f"network.{name}": tensor for name, tensor in state_dict.items()}
    return prefixed if not state_dict.keys() & expected.keys() and prefixed.keys() & expected.keys() else state_dict


def find_last_layer(model: nn.Module) -> str:
    """Return the prefix of the parameters of the last layer, which may differ for another dataset."""
    last = [name for name, _ in model.named_parameters()][-1:]
    return "".join(last).rpartition(".")[0] + "."
