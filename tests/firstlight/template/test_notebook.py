"""The notebook runs as it is, quickly and without noise."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import nbformat
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

import firstlight

NOTEBOOK = Path(__file__).parents[3] / "notebooks/first_steps.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """Return a copy of the notebook after all its cells ran, the seconds that took, and its folder."""
    folder = tmp_path_factory.mktemp("notebook")
    copy = shutil.copy(NOTEBOOK, folder)
    notebook = nbformat.read(copy, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    # This interpreter, whichever kernels are installed for the user.
    launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    source = str(Path(firstlight.__file__).parents[1])
    manager._kernel_spec = KernelSpec(argv=launch, env={"PYTHONPATH": source}, language="python")
    client = NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": str(folder)}})
    before = time.perf_counter()
    client.execute()
    return notebook, time.perf_counter() - before, folder


def outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.slow
def test_no_cell_fails_or_warns(executed):
    notebook, seconds, _ = executed

    assert [each for each in outputs(notebook) if each.output_type == "error"] == []
    assert [each.text for each in outputs(notebook) if each.get("name") == "stderr"] == []
    assert seconds < 60 or os.getloadavg()[0] > (os.cpu_count() or 1)


@pytest.mark.slow
def test_it_shows_pictures_and_makes_a_run(executed):
    notebook, _, folder = executed

    assert sum("image/png" in each.get("data", {}) for each in outputs(notebook)) == 3
    assert len(list((folder / "logs" / "train").glob("*/checkpoints/best.ckpt"))) == 1


def test_it_is_kept_without_outputs():
    kept = json.loads(NOTEBOOK.read_text())

    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in kept["cells"])
    assert set(kept["metadata"]) == {"kernelspec", "language_info"}
