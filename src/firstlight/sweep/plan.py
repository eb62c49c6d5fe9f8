"""What a sweep is to do: which jobs, run by which launcher, or found by which search."""

import importlib.metadata
import itertools
import shutil
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from omegaconf import OmegaConf

from firstlight.cli.errors import format_user_error
from firstlight.config import schema
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config, validate_node
from firstlight.run.errors import MissingPackageError, missing_package

# Settings of a sweep that are none of a training's.
SWEEP_GROUPS = ("launcher", "sweeper")
# Of a search, so many corners of what it may try are checked before it starts.
MAX_CORNERS = 64


@dataclass
class SweepPlan:
    """What a sweep is to do.

    Attributes:
        examples: settings of each job; of a search, some that it may try.
        launcher: settings of what runs the jobs; empty for one after the other.
        sweeper: settings of the search; empty for a grid.
    """

    jobs: list[list[str]]
    launcher: dict[str, Any] = field(default_factory=dict)
    sweeper: dict[str, Any] = field(default_factory=dict)

    @property
    def is_search(self) -> bool:
        """Say whether the jobs are chosen as the sweep goes on."""
        return bool(self.sweeper)

    @property
    def num_jobs(self) -> int:
        """Return how many jobs there are to be."""
        return int(self.sweeper["n_trials"]) if self.is_search else len(self.jobs)

    @property
    def objective_metrics(self) -> list[str]:
        """Return what is searched for."""
        return as_list(self.sweeper.get("metric", []))

    @property
    def identity(self) -> dict[str, Any]:
        """Return what makes it another sweep, beside the words: a search may be given more trials."""
        if not self.is_search:
            return {"jobs": self.jobs}
        return {"jobs": [], "search": {name: self.sweeper[name] for name in ("metric", "direction")}}


def split_overrides(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words about the sweep itself, and those about its trainings."""
    own = [word for word in words if word.lstrip("+~").partition("=")[0].partition(".")[0] in SWEEP_GROUPS]
    return own, [word for word in words if word not in own]


def make_plan(own: list[str], words: list[str]) -> SweepPlan:
    """Return what a sweep is to do.

    Args:
        own: the words about the sweep itself.
        words: those about its trainings.

    Raises:
        ValueError: a setting is unknown or has no effect, or something that it needs is not installed.
    """
    given = dict(word.lstrip("+~").partition("=")[::2] for word in own)
    settings: dict[str, Any] = {}
    for group in SWEEP_GROUPS:
        inner = [name for name in given if name.startswith(f"{group}.")]
        if inner and given.get(group, "none") in ("none", "grid"):
            raise ValueError(
                f"{inner[0]} has no effect without a {group}: type {group}=<one of configs/{group}> besides"
            )
    try:
        settings = OmegaConf.to_container(compose_config("sweep", own), resolve=True)  # type: ignore[assignment]
    except Exception as error:  # Hydra and OmegaConf raise many kinds
        raise ValueError(format_user_error(error, "sweep", own) or " ".join(str(error).split())) from error
    for group in SWEEP_GROUPS:
        if settings[group]:
            validate_node(group, settings[group])
            validate_installed(f"{group}={given[group]}", settings[group]["_target_"])
    plan = SweepPlan(expand_jobs([*own, *words]), settings["launcher"], settings["sweeper"])
    validate_plan(plan)
    return plan


def validate_installed(word: str, target: str) -> None:
    """Refuse a launcher or a sweeper whose package or program is not there.

    Raises:
        ValueError: one sentence, which says how to install it.
    """
    needs = schema.read_signature(target).constants
    try:
        importlib.metadata.version(str(needs["package"]))
    except importlib.metadata.PackageNotFoundError as error:
        raise MissingPackageError(missing_package(word, str(needs["package"]), str(needs["extra"]))) from error
    if "program" in needs and shutil.which(str(needs["program"])) is None:
        raise ValueError(
            f"{word} needs Slurm, but there is no {needs['program']} on the PATH: type it where jobs are submitted, or "
            "launcher=submitit_local to try it here"
        )


def validate_plan(plan: SweepPlan) -> None:
    """Refuse settings that do not fit together.

    Raises:
        ValueError: metrics lack directions, or jobs lack time before their signal.
    """
    resolve_directions(plan.objective_metrics, plan.sweeper.get("direction"))
    minutes, delay_s = plan.launcher.get("minutes", inf), plan.launcher.get("signal_delay_s", 0)
    if delay_s >= 60 * minutes:
        raise ValueError(
            f"A job trains until signal_delay_s before its limit, but launcher.timeout_min={minutes} and "
            f"launcher.signal_delay_s={delay_s}: give more minutes, or fewer seconds"
        )


def validate_jobs(plan: SweepPlan) -> None:
    """Refuse a sweep of which any job cannot run.

    Raises:
        ValueError: one sentence about the first such job.
    """
    for job in plan.jobs:
        cfg = compose_config("train", [*job, "output_dir=logs/sweep"])
        validate_config(cfg)
        for key, name in (("tasks", "devices"), ("nodes", "num_nodes")) if "tasks" in plan.launcher else ():
            asked, wanted = plan.launcher[key], cfg.trainer[name]
            if isinstance(wanted, int) and asked != wanted:
                raise ValueError(
                    f"Slurm starts a process for each device, but launcher.{key}={asked} and trainer.{name}={wanted}: "
                    f"give launcher.{key}={wanted}"
                )


def expand_jobs(words: list[str]) -> list[list[str]]:
    """Return the settings of each job, by Hydra's own rules; a stored sweep's are among them.

    Of a search, whose jobs nobody knows yet, the corners of what it may try.
    """
    own, words = split_overrides(words)
    experiment = [word for word in words if word.startswith("experiment=") and not is_sweep_override(word)]
    # A project may have no default model; the first one is enough to read an experiment.
    model = [word.partition(",")[0] for word in words if word.startswith("model=")]
    stored = (
        (compose_config("train", [*experiment, *model], hydra=True).hydra.sweeper.params or {}) if experiment else {}
    )
    parser = OverridesParser.create()
    overrides = parser.parse_overrides([*(f"{name}={value}" for name, value in stored.items()), *words])
    plain = [each for each in overrides if not each.is_hydra_override()]
    if "sweeper=optuna" in own:
        return get_search_space_corners(plain)
    return BasicSweeper.split_arguments(plain, max_batch_size=None)[0]


def get_search_space_corners(overrides: list[Override]) -> list[list[str]]:
    """Return settings that a search may try, at the ends of each interval.

    Raises:
        ValueError: there is nothing to search.
    """
    if not any(each.is_sweep_override() for each in overrides):
        raise ValueError("A search varies settings, but none is given: type such as optimizer.lr=interval(1e-4,1e-2)")
    ends = {each.get_key_element(): get_boundary_values(each) for each in overrides}
    every = itertools.product(*([f"{name}={value}" for value in values] for name, values in ends.items()))
    return [list(job) for job in itertools.islice(every, MAX_CORNERS)]


def get_boundary_values(override: Override) -> list[str]:
    """Return the values that a setting may have; of an interval, its ends."""
    value = override.value()
    if isinstance(value, IntervalSweep):
        return [str(value.start), str(value.end)]
    if isinstance(value, RangeSweep) or override.is_sweep_override():
        return [str(each) for each in override.sweep_string_iterator()]
    return [override.get_value_element_as_str()]


def as_list(value: str | list[str]) -> list[str]:
    """Return one name, or several, as a list."""
    return [value] if isinstance(value, str) else [str(each) for each in value]


def resolve_directions(metrics: list[str], given: str | list[str] | None) -> list[str]:
    """Return where each metric is to go.

    Raises:
        ValueError: there are not as many directions as metrics, or one is neither up nor down.
    """
    if given is None:
        return ["minimize" if "loss" in name or "memory" in name else "maximize" for name in metrics]
    found = as_list(given)
    if len(found) != len(metrics) or set(found) - {"maximize", "minimize"}:
        raise ValueError(
            f"sweeper.direction is maximize or minimize for each of {', '.join(metrics)}, but it is {given}: give "
            f"{len(metrics)} of them"
        )
    return found


def register_plugins(plan: SweepPlan) -> list[str]:
    """Make launcher and sweeper known to Hydra, and return the words that choose them."""
    sweeper = dict(plan.sweeper)
    if sweeper:
        sweeper["n_jobs"] = sweeper["n_jobs"] or plan.launcher.get("n_jobs", 1)
        sweeper |= {"seed": compose_config("train", [*plan.jobs[0], "output_dir=logs"]).seed, "params": None}
    words = []
    for group, settings in (("launcher", plan.launcher), ("sweeper", sweeper)):
        if settings:
            module, _, name = settings["_target_"].rpartition(".")
            # Hydra takes launchers and sweepers of its package of plugins only.
            known = f"hydra_plugins.firstlight.{name}"
            Plugins.instance().class_name_to_class[known] = getattr(import_module(module), name)
            ConfigStore.instance().store(f"chosen_{group}", {**settings, "_target_": known}, f"hydra/{group}")
            words.append(f"hydra/{group}=chosen_{group}")
    return words


def is_sweep_override(word: str) -> bool:
    """Say whether a setting has several values to try."""
    value = word.partition("=")[2]
    steps = [(c in "[{(") - (c in "]})") for c in value]
    inside = itertools.accumulate(steps)
    outside = "".join(c for c, depth in zip(value, inside, strict=True) if depth == 0)
    return "," in outside or value.startswith(("range(", "choice(", "glob(", "interval(", "tag(", "shuffle("))
