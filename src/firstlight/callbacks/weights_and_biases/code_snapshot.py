"""Upload the code of a run to W&B."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer

from firstlight.config.options import CONFIG_DIR
from firstlight.logger.wandb_loggers import get_wandb_loggers
from firstlight.run.optional import continue_on_failure
from firstlight.run.provenance import run_git
from firstlight.run.redaction import contains_secret, find_distinctive_secrets
from firstlight.run.source_files import MAX_FILE_BYTES, has_secret_name

MAX_PRINTED_FILES = 5


class CodeSnapshot(Callback):
    """Log the current content of all files that are not ignored by git, as an artifact of type "code"."""

    @continue_on_failure("W&B code snapshot")
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log a copy of the files: in the project root, W&B would also search logs/, data/ and .venv/."""
        if loggers := get_wandb_loggers(trainer):
            with tempfile.TemporaryDirectory() as directory:
                root = CONFIG_DIR.parent
                for path in list_files_without_secrets(root):
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


def list_files_without_secrets(root: Path) -> list[Path]:
    """Return the files of `list_code_files` that contain no secret, and print the others."""
    secrets = find_distinctive_secrets()
    paths = list_code_files(root)
    files = {path: (root / path).read_bytes() for path in paths}
    texts = {path: content.decode("utf-8", "replace") for path, content in files.items() if b"\0" not in content}
    unsafe = [path for path, text in texts.items() if contains_secret(text, secrets)]
    if unsafe:
        names = ", ".join(str(path) for path in unsafe[:MAX_PRINTED_FILES])
        more = f" and {len(unsafe) - MAX_PRINTED_FILES} more" if len(unsafe) > MAX_PRINTED_FILES else ""
        print(f"Left out of the code snapshot, because they contain a secret: {names}{more}", flush=True)
    return [path for path in paths if path not in unsafe]


def is_uploadable(file: Path) -> bool:
    """Return True if a file may be uploaded as code: a regular, small file without a secret."""
    if file.is_symlink() or has_secret_name(file.name):
        return False
    return file.is_file() and file.stat().st_size <= MAX_FILE_BYTES
