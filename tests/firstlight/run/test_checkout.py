"""A command in a checkout runs the sources of this checkout."""

import shutil
import sys
from pathlib import Path

import pytest

import firstlight
from firstlight.run.checkout import validate_checkout
from firstlight.run.errors import ConfigError

ENGINE = Path(firstlight.__file__).resolve().parent


def write_checkout(root):
    """Write the parts of a checkout by which it is recognized."""
    (root / "configs").mkdir(parents=True)
    (root / "src/firstlight").mkdir(parents=True)
    (root / "src/firstlight/__init__.py").touch()
    return root


def test_other_directories_are_not_checked(tmp_path):
    validate_checkout(tmp_path)
    (tmp_path / "configs").mkdir()
    validate_checkout(tmp_path)  # configs of one's own, with an installed engine


def test_own_checkout_is_valid_also_through_a_link(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "src").symlink_to(ENGINE.parent)

    validate_checkout(tmp_path)


def test_copied_checkout_is_rejected_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    root = write_checkout(tmp_path)

    with pytest.raises(ConfigError, match="copied or moved: run `make clean setup`") as error:
        validate_checkout(root)
    assert f"Changes in {root} would have no effect, because firstlight is imported from {ENGINE}" in str(error.value)


def test_fix_for_a_shadowing_path_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"/nowhere:{ENGINE.parent}")

    with pytest.raises(ConfigError, match=f"Unset PYTHONPATH, or set it to {tmp_path / 'src'}"):
        validate_checkout(write_checkout(tmp_path))


def test_fix_for_the_environment_of_another_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    root = write_checkout(tmp_path)
    (root / ".venv").mkdir()

    with pytest.raises(ConfigError, match="Use make, or .venv/bin/python of this checkout"):
        validate_checkout(root)


def test_package_of_a_copied_project_is_checked(tmp_path, monkeypatch):
    (tmp_path / "elsewhere/zephyr").mkdir(parents=True)
    (tmp_path / "elsewhere/zephyr/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    root = write_checkout(tmp_path / "copy")
    shutil.rmtree(root / "src/firstlight")
    (root / "src/firstlight").symlink_to(ENGINE)
    (root / "src/zephyr").mkdir()
    (root / "src/zephyr/__init__.py").touch()

    with pytest.raises(ConfigError, match="because zephyr is imported from .*elsewhere"):
        validate_checkout(root)
    assert "zephyr" not in sys.modules
