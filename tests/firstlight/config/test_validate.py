"""A configuration is refused in one sentence, before anything heavy is imported."""

import ast
import math

import pytest
from omegaconf import OmegaConf, open_dict

from firstlight.config.options import load_yaml
from firstlight.config.schema import matches_annotation
from firstlight.config.validate import validate_config
from support.options import QUICK_OVERRIDES, get_modality, get_tiny_model, list_options

GROUPS = ["callbacks", "data", "experiment", "logger", "model", "optimizer", "scheduler", "trainer"]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in list_options(group)])
def test_every_choice_of_every_group_composes(compose_cfg, group, name):
    reader = [f"model={get_tiny_model(get_modality(group, name))}"] if group == "data" else []
    validate_config(compose_cfg(f"{group}={name}", *reader))


@pytest.mark.parametrize(
    ("setting", "value", "sentence"),
    [
        ("data.batchsize", 8, "There is no setting data.batchsize: did you mean data.batch_size?"),
        ("sead", 5, "There is no setting sead: did you mean seed?"),
        ("trainer.max_epoch", 5, "There is no setting trainer.max_epoch: did you mean trainer.max_epochs?"),
        ("optimizer.weight_deacy", 0.1, "There is no setting optimizer.weight_deacy: did you mean optimizer.weight_de"),
        (
            "callbacks.best.filenam",
            "x",
            "There is no setting callbacks.best.filenam: did you mean callbacks.best.fi",
        ),
        ("callbacks.curvs", None, "There is no setting callbacks.curvs: did you mean callbacks.curves?"),
        ("data.batch_size", "abc", "data.batch_size is int, but data.batch_size='abc'"),
        ("data.batch_size", True, "data.batch_size is int, but data.batch_size=True"),
        ("data.drop_last", 3, "data.drop_last is bool, but data.drop_last=3"),
        ("optimizer.lr", "fast", "optimizer.lr is float | Tensor, but optimizer.lr='fast'"),
        ("trainer.deterministic", "maybe", "trainer.deterministic is bool | Literal['warn'] | None, but"),
        ("seed", "abc", "seed is a whole number, but seed='abc'"),
        ("seed", None, "seed is a whole number, but seed=None"),
        ("seed", -1, "seed is 0 to 4,294,967,295, but seed=-1"),
        ("data.batch_size", 0, "data.batch_size is 1 to 1,000,000,000, but data.batch_size=0"),
        ("data.batch_size", "auto", "data.batch_size is int, but data.batch_size='auto'"),
        ("optimizer.lr", math.nan, "optimizer.lr is a number that fits into 64 bits, but optimizer.lr=nan"),
        ("optimizer.weight_decay", -1.0, "optimizer.weight_decay is 0 or more, but optimizer.weight_decay=-1.0"),
        ("callbacks.curves", -1, "callbacks.curves has no _target_"),
        ("data", None, "data is a choice with a _target_, but it is None"),
        ("tags", "abc", "tags is a list [a,b], but tags='abc'"),
        ("model._target_", "firstlight.trainer.trainer.Trainr", "There is no firstlight.trainer.trainer.Trainr"),
    ],
)
def test_a_wrong_setting_is_refused_in_a_sentence(compose_cfg, setting, value, sentence):
    cfg = compose_cfg()
    with open_dict(cfg):
        OmegaConf.update(cfg, setting, value, force_add=True)

    with pytest.raises(ValueError) as refused:
        validate_config(cfg)
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["model=tiny_text", "data=fake_images"],
            "TinyText reads text, but FakeImages yields images: choose another data=, e.g. data=",
        ),
        (
            ["model=tiny_images", "data=fake_text"],
            "TinyImages reads images, but FakeText yields text: choose another data=, e.g. data=",
        ),
    ],
)
def test_a_model_that_cannot_read_the_data_is_refused(compose_cfg, overrides, sentence):
    with pytest.raises(ValueError) as refused:
        validate_config(compose_cfg(*overrides))
    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("name", ["model", "optimizer", "callbacks", "seed"])
def test_a_training_without_one_of_its_parts_is_refused(compose_cfg, name):
    cfg = compose_cfg()
    with open_dict(cfg):
        del cfg[name]

    with pytest.raises(ValueError, match=f"A training has a {name}, but the configuration has none"):
        validate_config(cfg)


@pytest.mark.parametrize(
    "content", ["a: [", "- a", "5", "defaults: 5", "a: 1\na: 2", "[" * 3000, "a: !!python/name:os.x"]
)
def test_a_file_that_holds_no_settings_is_named(tmp_path, content):
    (tmp_path / "x.yaml").write_text(content)

    with pytest.raises(ValueError, match=r"x\.yaml holds no settings that can be read \(.+\): mend it") as refused:
        load_yaml(tmp_path / "x.yaml")
    assert len(str(refused.value).splitlines()) == 1


def test_zero_is_a_seed(compose_cfg):
    validate_config(compose_cfg("seed=0"))


def test_a_model_brings_its_data_and_the_command_line_wins(compose_cfg):
    brought = compose_cfg("model=tiny_mlp")

    assert brought.data._target_ == "firstlight.data.fake_images.FakeImageDataModule"
    assert (brought.optimizer.lr, brought.model.width) == (0.1, 4)
    assert compose_cfg("model=tiny_mlp", "data=image_folder").data._target_.endswith(".ImageFolder")
    assert compose_cfg("model=tiny_mlp", "optimizer=adamw", "optimizer.lr=7").optimizer.lr == 7
    assert compose_cfg("model=tiny_mlp", "model.width=5").model.width == 5


def test_wandb_brings_its_callbacks_and_none_takes_them_away(compose_cfg):
    assert "code_snapshot" in compose_cfg().callbacks
    assert "code_snapshot" not in compose_cfg(*QUICK_OVERRIDES).callbacks


@pytest.mark.parametrize(
    ("annotation", "value", "fits"),
    [
        ("int | None", None, True),
        ("Optional[int]", None, True),
        ("Union[int, str]", "a", True),
        ("list[int]", [1, 2], True),
        ("list[int]", [1, "b"], False),
        ("float", 1, True),
        ("int", 1.5, False),
        ("str", 3, False),
        ("dict[str, Any] | None", "x", False),
        ("Literal['a', 'b']", "c", False),
        ("SomeAlias", 3, True),
    ],
)
def test_values_are_held_against_annotations(annotation, value, fits):
    assert fits == matches_annotation(ast.parse(annotation, mode="eval").body, value)
