"""Shell commands that a Slurm job runs before training."""

from firstlight.run.errors import ConfigError
from firstlight.run.redaction import redact_text


def validate_setup(commands: list[str]) -> None:
    """Check that the setup commands of Slurm jobs contain no secret, because the script of each job is a file.

    Raises:
        ConfigError: If a command contains a secret.
    """
    for number, command in enumerate(commands):
        if (redacted := redact_text(command)) != command:
            raise ConfigError(
                f"launcher.setup[{number}] contains a secret, and submitit writes it to a file: {redacted!r}. Export "
                "the variable before `make sweep`; Slurm jobs inherit it."
            )
