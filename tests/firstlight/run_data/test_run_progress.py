"""Tests of the progress and the time left of a running run."""

import json
import time

import pytest

from firstlight.run_data.collect import collect_report
from firstlight.run_data.learning_curves import CurveTable
from firstlight.run_data.run_progress import MAX_SILENCE_S, describe_progress, load_run_plan
from support.runs import write_run

PLAN = {"max_epochs": 5, "max_steps": None, "steps_per_epoch": 10, "started": None}


def make_table(num_steps, epochs=(), **metrics):
    """Return the metrics after some steps.

    Args:
        num_steps: Number of steps.
        epochs: Pairs of an epoch and its last step.
        **metrics: Further metrics of the last step.
    """
    table = CurveTable()
    names = ["epoch", "step", "train/loss", *metrics]
    rows = [",".join(names)] + [f",{step},1.0" + "," * len(metrics) for step in range(num_steps)]
    rows += [f",{num_steps - 1},1.0,{','.join(map(str, metrics.values()))}"] if metrics else []
    rows += [f"{epoch},{step},1.0" + "," * len(metrics) for epoch, step in epochs]
    table.add_rows(row + "\n" for row in rows)
    return table


def test_time_left_is_remaining_steps_times_observed_duration():
    now = time.time()
    progress = describe_progress(PLAN, make_table(20), now, observed=(now - 30, 5))

    # 15 steps in 30 s, and 30 steps are left.
    assert progress["left_s"] == pytest.approx(60)
    assert progress["progress"] == pytest.approx(0.4)
    assert progress["position"] == "step 20 of 50, epoch 2 of 5"


def test_time_left_uses_logged_duration_before_an_observation():
    progress = describe_progress(PLAN, make_table(20, **{"speed/step_ms": 500.0}), time.time())

    assert progress["left_s"] == pytest.approx(15)


def test_time_left_uses_start_of_the_run_without_throughput():
    now = time.time()
    progress = describe_progress({**PLAN, "started": now - 40}, make_table(20), now)

    assert progress["left_s"] == pytest.approx(60)


def test_completed_epochs_replace_the_expected_length():
    # The expected length is 10 steps, and each completed epoch has 4.
    table = make_table(9, epochs=[(0, 3), (1, 7), (2, 8)])

    assert describe_progress(PLAN, table, time.time())["position"] == "step 9 of 20, epoch 3 of 5"


def test_smaller_limit_of_steps_and_epochs_is_the_end():
    progress = describe_progress({**PLAN, "max_steps": 25}, make_table(20), time.time())

    assert progress["progress"] == pytest.approx(0.8)


@pytest.mark.parametrize("plan", [{**PLAN, "steps_per_epoch": None}, {**PLAN, "max_epochs": None}])
def test_unknown_end_has_no_time_left(plan):
    progress = describe_progress(plan, make_table(20, **{"speed/step_ms": 500.0}), time.time())

    assert (progress["progress"], progress["left_s"]) == (None, None)
    assert progress["position"].startswith("step 20")


def test_silent_run_has_no_time_left():
    table = make_table(20, **{"speed/step_ms": 500.0})
    progress = describe_progress(PLAN, table, time.time() - MAX_SILENCE_S - 1)

    assert (progress["left_s"], progress["progress"]) == (None, pytest.approx(0.4))


def test_run_without_metrics_has_no_progress():
    assert describe_progress(PLAN, CurveTable(), time.time()) == {"progress": None, "left_s": None, "position": None}


@pytest.mark.parametrize("logged", ["nan", "inf", "1e999"])
def test_duration_that_is_not_finite_is_ignored(logged):
    table = make_table(20, **{"speed/step_ms": logged})

    assert describe_progress(PLAN, table, time.time())["left_s"] is None


def write_plan(run_dir, config, **fields):
    (run_dir / "config.yaml").write_text(config)
    record = {"status": "running", "started": "2026-11-20T10:00:00+00:00", "attempts": [{}], **fields}
    (run_dir / "run.json").write_text(json.dumps(record))
    return load_run_plan(run_dir)


def test_steps_per_epoch_follow_from_samples_devices_and_accumulation(tmp_path):
    config = "trainer: {max_epochs: 3, max_steps: -1, accumulate_grad_batches: 2}\ndata: {batch_size: 8}\n"
    plan = write_plan(tmp_path, config, samples={"train": 100}, devices=2)

    # 7 batches of 8 samples on each of 2 devices.
    assert plan == {"max_epochs": 3, "max_steps": None, "steps_per_epoch": 4, "started": 1763632800 + 365 * 86400}


@pytest.mark.parametrize(
    "config",
    [
        "",
        "[",
        "- 1",
        "trainer: 3\ndata: [1]",
        "trainer: {max_epochs: -1, max_steps: x}",
        "[" * 5_000,
        "a: &a {max_epochs: 3}\ntrainer: *a",
        "\n".join(
            ["a0: &a0 {x: 1}", *(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 9)}]}}" for i in range(1, 30))]
        ),
        "trainer: !!python/object/apply:os.system ['touch x']",
    ],
)
def test_damaged_config_has_no_plan(tmp_path, config):
    plan = write_plan(tmp_path, config, samples="x", attempts=None)

    assert set(plan.values()) == {None}
    assert not (tmp_path / "x").exists()


def test_report_has_progress_and_metrics_of_running_runs(tmp_path):
    run_dir = write_run(tmp_path / "a", status="running", rows=3)
    config = "trainer: {max_epochs: 2}\ndata: {batch_size: 8}\n"
    write_plan(run_dir, config, samples={"train": 24})
    report = collect_report([tmp_path]).report

    (run,) = report["runs"]
    assert run["progress"] == pytest.approx(0.5)
    assert run["left_s"] == pytest.approx(3 * 0.2857 / 1000, rel=1e-3)
    assert run["metrics"]["val/accuracy"] == 0.9
    assert run["summary"]["progress"] == "step 3 of 6, epoch 1 of 2"
    labels = [column["label"] for column in report["columns"]]
    assert labels[:4] == ["run", "status", "progress", "time left"]
