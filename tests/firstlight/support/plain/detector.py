"""A detector with batches as torchvision's detectors take them: a list of images and a list of dictionaries."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def collate(batch):
    return tuple(zip(*batch, strict=True))


class BoxesDataset(Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        size = 8 + index % 3  # images of different sizes
        image = torch.rand(3, size, size, generator=generator)
        num_boxes = 1 + index % 2
        corners = torch.rand(num_boxes, 2, generator=generator) * 4
        return image, {"boxes": torch.cat([corners, corners + 3], 1), "labels": torch.ones(num_boxes).long()}


class BoxesDataModule(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(BoxesDataset(18), batch_size=3, shuffle=True, collate_fn=collate)

    def val_dataloader(self):
        return DataLoader(BoxesDataset(6), batch_size=3, collate_fn=collate)

    def test_dataloader(self):
        return DataLoader(BoxesDataset(6), batch_size=3, collate_fn=collate)


class Detector(L.LightningModule):
    """Predicts the first box of each image. In training, the network returns a dictionary of losses."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.head = nn.Linear(16, 4)

    def forward(self, images, targets=None):
        boxes = torch.cat([self.head(self.backbone(image[None])) for image in images])
        if targets is None:
            return [{"boxes": box[None]} for box in boxes]
        wanted = torch.stack([target["boxes"][0] for target in targets])
        return {"loss_box_reg": nn.functional.smooth_l1_loss(boxes, wanted), "loss_norm": 1e-3 * boxes.pow(2).mean()}

    def training_step(self, batch, batch_idx):
        losses = self(*batch)
        self.log_dict({f"train/{name}": value for name, value in losses.items()}, batch_size=len(batch[0]))
        return sum(losses.values())

    def validation_step(self, batch, batch_idx):
        self.log("val/box_error", self(*batch)["loss_box_reg"], batch_size=len(batch[0]), sync_dist=True)

    def test_step(self, batch, batch_idx):
        self.log("test/box_error", self(*batch)["loss_box_reg"], batch_size=len(batch[0]), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)
        return {"optimizer": optimizer, "lr_scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)}
