"""Tokenizers of whole words, and their form in a checkpoint."""

from firstlight.data import word_tokenizer


def test_words_are_cut_between_the_marks_of_a_text():
    tokenizer = word_tokenizer.build_word_tokenizer(["good", "bad"])

    assert tokenizer.convert_ids_to_tokens(tokenizer("Good unheard bad")["input_ids"]) == [
        "[CLS]",
        "good",
        "[UNK]",
        "bad",
        "[SEP]",
    ]


def test_a_tokenizer_comes_back_from_its_text():
    tokenizer = word_tokenizer.build_word_tokenizer(["good", "bad"])
    again = word_tokenizer.from_json(word_tokenizer.to_json(tokenizer))

    assert tokenizer("Good unheard bad")["input_ids"] == again("Good unheard bad")["input_ids"]
