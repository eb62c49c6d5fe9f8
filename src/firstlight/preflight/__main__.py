"""Say whether a training would work on a Mac:  python -m firstlight.preflight model=bert data.batch_size=64"""

import json
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.preflight import judge


@command("preflight")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Judge a training on MPS, print what was found, and return it."""
    validate_config(cfg)
    judge.require_mps(cfg)
    found = judge.judged(cfg)
    from firstlight.preflight import verdict

    print(json.dumps(found, indent=2) if cfg.json else verdict.screen(found), flush=True)
    judge.require_works(found)
    return found


if __name__ == "__main__":
    main()
