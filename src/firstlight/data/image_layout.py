"""Which split and which class an image belongs to, by the directories above it."""

import os
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from firstlight.data.image_files import (
    describe_missing_images,
    is_dir,
    is_file,
    is_ignored_dir,
    list_images,
    report_ignored,
)
from firstlight.data.label_column import RawLabel
from firstlight.data.path_array import PathArray
from firstlight.run.errors import DataError
from firstlight.run.progress import track

# Images, and the label of each: a class name, or what `LabelColumns.parse` returns.
LabeledImages = tuple[Sequence[Path], list[RawLabel]]

# Names of the directories of a split, in any case, as in Hugging Face datasets (datasets.data_files.SPLIT_KEYWORDS).
SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# A name may have more parts, as in seg_train or val2017.
PART_SEPARATORS = re.compile(r"[-._ 0-9]+")
MAX_LISTED_NAMES = 6


def find_split_dirs(root: Path) -> dict[str, Path]:
    """Return the directory of each split, or `root` as "train" if it contains no directories of splits.

    Args:
        root: Directory with the data.

    Raises:
        DataError: If the layout is ambiguous, or there is no directory of "train".
    """
    dirs = list_dirs(root)
    exact = [path for path in dirs if get_split(path.name, by_parts=False)]
    others = [path for path in dirs if get_split(path.name) is None]
    if not exact and others:
        return {"train": root}
    if not others:
        return _validate_splits(root, [path for path in dirs if get_split(path.name)])
    nested = [path for path in exact if list_dirs(path)]
    with_images = [path for path in others if list_images(path).names]
    if not with_images:
        print(f"data: ignored directories without images in {root}: {format_names(others)}.", file=sys.stderr)
        return _validate_splits(root, exact)
    # "train" is also a kind of vehicle: among other classes, a directory with images only is a class.
    if not nested and [get_split(path.name) for path in exact] == ["train"]:
        return {"train": root}
    raise DataError(
        f"The layout of {root} is ambiguous: {format_names(exact)} is named like a split, but "
        f"{format_names(with_images)} next to it like a class. Move the classes into {root}/train, or rename or "
        "remove one of them."
    )


def _validate_splits(root: Path, dirs: list[Path]) -> dict[str, Path]:
    if not dirs:
        return {"train": root}
    by_split: dict[str, list[Path]] = {}
    for path in dirs:
        by_split.setdefault(str(get_split(path.name)), []).append(path)
    for split, paths in by_split.items():
        if len(paths) > 1:
            raise DataError(
                f"The layout of {root} is ambiguous: {format_names(paths)} are directories of the split {split!r}. "
                "Rename or remove all but one."
            )
    if "train" not in by_split:
        raise DataError(
            f"{root} contains the split directories {format_names(dirs)}, but none for training. Add a directory train."
        )
    return {split: by_split[split][0] for split in SPLIT_NAMES if split in by_split}


def get_split(name: str, by_parts: bool = True) -> str | None:
    """Return the split that a directory is named after, or None.

    Args:
        name: Name of the directory.
        by_parts: Whether a name of which one part is a split counts, such as seg_train.
    """
    parts = [name.lower(), *(PART_SEPARATORS.split(name.lower()) if by_parts else [])]
    return next((split for part in parts for split, names in SPLIT_NAMES.items() if part in names), None)


def list_dirs(directory: Path) -> list[Path]:
    """Return the sorted directories in a directory, without hidden ones and directories of programs."""
    with os.scandir(directory) as entries:
        return sorted(directory / entry.name for entry in entries if is_dir(entry) and not is_ignored_dir(entry.name))


def list_labeled_images(dirs: dict[str, Path], known_names: Sequence[str] = ()) -> dict[str, LabeledImages]:
    """Return the images of each split under its class directories, and the class of each; print the ignored files.

    Args:
        dirs: Directory of each split. The class directories of "train" determine the classes.
        known_names: Classes of a trained model. If given, classes may be missing or empty.

    Raises:
        DataError: If there are fewer than two classes, a class has no training images, or a split has other classes.
    """
    class_names = list(find_class_dirs(dirs["train"]))
    if len(class_names) < 2 and not known_names:
        raise DataError(describe_missing_classes(dirs["train"]))
    splits: dict[str, LabeledImages] = {}
    for split, directory in dirs.items():
        class_dirs = find_class_dirs(directory)
        if not class_dirs:
            images = len(list_images(directory).names)
            raise DataError(
                f"{directory} contains no class directories, and the classes of its {images} images are unknown. Add "
                "class directories, or move it elsewhere."
            )
        if unknown := [name for name in class_dirs if name not in {*class_names, *known_names}]:
            raise DataError(
                f"{directory} has the classes {format_names(unknown)}, which {dirs['train']} lacks. Rename or remove "
                f"{'them' if len(unknown) > 1 else 'it'}, or add training images."
            )
        splits[split] = _list_split(directory, class_dirs, is_complete=split == "train" and not known_names)
        if missing := [name for name in class_names if name not in class_dirs]:
            print(f"data: {directory} has no images of {format_names(missing)}.", file=sys.stderr, flush=True)
    return splits


def _list_split(directory: Path, class_dirs: dict[str, Path], is_complete: bool) -> LabeledImages:
    names: list[str] = []
    labels: list[RawLabel] = []
    ignored: Counter[str] = Counter()
    with os.scandir(directory) as entries:
        for entry in entries:
            if is_file(entry) or (is_dir(entry) and is_ignored_dir(entry.name)):
                ignored["outside of class directories"] += 1
    for name, class_dir in track(class_dirs.items(), f"Listing classes of {directory}"):
        validate_no_splits(class_dir)
        listing = list_images(class_dir)
        if is_complete and not listing.names:
            raise DataError(describe_missing_images(class_dir, listing.ignored))
        ignored += listing.ignored
        names += listing.names
        labels += [name] * len(listing.names)
    report_ignored(directory, ignored)
    return PathArray.from_names(names), labels


def find_class_dirs(directory: Path) -> dict[str, Path]:
    """Return the class directories by class, sorted by name.

    Raises:
        DataError: If two directories have the same name but for the encoding of accents.
    """
    class_dirs: dict[str, Path] = {}
    for path in list_dirs(directory):
        # macOS decomposes accents ("e" and an accent), other systems compose them.
        name = unicodedata.normalize("NFC", path.name)
        if name in class_dirs:
            raise DataError(f"{directory} contains two directories named {name!r}. Merge them.")
        class_dirs[name] = path
    return dict(sorted(class_dirs.items()))


def validate_no_splits(class_dir: Path) -> None:
    """Check that a class directory is not divided into splits, because all images below it belong to one dataset.

    Raises:
        DataError: If it contains a directory of "train" and one of another split.
    """
    splits = [path for path in list_dirs(class_dir) if get_split(path.name, by_parts=False)]
    if len({get_split(path.name) for path in splits}) > 1:
        raise DataError(
            f"The layout of {class_dir.parent} is ambiguous: the class {class_dir.name} contains the directories "
            f"{format_names(splits)}. Move the splits above the classes, e.g. to {class_dir.parent}/train/"
            f"{class_dir.name}."
        )


def describe_missing_classes(directory: Path) -> str:
    """Return the message for a directory with fewer than two class directories."""
    dirs = list_dirs(directory)
    if len(dirs) == 1 and len(list_dirs(dirs[0])) > 1:
        fix = f"If the classes are in {dirs[0].name}, set data.root={dirs[0]}, or move them up."
    else:
        listing = list_images(directory)
        found = f" ({len(listing.names)} images outside)" if listing.names and not dirs else ""
        if listing.ignored[".zip"]:
            found = " (but a .zip file; extract it)"
        return (
            f"{directory} must contain at least 2 class directories, got {len(dirs)}{found}. Add one directory of "
            "images per class, or set data.label_column to a column of metadata.csv."
        )
    return f"{directory} must contain at least 2 class directories, got only {dirs[0].name}. {fix}"


def format_names(names: Iterable[str | Path]) -> str:
    """Return names separated by commas, up to `MAX_LISTED_NAMES` of them."""
    listed = [name.name if isinstance(name, Path) else name for name in names]
    rest = f" and {len(listed) - MAX_LISTED_NAMES} more" if len(listed) > MAX_LISTED_NAMES else ""
    return ", ".join(listed[:MAX_LISTED_NAMES]) + rest
