"""Training runs in processes of their own that log to TensorBoard and MLflow, and what these have stored."""

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from firstlight.callbacks.learning_curves import read_metrics_csv
from firstlight.run.packages import is_installed
from support.tiny_training import make_command

# Before a test imports MLflow.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


def require(package):
    """Return the mark that skips a test if a package is missing."""
    return pytest.mark.skipif(not is_installed(package), reason=f"the extra {package} is not installed")


def train(directory, *overrides, exit_code=0, **variables):
    """Train in a directory, check the exit code, and return the output."""
    environment = {**os.environ, **variables}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.run(make_command("train", *overrides), cwd=directory, env=environment, **pipes)
    assert process.returncode == exit_code, process.stdout
    return process.stdout


def read_csv(run_dir):
    """Return the sorted (step, value) pairs of each metric in metrics.csv; values as float32, as in TensorBoard."""
    return {name: sort_points(curve) for name, curve in read_metrics_csv(run_dir / "metrics.csv").items()}


def sort_points(points):
    return sorted((step, float(np.float32(value))) for step, value in points)


def drop_speed(curves):
    """Return the metrics without those that measure time or memory: MLflow keeps the values of the first attempt."""
    return {name: curve for name, curve in curves.items() if not name.startswith("speed/")}


def count_points(curves):
    """Return how often each metric has each step."""
    return Counter((name, step) for name, curve in curves.items() for step, _ in curve)


def open_tensorboard(run_dir):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = dict.fromkeys(("scalars", "images", "tensors"), 0)  # 0: all of them
    return EventAccumulator(str(run_dir / "tensorboard"), size_guidance=sizes).Reload()


def read_tensorboard(run_dir):
    """Return the sorted (step, value) pairs of each metric in TensorBoard."""
    events = open_tensorboard(run_dir)
    scalars = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    return {tag: sort_points((event.step, event.value) for event in found) for tag, found in scalars.items()}


def read_tensorboard_server(run_dir):
    """Return the sorted (step, value) pairs of each metric as `tensorboard --load_fast=false` shows them."""
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(run_dir / "tensorboard"), tensor_size_guidance={"scalars": 0}).Reload()
    tags = [tag for tag in events.Tags()["tensors"] if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"]
    points = {
        tag: [(event.step, make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)] for tag in tags
    }
    return {tag: sort_points(found) for tag, found in points.items()}


def open_mlflow(run_dir):
    """Return the client of the store that a run has used, and the MLflow run."""
    from mlflow import MlflowClient

    info = json.loads((run_dir / "run.json").read_text())["loggers"]["mlflow"]
    client = MlflowClient(info["tracking_uri"].replace("sqlite:///", f"sqlite:///{run_dir.parent}/"))
    return client, client.get_run(info["id"])


def read_mlflow(run_dir):
    """Return the sorted (step, value) pairs of each metric in MLflow."""
    client, run = open_mlflow(run_dir)
    histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    return {name: sort_points((metric.step, metric.value) for metric in found) for name, found in histories.items()}


def list_mlflow_artifacts(run_dir):
    client, run = open_mlflow(run_dir)
    directories = ["train", "test", "test/predictions"]
    return sorted(
        file.path for path in directories for file in client.list_artifacts(run.info.run_id, path) if not file.is_dir
    )


def load_weights(run_dir):
    import torch

    return torch.load(Path(run_dir) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
