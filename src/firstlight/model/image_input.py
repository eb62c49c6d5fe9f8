"""The images that a model expects: its optional attributes `input_mean`, `input_std` and `input_size`."""

from lightning.pytorch import LightningModule

from firstlight.data.images import ImageDataModule
from firstlight.run.errors import ConfigError, invalid_value


def apply_image_input(model: LightningModule, data: ImageDataModule) -> None:
    """Normalize images as the model states, and check their size.

    A model may have the attributes `input_mean` and `input_std`, per RGB channel for pixels from 0 to 1, and
    `input_size`, the only valid side of an image in pixels.

    Raises:
        ConfigError: If the images have another size.
    """
    mean, std = getattr(model, "input_mean", None), getattr(model, "input_std", None)
    if mean is not None and std is not None:
        data.set_normalization(mean, std)
    size = getattr(model, "input_size", None)
    if size is not None and size != data.image_size:
        name = getattr(model, "name", None)
        expected = f"{size}, the input size of {name if isinstance(name, str) else type(model).__name__}"
        raise ConfigError(invalid_value("data.image_size", data.image_size, expected, f"Set data.image_size={size}."))
