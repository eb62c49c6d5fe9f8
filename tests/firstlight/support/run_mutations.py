"""Changes to a run directory as a stranger could make them: config, links, special files, JSON files, checkpoints."""

import io
import json
import os
import pickle
import shutil
import socket
from contextlib import suppress

import torch
from omegaconf import OmegaConf
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import BytesStorageMetadata, Metadata, MetadataIndex

from firstlight.checkpoint import sharded
from firstlight.config.run_config import load_verified_config
from firstlight.run.files import ENGINE_KEY, append_checksum
from support.hostile_values import hostile_keys, hostile_values
from support.pickles import MaliciousPickle

FILES = ["run.json", "config.yaml", "output.log", "metrics.csv", "best.json", ".lock", ".reserve", "report.html"]
FILES += ["checkpoints", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "predictions", "predictions.json", "export"]
FILES += ["confusion_matrix.json", "confusion_matrix.png", "first_batch.png", "learning_curves.png", "wandb"]
FILES += ["provenance", "provenance/packages.txt", "provenance/uncommitted.diff"]
FILES += [".run.json.tmp", ".config.yaml.tmp", ".metrics.csv.tmp", ".best.json.tmp", "checkpoints/.last.ckpt.tmp"]
FILES += ["checkpoints/.last.ckpt.before", "predictions/0.png", ".report.html.tmp", "fit-profile.txt", "evaluations"]
JSON_FILES = ["run.json", "best.json", "predictions.json", "confusion_matrix.json"]


def set_random_leaf(value, random, new):
    """Replace a random value at any depth of nested mappings and lists; in place."""
    while True:
        names = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
        if not names:
            return
        name = random.choice(list(names))
        if isinstance(value[name], dict | list) and value[name] and random.random() < 0.9:
            value = value[name]
        else:
            value[name] = new
            return


def change_config(run_dir, victim, random):
    """Set keys of config.yaml."""
    config = OmegaConf.to_container(load_verified_config(run_dir / "config.yaml"))
    if random.random() < 0.6:
        keys = hostile_keys(victim)
        path = random.choice(sorted(keys))
        *parents, last = path.split(".")
        node = config
        for name in parents:
            node[name] = node.get(name) or {}
            node = node[name]
        node[last] = keys[path]
    else:
        set_random_leaf(config, random, random.choice(hostile_values(victim)))
    write_config(run_dir, OmegaConf.to_yaml(config) if random.random() < 0.9 else json.dumps(config))


def write_config(run_dir, text):
    """Write config.yaml with a valid checksum."""
    (run_dir / "config.yaml").write_text(append_checksum(text), errors="replace")


def change_yaml(run_dir, victim, random):
    """Write a config.yaml of other YAML."""
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    text = (run_dir / "config.yaml").read_text()
    texts = [
        bomb,
        "[" * 5000,
        "",
        "null",
        "output_dir: x",
        "a: !!python/object/apply:os.system ['touch x']",
        "\x00",
        "x: ${",
    ]
    write_config(run_dir, random.choice([*texts, text[: len(text) // 2], f"output_dir: x\n{bomb}"]))


def make_link(run_dir, victim, random):
    """Replace a file or a directory of the run by a link out of it, or by a special file."""
    path = run_dir / random.choice(FILES)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    if not path.parent.is_dir():
        return
    match random.choice(["file", "directory", "missing", "relative", "loop", "pipe", "socket", "device"]):
        case "file":
            path.symlink_to(victim / "secret.txt")
        case "directory":
            path.symlink_to(victim)
        case "missing":
            path.symlink_to(victim / "new.txt")
        case "relative":
            path.symlink_to(os.path.relpath(victim / "secret.txt", path.parent))
        case "loop":
            path.symlink_to(path.name)
        case "pipe":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "socket":
            with socket.socket(socket.AF_UNIX) as server:
                before = os.getcwd()
                os.chdir(path.parent)  # the path of a socket may have 107 characters only
                server.bind(path.name)
                os.chdir(before)


def change_json(run_dir, victim, random):
    """Replace values of a JSON file, or write other JSON."""
    path = run_dir / random.choice(JSON_FILES)
    if path.is_symlink() or not path.is_file():
        return
    text = path.read_text()
    texts = ["", "null", "[]", "[1]", "{}", "NaN", "[" * 100_000, '{"status": 1}', text[: len(text) // 2], '"\\ud800"']
    if random.random() < 0.7:
        content = json.loads(text)
        for _ in range(random.randint(1, 3)):
            set_random_leaf(content, random, random.choice([*hostile_values(victim), 10**400]))
        texts = [json.dumps(content)]
    path.write_text(random.choice(texts))


def change_metrics(run_dir, victim, random):
    """Change metrics.csv."""
    path = run_dir / "metrics.csv"
    if path.is_symlink() or not path.is_file():
        return
    text = path.read_text()
    texts = [
        "",
        "\x00",
        "a\n" + "x" * 200_000,
        "step,step\n1,2\n",
        "step\n-1\n1e400\nnan\n",
        text.replace("step", "Step"),
    ]
    path.write_text(
        random.choice([*texts, text[: len(text) // 2], "=cmd|' /C calc'!A0,step\n1,1\n", "step,x\n1,2,3,4\n,,\n"])
    )


def change_checkpoint(run_dir, victim, random):
    """Change the contents of a checkpoint."""
    path = run_dir / "checkpoints" / random.choice(["last.ckpt", "best.ckpt"])
    if path.is_symlink() or not path.is_file():
        return
    saved = torch.load(path, weights_only=True)
    path.unlink()  # both may be the same file
    match random.randrange(7):
        case 0:
            saved["state_dict"] = MaliciousPickle(victim / "executed")
        case 1:
            for state in saved["callbacks"].values():
                state |= {"dirpath": str(victim), "best_model_path": str(victim), "kth_best_model_path": f"{victim}/x"}
                state |= {"best_k_models": {str(victim): torch.tensor(-1.0)}, "last_model_path": f"{victim}/secret.txt"}
        case 2:
            set_random_leaf(saved[ENGINE_KEY], random, random.choice(hostile_values(victim)))
        case 3:
            keys = hostile_keys(victim)
            name = random.choice([key for key in sorted(keys) if key.startswith("model.")])
            saved[ENGINE_KEY]["config"]["model"][name.partition(".")[2]] = keys[name]
        case 4:
            name = random.choice([name for name in saved if name != "state_dict"])
            set_random_leaf(saved, random, random.choice(hostile_values(victim)))
            set_random_leaf(saved[name], random, random.choice(hostile_values(victim)))
        case 5:
            path.write_bytes(pickle.dumps(MaliciousPickle(victim / "executed")))
            return
        case 6:
            write_shards(path, saved, victim, random)
            return
    torch.save(saved, path)


def write_shards(path, saved, victim, random):
    """Write a sharded checkpoint with an entry or an index that runs code, or that names another file."""
    path.mkdir()
    content = io.BytesIO()
    bomb = MaliciousPickle(victim / "executed")
    torch.save(random.choice([bomb, {"x": 1}]), content)
    (path / "__0_0.distcp").write_bytes(content.getvalue())
    file = random.choice(["__0_0.distcp", f"../../../{victim.name}/secret.txt", str(victim / "secret.txt")])
    index = Metadata(
        state_dict_metadata={"state_dict.x": BytesStorageMetadata()},
        planner_data={"state_dict.x": ("state_dict", "x")},
        storage_data={MetadataIndex("state_dict.x"): _StorageInfo(file, 0, len(content.getvalue()))},
    )
    (path / ".metadata").write_bytes(pickle.dumps(random.choice([index, index, bomb])))
    others = {name: value for name, value in saved.items() if name not in ("state_dict", "optimizer_states")}
    torch.save(random.choice([others, bomb]), path / "meta.pt")
    sharded.write_checksums(path)


MUTATIONS = [change_config, change_yaml, make_link, change_json, change_metrics, change_checkpoint]
WEIGHTS = [5, 1, 4, 3, 1, 5]


def mutate(run_dir, victim, random):
    """Apply one to three changes to a run directory."""
    for change in random.choices(MUTATIONS, WEIGHTS, k=random.choice([1, 1, 2, 3])):
        with suppress(Exception):  # an earlier change has damaged the file
            change(run_dir, victim, random)
