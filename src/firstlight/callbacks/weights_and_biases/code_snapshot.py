"""Keep the code of a run at W&B."""

import shutil
import subprocess
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.config.options import CONFIG_DIR
from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.provenance import run_git

# Larger files are data.
MAX_FILE_BYTES = 1_000_000
# Files that hold keys and passwords: git lists one too, as long as nobody has told it to ignore that.
SECRET_PATTERNS = [
    ".env",
    ".env.*",
    "*.env",
    "*.pem",
    "*.key",
    "*.p12",
    "*.pfx",
    "id_rsa*",
    "id_dsa*",
    "id_ecdsa*",
    "id_ed25519*",
]
SECRET_PATTERNS += ["*credentials*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".htpasswd", "secrets.*", "kaggle.json"]


class CodeSnapshot(Callback):
    """Log the files that git tracks or would track, as they are now, as an artifact of type "code"."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the files and log the copy: W&B would walk through logs/, data/ and .venv/ too."""
        if found := get_wandb_loggers(trainer):
            with tempfile.TemporaryDirectory() as folder:
                root = CONFIG_DIR.parent
                for path in list_code_files(root):
                    copy = Path(folder) / path
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(root / path, copy)
                for logger in found:
                    run = logger.experiment
                    run.log_code(folder, name=f"source-{run.project}", include_fn=lambda path: True)


def list_code_files(root: Path) -> list[Path]:
    """Return the files that make up a project, relative to its root; without git, those of src/ and configs/.

    Links are left out, which may lead to anywhere, and files that are secret by their name.
    """
    try:
        told = run_git("ls-files", "--cached", "--others", "--exclude-standard", "-z", folder=root)
        paths = [Path(name) for name in told.split("\0") if name]
    except (OSError, subprocess.SubprocessError):
        files = (path for top in ("src", "configs") for path in (root / top).rglob("*"))
        paths = [path.relative_to(root) for path in files if path.suffix in (".py", ".yaml")]
    return [path for path in paths if is_uploadable(root / path)]


def is_uploadable(file: Path) -> bool:
    """Say whether a file may be uploaded as a part of the code."""
    if file.is_symlink() or any(fnmatch(file.name.lower(), pattern) for pattern in SECRET_PATTERNS):
        return False
    return file.is_file() and file.stat().st_size <= MAX_FILE_BYTES
