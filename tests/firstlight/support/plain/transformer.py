"""A Hugging Face model with its own optimizer and a warm-up schedule that reads the trainer."""

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset
from transformers import AutoConfig, AutoModelForSequenceClassification, get_linear_schedule_with_warmup
from transformers.tokenization_utils_base import BatchEncoding


class TokensDataset(Dataset):
    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        label = index % 2
        ids = torch.randint(2 + 10 * label, 12 + 10 * label, (4 + index % 3,), generator=torch.manual_seed(index))
        return {"input_ids": ids, "labels": label}


def collate(samples):
    ids = torch.nn.utils.rnn.pad_sequence([sample["input_ids"] for sample in samples], batch_first=True)
    labels = torch.tensor([sample["labels"] for sample in samples])
    return BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long(), "labels": labels})


class TokensDataModule(L.LightningDataModule):
    def __init__(self, train_batch_size: int = 4):
        super().__init__()
        self.train_batch_size = train_batch_size

    def train_dataloader(self):
        return DataLoader(TokensDataset(20), self.train_batch_size, shuffle=True, collate_fn=collate)

    def val_dataloader(self):
        return DataLoader(TokensDataset(8), 4, collate_fn=collate)

    def test_dataloader(self):
        return DataLoader(TokensDataset(8), 4, collate_fn=collate)


class SequenceClassifier(L.LightningModule):
    def __init__(self, model_type: str = "distilbert", warmup_steps: int = 2, weight_decay: float = 0.01):
        super().__init__()
        self.save_hyperparameters()
        config = AutoConfig.for_model(
            model_type, vocab_size=32, dim=16, n_layers=1, n_heads=2, hidden_dim=32, num_labels=2
        )
        self.model = AutoModelForSequenceClassification.from_config(config)
        self.outputs = []

    def forward(self, **inputs):
        return self.model(**inputs)

    def training_step(self, batch, batch_idx):
        return self(**batch)[0]

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        loss, logits = self(**batch)[:2]
        self.outputs.append({"loss": loss, "correct": (logits.argmax(1) == batch["labels"]).float().mean()})
        return loss

    def on_validation_epoch_end(self):
        means = {name: torch.stack([output[name] for output in self.outputs]).mean() for name in self.outputs[0]}
        self.log_dict({"val_loss": means["loss"], "accuracy": means["correct"]}, prog_bar=True, sync_dist=True)
        self.outputs.clear()

    def test_step(self, batch, batch_idx):
        self.log("test_loss", self(**batch)[0], batch_size=len(batch["labels"]), sync_dist=True)

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-3, weight_decay=self.hparams.weight_decay)
        scheduler = get_linear_schedule_with_warmup(
            optimizer, self.hparams.warmup_steps, self.trainer.estimated_stepping_batches
        )
        return [optimizer], [{"scheduler": scheduler, "interval": "step", "frequency": 1}]
