"""Load pretrained weights into a network, by name or from a file, and report how many of its tensors were loaded."""

import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from firstlight.model.lora import is_adapter
from firstlight.model.weights_file import read_network_weights
from firstlight.run.download import get_torch_hub_dir, show_download
from firstlight.run.errors import CheckpointError, ConfigError, unknown_name
from firstlight.run.rank import is_nonzero_rank

# Weights that fill less than this fraction of a network belong to another network. The rest is for layers that some
# publications leave out, such as the pooler of RoBERTa.
MIN_LOADED_FRACTION = 0.9
MAX_LISTED_MODULES = 3
# Names in torchvision's files for DenseNet, such as denselayer1.norm.1.weight; the module is called norm1.
OLD_DENSENET_NAME = re.compile(r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.)")


@dataclass(frozen=True)
class WeightsReport:
    """The tensors of a network that were loaded, and those that were not.

    Attributes:
        num_tensors: Number of tensors of the network, parameters and buffers.
        initialized: Names of the tensors of the network that were not loaded, in the order of the network.
        head: Those of them that belong to the head, which is new for each dataset.
        unused: Names of the tensors in the file that were not loaded.
        loaded_fraction: Loaded fraction of the elements outside the head, 0 to 1.
    """

    num_tensors: int
    initialized: list[str]
    head: set[str]
    unused: list[str]
    loaded_fraction: float

    def format(self) -> str:
        """Return the counts, such as "160 of 162 tensors loaded, 2 newly initialized (head), 2 left over"."""
        parts = [f"{self.num_tensors - len(self.initialized)} of {self.num_tensors} tensors loaded"]
        if self.initialized:
            parts.append(f"{len(self.initialized)} newly initialized ({self._format_modules()})")
        return ", ".join([*parts, *([f"{len(self.unused)} left over"] if self.unused else [])])

    def check(self, setting: str, fix: str, min_fraction: float = MIN_LOADED_FRACTION) -> None:
        """Check that the weights belong to this network.

        Args:
            setting: Key and value of the weights, such as "model.weights=weights.pt".
            fix: An imperative sentence with a period.
            min_fraction: Smallest valid fraction of the elements outside the head.

        Raises:
            CheckpointError: If less than this fraction was loaded.
        """
        missing = [name for name in self.initialized if name not in self.head]
        if missing and self.loaded_fraction < min_fraction:
            raise CheckpointError(
                f"{setting} is incompatible with this network: {len(missing)} of {self.num_tensors} tensors are "
                f"missing or have another shape (first: {missing[0]}; {self.loaded_fraction:.0%} of the elements "
                f"outside the head fit, {min_fraction:.0%} are required). {fix}"
            )

    def _name_module(self, name: str) -> str:
        """Return the module of a tensor, for the head and the adapters in one word."""
        if is_adapter(name):
            return "adapters"
        return "head" if name in self.head else name.rpartition(".")[0] or name

    def _format_modules(self) -> str:
        """Return the modules of the new tensors, the head by that name."""
        modules = list(dict.fromkeys(map(self._name_module, self.initialized)))
        num_others = len(modules) - MAX_LISTED_MODULES
        others = f" and {num_others} other modules" if num_others > 0 else ""
        return f"{', '.join(modules[:MAX_LISTED_MODULES])}{others}"


def build_report(
    tensors: Mapping[str, Tensor],
    initialized: Collection[str],
    unused: Collection[str],
    is_head: Callable[[str], bool],
) -> WeightsReport:
    """Return the report for a network.

    Args:
        tensors: State dict of the network.
        initialized: Names of its tensors that were not loaded.
        unused: Names of the tensors in the file that were not loaded.
        is_head: Returns True for the name of a tensor of the head.
    """
    # A network that consists of a head only has to be loaded completely.
    body = [name for name in tensors if not is_head(name)] or list(tensors)
    total = sum(tensors[name].numel() for name in body)
    loaded = sum(tensors[name].numel() for name in body if name not in initialized)
    return WeightsReport(
        num_tensors=len(tensors),
        initialized=[name for name in tensors if name in initialized],
        head=set(tensors) - set(body),
        unused=sorted(unused),
        loaded_fraction=loaded / total if total else 1.0,
    )


def print_report(text: str) -> None:
    """Print a line about weights. To stderr, because the output of a command may be JSON."""
    if not is_nonzero_rank():
        print(f"{'weights':<8}  {text}", file=sys.stderr, flush=True)


def load_state_dict(
    network: nn.Module, state_dict: Mapping[str, Tensor], is_head: Callable[[str], bool], skip_head: bool = True
) -> WeightsReport:
    """Load the tensors that have a name and a shape of the network; the others keep their values.

    Args:
        network: The network.
        state_dict: The weights.
        is_head: Returns True for the name of a tensor of the head.
        skip_head: Whether the head keeps its values even if it fits.
    """
    expected = network.state_dict()
    skipped = {
        name
        for name, tensor in state_dict.items()
        if name in expected and (tensor.shape != expected[name].shape or (skip_head and is_head(name)))
    }
    fitting = OrderedDict((name, tensor) for name, tensor in state_dict.items() if name not in skipped)
    # The versions of the modules, for those that translate names of an earlier version, such as torchvision's ViT. A
    # file without versions has the current ones (torchvision's MNASNet requires them), unless its names are others.
    current = {} if fitting.keys() - expected.keys() else getattr(expected, "_metadata", {})
    fitting._metadata = getattr(state_dict, "_metadata", None) or current  # type: ignore[attr-defined]
    result = network.load_state_dict(fitting, strict=False)
    return build_report(expected, set(result.missing_keys), {*result.unexpected_keys, *skipped}, is_head)


def load_pretrained(network: nn.Module, weights: str, weights_enum: Any, skip_prefix: str, hint: str = "") -> None:
    """Load pretrained weights into a network, except for its head, and print how many tensors were loaded.

    Args:
        network: A torchvision network.
        weights: Name of a member of `weights_enum`, such as IMAGENET1K_V2, or a file with a state dict or checkpoint.
        weights_enum: torchvision's enumeration of the weights of this network.
        skip_prefix: Parameters whose names start with this prefix are not loaded, such as "fc.".
        hint: Sentence with a setting of the model that gives its tensors the shapes of published weights.

    Raises:
        ConfigError: If `weights` is neither a known name nor a file.
        CheckpointError: If the weights cannot be loaded, or do not fit this network.
    """
    if weights in weights_enum.__members__:
        state_dict = _download(weights_enum[weights])
    elif Path(weights).is_file():
        state_dict = read_network_weights(weights)
    else:
        problem = unknown_name("model.weights", weights, weights_enum.__members__)
        raise ConfigError(f"{problem} Set model.weights to a known name, a file path, or null for random weights.")
    load_network_weights(network, state_dict, weights, (skip_prefix,), hint)


def load_network_weights(
    network: nn.Module, state_dict: Mapping[str, Tensor], weights: str, head: tuple[str, ...], hint: str = ""
) -> None:
    """Load a state dict into the network of a model, except for its head, and print how many tensors were loaded.

    Args:
        network: The network.
        state_dict: The weights.
        weights: Value of model.weights, for messages.
        head: Prefixes of the names of the tensors of the head.
        hint: Sentence with a setting of the model that gives its tensors the shapes of published weights.

    Raises:
        CheckpointError: If the weights do not fit this network. A tensor of another shape outside the head is an error.
    """
    fix = f"{hint} Or use random weights with model.weights=null.".strip()
    expected = network.state_dict()
    has_other_shape = any(
        name in expected and tensor.shape != expected[name].shape and not name.startswith(head)
        for name, tensor in state_dict.items()
    )
    try:
        report = load_state_dict(network, state_dict, lambda name: name.startswith(head))
    except (RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"model.weights={weights} is incompatible with this network ({' '.join(str(error).split())[:200]}). {fix}"
        ) from error
    report.check(f"model.weights={weights}", fix, 1.0 if has_other_shape else MIN_LOADED_FRACTION)
    print_report(report.format())


def unknown_network(name: str, known: Collection[str], listing: str) -> str:
    """Return the message for a network that does not exist, with the nearest existing names.

    Args:
        name: The received name.
        known: The existing names.
        listing: Python expression that lists all names.
    """
    nearest = get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(nearest)}?" if nearest else f"{listing} lists all {len(known)} names."
    return f"Unknown model.name '{name}'. {hint}"


def _download(weights: Any) -> dict[str, Tensor]:
    network = type(weights).__name__.removesuffix("_Weights")
    directory = get_torch_hub_dir(os.environ)
    size_mb = round(weights.meta.get("_file_size", 0)) or None
    try:
        with show_download(f"Downloading model.weights={weights.name} for {network}", directory, size_mb):
            state_dict: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except OSError as error:
        raise CheckpointError(
            f"Could not download model.weights={weights.name} for {network} ({error}). Check your connection, or "
            f"download {weights.url} on another machine and copy it to {directory}, or set model.weights to the file."
        ) from error
    if any(OLD_DENSENET_NAME.match(name) for name in state_dict):
        return {OLD_DENSENET_NAME.sub(r"\1\2", name): tensor for name, tensor in state_dict.items()}
    return state_dict
