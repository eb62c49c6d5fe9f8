"""Engine files never contain the name of a project's package, so that updates can replace them unchanged."""

import pytest

from support.checkout import ROOT

ENGINE = ["src/firstlight", "tests/firstlight", "scripts", "docs"]
# Name of the template's package. It is composed here, because this file is also an engine file.
NAME = "_".join(["my", "project"]).encode()


@pytest.mark.parametrize("directory", ENGINE)
def test_engine_files_do_not_contain_project_name(directory):
    files = [file for file in (ROOT / directory).rglob("*") if file.is_file() and "__pycache__" not in file.parts]

    assert files
    assert [str(file.relative_to(ROOT)) for file in files if NAME in file.read_bytes()] == []
