"""Each of the larger commands can be deleted, and everything else works."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from support.checkout import ROOT

COMMANDS = ["sweep", "export", "report", "benchmark", "preflight"]
THERE = [name for name in COMMANDS if (ROOT / "src" / "firstlight" / name).is_dir()]
# In a copy for each, whose command is deleted: import each module of the engine, and compose what commands start from.
# The libraries are imported once, before the process is divided.
REST = """
import importlib, os, pathlib, sys, traceback
import lightning.pytorch, torchvision, wandb

def follow(folder):
    os.chdir(folder)
    sys.path.insert(0, f"{folder}/src")
    from firstlight.config.compose import composed
    from firstlight.config.options import CONFIGS, root_files
    from firstlight.config.validate import check

    engine = pathlib.Path("src/firstlight")
    assert CONFIGS == pathlib.Path("configs").resolve(), CONFIGS
    assert not (engine / pathlib.Path(folder).name).exists()
    for file in sorted(engine.rglob("*.py")):
        parts = file.relative_to("src").with_suffix("").parts
        if "optuna" not in parts:  # an extra that may not be installed
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    for name in sorted(file.stem for file in root_files()):
        if name not in ("resume", "evaluate", "predict", "export"):  # they start from a run
            words = ["model=tiny_images", "output_dir=run"] if name in ("train", "preflight") else []
            check(composed(name, words))

for folder in sys.argv[1:]:
    child = os.fork()
    if not child:
        code = 1
        try:
            follow(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"without {folder}, the rest does not work")
"""


def copy_without(name: str, folder: Path) -> str:
    """Copy what commands need, but for one command; return the folder."""
    for part in ("src", "configs", "scripts"):
        shutil.copytree(ROOT / part, folder / name / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.rmtree(folder / name / "src" / "firstlight" / name)
    (folder / name / "configs" / f"{name}.yaml").unlink(missing_ok=True)
    return str(folder / name)


def test_each_command_can_be_deleted(tmp_path):
    folders = [copy_without(name, tmp_path) for name in THERE]
    done = subprocess.run(
        [sys.executable, "-P", "-c", REST, *folders],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr
