"""Commands on data that has changed since the run, or on other data: they keep the split, and print what they read."""

import json
import shutil

import pytest

import firstlight
from firstlight import evaluate, train
from firstlight.config.compose import compose_config
from support.options import QUICK_OVERRIDES


def write_texts(path, rows):
    path.write_text("\n".join(["text,label", *rows]))


@pytest.fixture
def run_dir(tmp_path, requires_text_packages):
    """Return the directory of a run that has trained one epoch on 120 texts."""
    write_texts(tmp_path / "x.csv", [f"word{index} w{index % 7},{'ab'[index % 2]}" for index in range(120)])
    overrides = [*QUICK_OVERRIDES, "model=tiny_text", "data=text_file", f"data.path={tmp_path}/x.csv"]
    train.main(compose_config("train", [*overrides, "trainer.max_epochs=1", f"output_dir={tmp_path}/run"]))
    return tmp_path / "run"


def read_texts(run_dir, split):
    data = firstlight.load(run_dir).data
    data.setup("fit")
    return data.texts[split][0]


def test_commands_keep_the_split_of_the_run(run_dir, tmp_path, capsys):
    before = {split: read_texts(run_dir, split) for split in ("train", "val", "test")}
    digests = json.loads((run_dir / "run.json").read_text())["split_digests"]
    write_texts(tmp_path / "x.csv", [*(tmp_path / "x.csv").read_text().splitlines()[1:], "new 1,a", "new 2,b"])
    shutil.copytree(run_dir, tmp_path / "copy")
    capsys.readouterr()

    evaluate.main(compose_config("evaluate", [f"run={tmp_path}/copy"]))
    assert "changed since the run was trained (samples: 2 added)" in capsys.readouterr().out
    train.main(compose_config("train", [f"resume={run_dir}", "trainer.max_epochs=2"]))
    assert "changed since the run was trained (samples: 2 added)" in capsys.readouterr().out
    for split, texts in before.items():
        assert [text for text in read_texts(run_dir, split) if "new" not in text] == texts
    assert json.loads((run_dir / "run.json").read_text())["split_digests"] != digests
    capsys.readouterr()
    # The resumed run has recorded the new samples.
    evaluate.main(compose_config("evaluate", [f"run={run_dir}", "ckpt=last"]))
    assert "changed" not in capsys.readouterr().out


def test_evaluated_dataset_and_number_of_samples_are_printed(run_dir, tmp_path, capsys):
    write_texts(tmp_path / "new.csv", [f"new{index},a" for index in range(61)])
    for overrides, line in {
        (): "samples        12 (test)\n",
        ("split=train",): "samples         96 (train)\n",
        ("trainer.limit_test_batches=1", "data.batch_size=4"): "samples        4 of 12 (test)\n",
        (f"data.path={tmp_path}/new.csv",): "samples        61 (test)\n",
        (f"data.test_path={tmp_path}/new.csv",): "samples        61 (test)\n",
    }.items():
        result = evaluate.main(compose_config("evaluate", [f"run={run_dir}", *overrides]))
        output = capsys.readouterr().out
        assert line in output
        assert result["samples"] == int(line.split()[1])
    assert f", test_path={tmp_path}/new.csv\n" in output
