"""The digits of scikit-learn, enlarged."""

import runpy
import sys

import numpy as np
import pytest

from firstlight.run.errors import ConfigError, MissingPackageError
from support.datamodules import prepare_data

from my_project.data import digits
from my_project.data.digits import DigitsDataModule, load_digits


def test_splits_and_shape():
    data = prepare_data(DigitsDataModule())

    assert [len(data.datasets[name]) for name in ("train", "val", "test")] == [1437, 180, 180]
    assert tuple(next(iter(data.train_dataloader()))["inputs"].shape) == (32, 3, 32, 32)


def test_classes_have_same_proportion_in_every_split():
    datasets = prepare_data(DigitsDataModule()).datasets
    proportions = {name: np.bincount(dataset.labels) / len(dataset) for name, dataset in datasets.items()}

    np.testing.assert_allclose(proportions["train"], proportions["val"], atol=0.03)
    np.testing.assert_allclose(proportions["train"], proportions["test"], atol=0.03)


def test_image_size_that_is_not_a_multiple_of_8_is_rejected():
    with pytest.raises(ConfigError, match="Invalid value for data.image_size: expected a multiple of 8 .*, got 30"):
        DigitsDataModule(image_size=30)


def test_digits_equal_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    expected = datasets.load_digits()
    ink, labels = load_digits()

    assert np.array_equal(ink, expected.images)
    assert np.array_equal(labels, expected.target)


def test_scikit_learn_is_not_imported(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    # Run the file again, because this process has imported it already.
    runpy.run_path(digits.__file__)["load_digits"]()

    assert "sklearn" not in sys.modules


def test_missing_package_is_reported(monkeypatch):
    monkeypatch.setattr(digits, "find_spec", lambda name: None)

    with pytest.raises(MissingPackageError, match="data=digits requires the 'scikit-learn' package, .* `make setup`"):
        DigitsDataModule().setup()
