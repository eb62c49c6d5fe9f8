"""Fixtures shared by all tests of the project, and an environment without a network."""

import re

import pytest

from support.fixtures import *  # noqa: F403

# Networks by name belong to the engine, which has quick tests of its own.
SLOW_FILES = ("test_every_command.py", "test_every_model.py", "test_experiments.py", "test_every_option.py")
NETWORKS_BY_NAME = re.compile(r"\[(?:model=)?(torchvision|timm|text_classifier)\b")
# Tests of the commands that hardly depend on the model: the engine's quick tests run them with tiny models.
TESTS_OF_COMMANDS = re.compile(
    r"test_(moved_run_resumes|evaluate_needs_only|evaluate_with_overrides|invalid_resume|dataset_with_other_classes"
    r"|resume_expects|run_can_be_evaluated_on_another_device)"
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of one of the networks by name with the slow tests, and those of the others with the exhaustive."""
    for item in items:
        is_of_command = item.path.name == "test_every_command.py" and TESTS_OF_COMMANDS.match(item.name)
        if item.path.name in SLOW_FILES and (match := NETWORKS_BY_NAME.search(item.name)):
            is_slow = match.group(1) == "torchvision" and not is_of_command
            item.add_marker(pytest.mark.slow if is_slow else pytest.mark.exhaustive)
        elif is_of_command:
            item.add_marker(pytest.mark.slow)
