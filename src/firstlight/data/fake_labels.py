"""Random labels of any task, for smoke tests and benchmarks."""

import numpy as np


def make_fake_names(task: str, num_classes: int) -> list[str]:
    """Return the names of the classes or labels, or the name of the target in a list."""
    noun = {"classification": "class", "multilabel": "label"}.get(task)
    return [f"{noun} {index}" for index in range(num_classes)] if noun else ["target"]


def draw_fake_labels(task: str, num_samples: int, num_classes: int, rng: np.random.Generator) -> np.ndarray:
    """Return labels in which every class and every label occurs.

    Args:
        task: "classification", "multilabel" or "regression".
        num_samples: Number of samples.
        num_classes: Number of classes or labels.
        rng: Source of the random labels.

    Returns:
        Class indices (samples,), 0 or 1 of shape (samples, labels), or targets from 0 to 1, shape (samples,).
    """
    classes = np.arange(num_samples) % num_classes
    if task == "classification":
        return classes
    if task == "multilabel":
        is_set = rng.random((num_samples, num_classes)) < 0.3
        is_set[np.arange(num_samples), classes] = True
        return is_set.astype(np.float32)
    return rng.random(num_samples)
