"""The data file for ``copier copy --data-file``: YAML, one comment for every inferred answer."""

from __future__ import annotations

import re
from pathlib import Path

import mflux_port
from mflux_port.checkpoint.inference import Answer
from mflux_port.errors import one_line

# Questions of the template that a checkpoint may answer, in the order in which they are asked.
_ORDER = (
    "model", "display_name", "hf_repo", "reference_pipeline", "steps", "guidance", "supports_guidance", "checkpoints",
    "vae", "text_encoder", "scheduler", "negative_prompt",
)  # fmt: skip


def answers_yaml(answers: dict[str, Answer], where: str) -> str:
    """The file's text. Unknown answers are included and marked, because each must be looked up."""
    lines = [f"# Inferred by mflux-port inspect from {one_line(where)}. Look at every line before you use it.", ""]
    for name in _ORDER:
        if name in answers:
            answer = answers[name]
            lines += [f"# {'' if answer.known else 'LOOK UP - '}{one_line(answer.why)}", _entry(name, answer.value)]
        elif name in ("model", "hf_repo"):
            lines += [f"# LOOK UP - {name} is not in the checkpoint; Copier will ask for it", ""]
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, value: object) -> str:
    import yaml

    return yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=110)


def only_offered(answers: dict[str, Answer]) -> dict[str, Answer]:
    """The answers with every choice that this version of the template does not offer replaced by ``own``."""
    offers = _offers()
    kept = dict(answers)
    for question, values in offers.items():
        answer = answers.get(question)
        if answer and values and answer.value not in values:
            kept[question] = Answer("own", f"{answer.why}; the template does not offer {answer.value} yet")
    return kept


def _offers() -> dict[str, set[str]]:
    package = Path(mflux_port.__file__).resolve().parent
    # A wheel carries the template beside the package; in a clone it is the repository itself.
    bundled = package / "_project" / "copier.yml"
    text = (bundled if bundled.is_file() else package.parents[1] / "copier.yml").read_text(encoding="utf-8")
    found = {}
    for question in ("vae", "text_encoder", "scheduler"):
        block = re.search(rf"^{question}:\n((?:[ ].*\n)+)", text, re.MULTILINE)
        found[question] = set(re.findall(r'^    ".*": ([a-z0-9_]+)$', block[1], re.MULTILINE)) if block else set()
    return found
