"""The vocabulary of a model consists of the most common words."""

from firstlight.data.text import find_most_common_words


def test_vocabulary_has_no_huge_word():
    texts = ["x" * 10_000_000, "y" * 101 + " word", "word " + "z" * 100]

    assert find_most_common_words(texts, max_length=128) == ["word", "z" * 100]
