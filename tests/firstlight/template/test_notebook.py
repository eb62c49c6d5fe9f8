"""The notebook runs quickly, without errors and warnings."""

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
def executed_notebook(tmp_path_factory):
    """Return the executed notebook, its duration in seconds, and the directory that it ran in."""
    directory = tmp_path_factory.mktemp("notebook")
    copy = shutil.copy(NOTEBOOK, directory)
    notebook = nbformat.read(copy, as_version=4)
    manager = AsyncKernelManager(kernel_name="python3")
    # Use this interpreter, independent of the kernels that the user has installed.
    launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    source = str(Path(firstlight.__file__).parents[1])
    manager._kernel_spec = KernelSpec(argv=launch, env={"PYTHONPATH": source}, language="python")
    client = NotebookClient(notebook, km=manager, timeout=300, resources={"metadata": {"path": str(directory)}})
    before = time.perf_counter()
    client.execute()
    return notebook, time.perf_counter() - before, directory


def list_outputs(notebook) -> list:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


@pytest.mark.slow
def test_no_cell_fails_or_warns(executed_notebook):
    notebook, duration_s, _ = executed_notebook

    assert [output for output in list_outputs(notebook) if output.output_type == "error"] == []
    assert [output.text for output in list_outputs(notebook) if output.get("name") == "stderr"] == []
    assert duration_s < 60 or os.getloadavg()[0] > (os.cpu_count() or 1)


@pytest.mark.slow
def test_notebook_shows_plots_and_creates_a_run(executed_notebook):
    notebook, _, directory = executed_notebook

    assert sum("image/png" in output.get("data", {}) for output in list_outputs(notebook)) == 3
    assert len(list((directory / "logs" / "train").glob("*/checkpoints/best.ckpt"))) == 1


def test_notebook_is_committed_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text())

    assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in notebook["cells"])
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
