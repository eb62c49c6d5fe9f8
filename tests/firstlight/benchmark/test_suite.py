"""`make benchmark`: what it measures, writes, draws and refuses."""

import json

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator

from firstlight.benchmark import __main__ as benchmark
from firstlight.benchmark.plots import plot_speedups
from firstlight.benchmark.suite import BenchmarkSuite, compute_speedups, make_caption
from firstlight.benchmark.throughput import ModelBenchmark
from firstlight.build import resolve_auto_settings
from firstlight.config.options import CONFIG_DIR
from support.options import get_tiny_model, make_tiny_overrides

SMALL = ["image_size=32", "max_length=16", "batch_size=2", "min_seconds=0.01", "repeats=2", "accelerators=[cpu]"]
SMALL += ["precision=32-true"]
MODEL = "tiny_images"
WORDS_OF_IT = ",".join(
    f'"{word}"' for word in (f"model={MODEL}", "data.image_size=${image_size}", "data.batch_size=16")
)
TRAININGS = [f"+workloads.{MODEL}=[{WORDS_OF_IT}]"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    from hydra import compose, initialize_config_dir

    folder = tmp_path_factory.mktemp("benchmark") / "run"
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose(
            "benchmark", [*SMALL, *TRAININGS, f"models=[{MODEL}]", 'settings=["logger=none"]', f"output_dir={folder}"]
        )
    return benchmark.main(cfg), folder


def test_both_phases_are_measured_through_the_trainer_and_by_a_bare_loop(measured):
    result, _ = measured
    found = [(each["model"], each["phase"], each["device"], each["loop"]) for each in result["results"]]

    assert found == [(MODEL, phase, "cpu", loop) for phase in ("train", "eval") for loop in ("trainer", "bare")]


def test_every_figure_says_how_it_came_about(measured):
    result, folder = measured
    for each in result["results"]:
        assert each["chip"]
        assert each["precision"] == "32-true"
        assert each["batch_size"] == 2
        assert each["repeats"] == 2
        assert 0 < each["lowest"] <= each["samples_per_s"] <= each["highest"]
        assert each["peak_memory_gib"] > 0
        assert each["flops_per_s"] == pytest.approx(each["samples_per_s"] * each["flops_per_sample"])
        assert 0 < each["matmul_share"] < 3  # the machine is shared, so its peak is no limit here
    assert result["machine"]["cores"] >= 1
    assert result["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert json.loads((folder / "benchmark.json").read_text()) == result


def test_a_training_step_has_up_to_three_times_the_arithmetic_of_an_evaluation(measured):
    train, _, evaluation, _ = (each["flops_per_sample"] for each in measured[0]["results"])

    # Less by the gradient of the images, which nobody needs.
    assert 2 * evaluation < train < 3 * evaluation


def test_without_an_accelerator_it_says_so_and_draws_nothing(measured, capsys):
    result, folder = measured

    assert [each["speedup"] for each in result["speedups"]] == [1, 1]
    assert not (folder / "speedup.png").exists()
    assert not (folder / "runs").exists()


def figure(model, device, phase, speed):
    about = {"chip": "C", "precision": "32-true", "batch_size": 8, "loop": "trainer", "repeats": 3}
    return {"model": model, "device": device, "phase": phase, "samples_per_s": speed, **about}


def test_the_chart_has_a_bar_for_each_training_and_a_caption(tmp_path):
    figures = [
        figure(model, device, phase, speed * factor)
        for model, speed in {"wide": 2.0, "deep": 3.0}.items()
        for device, factor in {"cpu": 1, "cuda": 20}.items()
        for phase in ("train", "eval")
    ]
    machine = {"cores": 4, "cpu": {"chip": "A", "memory_gib": 8}, "cuda": {"chip": "B", "memory_gib": 80}}
    result = {
        "results": figures,
        "speedups": compute_speedups(figures),
        "machine": machine,
        "versions": {"torch": "2.15"},
    }
    result["caption"] = make_caption(result)
    plot_speedups(result, tmp_path / "speedup.png")

    assert {each["speedup"] for each in result["speedups"] if each["device"] == "cuda"} == {20}
    assert (tmp_path / "speedup.png").stat().st_size > 10_000
    for word in ("A, 4 cores, 8 GiB", "B, 80 GiB", "torch 2.15", "n = 3"):
        assert word in "\n".join(result["caption"])


def test_a_speedup_needs_the_cpu_of_the_same_training():
    assert compute_speedups([figure("deep", "cuda", "train", 9.0)]) == []


def test_a_training_that_does_not_fit_is_refused_beforehand(compose_cfg, monkeypatch):
    monkeypatch.setattr("firstlight.benchmark.suite.get_free_memory_gib", lambda device: 1e-4)
    training = compose_cfg(*make_tiny_overrides(get_tiny_model()), "data.batch_size=64")

    with pytest.raises(ValueError, match=r"it on cpu with batch size 64 needs about .* GiB, but 0\.0 are free"):
        BenchmarkSuite(training.output_dir, seconds=1, repeats=1).check_memory("it", training)


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("models=[alexnet]", "models is a list of some of "),
        ("phases=[test]", "phases is a list of some of train, eval"),
        ("accelerators=[tpu]", "accelerators is a list of some of cpu, cuda, mps"),
        ("models=[]", "models is a list"),
        ("batch_size=0", "batch_size is a positive number"),
        ("min_seconds=-1", "min_seconds is a positive number"),
        ("repeats=1.5", "repeats is a positive number"),
    ],
)
def test_what_cannot_be_measured_is_refused(compose_cfg, word, sentence):
    with pytest.raises(ValueError, match=sentence):
        benchmark.main(compose_cfg(*TRAININGS, f"models=[{MODEL}]", word, root="benchmark"))


@pytest.mark.skipif(CUDAAccelerator.is_available(), reason="this machine has CUDA")
def test_an_accelerator_that_is_not_here_is_refused(compose_cfg):
    with pytest.raises(ValueError, match="trainer=cuda needs an NVIDIA GPU"):
        benchmark.main(
            compose_cfg(*TRAININGS, f"models=[{MODEL}]", *SMALL[:-2], "accelerators=[cuda]", root="benchmark")
        )


def test_settings_of_the_benchmark_reach_its_trainings(compose_cfg):
    cfg = compose_cfg(*TRAININGS, "image_size=48", "batch_size=3", "precision=bf16-mixed", root="benchmark")
    training = benchmark.compose_config("train", benchmark.make_workload_overrides(cfg, MODEL))
    own = benchmark.compose_config(
        "train", benchmark.make_workload_overrides(compose_cfg(*TRAININGS, root="benchmark"), MODEL)
    )

    assert (training.data.image_size, training.data.batch_size, training.trainer.precision) == (48, 3, "bf16-mixed")
    assert (own.data.image_size, own.data.batch_size) == (224, 16)


def test_both_loops_see_the_same_input(compose_cfg):
    contest = ModelBenchmark(
        resolve_auto_settings(
            compose_cfg(*make_tiny_overrides(get_tiny_model("images")), "data.num_samples=20", "callbacks=none")
        )
    )
    seen = []
    contest.model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    contest.time_trainer("eval", 1)
    contest.time_plain_loop("eval", 1)

    assert len(seen) == 4  # a step of warm-up each
    assert all(torch.equal(each, seen[0]) for each in seen)
