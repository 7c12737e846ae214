"""The prompt of a recording if none is given."""

from __future__ import annotations

import inspect
import re
import sys

from parity.answers import PROMPT

WITH_WORDS = f'{PROMPT}, and a sign that says "OPEN"'
_READS_WORDS = re.compile(r"^def \w*(?:glyph|quot)\w*\(", re.MULTILINE)


def usual_prompt(pipeline: type) -> str:
    """``PROMPT``, with quoted words if the pipeline reads them, in a function of its module that is named after them.

    A text encoder that gets only those words would not run otherwise.
    """
    try:
        source = inspect.getsource(sys.modules[pipeline.__module__])
    except (OSError, TypeError, KeyError):  # no source to read
        return PROMPT
    return WITH_WORDS if _READS_WORDS.search(source) else PROMPT
