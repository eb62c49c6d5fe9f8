"""Invalid configs are rejected in one line, before heavy packages are imported."""

import ast
import math

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf, open_dict

from firstlight.config.annotations import describe_annotation, matches_annotation
from firstlight.config.compose import compose_config
from firstlight.config.instantiate import instantiate_entries
from firstlight.config.options import load_yaml
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, MissingPackageError
from support.options import QUICK_OVERRIDES, get_modality, get_tiny_model, list_options

GROUPS = ["callbacks", "data", "experiment", "logger", "model", "optimizer", "scheduler", "trainer"]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in list_options(group)])
def test_every_option_of_every_group_composes(compose_cfg, group, name):
    model = [f"model={get_tiny_model(get_modality(group, name))}"] if group == "data" else []
    try:
        validate_config(compose_cfg(f"{group}={name}", *model))
    except MissingPackageError as error:
        pytest.skip(str(error))


# Key, invalid value, and the beginning of the message.
INVALID_SETTINGS = [
    ("data.batchsize", 8, "Unknown setting 'data.batchsize'. Did you mean 'data.batch_size'?"),
    ("sead", 5, "Unknown setting 'sead'. Did you mean 'seed'?"),
    ("trainer.max_epoch", 5, "Unknown setting 'trainer.max_epoch'. Did you mean 'trainer.max_epochs'?"),
    ("optimizer.weight_deacy", 0.1, "Unknown setting 'optimizer.weight_deacy'. Did you mean 'optimizer.weight_de"),
    (
        "callbacks.best.filenam",
        "x",
        "Unknown setting 'callbacks.best.filenam'. Did you mean 'callbacks.best.fi",
    ),
    ("callbacks.curvs", None, "Unknown setting 'callbacks.curvs'. Did you mean 'callbacks.curves'?"),
    ("data.batch_size", "abc", "Invalid value for data.batch_size: expected an integer, got 'abc'."),
    ("data.batch_size", True, "Invalid value for data.batch_size: expected an integer, got true."),
    ("data.drop_last", 3, "Invalid value for data.drop_last: expected true or false, got 3."),
    ("optimizer.lr", "fast", "Invalid value for optimizer.lr: expected a number, got 'fast'."),
    (
        "trainer.deterministic",
        "maybe",
        "Invalid value for trainer.deterministic: expected true or false, warn or null, got",
    ),
    ("seed", "abc", "Invalid value for seed: expected an integer, got 'abc'."),
    ("seed", None, "Invalid value for seed: expected an integer, got null."),
    ("seed", -1, "Invalid value for seed: expected a value between 0 and 4,294,967,295, got -1."),
    (
        "data.batch_size",
        0,
        "Invalid value for data.batch_size: expected a value between 1 and 1,000,000,000, got 0.",
    ),
    (
        "optimizer.lr",
        math.nan,
        "Invalid value for optimizer.lr: expected a finite number that fits into 64 bits, got nan.",
    ),
    (
        "optimizer.weight_decay",
        -1.0,
        "Invalid value for optimizer.weight_decay: expected a value of at least 0, got -1.0.",
    ),
    ("callbacks.curves", -1, "callbacks.curves has no _target_"),
    (
        "model",
        None,
        "Invalid value for model: expected a config with a _target_, got null. Use model=<option>.",
    ),
    ("tags", "abc", "Invalid value for tags: expected a list such as [a,b], got 'abc'."),
    (
        "model._target_",
        "firstlight.trainer.trainer.Trainr",
        "Cannot find class 'firstlight.trainer.trainer.Trainr'.",
    ),
]


@pytest.mark.parametrize(("key", "value", "message"), INVALID_SETTINGS)
def test_invalid_setting_is_rejected(compose_cfg, key, value, message):
    cfg = compose_cfg()
    with open_dict(cfg):
        OmegaConf.update(cfg, key, value, force_add=True)

    with pytest.raises(ValueError) as caught:
        validate_config(cfg)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model=tiny_text", "data=fake_images"],
            "TinyText expects text, but FakeImageDataModule provides images. Use another dataset, e.g. data=",
        ),
        (
            ["model=tiny_images", "data=fake_text"],
            "TinyImages expects images, but FakeTextDataModule provides text. Use another dataset, e.g. data=",
        ),
        (
            ["model=tiny_images_regressor", "data.task=multilabel"],
            "TinyImagesRegressor expects regression labels, but FakeImageDataModule provides multilabel labels. "
            "Set data.task=regression, or null.",
        ),
        (
            ["model=tiny_images", "data=image_folder", "data.task=multilabel"],
            "TinyImages expects classification labels, but ImageFolderDataModule provides multilabel labels. Set data",
        ),
        (
            ["model=tiny_text_multilabel", "data=hub_text"],
            "TinyTextMultiLabel expects multilabel labels, but HubTextDataModule provides classification labels. Use "
            "another model, or a dataset with such labels, e.g. data=fake_text.",
        ),
    ],
)
def test_incompatible_model_and_dataset_are_rejected(compose_cfg, overrides, message):
    with pytest.raises(ValueError) as caught:
        validate_config(compose_cfg(*overrides))
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(("name", "fix"), [("model", "Add the section"), ("callbacks", "Use callbacks=none")])
def test_missing_config_section_is_rejected(compose_cfg, name, fix):
    cfg = compose_cfg()
    with open_dict(cfg):
        del cfg[name]

    with pytest.raises(ValueError, match=f"Missing config section '{name}'. {fix}"):
        validate_config(cfg)


@pytest.mark.parametrize(
    "content", ["a: [", "- a", "5", "defaults: 5", "a: 1\na: 2", "[" * 3000, "a: !!python/name:os.x"]
)
def test_unreadable_config_file_is_named(tmp_path, content):
    (tmp_path / "x.yaml").write_text(content)

    with pytest.raises(ValueError, match=r"^Cannot parse .*x\.yaml: .+ Fix the file, or restore it\b") as caught:
        load_yaml(tmp_path / "x.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_seed_zero_is_valid(compose_cfg):
    validate_config(compose_cfg("seed=0"))


def test_model_selects_dataset_and_command_line_overrides_it(compose_cfg):
    cfg = compose_cfg("model=tiny_mlp")

    assert cfg.data._target_ == "firstlight.data.fake_images.FakeImageDataModule"
    assert (cfg.optimizer.lr, cfg.model.width) == (0.1, 4)
    assert compose_cfg("model=tiny_mlp", "data=image_folder").data._target_.endswith(".ImageFolderDataModule")
    assert compose_cfg("model=tiny_mlp", "optimizer=adamw", "optimizer.lr=7").optimizer.lr == 7
    assert compose_cfg("model=tiny_mlp", "model.width=5").model.width == 5


def test_wandb_logger_adds_its_callbacks(compose_cfg):
    assert "code_snapshot" in compose_cfg().callbacks
    assert "code_snapshot" not in compose_cfg(*QUICK_OVERRIDES).callbacks


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
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
def test_matches_annotation(annotation, value, expected):
    assert expected == matches_annotation(ast.parse(annotation, mode="eval").body, value)


@pytest.mark.parametrize(
    ("annotation", "description"),
    [
        ("int | None", "an integer or null"),
        ("Optional[Union[int, str]]", "an integer, a string or null"),
        ("typing.Optional[Literal['min', 'max']]", "min, max or null"),
        ("dict[str, Any] | list[int]", "a mapping or a list such as [a,b]"),
        ("float | Tensor", "a number"),
    ],
)
def test_annotations_are_described_in_words(annotation, description):
    assert description == describe_annotation(ast.parse(annotation, mode="eval").body)


def test_callback_keys_of_a_model_are_ignored_without_callbacks(compose_cfg):
    cfg = compose_cfg("callbacks=none")
    with open_dict(cfg):
        cfg.callbacks = {"best": {"monitor": "val/iou"}}

    validate_config(cfg)
    assert instantiate_entries(cfg.callbacks) == []


def test_callback_keys_of_the_command_line_need_the_callback():
    cfg = compose_config("train", ["callbacks=none", "+callbacks.best.monitor=val/iou", "output_dir=logs"], hydra=True)
    HydraConfig.instance().set_config(cfg)
    try:
        with open_dict(cfg):
            cfg.pop("hydra")
        with pytest.raises(ConfigError, match="callbacks.best has no _target_"):
            validate_config(cfg)
    finally:
        HydraConfig.instance().cfg = None


def test_key_of_two_commands_has_the_type_of_the_composed_command():
    with pytest.raises(ConfigError, match="Invalid value for compare: expected true or false, got 3"):
        validate_config(compose_config("benchmark", ["compare=3"]))
    validate_config(compose_config("runs", ["compare=[a,b]"]))


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_package_of_a_logger_is_checked_first(compose_cfg, monkeypatch, name):
    monkeypatch.setattr("firstlight.config.validate.is_installed", lambda package: package != name)
    expected = (
        f"logger.{name} requires the '{name}' package, which is not installed. Install it with "
        f"`uv pip install -e '.[{name}]'`, or add '{name}' to `extras` in pyproject.toml and run `make setup`."
    )
    with pytest.raises(MissingPackageError) as caught:
        validate_config(compose_cfg(f"logger={name}"))
    assert str(caught.value) == expected


def test_empty_list_of_loggers_is_rejected(compose_cfg):
    with pytest.raises(ConfigError, match="Missing config section 'logger'. Use logger=none."):
        validate_config(compose_cfg("logger=[]"))
