"""Fuzz the wiring: shared files in any state are refused with one line, or wired and unwired again."""

from __future__ import annotations

import tempfile
import tomllib
from pathlib import Path

from mflux_port import wiring
from mflux_port.checkout.tree import Checkout
from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_python
from mflux_port.port.port import Port, port_from_answers
from mflux_port.wiring.plan import Plan
from mflux_port.wiring.source import Source
from mflux_port.wiring.state import ABSENT, NOT_APPLICABLE
from mflux_port.wiring.surfaces import SURFACES

from fuzz.hosts import HOSTS

ANSWERS = {
    "model": "nova",
    "class_name": "Nova",
    "display_name": "Nova",
    "cli_name": "nova",
    "hf_repo": "acme/Nova",
    "reference_pipeline": "NovaPipeline",
    "steps": 8,
    "guidance": 1.0,
    "supports_guidance": False,
    "checkpoints": [
        {"key": "nova", "hf_repo": "acme/Nova", "aliases": ["nova-fast"], "revision": "1" * 40},
        {"key": "nova-edit", "hf_repo": "acme/Nova-Edit", "variant": "edit", "supports_guidance": True},
    ],
    "variants": ["txt2img", "edit"],
    "vae": "own",
    "text_encoder": "own",
    "scheduler": "linear",
    "img2img": True,
    "negative_prompt": False,
    "lora": True,
    "training": True,
    "mflux_api": "0.24",
}
PORT = port_from_answers(ANSWERS)
_LATER = port_from_answers(
    {
        **ANSWERS,
        "display_name": "Nova Two",
        "steps": 4,
        "checkpoints": ANSWERS["checkpoints"][:1],
        "variants": ["txt2img"],
    }
)
WORDS = (
    *('"nova"', '"nova-fast"', "nova", "Nova", "mflux-generate-nova", "mflux.models.nova."),
    *("\r\n", "\\\n", "\t", "\ufeff", "# ", '"""', "'", ",", "},", "elif ", "else:\n", "if ", "return None", "import "),
    *(
        "from mflux.models.nova import Nova\n",
        "[project.scripts]",
        "[project]\n",
        " = ",
        "## Unreleased\n",
        "- **Nova**",
    ),
)
LONGEST = 4000
_ROOT = tempfile.TemporaryDirectory()
Path(_ROOT.name, "src/mflux/models").mkdir(parents=True)

Files = dict[str, bytes]
_SOURCES = [Source(name, data) for host in HOSTS for name, data in host.items()]  # parsed once and cached
REQUIRED = {surface.FILE for surface in SURFACES if surface.REQUIRED}


class Held(Checkout):
    """A checkout in memory that has only some shared files."""

    def __init__(self, files: Files):
        self.root, self._files = Path(_ROOT.name), files
        self.parsed = {source.path: source for source in _SOURCES if files.get(source.path) is source.data}

    def read(self, name: str) -> bytes | None:
        return self._files.get(name)


def one(data: bytes) -> None:
    """An input is the number of a host, the number of a file in it, and the content of that file."""
    if len(data) < 2:
        return
    host = HOSTS[data[0] % len(HOSTS)]
    file = sorted(host)[data[1] % len(host)]
    files = {name: host[name] for name in REQUIRED} | {file: data[2:]}
    try:
        plan = planned(files, PORT)
    except PortError as error:
        assert str(error).isprintable(), f"an error of more than one line: {error!r}"
        return
    wired = applied(files, plan)
    _verify_whole(files, wired, file)
    assert not planned(wired, PORT).files, "a second run would change something"
    if all(result.state in (ABSENT, NOT_APPLICABLE) for result in plan.results):
        assert unwired(wired, PORT) == files, "unwire does not restore the file"
        later = applied(wired, planned(wired, _LATER))
        assert unwired(later, _LATER) == files, "unwire does not restore the file from before other answers"


def planned(files: Files, port: Port) -> Plan:
    """The plan of ``wire``."""
    checkout = Held(dict(files))
    wiring.verify_free(checkout, port)
    return wiring.plan_wire(checkout, port)


def unwired(files: Files, port: Port) -> Files:
    """The files after ``unwire``."""
    return applied(files, wiring.plan_unwire(Held(dict(files)), port))


def applied(files: Files, plan: Plan) -> Files:
    """The files after a plan."""
    return {name: data for name, data in {**files, **plan.files}.items() if data is not None}


def _verify_whole(before: Files, after: Files, file: str) -> None:
    if file.endswith(".py") and after[file] != before[file]:
        parse_python(after[file])
    elif file.endswith(".toml"):
        old, new = (tomllib.loads(data.decode("utf-8-sig")) for data in (before[file], after[file]))
        ours = {name: new["project"]["scripts"].pop(name) for name in PORT.scripts}
        for name in PORT.scripts:
            old["project"]["scripts"].pop(name, None)
        assert ours == PORT.scripts and old == new, "pyproject.toml would have another meaning"
