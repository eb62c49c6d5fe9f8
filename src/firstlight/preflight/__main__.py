"""Check whether a run would work on a Mac:  python -m firstlight.preflight model=bert data.batch_size=64"""

from typing import Any

from omegaconf import DictConfig

from firstlight.cli.command import command
from firstlight.config.validate import validate_config
from firstlight.preflight import checks
from firstlight.run.json_output import update_result


@command("preflight")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Check a run for MPS, print the results, and return them."""
    validate_config(cfg)
    checks.validate_preflight_config(cfg)
    from firstlight.preflight import format_report

    results = checks.run_preflight(cfg)

    update_result(**results)
    print(format_report.format_text(results), flush=True)
    checks.raise_if_unsupported(results)
    return results


if __name__ == "__main__":
    main()
