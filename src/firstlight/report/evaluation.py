"""Read what a run's test left: the confusion matrix, the scores of each class, and samples with their pictures."""

import base64
import json
from pathlib import Path
from typing import Any

from firstlight.model.per_class_metrics import compute_class_metrics
from firstlight.report.run_info import to_json_number, to_text

# Beyond that a matrix cannot be read; the table of classes still can.
MAX_CLASSES = 100
MAX_SAMPLES = 32
MAX_TEXT_CHARACTERS = 600
# Bytes of one picture, of the first batch, and of all pictures of a page.
MAX_IMAGE_BYTES, MAX_BATCH_IMAGE_BYTES, MAX_TOTAL_IMAGE_BYTES = 256_000, 2_500_000, 8_000_000


class ImageEmbedder:
    """Pictures as data: URIs, as long as the page has room for them."""

    def __init__(self, room: int = MAX_TOTAL_IMAGE_BYTES) -> None:
        """Have room for so many bytes."""
        self.byte_budget = room

    def make_data_uri(self, folder: Path, name: str, largest: int = MAX_IMAGE_BYTES) -> str | None:
        """Return a PNG file of a run; None if it is missing, too large, no PNG, or outside the run's folder."""
        file = folder / name
        try:
            if not file.resolve().is_relative_to(folder.resolve()) or file.stat().st_size > min(
                largest, self.byte_budget
            ):
                return None
            content = file.read_bytes()
        except (OSError, ValueError):
            return None
        if not content.startswith(b"\x89PNG\r\n\x1a\n"):
            return None
        self.byte_budget -= len(content)
        return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def load_evaluation(folder: Path, pictures: ImageEmbedder) -> dict[str, Any]:
    """Return "matrix", "classes", "samples" and "first_batch" of a run, each None where its file is missing.

    "missing" tells, for each that is None, why.
    """
    found: dict[str, Any] = {"first_batch": pictures.make_data_uri(folder, "first_batch.png", MAX_BATCH_IMAGE_BYTES)}
    missing = {}
    try:
        found |= load_confusion_matrix(json.loads((folder / "confusion_matrix.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        missing["matrix"] = "This run kept no confusion_matrix.json."
    except (OSError, ValueError, TypeError, KeyError):
        missing["matrix"] = "confusion_matrix.json is damaged."
    try:
        rows = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
        found["samples"] = [format_sample(folder, row, pictures) for row in sort_by_error(rows)]
    except FileNotFoundError:
        missing["samples"] = "This run kept no predictions.json."
    except (OSError, ValueError, TypeError, KeyError):
        missing["samples"] = "predictions.json is damaged."
    return {**found, "missing": missing}


def load_confusion_matrix(kept: dict[str, Any]) -> dict[str, Any]:
    """Return the matrix as it is shown, and the scores of each class.

    Raises:
        ValueError: the counts are not square, or not those of the classes.
    """
    names, counts = [str(name) for name in kept["class_names"]], kept["counts"]
    if not names or len(counts) != len(names) or any(len(row) != len(names) for row in counts):
        raise ValueError("counts need a row and a column for each class")
    counts = [[int(count) for count in row] for row in counts]
    classes = [scores._asdict() for scores in compute_class_metrics(counts, names)]
    return {"classes": classes, "matrix": counts if len(names) <= MAX_CLASSES else None}


def sort_by_error(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the most telling samples: confident mistakes first, then what was right by the least margin.

    Raises:
        TypeError: it is no list of samples.
    """
    if not isinstance(rows, list):
        raise TypeError("samples come in a list")

    def telling(row: dict[str, Any]) -> float:
        return float(row["probability"]) * (1 if row["true"] != row["predicted"] else -1)

    return sorted(rows, key=telling, reverse=True)[:MAX_SAMPLES]


def format_sample(folder: Path, row: dict[str, Any], pictures: ImageEmbedder) -> dict[str, Any]:
    """Return a sample with its picture or the beginning of its text."""
    shown = {"id": to_text(row.get("id")), "true": str(row["true"]), "predicted": str(row["predicted"])}
    written = to_text(row.get("text"))
    if written is not None and len(written) > MAX_TEXT_CHARACTERS:
        written = f"{written[:MAX_TEXT_CHARACTERS]} ..."
    picture = pictures.make_data_uri(folder, str(row["image"])) if "image" in row else None
    left_out = "picture left out: it is missing, or the page has no room" if "image" in row and not picture else None
    return {**shown, "probability": to_json_number(row["probability"]), "text": written or left_out, "picture": picture}
