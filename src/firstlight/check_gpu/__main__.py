"""Compare GPU results with CPU results:  python -m firstlight.check_gpu models=[torchvision]"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, ListConfig

from firstlight.cli.command import command
from firstlight.config.options import format_unknown_option, list_option_files
from firstlight.config.validate import validate_config
from firstlight.run.errors import ConfigError, HardwareError, invalid_value
from firstlight.run.json_output import update_result


# Not in scripts/help.txt: `make doctor gpu=true` runs this command, after the other checks of the machine.
@command("check_gpu")
def main(cfg: DictConfig) -> dict[str, Any]:
    """Compare operators and models on the accelerator with the CPU, print the results, and return them.

    Raises:
        HardwareError: If this machine has no accelerator, or a result differs.
    """
    validate_config(cfg)
    validate_models(cfg)
    from firstlight.check_gpu import format_results, run_checks

    with open_records(cfg.records_file) as report:
        results = run_checks.run_all_checks(cfg.models, sys.stderr, report)
    update_result(**results)
    print(format_results.format_text(results), flush=True)
    if failures := format_results.list_failures(results):
        more = f" (first of {len(failures)})" if len(failures) > 1 else ""
        problem = f"{results['device']['name']} computes other results than the CPU{more}"
        raise HardwareError(f"{problem}: {failures[0]['message']}. {failures[0]['fix']}")
    return results


@contextmanager
def open_records(path: str | None) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Yield a function that appends entries of the results to a file as a line of JSON, at once.

    Args:
        path: The file. If None, nothing is written.
    """
    if path is None:
        yield lambda entries: None
        return
    with open(path, "w", encoding="utf-8") as file:
        yield lambda entries: print(json.dumps(entries), file=file, flush=True)


def validate_models(cfg: DictConfig) -> None:
    """Check the names of the models.

    Raises:
        ConfigError: If `models` is not a list of options of configs/model.
    """
    if cfg.models is None:
        return
    known = list(list_option_files("model"))
    is_list = isinstance(cfg.models, ListConfig) and all(isinstance(name, str) for name in cfg.models)
    if not is_list or not cfg.models:
        fix = f"Use e.g. models=[{known[0]}]." if known else ""
        raise ConfigError(invalid_value("models", cfg.models, "a non-empty list of models, or null", fix))
    for name in cfg.models:
        if name not in known:
            raise ConfigError(format_unknown_option("model", name))


if __name__ == "__main__":
    main()
