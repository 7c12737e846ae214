"""A drafted forward pass as the text of its class's methods, and the port's file of functions that several classes
call.
"""

from __future__ import annotations

import re
import textwrap

from mflux_port.draft.forward.torch_calls.mlx_functions import HELPERS
from mflux_port.draft.forward.writer.classes import Forward, named


def is_proven(forward: Forward | None) -> bool:
    """Whether a forward pass is written into its class: only if it was verified."""
    return forward is not None and forward.is_verified


def forward_source(forward: Forward, class_name: str, shared: str) -> list[str]:
    """The methods of a class, each after an empty line."""
    texts = (named(method.text, class_name, shared) for method in forward.methods)
    return [f"\n{textwrap.indent(text, '    ')}\n" for text in texts]


def initial_source(forward: Forward, class_name: str, shared: str) -> list[str]:
    """The lines at the end of ``__init__`` that create arrays that no checkpoint holds."""
    return [
        f"        {line}\n" if line else "\n"
        for line in named("\n".join(forward.initial), class_name, shared).splitlines()
    ]


def uses_functions(forward: Forward) -> bool:
    """Whether a forward pass calls the port's class of functions."""
    return "SHARED." in forward.key


def needs_math(forward: Forward) -> bool:
    """Whether a forward pass uses Python's math."""
    return bool(re.search(r"\bmath\.", forward.key))


def functions_file(forwards: list[Forward], name: str) -> str | None:
    """The file of functions that the proven forward passes of a component call, None if they call none."""
    used = {one for forward in forwards for one in forward.helpers if is_proven(forward)}
    texts = {one: HELPERS[one].strip() for one in sorted(used)}
    for forward in forwards:
        if is_proven(forward):
            texts |= forward.shared
    if not texts:
        return None
    body = "\n".join(
        f"    @staticmethod\n{textwrap.indent(named(text, name, name), '    ')}\n" for text in texts.values()
    )
    math = "import math\n\n" if re.search(r"\bmath\.", body) else ""
    layers = "from mlx import nn\n" if re.search(r"\bnn\.", body) else ""
    return f"{math}import mlx.core as mx\n{layers}\n\nclass {name}:\n{body}"
