"""Engine files can be replaced by an update as they are: they never name the package of a project."""

import pytest

from support.checkout import ROOT

ENGINE = ["src/firstlight", "tests/firstlight", "scripts", "docs"]
# The name of the template's own package, put together here, since this file is an engine file, too.
NAME = "_".join(["my", "project"]).encode()


@pytest.mark.parametrize("folder", ENGINE)
def test_an_engine_file_never_names_a_project(folder):
    files = [file for file in (ROOT / folder).rglob("*") if file.is_file() and "__pycache__" not in file.parts]

    assert files
    assert [str(file.relative_to(ROOT)) for file in files if NAME in file.read_bytes()] == []
