"""All trials of one family that was drafted once: other inputs, mutants, bfloat16. Prints JSON. Needs torch and MLX."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bfloat16 import ratios  # noqa: E402
from drafted_twin import drafted_twin  # noqa: E402
from mutants import Mutation  # noqa: E402
from unrecorded import WRONG, outcomes  # noqa: E402

EVERY = 4  # tries one mutant in this many


def main(name: str) -> None:
    twin = drafted_twin(name)
    found = outcomes(twin)
    mutation = Mutation(twin)
    mutants = [one for number, one in enumerate(mutation.mutants()) if number % EVERY == 0]
    missed = [told for cls, told, changed in mutants if not mutation.is_seen(cls, changed)]
    _, mine, theirs = ratios(twin)[-1]
    told = {"outcomes": Counter(outcome for _, _, outcome, _ in found), "mutants": len(mutants), "missed": missed,
            "wrong": [one for one in found if one[2] == WRONG], "bfloat16": mine / theirs}  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1])
