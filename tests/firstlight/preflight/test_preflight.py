"""`make preflight` judges a training for MPS on any machine."""

import json
import re

import pytest

from firstlight.config.compose import compose_config
from firstlight.preflight import __main__ as preflight
from support.options import QUICK_OVERRIDES, get_modality, get_tiny_model, make_tiny_overrides

MODEL = get_tiny_model("text", "images")
# Wide: the largest of the batches fits no Mac.
SMALL = [*(word for word in make_tiny_overrides(MODEL) if word not in QUICK_OVERRIDES), "model.width=256"]
VARIES = "this training would fail: aten::embedding_dense_backward varies on MPS"


def test_one_screen_tells_all(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = preflight.main(compose_config("preflight", SMALL))
    lines = capsys.readouterr().out.splitlines()

    assert found["works"]
    assert found["judged"]
    assert re.fullmatch(r"training  \w+ on Fake\w+, batches of 4, 32-true", lines[0])
    assert "faults    none" in lines
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert not list(tmp_path.iterdir())


def test_json_prints_json_only(capsys):
    found = preflight.main(compose_config("preflight", [*SMALL, "json=true"]))

    assert found == json.loads(capsys.readouterr().out)
    assert sum(found["memory"]["training"].values()) == 2 * found["memory"]["training"]["peak"]
    assert list(found["largest_batch"]) == ["8", "16", "24", "32", "64", "128"]
    assert sorted(found["largest_batch"].values()) == list(found["largest_batch"].values())


def test_another_trainer_is_refused():
    with pytest.raises(ValueError, match="preflight judges a training on MPS, but trainer=cpu: leave trainer= out"):
        preflight.main(compose_config("preflight", [*SMALL, "trainer=cpu"]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *([(["trainer.deterministic=true"], VARIES)] if get_modality("model", MODEL) == "text" else []),
        (["trainer.precision=64-true"], "this training would fail: .*float64"),
        (["data.batch_size=999999"], "data.batch_size=999999 needs about .* GiB, but a training on the largest Mac"),
        (["data.batch_size=200000", "mac_memory_gb=16"], "but a training on a Mac of 16 GB gets 8.0: give data.b"),
    ],
)
def test_what_would_fail_is_shown_and_refused(capsys, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        preflight.main(compose_config("preflight", [*SMALL, *words]))
    assert "faults    " in capsys.readouterr().out
