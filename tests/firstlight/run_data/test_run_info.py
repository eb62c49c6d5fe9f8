"""What the page shows about the loggers of a run."""

from firstlight.run_data.run_info import make_summary_fields


def test_summary_locates_each_logger():
    loggers = {
        "wandb": {"url": None, "segment_dir": "run/wandb/offline-run-1"},
        "tensorboard": {"path": "run/tensorboard"},
        "mlflow": {"id": "a", "tracking_uri": "sqlite:///logs/mlflow.db", "url": None},
        "comet": {"path": None},
        "damaged": 3,
    }
    expected = {
        "W&B": "run/wandb/offline-run-1",
        "TensorBoard": "run/tensorboard",
        "MLflow": "sqlite:///logs/mlflow.db",
    }

    assert make_summary_fields({"loggers": loggers}) == expected
    server = {"mlflow": {"tracking_uri": "http://host", "url": "http://host/#/experiments/1/runs/a"}}
    assert make_summary_fields({"loggers": server}) == {"MLflow": "http://host/#/experiments/1/runs/a"}
