"""Tests and modules without the examples that are left out."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
from mine import suite  # noqa: E402
from mine.choices import Keep  # noqa: E402
from mine.prune import Gone, shows, unreached  # noqa: E402

KEEP = Keep(
    {"model": ["oak"], "data": ["leaves", "fake_images"]},
    {"model": {"elm", "ash"}, "data": {"words"}},
    {"oak": "images", "elm": "images", "ash": "text", "leaves": "images", "fake_images": "images", "words": "text"},
)
GONE = Gone(
    KEEP,
    {"model": {"elm", "ash"}, "data": {"words"}, "experiment": set()},
    {"Elm", "Ash", "Words"},
    {"model.elm", "model.ash", "data.words"},
    {"lexicon"},
    {"src/own/model/elm.py", "configs/model/elm.yaml", "docs/old/"},
    {"model.height"},
)


def left_of(**files: str) -> dict[str, str]:
    """Return what is left of test files."""
    after, _ = suite.pruned({f"tests/{name}.py": text for name, text in files.items()}, "own", GONE)
    return {Path(path).stem: text for path, text in after.items()}


def test_a_test_that_names_what_goes_goes_with_its_imports():
    text = """import json
import re

from own.model.elm import Elm


# What an elm is.
def test_elm():
    assert json.dumps(Elm())


def test_oak():
    assert re.match("model=oak", "x")
"""

    assert left_of(test_a=text)["test_a"] == ('import re\n\n\ndef test_oak():\n    assert re.match("model=oak", "x")\n')


@pytest.mark.parametrize(
    "body",
    [
        *(
            'run("model=elm")',
            'run("model=elm,oak")',
            'run("elm")',
            'run(f"data=words{1}")',
            'run("own.model.ash.Ash")',
        ),
        *("from own.data import words", "import lexicon", 'open("configs/model/elm.yaml")', 'run("docs/old/x")'),
    ],
)
def test_whatever_names_it_lets_a_test_go(body):
    assert "test_a" not in left_of(test_a=f"def test_it():\n    {body}\n")


def test_a_notebook_goes_with_what_it_shows():
    assert shows('"source": ["words = [\\"model=elm\\", \\"data=leaves\\"]"]', KEEP)
    assert not shows('"source": ["words = [\\"model=oak\\", \\"data=leaves\\"]"]', KEEP)


def test_what_python_loads_by_itself_stays():
    text = "import sys\n\nsys.path.append('.')\n"

    assert left_of(sitecustomize=text, test_a='def test_it():\n    run("sitecustomize.py", "model=elm")\n') == {
        "sitecustomize": text
    }


@pytest.mark.parametrize(
    "body", ['run("helm")', 'run("model=oak")', 'run("swords")', '"""Tell elm apart."""', "elm = 1"]
)
def test_what_only_looks_like_it_stays(body):
    text = f"def test_it():\n    {body}\n"

    assert left_of(test_a=text)["test_a"] == text


def test_of_the_cases_those_go_that_name_it_with_their_ids():
    text = """import pytest


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("oak", 1),
        # The elm's own.
        ("elm", 2),
    ],
    ids=["small", "large"],
)
def test_size(model, size):
    assert model
"""
    left = left_of(test_a=text)["test_a"]

    assert '        ("oak", 1),\n    ],\n    ids=["small"],\n' in left
    assert "elm" not in left


def test_words_of_a_command_go_together_and_what_uses_them():
    text = """WORDS = ["model=elm", "seed=1"]
OTHERS = [*WORDS, "seed=2"]
MODELS = ("oak", "elm")


def test_words():
    assert OTHERS


def test_models():
    assert MODELS
"""

    assert left_of(test_a=text)["test_a"] == 'MODELS = ("oak",)\n\n\ndef test_models():\n    assert MODELS\n'


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('("oak", "elm")', '("oak",)'),
        ('("elm", "oak")', '("oak",)'),
        ('("oak", "elm", "ash")', '("oak",)'),
        ('["elm", "oak", "ash"]', '["oak"]'),
        ('{"elm": 1, "oak": 2}', '{"oak": 2}'),
        ('{"elm": 1}', "{}"),
    ],
)
def test_what_is_left_of_a_row_is_well_formed(before, after):
    rest = "\n\n\ndef test_it():\n    assert ROW is not None\n"

    assert left_of(test_a=f"ROW = {before}{rest}")["test_a"] == f"ROW = {after}{rest}"


def test_a_fixture_takes_its_tests_along_and_a_helper_without_them_goes():
    conftest = "import pytest\n\n\n@pytest.fixture\ndef elm():\n    return 'model=elm'\n"
    helper = "def grow(tree):\n    return tree\n"
    text = "from helper import grow\n\n\ndef test_elm(elm):\n    assert grow(elm)\n"

    assert set(left_of(conftest=conftest, helper=helper, test_a=text)) == {"conftest"}


def test_a_choice_between_what_stays_and_what_goes_is_made():
    text = 'def test_it(model):\n    data = "words" if model == "ash" else "leaves"\n    assert data\n'

    assert left_of(test_a=text)["test_a"] == 'def test_it(model):\n    data = "leaves"\n    assert data\n'


def test_a_key_that_goes_takes_along_who_reads_it():
    text = """TINY = {
    "images": ["data=leaves"],
    "text": ["data=words"],
}


def test_text():
    assert TINY["text"]


def test_images():
    assert TINY["images"]
"""

    assert left_of(test_a=text)["test_a"] == (
        'TINY = {\n    "images": ["data=leaves"],\n}\n\n\ndef test_images():\n    assert TINY["images"]\n'
    )


def test_a_module_that_only_a_removed_one_imported_goes():
    files = {
        "src/own/train.py": "from own.shared import a",
        "src/own/shared.py": "",
        "src/own/model/elm.py": "from own.shared import a\ndef build():\n    from own.model import bark",
        "src/own/model/bark.py": "from own.model import sap",
        "src/own/model/sap.py": "from own.model import bark",
        "src/own/job.py": "",
    }

    assert unreached(files, "own", {"own.model.elm"}) == {"own.model.elm", "own.model.bark", "own.model.sap"}
