"""Read the weights in a file: a state dict, a checkpoint of any LightningModule, or safetensors."""

from pathlib import Path

from torch import Tensor

from firstlight.checkpoint.io import read_checkpoint
from firstlight.run.errors import CheckpointError


def read_network_weights(file: str) -> dict[str, Tensor]:
    """Return the weights of the network in a file with a state dict or a checkpoint of a model.

    Raises:
        CheckpointError: If the file contains something else.
    """
    state_dict = read_state_dict(file, "model.weights")
    if any(name.startswith("network.") for name in state_dict):
        return {name.removeprefix("network."): tensor for name, tensor in state_dict.items()}
    return state_dict


def read_state_dict(file: str, setting: str) -> dict[str, Tensor]:
    """Return the state dict in a file: .safetensors, or a state dict or checkpoint of torch.

    Args:
        file: The file, or a directory with a sharded checkpoint.
        setting: Config key of the file, for messages.

    Raises:
        CheckpointError: If the file contains something else.
    """
    try:
        if Path(file).suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        saved = read_checkpoint(Path(file))
        state_dict: dict[str, Tensor] = saved.get("state_dict", saved)
        if not all(isinstance(tensor, Tensor) for tensor in state_dict.values()):
            raise TypeError("the values are not tensors")
    except Exception as error:  # torch raises many kinds for a file without plain weights
        raise CheckpointError(
            f"{setting}={file} is not a state dict or checkpoint ({type(error).__name__}). Use another file."
        ) from error
    return state_dict
