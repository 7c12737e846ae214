"""Tables of rotary embeddings: read from several runs, and written as code with the same numbers."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from mflux_port.draft.glue.expressions import Given, argument
from mflux_port.draft.glue.prompt_embeds import PromptEmbeds
from mflux_port.draft.glue.transformer_call import ROTARY
from mflux_port.draft.pipeline.rotary import rotary


@pytest.mark.parametrize("layout", ["alternating", "rows first"])
@pytest.mark.parametrize(("heights", "factor"), [((4, 6), {"factor": 1.0}), ((32, 64), {"side": 128.0})])
def test_rotary_table_is_read_and_written_with_the_same_numbers(layout, heights, factor):
    """Written here from the definition: angle = position / theta ** (k / count) / factor."""
    frequencies = 10000.0 ** -(np.arange(3) / 3)
    sizes = [{"pixel height": height, "pixel width": 64} for height in heights]
    factors = [factor.get("factor") or (height * 64) ** 0.5 / 128 for height in heights]
    tables = [_table(layout, frequencies / one) for one in factors]
    rule = rotary(tables, sizes, {"head_dim": 12, "heads": 12})
    assert rule == {"is": "rotary", "positions": [5, 7], "width": "head_dim", "layout": layout, "theta": 10000} | factor
    given = Given("Drafted", PromptEmbeds(), pixels=8)
    scope: dict = {"mx": np, "transformer": SimpleNamespace(head_dim=12), "height": heights[1] // 8, "width": 8}
    call = argument(rule, given)
    exec(f"class Drafted:\n{ROTARY[layout].replace('mx.array', 'object')}\n", scope)
    written = eval(call, scope)
    expected = np.stack([tables[1].real, tables[1].imag], axis=-1)
    assert np.allclose(written, expected, atol=1e-5)
    assert rotary([tables[0] + 0.1, tables[1]], sizes, {"head_dim": 12}) is None
    assert rotary(tables, sizes, {"heads": 12}) is None


def _table(layout: str, frequencies: np.ndarray) -> np.ndarray:
    rows, columns = (np.arange(size)[:, None] * frequencies for size in (5, 7))
    by_row, by_column = np.broadcast_arrays(rows[:, None], columns[None])
    if layout == "rows first":
        return np.exp(1j * np.concatenate([by_row, by_column], axis=-1))
    return np.exp(1j * np.stack([by_row, by_column], axis=-1).reshape(5, 7, 6))
