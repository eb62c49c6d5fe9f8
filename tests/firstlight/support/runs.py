"""Write run directories and benchmarks for the tests of the report, with the files that training leaves."""

import json
from zipfile import ZipFile

from hydra import compose, initialize_config_dir

from firstlight.config.compose import compose_config
from firstlight.config.hydra_version import VERSION_BASE
from firstlight.config.options import CONFIG_DIR
from firstlight.page.render import render
from firstlight.run.evaluation import hash_checkpoint
from firstlight.run_data.collect import collect_report

HOSTILE = "<script>alert(1)</script>"
# The smallest PNG: one gray pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b550000000a49444154789c63680000008200817c2bd1ea"
    "0000000049454e44ae426082"
)


def write_run(run_dir, overrides=(), status="finished", rows=20, accuracy=0.9, started="2026-11-20T10:00:00+00:00"):
    """Write run.json and metrics.csv; return the run directory."""
    run_dir.mkdir(parents=True)
    seed = next((override.removeprefix("seed=") for override in overrides if override.startswith("seed=")), 0)
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
    (run_dir / "run.json").write_text(json.dumps(record))
    lines = [f",{step},{1 / (step + 1)},{step / 100},{step},{step / 3},{step / 7},\n" for step in range(rows)]
    lines.append(f"0,{rows - 1},,,,,,{accuracy}\n")
    header = "epoch,step,train/loss,train/accuracy,train/lr,speed/samples_per_s,speed/step_ms,val/accuracy\n"
    (run_dir / "metrics.csv").write_text(header + "".join(lines))
    return run_dir


def write_test_results(run_dir, class_names=("a", "b")):
    """Write the confusion matrix, predictions and images of a run."""
    confusion_matrix = {"class_names": list(class_names), "counts": [[8, 2], [0, 5]]}
    (run_dir / "confusion_matrix.json").write_text(json.dumps(confusion_matrix))
    (run_dir / "predictions").mkdir()
    (run_dir / "predictions" / "0.png").write_bytes(PNG)
    (run_dir / "first_batch.png").write_bytes(PNG)
    first, second = class_names
    correct = {"id": 1, "true": first, "predicted": first, "probability": 0.5, "text": "<i>right</i>"}
    wrong = {"id": 2, "true": first, "predicted": second, "probability": 0.9, "image": "predictions/0.png"}
    (run_dir / "predictions.json").write_text(json.dumps([correct, wrong]))


def write_provenance(run_dir, diff, packages, config="", **fields):
    """Write the uncommitted changes, the packages and the config of a run that `write_run` has written."""
    (run_dir / "provenance").mkdir(exist_ok=True)
    (run_dir / "provenance/uncommitted.diff").write_text(diff)
    (run_dir / "provenance/packages.txt").write_text(packages)
    (run_dir / "config.yaml").write_text(config)
    record = json.loads((run_dir / "run.json").read_text())
    names = {"diff": "provenance/uncommitted.diff", "packages": "provenance/packages.txt"}
    (run_dir / "run.json").write_text(json.dumps({**record, "attempts": [{"provenance": names}], **fields}))
    return run_dir


def write_evaluation(directory, run_dir, accuracy=0.5, **fields):
    """Write the results of `make evaluate`; return their directory."""
    directory.mkdir(parents=True)
    write_test_results(directory)
    record = {
        "command": "evaluate",
        "started": f"2026-11-22T10:00:0{len(directory.name) % 10}+00:00",
        "run": str(run_dir.resolve()),
        "checkpoint": f"{run_dir}/checkpoints/best.ckpt",
        "checkpoint_hash": hash_checkpoint(run_dir / "checkpoints/best.ckpt"),
        "data": {"_target_": "firstlight.data.image_folder.ImageFolderDataModule", "root": "new/photos"},
        "split": "test",
        "samples": 15,
        "metrics": {"test/accuracy": accuracy},
    }
    (directory / "evaluation.json").write_text(json.dumps({**record, **fields}))
    return directory


def write_benchmark(directory):
    """Write benchmark.json for one model on two devices."""
    directory.mkdir(parents=True)
    speedups = {"cpu": 1.0, "cuda": 12.0}
    common = {"model": "deep", "batch_size": 8, "precision": "32-true"}
    result = {
        "started": "2026-11-20T10:00:00+00:00",
        "caption": ["cuda: chip of cuda, 8 GiB, 32-true"],
        "versions": {"torch": "2.15"},
        "machine": {"cores": 2, **{name: {"chip": f"chip of {name}", "memory_gib": 8} for name in speedups}},
        "results": [{**common, "phase": "train", "device": name, "loop": "trainer", "repeats": 3} for name in speedups],
        "failures": [{"model": HOSTILE, "device": "cuda", "phase": "eval", "reason": "Out of memory"}],
        "speedups": [
            {**common, "phase": "train", "device": name, "speedup": value} for name, value in speedups.items()
        ],
    }
    (directory / "benchmark.json").write_text(json.dumps(result))


def write_logs(root):
    """Write a sweep, a failed, a running and a corrupt run, and a benchmark; return the directory."""
    for number in range(4):
        overrides = [f"data.batch_size={16 * (1 + number // 2)}", f"seed={number % 2}", "model=wide"]
        started = f"2026-11-21T1{number}:00Z"
        write_run(root / f"sweep/now/{number}_x", overrides, accuracy=0.5 + number / 10, started=started)
    write_test_results(root / "sweep/now/3_x", class_names=(HOSTILE, "<b>x</b> & y"))
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
    """Write the report of these runs; return its path."""
    path = logs / "report.html"
    path.write_text(render(collect_report([logs])), encoding="utf-8", newline="\n")
    return path


def compose_report_config(*overrides):
    """Return the config of `make report`."""
    with initialize_config_dir(str(CONFIG_DIR), **VERSION_BASE):
        return compose("report", list(overrides))


def list_runs(*overrides):
    """Return the result of `make runs`."""
    from firstlight.runs import __main__ as runs  # a command that can be deleted

    return runs.main(compose_config("runs", list(overrides)))


def write_checkpoint(path, contents):
    """Write a file that has the format of a checkpoint."""
    with ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", contents)


def write_trained_run(run_dir, **fields):
    """Write the files of a run with a best checkpoint; return the path of the checkpoint."""
    write_run(run_dir, ["seed=0"])
    (run_dir / "checkpoints").mkdir()
    checkpoint = run_dir / "checkpoints" / "best.ckpt"
    write_checkpoint(checkpoint, "first")
    record = json.loads((run_dir / "run.json").read_text())
    record |= {"samples": {"train": 80, "val": 10, "test": 15}, "device": "cpu", "precision": "32-true", "devices": 1}
    record |= {"versions": {"torch": "2.15.0"}, "machine": {"system": "Linux", "cores": 2}}
    (run_dir / "run.json").write_text(json.dumps({**record, **fields}))
    return str(checkpoint)
