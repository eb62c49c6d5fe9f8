"""Molecules as SMILES strings, with one property each."""

import csv

import lightning as L
from chemprop.data import MoleculeDatapoint, MoleculeDataset, build_dataloader


class MoleculeDataModule(L.LightningDataModule):
    def __init__(self, path, batch_size=32):
        super().__init__()
        self.path, self.batch_size = path, batch_size

    def setup(self, stage):
        with open(self.path) as file:
            points = [MoleculeDatapoint.from_smi(row["smiles"], [float(row["y"])]) for row in csv.DictReader(file)]
        a, b = int(0.6 * len(points)), int(0.8 * len(points))
        self.splits = [MoleculeDataset(part) for part in (points[:a], points[a:b], points[b:])]

    def train_dataloader(self):
        return build_dataloader(self.splits[0], self.batch_size)

    def val_dataloader(self):
        return build_dataloader(self.splits[1], self.batch_size, shuffle=False)

    def test_dataloader(self):
        return build_dataloader(self.splits[2], self.batch_size, shuffle=False)
