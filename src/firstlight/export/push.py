"""Upload an export to the Hugging Face Hub: the only step of an export that uses the network."""

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from firstlight.run.errors import ConfigError, UploadError, invalid_value
from firstlight.run.redaction import MASK, redact_text
from firstlight.run.text import format_command

LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
EXAMPLE = "Use e.g. push=my-name/my-model."


def validate_hub_options(format: str, push: Any, license: Any) -> None:
    """Check push= and license=.

    Raises:
        ConfigError: If one of them is invalid, or the format does not use it.
    """
    for name, value in (("push", push), ("license", license)):
        if value is not None and format != "hub":
            raise ConfigError(f"{name}={value} has no effect with format={format}. Use format=hub, or remove {name}=.")
    if license is not None and not (isinstance(license, str) and LICENSE.fullmatch(license)):
        expected = "an identifier of the Hugging Face Hub in lower case"
        raise ConfigError(invalid_value("license", license, expected, "Use e.g. license=apache-2.0."))
    if push is not None:
        validate_repo_id(push)


def validate_repo_id(repo_id: Any) -> None:
    """Check the name of a repository, and that a token for the upload is available.

    Raises:
        ConfigError: If the name is not valid, or there is no token.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id as validate  # type: ignore[attr-defined]

    try:
        if not isinstance(repo_id, str) or repo_id.count("/") != 1:
            raise HFValidationError
        validate(repo_id)
    except HFValidationError as error:
        raise ConfigError(invalid_value("push", repo_id, "<owner>/<name>", EXAMPLE)) from error
    if get_token() is None:
        raise ConfigError(
            f"push={repo_id} requires a token. Run `hf auth login`, or set the environment variable HF_TOKEN."
        )


def upload(output_dir: Path, names: list[str], repo_id: str, stale: Collection[str] = ()) -> tuple[str, str]:
    """Upload files of an export; a new repository is private. Return its address, and "private", "public" or "".

    Args:
        output_dir: Directory of the export.
        names: Names of the files to upload.
        repo_id: <owner>/<name> on the Hub.
        stale: Names of files of earlier exports, which are deleted on the Hub.

    Raises:
        UploadError: If the upload fails. The directory does not change.
    """
    from huggingface_hub import HfApi, get_token

    try:
        api = HfApi()
        address = str(api.create_repo(repo_id, private=True, exist_ok=True))
        api.upload_folder(
            repo_id=repo_id,
            folder_path=output_dir,
            allow_patterns=names,
            delete_patterns=sorted(set(stale) - set(names)) or None,
            commit_message="Upload the model",
        )
    except Exception as error:  # the client raises exceptions of several libraries
        # The token may come from the login, where no environment variable has it.
        text = str(error).replace(get_token() or MASK, MASK)
        reason = " ".join(redact_text(text).split())[:300] or type(error).__name__
        command = format_command("hf", "upload", repo_id, str(output_dir), "--private")
        fix = f"Check the token and the connection, then run `{command}`."
        raise UploadError(f"Cannot upload to {repo_id}: {reason.rstrip('.')}. {fix}") from error
    with suppress(Exception):  # the files are uploaded
        return address, "private" if api.repo_info(repo_id).private else "public"
    return address, ""
