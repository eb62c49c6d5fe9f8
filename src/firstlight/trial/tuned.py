"""The file of `make tune`: the fastest trainer settings for a model, its inputs, a batch size and a device."""

import json
import platform
from pathlib import Path
from typing import Any

import torch

from firstlight.config.options import AUTO
from firstlight.config.switches import get_accumulated_batches
from firstlight.hardware.device import get_device_name
from firstlight.run.files import read_json_or_empty, write_atomically
from firstlight.run.redaction import redact

Settings = dict[str, Any]

TUNED_FILE = Path("logs/tuned.json")
# The trainer settings that `make tune` chooses, and the values that are accepted from the file. cuDNN's benchmark mode
# is not among them: with it, resuming is not exact.
TUNED_VALUES: dict[str, tuple[Any, ...]] = {
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
    "channels_last": (True, False),
    "compile": (True, False),
    "compile_mode": ("default", "reduce-overhead", "max-autotune"),
    "fused_optimizer": (True, False),
}
# Keys of a datamodule that change neither the inputs nor the time of a step.
OTHER_DATA_KEYS = ("batch_size", "num_workers", "num_samples", "seed", "max_skipped_samples")


def make_key(settings: Settings, accelerator: str) -> Settings:
    """Return what identifies the tuned settings of a training run, as plain values.

    Args:
        settings: Config of the run, with the `auto` values of its trainer.
        accelerator: "cuda", "mps" or "cpu".
    """
    trainer, data = settings["trainer"], settings["data"] or {}
    sizes = {name: value for name, value in data.items() if isinstance(value, int) and name not in OTHER_DATA_KEYS}
    key = {
        "model": drop_floats(settings["model"]),
        "data": {"_target_": data.get("_target_"), **sizes},
        "batch_size": data.get("batch_size"),
        "accelerator": accelerator,
        "device": get_device_name(torch.device(accelerator)),
        "optimizer": (settings["optimizer"] or {}).get("_target_"),
        "freeze": [settings.get("freeze") or [], settings.get("unfreeze") or []],
        "accumulate_grad_batches": get_accumulated_batches(settings),
        # Values that the user has set: the others were found in combination with these.
        "fixed": {name: trainer[name] for name in TUNED_VALUES if trainer.get(name, AUTO) != AUTO},
    }
    return dict(redact(json.loads(json.dumps(key, default=str))))


def drop_floats(value: Any) -> Any:
    """Return a copy of plain values without numbers such as a dropout, which do not change the time of a step."""
    if isinstance(value, dict):
        return {name: drop_floats(item) for name, item in value.items() if not isinstance(item, float)}
    return [drop_floats(item) for item in value] if isinstance(value, list) else value


def describe_system() -> dict[str, str]:
    """Return the versions that change what is fastest: an entry of another version is stale."""
    mac = platform.mac_ver()[0]
    system = f"macOS {mac}" if mac else f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    return {"torch": torch.__version__, "os": system}


def read_entries(file: Path = TUNED_FILE) -> list[Settings]:
    """Return the entries of the file; none if it does not exist or is corrupt."""
    entries = read_json_or_empty(file).get("entries")
    entries = entries if isinstance(entries, list) else []
    return [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("key"), dict)]


def write_entry(entry: Settings, file: Path = TUNED_FILE) -> None:
    """Write an entry in place of the earlier one with the same key.

    Raises:
        OSError: If the file cannot be written.
    """
    others = [other for other in read_entries(file) if other["key"] != entry["key"]]
    write_atomically(file, json.dumps({"entries": [*others, entry]}, indent=2) + "\n")


def find_entry(key: Settings, file: Path = TUNED_FILE) -> tuple[Settings | None, str]:
    """Return the entry with a key, and why an entry is not used, or "".

    An entry is stale if torch, the operating system or the device has changed.
    """
    entries = read_entries(file)
    same = [entry for entry in entries if entry["key"] == key]
    if not same:
        moved = [entry for entry in entries if {**entry["key"], "device": key["device"]} == key]
        return None, format_stale(moved[0], "device", moved[0]["key"]["device"], key["device"]) if moved else ""
    entry = same[0]
    for name, now in describe_system().items():
        if entry.get(name) != now:
            return None, format_stale(entry, name, entry.get(name), now)
    if "trainer" not in entry:
        return None, "ignored an interrupted search. Run `make tune` to continue it."
    return (entry, "") if is_valid(entry) else (None, f"ignored the entry in {file}: invalid values. Run `make tune`.")


def format_stale(entry: Settings, name: str, before: object, now: object) -> str:
    """Return the line about an entry that was measured in another environment."""
    date = str(entry.get("date", ""))[:10]
    return f"ignored the settings of {date}: {name} was {before}, and is now {now}. Run `make tune` again."


def is_valid(entry: Settings) -> bool:
    """Return True if an entry has only settings and values that `make tune` writes."""
    settings, workers, steps = entry.get("trainer"), entry.get("num_workers"), entry.get("compile_min_steps")
    known = {name: [(type(value), value) for value in values] for name, values in TUNED_VALUES.items()}
    return (
        isinstance(settings, dict)
        and all((type(value), value) in known.get(name, []) for name, value in settings.items())
        and all(value is None or (type(value) is int and 0 <= value < 10**9) for value in (workers, steps))
    )
