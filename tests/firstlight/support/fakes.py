"""Small fake files that replace a dataset's download or a file of the user."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from firstlight.config.instantiate import locate
from firstlight.config.options import load_option
from support.checkout import PROJECT, ROOT

LABELED_TEXTS = [(f"word{index} word{index % 7} class{index % 2}", index % 2) for index in range(40)]


def write_images(node: dict[str, Any], data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a directory of images for each of two classes."""
    for index, (_, label) in enumerate(LABELED_TEXTS):
        path = data_dir / f"class {label}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (index, 200 * label, 90)).save(path)
    return {"root": str(data_dir)}


def write_texts(node: dict[str, Any], data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a CSV file with the configured columns."""
    file = data_dir / "texts.csv"
    lines = [f"{node['text_column']},{node['label_column']}", *(f"{text},{label}" for text, label in LABELED_TEXTS)]
    file.write_text("\n".join(lines))
    return {"path": str(file), "val_path": None, "test_path": None}


def write_hub_dataset(node: dict[str, Any], data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Save a dataset with the configured splits and columns."""
    datasets = pytest.importorskip("datasets")
    columns = {
        node["text_column"]: [text for text, _ in LABELED_TEXTS],
        node["label_column"]: [label for _, label in LABELED_TEXTS],
    }
    splits = {"train", node["val_split"], node["test_split"]} - {None}
    datasets.DatasetDict({name: datasets.Dataset.from_dict(columns) for name in splits}).save_to_disk(str(data_dir))
    return {"dataset_name": str(data_dir)}


# By the name of the class or of one of its base classes.
WRITERS = {
    "ImageFolderDataModule": write_images,
    "TextFileDataModule": write_texts,
    "HubTextDataModule": write_hub_dataset,
}


def make_fake_files(name: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the config keys with which a dataset reads small fake files; nothing if it needs none.

    A project may define a function `make_fake_files` in tests/<package>/test_<name>.py, with the config of the dataset,
    a directory and a monkeypatch as parameters.
    """
    node = load_option("data", name)
    test_file = PROJECT and ROOT / "tests" / PROJECT.name / f"test_{name}.py"
    if test_file and test_file.is_file() and (writer := runpy.run_path(str(test_file)).get("make_fake_files")):
        return writer(node, data_dir, monkeypatch)
    for base in locate(node["_target_"]).__mro__:
        if base.__name__ in WRITERS:
            return WRITERS[base.__name__](node, data_dir, monkeypatch)
    return {}


def raise_unreachable(*args: Any, **kwargs: Any) -> None:
    """Replace `socket.getaddrinfo`, as on a machine without a network."""
    raise OSError("tests use no network")


def explain_absence(error: BaseException | None, node: dict[str, Any]) -> str | None:
    """Return why a dataset is not available here, if a file is missing or a download failed; None otherwise."""
    paths = [value for value in node.values() if isinstance(value, str) and "/" in value]
    reason = str(error)
    while error is not None:
        if isinstance(error, OSError):
            return reason
        error = error.__cause__ or error.__context__
    return reason if any(not Path(path).exists() for path in paths) else None
