"""A script in a copy of the preloaded process behaves as in a separate process, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess

import pytest
from mflux_port.checkout import releases

from tests import preloaded

SCRIPT = """import atexit, os, sys
import beside
import numpy
print(sys.argv[1:], os.getcwd() == sys.argv[1], os.environ.get("OWN"), hasattr(numpy, "changed"), sys.stdin.read())
print("to stderr", file=sys.stderr)
atexit.register(print, "the end")
numpy.changed = True
if sys.argv[2] == "code":
    sys.exit(3)
if sys.argv[2] == "text":
    sys.exit("a reason")
if sys.argv[2] == "error":
    raise ValueError("wrong")
if sys.argv[2] == "signal":
    sys.stdout.flush()
    os.kill(os.getpid(), 9)
"""


@pytest.mark.full
@pytest.mark.parametrize("end", ["well", "code", "text", "error", "signal"])
@pytest.mark.parametrize("start", [("script.py",), ("-m", "script")], ids=["script", "module"])
def test_result_equals_that_of_a_separate_process(tmp_path, start, end):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("")
    python = str(releases.environment(releases.NEWEST, ("diffusers==0.42.*",)))
    command = [python, *start, str(tmp_path), end]
    env = {**os.environ, "OWN": "mine"}
    own = subprocess.run(command, input="given", cwd=tmp_path, env=env, capture_output=True, text=True)
    done = preloaded.run(command, tmp_path, env, "given")
    assert (done.returncode, done.stdout) == (own.returncode, own.stdout)
    ends = [(said.splitlines()[0], said.splitlines()[-1]) for said in (done.stderr, own.stderr)]
    assert ends[0] == ends[1]  # between them are the frames of a traceback
    assert "mine False given" in done.stdout and done.seconds > 0
