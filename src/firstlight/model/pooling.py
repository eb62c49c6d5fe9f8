"""Pooling of images, on every device, and of texts."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class MPSAdaptiveAvgPool2d(nn.Module):
    """Adaptive average pooling to size x size, equal to `nn.AdaptiveAvgPool2d(size)` within 1e-6.

    MPS does not support sizes that are not multiples of each other (pytorch issue 96056, open in torch 2.15), such as
    3 to 7 in VGG16 at 96 px. For these sizes, the mean is computed as two matrix products.

    Args:
        size: Height and width of the output.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """Pool maps of shape (batch, channels, height, width) to (batch, channels, size, size)."""
        height, width = maps.shape[-2:]
        shrinks = height % self.size == 0 and width % self.size == 0
        grows = self.size % height == 0 and self.size % width == 0
        if shrinks or grows:
            return functional.adaptive_avg_pool2d(maps, self.size)
        rows, columns = (make_averaging_matrix(length, self.size, maps) for length in (height, width))
        return rows @ maps @ columns.T


def make_averaging_matrix(length: int, size: int, like: Tensor) -> Tensor:
    """Return the averaging matrix of shape (size, length): row i averages window i.

    Window i goes from floor(i * length / size) to ceil((i + 1) * length / size), as in torch.

    Args:
        length: Length of the input.
        size: Length of the output.
        like: The matrix has the dtype and device of this tensor.
    """
    window = torch.arange(size, device=like.device).unsqueeze(1)
    start, end = window * length // size, -(-(window + 1) * length // size)
    position = torch.arange(length, device=like.device)
    is_inside = (position >= start) & (position < end)  # (size, length)
    return is_inside.to(like.dtype) / (end - start).to(like.dtype)


class MeanEmbedding(nn.Module):
    """Embeddings of the tokens of a text, and their mean over the text without its padding.

    Args:
        num_words: Number of tokens that the tokenizer knows.
        width: Size of an embedding.
    """

    def __init__(self, num_words: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_words, width)

    def forward(self, inputs: dict[str, Tensor]) -> Tensor:
        """Return a vector for each text, shape (batch, width).

        Args:
            inputs: "input_ids" and "attention_mask", each of shape (batch, tokens).
        """
        embedded = self.embedding(inputs["input_ids"])  # (batch, tokens, width)
        mask = inputs["attention_mask"].unsqueeze(-1).to(embedded.dtype)
        mean: Tensor = (embedded * mask).sum(1) / mask.sum(1)
        return mean
