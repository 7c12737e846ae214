"""The sizes of one component, under the names that a drafted constructor gives them."""

from __future__ import annotations

from typing import NamedTuple

from mflux_port.checkpoint.inference import dimensions

_TEXT, _VISION = "text_config", "vision_config"
_PREFIX = {_VISION: "vision_"}  # both towers have a hidden_size


class Size(NamedTuple):
    """A whole number, or a list of them, at ``key`` of a config.json; ``section``: the mapping in it, empty for the top
    level.
    """

    section: str
    key: str
    value: int | list[int]


def component_sizes(config: dict, towers: bool) -> dict[str, Size]:
    """The sizes of a config by name: those of its text model if it has one; with ``towers``, also those for images."""
    has_text = isinstance(config.get(_TEXT), dict)
    sections = {_TEXT if has_text else "": config[_TEXT] if has_text else config}
    if towers and isinstance(config.get(_VISION), dict):
        sections[_VISION] = config[_VISION]
    return {
        _PREFIX.get(section, "") + key: Size(section, key, value)
        for section, part in sections.items()
        for key, value in dimensions(part).items()
    }
