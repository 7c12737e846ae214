"""TOK: what each rule of ``checks/rules/tokenizers.py`` must notice in the complete port."""

from __future__ import annotations

from tests.checks.breaking import Break, both, replace
from tests.checks.paths import DEFINITION, INIT

BREAKS = [
    Break("TOK01", replace(DEFINITION, '"tokenizer/*"', '"vae/*.txt"')),
    Break(
        "TOK02",
        both(
            replace(DEFINITION, 'tokenizer_class="AutoTokenizer"', 'tokenizer_class="T5Tokenizer"'),
            replace("pyproject.toml", '"sentencepiece', '"sentences'),
        ),
    ),
    Break("TOK03", replace(DEFINITION, "max_length=NovaWeightDefinition.MAX_SEQUENCE_LENGTH,\n")),
    Break("TOK04", replace(INIT, "TokenizerLoader.load_all(", "load_all(")),
]
