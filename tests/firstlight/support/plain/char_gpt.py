"""A character-level GPT on an IterableDataset, with a cosine schedule over the steps of the trainer."""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

TEXT = "the quick brown fox jumps over the lazy dog. " * 8


class CharDataset(IterableDataset):
    def __init__(self, text, block_size):
        chars = sorted(set(text))
        self.ids = torch.tensor([chars.index(char) for char in text])
        self.block_size = block_size
        self.vocab_size = len(chars)

    def __iter__(self):
        for start in range(0, len(self.ids) - self.block_size - 1, self.block_size):
            chunk = self.ids[start : start + self.block_size + 1]
            yield chunk[:-1], chunk[1:]


class CharGPT(L.LightningModule):
    def __init__(self, vocab_size: int = 28, block_size: int = 16, n_embd: int = 16, learning_rate: float = 3e-3):
        super().__init__()
        self.save_hyperparameters()
        self.tokens = nn.Embedding(vocab_size, n_embd)
        self.positions = nn.Parameter(torch.zeros(block_size, n_embd))
        layer = nn.TransformerEncoderLayer(n_embd, 2, 2 * n_embd, dropout=0.1, batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(n_embd, vocab_size)

    def forward(self, idx):
        mask = nn.Transformer.generate_square_subsequent_mask(idx.shape[1], device=idx.device)
        return self.head(self.blocks(self.tokens(idx) + self.positions, mask=mask, is_causal=True))

    def training_step(self, batch, batch_idx):
        idx, targets = batch
        loss = F.cross_entropy(self(idx).flatten(0, 1), targets.flatten())
        self.log("train/loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        idx, targets = batch
        self.log("val/loss", F.cross_entropy(self(idx).flatten(0, 1), targets.flatten()), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate)
        total = self.trainer.max_epochs * 6
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]


class CharDataModule(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(CharDataset(TEXT, 16), batch_size=4)

    def val_dataloader(self):
        return DataLoader(CharDataset(TEXT[:100], 16), batch_size=4)
