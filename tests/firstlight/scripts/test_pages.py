"""Pages without the examples that are left out."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
from mine import prose  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))
from test_pruning import GONE, KEEP  # noqa: E402

CONFIGS = {
    "configs/train.yaml": "defaults:\n  - data: leaves\n  - model: oak\n",
    "configs/model/oak.yaml": "model:\n  _target_: own.model.oak.Oak\n  depth: 1\n",
    "configs/data/leaves.yaml": "_target_: own.data.leaves.Leaves\nroot: x\nbatch_size: 8\n",
    "configs/data/fake_images.yaml": "_target_: own.data.fake.Fake\nbatch_size: 8\n",
}
# What said a sentence is gone, or still there.
ELM = """raise ValueError(f"{folder} holds no leaf of an elm: "
    f"give one that holds {number} of them")"""


def page_of(text: str) -> str:
    """Return what is left of a page."""
    files = {**CONFIGS, "docs/page.md": text, "src/own/oak.py": 'raise ValueError(f"{tree} has too few leaves")'}
    return prose.pruned({**files, "src/own/elm.py": ELM}, files, GONE, {"test_gone"})["docs/page.md"]


def test_items_and_sentences_go():
    text = """# Trees

An oak is here. The `elm` is not. It grows. It has a `model.height=2`.

- `model=oak`, which stays
- `model=ash`, which does not
"""

    assert page_of(text) == "# Trees\n\nAn oak is here. It grows.\n\n- `model=oak`, which stays\n"


def test_rows_of_a_table_go_and_headings_with_nothing_under_them():
    text = """# Trees

| model= | what |
|---|---|
| `oak` | a tree |
| `elm` | another |
| `leaves`, `words` | data |

## Elms alone

| model= | what |
|---|---|
| `elm` | another |

## Faults

| fault | test |
|---|---|
| one | `test_gone`, `test_kept` |
| two | `test_gone` |
"""

    assert (
        page_of(text)
        == """# Trees

| model= | what |
|---|---|
| `oak` | a tree |
| `leaves` | data |

## Faults

| fault | test |
|---|---|
| one | `test_kept` |
"""
    )


def test_commands_name_what_stays_or_go():
    text = """```bash
make train                            # Elm on words
make train model=elm                  # Elm in a minute
make train model=elm seed=1           # Elm in a minute
make train model=elm model.height=2   # a setting that oak has not
make train model=oak model.depth=2    # stays
make sweep model=oak,elm seed=1,2
make sweep model=oak,elm
```
"""

    assert (
        page_of(text)
        == """```bash
make train                            # oak on leaves
make train model=oak seed=1
make train model=oak model.depth=2    # stays
make sweep model=oak seed=1,2
```
"""
    )


def test_what_was_typed_goes_with_its_answer():
    text = "A mistake is told:\n\n```\n$ make train model=elm\ntrain: Elm is old\n```\n\nThe end.\n"

    assert page_of(text) == "The end.\n"


def test_a_paragraph_goes_with_the_words_that_head_it():
    assert page_of("**A look takes long**: the `elm` has leaves. It grows.\n\nThe end.\n") == "The end.\n"


def test_what_explains_an_example_goes_with_it():
    text = "First.\n\n```text\nmodel.height=0 is low\n```\n\nTrees are high,\nall of them.\n\nThe end.\n"

    assert page_of(text) == "First.\n\nThe end.\n"


def test_a_sentence_goes_with_the_source_that_told_it():
    text = """# Errors

```text
... holds no leaf of an elm: give one that
holds ... of them

... has too few leaves
```
"""

    assert page_of(text) == "# Errors\n\n```text\n... has too few leaves\n```\n"


def test_a_command_whose_settings_were_meant_for_other_data_goes():
    leaves = KEEP._replace(
        stay={**KEEP.stay, "data": ["fake_images", "leaves"]}, go={**KEEP.go, "data": {"words", "ferns"}}
    )
    gone = GONE._replace(
        keep=leaves._replace(kinds={**KEEP.kinds, "ferns": "images"}),
        choices={**GONE.choices, "data": {"words", "ferns"}},
    )
    text = """| command | what |
|---|---|
| `make train data=ferns data.root=x` | from a folder |
| `make train data=ferns data.batch_size=9` | in other batches |
"""
    files = {**CONFIGS, "docs/page.md": text}

    assert prose.pruned(files, files, gone, set())["docs/page.md"] == (
        "| command | what |\n|---|---|\n| `make train data=fake_images data.batch_size=9` | in other batches |\n"
    )
