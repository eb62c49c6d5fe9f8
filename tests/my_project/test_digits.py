"""Digits are those of scikit-learn, enlarged."""

import runpy
import sys

import numpy as np
import pytest

from firstlight.data import split
from support.datamodules import prepare_data

from my_project.data import digits
from my_project.data.digits import DigitsDataModule, load_digits


def test_digits_are_enlarged_and_complete():
    digits = prepare_data(DigitsDataModule())

    assert [len(digits.datasets[name]) for name in ("train", "val", "test")] == [1437, 180, 180]
    assert tuple(next(iter(digits.train_dataloader()))["inputs"].shape) == (32, 3, 32, 32)


def test_every_split_has_every_digit_in_proportion():
    datasets = prepare_data(DigitsDataModule()).datasets
    shares = {name: np.bincount(each.labels) / len(each) for name, each in datasets.items()}

    np.testing.assert_allclose(shares["train"], shares["val"], atol=0.03)
    np.testing.assert_allclose(shares["train"], shares["test"], atol=0.03)


def test_digits_to_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="enlarged from 8 px, but data.image_size=30: give a multiple of 8"):
        DigitsDataModule(image_size=30)


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    source = datasets.load_digits()
    ink, labels = load_digits()

    assert np.array_equal(ink, source.images)
    assert np.array_equal(labels, source.target)


def test_digits_are_read_without_importing_scikit_learn(monkeypatch):
    for name in [each for each in sys.modules if each.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    runpy.run_path(split.__file__)
    runpy.run_path(digits.__file__)["read_digits"]()

    assert "sklearn" not in sys.modules


def test_missing_digits_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)

    with pytest.raises(
        ValueError, match="data=digits reads .*digits.csv.gz of scikit-learn: install .* by `make setup`"
    ):
        DigitsDataModule().setup()
