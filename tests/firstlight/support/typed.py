"""What README and the pages of docs/ show, and how a command of theirs is held against the configuration."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from firstlight.config.compose import composed
from firstlight.config.options import CONFIGS, choices
from firstlight.config.validate import check
from firstlight.sweep import plan as sweep_plan
from firstlight.sweep.plan import check_jobs, divided, planned

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import make  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(kind: str, pages: list[Path] = PAGES) -> list[str]:
    """Return the blocks of one kind, in the order of the pages."""
    return [block for page in pages for found, block in FENCE.findall(page.read_text()) if found == kind]


def commands(pages: list[Path] = PAGES) -> list[str]:
    """Return the commands of bash blocks and tables, each once."""
    lines = [line for block in blocks("bash", pages) for line in block.splitlines() if line]
    lines += [line for page in pages for line in re.findall(r"^\| `(make [^`]*)` \|", page.read_text(), re.MULTILINE)]
    return list(dict.fromkeys(lines))


def words_of(line: str) -> list[str]:
    """Return the words of the first command of a line, without the variables before it."""
    words = shlex.split(line, comments=True)
    end = next((number for number, word in enumerate(words) if word in ("|", "2>&1", ">", "&&")), len(words))
    while re.match(r"[A-Z_]+=", words[0]):
        words, end = words[1:], end - 1
    return words[:end]


def as_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine look as if it had Slurm and all packages."""
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda program: program)
    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", lambda package: "1")


def hold(command: str, words: list[str]) -> None:
    """Compose what a command would, and check it as the command would.

    Raises:
        ValueError: what the command would refuse.
    """
    if command == "sweep":
        own, rest = divided([word for word in words if not word.startswith("force=")])
        plan = planned(own, rest)
        # A single training is sent to a cluster so.
        assert plan.num_jobs > 1 or "launcher=slurm" in own
        check_jobs(plan)
    elif command in ("mine", "new"):
        known = {name for group in ("model", "data") for name, _ in choices(group)}
        given = dict(word.split("=") for word in words)
        assert set(given) <= {"name", "keep"} if command == "mine" else set(given) <= {"model", "data"}
        assert "keep" not in given or set(given["keep"].split(",")) <= known
    elif (CONFIGS / f"{command}.yaml").is_file():
        needs_folder = command == "train" and not any(word.startswith("resume=") for word in words)
        check(composed(command, [*words, *(["output_dir=logs"] if needs_folder else [])]))
    else:
        assert command in make.COMMANDS
        assert not words
