"""Runs for the tests of the page, written as a training leaves them."""

import json

from hydra import compose, initialize_config_dir

from firstlight.config.options import CONFIG_DIR
from firstlight.report.collect import collect_report
from firstlight.report.render import render

HOSTILE = "<script>alert(1)</script>"
# The smallest PNG: one grey pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63680000008200817c2bd1ea"
    "0000000049454e44ae426082"
)


def write_run(folder, overrides=(), status="finished", rows=20, accuracy=0.9, started="2026-11-20T10:00:00+00:00"):
    """Write a run as a training leaves it."""
    folder.mkdir(parents=True)
    seed = next((word.removeprefix("seed=") for word in overrides if word.startswith("seed=")), 0)
    metrics = {"test/accuracy": accuracy, "test/loss": 1 - accuracy, "speed/samples_per_s": 1000.0 * accuracy}
    record = {
        "command": "python -m firstlight.train",
        "overrides": list(overrides),
        "status": status,
        "reason": None if status in ("finished", "running") else "ValueError: it broke",
        "started": started,
        "duration_s": 61.5,
        "seed": int(seed),
        "git": {"commit": "0123456789abcdef", "dirty": True},
        "metrics": metrics if status == "finished" else {},
    }
    (folder / "run.json").write_text(json.dumps(record))
    lines = [f",{step},{1 / (step + 1)},{step / 100},{step},{step / 3},{step / 7},\n" for step in range(rows)]
    lines.append(f"0,{rows - 1},,,,,,{accuracy}\n")
    header = "epoch,step,train/loss,train/accuracy,train/lr,speed/samples_per_s,speed/step_ms,val/accuracy\n"
    (folder / "metrics.csv").write_text(header + "".join(lines))
    return folder


def write_test_results(folder, names=("a", "b")):
    """Write what the test of a run leaves."""
    (folder / "confusion_matrix.json").write_text(json.dumps({"class_names": list(names), "counts": [[8, 2], [0, 5]]}))
    (folder / "predictions").mkdir()
    (folder / "predictions" / "0.png").write_bytes(PNG)
    (folder / "first_batch.png").write_bytes(PNG)
    right = {"id": 1, "true": names[0], "predicted": names[0], "probability": 0.5, "text": "<i>right</i>"}
    wrong = {"id": 2, "true": names[0], "predicted": names[1], "probability": 0.9, "image": "predictions/0.png"}
    (folder / "predictions.json").write_text(json.dumps([right, wrong]))


def write_benchmark(folder):
    """Write benchmark.json of one model on two devices."""
    folder.mkdir(parents=True)
    devices = {"cpu": 1.0, "cuda": 12.0}
    common = {"model": "deep", "batch_size": 8, "precision": "32-true"}
    result = {
        "started": "2026-11-20T10:00:00+00:00",
        "caption": ["cuda: chip of cuda, 8 GiB, 32-true"],
        "versions": {"torch": "2.15"},
        "machine": {"cores": 2, **{name: {"chip": f"chip of {name}", "memory_gib": 8} for name in devices}},
        "results": [{**common, "phase": "train", "device": name, "loop": "trainer", "repeats": 3} for name in devices],
        "speedups": [{**common, "phase": "train", "device": name, "speedup": times} for name, times in devices.items()],
    }
    (folder / "benchmark.json").write_text(json.dumps(result))


def write_logs(root):
    """Write a sweep, one run of each other kind, and a benchmark, and return their folder."""
    for number in range(4):
        words = [f"data.batch_size={16 * (1 + number // 2)}", f"seed={number % 2}", "model=wide"]
        started = f"2026-11-21T1{number}:00Z"
        write_run(root / f"sweep/now/{number}_x", words, accuracy=0.5 + number / 10, started=started)
    write_test_results(root / "sweep/now/3_x", names=(HOSTILE, "<b>x</b> & y"))
    failed = write_run(root / "train/failed", ["model=deep"], status="failed")
    (failed / "output.log").write_text("".join(f"\x1b[31mline\x1b[0m {index}\n" for index in range(100)))
    write_run(root / "train/running", ["model=deep"], status="running", rows=3)
    (root / "train/half").mkdir()
    (root / "train/half/run.json").write_text('{"command": "py')
    (root / "train/half/metrics.csv").touch()
    write_run(root / "train/failed/wandb/files", ["model=never"])
    write_benchmark(root / "benchmark/now")
    return root


def write_page(logs):
    """Write the page about these runs, and return its file."""
    file = logs / "report.html"
    file.write_text(render(collect_report([logs])), encoding="utf-8", newline="\n")
    return file


def cfg(*words):
    """Return the configuration of the command."""
    with initialize_config_dir(str(CONFIG_DIR), version_base="1.3"):
        return compose("report", list(words))
