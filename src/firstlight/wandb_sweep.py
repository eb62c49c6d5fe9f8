"""Let W&B's server choose the settings of trainings:  python -m firstlight.wandb_sweep file=sweeps/optimizer.yaml"""

import math
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from firstlight.cli.command import command
from firstlight.cli.errors import format_user_error
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config

METHODS = ("bayes", "random", "grid")


@command("wandb_sweep")
def main(cfg: DictConfig) -> str | None:
    """Check every value of a sweep, create it, and do so many of its trainings; return its id."""
    validate_config(cfg)
    if cfg.count < 1:
        raise ValueError(f"count is a number of trainings, but count={cfg.count}: give 1 or more")
    sweep = load_sweep_config(Path(cfg.file))
    jobs = make_probe_overrides(sweep["parameters"])
    for words in jobs:
        validate_training_config(words)
    print(f"sweep     {cfg.file}, {sweep['method']} over {', '.join(sweep['parameters'])}")
    print(f"job       {shlex.join(['python', '-m', 'firstlight.train', *jobs[0]])}", flush=True)
    return None if cfg.dry_run else run_agent(sweep, cfg.count)


def run_agent(sweep: dict[str, Any], count: int) -> str:
    """Create a sweep on the server and work on it.

    Raises:
        ValueError: the server cannot be used.
    """
    # Imported late: a mistake in the file is told first.
    import wandb

    from firstlight.logger.wandb_auth import resolve_mode

    mode, reason = resolve_mode("auto")
    if mode != "online":
        raise ValueError(f"A sweep of W&B exists online only ({reason}): run `wandb login`, or use `make sweep`")
    entity, project = sweep.get("entity"), sweep.get("project")
    name: str = wandb.sweep(sweep, entity=entity, project=project)
    # The agent starts `python`: this one, not the first on the PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    wandb.agent(name, count=count, entity=entity, project=project)
    return name


def load_sweep_config(file: Path) -> dict[str, Any]:
    """Return a sweep in W&B's format.

    Raises:
        ValueError: the file is none.
    """
    if not file.is_file():
        raise ValueError(f"There is no sweep in {file}: give file=<a YAML file>, such as sweeps/optimizer.yaml")
    try:
        # By OmegaConf's own rules, to which 1e-5 is a number.
        sweep: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (yaml.YAMLError, OSError) as error:
        raise ValueError(f"{file} is no YAML ({' '.join(str(error).split())}): mend that line") from error
    missing = [
        name for name in ("method", "parameters", "command") if not isinstance(sweep, dict) or not sweep.get(name)
    ]
    if missing:
        raise ValueError(f"A sweep says method, parameters and command, but {file} has no {missing[0]}: add it")
    if sweep["method"] not in METHODS:
        raise ValueError(f"method is one of {', '.join(METHODS)}, but {file} says {sweep['method']}: choose one")
    if sweep["method"] == "bayes" and not (sweep.get("metric") or {}).get("name"):
        raise ValueError(f"method: bayes needs a metric, but {file} names none: add name: val/accuracy, goal: maximize")
    return sweep


def make_probe_overrides(parameters: dict[str, Any]) -> list[list[str]]:
    """Return settings of trainings, among which each value of each parameter occurs, as W&B's agent would type them.

    Of a distribution, these are its bounds.
    """
    values = {name: list_parameter_values(name, node) for name, node in parameters.items()}
    first = {name: each[0] for name, each in values.items()}
    jobs = [first, *({**first, name: value} for name, each in values.items() for value in each[1:])]
    return [[f"{name}={value}" for name, value in job.items()] for job in jobs]


def list_parameter_values(name: str, node: Any) -> list[Any]:
    """Return the values that a parameter can take, or the bounds of its distribution.

    Raises:
        ValueError: it says none.
    """
    if not isinstance(node, dict) or "parameters" in node:
        raise ValueError(
            f"A parameter is one setting with its values, but {name} is {node}: write group.name, value(s)"
        )
    if "value" in node:
        return [node["value"]]
    if node.get("values"):
        return list(node["values"])
    if {"min", "max"} <= set(node):
        return get_distribution_bounds(node)
    if "mu" in node:
        return [float(node["mu"])]
    raise ValueError(
        f"A parameter has value, values, or min and max, but {name} has {', '.join(node)}: give its values"
    )


def get_distribution_bounds(node: dict[str, Any]) -> list[Any]:
    """Return the bounds of a distribution, whole numbers where it yields only those."""
    low, high = node["min"], node["max"]
    whole = isinstance(low, int) and isinstance(high, int)
    kind = node.get("distribution") or ("int_uniform" if whole else "uniform")
    if kind == "int_uniform" or (kind.startswith("q_") and whole and isinstance(node.get("q", 1), int)):
        return [low, high]
    if kind in ("log_uniform", "q_log_uniform", "inv_log_uniform"):
        return [math.exp(low), math.exp(high)]
    return [float(low), float(high)]


def validate_training_config(words: list[str]) -> None:
    """Refuse settings that `make train` would refuse.

    Raises:
        ValueError: what it would say.
    """
    try:
        validate_config(compose_config("train", [*words, "output_dir=logs"]))
    except Exception as error:
        text = format_user_error(error, "train", words)
        if text is None:
            raise
        raise ValueError(text) from error


if __name__ == "__main__":
    main()
