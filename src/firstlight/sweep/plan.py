"""The plan of a sweep: its jobs, the launcher that runs them, and the sweeper of a search."""

import importlib.metadata
import shutil
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from omegaconf import OmegaConf
from packaging.version import Version

from firstlight.cli.errors import format_user_error
from firstlight.config import schema
from firstlight.config.compose import compose_config
from firstlight.config.hydra_version import REPLACE, register_plugin
from firstlight.config.overrides import SELECTED_PREFIX
from firstlight.config.validate import validate_config, validate_node
from firstlight.run.errors import ConfigError, HardwareError, MissingPackageError, missing_package
from firstlight.run.packages import get_install_hint
from firstlight.run.progress import track
from firstlight.sweep.launcher.setup_commands import validate_setup
from firstlight.sweep.objectives import as_list, resolve_directions
from firstlight.sweep.search_space import get_corners, parse_search_space, validate_list

# Config groups that belong to the sweep, not to its training jobs.
SWEEP_GROUPS = ("launcher", "sweeper")


@dataclass
class SweepPlan:
    """What a sweep runs, and how.

    Attributes:
        jobs: Overrides of each job; for a search, the corners of the search space.
        launcher: Launcher config; empty to run jobs sequentially.
        sweeper: Sweeper config; empty for a grid.
    """

    jobs: list[list[str]]
    launcher: dict[str, Any] = field(default_factory=dict)
    sweeper: dict[str, Any] = field(default_factory=dict)

    @property
    def is_search(self) -> bool:
        """Return True if a sweeper samples the jobs while the sweep runs."""
        return bool(self.sweeper)

    @property
    def num_jobs(self) -> int:
        """Return the planned number of jobs."""
        return int(self.sweeper["n_trials"]) if self.is_search else len(self.jobs)

    @property
    def objective_metrics(self) -> list[str]:
        """Return the metrics that a search optimizes."""
        return as_list(self.sweeper.get("metric", []))

    @property
    def identity(self) -> dict[str, Any]:
        """Return what identifies the sweep in addition to its overrides. n_trials may change, to extend a search."""
        if not self.is_search:
            return {"jobs": self.jobs}
        return {"jobs": [], "search": {name: self.sweeper[name] for name in ("metric", "direction")}}


def split_sweep_and_job_overrides(overrides: list[str]) -> tuple[list[str], list[str]]:
    """Return the overrides of the launcher and sweeper, and the overrides of the training jobs."""
    sweep_overrides = [item for item in overrides if item.lstrip("+~").split("=")[0].split(".")[0] in SWEEP_GROUPS]
    return sweep_overrides, [item for item in overrides if item not in sweep_overrides]


def make_plan(sweep_overrides: list[str], overrides: list[str]) -> SweepPlan:
    """Return the plan of a sweep.

    Args:
        sweep_overrides: Overrides of the launcher and sweeper.
        overrides: Overrides of the training jobs; those with several values are swept.

    Raises:
        ConfigError: If the overrides of the launcher or sweeper are invalid.
        HardwareError: If the launcher requires a program that is not on PATH.
        MissingPackageError: If the package of the launcher or sweeper is not installed.
    """
    options = dict(override.lstrip("+~").partition("=")[::2] for override in sweep_overrides)
    for group in SWEEP_GROUPS:
        keys = [key for key in options if key.startswith(f"{group}.")]
        if keys and options.get(group, "none") in ("none", "grid"):
            raise ConfigError(f"{keys[0]} requires a {group}. Use {group}=<option> (see configs/{group}).")
    if "sweeper.seed" in options:
        fix = f"Use seed={options['sweeper.seed']}."
        raise ConfigError(f"sweeper.seed has no effect, because a search is seeded with `seed`. {fix}")
    settings: dict[str, Any] = {}
    try:
        settings = OmegaConf.to_container(compose_config("sweep", sweep_overrides), resolve=True)  # type: ignore[assignment]
    except Exception as error:  # Hydra and OmegaConf raise errors of many classes.
        message = format_user_error(error, "sweep", sweep_overrides) or " ".join(str(error).split())
        raise ConfigError(message) from error
    for group in SWEEP_GROUPS:
        if settings[group]:
            validate_node(group, settings[group])
            validate_installed(f"{group}={options[group]}", settings[group]["_target_"])
    plan = SweepPlan(expand_jobs_or_corners([*sweep_overrides, *overrides]), settings["launcher"], settings["sweeper"])
    validate_plan(plan)
    return plan


def validate_installed(option: str, target: str) -> None:
    """Check that the package, in a supported version, and the program of a launcher or sweeper are installed.

    Args:
        option: The option, such as "launcher=slurm".
        target: Import path of its class.

    Raises:
        HardwareError: If the program is not on PATH.
        MissingPackageError: If the package is not installed, or too old.
    """
    constants = {name: str(value) for name, value in schema.read_signature(target).constants.items()}
    try:
        installed = importlib.metadata.version(constants["package"])
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingPackageError(missing_package(option, constants["package"], constants["extra"])) from error
    minimum = constants.get("min_version", installed)
    if Version(installed) < Version(minimum):
        problem = f"{option} requires {constants['package']} {minimum} or newer, but version {installed} is installed."
        raise MissingPackageError(f"{problem} {get_install_hint(constants['package'], constants['extra'])}")
    if "program" in constants and shutil.which(constants["program"]) is None:
        raise HardwareError(
            f"{option} requires Slurm, but {constants['program']} was not found on PATH. Run `make sweep` on a login "
            "node, or use launcher=submitit_local to test locally."
        )


def validate_plan(plan: SweepPlan) -> None:
    """Check that the metrics match the directions, and that jobs have time to train before their signal.

    Raises:
        ConfigError: If they do not.
    """
    validate_setup(plan.launcher.get("setup") or [])
    resolve_directions(plan.objective_metrics, plan.sweeper.get("direction"))
    timeout_min, delay_s = plan.launcher.get("timeout_min", inf), plan.launcher.get("signal_delay_s", 0)
    if delay_s >= 60 * timeout_min:
        raise ConfigError(
            f"launcher.signal_delay_s={delay_s} leaves no training time within launcher.timeout_min={timeout_min}. "
            "Increase launcher.timeout_min, or decrease launcher.signal_delay_s."
        )


def validate_jobs(plan: SweepPlan) -> None:
    """Check the config of each job, and that Slurm starts one task per device.

    Raises:
        ConfigError: If the config of a job is invalid; the message is about the first such job.
    """
    pairs = (("tasks_per_node", "devices"), ("nodes", "num_nodes")) if "tasks_per_node" in plan.launcher else ()
    for job in track(plan.jobs, "Checking jobs"):
        cfg = compose_config("train", [*job, "output_dir=logs/sweep"])
        try:
            validate_config(cfg)
        except ConfigError as error:
            is_interval = plan.is_search and "expected an integer, got" in str(error)
            fix = " For integers, use int(interval(<start>,<end>))." if is_interval else ""
            raise ConfigError(f"{error}{fix}") from error
        for key, name in pairs:
            received, expected = plan.launcher[key], cfg.trainer[name]
            if isinstance(expected, int) and received != expected:
                fix = f"Set launcher.{key}={expected}."
                raise ConfigError(f"launcher.{key}={received} does not match trainer.{name}={expected}. {fix}")


def expand_jobs_or_corners(overrides: list[str]) -> list[list[str]]:
    """Return the overrides of each job, expanded by Hydra, including the sweep that an experiment config stores.

    For a search, whose jobs are not known yet, return the corners of the search space.
    """
    sweep_overrides, overrides = split_sweep_and_job_overrides(overrides)
    parse_job_overrides(overrides)
    stored: Any = {}
    if experiment := [item for item in overrides if item.startswith("experiment=") and not is_sweep_override(item)]:
        # Composing requires a model, and a project may have no default model: use the first value of model=.
        model = [item.partition(",")[0] for item in overrides if item.startswith("model=")]
        stored = compose_config("train", [*experiment, *model], hydra=True).hydra.sweeper.params or {}
    overrides = [*(f"{key}={value}" for key, value in stored.items()), *overrides]
    job_overrides = parse_job_overrides(overrides)
    if "sweeper=optuna" in sweep_overrides:
        return list_search_space_corners(job_overrides)
    for override in job_overrides:
        if isinstance(override.value(), IntervalSweep):
            raise ConfigError(
                f"{override.input_line} requires sweeper=optuna. Add it, or list the values as in lr=1,2."
            )
    return BasicSweeper.split_arguments(job_overrides, max_batch_size=None)[0]


def parse_job_overrides(overrides: list[str]) -> list[Override]:
    """Return the overrides of the jobs, without overrides of Hydra itself.

    Raises:
        ConfigError: If an override is a glob, or a list of values contains an interval.
    """
    parsed = [item for item in OverridesParser.create().parse_overrides(overrides) if not item.is_hydra_override()]
    for override in parsed:
        if isinstance(override.value(), Glob):
            raise ConfigError(f"{override.input_line} is not supported. List the options, separated by commas.")
        validate_list(override)
    return parsed


def list_search_space_corners(overrides: list[Override]) -> list[list[str]]:
    """Return combinations of the bounds and choices of a search space.

    Raises:
        ConfigError: If no override has several values, or the values of an override cannot be sampled.
    """
    if not any(override.is_sweep_override() for override in overrides):
        raise ConfigError("sweeper=optuna requires a search range. Pass e.g. optimizer.lr=interval(1e-4,1e-2).")
    return get_corners(parse_search_space(overrides))


def register_plugins(plan: SweepPlan) -> list[str]:
    """Register the launcher and sweeper with Hydra, and return the overrides that select them."""
    sweeper = dict(plan.sweeper)
    if sweeper:
        sweeper["n_jobs"] = sweeper["n_jobs"] or plan.launcher.get("n_jobs", 1)
        sweeper |= {"seed": compose_config("train", [*plan.jobs[0], "output_dir=logs"]).seed, "params": None}
    overrides = []
    for group, settings in (("launcher", plan.launcher), ("sweeper", sweeper)):
        if settings:
            module, _, name = settings["_target_"].rpartition(".")
            node = {**settings, "_target_": register_plugin(getattr(import_module(module), name))}
            ConfigStore.instance().store(f"{SELECTED_PREFIX}{group}", node, f"hydra/{group}", **REPLACE)
            overrides.append(f"hydra/{group}={SELECTED_PREFIX}{group}")
    return overrides


def is_sweep_override(override: str) -> bool:
    """Return True if an override has several values to sweep over."""
    return bool(OverridesParser.create().parse_overrides([override])[0].is_sweep_override())
