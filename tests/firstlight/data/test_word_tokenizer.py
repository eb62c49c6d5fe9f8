"""Word-level tokenizers, and their JSON format in a checkpoint."""

import json

import pytest

from firstlight.data.tokenization import tokenize
from firstlight.data.tokenizer_errors import convert_tokenizer_errors
from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json, tokenizer_to_json
from firstlight.run.errors import CheckpointError


def test_text_is_tokenized_into_words_and_special_tokens():
    tokenizer = build_word_tokenizer(["good", "bad"])
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("Good unheard bad")["input_ids"])

    assert tokens == ["[CLS]", "good", "[UNK]", "bad", "[SEP]"]


def test_tokenizer_is_restored_from_json():
    tokenizer = build_word_tokenizer(["good", "bad"])
    restored = tokenizer_from_json(tokenizer_to_json(tokenizer))

    assert tokenizer("Good unheard bad")["input_ids"] == restored("Good unheard bad")["input_ids"]


TEMPLATE = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}}
# Each is valid JSON; the first makes the Rust library panic when it processes a text.
DAMAGES = {
    "unknown special token": {
        "post_processor": {**TEMPLATE, "single": [{"SpecialToken": {"id": "[NOPE]", "type_id": 0}}]}
    },
    "unknown model": {"model": {"type": "Nope"}},
    "no model": {"model": None},
    "no unknown token": {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[NOPE]"}},
    "unknown normalizer": {"normalizer": {"type": "Nope"}},
    "special tokens are a list": {"special_tokens": ["[PAD]"]},
    "special token without a name": {"special_tokens": {"pad_token": 3}},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tokenizer_is_rejected_in_one_line(damage, capfd):
    state = json.loads(tokenizer_to_json(build_word_tokenizer(["good"]))) | DAMAGES[damage]

    with pytest.raises(CheckpointError, match=r"Cannot use the tokenizer of the checkpoint \(.+\). Use another"):
        tokenizer_from_json(json.dumps(state))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("text", ["", "{", "[]", "17", "null", '"x"'])
def test_other_json_is_no_tokenizer(text):
    with pytest.raises(CheckpointError, match="Cannot use the tokenizer of the checkpoint"):
        tokenizer_from_json(text)


class PanicException(BaseException):
    """Named as the class of pyo3, which cannot be imported."""


@pytest.mark.parametrize("error", [PanicException("index out of bounds\nat x.rs"), Exception("no vocabulary")])
def test_panic_at_a_text_is_one_line(error):
    def fail(texts, **kwargs):
        raise error

    with pytest.raises(
        CheckpointError, match="Cannot use the tokenizer of the model .(index out of bounds|no vocabulary)."
    ):
        tokenize(["a"], fail, 8)


def test_interruption_of_a_tokenizer_is_no_error():
    with pytest.raises(KeyboardInterrupt), convert_tokenizer_errors("x", "y."):
        raise KeyboardInterrupt
