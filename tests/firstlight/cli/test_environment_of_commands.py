"""Commands start in the environments of real machines."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import firstlight
from firstlight.cli.job import remove_run_variables

SOURCE = Path(firstlight.__file__).resolve().parents[1]


def run_command(directory, *arguments, **variables):
    """Run `python -m firstlight.<...>` in a directory."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), **variables}
    environment.pop("FIRSTLIGHT_CONFIG_PATH", None)
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, env=environment, timeout=100)


@pytest.mark.parametrize("variables", [{"RANK": "1"}, {"LOCAL_RANK": "1"}, {"SLURM_PROCID": "2"}])
def test_single_rank_variable_does_not_silence_a_command(tmp_path, variables):
    process = run_command(tmp_path, "firstlight.evaluate", **variables)

    assert process.returncode == 2
    first, second = process.stderr.splitlines()
    assert first.startswith(f"Ignored {next(iter(variables))}=")
    assert second.startswith("evaluate: evaluate requires a trained model.")


def test_other_ranks_of_a_command_say_so(tmp_path):
    variables = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    process = run_command(tmp_path, "firstlight.evaluate", **variables, TORCHELASTIC_RUN_ID="none")

    assert process.returncode == 0
    assert process.stderr == "evaluate: runs on rank 0 only, and torchrun started this process as another rank.\n"


def test_modules_of_the_working_directory_are_not_imported(tmp_path):
    for name in ("profile", "secrets", "queue", "token", "random", "wandb", "hydra", "omegaconf"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')\n")
    process = run_command(tmp_path, "firstlight.evaluate")

    assert process.stderr.startswith("evaluate: evaluate requires a trained model.")


def test_package_in_the_working_directory_is_still_found():
    code = "import sys, firstlight; print(firstlight.__file__, sys.path[0])"
    process = subprocess.run([sys.executable, "-c", code], cwd=SOURCE, capture_output=True, text=True)

    assert process.stdout.split()[0] == str(SOURCE / "firstlight/__init__.py")


def test_plot_backend_of_a_notebook_does_not_matter(tmp_path):
    code = "import os; from firstlight import evaluate; import sys; sys.argv[1:] = []\ntry: evaluate.main()\n"
    code += "except SystemExit: pass\nimport matplotlib"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "MPLBACKEND": "module://missing.backend_inline"}
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, env=environment
    )

    assert process.returncode == 0, process.stderr


def test_jobs_of_a_sweep_share_no_run_id(monkeypatch, capsys):
    monkeypatch.setenv("WANDB_RUN_ID", "abcd1234")
    monkeypatch.setenv("WANDB_RESUME", "must")
    remove_run_variables()
    remove_run_variables()

    assert not {"WANDB_RUN_ID", "WANDB_RESUME"} & {*os.environ}
    assert capsys.readouterr().out.splitlines() == [
        "Ignored WANDB_RUN_ID=abcd1234: each job of a sweep is a run of its own.",
        "Ignored WANDB_RESUME=must: each job of a sweep is a run of its own.",
    ]
