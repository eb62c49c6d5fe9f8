"""`make preflight` judges a training for MPS on any machine."""

import json
import re
import resource
import subprocess
import sys

import pytest

from firstlight.config.compose import composed
from firstlight.preflight import __main__ as preflight
from support.choices import QUICK, a_model, kind_of, tiny

MODEL = a_model("text", "images")
# BERT in small: the largest batches of nothing are quickly counted.
SHAPE = "{hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 64}"
SHAPES = {"bert": ["model.weights=null", f"model.config={SHAPE}", "model.freeze_layers=0"]}
SMALL = [*SHAPES.get(MODEL, []), *(word for word in tiny(MODEL) if word not in QUICK)]
VARIES = "this training would fail: aten::embedding_dense_backward varies on MPS"
SEEDS = {
    "resnet50": ["data=fake_images", "data.image_size=224", "data.batch_size=128"],
    "vgg16": ["data=fake_images", "data.image_size=224", "data.batch_size=64", "model.batch_norm=false"],
    "bert": [
        *("data=fake_text", "data.max_length=128", "data.batch_size=64"),
        *("model.weights=null", "model.config={vocab_size: 30522}", "model.freeze_layers=0"),
    ],
}


def test_one_screen_tells_all(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = preflight.main(composed("preflight", SMALL))
    lines = capsys.readouterr().out.splitlines()

    assert found["works"]
    assert found["judged"]
    assert re.fullmatch(r"training  \w+ on Fake\w+, batches of 4, 32-true", lines[0])
    assert "faults    none" in lines
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert not list(tmp_path.iterdir())


def test_json_prints_json_only(capsys):
    found = preflight.main(composed("preflight", [*SMALL, "json=true"]))

    assert found == json.loads(capsys.readouterr().out)
    assert sum(found["memory"]["training"].values()) == 2 * found["memory"]["training"]["peak"]
    assert list(found["largest_batch"]) == ["8", "16", "24", "32", "64", "128"]
    assert sorted(found["largest_batch"].values()) == list(found["largest_batch"].values())


def test_another_trainer_is_refused():
    with pytest.raises(ValueError, match="preflight judges a training on MPS, but trainer=cpu: leave trainer= out"):
        preflight.main(composed("preflight", [*SMALL, "trainer=cpu"]))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        *([(["trainer.deterministic=true"], VARIES)] if kind_of("model", MODEL) == "text" else []),
        (["trainer.precision=64-true"], "this training would fail: .*float64"),
        (["data.batch_size=999999"], "data.batch_size=999999 needs about .* GiB, but a training on the largest Mac"),
        (["data.batch_size=200000", "memory_gb=16"], "but a training on a Mac of 16 GB gets 8.0: give data.b"),
    ],
)
def test_what_would_fail_is_shown_and_refused(capsys, words, sentence):
    with pytest.raises(ValueError, match=sentence):
        preflight.main(composed("preflight", [*SMALL, *words]))
    assert "faults    " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(("model", "gib"), [("resnet50", 10.44), ("vgg16", 5.75), ("bert", 7.28)])
def test_the_known_trainings_take_what_was_measured(model, gib):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    words = [sys.executable, "-m", "firstlight.preflight", f"model={model}", *SEEDS[model], "json=true"]
    found = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    weights = found["memory"]["training"]["weights"] / 2**30

    assert [] == found["faults"] == found["warnings"]
    # Gradients of the step before add at most one copy of the weights.
    assert 0.98 * gib <= found["memory"]["training"]["peak"] / 2**30 <= 1.02 * gib + weights
    # The whole command takes 14 to 18 s of a core that has nothing else to do.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 25
