"""Loggers that print one line and log nothing more if they fail, because a run must not end with its logger."""

from typing import Any

from lightning.pytorch.loggers import Logger

from firstlight.run.optional import print_failure

# Methods that Lightning, the callbacks of the engine and modules call.
METHODS: tuple[str, ...] = ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint")
METHODS += ("log_image", "log_table", "log_text", "log_audio", "log_video", "watch", "unwatch", "continue_at")


class OptionalMethod:
    """A method of a logger that does nothing after any of the logger's methods has failed.

    A class instead of a closure, because a DataLoader worker may receive a pickled copy of the trainer.
    """

    def __init__(self, logger: Logger, name: str) -> None:
        """Store the logger and the name of its method."""
        self.logger, self.name = logger, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; print the first failure."""
        if getattr(self.logger, "has_failed", False):
            return None
        try:
            return getattr(type(self.logger), self.name)(self.logger, *args, **kwargs)
        except Exception as error:
            self.logger.has_failed = True  # type: ignore[attr-defined]
            print_failure(f"logger.{self.logger.config_name}", error)  # type: ignore[attr-defined]
            return None


def describe_logger(logger: Logger) -> str:
    """Return where a logger stores the run: its own text if it has one, or else its directory or its class."""
    if type(logger).__str__ is not object.__str__:
        return str(logger)
    return str(getattr(logger, "log_dir", None) or type(logger).__name__)


def make_optional(logger: Logger, config_name: str) -> None:
    """Let the methods of a logger print a failure instead of raising it.

    Args:
        logger: The logger, modified in place.
        config_name: Its key in the config group `logger`.
    """
    logger.config_name = config_name  # type: ignore[attr-defined]
    for name in METHODS:
        if callable(getattr(type(logger), name, None)):
            setattr(logger, name, OptionalMethod(logger, name))
