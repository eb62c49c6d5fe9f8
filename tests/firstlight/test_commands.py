"""Each of the optional commands can be deleted, and everything else still works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.checkout import ROOT
from support.deletable_commands import COMMANDS

EXISTING = [name for name in COMMANDS if (ROOT / "src" / "firstlight" / name).is_dir()]
# In each copy without one command: import all modules of the engine, and compose the root configs.
# The libraries are imported once, before the process forks.
CHECK_COPIES = """
import importlib, os, pathlib, sys, traceback
import lightning.pytorch, torchvision, wandb

NEED_MODEL = ("train", "preflight", "prepare", "tune", "lr_find")

def check_copy(directory):
    os.chdir(directory)
    sys.path.insert(0, f"{directory}/src")
    from firstlight.config.compose import compose_config
    from firstlight.config.options import CONFIG_DIR, list_root_configs
    from firstlight.config.validate import validate_config

    engine = pathlib.Path("src/firstlight")
    assert CONFIG_DIR == pathlib.Path("configs").resolve(), CONFIG_DIR
    assert not (engine / pathlib.Path(directory).name).exists()
    for file in sorted(engine.rglob("*.py")):
        parts = file.relative_to("src").with_suffix("").parts
        if not {"optuna", "live", "demo", "web"} & {*parts}:  # These extras may not be installed.
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    for name in sorted(file.stem for file in list_root_configs()):
        if name not in ("resume", "evaluate", "predict", "export", "demo"):  # These commands need a run.
            overrides = ["model=tiny_images", "output_dir=run"] if name in NEED_MODEL else []
            validate_config(compose_config(name, overrides))

for directory in sys.argv[1:]:
    child = os.fork()
    if not child:
        code = 1
        try:
            check_copy(directory)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{directory} does not work without its command")
"""


def copy_without(name: str, parent: Path) -> str:
    """Copy the sources and configs without one command; return the directory."""
    for source in ("src", "configs", "scripts"):
        shutil.copytree(ROOT / source, parent / name / source, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(parent / name / "src" / "firstlight" / name)
    (parent / name / "configs" / f"{name}.yaml").unlink(missing_ok=True)
    return str(parent / name)


@pytest.mark.slow
def test_each_command_can_be_deleted(tmp_path):
    directories = [copy_without(name, tmp_path) for name in EXISTING]
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHECK_COPIES, *directories],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
