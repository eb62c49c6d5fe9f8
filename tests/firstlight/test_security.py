"""Loading runs and checkpoints never executes untrusted code, and secrets are never written to files."""

import json
import subprocess
import sys

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from firstlight import evaluate, predict, train
from firstlight.callbacks.weights_and_biases.code_snapshot import list_code_files, list_files_without_secrets
from firstlight.checkpoint.io import load_checkpoint
from firstlight.config.compose import compose_config
from firstlight.config.instantiate import locate
from firstlight.config.options import load_trusted_packages
from firstlight.config.untrusted import select_run_config
from firstlight.config.validate import validate_config, validate_node
from firstlight.model.load import load_model
from firstlight.page.render import render
from firstlight.run.errors import CheckpointError, ConfigError
from firstlight.run.files import ENGINE_KEY, append_checksum
from firstlight.run.redaction import PLACEHOLDER
from firstlight.run.secret_values import is_distinctive
from firstlight.run_data.collect import collect_report
from support.checkout import ROOT
from support.fake_secrets import iter_secrets
from support.options import get_tiny_model, make_tiny_overrides
from support.pickles import MaliciousPickle
from support.tiny_training import OVERRIDES

UNTRUSTED_TARGETS = [
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
# Starts a program on construction.
PROCESS_STARTER = "torch.distributed.elastic.multiprocessing.subprocess_handler.subprocess_handler.SubprocessHandler"
SECRETS = {"WANDB_API_KEY": "local-" + "0123456789abcdef" * 2 + "01234567", "HF_TOKEN": "hf_DistinctiveTokenOfATest"}


@pytest.mark.parametrize("target", UNTRUSTED_TARGETS)
def test_validation_rejects_untrusted_target(target):
    with pytest.raises(ConfigError, match=r"^('.*' is not from a trusted package \(firstlight, |Cannot find class ')"):
        validate_node("optimizer", {"_target_": target})


@pytest.mark.parametrize("group", ["model", "scheduler", "callbacks.curves"])
def test_validation_covers_every_group(compose_cfg, group):
    with pytest.raises(ConfigError, match=r"'os.system' is not from a trusted package \(firstlight, "):
        validate_config(compose_cfg("logger=none", f"{group}._target_=os.system"))


@pytest.mark.parametrize(
    "target", [*UNTRUSTED_TARGETS, PROCESS_STARTER, "torch.hub.load", "torch.package.PackageImporter"]
)
def test_locate_rejects_unneeded_target(target):
    with pytest.raises(ConfigError, match=r"(is not from a trusted package|Cannot find class|cannot be a _target_)"):
        locate(target)


def test_error_names_file_of_trusted_packages():
    with pytest.raises(ConfigError) as caught:
        locate("timm.optim.Lion")

    assert str(caught.value) == (
        f"'timm.optim.Lion' is not from a trusted package ({', '.join(load_trusted_packages())}). To allow it, add its "
        "package to configs/trusted.yaml."
    )


@pytest.mark.parametrize("target", ["torch.optim.RMSprop", "lightning.pytorch.loggers.TensorBoardLogger"])
def test_locate_accepts_other_classes_of_trusted_packages(target):
    assert locate(target).__name__ == target.rpartition(".")[2]


def write_untrusted_run(run_dir, checkpoint, **changes):
    """Write a run directory as a stranger might, with changes to its config."""
    config = OmegaConf.to_container(
        compose_config("train", [*make_tiny_overrides(get_tiny_model()), f"output_dir={run_dir}"]), resolve=True
    )
    (run_dir / "checkpoints").mkdir(parents=True)
    (run_dir / "run.json").write_text(json.dumps({"status": "interrupted", "loggers": {}}))
    (run_dir / "config.yaml").write_text(append_checksum(OmegaConf.to_yaml(OmegaConf.create({**config, **changes}))))
    torch.save(checkpoint, run_dir / "checkpoints" / "last.ckpt")


@pytest.mark.parametrize("command", [evaluate, predict, train])
def test_pickle_in_checkpoint_is_rejected(tmp_path, command):
    run_dir, marker = tmp_path / "run", tmp_path / "marker"
    write_untrusted_run(run_dir, {ENGINE_KEY: {"model_kwargs": {}}, "state_dict": MaliciousPickle(marker)})
    name = command.__name__.rpartition(".")[2]
    override = f"resume={run_dir}" if command is train else f"run={run_dir}"

    with pytest.raises(CheckpointError, match=r"last.ckpt is corrupt or not a checkpoint \(UnpicklingError\)\. Use an"):
        command.main(compose_config(name, [override, *([f"input={tmp_path}"] if command is predict else [])]))
    assert not marker.exists()


@pytest.mark.parametrize("target", ["os.system", PROCESS_STARTER])
def test_checkpoint_cannot_instantiate_untrusted_class(tmp_path, target):
    node = {"_target_": target, "entrypoint": "touch", "args": [str(tmp_path / "marker")]}
    saved = {ENGINE_KEY: {"config": {"model": node}, "model_kwargs": {}}, "state_dict": {}}
    torch.save(saved, tmp_path / "last.ckpt")

    with pytest.raises(ConfigError, match=rf"'{target}' (is not from a trusted package|cannot be a _target_)"):
        load_model(load_checkpoint(tmp_path / "last.ckpt"))
    assert not (tmp_path / "marker").exists()


def test_saved_config_cannot_add_hydra_callbacks(tmp_path):
    callback = {"_target_": PROCESS_STARTER, "entrypoint": "touch", "args": [str(tmp_path / "marker")]}
    write_untrusted_run(tmp_path / "run", {}, hydra={"callbacks": {"untrusted": callback}})
    cfg = compose_config("evaluate", [f"run={tmp_path / 'run'}"], hydra=True)

    assert "untrusted" not in (cfg.hydra.callbacks or {})


def test_code_snapshot_excludes_secret_files(tmp_path):
    secret = [".env", ".env.local", "prod.env", "server.pem", "tls.key", "id_rsa", "id_ed25519.pub", ".netrc"]
    secret += ["aws/credentials", "gcp_credentials.json", "secrets.yaml", ".pypirc"]
    for name in [*secret, "src/main.py", "src/secret.py", "configs/train.yaml"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "notes.txt").symlink_to("/etc/hostname")
    # .envrc is direnv's file of environment variables.
    (tmp_path / ".envrc").write_text("x")
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    assert {"src/main.py", "src/secret.py", "configs/train.yaml"} == {str(path) for path in list_code_files(tmp_path)}


def test_code_snapshot_leaves_out_files_with_secrets(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CLUSTER_TOKEN", "aA1-distinctive")
    monkeypatch.setenv("DB_PASSWORD", "firstlight")  # an ordinary word
    texts = dict(
        enumerate(text for text, secret in iter_secrets() if is_distinctive(secret) and not PLACEHOLDER.search(secret))
    )
    for name, text in {**texts, "known": "x = 'aA1-distinctive'", "url": "https://me:" + "hX7-pq9-Lm2@host"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    safe = {"main": "import firstlight", "call": "connect(password=password)", "url2": "https://{user}:{password}@host"}
    for name, text in safe.items():
        (tmp_path / f"{name}.py").write_text(text)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)

    assert {f"{name}.py" for name in safe} == {str(path) for path in list_files_without_secrets(tmp_path)}
    assert len(texts) > 40
    assert "Left out of the code snapshot, because they contain a secret: " in capsys.readouterr().out


def test_code_snapshot_contains_all_files_of_the_engine():
    assert list_files_without_secrets(ROOT) == list_code_files(ROOT)


def find_files_containing(directory, texts):
    """Return the files in a directory whose contents or path contain one of the texts."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    matches = {path for path in files for text in texts if text.encode() in path.read_bytes() or text in str(path)}
    return sorted(str(path.relative_to(directory)) for path in matches)


def plant_secrets_in_sources(root, packages, secrets):
    """Create a repository with an uncommitted file that contains secrets, and a package from a URL with a token."""
    (root / "src").mkdir(parents=True)
    git = ["git", "-C", str(root), "-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message=first"], check=True)
    (root / "src/net.py").write_text("\n".join([f"wandb.login({secrets[0]})", *secrets]))
    (packages / "private-1.dist-info").mkdir(parents=True)
    url = f"https://{secrets[0]}@example.com/x.whl?token={secrets[0]}"
    (packages / "private-1.dist-info/direct_url.json").write_text(json.dumps({"url": url}))


def test_no_file_of_a_run_contains_secrets(tmp_path, monkeypatch):
    key, token = SECRETS.values()
    overrides = [override for override in OVERRIDES if override != "logger=none"]
    overrides += [
        f"output_dir={tmp_path / 'run'}",
        f"name=of-{token}",
        f"tags=[{token}]",
        f"logger.wandb.notes=by {key}",
    ]
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    cfg = compose_config("train", overrides, hydra=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", cfg.copy())
    monkeypatch.setattr(sys, "argv", ["train.py", *overrides])
    with open_dict(cfg):
        del cfg.hydra
        cfg.logger.wandb.notes = "\n".join([cfg.logger.wandb.notes, *(text for text, _ in iter_secrets())])
    plant_secrets_in_sources(tmp_path / "project", tmp_path / "packages", [key, *(text for text, _ in iter_secrets())])
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.syspath_prepend(tmp_path / "packages")
    train.main(cfg)
    (tmp_path / "run" / "report.html").write_text(render(collect_report([tmp_path / "run"])))

    formats = [secret for text, secret in iter_secrets() if is_distinctive(secret)]
    assert len(formats) > 40
    assert find_files_containing(tmp_path / "run", [*SECRETS.values(), *formats]) == []
    assert "+wandb.login(***)" in (tmp_path / "run" / "provenance" / "uncommitted.diff").read_text()
    assert "\nprivate @ https://example.com/x.whl # 1\n" in (tmp_path / "run/provenance/packages.txt").read_text()
    assert "of-***" in (tmp_path / "run" / "config.yaml").read_text()
    assert list(tmp_path.glob("run/wandb/offline-run-*/run-*.wandb"))
    assert (tmp_path / "run" / "checkpoints" / "best.ckpt").is_file()


def test_saved_config_cannot_allow_remote_code_at_any_depth(tmp_path):
    saved = {"model": {"trust_remote_code": True, "parts": [{"x": {"trust_remote_code": True}}]}, "callbacks": {}}
    saved["callbacks"]["x"] = {"_target_": "firstlight.model.text_classifier.TextClassifier", "trust_remote_code": True}
    stripped = OmegaConf.to_yaml(select_run_config(OmegaConf.create(saved), tmp_path, groups=["callbacks"]))

    assert "trust_remote_code: true" not in stripped
    assert stripped.count("trust_remote_code: false") == 3
