"""Overrides of the smallest runs with all training switches: of an image model and of a text model."""

from support.resume_matrix import BASE, TEXT_BASE
from support.resume_rows import ACCUMULATION, EMA, LORA

STOPPING = ["callbacks.early_stopping.patience=9", "callbacks.early_stopping.min_delta=0.05"]
RATES = ["optimizer=adamw", "optimizer.lr=0.01", "optimizer.layer_decay=0.5", "scheduler=cosine"]
MIXING = ["data.mixup_alpha=0.4", "data.cutmix_alpha=1.0", "data.random_erasing=0.5", "data.rand_augment=9"]
IMAGES = [
    *BASE,
    "model=tiny_images",
    "data.image_size=8",
    "model.label_smoothing=0.1",
    *EMA,
    *STOPPING,
    *ACCUMULATION,
    *RATES,
    *MIXING,
    "optimizer.no_weight_decay=[*block1*]",
    "callbacks.unfreezing.schedule={0:[network.head.*],1:[network.block2.*],2:[network.*]}",
]
TEXTS = [
    *TEXT_BASE,
    *LORA,
    *EMA,
    *STOPPING,
    *ACCUMULATION,
    *RATES,
    "optimizer.no_weight_decay=['*.lora_A.*']",
    "callbacks.unfreezing.schedule={0:[network.*classifier*],1:['*.lora_A.*'],2:['*.lora_B.*']}",
]
