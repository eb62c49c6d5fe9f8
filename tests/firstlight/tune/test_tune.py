"""Tests of `make tune`: which settings it chooses, what it excludes, and what an interruption leaves."""

import json
import re
from pathlib import Path

import pytest

from firstlight.build import resolve_auto_settings
from firstlight.config.compose import compose_config
from firstlight.run.errors import ConfigError
from firstlight.run.files import to_plain_dict
from firstlight.trial.recorders import StepRecorder
from firstlight.trial.runner import TrialRunner
from firstlight.trial.tuned import TUNED_FILE, find_entry
from firstlight.tune import __main__ as tune
from firstlight.tune.candidates import SAFE_VALUES
from firstlight.tune.correctness import TOLERANCES, find_mismatch, make_reference
from firstlight.tune.search import CoordinateSearch, Trial
from support.planted_kernels import plant

# Only the memory format is left to choose.
OVERRIDES = ["model=tiny_images", "data=fake_images", "data.num_samples=8", "data.num_classes=2", "data.batch_size=4"]
OVERRIDES += ["data.image_size=8", "trainer.accelerator=cpu", "trainer.precision=32-true"]
OVERRIDES += ["trainer.fused_optimizer=true", "minutes=0.05"]
MODULES = ["plain_gan", "plain_autoencoder", "plain_two_loaders", "plain_layers_in_setup", "plain_char_gpt"]
MODULES += ["plain_detector"]


@pytest.fixture(autouse=True)
def change_directory(tmp_path, monkeypatch):
    """Use an empty directory as the checkout."""
    monkeypatch.chdir(tmp_path)


def run_tune(*overrides):
    """Return the entry that `make tune` writes."""
    return tune.main(compose_config("tune", [*OVERRIDES, *overrides]))


def search_memory_format(trials=None, on_trial=lambda: None):
    """Return the trials and the choice of a search between the two memory formats; the default is channels_last."""
    runner = TrialRunner(to_plain_dict(resolve_auto_settings(compose_config("tune", OVERRIDES))))
    search = CoordinateSearch(runner, 10, {} if trials is None else trials, on_trial)
    search.trial_s = 0.01
    start = {**SAFE_VALUES, "channels_last": True, "fused_optimizer": True}
    chosen = search.run(start, {"channels_last": [{"channels_last": True}, {"channels_last": False}]})
    return search.trials, chosen["channels_last"]


@pytest.mark.slow
@pytest.mark.parametrize("slow", [True, False])
def test_slow_setting_is_not_chosen(slow, monkeypatch):
    plant(monkeypatch, slow=slow)
    trials, chosen = search_memory_format()

    assert chosen is not slow
    assert [trial.problem for trial in trials.values()] == ["", ""]


@pytest.mark.slow
def test_fast_but_wrong_setting_is_excluded(monkeypatch, capsys):
    plant(monkeypatch, slow=False, wrong=True)
    trials, chosen = search_memory_format()
    wrong, right = trials.values()

    assert chosen is False
    assert re.fullmatch(r"(loss|gradient norm) differs by [\d.]+% from float32 \(tolerance [\d.]+%\)", wrong.problem)
    assert right.problem == ""
    assert f"excluded: {wrong.problem}" in capsys.readouterr().out


@pytest.mark.slow
def test_setting_that_ended_the_process_is_not_tried_again():
    name = json.dumps({**SAFE_VALUES, "channels_last": True, "fused_optimizer": True}, sort_keys=True)
    trials, chosen = search_memory_format({name: Trial(problem="the process ended during this trial")})

    assert chosen is False
    assert trials[name].seconds is None


@pytest.mark.slow
def test_command_writes_the_entry():
    entry = run_tune()

    assert entry["is_complete"]
    assert entry["trainer"].keys() == {"channels_last"}
    assert entry.pop("file") == str(TUNED_FILE)
    assert json.loads(TUNED_FILE.read_text())["entries"] == [json.loads(json.dumps(entry))]


@pytest.mark.slow
def test_interrupted_search_keeps_its_trials(monkeypatch, capsys):
    run, calls = TrialRunner.run, []

    def interrupt(*args, **kwargs):
        calls.append(None)
        if len(calls) == 5:  # after the timing and the check of the default
            raise KeyboardInterrupt
        run(*args, **kwargs)

    monkeypatch.setattr(TrialRunner, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_tune("minutes=0.5")
    (partial,) = json.loads(TUNED_FILE.read_text())["entries"]
    run_tune("minutes=0.5")
    (complete,) = json.loads(TUNED_FILE.read_text())["entries"]

    assert not partial["is_complete"]
    assert [trial["problem"] for trial in partial["trials"].values()] == ["", ""]
    assert "resuming  an interrupted search with 2 trials" in capsys.readouterr().out
    assert complete["is_complete"]
    assert list(complete["trials"])[:1] == list(partial["trials"])[:1]


@pytest.mark.slow
def test_earlier_result_stays_in_use_until_a_new_search_is_complete(monkeypatch):
    complete = run_tune()
    monkeypatch.setattr(TrialRunner, "run", raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_tune()

    entry, reason = find_entry(complete["key"])
    assert reason == ""
    assert entry["trainer"] == complete["trainer"]


def raise_interrupt(*args, **kwargs):
    raise KeyboardInterrupt


@pytest.mark.slow
def test_callbacks_and_limits_of_the_user_do_not_reach_the_trials(tmp_path):
    overrides = ["model=plain_own_callbacks", "data=none", "trainer.accelerator=cpu", "minutes=0.05"]
    entry = tune.main(compose_config("tune", [*overrides, "+trainer.min_steps=200"]))

    assert entry["is_complete"]
    assert [trial["problem"] for trial in entry["trials"].values()] == [""] * len(entry["trials"])
    assert not list(Path.cwd().rglob("*.ckpt"))


@pytest.mark.slow
def test_directory_that_is_not_writable(capsys):
    Path("logs").write_text("a file")
    entry = run_tune()
    out = capsys.readouterr().out

    assert entry["is_complete"]
    assert out.count("Cannot write logs/tuned.json: ") == 1
    assert "settings  not saved; to set the values yourself: make train trainer.precision=32-true" in out


@pytest.mark.slow
@pytest.mark.parametrize("model", MODULES)
def test_any_module_is_tuned(model):
    entry = tune.main(compose_config("tune", [f"model={model}", "trainer.accelerator=cpu", "minutes=0.05"]))

    assert entry["is_complete"]
    assert [trial["problem"] for trial in entry["trials"].values()] == [""] * len(entry["trials"])


def test_nothing_to_choose():
    with pytest.raises(ConfigError, match="No setting is left to tune: the config sets all"):
        run_tune("trainer.channels_last=true")


@pytest.mark.parametrize("minutes", ["0", "-1"])
def test_invalid_minutes(minutes):
    with pytest.raises(ConfigError, match="Invalid value for minutes: expected a positive number"):
        run_tune(f"minutes={minutes}")


def make_recorder(losses, norms, update):
    """Return a recorder with these results."""
    recorder = StepRecorder(len(losses), seed=0, lr_factor=1.0)
    recorder.losses, recorder.gradient_norms, recorder.update_norm = losses, norms, update
    return recorder


@pytest.mark.parametrize("precision", list(TOLERANCES))
@pytest.mark.parametrize("position", [0, 1, 2])
def test_tolerance_of_each_precision(precision, position):
    exact = make_recorder([2.0, 1.0], [8.0, 4.0], 1.0)
    reference = make_reference(exact, exact)
    limit = TOLERANCES[precision].loss if position == 0 else TOLERANCES[precision].gradient

    def change(factor):
        scales = [factor if index == position else 1.0 for index in range(3)]
        return make_recorder([2.0 * scales[0], 1.0], [8.0 * scales[1], 4.0], 1.0 * scales[2])

    assert find_mismatch(reference, change(1 + 0.9 * limit), precision) == ""
    assert "differs by" in find_mismatch(reference, change(1 + 1.1 * limit), precision)


def test_randomness_of_the_model_widens_the_tolerance():
    first, second = make_recorder([1.0], [1.0], 1.0), make_recorder([1.2], [1.0], 1.0)
    reference = make_reference(first, second)

    assert find_mismatch(reference, make_recorder([1.5], [1.0], 1.0), "32-true") == ""
    assert find_mismatch(reference, make_recorder([1.7], [1.0], 1.0), "32-true").startswith("loss differs by 70.0%")
