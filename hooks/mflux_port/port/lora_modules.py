"""``porting/<model>/lora_modules.json``: the modules that a LoRA of the port has, as a draft found them in its transformer.

Each path (with ``{block}`` for a number) comes with its number of blocks, or null where it has none. Without the file, a
port has the modules that the template renders.
"""

from __future__ import annotations

import json
import os

from mflux_port.errors import PortError
from mflux_port.files.parsing import parse_json

LORA_MODULES = "porting/{model}/lora_modules.json"
_MOST_BLOCKS = 10_000

LoraModules = tuple[tuple[str, int | None], ...]


def read_lora_modules(checkout: os.PathLike | str, model: str) -> LoraModules:
    """The paths and their numbers of blocks, in the file's order; empty without a file. Raises PortError."""
    path = os.path.join(checkout, LORA_MODULES.format(model=model))
    try:
        with open(path, "rb") as file:
            modules = parse_json(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except ValueError:
        modules = None
    if not isinstance(modules, dict) or not all(_is_count(name, count) for name, count in modules.items()):
        raise PortError(
            f"{path} is no table of modules with their numbers of blocks; delete it and run `mflux-port draft` again"
        )
    return tuple(modules.items())


def lora_modules_text(modules: dict[str, int | None]) -> str:
    """The file's text for the modules of a draft."""
    return json.dumps(modules, indent=1) + "\n"


def _is_count(name: str, count: object) -> bool:
    if "{block}" not in name:
        return count is None
    return type(count) is int and 0 < count <= _MOST_BLOCKS
