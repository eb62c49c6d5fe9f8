"""The smallest models for several labels and for numbers. Each has an option in `configs/model/`."""

from typing import ClassVar, Unpack

from torch import nn

from firstlight.data.word_tokenizer import WordTokenizerMixin
from firstlight.model.multilabel import MultiLabelClassifier
from firstlight.model.pooling import MeanEmbedding
from firstlight.model.regressor import Regressor, RegressorSettings


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


def build_tiny_words(num_words: int, width: int, num_outputs: int) -> nn.Sequential:
    """Return the mean embedding of the words of a text, and two linear layers."""
    head = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, num_outputs))
    return nn.Sequential(MeanEmbedding(num_words, width), head)


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
        self.network = build_tiny_words(self.set_tokenizer(vocabulary, tokenizer), width, len(label_names))


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
        self.network = build_tiny_words(self.set_tokenizer(vocabulary, tokenizer), width, 1)
