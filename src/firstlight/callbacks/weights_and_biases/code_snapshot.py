"""Upload the code of a run to W&B."""

import shutil
import subprocess
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.config.options import CONFIG_DIR
from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.optional import continue_on_failure
from firstlight.run.provenance import run_git

# Larger files are considered data.
MAX_FILE_BYTES = 1_000_000
# Files with keys and passwords. Git also lists them, unless a .gitignore excludes them.
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
    """Log the current content of all files that are not ignored by git, as an artifact of type "code"."""

    @continue_on_failure("W&B code snapshot")
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a copy of the files: in the project root, W&B would also search logs/, data/ and .venv/."""
        if loggers := get_wandb_loggers(trainer):
            with tempfile.TemporaryDirectory() as directory:
                root = CONFIG_DIR.parent
                for path in list_code_files(root):
                    copy = Path(directory) / path
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(root / path, copy)
                for logger in loggers:
                    run = logger.experiment
                    run.log_code(directory, name=f"source-{run.project}", include_fn=lambda path: True)


def list_code_files(root: Path) -> list[Path]:
    """Return the files of a project, relative to its root; without git, the files of src/ and configs/.

    Symbolic links, which may lead outside the project, and files whose name suggests a secret are left out.
    """
    try:
        output = run_git("ls-files", "--cached", "--others", "--exclude-standard", "-z", directory=root)
        paths = [Path(name) for name in output.split("\0") if name]
    except (OSError, subprocess.SubprocessError):
        files = (path for top in ("src", "configs") for path in (root / top).rglob("*"))
        paths = [path.relative_to(root) for path in files if path.suffix in (".py", ".yaml")]
    return [path for path in paths if is_uploadable(root / path)]


def is_uploadable(file: Path) -> bool:
    """Return True if a file may be uploaded as code: a regular, small file without a secret."""
    if file.is_symlink() or any(fnmatch(file.name.lower(), pattern) for pattern in SECRET_PATTERNS):
        return False
    return file.is_file() and file.stat().st_size <= MAX_FILE_BYTES
