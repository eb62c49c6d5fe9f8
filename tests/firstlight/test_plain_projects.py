"""Plain Lightning projects, as a user would write them, go through every command without an edit."""

import csv
import json
import subprocess
import sys

import pytest
import torch

import firstlight
from firstlight import evaluate, predict, train
from firstlight.config.compose import compose_config
from firstlight.export import __main__ as export
from firstlight.preflight import __main__ as preflight_command
from firstlight.run.errors import ConfigError
from firstlight.run.files import list_checkpoints, read_json_or_empty
from support.plain_projects import (
    BATCHES,
    NOT_EXACT,
    PROJECTS,
    WITH_BEST,
    WITHOUT_TEST,
    WITHOUT_VALIDATION,
    check_exact_resume,
    make_overrides,
    train_project,
)

EXACT = [name for name in PROJECTS if name not in NOT_EXACT]


@pytest.fixture(scope="module", params=PROJECTS)
def trained(request, tmp_path_factory):
    """Return the name of a project, the directory of its finished run, and its metrics."""
    run_dir = tmp_path_factory.mktemp(request.param) / "run"
    cfg = compose_config("train", [*make_overrides(request.param), "logger=none", f"output_dir={run_dir}"])
    return request.param, run_dir, train.main(cfg)["metrics"]


def read_columns(run_dir):
    with (run_dir / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_project_trains_and_writes_its_files(trained):
    name, run_dir, metrics = trained
    rows = read_columns(run_dir)
    logged = {key for row in rows for key, value in row.items() if value} - {"step", "epoch"}

    assert json.loads((run_dir / "run.json").read_text())["status"] == "finished"
    assert set(list_checkpoints(run_dir)) == ({"best", "last"} if name in WITH_BEST else {"last"})
    assert (run_dir / "learning_curves.png").is_file()
    assert {key for key in metrics if not key.startswith("speed/")} <= logged | {*metrics}
    assert logged
    # Steps are batches, also with two optimizers, which both count in global_step.
    assert max(int(row["step"]) for row in rows) <= 2 * BATCHES[name]


def test_evaluation_repeats_the_metrics_of_the_run(trained):
    name, run_dir, metrics = trained
    if name in WITHOUT_TEST:
        with pytest.raises(ConfigError, match="has no test_step"):
            evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))
        return
    evaluated = evaluate.main(compose_config("evaluate", [f"run={run_dir}"]))["metrics"]

    assert evaluated
    assert evaluated == {key: metrics[key] for key in evaluated}


def test_validation_split_is_evaluated(trained):
    name, run_dir, _ = trained
    cfg = compose_config("evaluate", [f"run={run_dir}", "split=val"])
    if name in WITHOUT_VALIDATION:
        with pytest.raises(ConfigError, match="has no validation_step"):
            evaluate.main(cfg)
    elif name == "tabular":
        # Its setup rejects the stage, which is the one that Lightning passes.
        with pytest.raises(ValueError, match="unexpected stage"):
            evaluate.main(cfg)
    else:
        assert evaluate.main(cfg)["metrics"]


def test_loaded_model_has_the_weights_of_the_checkpoint(trained):
    name, run_dir, _ = trained
    loaded = firstlight.load(run_dir)
    saved = torch.load(next(iter(list_checkpoints(run_dir).values())), weights_only=True)

    assert all(torch.equal(value, saved["state_dict"][key]) for key, value in loaded.model.state_dict().items())
    assert (loaded.data is None) == (name == "own_callbacks")


def test_preflight_answers(trained, capsys):
    name, _, _ = trained
    cfg = compose_config("preflight", [f"model=plain_{name}"])
    results = preflight_command.main(cfg) if name != "detector" else None
    printed = capsys.readouterr().out

    if results is None:
        # It pools to a size that MPS does not support.
        with pytest.raises(ValueError, match="_adaptive_avg_pool2d from 7 x 7 to 2 x 2 is not supported on MPS"):
            preflight_command.main(cfg)
    else:
        assert results["passed"]
        assert "operators" in printed


def test_weights_are_exported(trained, tmp_path):
    _, run_dir, _ = trained
    overrides = [f"run={run_dir}", "format=safetensors", f"output={tmp_path / 'x'}"]

    assert len(export.main(compose_config("export", overrides))["files"]) == 2


# The first three of them quickly.
@pytest.mark.parametrize("name", [*EXACT[:3], *(pytest.param(name, marks=pytest.mark.slow) for name in EXACT[3:])])
def test_resumed_run_equals_undisturbed_run(name, tmp_path):
    check_exact_resume(name, tmp_path)


def test_run_of_iterable_dataset_resumes_with_a_note(tmp_path, capsys):
    overrides = make_overrides("char_gpt", f"output_dir={tmp_path}")
    with pytest.raises(SystemExit):
        train_project(overrides, stop_at=7)
    train_project([f"resume={tmp_path}"])

    assert "resume    CharDataset: resuming inside an epoch repeats its first batches" in capsys.readouterr().out
    assert read_json_or_empty(tmp_path / "run.json")["status"] == "finished"


def test_resume_is_exact_with_workers(tmp_path):
    check_exact_resume("segmentation", tmp_path, "data.num_workers=1")


def test_predictions_are_saved(tmp_path):
    train.main(
        compose_config("train", [*make_overrides("autoencoder"), "logger=none", f"output_dir={tmp_path / 'run'}"])
    )
    output = tmp_path / "predictions.pt"
    result = predict.main(compose_config("predict", [f"run={tmp_path / 'run'}", f"output={output}"]))

    assert result["num_predictions"] == 2
    assert [tuple(batch.shape) for batch in torch.load(output)] == [(8, 1, 8, 8), (2, 1, 8, 8)]
    # Any existing .pt file may be a checkpoint, and tensors are not CSV.
    for taken, message in ((output, "already exists"), (tmp_path / "p.csv", "expected a file name ending in .pt")):
        with pytest.raises(ConfigError, match=message):
            predict.main(compose_config("predict", [f"run={tmp_path / 'run'}", f"output={taken}"]))
    predict.main(compose_config("predict", [f"run={tmp_path / 'run'}"]))
    assert len(list(tmp_path.glob("run/evaluations/*/predictions.pt"))) == 1


def test_failing_predict_step_is_one_line(tmp_path):
    train.main(compose_config("train", [*make_overrides("gan"), "logger=none", f"output_dir={tmp_path / 'run'}"]))
    with pytest.raises(ValueError, match="predict_step of GAN failed with TypeError: .* It must accept a batch"):
        predict.main(compose_config("predict", [f"run={tmp_path / 'run'}"]))


def test_best_checkpoint_of_the_module_is_recorded(tmp_path):
    overrides = [
        *make_overrides("own_callbacks"),
        "trainer.max_epochs=4",
        "logger=none",
        f"output_dir={tmp_path / 'run'}",
    ]
    train.main(compose_config("train", overrides))
    record = read_json_or_empty(tmp_path / "run" / "best.json")
    moved = (tmp_path / "run").rename(tmp_path / "moved")

    assert record["monitor"] == "valid_accuracy"
    assert record["path"].startswith("checkpoints/top-epoch=")
    assert list_checkpoints(moved)["best"] == str(moved / record["path"])
    evaluate.main(compose_config("evaluate", [f"run={moved}"]))
    (moved / record["path"]).unlink()
    assert set(list_checkpoints(moved)) == {"last"}
    evaluate.main(compose_config("evaluate", [f"run={moved}"]))


@pytest.mark.slow
def test_optimizer_override_without_effect_is_rejected(tmp_path):
    command = [sys.executable, "-m", "firstlight.train", *make_overrides("autoencoder"), "optimizer=sgd", "logger=none"]
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert process.returncode == 2
    assert process.stderr.count("\n") == 1
    assert "optimizer= has no effect, because Autoencoder has its own configure_optimizers." in process.stderr


def test_config_of_the_run_has_no_unused_optimizer(trained):
    name, run_dir, _ = trained
    text = (run_dir / "config.yaml").read_text()

    assert ("optimizer: null" in text) == (name != "segmentation")  # the only one without configure_optimizers


def test_explicit_clipping_with_manual_optimization_is_rejected(tmp_path):
    overrides = make_overrides("gan", "trainer.gradient_clip_val=1.0", "logger=none", f"output_dir={tmp_path / 'run'}")
    with pytest.raises(ConfigError, match="gradient_clip_val=1.0 has no effect: GAN optimizes manually"):
        train.main(compose_config("train", overrides))


def test_setup_runs_once_with_metadata(tmp_path):
    overrides = make_overrides("tabular", "logger=none", f"output_dir={tmp_path / 'run'}")
    experiment = firstlight.create(overrides)
    experiment.trainer.fit(experiment.model, experiment.data)

    assert experiment.data.num_setups == 1
    assert experiment.model.net[0].in_features == 3
    assert experiment.trainer.datamodule is experiment.data
