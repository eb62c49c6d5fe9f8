"""Nothing that is loaded runs code, and no secret is written."""

import json
import subprocess
import sys

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from firstlight import evaluate, predict, train
from firstlight.callbacks.weights_and_biases.code_snapshot import list_code_files
from firstlight.config.compose import compose_config as composed_from
from firstlight.config.instantiate import locate
from firstlight.config.options import load_trusted_packages
from firstlight.config.validate import validate_config, validate_node
from firstlight.model.load import load_model
from firstlight.run.files import append_checksum
from support.options import get_tiny_model, make_tiny_overrides
from support.pickles import MaliciousPickle
from support.tiny_training import OVERRIDES

# Skipped in a project that has deleted this command.
gather = pytest.importorskip("firstlight.report.collect").collect_report
render = pytest.importorskip("firstlight.report.render").render

HOSTILE = [
    "os.system",
    "posix.system",
    "builtins.eval",
    "subprocess.Popen",
    "runpy.run_path",
    "hydra.utils.instantiate",
    "eval",
    "firstlight.run.record.subprocess.run",
    "firstlight.run.record.get_git_info",
    "firstlight.run.record.Path",
    "torch.os.system",
    "torch.load",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
]
# It would start a program as soon as it is built.
STARTER = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler.SubprocessHandler"
SECRETS = {"WANDB_API_KEY": "local-" + "0123456789abcdef" * 2 + "01234567", "HF_TOKEN": "hf_DistinctiveTokenOfATest"}


@pytest.mark.parametrize("target", HOSTILE)
def test_check_refuses_what_is_no_class_of_a_trusted_package(target):
    with pytest.raises(ValueError, match=r"^(A _target_ names a class of firstlight, |There is no )"):
        validate_node("optimizer", {"_target_": target})


@pytest.mark.parametrize("group", ["model", "scheduler", "callbacks.curves"])
def test_check_looks_at_every_group(compose_cfg, group):
    with pytest.raises(ValueError, match="A _target_ names a class of firstlight, .*, but it is os.system"):
        validate_config(compose_cfg("logger=none", f"{group}._target_=os.system"))


@pytest.mark.parametrize("target", [*HOSTILE, STARTER, "torch.nn.Linear", "torch.package.PackageImporter"])
def test_locate_refuses_what_a_configuration_has_no_use_for(target):
    with pytest.raises(ValueError, match=r"^(A _target_ names a class of |There is no )"):
        locate(target)


def test_the_refusal_says_where_to_add_a_package():
    with pytest.raises(ValueError) as refused:
        locate("timm.optim.Lion")

    assert str(refused.value) == (
        f"A _target_ names a class of {', '.join(load_trusted_packages())}, but it is timm.optim.Lion: choose one of these, "
        "or add the package to configs/trusted.yaml"
    )


@pytest.mark.parametrize("target", ["torch.optim.RMSprop", "lightning.pytorch.loggers.TensorBoardLogger"])
def test_other_classes_of_the_same_kinds_are_at_hand(target):
    assert locate(target).__name__ == target.rpartition(".")[2]


def hostile_run(folder, checkpoint, **changes):
    """Write a run of somebody else's, with settings of its own."""
    settings = OmegaConf.to_container(
        composed_from("train", [*make_tiny_overrides(get_tiny_model()), f"output_dir={folder}"]), resolve=True
    )
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": "interrupted", "loggers": {}}))
    (folder / "config.yaml").write_text(append_checksum(OmegaConf.to_yaml(OmegaConf.create({**settings, **changes}))))
    torch.save(checkpoint, folder / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("command", [evaluate, predict, train])
def test_a_pickle_in_a_checkpoint_is_refused(tmp_path, command):
    folder, mark = tmp_path / "run", tmp_path / "mark"
    hostile_run(folder, {"model_kwargs": {}, "state_dict": MaliciousPickle(mark)})
    name = command.__name__.rpartition(".")[2]
    word = f"resume={folder}" if command is train else f"run={folder}"

    with pytest.raises(ValueError, match=r"last.ckpt is damaged or no checkpoint \(UnpicklingError\): give another"):
        command.main(composed_from(name, [word, *([f"input={tmp_path}"] if command is predict else [])]))
    assert not mark.exists()


@pytest.mark.parametrize("target", ["os.system", STARTER])
def test_a_checkpoint_cannot_choose_what_is_built(tmp_path, target):
    node = {"_target_": target, "entrypoint": "touch", "args": [str(tmp_path / "mark")]}
    saved = {"config": {"model": node}, "hyper_parameters": {}, "model_kwargs": {}, "state_dict": {}}
    torch.save(saved, tmp_path / "last.ckpt")

    with pytest.raises(ValueError, match=f"A _target_ names a class of .* but .*{target}"):
        load_model(tmp_path / "last.ckpt")
    assert not (tmp_path / "mark").exists()


def test_a_run_cannot_choose_what_hydra_builds(tmp_path):
    started = {"_target_": STARTER, "entrypoint": "touch", "args": [str(tmp_path / "mark")]}
    hostile_run(tmp_path / "run", {}, hydra={"callbacks": {"mark": started}})
    cfg = composed_from("evaluate", [f"run={tmp_path / 'run'}"], hydra=True)

    assert "mark" not in (cfg.hydra.callbacks or {})


def test_the_code_at_wandb_holds_no_secret_files(tmp_path):
    secret = [".env", ".env.local", "prod.env", "server.pem", "tls.key", "id_rsa", "id_ed25519.pub", ".netrc"]
    secret += ["aws/credentials", "gcp_credentials.json", "secrets.yaml", ".pypirc"]
    for name in [*secret, "src/main.py", "src/secret.py", "configs/train.yaml"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "notes.txt").symlink_to("/etc/hostname")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    assert {"src/main.py", "src/secret.py", "configs/train.yaml"} == {str(path) for path in list_code_files(tmp_path)}


def files_with(folder, texts):
    """Return the files below a folder, and their names, that hold one of the texts."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {path for path in files for text in texts if text.encode() in path.read_bytes() or text in str(path)}
    return sorted(str(path.relative_to(folder)) for path in found)


def test_no_file_of_a_run_holds_a_key(tmp_path, monkeypatch):
    key, token = SECRETS.values()
    words = [word for word in OVERRIDES if word != "logger=none"]
    words += [f"output_dir={tmp_path / 'run'}", f"name=of-{token}", f"tags=[{token}]", f"logger.wandb.notes=by {key}"]
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    cfg = composed_from("train", words, hydra=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg.copy())
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    with open_dict(cfg):
        del cfg.hydra
    train.main(cfg)
    (tmp_path / "run" / "report.html").write_text(render(gather([tmp_path / "run"])))

    assert files_with(tmp_path / "run", SECRETS.values()) == []
    assert "of-***" in (tmp_path / "run" / "config.yaml").read_text()
    assert list(tmp_path.glob("run/wandb/offline-run-*/run-*.wandb"))
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()
