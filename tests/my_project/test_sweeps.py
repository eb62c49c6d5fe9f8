"""Each W&B sweep in sweeps/ composes. Sweeps over deleted models are skipped."""

import pytest
import yaml

from firstlight import wandb_sweep
from firstlight.config.compose import compose_config
from support.checkout import ROOT
from support.options import list_project_options

SWEEP_FILES = sorted((ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", SWEEP_FILES, ids=lambda file: file.stem)
def test_sweep_composes(file, capsys):
    model = yaml.safe_load(file.read_text())["parameters"].get("model", {})
    models = set(model.get("values", [model["value"]] if "value" in model else []))
    if missing := models - set(list_project_options("model")):
        pytest.skip(f"configs/model has no {', '.join(map(str, sorted(missing)))}")

    assert wandb_sweep.main(compose_config("wandb_sweep", [f"file={file}", "dry_run=true"]))["sweep_id"] is None
    assert "python -m firstlight.train " in capsys.readouterr().out
