"""Load the test results of a run: confusion matrix, metrics of each class, and sample predictions with images."""

import base64
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from firstlight.model.per_class_metrics import compute_class_metrics
from firstlight.run.containment import open_inside, read_text_inside
from firstlight.run_data.run_info import to_json_number, to_text

# What parsing a file with unexpected contents raises.
DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
# A larger confusion matrix is unreadable; the table of classes is not.
MAX_CLASSES = 100
MAX_SAMPLES = 32
MAX_TEXT_CHARACTERS = 600
# Size of one image, of the image of the first batch, and of all images of a page.
MAX_IMAGE_BYTES, MAX_BATCH_IMAGE_BYTES, MAX_TOTAL_IMAGE_BYTES = 256_000, 2_500_000, 8_000_000


class ImageEmbedder:
    """Convert images to data: URIs, within a budget for the page.

    Args:
        byte_budget: Total size of the images.
    """

    def __init__(self, byte_budget: int = MAX_TOTAL_IMAGE_BYTES) -> None:
        self.byte_budget = byte_budget

    def make_data_uri(self, run_dir: Path, name: str, max_bytes: int = MAX_IMAGE_BYTES) -> str | None:
        """Return a PNG file of a run as a data: URI.

        Returns None if the file is missing, too large, not a PNG file, or outside the run directory.
        """
        path = run_dir / name
        try:
            max_bytes = min(max_bytes, self.byte_budget)
            with open_inside(path, run_dir) as file:
                content = file.read(max_bytes + 1)
        except (OSError, ValueError):
            return None
        if len(content) > max_bytes or not content.startswith(b"\x89PNG\r\n\x1a\n"):
            return None
        self.byte_budget -= len(content)
        return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def load_evaluation(run_dir: Path, embedder: ImageEmbedder) -> dict[str, Any]:
    """Return the test results of a run.

    Returns:
        "matrix", "classes", "labels", "scatter", "samples" and "first_batch", as far as their files exist, and
        "missing": {name: reason}.
    """
    evaluation: dict[str, Any] = {
        "first_batch": embedder.make_data_uri(run_dir, "first_batch.png", MAX_BATCH_IMAGE_BYTES)
    }
    missing = {}
    for name, (file, parse) in RESULT_FILES.items():
        try:
            evaluation |= parse(json.loads(read_text_inside(run_dir / file)))
        except FileNotFoundError:
            missing[name] = f"This run has no {file}."
        except DAMAGE:
            missing[name] = f"{file} is corrupt."
    try:
        rows = json.loads(read_text_inside(run_dir / "predictions.json"))
        evaluation["samples"] = [format_sample(run_dir, row, embedder) for row in select_most_informative(rows)]
    except FileNotFoundError:
        missing["samples"] = "This run has no predictions.json."
    except DAMAGE:
        missing["samples"] = "predictions.json is corrupt."
    return {**evaluation, "missing": missing}


def parse_confusion_matrix(content: dict[str, Any]) -> dict[str, Any]:
    """Return the confusion matrix (None if it is too large to plot) and the metrics of each class.

    Raises:
        ValueError: If the matrix is not square, or its size differs from the number of classes.
    """
    names, counts = [str(name) for name in content["class_names"]], content["counts"]
    if not names or len(counts) != len(names) or any(len(row) != len(names) for row in counts):
        raise ValueError("the confusion matrix does not have one row and one column per class")
    counts = [[int(count) for count in row] for row in counts]
    classes = [metrics._asdict() for metrics in compute_class_metrics(counts, names)]
    return {"classes": classes, "matrix": counts if len(names) <= MAX_CLASSES else None}


def parse_label_scores(content: dict[str, Any]) -> dict[str, Any]:
    """Return the scores of each label.

    Raises:
        ValueError: If a score is not finite.
    """
    labels = [
        {
            "name": str(row["name"]),
            "f1": float(row["f1"]),
            "average_precision": None if row["average_precision"] is None else float(row["average_precision"]),
            "support": int(row["support"]),
        }
        for row in content["labels"]
    ]
    if not all(math.isfinite(value) for row in labels for value in row.values() if isinstance(value, float)):
        raise ValueError("a score is not finite")
    return {"labels": labels}


def parse_predicted_vs_true(content: dict[str, Any]) -> dict[str, Any]:
    """Return the name of the target, and true and predicted values, which are finite.

    Raises:
        ValueError: If a value is not finite, or the two lists have different lengths.
    """
    true, predicted = [float(value) for value in content["true"]], [float(value) for value in content["predicted"]]
    if len(true) != len(predicted) or not all(map(math.isfinite, [*true, *predicted])):
        raise ValueError("the points are not pairs of finite numbers")
    return {"scatter": {"target_name": str(content["target_name"]), "true": true, "predicted": predicted}}


def select_most_informative(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the most informative samples: confident errors first, then the least confident correct predictions.

    Raises:
        TypeError: If `rows` is not a list.
    """
    if not isinstance(rows, list):
        raise TypeError("the predictions are not a list")

    def error_score(row: dict[str, Any]) -> float:
        return float(row["probability"]) * (1 if row["true"] != row["predicted"] else -1)

    return sorted(rows, key=error_score, reverse=True)[:MAX_SAMPLES]


def format_sample(run_dir: Path, row: dict[str, Any], embedder: ImageEmbedder) -> dict[str, Any]:
    """Return a sample with its image, or with its text up to `MAX_TEXT_CHARACTERS`."""
    sample = {"id": to_text(row.get("id")), "true": str(row["true"]), "predicted": str(row["predicted"])}
    text = to_text(row.get("text"))
    if text is not None and len(text) > MAX_TEXT_CHARACTERS:
        text = f"{text[:MAX_TEXT_CHARACTERS]} ..."
    image = embedder.make_data_uri(run_dir, str(row["image"])) if "image" in row else None
    omitted = "image omitted (missing or size limit reached)" if "image" in row and not image else None
    return {**sample, "probability": to_json_number(row["probability"]), "text": text or omitted, "image": image}


# By name in "missing": a file of a run, and the function that parses its content.
RESULT_FILES: dict[str, tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    "matrix": ("confusion_matrix.json", parse_confusion_matrix),
    "labels": ("label_scores.json", parse_label_scores),
    "scatter": ("predicted_vs_true.json", parse_predicted_vs_true),
}
