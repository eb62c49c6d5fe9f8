"""What trainer=mps does, by the real Lightning accelerator on the emulated device."""

import csv
import json
import multiprocessing
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch.accelerators import MPSAccelerator

from firstlight import build, evaluate, predict, train
from firstlight.config.compose import composed as composed_from
from support.choices import a_model, kind_of, names, takes

sys.path.insert(0, str(Path(__file__).parents[2]))
from mps_emulator.emulator import Seen
from mps_emulator.mps_words import PRECISIONS, in_full, on_mps

MODELS = names("model")
seen = Seen()


def inputs_for(model: str, folder: Path) -> Path:
    folder.mkdir()
    if kind_of("model", model) == "text":
        (folder / "in.csv").write_text("text\nword1 word2 class0\nclass1 class1\n")
        return folder / "in.csv"
    from PIL import Image

    for index in range(2):
        Image.new("RGB", (40, 50), (index * 200, 30, 60)).save(folder / f"{index}.png")
    return folder


# Each precision and each model once, beside the first of both; as many other pairs train.
WAYS = [(MODELS[0], PRECISIONS[0]), *zip(MODELS[1:] + MODELS, PRECISIONS[1:], strict=False)]


@pytest.mark.parametrize(("model", "precision"), [WAYS[0], *(in_full(*way) for way in WAYS[1:])])
def test_the_whole_way_runs_on_mps(model, precision, tmp_path):
    folder = tmp_path / "run"
    words = [*on_mps(model), f"trainer.precision={precision}", "trainer.max_epochs=2", f"output_dir={folder}"]
    metrics = train.main(composed_from("train", words))
    record = json.loads((folder / "run.json").read_text())
    again = evaluate.main(composed_from("evaluate", [f"run={folder}"]))
    on_cpu = evaluate.main(composed_from("evaluate", [f"run={folder}", "trainer=cpu", "trainer.precision=32-true"]))
    words = [
        f"run={folder}",
        f"input={inputs_for(model, tmp_path / 'inputs')}",
        f"output={tmp_path / 'predictions.csv'}",
    ]
    predicted = predict.main(composed_from("predict", words))
    resumed = train.main(composed_from("train", [f"resume={folder}", "trainer.max_epochs=3"]))
    with (folder / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["val/loss"]]

    assert ("mps:0", precision) == (record["device"], record["precision"])
    assert {name: metrics[name] for name in again} == again
    # Half precision on one side only: as close as its rounding.
    assert on_cpu["test/loss"] == pytest.approx(metrics["test/loss"], rel=1e-5 if precision == "32-true" else 0.1)
    assert predicted == 2
    assert steps == [3, 7, 11]
    assert torch.tensor(resumed["test/loss"]).isfinite()
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "precision"),
    [way for way in zip(MODELS, [*PRECISIONS[2:], PRECISIONS[1]], strict=False) if way not in WAYS],
)
def test_each_model_trains_in_another_precision_too(composed, model, precision):
    words = [*on_mps(model), f"trainer.precision={precision}", "callbacks=none"]
    network, data, trainer = build.build(composed(*words))
    trainer.fit(network, data)
    (figures,) = trainer.test(network, data, verbose=False)

    assert trainer.strategy.root_device.type == "mps"
    assert trainer.precision == precision
    assert torch.tensor(figures["test/loss"]).isfinite()


@pytest.mark.parametrize("model", [*map(in_full, MODELS[:-1]), MODELS[-1]])
def test_the_weights_are_those_of_a_training_on_the_cpu(model, tmp_path):
    # A Mac draws other random numbers than the CPU, and so does the emulator: no dropout here.
    calm = ["model.dropout=0.0"] if takes(model, "dropout") else []
    weights = []
    for trainer in ("cpu", "mps"):
        words = [*on_mps(model), f"trainer={trainer}", *calm, "test=false", "callbacks=none", "scheduler=constant"]
        # AdamW would blow up the rounding errors of gradients that are 0, such as those of biases before a batch norm.
        words += ["optimizer=sgd", "optimizer.lr=0.01"]
        words += ["trainer.deterministic=null", "trainer.channels_last=false", f"output_dir={tmp_path / trainer}"]
        network, data, fit = build.build(composed_from("train", words))
        fit.fit(network, data)
        weights.append({name: value.cpu() for name, value in network.network.state_dict().items()})

    # Four steps of SGD. Some kernels add in another order: fused updates, the backward pass of linear layers.
    for name, expected in weights[0].items():
        torch.testing.assert_close(
            expected, weights[1][name], rtol=1e-4, atol=1e-5, msg=lambda text, n=name: f"{n} {text}"
        )


@pytest.mark.slow
def test_a_training_moves_between_devices(tmp_path):
    words = [*on_mps(a_model("images")), "trainer=cpu", f"output_dir={tmp_path / 'run'}"]
    train.main(composed_from("train", words))
    before = seen.count("_fused_adamw_")
    train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer=mps", "trainer.max_epochs=2"]))
    fused = seen.count("_fused_adamw_") - before
    metrics = train.main(composed_from("train", [f"resume={tmp_path / 'run'}", "trainer=cpu", "trainer.max_epochs=3"]))

    assert fused > 0
    assert torch.tensor(metrics["test/loss"]).isfinite()


def test_lightnings_own_accelerator_is_the_automatic_choice(composed):
    _, _, trainer = build.build(composed(*on_mps(a_model("images")), "trainer=auto", "callbacks=none"))

    assert isinstance(trainer.accelerator, MPSAccelerator)
    assert (torch.device("mps", 0), "32-true", 1) == (
        trainer.strategy.root_device,
        trainer.precision,
        trainer.num_devices,
    )


@pytest.mark.slow
def test_data_sets_read_by_spawned_workers_feed_mps(composed):
    network, data, trainer = build.build(composed(*on_mps(a_model("images")), "data.num_workers=1", "callbacks=none"))
    loader = data.train_dataloader()
    loader.multiprocessing_context = multiprocessing.get_context("spawn")
    data.train_dataloader = lambda: loader
    trainer.fit(network, data)

    assert trainer.global_step == 4
