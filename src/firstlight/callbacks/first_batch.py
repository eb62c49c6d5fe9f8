"""Write the images of the first training batch, as the model receives them."""

from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from PIL import Image
from torchvision.utils import make_grid

from firstlight.data.images import ImageDataModule
from firstlight.data.normalization import denormalize_to_uint8
from firstlight.logger.media import log_image
from firstlight.run.files import write_atomically
from firstlight.run.optional import continue_on_failure


class FirstBatchImages(Callback):
    """Write the first augmented images of a training run to first_batch.png; normalization is undone for display.

    The file makes a wrong transform visible at a glance. The loggers also receive the image, as
    "train/first_batch".

    Args:
        output_dir: The run directory.
        num_samples: Maximum number of images.
    """

    def __init__(self, output_dir: str, num_samples: int = 16) -> None:
        self.output_dir = Path(output_dir)
        self.num_samples = num_samples

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Write the file before the first step, if the images come from an `ImageDataModule`."""
        is_first = trainer.global_step == 0 and batch_idx == 0 and trainer.is_global_zero
        data = trainer.datamodule  # type: ignore[attr-defined]
        if is_first and isinstance(data, ImageDataModule):
            self._write_images(trainer, data, batch["inputs"])

    @continue_on_failure("first_batch.png")
    def _write_images(self, trainer: Trainer, data: ImageDataModule, inputs: Any) -> None:
        images = denormalize_to_uint8(inputs[: self.num_samples], data.mean, data.std).cpu()
        path = self.output_dir / "first_batch.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grid = make_grid(images, nrow=8, pad_value=255)
        image = Image.fromarray(grid.permute(1, 2, 0).numpy())
        write_atomically(path, partial(image.save, format="PNG"))
        log_image(trainer, "train/first_batch", [path])
