"""Overrides are kept as they were given."""

from firstlight.config.compose import compose_config
from firstlight.run.overrides import list_overrides


def test_interpolations_of_overrides_stay_unresolved():
    given = [
        "model=tiny_mlp",
        "+callbacks.more={_target_: lightning.pytorch.callbacks.Timer, dirpath: '${output_dir}/a'}",
    ]
    cfg = compose_config("train", given, hydra=True)

    assert list_overrides(cfg.hydra) == given


def test_there_are_no_overrides_without_hydra():
    assert list_overrides() == []
