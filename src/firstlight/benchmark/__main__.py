"""Measure how much faster than the CPU this machine's accelerator is:  python -m firstlight.benchmark"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.cli.command import command
from firstlight.config.compose import compose_config
from firstlight.config.options import list_option_files
from firstlight.config.validate import validate_config


@command("benchmark")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Train and evaluate each model on each accelerator; print, write and draw what came out, and return it."""
    validate_benchmark_config(cfg)
    models = list_available_workloads(cfg)
    for name in models:
        validate_config(compose_config("train", make_workload_overrides(cfg, name)))
    # Imported late: a mistake in the configuration is told before torch is loaded.
    from firstlight.benchmark.suite import BenchmarkSuite
    from firstlight.hardware.accelerator import find_best_accelerator

    accelerators = list(dict.fromkeys(cfg.accelerators or ["cpu", find_best_accelerator()]))
    versus = BenchmarkSuite(cfg.output_dir, cfg.min_seconds, cfg.repeats)
    trainings = [
        (name, compose_config("train", [*make_workload_overrides(cfg, name), f"trainer={accelerator}"]))
        for name in models
        for accelerator in accelerators
    ]
    for name, training in trainings:
        versus.check_memory(name, training)
    for name, training in trainings:
        versus.measure(name, training, list(cfg.phases))
    return versus.finalize()


def list_available_workloads(cfg: DictConfig) -> list[str]:
    """Return the trainings whose options exist: an example may be deleted without an edit here.

    Raises:
        ValueError: If none is left.
    """
    missing = {}
    for name in cfg.models:
        chosen = [word.partition("=") for word in cfg.workloads[name]]
        unknown = [f"{group}={option}" for group, _, option in chosen if group in ("model", "data")
                   and option not in list_option_files(group)]  # fmt: skip
        if unknown:
            missing[name] = unknown[0]
            print(f"skipped   {name}: there is no {unknown[0]}", flush=True)
    if len(missing) == len(cfg.models):
        raise ValueError(
            f"No training is left to measure: there is no {', '.join(missing.values())}. Add one of your own to "
            "`workloads` and `models` in configs/benchmark.yaml."
        )
    return [name for name in cfg.models if name not in missing]


def make_workload_overrides(cfg: DictConfig, name: str) -> list[str]:
    """Return a training as the words of `make train`."""
    fixed = ["trainer.max_epochs=1", "trainer.gradient_clip_val=null", "name=benchmark"]
    fixed.append(f"output_dir={cfg.output_dir}/runs")
    given = {"data.batch_size": cfg.batch_size, "trainer.precision": cfg.precision}
    return [*cfg.workloads[name], *fixed, *(f"{key}={value}" for key, value in given.items() if value), *cfg.overrides]


def validate_benchmark_config(cfg: DictConfig) -> None:
    """Refuse what cannot be measured.

    Raises:
        ValueError: an unknown training, phase or accelerator, or a size that is no positive number.
    """
    known = {"models": list(cfg.workloads), "phases": ["train", "eval"], "accelerators": ["cpu", "cuda", "mps"]}
    for name, choices in known.items():
        given = cfg[name]
        if given is None and name == "accelerators":
            continue
        if not OmegaConf.is_list(given) or not given or any(each not in choices for each in given):
            raise ValueError(
                f"{name} is a list of some of {', '.join(choices)}, but {name}={given}: type {name}=[{choices[0]}]"
            )
    for name in ("batch_size", "image_size", "max_length", "min_seconds", "repeats"):
        value = cfg[name]
        kinds = (int, float) if name == "min_seconds" else (int,)
        if name == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds) or value <= 0:
            raise ValueError(f"{name} is a positive number, but {name}={value}: give another one")


if __name__ == "__main__":
    main()
