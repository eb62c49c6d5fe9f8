"""A copy of this checkout in a git repository, for tests of commands that edit a checkout."""

import os
import subprocess
import sys
from pathlib import Path

from support.checkout import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import project

# Compose and validate each root config, model and experiment of a checkout.
COMPOSE = """
import sys
from firstlight.config import options
from firstlight.config.compose import compose_config
from firstlight.config.validate import validate_config
models = list(options.list_option_files("model"))
own = [name for name in models if name not in ("text_classifier", "timm", "torchvision")]
for root in ("benchmark", "report", "wandb_sync", "wandb_sweep"):
    validate_config(compose_config(root, []))
for model in models:
    for root in ("train", "preflight", "prepare"):
        validate_config(compose_config(root, [f"model={model}", "output_dir=x"]))
for name in options.list_option_files("experiment"):
    own and validate_config(compose_config("train", [f"experiment={name}", "output_dir=x"]))
own and validate_config(compose_config("train", ["output_dir=x"]))
print(*models)
assert "torch" not in sys.modules
"""


def git(root: Path, *arguments: str) -> str:
    """Run git with an author, and return its output."""
    author = ["-c", "user.name=Ada Lovelace", "-c", "user.email=ada@example.org"]
    return subprocess.run(["git", *author, *arguments], cwd=root, capture_output=True, text=True, check=True).stdout


def commit(root: Path) -> None:
    """Commit all changes."""
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "Start")


def copy_checkout(root: Path) -> Path:
    """Copy the files of this checkout, including uncommitted ones, into a new git repository."""
    git(root, "init", "-q")
    project.write_files(root, {}, project.read_files(ROOT))
    git(root, "config", "user.name", "Ada Lovelace")
    git(root, "remote", "add", "origin", "https://user:secret@example.org/template.git")
    commit(root)
    return root


def run_make(root: Path, *arguments: str) -> str:
    """Run a make command in a copy with this Python, and return the output."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environment.pop("FIRSTLIGHT_CONFIG_PATH", None)
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", "READY=", *arguments]
    done = subprocess.run(
        command, cwd=root, env={**environment, "PYTHONPATH": str(root / "src")}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout
