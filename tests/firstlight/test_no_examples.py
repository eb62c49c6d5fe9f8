"""The engine's tests know no example: a project may have deleted them all, and has another name."""

import re
from pathlib import Path

HERE = Path(__file__).parent
EXAMPLES = ["resnet50", "vgg16", "bert", "minilm", "digits", "bbc_news", "bbcnews", "cifar10", "my" + "_project"]
# Not BertNormalizer, which is a class of a library's, nor a package that the extra `text` brings.
NAMED = re.compile(rf"(?<![a-z])(?<!gt_all_)({'|'.join(EXAMPLES)})(?![a-z])", re.IGNORECASE)
# Tests of the template itself, which are skipped in a project, and their helper.
OF_THE_TEMPLATE = ("template", "scripts")
HELPER = "typed.py"


def test_no_test_of_the_engine_names_an_example():
    files = [file.relative_to(HERE) for kind in ("*.py", "*.yaml") for file in HERE.rglob(kind)]
    files = [
        file
        for file in files
        if file.parts[0] not in OF_THE_TEMPLATE and file.name not in (HELPER, Path(__file__).name)
    ]
    found = {str(file): {each.group() for each in NAMED.finditer((HERE / file).read_text())} for file in files}

    assert len(files) > 80
    assert {file: names for file, names in found.items() if names} == {}
