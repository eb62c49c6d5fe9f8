"""The logger that docs/loggers.md shows works with trackio: each step of a killed and resumed run stands once."""

import json
import os
import subprocess

import pytest

from support.checkout import PROJECT, ROOT
from support.doc_commands import EXAMPLE_FILES
from support.tiny_training import make_command
from support.tracked_runs import count_points, drop_speed, read_csv, sort_points

TRACKIO_PYTHON = ROOT / ".trackio" / "bin" / "python"
LOGGER_FILE = f"src/{PROJECT.name}/trackio_logger.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not TRACKIO_PYTHON.is_file(), reason="requires .trackio, see docs/loggers.md"),
    pytest.mark.skipif(LOGGER_FILE not in EXAMPLE_FILES, reason="requires docs/loggers.md"),
]
READ = """
import json, trackio
print(json.dumps(trackio.SQLiteStorage.get_logs("firstlight", "run")))
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Return the environment variables of a project with the files of the page."""
    directory = tmp_path_factory.mktemp("trackio")
    package = directory / "packages" / "lab_tracking"
    package.mkdir(parents=True)
    (package / "trackio_logger.py").write_text(EXAMPLE_FILES[LOGGER_FILE])
    (directory / "configs" / "logger").mkdir(parents=True)
    config = EXAMPLE_FILES["configs/logger/trackio.yaml"].replace(PROJECT.name, package.name)
    (directory / "configs" / "logger" / "trackio.yaml").write_text(config)
    (directory / "configs" / "trusted.yaml").write_text("- lab_tracking\n")
    paths = {"PYTHONPATH": [package.parent, ROOT / "src"], "FIRSTLIGHT_CONFIG_PATH": [directory / "configs"]}
    joined = {name: os.pathsep.join([*map(str, first), os.environ[name]]) for name, first in paths.items()}
    return {**os.environ, **joined, "TRACKIO_DIR": str(directory / "store")}


def run(arguments, directory, environment, exit_code=0, **variables):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.run(
        [TRACKIO_PYTHON, *arguments], cwd=directory, env={**environment, **variables}, timeout=300, **pipes
    )
    assert process.returncode == exit_code, process.stdout + process.stderr
    return process.stdout


def test_each_step_stands_once_in_trackio(environment, tmp_path):
    command = make_command("train", "output_dir=run", "trainer.max_epochs=3", "logger=trackio")[1:]
    # Slow steps: trackio has written step 4, which is after the checkpoint, when the run is killed.
    run(command, tmp_path, environment, -9, FAULT="step==6:SIGKILL", STEP_SECONDS="0.4")
    run(["-m", "firstlight.train", "resume=run"], tmp_path, environment)
    logs = json.loads(run(["-c", READ], tmp_path, environment).splitlines()[-1])
    points = [(name, row["step"], value) for row in logs for name, value in row.items()]
    numbers = [point for point in points if isinstance(point[2], float | int) and point[0] not in ("step", "timestamp")]
    curves = {name: sort_points((step, value) for key, step, value in numbers if key == name) for name, *_ in numbers}
    images = sorted(name for name, _, value in points if isinstance(value, dict))

    assert drop_speed(curves) == drop_speed(read_csv(tmp_path / "run"))
    assert count_points(curves) == count_points(read_csv(tmp_path / "run"))
    assert images == ["test/confusion_matrix", *4 * ["test/predictions"], "train/first_batch"]
