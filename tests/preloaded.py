"""Run scripts in copies of a Python process that has already imported torch, transformers and diffusers.

These imports take four seconds of CPU time, more than most scripts need for their own work. Each run is a
fork of that process, so no script sees what another one has changed. Run as a script, this file is that process.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import json
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

IMPORTS = (
    "torch",
    "torch._dynamo",
    "transformers.models.qwen3.modeling_qwen3",
    "diffusers.pipelines.flux.pipeline_flux",
)

_processes: dict[tuple[str, str], subprocess.Popen] = {}


class Done(subprocess.CompletedProcess):
    seconds = 0.0


def run(command: list[str], cwd: Path, env: Mapping[str, str], given: str = "", stubs: str = "") -> Done:
    """The same result as ``subprocess.run`` for ``[python, script, …]`` or ``[python, "-m", module, …]``.

    ``stubs``: a folder that the imports also need.
    ``seconds`` of the result are its CPU time, without the imports. To measure memory, use ``subprocess.run``.
    """
    if sys.platform != "linux":  # macOS' own libraries do not survive a fork
        return fresh(command, cwd, env, given)
    process = _process(command[0], stubs)
    with tempfile.TemporaryDirectory() as folder:
        streams = [str(Path(folder, name)) for name in ("in", "out", "err")]
        Path(streams[0]).write_text(given, encoding="utf-8")
        asked = {"arguments": command[1:], "cwd": str(cwd), "env": dict(env), "streams": streams}
        process.stdin.write(json.dumps(asked) + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, f"{command[0]} {__file__} ended; run it to see why"
        code, seconds = json.loads(answer)
        out, err = (Path(path).read_text(encoding="utf-8") for path in streams[1:])
    done = Done(command, code, out, err)
    done.seconds = seconds
    return done


def fresh(command: list[str], cwd: Path, env: Mapping[str, str], given: str) -> Done:
    before = _used(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, input=given, cwd=cwd, env=env, capture_output=True, text=True)
    done = Done(command, ran.returncode, ran.stdout, ran.stderr)
    done.seconds = _used(resource.RUSAGE_CHILDREN) - before
    return done


def _used(of: int) -> float:
    used = resource.getrusage(of)
    return used.ru_utime + used.ru_stime


def _process(python: str, stubs: str) -> subprocess.Popen:
    """The process of an environment. Two are kept, because each holds 400 MB."""
    key = (python, stubs)
    kept = _processes.pop(key, None) or _start(python, stubs)
    _processes[key] = kept  # the last one was used most recently
    while len(_processes) > 2:
        _end(_processes.pop(next(iter(_processes))))
    return kept


def _start(python: str, stubs: str) -> subprocess.Popen:
    command = [python, __file__]
    env = {**os.environ, "PYTHONPATH": stubs, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    atexit.register(_end, process)
    return process


def _end(process: subprocess.Popen) -> None:
    process.kill()
    process.wait()


def _serve() -> None:
    for name in IMPORTS:
        with contextlib.suppress(ImportError):  # not every environment has diffusers
            __import__(name)
    gc.collect()
    gc.freeze()  # mflux and the scripts collect garbage often, which takes long among the objects of these imports
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads: a fork would copy only one of them"
    for line in sys.stdin:
        before = _used(resource.RUSAGE_CHILDREN)
        pid = os.fork()
        if pid == 0:
            _become(json.loads(line))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        print(json.dumps([code, _used(resource.RUSAGE_CHILDREN) - before]), flush=True)


def _become(asked: dict) -> None:
    code = 1
    try:
        _redirect(asked["streams"])
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        more = [path for path in asked["env"].get("PYTHONPATH", "").split(os.pathsep) if path]
        sys.path[:] = [*more, *sys.path[1:]]
        code = _run(asked["arguments"])
        atexit._run_exitfuncs()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _run(arguments: list[str]) -> int:
    """The exit code that the interpreter derives from what the script raises."""
    try:
        if arguments[0] == "-m":
            sys.path.insert(0, os.getcwd())
            sys.argv = arguments[1:]
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(arguments[0]).resolve().parent))
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - the interpreter prints all others
        traceback.print_exc()
        return 1
    return 0


def _redirect(streams: list[str]) -> None:
    for number, (path, flags) in enumerate(
        zip(streams, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2), strict=True)
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", buffering=1, closefd=False)


if __name__ == "__main__":
    _serve()
