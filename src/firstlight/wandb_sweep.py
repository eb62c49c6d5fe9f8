"""Run jobs of a W&B sweep, which chooses their values:  python -m firstlight.wandb_sweep file=sweeps/optimizer.yaml"""

import math
import os
import sys
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from omegaconf import DictConfig, OmegaConf

from firstlight.cli.command import command
from firstlight.cli.errors import format_user_error
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, invalid_value, not_found
from firstlight.run.text import format_command

METHODS = ("bayes", "random", "grid")


@command("wandb_sweep")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Validate all values of a sweep, create the sweep, and run `count` of its jobs.

    Returns:
        The file, the sweep ID (None if `dry_run` is true), and the command of a job.

    Raises:
        ConfigError: If the config, the sweep file or one of its values is invalid, or W&B is offline.
    """
    validate_config(cfg)
    if cfg.count < 1:
        raise ConfigError(invalid_value("count", cfg.count, "a positive integer", "Use e.g. count=10."))
    sweep = load_sweep_config(Path(cfg.file))
    jobs = make_probe_overrides(sweep["parameters"])
    for overrides in jobs:
        validate_training_config(overrides)
    print(f"sweep     {cfg.file}, {sweep['method']} over {', '.join(sweep['parameters'])}")
    command = format_command("python", "-m", "firstlight.train", *jobs[0])
    print(f"job       {command}", flush=True)
    sweep_id = None if cfg.dry_run else create_sweep_and_run_agent(sweep, cfg.count)
    return {"file": cfg.file, "sweep_id": sweep_id, "job_command": command}


def create_sweep_and_run_agent(sweep: dict[str, Any], count: int) -> str:
    """Create a sweep on the server, run an agent for it on this machine, and return the sweep ID.

    Args:
        sweep: Sweep config in W&B's format.
        count: Number of jobs to run.

    Raises:
        ConfigError: If W&B is offline.
    """
    # Imported here so that errors in the sweep file are reported without loading wandb.
    import wandb

    from firstlight.logger.wandb_auth import resolve_mode

    mode, reason = resolve_mode("auto")
    if mode != "online":
        raise ConfigError(
            f"W&B sweeps require an online connection, but W&B is {mode} ({reason}). Run `wandb login`, or use "
            "`make sweep`."
        )
    entity, project = sweep.get("entity"), sweep.get("project")
    sweep_id: str = wandb.sweep(sweep, entity=entity, project=project)
    # The agent runs `python`: make sure that it is this one, not the first one on PATH.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    wandb.agent(sweep_id, count=count, entity=entity, project=project)
    return sweep_id


def load_sweep_config(file: Path) -> dict[str, Any]:
    """Return the sweep config in a YAML file in W&B's format.

    Raises:
        ConfigError: If the file does not exist or is not a valid sweep config.
    """
    if not file.is_file():
        fix = "Pass file=<YAML file>, e.g. file=sweeps/optimizer.yaml."
        raise ConfigError(not_found(f"Sweep file {file}", fix, "file", str(file)))
    try:
        # OmegaConf parses 1e-5 as a number, PyYAML as a string.
        sweep: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (yaml.YAMLError, OSError) as error:
        raise ConfigError(f"Cannot parse {file} ({' '.join(str(error).split())}). Fix the file.") from error
    missing = [
        name for name in ("method", "parameters", "command") if not isinstance(sweep, dict) or not sweep.get(name)
    ]
    if missing:
        raise ConfigError(f"Missing key '{missing[0]}' in {file}. Set method, parameters and command.")
    if sweep["method"] not in METHODS:
        expected, fix = f"one of {', '.join(METHODS)}", f"Set e.g. method: {METHODS[0]}."
        raise ConfigError(invalid_value(f"method in {file}", sweep["method"], expected, fix))
    if sweep["method"] == "bayes" and not (sweep.get("metric") or {}).get("name"):
        raise ConfigError(
            f"method: bayes requires a metric in {file}. Add metric: {{name: val/accuracy, goal: maximize}}."
        )
    return sweep


def make_probe_overrides(parameters: dict[str, Any]) -> list[list[str]]:
    """Return overrides of jobs in which each value of each parameter occurs, as W&B's agent would pass them.

    The bounds of a distribution count as its values.
    """
    values = {key: list_parameter_values(key, node) for key, node in parameters.items()}
    first = {key: candidates[0] for key, candidates in values.items()}
    jobs = [first, *({**first, key: value} for key, candidates in values.items() for value in candidates[1:])]
    return [[f"{key}={value}" for key, value in job.items()] for job in jobs]


def list_parameter_values(key: str, node: Any) -> list[Any]:
    """Return the values that a parameter can take, or the bounds of its distribution.

    Args:
        key: Config key, such as "optimizer.lr".
        node: Definition of the parameter in the sweep file.

    Raises:
        ConfigError: If the definition contains no values or nested parameters.
    """
    if not isinstance(node, dict):
        raise ConfigError(f"Invalid parameter '{key}': expected a mapping, got {node!r}. Set value or values.")
    if "parameters" in node:
        raise ConfigError(
            f"Invalid parameter '{key}': nested parameters are not supported. Use a dotted key, e.g. {key}.name."
        )
    if "value" in node:
        return [node["value"]]
    if node.get("values"):
        return list(node["values"])
    if {"min", "max"} <= set(node):
        return get_distribution_bounds(node)
    if "mu" in node:
        return [float(node["mu"])]
    keys = ", ".join(map(str, node)) or "no keys"
    raise ConfigError(
        f"Invalid parameter '{key}': expected value, values, or min and max, got {keys}. Add values, or min and max."
    )


def get_distribution_bounds(node: dict[str, Any]) -> list[Any]:
    """Return the bounds of a distribution, as integers if it yields only integers.

    Args:
        node: Definition of a parameter with "min" and "max", which are natural logarithms for "log_uniform".
    """
    low, high = node["min"], node["max"]
    has_int_bounds = isinstance(low, int) and isinstance(high, int)
    distribution = node.get("distribution") or ("int_uniform" if has_int_bounds else "uniform")
    is_quantized = distribution.startswith("q_") and has_int_bounds and isinstance(node.get("q", 1), int)
    if distribution == "int_uniform" or is_quantized:
        return [low, high]
    if distribution in ("log_uniform", "q_log_uniform", "inv_log_uniform"):
        return [math.exp(low), math.exp(high)]
    return [float(low), float(high)]


def validate_training_config(overrides: list[str]) -> None:
    """Check that `make train` accepts the overrides of a job.

    Raises:
        ConfigError: If it does not, with the message of `make train`.
    """
    try:
        validate_config(compose_config("train", [*overrides, "output_dir=logs"]))
    except Exception as error:
        message = format_user_error(error, "train", overrides)
        if message is None:
            raise
        raise ConfigError(message) from error


if __name__ == "__main__":
    main()
