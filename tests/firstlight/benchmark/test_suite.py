"""Measurements, files and errors of `make benchmark`."""

import json

import pytest
import torch
from lightning.pytorch.accelerators import CUDAAccelerator

from firstlight.benchmark import __main__ as benchmark
from firstlight.benchmark.plots import plot_results
from firstlight.benchmark.published import load_published_results, print_comparison, rank_results
from firstlight.benchmark.suite import BenchmarkSuite, compute_speedups, make_caption
from firstlight.config.compose import compose_config
from firstlight.run.errors import HardwareError
from support.options import get_tiny_model, make_tiny_overrides

FAST = ["batch_size=2", "min_seconds=0.01", "repeats=2", "accelerators=[cpu]", "precision=32-true"]
MODEL = "tiny_images"
PHASES = ("train", "eval", "predict")


@pytest.fixture(scope="module")
def finished_benchmark(tmp_path_factory):
    """Run a benchmark, and return its results and its directory."""
    output_dir = tmp_path_factory.mktemp("benchmark") / "run"
    overrides = [*FAST, f"model={MODEL}", "logger=none", "data.num_samples=16", f"output_dir={output_dir}"]
    return benchmark.main(compose_config("benchmark", overrides)), output_dir


def test_all_phases_are_measured_with_trainer_and_plain_loop(finished_benchmark):
    results, _ = finished_benchmark
    measured = [tuple(result[key] for key in ("model", "phase", "device", "loop")) for result in results["results"]]

    assert measured == [(MODEL, phase, "cpu", loop) for phase in PHASES for loop in ("trainer", "plain")]


def test_results_contain_conditions_of_measurement(finished_benchmark):
    results, output_dir = finished_benchmark
    for result in results["results"]:
        assert result["chip"]
        assert (result["precision"], result["input"], result["batch_norm"]) == ("32-true", "32 px", True)
        assert (result["compile_mode"], result["memory_format"]) == (None, "channels_last")
        is_training = result["phase"] == "train"
        assert (result["optimizer"], result["gradient_clip_val"]) == (
            ("AdamW (fused)", 1.0) if is_training else (None, None)
        )
        assert result["batch_size"] == 2
        assert result["repeats"] == 2
        assert 0 < result["lowest"] <= result["samples_per_s"] <= result["highest"]
        assert result["peak_memory_gib"] > 0
        assert result["flops_per_s"] == pytest.approx(result["samples_per_s"] * result["flops_per_sample"])
        assert 0 < result["matmul_share"] < 3  # The machine is shared, so its measured peak is not a limit.
    assert results["machine"]["cores"] >= 1
    assert results["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert {"output_dir": str(output_dir), **json.loads((output_dir / "benchmark.json").read_text())} == results


def test_training_step_has_two_to_three_times_the_flops_of_evaluation(finished_benchmark):
    train, _, evaluation, *_ = (result["flops_per_sample"] for result in finished_benchmark[0]["results"])

    # Less than three times, because the gradient of the images is not computed.
    assert 2 * evaluation < train < 3 * evaluation


def test_cpu_only_benchmark_plots_no_speedup(finished_benchmark):
    results, output_dir = finished_benchmark

    assert [speedup["speedup"] for speedup in results["speedups"]] == [1, 1, 1]
    assert (output_dir / "speedup.png").stat().st_size > 10_000
    assert results["failures"] == []
    assert not (output_dir / "runs").exists()


def make_result(model, device, phase, samples_per_s, loop="trainer"):
    common = {"chip": f"chip of {device}", "precision": "32-true", "batch_size": 8, "loop": loop, "repeats": 3}
    conditions = {"batch_norm": True, "memory_format": None, "input": "224 px", "compile_mode": None}
    training = {"optimizer": "SGD", "gradient_clip_val": 1.0}
    result = {"model": model, "published": model, "device": device, "phase": phase, "samples_per_s": samples_per_s}
    return {**result, **common, **conditions, **training}


def make_results(measured):
    machine = {"cores": 4, "cpu": {"chip": "A", "memory_gib": 8}, "cuda": {"chip": "B", "memory_gib": 80}}
    results = {
        "results": measured,
        "failures": [],
        "speedups": compute_speedups(measured),
        "machine": machine,
        "versions": {"torch": "2.15"},
    }
    return {**results, "caption": make_caption(results)}


def test_plot_and_caption_of_speedups(tmp_path):
    measured = [
        make_result(model, device, phase, samples_per_s * factor, loop)
        for model, samples_per_s in {"wide": 2.0, "deep": 3.0}.items()
        for device, factor in {"cpu": 1, "cuda": 20}.items()
        for phase in ("train", "eval")
        for loop in ("trainer", "plain")
    ]
    results = make_results(measured)
    plot_results(results, tmp_path / "speedup.png")

    assert {speedup["speedup"] for speedup in results["speedups"] if speedup["device"] == "cuda"} == {20}
    assert (tmp_path / "speedup.png").stat().st_size > 10_000
    for text in ("A, 4 cores, 8 GiB", "B, 80 GiB", "torch 2.15", "n = 3", "learning rate 0"):
        assert text in "\n".join(results["caption"])


def test_published_results_state_their_conditions_and_source():
    rows = load_published_results()

    assert len(rows) > 30
    for row in rows:
        assert float(row["samples_per_s"]) > 0
        assert row["phase"] in ("train", "eval")
        assert all(row[name] for name in ("workload", "chip", "batch_size", "input", "precision", "framework"))
        assert row["source"].startswith("github.com/")


def test_results_are_ranked_among_published_ones(capsys):
    first = load_published_results()[0]
    published = [row for row in load_published_results() if row["workload"] == first["workload"]]
    published = [row for row in published if row["phase"] == "train"]
    fastest = max(float(row["samples_per_s"]) for row in published)
    measured = [
        make_result(first["workload"], "cuda", "train", fastest + 1),
        make_result(first["workload"], "cuda", "train", 1e9, loop="plain"),
        make_result(first["workload"], "cpu", "train", 0.1),
        make_result("mine", "cuda", "train", 5.0),
    ]
    results = make_results(measured)
    rows = rank_results(results, first["workload"], "train")
    print_comparison(results)
    output = capsys.readouterr().out

    assert len(rows) == len(published) + 2
    assert [row["samples_per_s"] for row in rows[:1] + rows[-1:]] == [fastest + 1, 0.1]
    assert f"{first['workload']} train on chip of cuda: place 1 of {len(rows)}\n" in output
    assert f"on chip of cpu (CPU): place {len(rows)} of {len(rows)}\n" in output
    assert "No published results of: mine\n" in output


def test_other_input_sizes_are_not_compared(capsys):
    first = load_published_results()[0]
    results = make_results([{**make_result(first["workload"], "cpu", "train", 1.0), "input": "32 px"}])
    print_comparison(results)

    assert capsys.readouterr().out == f"No published results of: {first['workload']}\n"


def test_no_speedup_without_cpu_result():
    assert compute_speedups([make_result("deep", "cuda", "train", 9.0)]) == []


def test_workload_that_does_not_fit_into_memory_is_rejected(compose_cfg, monkeypatch):
    monkeypatch.setattr("firstlight.benchmark.suite.get_free_memory_gib", lambda device: 1e-4)
    cfg = compose_cfg(*make_tiny_overrides(get_tiny_model()), "data.batch_size=64")
    suite = BenchmarkSuite(cfg.output_dir, min_seconds=1, max_seconds=1, repeats=1)

    with pytest.raises(HardwareError, match=r"^tiny on cpu with batch size 64 needs about .* only 0\.0 GiB is free\. "):
        suite.check_memory("tiny", cfg)


@pytest.mark.skipif(CUDAAccelerator.is_available(), reason="this machine has CUDA")
def test_unavailable_accelerator_is_rejected(compose_cfg):
    with pytest.raises(HardwareError, match="trainer=cuda requires an NVIDIA GPU"):
        benchmark.main(compose_cfg(f"models=[{MODEL}]", "accelerators=[cuda]", root="benchmark"))
