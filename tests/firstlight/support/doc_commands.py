"""What README and the pages of docs/ show, and how a command of theirs is held against the configuration."""

import re
import shlex
from pathlib import Path

import pytest

from firstlight.config import schema
from firstlight.config.compose import compose_config
from firstlight.config.options import CONFIG_DIR, list_groups, list_option_files, load_yaml
from firstlight.config.validate import validate_config
from firstlight.sweep import plan as sweep_plan
from firstlight.sweep.plan import make_plan, split_overrides, validate_jobs
from support.checkout import IS_TEMPLATE, PROJECT, ROOT

# README of a project belongs to its author.
PAGES = [ROOT / "README.md"] if IS_TEMPLATE else []
PAGES += [ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
template_only = pytest.mark.skipif(not IS_TEMPLATE, reason="the pages describe the examples of the template")
HELP = (ROOT / "scripts/help.txt").read_text()
COMMANDS = {"help", *re.findall(r"\bmake ([a-z-]+)", HELP)}
# The commands above this heading are modules of the engine, which a project may delete.
PROGRAMS = set(re.findall(r"\bmake ([a-z-]+)", HELP.partition("\nYour project\n")[0]))
# The only commands of a bash block that are not the project's own.
CLONE = ["git clone https://github.com/OWNER/firstlight.git", "cd firstlight"]
# What the pages assume for a command that names no model.
DEFAULT_MODEL = "resnet50"
# The words that these commands take, as `make new model=my_net`.
WORDS = {
    "init": {"name", "keep", "holder", "force"},
    "new": {"model", "data", "kind"},
    "update": {"from", "ref", "dry_run", "force"},
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def iter_blocks(kind: str, pages: list[Path] = PAGES) -> list[str]:
    """Return the blocks of one kind, in the order of the pages."""
    return [block for page in pages for found, block in FENCE.findall(page.read_text()) if found == kind]


def iter_commands(pages: list[Path] = PAGES) -> list[str]:
    """Return the commands of bash blocks and tables, each once."""
    lines = [line for block in iter_blocks("bash", pages) for line in block.splitlines() if line]
    lines += [line for page in pages for line in re.findall(r"^\| `(make [^`]*)` \|", page.read_text(), re.MULTILINE)]
    return list(dict.fromkeys(lines))


# Files that the examples of the pages make.
EXAMPLES = {
    found.group(1): block
    for kind in ("python", "yaml")
    for block in (each.replace("<your package>", PROJECT.name) for each in iter_blocks(kind))
    if (found := re.search(r"^# ((?:src|configs)/\S+)$", block, re.MULTILINE))
}


def parse_command(line: str) -> list[str]:
    """Return the words of the first command of a line, without the variables before it."""
    line = re.sub(r"<[^<>]*>", lambda found: found.group().replace(" ", "-"), line)  # a placeholder is one word
    words = shlex.split(line, comments=True)
    end = next((number for number, word in enumerate(words) if word in ("|", "2>&1", ">", "&&")), len(words))
    while re.match(r"[A-Z_]+=", words[0]):
        words, end = words[1:], end - 1
    return words[:end]


def pretend_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine look as if it had Slurm and all packages."""
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda program: program)
    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", lambda package: "1")
    monkeypatch.setattr(schema, "is_installed", lambda package: True)


def validate_command(command: str, words: list[str]) -> None:
    """Compose what a command would, and check it as the command would.

    Raises:
        ValueError: what the command would refuse.
    """
    if command == "sweep":
        own, rest = split_overrides([word for word in words if not word.startswith("force=")])
        plan = make_plan(own, rest)
        # A single training is sent to a cluster so.
        assert plan.num_jobs > 1 or "launcher=slurm" in own
        validate_jobs(plan)
    elif command in WORDS:
        given = dict(word.split("=", 1) for word in words)
        assert set(given) <= WORDS[command]
        assert set(given.get("keep", "none").split(",")) <= {
            *list_option_files("model"),
            *list_option_files("data"),
            "none",
        }
    elif (CONFIG_DIR / f"{command}.yaml").is_file():
        needs_folder = command == "train" and not any(word.startswith("resume=") for word in words)
        validate_config(compose_config(command, [*words, *(["output_dir=logs"] if needs_folder else [])]))
    else:
        assert command.replace("_", "-") in COMMANDS
        assert not words


def skip_if_deleted(words: list[str]) -> None:
    """Skip a command of a page in a project that has deleted something it needs; in the template nothing is missing."""
    if not IS_TEMPLATE and (missing := is_deleted(words)):
        pytest.skip(f"this project has no {missing}")


def is_deleted(words: list[str]) -> str:
    """Return what a command of a page needs and this checkout lacks, "" if nothing."""
    given = [word.split("=", 1) for word in words if "=" in word]
    for goal in PROGRAMS & {*words}:
        module = ROOT / "src/firstlight" / goal.replace("-", "_")
        if not (module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()):
            return f"command {goal}"
    for group, value in given if "new" not in words else ():
        here = (
            list_option_files(group)
            if group in list_groups()
            else {*list_option_files("model"), *list_option_files("data"), "none"}
        )
        for name in value.split(",") if group in ("keep", *list_groups()) else ():
            if name not in here:
                return f"{group}={name}"
    model = next((each["model"] for each in load_yaml(CONFIG_DIR / "train.yaml")["defaults"] if "model" in each), None)
    return "" if "model" in dict(given) or model == DEFAULT_MODEL else f"default model {DEFAULT_MODEL}"
