"""Runs in mflux's environment: print as JSON what each name means to this mflux.

Usage: name_facts.py <name> …, in addition to every name of the registry.
"""

from __future__ import annotations

import functools
import json
import sys
import tempfile

from mflux.cli.parser.parsers import CommandLineParser
from mflux.models.common.cli import save
from mflux.models.common.config.model_config import AVAILABLE_MODELS, ModelConfig


class Routed(Exception):
    """Stops mflux-save and holds the name of the class that it would have loaded."""


def main() -> None:
    names = list(dict.fromkeys([n for key, c in AVAILABLE_MODELS.items() for n in (key, *c.aliases, c.model_name)]))
    names += [name for name in sys.argv[1:] if name not in names]
    stop_at_the_class()
    with tempfile.TemporaryDirectory() as empty:
        print(json.dumps({name: [config_of(name), steps_of(name), saved_class_of(name, empty)] for name in names}))


def config_of(name: str) -> dict | str:
    try:
        return {key: repr(value) for key, value in vars(ModelConfig.from_name(name)).items() if key != "priority"}
    except Exception as error:  # noqa: BLE001 - a refused name is a result, too
        return type(error).__name__


def steps_of(name: str) -> int:
    parser = CommandLineParser()
    parser.add_general_arguments()
    parser.add_model_arguments(require_model_arg=False)
    parser.add_image_generator_arguments(supports_metadata_config=False)
    sys.argv = ["mflux-generate", "--model", name, "--prompt", "a boat"]
    return parser.parse_args().steps


def saved_class_of(name: str, folder: str) -> str:
    sys.argv = ["mflux-save", "--model", name, "--path", folder]
    try:
        save.main()
    except Routed as routed:
        return str(routed)
    except SystemExit:
        return "refused"
    return "nothing loaded"


def stop_at_the_class() -> None:
    # Replaced in place, so that tables of classes see it too; the signature stays, because mflux-save reads it.
    for kind in {value for value in vars(save).values() if isinstance(value, type) and hasattr(value, "save_model")}:
        kind.__init__ = routed_init(kind)


def routed_init(kind: type):
    @functools.wraps(kind.__init__)
    def init(self, *args, **kwargs):
        raise Routed(kind.__name__)

    return init


if __name__ == "__main__":
    main()
