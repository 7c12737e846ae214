"""Killed runs and failing writes, at every point at which wiring accesses the disk."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from mflux_port import wiring
from mflux_port.checkout import releases, transaction
from mflux_port.checkout.tree import Checkout, state_dir
from mflux_port.errors import PortError
from mflux_port.files import writing
from wiring_hosts import AMBER, copy_shared, port

_TOUCHING = ("os.rename", "os.remove", "os.mkdir", "os.chmod")
_FAILED: list[str] = []  # filled only in the forked child
_ACTS = {"wire": wiring.wire, "unwire": wiring.unwire}


@pytest.mark.parametrize("act", ["wire", pytest.param("unwire", marks=pytest.mark.full)])
def test_killed_at_any_point(act: str, shared):
    host, before, after = _host(act, shared)
    halves = set()
    for boundary in itertools.count():
        status, _, _ = _forked(host, _ACTS[act], lambda n=boundary: _on_touch(n, _kill))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        halves.add(_left(host, before, after))
        begun = bool(_journals(host))
        with transaction.locked(host) as said:
            assert bool(said) == begun
        assert _everything(host) in (before, after)
        _assert_next_run(host, act, after)
        _restore(host, before)
    assert boundary > 20
    assert "half" in halves  # a kill came between two replacements


def test_killed_within_a_write(shared):
    host, before, after = _host("wire", shared)
    for nth in itertools.count():
        status, _, _ = _forked(host, wiring.wire, lambda n=nth: _kill_within_write(n))
        if status == 0:
            break
        with transaction.locked(host) as said:
            pass
        assert said.startswith("rolled back")
        assert _everything(host) == before
        _assert_next_run(host, "wire", after)
        _restore(host, before)
    assert nth > 8


@pytest.mark.parametrize(
    "lasting", [pytest.param(False, id="once", marks=pytest.mark.full), pytest.param(True, id="from then on")]
)
@pytest.mark.parametrize(
    "number", [errno.ENOSPC, *(pytest.param(n, marks=pytest.mark.full) for n in (errno.EACCES, errno.EROFS))]
)
def test_failing_write(number: int, lasting: bool, shared):
    host, before, after = _host("wire", shared)
    for boundary in itertools.count():
        status, said, failed = _forked(host, wiring.wire, lambda n=boundary: _on_touch(n, _failing(number), lasting))
        if not failed:
            break
        if status == 0:  # a folder that exists need not be created
            assert _everything(host) == after
        else:
            assert status == 3, said
            assert os.strerror(number) in said and "\n" not in said
        if "nothing was changed" in said:
            assert _everything(host, temporary=False) == before
        _assert_next_run(host, "wire", after)
        _restore(host, before)
    assert boundary > (8 if lasting else 20)  # many points were tried


def test_read_only_file_and_folder():
    # Run as another user if the tests run as root, because root ignores permissions.
    root = Path(tempfile.mkdtemp())
    try:
        copy_shared(releases.source(releases.NEWEST), root)
        user = 65534 if os.geteuid() == 0 else os.geteuid()
        for path in [root, *root.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
            if os.geteuid() == 0:
                os.chown(path, user, user)
        before = _everything(root)
        for name, mode in (
            ("README.md", 0o444),
            ("src/mflux/cli/defaults", 0o555),
            ("src/mflux/models/common/cli", 0o555),
        ):
            old = (root / name).stat().st_mode
            (root / name).chmod(mode)
            status, said, _ = _forked(root, wiring.wire, lambda: None, user)
            assert status == 3 and name in said and "Permission denied" in said and "nothing was changed" in said
            assert _everything(root) == before
            (root / name).chmod(old)
        assert _forked(root, wiring.wire, lambda: None, user)[0] == 0
    finally:
        shutil.rmtree(root)


def test_a_file_changed_after_the_kill_stays(shared, capfd):
    host, _, after = _host("wire", shared)
    status, _, _ = _forked(host, wiring.wire, lambda: _on_rename(5, _kill))
    assert status == -signal.SIGKILL
    readme = host / "README.md"
    readme.write_bytes(readme.read_bytes() + b"\nmine\n")
    wiring.wire(Checkout(host), port(AMBER))
    said = capfd.readouterr().err
    assert "interrupted" in said and "README.md" in said
    assert _everything(host)["README.md"] == after["README.md"] + b"\nmine\n"
    assert {**_everything(host), "README.md": after["README.md"]} == after


@pytest.mark.parametrize("moment", ["planned", "staged", "replacing"])
def test_file_saved_during_the_run_stays_and_nothing_is_written(moment: str, shared, monkeypatch):
    host, before, after = _host("wire", shared)
    readme = host / "README.md"

    def save(*_) -> None:
        if readme.read_bytes() == before["README.md"]:
            readme.write_bytes(before["README.md"] + b"\nmine\n")

    where, name = {"planned": (wiring, "commit"), "staged": (transaction, "_stage"), "replacing": (os, "replace")}[
        moment
    ]
    whole = getattr(where, name)

    def beside(*arguments) -> None:
        if moment == "planned":
            save()
        whole(*arguments)
        if moment != "planned":
            save()

    with monkeypatch.context() as patched:
        patched.setattr(where, name, beside)
        with pytest.raises(
            PortError, match="README.md was changed by another program during this run; nothing was changed"
        ):
            wiring.wire(Checkout(host), port(AMBER))
    assert _everything(host) == {**before, "README.md": before["README.md"] + b"\nmine\n"}
    assert not _journals(host)
    readme.write_bytes(before["README.md"])
    _assert_next_run(host, "wire", after)


def test_killed_during_the_rollback(shared):
    host, before, after = _host("wire", shared)
    for nth in itertools.count():

        def arm(n: int = nth) -> None:
            _on_rename(1, _failing(errno.EIO))  # the journal's temporary file comes first
            failed = itertools.count()
            sys.addaudithook(
                lambda event, arguments: _kill("") if _FAILED and event in _TOUCHING and next(failed) == n else None
            )

        status, said, _ = _forked(host, wiring.wire, arm)
        with transaction.locked(host):
            pass
        whole = _everything(host) in (before, after)  # not rolled back yet, so the next run finishes it
        assert whole, said
        if status == 3:
            break
        assert status == -signal.SIGKILL, said
        _restore(host, before)
    assert nth > 3
    _assert_next_run(host, "wire", after)


def test_temporary_files_removed_after_the_kill(shared):
    host, _, after = _host("wire", shared)
    _forked(host, wiring.wire, lambda: _on_rename(5, _kill))
    for path in host.rglob(".*.mflux-port"):
        path.unlink()
    _assert_next_run(host, "wire", after)


def test_two_runs_at_once(shared, mflux_port, answered):
    host = shared()
    answered(host, AMBER)
    with transaction.locked(host):
        second = mflux_port("wire", "amber", cwd=host)
    assert second.returncode == 2
    assert second.stderr.count("\n") == 1 and "another mflux-port run" in second.stderr
    assert mflux_port("wire", "amber", cwd=host).returncode == 0


def test_lock_of_a_killed_run_is_released(shared):
    host = shared()
    script = (
        "import os, signal, sys; from pathlib import Path; from mflux_port.checkout.transaction import locked\n"
        "with locked(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    hooks = Path(wiring.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, host], env={**os.environ, "PYTHONPATH": str(hooks)})
    assert done.returncode == -signal.SIGKILL
    with transaction.locked(host) as said:
        assert said == ""


def test_worktree_keeps_its_state_in_the_git_folder(checkout):
    root = checkout()
    other = root.parent / "worktree"
    subprocess.run(["git", "worktree", "add", "--quiet", other], cwd=root, check=True)
    wiring.wire(Checkout(other), port(AMBER))
    assert state_dir(other).is_relative_to(root / ".git")
    wiring.unwire(Checkout(other), port(AMBER))
    status = subprocess.run(["git", "status", "--porcelain"], cwd=other, check=True, capture_output=True, text=True)
    assert status.stdout == ""


def test_git_file_may_name_a_relative_folder(shared):
    host = shared()
    (host / ".git").rename(host.parent / "elsewhere")
    (host / ".git").write_text("gitdir: ../elsewhere\n")
    wiring.wire(Checkout(host), port(AMBER))
    assert state_dir(host) == host.parent / "elsewhere/mflux-port"


def test_a_link_out_of_the_checkout_is_refused(shared, tmp_path):
    host = shared()
    outside = tmp_path / "elsewhere.md"
    shutil.move(host / "README.md", outside)
    (host / "README.md").symlink_to(outside)
    before = outside.read_bytes()
    with pytest.raises(PortError, match="README.md is a link to a place outside the checkout"):
        wiring.wire(Checkout(host), port(AMBER))
    assert outside.read_bytes() == before
    assert not (host / "porting").exists()


def test_two_names_of_one_file_are_refused(shared):
    host = shared()
    (host / "CHANGELOG.md").unlink()
    (host / "CHANGELOG.md").symlink_to("README.md")
    with (host / "README.md").open("a") as readme:
        readme.write("\n## [Unreleased]\n")
    before = _everything(host)
    with pytest.raises(PortError, match="README.md and CHANGELOG.md are one file"):
        wiring.wire(Checkout(host), port(AMBER))
    assert _everything(host) == before


def test_a_file_keeps_its_permissions(shared):
    host = shared()
    (host / "README.md").chmod(0o640)
    wiring.wire(Checkout(host), port(AMBER))
    assert (host / "README.md").stat().st_mode & 0o777 == 0o640


def test_disk_without_locks(shared, monkeypatch):
    def refuse(*_) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(transaction.fcntl, "flock", refuse)
    with pytest.raises(PortError, match=re.escape(os.strerror(errno.ENOLCK))) as raised:
        wiring.wire(Checkout(shared()), port(AMBER))
    assert "another" not in str(raised.value)


def _host(act: str, shared: Callable) -> tuple[Path, dict, dict]:
    host = shared("0.24.0")
    (host / "porting/amber").mkdir(parents=True)
    bare = _everything(host)
    wiring.wire(Checkout(host), port(AMBER))
    wired = _everything(host)
    if act == "unwire":
        return host, wired, bare
    _restore(host, bare)
    return host, bare, wired


def _assert_next_run(host: Path, act: str, after: dict) -> None:
    _ACTS[act](Checkout(host), port(AMBER))
    assert _everything(host) == after
    assert not _journals(host)


def _journals(host: Path) -> list[Path]:
    return sorted(state_dir(host).glob("*.json"))


def _left(host: Path, before: dict, after: dict) -> str:
    now = _everything(host, temporary=False)
    return "before" if now == before else "after" if now == after else "half"


def _everything(root: Path, temporary: bool = True) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and ".git" not in path.relative_to(root).parts]
    kept = [path for path in files if temporary or ".mflux-port" not in path.name]
    return {str(path.relative_to(root)): path.read_bytes() for path in kept}


def _restore(root: Path, files: dict[str, bytes]) -> None:
    now = _everything(root)
    for name in now.keys() - files.keys():
        (root / name).unlink()
    for name, data in files.items():
        if now.get(name) != data:
            (root / name).write_bytes(data)


def _forked(host: Path, act: Callable, arm: Callable[[], None], user: int | None = None) -> tuple[int, str, bool]:
    """Run ``act`` in a copy of this process; returns its status, the message and whether a fault was injected.

    The status is 0 when all is done, 3 for a PortError, or minus the signal.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status, said = 4, ""
        try:
            if user is not None and os.geteuid() == 0:
                os.setgid(user)
                os.setuid(user)
            arm()
            act(Checkout(host), port(AMBER))
            status = 0
        except PortError as error:
            status, said = 3, str(error)
        except BaseException as error:  # noqa: BLE001 - the parent checks it
            said = repr(error)
        finally:
            os.write(write, json.dumps([said, bool(_FAILED)]).encode())
            os._exit(status)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with open(read, "rb") as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(status), *(json.loads(said) if said else ("", False))


def _on_touch(nth: int, act: Callable[[str], None], lasting: bool = False) -> None:
    """Call ``act`` at the nth disk access; if ``lasting``, also at every later opening of a file."""
    count = itertools.count()

    def hook(event: str, arguments: tuple) -> None:
        opened = event == "open" and isinstance(arguments[1], str) and "w" in arguments[1]
        if opened or (event in _TOUCHING and not lasting):
            current = next(count)
            if current == nth or (lasting and current > nth):
                act(str(arguments[0]))

    sys.addaudithook(hook)


def _on_rename(nth: int, act: Callable[[str], None]) -> None:
    count = itertools.count()
    sys.addaudithook(lambda event, arguments: act("") if event == "os.rename" and next(count) == nth else None)


def _kill(path: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_within_write(nth: int) -> None:
    count = itertools.count()
    whole = writing.write

    def half(path: Path, data: bytes) -> None:
        if next(count) == nth:
            path.write_bytes(data[: len(data) // 2])
            _kill("")
        whole(path, data)

    writing.write = transaction.write = half


def _failing(number: int) -> Callable[[str], None]:
    def fail(path: str) -> None:
        _FAILED.append(path)
        raise OSError(number, os.strerror(number), path)

    return fail
