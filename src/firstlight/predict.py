"""Run inference:  python -m firstlight.predict run=logs/train/<run> input=photos/ output=predictions.csv"""

import csv
import io
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, DataError
from firstlight.run.files import write_atomically


@command("predict")
def main(cfg: DictConfig) -> int:
    """Write ID, label and probability of each input, report unreadable inputs, return the number of predictions."""
    validate_config(cfg)
    if cfg.input is None:
        raise ConfigError("No input given. Pass input=<image directory> or input=<text file>.")
    from firstlight.build import build
    from firstlight.checkpoint.resolve import resolve_checkpoint
    from firstlight.cli import console

    checkpoint = resolve_checkpoint(cfg)
    model, data, trainer = build(cfg, checkpoint, read_data=False)
    if cfg.text_column and hasattr(data, "text_column"):
        data.text_column = cfg.text_column
    names = data.set_predict_inputs(cfg.input)
    labels: dict[int, tuple[str, float]] = {}
    batches: list[Any] = trainer.predict(model, data) or []
    for batch in batches:
        probabilities, classes = batch["probabilities"].max(1)  # each (batch,)
        for index, label, probability in zip(batch["ids"], classes, probabilities, strict=True):
            labels[int(index)] = model.class_names[label], float(probability)
    unreadable = [name for index, name in enumerate(names) if index not in labels]
    for name in unreadable:
        print(f"predict: {data.get_read_error(name)}", file=sys.stderr)
    output = Path(cfg.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "label", "probability"])
    for index in sorted(set(labels) - {-1}):
        writer.writerow([names[index], labels[index][0], f"{labels[index][1]:.6f}"])
    write_atomically(output, text.getvalue())
    if len(unreadable) == len(names):
        raise DataError(f"Cannot read any of the {len(names)} inputs in {cfg.input}. Repair the inputs listed above.")
    written = len(names) - len(unreadable)
    console.print_fields(
        {"checkpoint": checkpoint, "read": f"{written} of {len(names)} inputs", "written": str(output)}
    )
    return written


if __name__ == "__main__":
    main()
