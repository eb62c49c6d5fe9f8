"""Text classification networks of transformers: random weights, directories in the published layout, tokenizers."""

import json

import pytest
import torch

from firstlight.run.errors import CheckpointError, ConfigError
from support.networks import check_network, check_overfits, make_network_overrides

transformers = pytest.importorskip("transformers", reason="the extra text is not installed")

from firstlight.model.text_classifier import TextClassifier  # noqa: E402

CLASSES = ["a", "b", "c"]
WORDS = ["good", "bad", "film"]
ARCHITECTURES = ["distilbert", "roberta", "gpt2", "electra", "mpnet", "albert", "deberta-v2"]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
# The special tokens of published tokenizers; GPT-2 has no padding token.
WORDPIECE_TOKENS = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
ROBERTA_TOKENS = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
GPT2_TOKENS = {"eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
LAYOUTS = {
    "albert": WORDPIECE_TOKENS,
    "distilbert": WORDPIECE_TOKENS,
    "roberta": ROBERTA_TOKENS,
    "gpt2": GPT2_TOKENS,
    "electra": WORDPIECE_TOKENS,
}


def save_published(architecture: str, directory, dtype=torch.float32):
    """Save a base model without a classifier, and its tokenizer, in the layout of the Hub; return the model."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    special_tokens = LAYOUTS[architecture]
    token_ids = {token: index for index, token in enumerate(dict.fromkeys([*special_tokens.values(), *WORDS]))}
    backend = Tokenizer(models.WordLevel(token_ids, unk_token=special_tokens["unk_token"]))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **special_tokens)
    tokenizer.save_pretrained(directory)
    ids = {name: token_ids.get(special_tokens.get(name.removesuffix("_id"))) for name in ("pad_token_id",)}
    ids |= dict.fromkeys(("bos_token_id", "eos_token_id"), 0)
    config = transformers.AutoConfig.for_model(architecture, **SIZE, **ids, vocab_size=len(token_ids))
    model = transformers.AutoModel.from_config(config, dtype=dtype)
    model.save_pretrained(directory)
    return model


def compute_logits(model: TextClassifier, texts: list[str]) -> torch.Tensor:
    tokens = model.tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()({name: tokens[name] for name in ("input_ids", "attention_mask")})


@pytest.mark.parametrize("architecture", ARCHITECTURES[:2])
def test_network_overfits_single_batch(compose_cfg, architecture):
    overrides = [f"model.architecture={architecture}", "model.config_overrides.hidden_size=64"]
    check_overfits(compose_cfg, make_network_overrides("text_classifier", *overrides), max_epochs=30)


@pytest.mark.exhaustive
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_network_trains_and_exports(compose_cfg, tmp_path, architecture):
    overrides = make_network_overrides("text_classifier", f"model.architecture={architecture}")
    print(check_network(compose_cfg, overrides, tmp_path / "export"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_padding_does_not_change_logits(architecture):
    model = TextClassifier(CLASSES, WORDS, architecture=architecture, config_overrides=SIZE)
    alone, padded = compute_logits(model, ["good film"]), compute_logits(model, ["good film", "bad " * 9])

    assert tuple(padded.shape) == (2, 3)
    # Sums over more tokens are rounded differently.
    torch.testing.assert_close(alone[0], padded[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_empty_text_has_finite_logits(architecture):
    model = TextClassifier(CLASSES, WORDS, architecture=architecture, config_overrides=SIZE)

    assert compute_logits(model, ["", "good"]).isfinite().all()


@pytest.mark.parametrize("architecture", LAYOUTS)
def test_published_directory_is_loaded_and_restored_without_it(tmp_path, capsys, architecture):
    published = save_published(architecture, tmp_path)
    model = TextClassifier(CLASSES, weights=str(tmp_path))
    line = capsys.readouterr().err
    rebuilt = TextClassifier(CLASSES, **model.get_load_overrides())
    rebuilt.load_state_dict(model.state_dict())
    texts = ["good film", "bad unheard"]

    assert "newly initialized (head" in line
    assert model.network.training
    assert torch.equal(published.get_input_embeddings().weight[3:6], model.network.get_input_embeddings().weight[3:6])
    assert model.tokenizer(texts)["input_ids"] == rebuilt.tokenizer(texts)["input_ids"]
    assert model.network.config.pad_token_id == model.tokenizer.pad_token_id == rebuilt.tokenizer.pad_token_id
    torch.testing.assert_close(compute_logits(model, texts), compute_logits(rebuilt, texts), rtol=1e-5, atol=1e-7)


def test_half_precision_weights_are_loaded_in_float32(tmp_path):
    save_published("distilbert", tmp_path, torch.bfloat16)
    model = TextClassifier(CLASSES, weights=str(tmp_path))

    assert {param.dtype for param in model.parameters()} == {torch.float32}


def test_fine_tuned_head_for_other_classes_is_new(tmp_path, capsys):
    model = TextClassifier(CLASSES, WORDS, architecture="distilbert", config_overrides=SIZE)
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    loaded = TextClassifier(["a", "b"], weights=str(tmp_path))

    assert tuple(compute_logits(loaded, ["good"]).shape) == (1, 2)
    assert "2 newly initialized (head), 2 left over" in capsys.readouterr().err


def test_directory_of_image_network_is_rejected(tmp_path):
    transformers.ResNetConfig(depths=[1], hidden_sizes=[8], embedding_size=8).save_pretrained(tmp_path)

    with pytest.raises(
        CheckpointError, match="Cannot use the tokenizer of model.weights=.*Use a directory or Hub model"
    ):
        TextClassifier(CLASSES, weights=str(tmp_path))


@pytest.mark.parametrize("content", ["", "[]", '{"model": {"type": "Nope"}}', None])
def test_directory_with_damaged_tokenizer_is_rejected_in_one_line(tmp_path, content, capfd):
    save_published("distilbert", tmp_path)
    file = tmp_path / "tokenizer.json"
    single = [{"SpecialToken": {"id": "[NOPE]", "type_id": 0}}]
    panics = {"post_processor": {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}}
    file.write_text(json.dumps(json.loads(file.read_text()) | panics) if content is None else content)

    with pytest.raises(CheckpointError, match=r"Cannot use the tokenizer of model.weights=.* \(.+\). Use a directory"):
        TextClassifier(CLASSES, weights=str(tmp_path))
    assert "panicked" not in capfd.readouterr().err


def test_weights_without_the_network_are_rejected(tmp_path):
    from safetensors.torch import save_file

    save_published("distilbert", tmp_path)
    save_file({"other.weight": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(CheckpointError, match=r"is incompatible with this network: \d+ of \d+ tensors are .*0%"):
        TextClassifier(CLASSES, weights=str(tmp_path))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"architecture": "distilbrt"}, "Unknown model.architecture 'distilbrt'. Did you mean 'distilbert'?"),
        ({"architecture": None}, "model.weights=null requires an architecture"),
        ({"config_overrides": {"hiden_size": 8}}, "Unknown setting 'model.config_overrides.hiden_size'. Did you mean"),
        ({"config_overrides": {"vocab_size": 1}}, "Invalid value for model.config_overrides.vocab_size: .*, got 1"),
    ],
)
def test_invalid_arguments_are_rejected(kwargs, message):
    with pytest.raises(ConfigError, match=message):
        TextClassifier(CLASSES, WORDS, **kwargs)


@pytest.mark.parametrize(("architecture", "max_tokens"), [("distilbert", 64), ("roberta", 63), ("gpt2", 64)])
def test_max_tokens_is_number_of_positions(architecture, max_tokens):
    model = TextClassifier(
        CLASSES, WORDS, architecture=architecture, config_overrides={**SIZE, "max_position_embeddings": 64}
    )
    texts = ["good " * 100]
    tokens = model.tokenizer(texts, truncation=True, max_length=max_tokens, return_tensors="pt")

    assert model.max_tokens == max_tokens
    assert model({name: tokens[name] for name in ("input_ids", "attention_mask")}).isfinite().all()
