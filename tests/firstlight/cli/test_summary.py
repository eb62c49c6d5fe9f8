"""The header line of the data states which dataset a command reads."""

import pytest
from omegaconf import OmegaConf

from firstlight.cli.summary import count_split_sizes, describe_adapters, describe_data
from support.tiny_training import build_tiny


def test_line_ends_with_the_places_of_the_dataset(compose_cfg):
    _, data, _, cfg = build_tiny(compose_cfg)
    sizes = count_split_sizes(data)
    known = "FakeImageDataModule: 256 train / 64 val / 64 test, 2 classes, batch size 4"
    assert describe_data(data, sizes, cfg.data) == known

    places = {"root": "data/birds\n", "val_path": None, "test_path": "data/test.csv", "dataset_name": "ag_news"}
    line = describe_data(data, sizes, OmegaConf.create({"image_size": 2, **places}))
    assert line == rf"{known}, root=data/birds\n, test_path=data/test.csv, dataset_name=ag_news"


def test_dataloaders_of_the_model_have_no_place(compose_cfg):
    assert describe_data(None, {}, None) == "dataloaders of the model"


@pytest.mark.parametrize(
    ("settings", "is_shown"),
    [
        ({"model": {"lora_rank": 4, "weights": None}}, True),
        ({"model": {"lora_rank": None, "weights": None}}, False),
        ({"model": {"lora_rank": 4, "weights": "weights.pt"}}, False),
        ({"model": {"lora_rank": 4, "weights": None}, "init_from": {"path": "last.ckpt"}}, False),
        ({"model": {"lora_rank": 4, "weights": None}, "resume": "run"}, False),
    ],
)
def test_adapters_of_random_weights_are_noted(settings, is_shown):
    assert bool(describe_adapters(OmegaConf.create(settings))) == is_shown
