"""The tables of .ci/legs.py: versions of the packages, and test results by directory."""

import importlib.util
from collections import Counter

import pytest

from support.checkout import ROOT

REPORT = """<testsuites><testsuite>
<testcase classname="tests.firstlight.config.test_schema" name="test_a"/>
<testcase classname="tests.firstlight.config.test_schema.TestClass" name="test_b"><failure message="x"/></testcase>
<testcase classname="tests.firstlight.test_layers" name="test_c"><skipped message="x"/></testcase>
<testcase classname="tests.firstlight.config.test_fuzz" name="test_d"><error message="x"/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def legs(monkeypatch):
    """Return the module .ci/legs.py, which is not in a package."""
    spec = importlib.util.spec_from_file_location("legs", ROOT / ".ci/legs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_are_counted_by_directory(legs, tmp_path):
    (tmp_path / "0.xml").write_text(REPORT)
    (tmp_path / "1.xml").write_text(REPORT)

    assert legs.count_results(tmp_path) == {
        "tests/firstlight": Counter(skipped=2),
        "tests/firstlight/config": Counter(passed=2, failed=4),
    }


def test_versions_and_total_are_printed(legs, monkeypatch, capsys):
    monkeypatch.setattr(legs, "run_uv", lambda *arguments: "hydra-core==1.4.0\nother==2\n-e file:///x\n")
    legs.print_tables("prerelease", "python", {"tests/a": Counter(passed=2), "tests/b": Counter(failed=1, passed=3)})
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]

    assert ["hydra-core", "1.4.0"] in lines
    assert ["tests/b", "3", "1", "0"] in lines
    assert lines[-1] == ["total", "5", "1", "0"]
    assert not any("other" in line for line in lines)


def test_prerelease_leg_installs_optuna(legs, monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(legs, "run_uv", lambda *arguments: calls.append(arguments) or "optuna==5.0.0\n")
    legs.create_environment("prerelease")
    legs.print_tables("prerelease", "python", {})

    assert any(f"-r{ROOT / 'requirements/optuna.lock'}" in call for call in calls)
    assert ["optuna", "5.0.0"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_leg_is_skipped_without_uv(legs, monkeypatch, capsys):
    monkeypatch.setattr("shutil.which", lambda name: None)

    assert legs.main("oldest") == 0
    assert capsys.readouterr().out == "oldest: skipped, because uv is not installed\n"


def test_paths_of_the_tests_exist(legs):
    paths = [path for runs in legs.TESTS.values() for paths in runs.values() for path in paths]

    assert [path for path in paths if not (ROOT / path.partition("::")[0]).exists()] == []
