"""Word-level tokenizers, and their JSON format in a checkpoint."""

from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json, tokenizer_to_json


def test_text_is_tokenized_into_words_and_special_tokens():
    tokenizer = build_word_tokenizer(["good", "bad"])
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Good unheard bad")["input_ids"])

    assert tokens == ["[CLS]", "good", "[UNK]", "bad", "[SEP]"]


def test_tokenizer_is_restored_from_json():
    tokenizer = build_word_tokenizer(["good", "bad"])
    restored = tokenizer_from_json(tokenizer_to_json(tokenizer))

    assert tokenizer("Good unheard bad")["input_ids"] == restored("Good unheard bad")["input_ids"]
