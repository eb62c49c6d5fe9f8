"""Measurements, files and errors of `make benchmark`."""

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
from firstlight.run.errors import ConfigError, HardwareError
from support.options import get_tiny_model, make_tiny_overrides

FAST = ["image_size=32", "max_length=16", "batch_size=2", "min_seconds=0.01", "repeats=2", "accelerators=[cpu]"]
FAST += ["precision=32-true"]
MODEL = "tiny_images"
WORKLOAD = (f"model={MODEL}", "data.image_size=${image_size}", "data.batch_size=16")
WORKLOADS = [f"+workloads.{MODEL}=[{','.join(json.dumps(override) for override in WORKLOAD)}]"]


@pytest.fixture(scope="module")
def finished_benchmark(tmp_path_factory):
    """Run a benchmark, and return its results and its directory."""
    from hydra import compose, initialize_config_dir

    output_dir = tmp_path_factory.mktemp("benchmark") / "run"
    overrides = [*FAST, *WORKLOADS, f"models=[{MODEL}]", 'overrides=["logger=none"]', f"output_dir={output_dir}"]
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        cfg = compose("benchmark", overrides)
    return benchmark.main(cfg), output_dir


def test_both_phases_are_measured_with_trainer_and_plain_loop(finished_benchmark):
    results, _ = finished_benchmark
    measured = [tuple(result[key] for key in ("model", "phase", "device", "loop")) for result in results["results"]]

    assert measured == [(MODEL, phase, "cpu", loop) for phase in ("train", "eval") for loop in ("trainer", "plain")]


def test_results_contain_conditions_of_measurement(finished_benchmark):
    results, output_dir = finished_benchmark
    for result in results["results"]:
        assert result["chip"]
        assert result["precision"] == "32-true"
        assert result["batch_size"] == 2
        assert result["repeats"] == 2
        assert 0 < result["lowest"] <= result["samples_per_s"] <= result["highest"]
        assert result["peak_memory_gib"] > 0
        assert result["flops_per_s"] == pytest.approx(result["samples_per_s"] * result["flops_per_sample"])
        assert 0 < result["matmul_share"] < 3  # The machine is shared, so its measured peak is not a limit.
    assert results["machine"]["cores"] >= 1
    assert results["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert json.loads((output_dir / "benchmark.json").read_text()) == results


def test_training_step_has_two_to_three_times_the_flops_of_evaluation(finished_benchmark):
    train, _, evaluation, _ = (result["flops_per_sample"] for result in finished_benchmark[0]["results"])

    # Less than three times, because the gradient of the images is not computed.
    assert 2 * evaluation < train < 3 * evaluation


def test_cpu_only_benchmark_has_no_plot(finished_benchmark):
    results, output_dir = finished_benchmark

    assert [speedup["speedup"] for speedup in results["speedups"]] == [1, 1]
    assert not (output_dir / "speedup.png").exists()
    assert not (output_dir / "runs").exists()


def make_result(model, device, phase, samples_per_s):
    common = {"chip": "C", "precision": "32-true", "batch_size": 8, "loop": "trainer", "repeats": 3}
    return {"model": model, "device": device, "phase": phase, "samples_per_s": samples_per_s, **common}


def test_plot_and_caption_of_speedups(tmp_path):
    measured = [
        make_result(model, device, phase, samples_per_s * factor)
        for model, samples_per_s in {"wide": 2.0, "deep": 3.0}.items()
        for device, factor in {"cpu": 1, "cuda": 20}.items()
        for phase in ("train", "eval")
    ]
    machine = {"cores": 4, "cpu": {"chip": "A", "memory_gib": 8}, "cuda": {"chip": "B", "memory_gib": 80}}
    results = {
        "results": measured,
        "speedups": compute_speedups(measured),
        "machine": machine,
        "versions": {"torch": "2.15"},
    }
    results["caption"] = make_caption(results)
    plot_speedups(results, tmp_path / "speedup.png")

    assert {speedup["speedup"] for speedup in results["speedups"] if speedup["device"] == "cuda"} == {20}
    assert (tmp_path / "speedup.png").stat().st_size > 10_000
    for text in ("A, 4 cores, 8 GiB", "B, 80 GiB", "torch 2.15", "n = 3"):
        assert text in "\n".join(results["caption"])


def test_no_speedup_without_cpu_result():
    assert compute_speedups([make_result("deep", "cuda", "train", 9.0)]) == []


def test_workload_that_does_not_fit_into_memory_is_rejected(compose_cfg, monkeypatch):
    monkeypatch.setattr("firstlight.benchmark.suite.get_free_memory_gib", lambda device: 1e-4)
    cfg = compose_cfg(*make_tiny_overrides(get_tiny_model()), "data.batch_size=64")
    suite = BenchmarkSuite(cfg.output_dir, min_seconds=1, repeats=1)

    with pytest.raises(HardwareError, match=r"^tiny on cpu with batch size 64 needs about .* only 0\.0 GiB is free\. "):
        suite.check_memory("tiny", cfg)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models=[alexnet]", r"models: expected a non-empty subset of \[.*tiny_text.*\], got \['alexnet'\]"),
        ("phases=[test]", r"phases: expected a non-empty subset of \[train, eval\], got \['test'\]"),
        ("accelerators=[tpu]", r"accelerators: expected a non-empty subset of \[cpu, cuda, mps\], got \['tpu'\]"),
        ("models=[]", r"models: expected a non-empty subset of .*, got \[\]"),
        ("batch_size=0", r"batch_size: expected a positive integer, got 0\."),
        ("min_seconds=-1", r"min_seconds: expected a positive number, got -1\."),
        ("repeats=1.5", r"repeats: expected a positive integer, got 1\.5\."),
    ],
)
def test_invalid_config_is_rejected(compose_cfg, override, message):
    with pytest.raises(ConfigError, match=f"^Invalid value for {message}"):
        benchmark.main(compose_cfg(*WORKLOADS, f"models=[{MODEL}]", override, root="benchmark"))


@pytest.mark.skipif(CUDAAccelerator.is_available(), reason="this machine has CUDA")
def test_unavailable_accelerator_is_rejected(compose_cfg):
    overrides = [*WORKLOADS, f"models=[{MODEL}]", *FAST[:-2], "accelerators=[cuda]"]
    with pytest.raises(HardwareError, match="trainer=cuda requires an NVIDIA GPU"):
        benchmark.main(compose_cfg(*overrides, root="benchmark"))


def test_workloads_use_settings_of_benchmark(compose_cfg):
    def compose_workload(*overrides):
        cfg = compose_cfg(*WORKLOADS, *overrides, root="benchmark")
        return benchmark.compose_config("train", benchmark.make_workload_overrides(cfg, MODEL))

    default = compose_workload()
    changed = compose_workload("image_size=48", "batch_size=3", "precision=bf16-mixed")

    assert (changed.data.image_size, changed.data.batch_size, changed.trainer.precision) == (48, 3, "bf16-mixed")
    assert (default.data.image_size, default.data.batch_size) == (224, 16)


def test_both_loops_use_the_same_input(compose_cfg):
    overrides = [*make_tiny_overrides(get_tiny_model("images")), "data.num_samples=20", "callbacks=none"]
    model_benchmark = ModelBenchmark(resolve_auto_settings(compose_cfg(*overrides)))
    inputs = []
    model_benchmark.model.network.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
    model_benchmark.time_trainer("eval", 1)
    model_benchmark.time_plain_loop("eval", 1)

    assert len(inputs) == 4  # Each loop runs one warm-up step.
    assert all(torch.equal(tensor, inputs[0]) for tensor in inputs)
