"""The smallest models for several labels and for numbers. Each has an option in `configs/model/`."""

from typing import Any, ClassVar, Unpack

from torch import Tensor, nn

from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.model.regressor import Regressor, RegressorSettings


class TinyWords(nn.Module):
    """The mean embedding of the words of a text, and a hidden layer."""

    def __init__(self, num_words: int, width: int, num_outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_words, width, padding_idx=0)
        self.head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_outputs))

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        mask = inputs["attention_mask"].unsqueeze(-1)
        embedded = self.embedding(inputs["input_ids"])  # (batch, tokens, width)
        outputs: Tensor = self.head((embedded * mask).sum(1) / mask.sum(1))
        return outputs


def build_tiny_mlp(image_size: int, width: int, num_outputs: int) -> nn.Sequential:
    """Return two linear layers on the pixels of an image."""
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * image_size**2, width), nn.ReLU(), nn.Linear(width, num_outputs))


class TinyImagesMultiLabel(MultiLabelClassifier):
    """Two linear layers on the pixels of an image, for several labels."""

    modality: ClassVar[str] = "images"

    def __init__(self, label_names: list[str], image_size: int, width: int = 32) -> None:
        super().__init__(label_names)
        self.network = build_tiny_mlp(image_size, width, len(label_names))


class TinyImagesRegressor(Regressor):
    """Two linear layers on the pixels of an image, for a number."""

    modality: ClassVar[str] = "images"

    def __init__(self, image_size: int, width: int = 32, **settings: Unpack[RegressorSettings]) -> None:
        super().__init__(**settings)
        self.network = build_tiny_mlp(image_size, width, 1)


class WordTokenizerMixin:
    """The tokenizer of a text model, which has the words of the dataset."""

    def set_words(self, vocabulary: list[str] | None, tokenizer: str | None) -> int:
        """Set the tokenizer, and return its number of words."""
        from firstlight.data.word_tokenizer import build_word_tokenizer, tokenizer_from_json

        self._tokenizer = tokenizer_from_json(tokenizer) if tokenizer else build_word_tokenizer(vocabulary or [])
        return len(self._tokenizer)

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    def get_load_overrides(self) -> dict[str, Any]:
        from firstlight.data.word_tokenizer import tokenizer_to_json

        return {"vocabulary": None, "tokenizer": tokenizer_to_json(self._tokenizer)}


class TinyTextMultiLabel(WordTokenizerMixin, MultiLabelClassifier):
    """Mean of word embeddings, for several labels."""

    modality: ClassVar[str] = "text"

    def __init__(
        self,
        label_names: list[str],
        vocabulary: list[str] | None = None,
        tokenizer: str | None = None,
        width: int = 32,
    ) -> None:
        super().__init__(label_names)
        self.network = TinyWords(self.set_words(vocabulary, tokenizer), width, len(label_names))


class TinyTextRegressor(WordTokenizerMixin, Regressor):
    """Mean of word embeddings, for a number."""

    modality: ClassVar[str] = "text"

    def __init__(
        self,
        vocabulary: list[str] | None = None,
        tokenizer: str | None = None,
        width: int = 32,
        **settings: Unpack[RegressorSettings],
    ) -> None:
        super().__init__(**settings)
        self.network = TinyWords(self.set_words(vocabulary, tokenizer), width, 1)
