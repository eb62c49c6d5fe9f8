"""Say whether a training would work on a Mac:  python -m firstlight.preflight model=bert data.batch_size=64"""

import json
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config


@command("preflight")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Judge a training on MPS, print what was found, and return it."""
    validate_config(cfg)
    judge.validate_request(cfg)
    found = judge.run_preflight(cfg)

    print(json.dumps(found, indent=2) if cfg.json else verdict.format_text(found), flush=True)
    judge.raise_if_unsupported(found)
    return found


if __name__ == "__main__":
    main()
