"""A run of `make tune`: search, report, and write the file that trainer=auto reads."""

import time
from dataclasses import asdict
from typing import Any

from omegaconf import DictConfig

from firstlight.build import SINGLE_DEVICE, Settings, resolve_auto_settings
from firstlight.config.options import AUTO
from firstlight.data.dataloader import get_default_num_workers
from firstlight.run.errors import ConfigError, describe_error
from firstlight.run.failure import is_oom_error
from firstlight.run.files import to_plain_dict, utc_now
from firstlight.run.text import format_command
from firstlight.trial.batch_size import make_batches
from firstlight.trial.recorders import StepTimer
from firstlight.trial.resolve import resolve_batch_size
from firstlight.trial.runner import TrialRunner
from firstlight.trial.tuned import TUNED_FILE, describe_system, make_key, read_entries, write_entry
from firstlight.tune.candidates import MAX_AUTOTUNE_MINUTES, format_values, list_axes, list_worker_counts
from firstlight.tune.search import CoordinateSearch, Trial

# What trainer=auto reads from an entry.
RESULTS = ("trainer", "compile_min_steps", "num_workers")
# More workers must be faster by this factor, because each is a process of its own.
MIN_WORKER_GAIN = 1.03
# The largest batch size that is timed, as a multiple of the config's.
MAX_BATCH_FACTOR = 4


def tune(cfg: DictConfig) -> Settings:
    """Search the fastest correct settings, write them to the file, and return its entry and the path of the file.

    Raises:
        ConfigError: If the config leaves nothing to choose.
    """
    if (cfg.data or {}).get("batch_size") == AUTO:
        print(f"batch size  {resolve_batch_size(cfg)['batch size']}", flush=True)
    return TuningSession(cfg).run()


class TuningSession:
    """Search and write the entry of one model, batch size and device.

    Args:
        cfg: Config of a training run, with `minutes`.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.minutes = float(cfg.minutes)
        self.config = to_plain_dict(cfg)
        self.settings = to_plain_dict(resolve_auto_settings(cfg))
        self.is_writable = True
        key = make_key(self.config, self.settings["trainer"]["accelerator"])
        self.entry: Settings = {"key": key, "date": utc_now(), **describe_system(), "is_complete": False, "trials": {}}
        self.trials: dict[str, Trial] = self._read_interrupted_trials()
        self.runner = TrialRunner(self.settings)

    def run(self) -> Settings:
        """Search, print the results, and return the entry and its file.

        Raises:
            ConfigError: If the config leaves nothing to choose.
        """
        started = time.monotonic()
        trainer = self.settings["trainer"]
        axes = list_axes(self.runner, self.config["trainer"] | SINGLE_DEVICE, self.minutes)
        worker_counts = list_worker_counts(self.runner, get_default_num_workers())
        if not axes and not worker_counts:
            raise ConfigError("No setting is left to tune: the config sets all. Use trainer=auto without overrides.")
        start = {name: trainer[name] for name in ("precision", "channels_last", "compile", "compile_mode")}
        start["fused_optimizer"] = trainer["fused_optimizer"]
        search = CoordinateSearch(self.runner, self.minutes, self.trials, self.write)
        defaults = {**start, "compile": bool(start["compile"])}
        best = search.run(defaults, axes)
        self.set_best(search, best, axes)
        if worker_counts and time.monotonic() < search.deadline:
            self.entry["num_workers"] = self.choose_workers(search, best, worker_counts)
        if default_seconds := search.get(defaults).seconds:
            self.entry["gain"] = round(default_seconds / (search.get(best).seconds or default_seconds), 3)
        self.entry["is_complete"] = True
        self.write()
        self.report(search, best, defaults, time.monotonic() - started)
        return {"file": str(TUNED_FILE) if self.is_writable else None, **self.entry}

    def set_best(self, search: CoordinateSearch, best: Settings, axes: dict[str, Any]) -> None:
        """Store the best settings in the entry: those that were searched, and from when on compiling pays off."""
        for name in RESULTS:
            self.entry.pop(name, None)
        names = [*axes, *(["compile_mode"] if "compile" in axes else [])]
        self.entry["trainer"] = {name: best[name] for name in names}
        if best["compile"] and "compile" in axes:
            compiled, eager = search.get(best), search.get({**best, "compile": False, "compile_mode": "default"})
            saved_s = (eager.seconds or 0.0) - (compiled.seconds or 0.0)
            extra_s = max(compiled.startup_s - eager.startup_s, 0.0)
            # Half of the speed-up in the shortest compiled run.
            self.entry["compile_min_steps"] = round(2 * extra_s / saved_s) if saved_s > 0 else None

    def choose_workers(self, search: CoordinateSearch, best: Settings, counts: list[int]) -> int:
        """Return the number of DataLoader workers with which training is fastest."""
        data: Any = self.runner.data
        eager = {**best, "compile": False}
        chosen, seconds = counts[0], float("inf")
        for count in counts:
            data.num_workers = count
            try:
                found = search.measure(StepTimer(self.runner.device, search.trial_s), None, eager)
            except Exception as error:  # a worker process may end
                print(f"tried     data.num_workers={count}  excluded: {describe_error(error)}", flush=True)
                continue
            print(f"tried     data.num_workers={count}  {1_000 * found:.2f} ms per step", flush=True)
            if found * MIN_WORKER_GAIN < seconds:
                chosen, seconds = count, found
            if time.monotonic() > search.deadline:
                break
        return chosen

    def write(self) -> None:
        """Write the entry; a directory that is not writable is reported once."""
        self.entry["trials"] = {name: asdict(trial) for name, trial in self.trials.items()}
        if not self.is_writable:
            return
        try:
            write_entry(self.entry)
        except OSError as error:
            self.is_writable = False
            print(f"Cannot write {TUNED_FILE}: {error.strerror}. Pass the printed settings to make train.", flush=True)

    def report(self, search: CoordinateSearch, best: Settings, defaults: Settings, duration_s: float) -> None:
        """Print the choice, its gain over the defaults, its command, and the fastest batch size."""
        seconds = search.get(best).seconds or 0.0
        print(f"chosen    {format_values(best)}  {1_000 * seconds:.2f} ms per step, {duration_s:.0f} s", flush=True)
        if "gain" in self.entry:
            print(f"gain      {self.entry['gain']:.2f} x the defaults ({format_values(defaults)})", flush=True)
        if best["compile"] and (steps := self.entry.get("compile_min_steps")):
            print(f"compile   in runs of at least {steps:,} steps", flush=True)
        if self.runner.device.type == "cuda" and self.minutes < MAX_AUTOTUNE_MINUTES:
            print(f"note      compile_mode=max-autotune is tried with minutes={MAX_AUTOTUNE_MINUTES}", flush=True)
        self.report_batch_sizes(search, best)
        where = f"{TUNED_FILE}, which trainer=auto reads" if self.is_writable else "not saved"
        label = "saved" if self.is_writable else "settings"
        command = f"{format_command('make', 'train')} {format_values(best)}"
        print(f"{label:<8}  {where}; to set the values yourself: {command}")

    def report_batch_sizes(self, search: CoordinateSearch, best: Settings) -> None:
        """Print which larger batch size is faster, without compilation. It is not applied: it changes the results."""
        batch_size = self.entry["key"]["batch_size"]
        if not isinstance(batch_size, int) or time.monotonic() > search.deadline:
            return
        eager, rates = {**best, "compile": False}, {}
        sizes = [batch_size * factor for factor in (1, 2, MAX_BATCH_FACTOR)]
        for size in sizes:
            try:
                timer = StepTimer(self.runner.device, search.trial_s)
                rates[size] = size / search.measure(timer, make_batches(self.runner, size), eager)
            except Exception as error:
                if not is_oom_error(error):
                    raise
                break
            if time.monotonic() > search.deadline:
                break
        fastest = max(rates, key=lambda size: rates[size], default=batch_size)
        if fastest != batch_size:
            gain = rates[fastest] / rates[batch_size]
            print(f"note      data.batch_size={fastest} trains {gain:.2f} x as many samples/s, and is not applied: "
                  "it changes the results", flush=True)  # fmt: skip

    def _read_interrupted_trials(self) -> dict[str, Trial]:
        """Return the trials of an interrupted search in the same environment."""
        for entry in read_entries():
            is_same = entry["key"] == self.entry["key"]
            if is_same and all(entry.get(name) == value for name, value in describe_system().items()):
                # The earlier result stays in use until this search is complete.
                self.entry |= {name: entry[name] for name in RESULTS if name in entry}
                if entry.get("is_complete"):
                    return {}
                trials = {name: Trial(**fields) for name, fields in entry["trials"].items()}
                print(f"resuming  an interrupted search with {len(trials)} trials", flush=True)
                return trials
        return {}
