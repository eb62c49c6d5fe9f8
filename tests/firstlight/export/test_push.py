"""Tests of push=: what is uploaded, and what a failed upload leaves, without a network."""

from types import SimpleNamespace
from typing import ClassVar

import pytest

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed: uv pip install -e '.[hub]'")

import huggingface_hub

from firstlight.export.push import upload, validate_hub_options
from firstlight.run.errors import ConfigError, UploadError

TOKEN = "hf_" + "aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3x"


class FakeApi:
    """Records calls in place of the server."""

    calls: ClassVar[list] = []
    error: ClassVar[Exception | None] = None

    def create_repo(self, repo_id, **kwargs):
        self.calls.append(("create_repo", repo_id, kwargs))
        return f"https://huggingface.co/{repo_id}"

    def upload_folder(self, **kwargs):
        self.calls.append(("upload_folder", kwargs))
        if self.error:
            raise self.error

    def repo_info(self, repo_id):
        return SimpleNamespace(private=False)


@pytest.fixture
def api(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    monkeypatch.setattr(FakeApi, "calls", [])
    monkeypatch.setattr(FakeApi, "error", None)
    return FakeApi


def test_new_repository_is_private_and_gets_the_files_of_this_export(api, tmp_path):
    address, visibility = upload(tmp_path, ["README.md", "config.json"], "me/net", stale=["model.pt2", "config.json"])
    assert (address, visibility) == ("https://huggingface.co/me/net", "public")
    (_, repo_id, created), (_, uploaded) = api.calls
    assert (repo_id, created) == ("me/net", {"private": True, "exist_ok": True})
    assert uploaded["allow_patterns"] == ["README.md", "config.json"]
    assert uploaded["folder_path"] == tmp_path
    assert uploaded["delete_patterns"] == ["model.pt2"]


def test_failed_upload_is_one_line_without_the_token(api, tmp_path, monkeypatch):
    (tmp_path / "README.md").touch()
    monkeypatch.setattr(api, "error", OSError(f"401 Unauthorized\nwith token {TOKEN} (Request ID: 1)"))
    with pytest.raises(UploadError) as error:
        upload(tmp_path, ["README.md"], "me/net")

    message = error.value.get_message()
    assert message.startswith("Cannot upload to me/net: 401 Unauthorized with token ***")
    assert message.fix == f"Check the token and the connection, then run `hf upload me/net {tmp_path} --private`."
    assert TOKEN not in message
    assert (tmp_path / "README.md").exists()


def test_offline_upload_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UploadError, match="^Cannot upload to me/net: .*[Oo]ffline"):
        upload(tmp_path, [], "me/net")


@pytest.mark.parametrize(
    ("format", "push", "license", "message"),
    [
        ("onnx", "me/net", None, "push=me/net has no effect with format=onnx. Use format=hub, or remove push=."),
        ("torch", None, "mit", "license=mit has no effect with format=torch. Use format=hub, or remove license=."),
        ("hub", "net", None, "Invalid value for push: expected <owner>/<name>, got 'net'. Use e.g. push="),
        ("hub", "a/b/c", None, "Invalid value for push: expected <owner>/<name>, got 'a/b/c'."),
        ("hub", "me/..", None, "Invalid value for push: expected <owner>/<name>, got 'me/..'."),
        ("hub", True, None, "Invalid value for push: expected <owner>/<name>, got true."),
        ("hub", None, "My License", "Invalid value for license: expected an identifier of the Hugging Face Hub in"),
    ],
)
def test_invalid_options_are_one_line(format, push, license, message, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: TOKEN)
    with pytest.raises(ConfigError) as error:
        validate_hub_options(format, push, license)

    assert str(error.value).startswith(message)


def test_missing_token_is_reported_before_the_export(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ConfigError, match="push=me/net requires a token. Run `hf auth login`, or set the environment"):
        validate_hub_options("hub", "me/net", None)
