"""Forward the arguments of `make <command>` verbatim. Standard library only.

    python scripts/make.py run firstlight.train     run a module of the engine
    python scripts/make.py script new               run scripts/new.py
    python scripts/make.py pytest -n 3              run pytest with these options and ARGS
    python scripts/make.py help                     print help.txt, the list of commands
    python scripts/make.py unknown trian            print which command was probably meant
    python scripts/make.py setup 0                  print that setup is complete, or the JSON object of json=true

If a recipe contained $(MAKEOVERRIDES), the shell would expand `$`, `;` and `*`. MAKEFLAGS in the recipe's environment
contains the same arguments unexpanded. GNU Make 3.81 and 4.x escape them in the same way.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import NoReturn

import checkout
import json_output

SCRIPTS = Path(__file__).resolve().parent
ENGINE = SCRIPTS.parent / "src/firstlight"


def read_available_help() -> str:
    """Return help.txt without the commands whose module was deleted from src/firstlight."""
    # The commands above the heading "Your project" are modules of src/firstlight.
    programs, heading, others = (SCRIPTS / "help.txt").read_text(encoding="utf-8").partition("\n\nYour project\n")
    # An entry is a heading, or a command with the indented lines below it.
    entries = re.split(r"\n(?=\S|\n)", programs)
    return "\n".join(entry for entry in entries if all(map(has_module, parse_commands(entry)))) + heading + others


def parse_commands(text: str) -> list[str]:
    """Return the commands in the format of help.txt, without duplicates."""
    return list(dict.fromkeys(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)))


def has_module(command: str) -> bool:
    """Return True if src/firstlight has a module for a command."""
    name = command.replace("-", "_")
    return (ENGINE / f"{name}.py").is_file() or (ENGINE / name / "__main__.py").is_file()


COMMANDS = ("help", *parse_commands(read_available_help()))


def parse_makeflags(makeflags: str) -> list[str]:
    """Return the key=value arguments of a make command line, in their original order.

    Make escapes whitespace and backslashes with a backslash, doubles each dollar sign, and reverses the order.
    """
    escaped = re.findall(r"(?:\\.|[^\\ \t])+", makeflags, flags=re.DOTALL)
    arguments = [re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL).replace("$$", "$") for text in escaped]
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    # Names in capitals, such as PYTHON=, are variables of the Makefile.
    return [override for override in reversed(overrides) if not re.match(r"[A-Z_]+[:+?]?=", override)]


def exec_python(*program: str, forwards_overrides: bool = True) -> None:
    """Replace this process with `python PROGRAM`, the overrides, the `~key` deletions and the flags in ARGS."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    }
    deletions = environment.pop("DELETIONS", "").split()
    flags = split_flags(environment.pop("ARGS", ""))
    overrides = [*parse_makeflags(os.environ.get("MAKEFLAGS", "")), *deletions] if forwards_overrides else []
    os.execve(sys.executable, [sys.executable, *program, *overrides, *flags], environment)


def exit_with_error(command: str, code: int, message: str) -> NoReturn:
    """Print an error, and, with json=true, the object of the command; then exit.

    Raises:
        SystemExit: Always.
    """
    print(message, file=sys.stderr)
    if json_output.pop_json_argument(parse_makeflags(os.environ.get("MAKEFLAGS", "")))[1]:
        json_output.write_object(1, command, code, message, "ConfigError" if code == 2 else "")
    sys.exit(code)


def split_flags(args: str) -> list[str]:
    """Return the words of ARGS as a shell splits them; nothing is expanded or run.

    Raises:
        SystemExit: If a quote is not closed.
    """
    try:
        return shlex.split(args)
    except ValueError as error:
        fix = "Close each quote, and pass e.g. ARGS='-k \"one test\"'."
        exit_with_error("make", 2, f"Invalid value for ARGS: {args!r} ({error}). {fix}")


def run_module(name: str) -> None:
    """Run a module with the arguments of the make command."""
    problem = checkout.find_problem(SCRIPTS.parent)
    if problem:
        exit_with_error(name.rpartition(".")[2], 1, f"make: {problem}. Fix: {checkout.get_fix(SCRIPTS.parent)}.")
    # -P: a file of yours with the name of a standard module, such as types.py, must not take its place.
    exec_python("-P", "-m", name)


def run_script(name: str) -> None:
    """Run a script of this directory with the arguments of the make command."""
    exec_python(str(SCRIPTS / f"{name}.py"))


def run_pytest(*options: str) -> None:
    """Run pytest with these options and the flags in ARGS."""
    exec_python("-m", "pytest", *options, forwards_overrides=False)


def report_setup(code: str) -> None:
    """Print where the environment is, or, with json=true, the object of the command; after a failure only the object.

    Args:
        code: Exit code of the installation.
    """
    _, is_json = json_output.pop_json_argument(parse_makeflags(os.environ.get("MAKEFLAGS", "")))
    is_environment = sys.prefix != sys.base_prefix or os.environ.get("CONDA_PREFIX") == sys.prefix
    environment = sys.prefix if is_environment else str(SCRIPTS.parent / ".venv")
    if code == "0":
        json_output.update_result(environment=environment)
    if is_json:
        message = "" if code == "0" else "The dependencies could not be installed. Use the messages on stderr."
        json_output.write_object(1, "setup", int(code), message, "")
    elif code == "0":
        print(f"setup: the environment in {environment} is ready")


def print_help() -> None:
    """Print the list of commands."""
    print(read_available_help(), end="")


def print_unknown_target(target: str) -> None:
    """Print the error message for an unknown target, with the nearest command."""
    nearest = get_close_matches(target, COMMANDS, n=1, cutoff=0.5)
    hint = f"Did you mean `make {nearest[0]}`?" if nearest else f"Available: {', '.join(COMMANDS)}."
    # Without a period at the end, because make appends one.
    print(f"Unknown command {target!r}. {hint} (Overrides have the form key=value)")


if __name__ == "__main__":
    functions: dict[str, Callable[..., None]] = {
        "run": run_module,
        "script": run_script,
        "pytest": run_pytest,
        "setup": report_setup,
        "help": print_help,
        "unknown": print_unknown_target,
    }
    functions[sys.argv[1]](*sys.argv[2:])
