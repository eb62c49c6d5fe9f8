"""Each sweep of W&B in sweeps/ can be trained; one over a model that was deleted is skipped."""

import pytest
import yaml

from firstlight import wandb_sweep
from firstlight.config.compose import compose_config as composed_from
from support.checkout import ROOT
from support.options import list_project_options

STORED = sorted((ROOT / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize("file", STORED, ids=lambda file: file.stem)
def test_a_stored_sweep_composes(file, capsys):
    model = yaml.safe_load(file.read_text())["parameters"].get("model", {})
    missing = set(model.get("values", [model["value"]] if "value" in model else [])) - set(
        list_project_options("model")
    )
    if missing:
        pytest.skip(f"configs/model has no {', '.join(map(str, sorted(missing)))}")

    assert wandb_sweep.main(composed_from("wandb_sweep", [f"file={file}", "dry_run=true"])) is None
    assert "python -m firstlight.train " in capsys.readouterr().out
