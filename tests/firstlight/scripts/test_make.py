"""Words after `make <command>` reach Hydra as they were typed."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import make  # noqa: E402

WORDS = [
    "model=net",
    "+x=y",
    "++z=1",
    "a=[1,2]",
    "b='c d'",
    "p=${now:%Y}",
    "q=a;b",
    "glob=*",
    "dollar=$HOME",
    'quote="x"',
    "back=a\\b",
    "d={a: 1}",
    "h=a#b",
    "hydra/launcher=joblib",
    "pkg@enc=1",
    "data.batch_size=8,16",
    "tick=`id`",
    "equals=a=b",
]


@pytest.fixture
def makefile(tmp_path):
    """Return a folder with our Makefile, whose Python only prints the words it was given."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport os, sys\n"
        f"sys.path.insert(0, {str(ROOT / 'scripts')!r})\n"
        "import make\nmake.os.execve = lambda python, words, environment: print(repr(words[3:]))\n"
        "make.run(sys.argv[3])\n"
    )
    python.chmod(0o755)
    return python


def words_of(python: Path, *words: str, **variables: str) -> list[str]:
    command = ["make", "--no-print-directory", "-C", str(ROOT), "READY=", f"PYTHON={python}", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(command, capture_output=True, text=True, env={**environment, **variables})
    assert result.returncode == 0, result.stderr
    return ast.literal_eval(result.stdout)


def test_every_word_arrives_as_typed_and_in_order(makefile):
    assert words_of(makefile, "train", *WORDS) == WORDS


@pytest.mark.parametrize("flags", [["-s"], ["-k"], ["-j2"]])
def test_flags_of_make_are_no_settings(makefile, flags):
    assert words_of(makefile, *flags, "train", "model=net") == ["model=net"]


def test_a_deletion_is_a_setting(makefile):
    assert words_of(makefile, "train", "~callbacks.curves", "seed=1") == ["seed=1", "~callbacks.curves"]


def test_args_hands_over_plain_flags(makefile):
    assert words_of(makefile, "train", "ARGS=--cfg job", "a=1") == ["a=1", "--cfg", "job"]


def test_the_same_word_twice_keeps_the_last(makefile):
    assert words_of(makefile, "train", "a=1", "a=2") == ["a=2"]


def test_make_3_81_passes_the_words_without_a_double_dash():
    assert make.overrides(r"p=$${x} b='c\ d' model=net") == ["model=net", "b='c d'", "p=${x}"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["mine", "nmae=a;b"],
            "mine: `make mine` takes name=my_project keep=<models,data> force=true, but nmae=a;b came",
        ),
        (["new", "modle=a"], "new: `make new` takes model= or data=, and kind=, but modle= came: did you mean model=?"),
    ],
)
def test_mine_and_new_get_their_words_too(words, told):
    command = ["make", "-C", str(ROOT), f"PYTHON={sys.executable}", *words]
    result = subprocess.run(command, capture_output=True, text=True)

    assert told in result.stderr
    assert result.returncode == 2


@pytest.mark.parametrize(("goal", "near"), [("trian", "train"), ("sweeep", "sweep"), ("evalute", "evaluate")])
def test_an_unknown_goal_is_refused_with_the_nearest(goal, near):
    result = subprocess.run(["make", "-C", str(ROOT), goal], capture_output=True, text=True)

    assert result.returncode == 2
    assert f"There is no command '{goal}': did you mean `make {near}`?" in result.stderr


def test_an_unknown_word_beside_a_command_stops_it():
    result = subprocess.run(["make", "-C", str(ROOT), "train", "net"], capture_output=True, text=True)

    assert result.returncode == 2
    assert "There is no command 'net'" in result.stderr


def test_make_alone_lists_every_command():
    listed = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True).stdout

    assert all(f"make {name}" in listed for name in make.COMMANDS if name != "help")


def test_the_makefile_and_the_script_know_the_same_commands():
    line = next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("COMMANDS :="))

    assert list(make.COMMANDS) == line.split()[2:]
