"""The git commit of a run."""

import subprocess

from firstlight.run import provenance


def test_repository_of_another_user_is_reported_with_the_fix(monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise subprocess.CalledProcessError(128, "git", stderr="fatal: detected dubious ownership in repository at /x")

    monkeypatch.setattr(provenance.subprocess, "run", fail)

    assert provenance.get_git_info() is None
    assert "Run `git config --global --add safe.directory " in capsys.readouterr().out


def test_directory_without_repository_is_not_reported(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    assert provenance.get_git_info() is None
    assert capsys.readouterr().out == ""
