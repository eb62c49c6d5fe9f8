"""docs/scripts-and-agents.md states the keys of each result, and its script works."""

import ast
import json
import os
import re
import subprocess
import sys

import pytest

from firstlight import evaluate, predict, train, wandb_sweep, wandb_sync
from firstlight.config.compose import compose_config
from firstlight.config.options import list_root_configs
from firstlight.export import __main__ as export
from firstlight.lr_find import __main__ as lr_find
from firstlight.preflight import __main__ as preflight
from firstlight.prepare import __main__ as prepare
from firstlight.report import __main__ as report
from firstlight.runs import __main__ as runs
from support.checkout import ROOT
from support.doc_commands import iter_blocks
from support.options import make_tiny_overrides

PAGE = ROOT / "docs/scripts-and-agents.md"
ROWS = re.findall(r"^\| `([\w-]+)` \| (.+) \|$", PAGE.read_text().partition("## Results")[2], re.MULTILINE)
DOCUMENTED = {command: re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)|: a list.*", "", keys)) for command, keys in ROWS}
# A range test of a dataset whose training samples form one batch, so that the loss has no noise.
RANGE_TEST = ["data.num_samples=20", "data.batch_size=16", "data.augment=false", "model.dropout=0", "data.image_size=4"]
RANGE_TEST += ["min_lr=1e-5", "max_lr=10", "num_steps=50", "output_dir=found"]
SCRIPTS = ("doctor", "new", "init", "update", "lock")


def list_result_keys(script: str) -> set[str]:
    """Return the keys that a script adds to its result."""
    calls = [node for node in ast.walk(ast.parse((ROOT / f"scripts/{script}.py").read_text())) if is_update(node)]
    return {keyword.arg for call in calls for keyword in call.keywords}


def is_update(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).endswith("update_result")


def test_each_command_is_documented():
    # `make doctor gpu=true` runs check_gpu and reports its results.
    commands = {file.stem.replace("_", "-") for file in list_root_configs()} - {"resume", "check-gpu"}

    assert commands | {*SCRIPTS, "setup"} <= set(DOCUMENTED)


@pytest.mark.parametrize("script", SCRIPTS)
def test_documented_keys_of_scripts(script):
    assert list_result_keys(script) == set(DOCUMENTED[script])


def test_documented_keys_of_setup():
    assert list_result_keys("make") == set(DOCUMENTED["setup"])


@pytest.mark.slow
def test_documented_keys_of_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings, run = make_tiny_overrides("tiny_images"), "run=run"
    results = {
        "train": train.main(compose_config("train", [*settings, "output_dir=run", "test=false"])),
        "evaluate": evaluate.main(compose_config("evaluate", [run])),
        "export": export.main(compose_config("export", [run, "format=safetensors"])),
        "runs": runs.main(compose_config("runs", ["runs=."])),
        "report": report.main(compose_config("report", ["runs=."])),
        "prepare": prepare.main(compose_config("prepare", settings)),
        "preflight": preflight.main(compose_config("preflight", settings[:5])),
        "lr-find": lr_find.main(compose_config("lr_find", [*settings, *RANGE_TEST])),
        "wandb-sync": wandb_sync.main(compose_config("wandb_sync", ["runs=."])),
    }
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.png").write_bytes(b"")
    (tmp_path / "run" / "first_batch.png").rename(tmp_path / "photos" / "one.png")
    results["predict"] = predict.main(compose_config("predict", [run, "input=photos"]))
    file = tmp_path / "sweep.yaml"
    file.write_text("method: grid\nparameters: {seed: {value: 1}, model: {value: tiny_images}}\ncommand: [python]\n")
    results["wandb-sweep"] = wandb_sweep.main(compose_config("wandb_sweep", ["file=sweep.yaml", "dry_run=true"]))

    for command, result in results.items():
        assert list(result) == DOCUMENTED[command], command
        assert json.loads(json.dumps(result)) == result
    assert results["predict"]["unreadable"] == ["photos/broken.png"]


@pytest.mark.slow
def test_script_trains_compares_resumes_evaluates_and_exports(tmp_path):
    (script,) = iter_blocks("python", [PAGE])
    (tmp_path / "script.py").write_text(script)
    settings = [item for item in make_tiny_overrides("tiny_images") if not item.startswith("trainer.max_epochs")]
    command = [sys.executable, "script.py", *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    printed = json.loads(done.stdout)
    best = printed["best"]
    values = {}
    for file in (tmp_path / "logs/sweep").glob("*/*/run.json"):
        values[file.parent.relative_to(tmp_path)] = json.loads(file.read_text())["metrics"][best["metric"]]
    attempts = json.loads((tmp_path / printed["trained"] / "run.json").read_text())["attempts"]

    assert (best["metric"], best["mode"], best["value"]) == ("val/accuracy", "max", max(values.values()))
    assert len(values) == 2
    assert [attempt["status"] for attempt in attempts] == ["finished", "finished"]
    assert printed["evaluated"].keys() == {"val/accuracy", "val/f1", "val/loss"}
    assert sorted(printed["compared"]) == sorted([printed["trained"], *map(str, values)])
    assert all((tmp_path / file).is_file() for file in printed["files"])
    assert all(file.startswith(best["run_dir"]) for file in printed["files"])
