"""Say whether a training would work on a Mac:  python -m firstlight.preflight model=bert data.batch_size=64"""

import json
from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.preflight import checks


@command("preflight")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Judge a training on MPS, print what was found, and return it."""
    validate_config(cfg)
    checks.validate_request(cfg)
    from firstlight.preflight import format_report

    found = checks.run_preflight(cfg)

    print(json.dumps(found, indent=2) if cfg.json else format_report.format_text(found), flush=True)
    checks.raise_if_unsupported(found)
    return found


if __name__ == "__main__":
    main()
