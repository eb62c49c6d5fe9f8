"""Daily sales of several shops."""

import lightning as L


class SalesDataModule(L.LightningDataModule):
    def __init__(self, training, frame, batch_size=32):
        super().__init__()
        self.training, self.frame, self.batch_size = training, frame, batch_size

    def train_dataloader(self):
        return self.training.to_dataloader(train=True, batch_size=self.batch_size)

    def val_dataloader(self):
        # The last days of each shop.
        last = type(self.training).from_dataset(self.training, self.frame, predict=True, stop_randomization=True)
        return last.to_dataloader(train=False, batch_size=self.batch_size)
