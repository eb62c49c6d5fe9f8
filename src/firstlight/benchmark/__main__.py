"""Measure the speed-up of this machine's accelerator over its CPU:  python -m firstlight.benchmark"""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from firstlight.cli.command import command
from firstlight.config.compose import compose_config
from firstlight.config.options import list_option_files
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, invalid_value
from firstlight.run.output_path import validate_new_dir


@command("benchmark")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Measure training and evaluation of each workload on each accelerator; print, save, plot and return the results.

    Returns:
        The contents of benchmark.json.

    Raises:
        ConfigError: If the config is invalid.
        HardwareError: If an accelerator is not available, or a workload does not fit into its memory.
    """
    validate_benchmark_config(cfg)
    validate_new_dir(str(cfg.output_dir), "output_dir")
    names = list_available_workloads(cfg)
    for name in names:
        validate_config(compose_config("train", make_workload_overrides(cfg, name)))
    # Imported here so that configuration errors are reported before torch is imported.
    from firstlight.benchmark.suite import BenchmarkSuite
    from firstlight.hardware.accelerator import find_best_accelerator

    accelerators = list(dict.fromkeys(cfg.accelerators or ["cpu", find_best_accelerator()]))
    suite = BenchmarkSuite(cfg.output_dir, cfg.min_seconds, cfg.repeats)
    workloads = [
        (name, compose_config("train", [*make_workload_overrides(cfg, name), f"trainer={accelerator}"]))
        for name in names
        for accelerator in accelerators
    ]
    for name, train_cfg in workloads:
        suite.check_memory(name, train_cfg)
    for name, train_cfg in workloads:
        suite.measure(name, train_cfg, list(cfg.phases))
    return suite.finalize()


def list_available_workloads(cfg: DictConfig) -> list[str]:
    """Return the names of the workloads whose model and dataset exist, since a project may delete the examples.

    Raises:
        ConfigError: If there is none.
    """
    missing = {}
    for name in cfg.models:
        overrides = [override.partition("=") for override in cfg.workloads.get(name, [f"model={name}"])]
        unknown = [f"{group}={option}" for group, _, option in overrides if group in ("model", "data")
                   and option not in list_option_files(group)]  # fmt: skip
        if unknown:
            missing[name] = unknown[0]
            print(f"Skipped {name}: {unknown[0]} does not exist.", flush=True)
    if len(missing) == len(cfg.models):
        raise ConfigError(
            f"No workload is available, because these options do not exist: {', '.join(missing.values())}. Add a "
            "workload to `workloads` and `models` in configs/benchmark.yaml."
        )
    return [name for name in cfg.models if name not in missing]


def make_workload_overrides(cfg: DictConfig, name: str) -> list[str]:
    """Return the overrides of `make train` for a workload."""
    fixed = ["trainer.max_epochs=1", "trainer.gradient_clip_val=null", "name=benchmark"]
    fixed.append(f"output_dir={cfg.output_dir}/runs")
    optional = {"data.batch_size": cfg.batch_size, "trainer.precision": cfg.precision}
    given = [f"{key}={value}" for key, value in optional.items() if value]
    # Any other model is measured with its own dataset.
    return [*cfg.workloads.get(name, [f"model={name}"]), *fixed, *given, *cfg.overrides]


def validate_benchmark_config(cfg: DictConfig) -> None:
    """Check the names and numbers in the config of the benchmark.

    Raises:
        ConfigError: If a workload, phase or accelerator is unknown, or a number is not positive.
    """
    models = dict.fromkeys([*cfg.workloads, *list_option_files("model")])
    known = {
        "models": list(models),
        "phases": ["train", "eval"],
        "accelerators": ["cpu", "cuda", "mps"],
    }
    for key, names in known.items():
        value = cfg[key]
        if value is None and key == "accelerators":
            continue
        if not OmegaConf.is_list(value) or not value or any(name not in names for name in value):
            received = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
            expected = f"a non-empty subset of [{', '.join(names)}]"
            raise ConfigError(invalid_value(key, received, expected, f"Use e.g. {key}=[{names[0]}]."))
    examples = {"batch_size": 64, "image_size": 224, "max_length": 128, "min_seconds": 10, "repeats": 3}
    for key, example in examples.items():
        value = cfg[key]
        types = (int, float) if key == "min_seconds" else (int,)
        if key == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, types) or value <= 0:
            expected = "a positive number" if key == "min_seconds" else "a positive integer"
            raise ConfigError(invalid_value(key, value, expected, f"Use e.g. {key}={example}."))


if __name__ == "__main__":
    main()
