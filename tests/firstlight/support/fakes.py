"""Small files in the place of what a data set would download, or reads from a path of the user's."""

import runpy
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from firstlight.config.instantiate import locate
from firstlight.config.options import load_option
from support.checkout import PROJECT, ROOT

NUM_ROWS = [(f"word{index} word{index % 7} class{index % 2}", index % 2) for index in range(40)]


def write_images(node: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a folder of images for each of two classes."""
    for index, (_, label) in enumerate(NUM_ROWS):
        path = folder / f"class {label}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (index, 200 * label, 90)).save(path)
    return {"root": str(folder)}


def write_texts(node: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write a file with the columns that are asked for."""
    file = folder / "texts.csv"
    lines = [f"{node['text_column']},{node['label_column']}", *(f"{text},{label}" for text, label in NUM_ROWS)]
    file.write_text("\n".join(lines))
    return {"path": str(file), "val_path": None, "test_path": None}


def write_hub_dataset(node: dict[str, Any], folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Save a set with the splits and the columns that are asked for."""
    datasets = pytest.importorskip("datasets")
    columns = {
        node["text_column"]: [text for text, _ in NUM_ROWS],
        node["label_column"]: [label for _, label in NUM_ROWS],
    }
    splits = {"train", node["val_split"], node["test_split"]} - {None}
    datasets.DatasetDict({name: datasets.Dataset.from_dict(columns) for name in splits}).save_to_disk(str(folder))
    return {"dataset_name": str(folder)}


# By the name of the class, or of one that it builds on.
FAKES = {"ImageFolder": write_images, "TextFile": write_texts, "HubText": write_hub_dataset}


def make_fake_files(name: str, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the settings by which a data set reads small files of our own; none where it needs none.

    tests/<package>/test_<name>.py may have a function `stand_in` for it, with the parameters of those here.
    """
    node = load_option("data", name)
    file = PROJECT and ROOT / "tests" / PROJECT.name / f"test_{name}.py"
    if file and file.is_file() and (own := runpy.run_path(str(file)).get("stand_in")):
        return own(node, folder, patch)
    for base in locate(node["_target_"]).__mro__:
        if base.__name__ in FAKES:
            return FAKES[base.__name__](node, folder, patch)
    return {}


def raise_unreachable(*args: Any, **kwargs: Any) -> None:
    """Be `socket.getaddrinfo` of a machine without a network."""
    raise OSError("tests use no network")


def explain_absence(error: BaseException | None, node: dict[str, Any]) -> str | None:
    """Return why a data set cannot be had here, if an error says so: a file is missing, or a download failed."""
    paths = [value for value in node.values() if isinstance(value, str) and "/" in value]
    why = str(error)
    while error is not None:
        if isinstance(error, OSError):
            return why
        error = error.__cause__ or error.__context__
    return why if any(not Path(path).exists() for path in paths) else None
