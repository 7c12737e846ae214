"""Prints the drafts of families of ``families.py`` as JSON, one line each. Needs torch and MLX."""

from __future__ import annotations

import json
import sys
import time
import types
from pathlib import Path

from mflux_port.draft.forward.draft import draft_forwards
from mflux_port.draft.forward.record.groups import group_of  # noqa: F401

sys.path.insert(0, str(Path(__file__).resolve().parent))
import families  # noqa: E402


def main(names: list[str]) -> None:
    known = families.KNOWN | families.UNSEEN | families.NEW | families.STUDIED
    for name in names:
        part, library, cls, config = known[name]
        component = types.SimpleNamespace(name=part, library=library, class_name=cls, config=config, tensors={})
        started = time.time()
        draft = draft_forwards(component, part)
        states = {group: forward.state.line for group, forward in draft.forwards.items()}
        proven = [forward.is_verified for forward in draft.forwards.values()]
        told = {"name": name, "reason": draft.reason, "verified": sum(proven), "classes": len(proven), "states": states,
                "whole": bool(proven) and all(proven), "seconds": round(time.time() - started, 1)}  # fmt: skip
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
