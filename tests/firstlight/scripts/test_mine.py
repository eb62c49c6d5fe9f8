"""`make mine` and `make new` from end to end: a project of one's own passes what this one does."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import rename  # noqa: E402
from mine import choices, names, packages, tree  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.timeout(5400)]
WORDS = ("name=zephyr", "name=borealis", "name=halcyon", "name=meridian")
FILES = tree.texts(ROOT)
PACKAGE = tree.package_of(list(FILES))
NAME, NEXT, *_ = dict.fromkeys(word[len("name=") :] for word in WORDS if word != f"name={PACKAGE}")
PAIRS = [("bert", "bbc_news"), ("resnet50", "digits")]
# A package that is not there: neither imported nor known by its version.
WITHOUT = """
import importlib.machinery
import importlib.metadata

GONE = {gone!r}
find_spec, from_name = importlib.machinery.PathFinder.find_spec, importlib.metadata.Distribution.from_name


def find(cls, name, path=None, target=None):
    return None if name in GONE else find_spec(name, path, target)


def named(cls, name):
    if name.lower().replace("-", "_") in GONE:
        raise importlib.metadata.PackageNotFoundError(name)
    return from_name(name)


importlib.machinery.PathFinder.find_spec = classmethod(find)
importlib.metadata.Distribution.from_name = classmethod(named)
"""


class Clone:
    """A clone of this project, with what is not committed, and commands in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.hook = folder, folder.parent / "hook"
        self.hook.mkdir()
        subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
        for path in tree.paths(folder):
            (folder / path).unlink()
        for path in tree.paths(ROOT):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / path, folder / path)
        built = ROOT / "tests/firstlight/mps_emulator/build"
        if built.exists():
            shutil.copytree(built, folder / "tests/firstlight/mps_emulator/build")
        self.commit()

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "all", "--allow-empty")

    def leave_out(self, gone: set[str]) -> None:
        """Let Python find these packages no more."""
        (self.hook / "sitecustomize.py").write_text(WITHOUT.replace("{gone!r}", repr(gone)))

    def run(self, *command: str) -> str:
        """Run a command as a shell outside of this test would."""
        outer = ("PYTEST_", "MAKE", "MFLAGS", "COV_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(outer)}
        environment |= {"PYTHONPATH": f"{self.folder / 'src'}:{self.hook}", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-20000:]}\n{done.stderr[-5000:]}"
        return done.stdout + done.stderr

    def make(self, *words: str) -> str:
        return self.run("make", "READY=", f"PYTHON={sys.executable}", *words)

    def python(self, *words: str) -> str:
        return self.run(sys.executable, "-m", *words)


def assert_nothing_else_is_left(clone: Clone, model: str, data: str, kind: str) -> None:
    """Hold a project to what was kept, and what was begun in it."""
    text = {path: each for path, each in tree.texts(clone.folder).items() if path != "LICENSE"}
    by_name = [path for path in tree.paths(clone.folder) if names.pattern(PACKAGE).search(path)]
    by_text = [path for path, each in text.items() if names.pattern(PACKAGE).search(each)]
    required, locked = packages.required(text["pyproject.toml"]), packages.locked(text["requirements.lock"])

    assert by_name + by_text == []
    assert {model, "my_net"} == set(choices.offered(text, "model"))
    assert {data, "my_set", f"fake_{kind}"} == set(choices.offered(text, "data"))
    assert {"transformers" in required, "transformers" in locked} == {kind == "text"}
    assert required <= packages.required(FILES["pyproject.toml"])


@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_a_project_of_ones_own_trains_and_passes_its_tests(tmp_path, model, data):
    clone = Clone(tmp_path / "clone")
    clone.make("mine", f"name={NAME}", f"keep={model},{data}")
    lock = (clone.folder / "requirements.lock").read_text()
    lost = set(packages.locked(FILES["requirements.lock"])) - set(packages.locked(lock))
    clone.leave_out({each for name in lost for each in names.imports(name)})
    kind = choices.kind(FILES, choices.target(FILES, "model", model))
    clone.make("new", "model=my_net", f"kind={kind}")
    clone.make("new", "data=my_set", f"kind={kind}")
    assert_nothing_else_is_left(clone, model, data, kind)

    few = ["logger=none", "trainer=cpu", "experiment=smoke"]
    assert "test/accuracy" in clone.make("train", *few)
    assert "test/accuracy" in clone.make("train", "model=my_net", "data=my_set", *few, "output_dir=logs/train/mine")
    assert "test/accuracy" in clone.make("evaluate", "run=logs/train/mine")
    clone.make("sweep", "model=my_net", f"data=fake_{kind}", "seed=0,1", *few)
    assert len(list(clone.folder.glob("logs/sweep/*/results.csv"))) == 1
    if (clone.folder / f"src/{NAME}/export.py").exists():
        clone.make("export", "run=logs/train/mine", "format=safetensors")

    clone.commit()
    clone.make("check")
    own = ["-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", f"--basetemp={tmp_path / 'tests'}"]
    passed = clone.python("pytest", "-m", "not slow", *own)
    assert int(re.search(r"(\d+) passed", passed).group(1)) > 300


def test_what_began_is_renamed_and_shortened_again(tmp_path):
    model, data = PAIRS[0]
    clone = Clone(tmp_path / "clone")
    clone.make("mine", f"name={NAME}")
    clone.commit()
    clone.make("mine", f"keep={model},{data}")
    clone.commit()
    clone.make("mine", f"name={NEXT}")
    text = tree.texts(clone.folder)

    assert [path for path, each in text.items() if names.pattern(NAME).search(path + each)] == []
    assert [model] == choices.offered(text, "model")
    assert not rename.is_template(text, NEXT)
    clone.commit()
    clone.make("check")


@pytest.mark.parametrize("keep", ["keep=vgg16,bert,cifar10,text_file", "keep=resnet50,image_folder"])
def test_what_the_pages_tell_of_another_choice_is_true(tmp_path, keep):
    clone = Clone(tmp_path / "clone")
    clone.make("mine", keep)
    clone.make("check")

    pages = ["tests/test_docs.py", "tests/test_readme.py", "tests/test_troubleshooting.py", "tests/test_doctor.py"]
    clone.python("pytest", "-m", "not slow", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'tests'}", *pages)
    assert (clone.folder / "tests/firstlight/mps_emulator/site/sitecustomize.py").exists()
    assert not list(clone.folder.rglob("*.ipynb"))
