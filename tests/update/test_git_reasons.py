"""When git, a hook or a signature fails, one line names the cause."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from mflux_port.checkout.git import git, git_commit, git_environment, reason
from mflux_port.errors import PortError


@pytest.fixture
def root(tmp_path) -> Path:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "a.py").write_text("a = 1\n")
    git(tmp_path, "add", "--all")
    return tmp_path


def hook(root: Path, name: str, text: str) -> None:
    path = root / ".git/hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("pre-commit", "echo lint failed >&2; exit 1", "(pre-commit hook: lint failed)"),
        ("commit-msg", "echo no ticket; exit 1", "(commit-msg hook: no ticket)"),
        ("pre-commit", "exit 1", "(pre-commit hook: no output)"),
    ],
)
def test_failing_hook_is_named(root, name, text, said):
    hook(root, name, text)
    with pytest.raises(PortError) as raised:
        git_commit(root, "--message", "Update")
    assert str(raised.value).endswith(said) and "\n" not in str(raised.value)


def test_hooks_do_not_run_for_commits_that_nobody_typed(root):
    for name in ("post-checkout", "post-index-change", "pre-commit"):
        hook(root, name, "echo from a hook >&2; touch ran; exit 1")
    git_commit(root, "--message", "First", "--no-verify")
    (root / "ran").unlink(missing_ok=True)
    (root / "a.py").write_text("a = 2\n")
    git(root, "checkout", "--quiet", "--", "a.py")
    assert not (root / "ran").exists() and (root / "a.py").read_text() == "a = 1\n"


def test_failing_signature_is_named(root):
    git(root, "config", "commit.gpgSign", "true")
    git(root, "config", "gpg.program", "/bin/false")
    with pytest.raises(PortError, match="gpg failed to sign the data"):
        git_commit(root, "--message", "Update")


def test_cause_comes_before_its_consequences():
    assert reason(b"error: gpg failed\nfatal: failed to write commit object\n").startswith("error: gpg failed")
    assert reason(b"warning: x\nfatal: bad revision\nhint: y\n") == "fatal: bad revision"
    assert reason("") == "no output"


def test_user_settings_are_read_first_and_ours_override_them(monkeypatch):
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.quotePath")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "false")
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    environment = git_environment()
    shown = subprocess.run(["git", "config", "core.quotePath"], env=environment, capture_output=True, text=True)
    assert shown.stdout == "true\n" and "GIT_DIR" not in environment
