"""Signatures that are read from source match the imported classes."""

import subprocess
import sys

import pytest

from firstlight.config import schema
from firstlight.config.instantiate import locate
from firstlight.config.options import load_option
from support.options import list_options
from support.signatures import list_parameters

TARGETS = sorted(
    {
        load_option(group, name)[key]["_target_"] if key else load_option(group, name)["_target_"]
        for group, key in {"model": "model", "data": "", "trainer": "", "optimizer": "", "scheduler": ""}.items()
        for name in list_options(group)
    }
    | {"lightning.pytorch.callbacks.ModelCheckpoint", "lightning.pytorch.loggers.TensorBoardLogger"}
)


@pytest.mark.parametrize("target", TARGETS)
def test_schema_matches_imported_class(target):
    assert list_parameters(locate(target)) == set(schema.read_signature(target).parameters)


def test_read_signature_does_not_import_heavy_packages():
    code = (
        "import sys; from firstlight.config import schema; schema.read_signature('lightning.pytorch.Trainer');"
        "schema.read_signature('firstlight.trainer.trainer.Trainer');"
        "print([m for m in ('torch', 'lightning') if m in sys.modules])"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_constants_include_inherited_ones():
    for name in list_options("data"):
        assert schema.read_signature(load_option("data", name)["_target_"]).constants["modality"] in ("images", "text")


@pytest.mark.parametrize("target", ["firstlight.trainer.trainer.Trainr", "nowhere.at.all.Net", "Net"])
def test_unknown_class_is_rejected(target):
    message = f"Cannot find class '{target}'. Set _target_ to the import path of an installed class."
    with pytest.raises(ValueError, match=message):
        schema.read_signature(target)


def test_class_in_a_namespace_package_is_read_without_importing_it(tmp_path, monkeypatch):
    package = tmp_path / "spaced" / "inner" / "deep"
    package.mkdir(parents=True)
    (package / "model.py").write_text("class Net:\n    def __init__(self, width: int): ...\n")
    monkeypatch.syspath_prepend(tmp_path)

    module, definition = schema._find_class("spaced.inner.deep.model", "Net")
    assert schema._parse_signature(module, definition).parameters == {"width": "int"}
    assert "spaced" not in sys.modules
