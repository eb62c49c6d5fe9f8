"""No file that Hydra or a launcher writes contains a secret."""

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from firstlight.cli.hydra_files import redact_hydra_files
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError
from firstlight.sweep.launcher.setup_commands import validate_setup
from support.sweep_in_process import make_sweep_runner
from support.sweep_process import run_sweep as run_sweep_in_processes
from support.tiny_training import NO_PLOTS, OVERRIDES

SECRETS = {"HF_TOKEN": "hf_Distinctive1", "DB_PASSWORD": "a 'b' c1"}
TAGS = "tags=[of-hf_Distinctive1,'a \\'b\\' c1','postgres://u:hX7-pq9@h/db']"
TEXTS = ("hf_Distinctive1", "b' c1", "b\\' c1", "hX7-pq9")


def find_files_with_secrets(directory):
    """Return the files that contain a secret."""
    files = [path for path in directory.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(text.encode() in path.read_bytes() for text in TEXTS)]


def test_no_file_of_a_sweep_contains_secrets(tmp_path, monkeypatch, capsys):
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    run_sweep = make_sweep_runner(monkeypatch, tmp_path, capsys, *OVERRIDES, *NO_PLOTS)
    code, output = run_sweep(TAGS, "seed=0", "hydra.output_subdir=.hydra")

    assert code == 0, output
    (sweep_dir,) = tmp_path.glob("logs/sweep/*")
    assert (sweep_dir / "multirun.yaml").is_file()
    assert len(list(sweep_dir.glob("*/.hydra/*.yaml"))) == 3
    assert find_files_with_secrets(tmp_path) == []
    config = OmegaConf.load(next(sweep_dir.glob("0*/config.yaml")))
    assert config.tags == ["of-***", "***", "postgres://u:***@h/db"]


@pytest.mark.slow
def test_no_file_of_submitit_contains_secrets(tmp_path):
    code, output, sweep_dir = run_sweep_in_processes(tmp_path, TAGS, "seed=0", "launcher=submitit_local", **SECRETS)

    assert code == 0, output
    assert list(sweep_dir.glob(".submitit/*/*_submitted.pkl"))
    assert find_files_with_secrets(tmp_path) == []


def test_files_of_hydra_are_redacted(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRETS["HF_TOKEN"])
    cfg = compose_config("train", [*OVERRIDES, f"hydra.runtime.output_dir={tmp_path}"], hydra=True)
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.merge(cfg, {"hydra": {"output_subdir": "h"}}))
    (tmp_path / "h").mkdir()
    (tmp_path / "h/config.yaml").write_text("notes: ${seed} of hf_Distinctive1\nlogger: {x: {api_key: abc}}\n")
    (tmp_path / "h/overrides.yaml").write_text("- +notes=hf_Distinctive1\n- +logger.x.api_key=abc\n")
    redact_hydra_files()

    expected = {"notes": "${seed} of ***", "logger": {"x": {"api_key": "***"}}}
    assert OmegaConf.to_container(OmegaConf.load(tmp_path / "h/config.yaml")) == expected
    assert OmegaConf.load(tmp_path / "h/overrides.yaml") == ["+notes=***", "+logger.x.api_key=***"]


def test_secret_in_setup_command_of_slurm_is_rejected():
    with pytest.raises(
        ConfigError, match=r"launcher.setup\[1\] contains a secret, .*: 'export API_KEY=\*\*\*'. Export"
    ):
        validate_setup(["module load cuda", "export API_KEY=abc"])
