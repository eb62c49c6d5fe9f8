"""Hand the words after `make <command>` to the command exactly as they were typed. Standard library only.

    python scripts/make.py run firstlight.train     what the Makefile's recipes call
    python scripts/make.py script new               becomes scripts/new.py
    python scripts/make.py help                     prints help.txt, the list of commands
    python scripts/make.py refuse trian             says which command was meant

Pasting $(MAKEOVERRIDES) into a recipe would let the shell expand `$`, `;` and `*`. The recipe's environment holds the
same words in MAKEFLAGS, untouched by a shell; GNU Make 3.81 and 4.x escape them alike.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
ENGINE = SCRIPTS.parent / "src/firstlight"


def read_help() -> str:
    """Return help.txt without the commands whose module was deleted from src/firstlight."""
    # The commands above this heading are modules of src/firstlight.
    programs, heading, others = (SCRIPTS / "help.txt").read_text(encoding="utf-8").partition("\n\nYour project\n")
    # An entry is a heading, or a command and the indented lines below it.
    entries = re.split(r"\n(?=\S|\n)", programs)
    return "\n".join(entry for entry in entries if all(map(exists, listed_in(entry)))) + heading + others


def listed_in(text: str) -> list[str]:
    """Return the commands that lines of help.txt begin with, each once."""
    return list(dict.fromkeys(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE)))


def exists(program: str) -> bool:
    """Return True if src/firstlight has this program."""
    name = program.replace("-", "_")
    return (ENGINE / f"{name}.py").is_file() or (ENGINE / name / "__main__.py").is_file()


COMMANDS = ("help", *listed_in(read_help()))


def overrides(makeflags: str) -> list[str]:
    """Return the name=value words of a command line, in the order they were typed.

    Make escapes blanks and backslashes by a backslash, doubles each dollar, and lists the last word first.
    """
    words = re.findall(r"(?:\\.|[^\\\s])+", makeflags, flags=re.DOTALL)
    typed = [re.sub(r"\\(.)", r"\1", word, flags=re.DOTALL).replace("$$", "$") for word in words]
    given = [word for word in typed if "=" in word and not word.startswith("-")]
    # Names in capitals, such as PYTHON=, are settings of the Makefile.
    return [word for word in reversed(given) if not re.match(r"[A-Z_]+[:+?]?=", word)]


def become(*program: str) -> None:
    """Become `python PROGRAM` with those words, the `~name` goals and the flags of ARGS="..."."""
    environment = {
        k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
    }
    deletions = environment.pop("DELETIONS", "").split()
    flags = shlex.split(environment.pop("ARGS", ""))
    words = [*overrides(os.environ.get("MAKEFLAGS", "")), *deletions, *flags]
    os.execve(sys.executable, [sys.executable, *program, *words], environment)


def run(module: str) -> None:
    """Become a command of the package."""
    become("-m", module)


def script(name: str) -> None:
    """Become a script of this folder."""
    become(str(SCRIPTS / f"{name}.py"))


def show_help() -> None:
    """Print the list of commands."""
    print(read_help(), end="")


def refuse(goal: str) -> None:
    """Print the sentence that refuses a goal and names the nearest command."""
    near = get_close_matches(goal, COMMANDS, n=1, cutoff=0.5)
    hint = f"did you mean `make {near[0]}`?" if near else f"the commands are {', '.join(COMMANDS)}"
    print(f"There is no command {goal!r}: {hint} (settings are typed as name=value)")


if __name__ == "__main__":
    functions: dict[str, Callable[..., None]] = {"run": run, "script": script, "help": show_help, "refuse": refuse}
    functions[sys.argv[1]](*sys.argv[2:3])
