"""The workloads of a benchmark: overrides of `make train`, one workload for each combination of several values."""

import re
from dataclasses import dataclass

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from firstlight.config.options import list_option_files
from firstlight.run.errors import ConfigError, invalid_value

PHASES = ("train", "eval", "predict")
# Overrides that change the network or its inputs, so that published results no longer compare.
NETWORK_KEYS = ("model", "data", "experiment")


@dataclass(frozen=True)
class Workload:
    """A training run that is measured.

    Attributes:
        name: The model, and the values that distinguish the workload from others of the same model.
        overrides: Overrides of `make train`.
        published: Name under which published results are compared; None if overrides have changed network or data.
    """

    name: str
    overrides: list[str]
    published: str | None


def make_workloads(cfg: DictConfig) -> list[Workload]:
    """Return the available workloads, one for each combination of the overrides that list several values.

    Raises:
        ConfigError: If there is none, or an override cannot be parsed.
    """
    combinations = expand_overrides(list(cfg.overrides))
    is_varied = [len({overrides[index] for overrides in combinations}) > 1 for index in range(len(cfg.overrides))]
    workloads = []
    for model in list_available_models(cfg):
        for overrides in combinations:
            values = [lower_booleans(override) for override, varied in zip(overrides, is_varied, strict=True) if varied]
            keys = {override.lstrip("+~").partition("=")[0].partition(".")[0] for override in overrides}
            published = None if keys & set(NETWORK_KEYS) else model
            train_overrides = make_workload_overrides(cfg, model, overrides)
            workloads.append(Workload(" ".join([model, *values]), train_overrides, published))
    return workloads


def expand_overrides(overrides: list[str]) -> list[list[str]]:
    """Return each combination of the values of the overrides: "a=1,2" has two values, as in `make sweep`."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    return [list(job) for job in BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]]


def lower_booleans(override: str) -> str:
    """Return an override with a Boolean as it is written in YAML; Hydra's sweeper writes it as in Python."""
    return re.sub("=(True|False)$", lambda match: match[0].lower(), override)


def list_available_models(cfg: DictConfig) -> list[str]:
    """Return the models whose options exist, since a project may delete the examples.

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


def make_workload_overrides(cfg: DictConfig, name: str, overrides: list[str] | None = None) -> list[str]:
    """Return the overrides of `make train` for a workload.

    Args:
        cfg: Config of the benchmark.
        name: A workload, or an option of configs/model, which is measured with its own dataset.
        overrides: Further overrides, each with one value. If None, the overrides of the config.
    """
    overrides = list(cfg.overrides) if overrides is None else overrides
    fixed = ["name=benchmark", f"output_dir={cfg.output_dir}/runs"]
    optional = {"data.batch_size": cfg.batch_size, "trainer.precision": cfg.precision}
    given = [f"{key}={value}" for key, value in optional.items() if value]
    return [*merge_overrides(cfg.workloads.get(name, [f"model={name}"]), overrides), *fixed, *given, *overrides]


def merge_overrides(defaults: list[str], overrides: list[str]) -> list[str]:
    """Return the default overrides that others do not replace: another dataset also replaces the keys of the dataset.

    Hydra accepts a config group only once.
    """
    replaced = {override.partition("=")[0] for override in overrides}
    return [
        override
        for override in defaults
        if (key := override.partition("=")[0]) not in replaced and not (key.startswith("data.") and "data" in replaced)
    ]


def validate_benchmark_config(cfg: DictConfig) -> None:
    """Check the names and numbers in the config of the benchmark.

    Raises:
        ConfigError: If a workload, phase or accelerator is unknown, or a number is not positive.
    """
    models = dict.fromkeys([*cfg.workloads, *list_option_files("model")])
    known = {
        "models": list(models),
        "phases": list(PHASES),
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
    examples = {"batch_size": 64, "image_size": 224, "max_length": 128, "repeats": 3}
    for key, example in {**examples, "min_seconds": 1, "max_seconds": 20}.items():
        value = cfg[key]
        is_duration = key.endswith("_seconds")
        types = (int, float) if is_duration else (int,)
        if key == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, types) or value <= 0:
            expected = "a positive number" if is_duration else "a positive integer"
            raise ConfigError(invalid_value(key, value, expected, f"Use e.g. {key}={example}."))
    if not isinstance(cfg.compare, bool):
        raise ConfigError(invalid_value("compare", cfg.compare, "true or false", "Use e.g. compare=true."))
