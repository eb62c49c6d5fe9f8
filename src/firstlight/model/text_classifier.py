"""Any text classification network of Hugging Face transformers, by name."""

from typing import Any, ClassVar, Unpack

from torch import Tensor

from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json, tokenizer_to_json
from firstlight.model.classifier import Classifier, ClassifierSettings
from firstlight.model.lora import LoRASettings, add_adapters, is_adapter, merge_adapters
from firstlight.model.text_network import (
    CONFIG_METADATA,
    build_text_network,
    find_max_tokens,
    load_text_network,
    validate_config_overrides,
)
from firstlight.run.errors import ConfigError


class TextClassifier(Classifier):
    """Any network that transformers' AutoModelForSequenceClassification builds.

    Args:
        class_names: Name of each class, in the order of the logits.
        vocabulary: Words of the dataset, for the tokenizer of random weights.
        weights: Name on the Hugging Face Hub, a local directory, or None for random weights.
        architecture: transformers' `model_type` of random weights, such as distilbert, roberta or gpt2.
        config_overrides: Arguments of the architecture's config for random weights, such as hidden_size.
        tokenizer: Tokenizer of random weights as JSON. If None, it is built from the vocabulary.
        trust_remote_code: Whether Python code that comes with the weights may run. It can do anything that you can do.
        lora_rank: Rank of the update of each weight (LoRA). If None, all weights are trained. See `LoRASettings`.
        lora_alpha: The update is multiplied by lora_alpha / lora_rank. If None, by 1.
        lora_dropout: Dropout probability of the inputs of the adapters, 0 to 1.
        lora_target_modules: Names of the adapted layers, or "all-linear". If None, peft's choice for the architecture.
        settings: See `ClassifierSettings`.

    Raises:
        MissingPackageError: If transformers is not installed, or peft with `lora_rank`.
        ConfigError: If the architecture or a key of `config_overrides` does not exist.
        CheckpointError: If the weights cannot be loaded.
    """

    modality: ClassVar[str] = "text"
    required_package: ClassVar[str] = "transformers"

    def __init__(
        self,
        class_names: list[str],
        vocabulary: list[str] | None = None,
        weights: str | None = None,
        architecture: str | None = "distilbert",
        config_overrides: dict[str, Any] | None = None,
        tokenizer: str | None = None,
        trust_remote_code: bool = False,
        lora_rank: int | None = None,
        lora_alpha: float | None = None,
        lora_dropout: float = 0.0,
        lora_target_modules: str | list[str] | None = None,
        **settings: Unpack[ClassifierSettings],
    ) -> None:
        super().__init__(class_names, **settings)
        lora = LoRASettings(lora_rank, lora_alpha, lora_dropout, lora_target_modules)
        classes = {"num_labels": len(class_names)}
        if weights:
            self._tokenizer, self.network = load_text_network(weights, classes, trust_remote_code)
        elif architecture is None:
            raise ConfigError("model.weights=null requires an architecture. Use e.g. model.architecture=distilbert.")
        else:
            self._tokenizer = tokenizer_from_json(tokenizer) if tokenizer else build_word_tokenizer(vocabulary or [])
            if not tokenizer:  # the config of a checkpoint may have keys of an earlier version of transformers
                validate_config_overrides(architecture, config_overrides or {})
            self.network = build_text_network(architecture, self._tokenizer, {**(config_overrides or {}), **classes})
        # Checked here, because sharding across devices changes the class of the network.
        self.has_remote_code = not type(self.network).__module__.startswith("transformers.")
        # from_pretrained returns eval mode, and Lightning would keep it: dropout would stay off.
        self.network.train()
        if lora.rank is not None:
            add_adapters(self.network, lora)

    @property
    def tokenizer(self) -> Any:
        """Tokenizer of this model."""
        return self._tokenizer

    @property
    def max_tokens(self) -> int | None:
        """Number of positions of a text; None if it is unlimited."""
        return find_max_tokens(self.network)

    def get_load_overrides(self) -> dict[str, Any]:
        """Return config and tokenizer, so that a checkpoint loads without the Hub and without the weights' directory.

        With remote code, nothing is returned: the class of the network must be loaded along with the weights again.
        """
        if self.has_remote_code:
            return {}
        config = self.network.config.to_diff_dict()
        return {
            "weights": None,
            "vocabulary": None,
            "architecture": self.network.config.model_type,
            "config_overrides": {name: value for name, value in config.items() if name not in CONFIG_METADATA},
            "tokenizer": tokenizer_to_json(self._tokenizer),
        }

    def prepare_for_export(self) -> dict[str, Any]:
        """Merge the adapters into the weights, so that every format exports a plain network."""
        if any(map(is_adapter, self.state_dict())):
            merge_adapters(self.network)
        return {"lora_rank": None, "lora_alpha": None, "lora_dropout": 0.0, "lora_target_modules": None}

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits of shape (batch, classes).

        Args:
            inputs: "input_ids" and "attention_mask", each of shape (batch, tokens).
        """
        logits: Tensor = self.network(**inputs).logits
        return logits
