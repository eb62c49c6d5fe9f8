"""Which packages a project still needs, in pyproject.toml and in its lock."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
from mine import packages  # noqa: E402

LOCK = """\
alpha==1.0 \\
    --hash=sha256:00
    # via own (pyproject.toml)
beta==2.0 ; python_version < '3.12' \\
    --hash=sha256:11
    # via
    #   alpha
    #   own (pyproject.toml)
beta==2.1 ; python_version >= '3.12' \\
    --hash=sha256:12
    # via
    #   alpha
    #   own (pyproject.toml)
gamma==3.0 \\
    --hash=sha256:22
    # via alpha
"""


def test_a_lock_loses_what_only_a_removed_package_asked_for():
    left = packages.cut(LOCK, "own", {"alpha"})

    assert set(packages.locked(left)) == {"beta"}
    assert left.count("    # via own (pyproject.toml)\n") == 2
    assert packages.cut(LOCK, "own", set()) == LOCK


PROJECT = """\
dependencies = [
    "alpha>=1",   # reads "beta"
    "beta[extra]>=2",
]

[project.optional-dependencies]
# What alpha brings.
first = ["alpha>=1"]
second = ["alpha>=1", "gamma"]

[tool.x]
"""


def test_a_package_is_held_by_what_kept_choices_use_and_others_import_at_once():
    sources = {
        "src/own/model/oak.py": "from own.model import bark\n\ndef f():\n    import alpha",
        "src/own/model/bark.py": 'found = find_spec("beta")',
        "src/own/export.py": "import gamma\n\ndef f():\n    import delta",
    }

    assert {"own", "alpha", "beta", "gamma"} == packages.held(sources, "own", calls=True)
    assert {"own", "alpha", "gamma"} == packages.held(sources, "own", calls=False)


def test_an_extra_that_held_nothing_else_goes_with_its_comment():
    left, extras = packages.trimmed(PROJECT, {"alpha"})

    assert extras == {"first"}
    assert left.splitlines() == [
        *("dependencies = [", '    "beta[extra]>=2",', "]", ""),
        *("[project.optional-dependencies]", 'second = ["gamma"]', "", "[tool.x]"),
    ]
    assert packages.without_extras("pip install -e .[dev,first] --extra first --extra dev", extras) == (
        "pip install -e .[dev] --extra dev"
    )
