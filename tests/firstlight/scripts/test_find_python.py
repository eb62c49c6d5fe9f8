"""scripts/find_python.sh selects the Python of `make setup`; planted commands stand for the installed ones."""

import subprocess

import pytest

from support.checkout import ROOT

# The first call compares the version, the second one prints the path.
PLANTED = """#!/bin/sh
case "$2" in
    *exit*) exit {code} ;;
    *) echo {name} ;;
esac
"""


@pytest.mark.parametrize(
    ("supported", "unsupported", "selected"),
    [
        (["python3", "python3.14", "python3.12"], [], "python3"),
        (["python3.14", "python3.12"], ["python3"], "python3.14"),
        (["python3.12", "python3.11"], [], "python3.12"),
        (["python"], ["python3"], "python"),
        ([], ["python3", "python"], ""),
    ],
)
def test_python3_is_preferred_to_newer_versions(tmp_path, supported, unsupported, selected):
    for name in [*supported, *unsupported]:
        (tmp_path / name).write_text(PLANTED.format(code=int(name in unsupported), name=name))
        (tmp_path / name).chmod(0o755)
    command = ["/bin/sh", str(ROOT / "scripts/find_python.sh")]
    done = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)})

    assert (done.stdout.strip(), done.returncode) == (selected, 0 if selected else 1)
