"""Build the loggers of a run."""

from typing import Any

from lightning.pytorch.loggers import Logger

from firstlight.config.instantiate import instantiate
from firstlight.logger.optional import make_optional
from firstlight.run.errors import UserError
from firstlight.run.optional import print_failure
from firstlight.run.redaction import redact


def build_optional_loggers(settings: dict[str, Any]) -> list[Logger]:
    """Build the configured loggers and log the settings; if a logger fails, now or later, the run continues.

    Args:
        settings: A resolved config as plain values.

    Raises:
        UserError: If a setting of a logger is invalid.
        ImportError: If the package of a logger is not installed.
        TypeError: If a logger does not accept its settings.
    """
    loggers: list[Logger] = []
    for name, node in (settings["logger"] or {}).items():
        if not node or "_target_" not in node:
            continue
        try:
            logger: Logger = instantiate(node)
        except (UserError, ImportError, TypeError):
            raise
        except Exception as error:
            print_failure(f"logger.{name}", error)
            continue
        make_optional(logger, name)
        logger.log_hyperparams(redact(settings))
        loggers.append(logger)
    return loggers
