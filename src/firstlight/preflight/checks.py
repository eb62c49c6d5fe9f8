"""From a configuration to the answer about it. What is heavy is imported late: a mistake is told first."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def validate_request(cfg: DictConfig) -> None:
    """Refuse a training on another device, and a Mac of no size.

    Raises:
        ValueError: it is for another device, or the size is no positive number.
    """
    size = cfg.mac_memory_gb
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | float) or size <= 0):
        raise ValueError(
            f"mac_memory_gb is the memory of a Mac in GB, but mac_memory_gb={size}: give a number such as 16"
        )
    if cfg.trainer.accelerator != "mps":
        name = cfg.trainer.accelerator
        raise ValueError(f"preflight judges a training on MPS, but trainer={name}: leave trainer= out, or give mps")


def run_preflight(cfg: DictConfig) -> dict[str, Any]:
    """Return the answer as plain values."""
    from firstlight.build import build
    from firstlight.mps.dry_run import dry_run
    from firstlight.preflight import format_report
    from firstlight.run.files import to_plain_dict

    settings = to_plain_dict(cfg)
    trainer = settings["trainer"]
    precision, deterministic = trainer["precision"], trainer["deterministic"] is True
    # The same objects as in training, on the device that every machine has.
    trainer |= {"accelerator": "cpu", "precision": "32-true", "deterministic": None}
    trainer |= {"profiler": None, "compile": False}
    model, data, built = build(OmegaConf.create(settings))
    report = dry_run(model, data, built, precision, deterministic=deterministic)
    about = {"model": type(model).__name__, "data": type(data).__name__, "precision": precision}
    return about | format_report.summarize(report, data.batch_size, cfg.mac_memory_gb)


def raise_if_unsupported(found: dict[str, Any]) -> None:
    """Refuse a training that has faults.

    Raises:
        ValueError: it has.
    """
    if not found["works"]:
        more = f" (and {len(found['faults']) - 1} more above)" if len(found["faults"]) > 1 else ""
        raise ValueError(f"this training would fail: {found['faults'][0]}{more}")
