"""MLflow logger with a local SQLite file or a tracking server, which keeps each step of a resumed run once."""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.logger import _convert_params, _flatten_dict
from lightning.pytorch.loggers import MLFlowLogger
from lightning.pytorch.utilities import rank_zero_only

from firstlight.run.exit_actions import register_exit_action
from firstlight.run.lock import wait_for_lock
from firstlight.run.optional import continue_on_failure
from firstlight.run.redaction import redact

URI_VARIABLE = "MLFLOW_TRACKING_URI"
DEFAULT_URI = "sqlite:///logs/mlflow.db"
SQLITE_PREFIX = "sqlite:///"
# Defaults of MLflow's variables: it sends no usage statistics, and a server that does not answer delays a run by
# seconds. MLflow's own defaults retry for minutes.
VARIABLES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # No messages about the creation of the store, and no traceback in addition to the warning about a failure.
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
}
# Lightning truncates the values of parameters at this length, before MLflow 1.28 would reject them.
MAX_VALUE_CHARACTERS = 250
# Characters that MLflow rejects in names.
INVALID_CHARACTERS = re.compile(r"[^a-zA-Z0-9_/. -]+")


class ResumableMLFlowLogger(MLFlowLogger):
    """Lightning's MLFlowLogger, which also logs images and tables, and continues the MLflow run of a resumed run.

    Args:
        save_dir: Run directory; its name is the default of `run_name`.
        tracking_uri: Address of the store. If None, MLFLOW_TRACKING_URI, or else `DEFAULT_URI`.
        experiment_name: MLflow experiment; it is created if it does not exist.
        run_name: Display name of the run.
        group: Name shared by related runs, such as the jobs of a sweep; stored as the tag "group".
        tags: Tags of the run; each of them is an MLflow tag with the value "true".
        id: ID of the MLflow run to resume. If None, a new run is created.
    """

    required_package = "mlflow"

    def __init__(
        self,
        save_dir: str,
        tracking_uri: str | None = None,
        experiment_name: str = "firstlight",
        run_name: str | None = None,
        group: str | None = None,
        tags: list[str] | None = None,
        id: str | None = None,
    ) -> None:
        for name, value in VARIABLES.items():
            os.environ.setdefault(name, value)
        logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)
        uri = tracking_uri or os.environ.get(URI_VARIABLE) or DEFAULT_URI
        self.address = redact(uri)
        labels = dict.fromkeys((clean_name(redact(tag)) for tag in tags or []), "true")
        labels |= {"group": redact(group)} if group else {}
        with open_store(uri) as (absolute_uri, artifact_location):
            super().__init__(
                experiment_name,
                run_name=redact(run_name or Path(save_dir).resolve().name),
                tracking_uri=absolute_uri,
                tags=labels | {"run_dir": str(Path(save_dir).resolve())},
                artifact_location=artifact_location,
                run_id=id,
            )
            self._begin()
        # How often earlier attempts have logged a metric at a step after the checkpoint.
        self.logged: Counter[tuple[str, int]] = Counter()
        register_exit_action(Path(save_dir), self._end)

    @rank_zero_only
    def _begin(self) -> None:
        """Create the run, or continue the run of the earlier attempts."""
        if self._run_id is not None and not self._has_run(self._run_id):
            print(f"MLflow run {self._run_id} is not in {self.address}. A new one is created.", flush=True)
            self._run_id = None
        is_resumed = self._run_id is not None
        client, run_id = self.experiment, str(self.run_id)
        if is_resumed:
            client.update_run(run_id, status="RUNNING")

    @rank_zero_only
    def continue_at(self, step: int, rows: Sequence[Mapping[str, float]]) -> None:
        """Find what earlier attempts have logged after the checkpoint: MLflow cannot delete it.

        Args:
            step: The last step before the checkpoint.
            rows: Metrics of this step that were logged before the checkpoint.
        """
        client, run_id = self.experiment, str(self.run_id)
        for name in client.get_run(run_id).data.metrics:
            history = client.get_metric_history(run_id, name)
            self.logged.update((name, metric.step) for metric in history if metric.step >= step)
        self.logged -= Counter((clean_name(name), step) for row in rows for name in row)

    def _has_run(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        try:
            return bool(self._mlflow_client.get_run(run_id))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return False

    @continue_on_failure("MLflow")
    def _end(self, exit_code: int) -> None:
        """Set the status of the run; Lightning does not know failures outside of `fit` and `test`."""
        if not getattr(self, "has_failed", False):
            self.finalize("failed" if exit_code else "success")

    @rank_zero_only
    def log_hyperparams(self, params: Any) -> None:
        """Log the hyperparameters. MLflow's parameters cannot change: those that a resume changes become tags."""
        flat = _flatten_dict(_convert_params(params))
        values = {clean_name(name): str(value)[:MAX_VALUE_CHARACTERS] for name, value in flat.items()}
        stored = self.experiment.get_run(str(self.run_id)).data.params
        for name in values.keys() & stored.keys():
            # A resume always changes the key `resume` and the IDs of the loggers.
            if values[name] != stored[name] and not name.startswith(("resume", "logger/")):
                self.experiment.set_tag(str(self.run_id), name, values[name])
        super().log_hyperparams({name: value for name, value in values.items() if name not in stored})

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics of a step, except for those that an earlier attempt has logged."""
        named = {clean_name(name): value for name, value in metrics.items()}
        known = {name for name in named if self.logged[name, step or 0] > 0} if self.logged else set()
        self.logged.subtract((name, step or 0) for name in known)
        if new := {name: value for name, value in named.items() if name not in known}:
            super().log_metrics(new, step)

    @rank_zero_only
    def log_image(self, key: str, images: list[str], step: int | None = None) -> None:
        """Log image files as artifacts: a single one next to others, several in a directory of their own.

        Args:
            key: Path of the artifact, such as "test/confusion_matrix".
            images: Paths of the files.
            step: Unused, because an artifact has no step.
        """
        directory = key.rpartition("/")[0] if len(images) == 1 else key
        for path in images:
            self.experiment.log_artifact(str(self.run_id), path, directory or None)

    @rank_zero_only
    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        """Log a table as an artifact, in the format of MLflow's tables."""
        self.experiment.log_dict(str(self.run_id), {"columns": columns, "data": data}, f"{key}.json")

    @property
    def run_info(self) -> dict[str, Any]:
        """MLflow fields of run.json: ID of the run, address of the store, and page of the run on a server."""
        page = f"{self.address.rstrip('/')}/#/experiments/{self.experiment_id}/runs/{self.run_id}"
        url = page if self.address.startswith("http") else None
        return {"id": self.run_id, "tracking_uri": self.address, "url": url}

    def __str__(self) -> str:
        info = self.run_info
        return info["url"] or f"{info['tracking_uri']}, run {info['id']}"


def clean_name(name: str) -> str:
    """Return the name of a metric, parameter or tag without the characters that MLflow rejects."""
    return INVALID_CHARACTERS.sub("", name)


@contextmanager
def open_store(uri: str) -> Iterator[tuple[str, str | None]]:
    """Context manager in which a store is opened. For an SQLite file, only one process at a time enters it.

    Without a lock, MLflow 3.17 fails if two jobs of a sweep create the tables of the same file.

    Yields:
        The address with an absolute path, since MLflow stores it for the process, and the directory of artifacts next
        to the SQLite file. The latter is None for a server, which selects the location itself.

    Raises:
        ConnectionError: If the store cannot be opened or written. It is not a configuration error, so that the run
            continues without MLflow.
    """
    variable = os.environ.get(URI_VARIABLE)
    try:
        if uri.startswith(SQLITE_PREFIX):
            file = Path(uri.removeprefix(SQLITE_PREFIX)).resolve()
            file.parent.mkdir(parents=True, exist_ok=True)
            with wait_for_lock(file.with_name(f"{file.name}.lock")):
                yield f"{SQLITE_PREFIX}{file}", (file.parent / "mlflow_artifacts").as_uri()
        else:
            yield uri, None
    except ImportError:
        raise
    except Exception as error:  # libraries raise many kinds
        raise ConnectionError(redact(f"{uri}: {error}")) from error
    finally:
        # MLflow sets it, which would select the store of the next job of a sweep.
        os.environ.pop(URI_VARIABLE, None)
        os.environ |= {URI_VARIABLE: variable} if variable is not None else {}
