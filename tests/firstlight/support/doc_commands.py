"""The commands and examples in README and docs/, and how to validate the commands."""

import re
import shlex
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

from firstlight.config import schema
from firstlight.config.compose import compose_config
from firstlight.config.options import CONFIG_DIR, list_groups, list_option_files, load_yaml
from firstlight.config.validate import validate_config
from firstlight.sweep import plan as sweep_plan
from firstlight.sweep.plan import make_plan, split_sweep_and_job_overrides, validate_jobs
from support.checkout import IS_TEMPLATE, PROJECT, ROOT

# The README of a project belongs to its author.
PAGES = [ROOT / "README.md"] if IS_TEMPLATE else []
PAGES += [ROOT / "AGENTS.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Without the page whose commands a test runs one after another, because they use what earlier ones have created.
COMMAND_PAGES = [page for page in PAGES if page.name != "AGENTS.md"]
template_only = pytest.mark.skipif(not IS_TEMPLATE, reason="the docs describe the examples of the template")
HELP = (ROOT / "scripts/help.txt").read_text()
COMMANDS = {"help", *re.findall(r"\bmake ([a-z-]+)", HELP)}
# Commands above this heading are modules of the engine, which a project may delete.
ENGINE_COMMANDS = set(re.findall(r"\bmake ([a-z-]+)", HELP.partition("\nYour project\n")[0]))
# The only commands in bash blocks that do not belong to the project.
CLONE = ["git clone https://github.com/OWNER/firstlight.git", "cd firstlight"]
# The default model that the docs assume.
DEFAULT_MODEL = "resnet50"
# The options of the scripts, as in `make new model=my_net`.
SCRIPT_OPTIONS = {
    "init": {"name", "keep", "holder", "force"},
    "new": {"model", "data", "kind", "modality"},
    "doctor": {"gpu"},
    "update": {"from", "ref", "dry_run", "force"},
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def iter_blocks(language: str, pages: list[Path] = PAGES) -> list[str]:
    """Return the fenced blocks of a language, in the order of the pages."""
    return [block for page in pages for name, block in FENCE.findall(page.read_text()) if name == language]


def iter_commands(pages: list[Path] = COMMAND_PAGES) -> list[str]:
    """Return the commands in bash blocks and tables, without duplicates."""
    lines = [line for block in iter_blocks("bash", pages) for line in block.splitlines() if line]
    lines += [line for page in pages for line in re.findall(r"^\| `(make [^`]*)` \|", page.read_text(), re.MULTILINE)]
    return list(dict.fromkeys(lines))


# Path -> content of the files that the docs show.
EXAMPLE_FILES = {
    match.group(1): block
    for language in ("python", "yaml")
    for block in (block.replace("<your package>", PROJECT.name) for block in iter_blocks(language))
    if (match := re.search(r"^# ((?:src|configs)/\S+)$", block, re.MULTILINE))
}


def parse_command(line: str) -> list[str]:
    """Return the words of the first command in a line, without variable assignments before it."""
    # A placeholder such as <your package> is one word.
    line = re.sub(r"<[^<>]*>", lambda match: match.group().replace(" ", "-"), line)
    words = shlex.split(line, comments=True)
    end = next((number for number, word in enumerate(words) if word in ("|", "2>&1", ">", "&&")), len(words))
    while re.match(r"[A-Z_]+=", words[0]):
        words, end = words[1:], end - 1
    return words[:end]


def pretend_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that this machine has Slurm and all packages."""
    monkeypatch.setattr(sweep_plan.shutil, "which", lambda program: program)
    monkeypatch.setattr(sweep_plan.importlib.metadata, "version", lambda package: "99")
    monkeypatch.setattr(schema, "is_installed", lambda package: True)


def validate_command(command: str, arguments: list[str]) -> None:
    """Compose and validate the config of a command as the command itself does.

    Raises:
        ValueError: If the command would reject the arguments.
    """
    arguments = [argument for argument in arguments if argument != "json=true"]
    if command == "sweep":
        overrides = [argument for argument in arguments if not argument.startswith("force=")]
        sweep_overrides, job_overrides = split_sweep_and_job_overrides(overrides)
        plan = make_plan(sweep_overrides, job_overrides)
        # A sweep of a single run submits that run to a cluster.
        assert plan.num_jobs > 1 or "launcher=slurm" in sweep_overrides
        validate_jobs(plan)
    elif command in SCRIPT_OPTIONS:
        options = dict(argument.split("=", 1) for argument in arguments)
        assert set(options) <= SCRIPT_OPTIONS[command]
        assert set(options.get("keep", "none").split(",")) <= list_keep_values()
    elif (CONFIG_DIR / f"{command}.yaml").is_file():
        needs_output_dir = command == "train" and not any(argument.startswith("resume=") for argument in arguments)
        cfg = compose_config(command, [*arguments, *(["output_dir=logs"] if needs_output_dir else [])], hydra=True)
        HydraConfig.instance().set_config(cfg)  # Messages name the selected options.
        try:
            with open_dict(cfg):
                cfg.pop("hydra")
            validate_config(cfg)
        finally:
            HydraConfig.instance().cfg = None
    else:
        assert command.replace("_", "-") in COMMANDS
        assert not arguments


def list_keep_values() -> set[str]:
    """Return the valid values of keep= of `make init`."""
    return {*list_option_files("model"), *list_option_files("data"), "none"}


def skip_if_deleted(arguments: list[str]) -> None:
    """Skip a test in a project that has deleted a part that a documented command needs."""
    if not IS_TEMPLATE and (missing := find_deleted(arguments)):
        pytest.skip(f"this project has no {missing}")


def find_deleted(arguments: list[str]) -> str:
    """Return the command or option that a documented command needs but this checkout lacks, or ""."""
    overrides = [argument.split("=", 1) for argument in arguments if "=" in argument]
    for target in ENGINE_COMMANDS & {*arguments}:
        module = ROOT / "src/firstlight" / target.replace("-", "_")
        if not (module.with_suffix(".py").is_file() or (module / "__main__.py").is_file()):
            return f"command {target}"
    for group, value in overrides if "new" not in arguments else ():
        available = list_option_files(group) if group in list_groups() else list_keep_values()
        for name in value.split(",") if group in ("keep", *list_groups()) else ():
            if name not in available:
                return f"{group}={name}"
    defaults = load_yaml(CONFIG_DIR / "train.yaml")["defaults"]
    model = next((entry["model"] for entry in defaults if "model" in entry), None)
    return "" if "model" in dict(overrides) or model == DEFAULT_MODEL else f"default model {DEFAULT_MODEL}"
