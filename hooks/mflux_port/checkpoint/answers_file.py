"""The data file for ``copier copy --data-file``: YAML with a comment for every inferred answer."""

from __future__ import annotations

from mflux_port.checkpoint.inference import Answer
from mflux_port.errors import one_line
from mflux_port.port.answer_rules import choices

# Questions of the template that a checkpoint may answer, in the order in which they are asked.
_ORDER = (
    "model", "display_name", "hf_repo", "reference_pipeline", "steps", "guidance", "supports_guidance", "checkpoints",
    "variants", "vae", "text_encoder", "text_encoders", "folders", "size_multiple", "scheduler",
    "negative_prompt",
)  # fmt: skip


# The comment written where the checkpoint does not give an answer.
_ABSENT = {
    "model": "model is not in the checkpoint; Copier will ask for it",
    "hf_repo": "hf_repo is not in the checkpoint; Copier will ask for it",
    "checkpoints": "checkpoints is left out without a repo id, and with it this checkpoint's sizes and sigma shift; "
    "run inspect again with --repo ORG/NAME",
}


def answers_yaml(answers: dict[str, Answer], where: str) -> str:
    """Return the file's text. Unknown answers are included and marked, because the porter must look each of them up."""
    lines = [f"# Inferred by mflux-port inspect from {one_line(where)}. Look at every line before you use it.", ""]
    for name in _ORDER:
        if name in answers:
            answer = answers[name]
            lines += [f"# {'' if answer.known else 'LOOK UP - '}{one_line(answer.why)}", _entry(name, answer.value)]
        elif name in _ABSENT:
            lines += [f"# LOOK UP - {_ABSENT[name]}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _entry(name: str, value: object) -> str:
    import yaml

    return yaml.safe_dump({name: value}, sort_keys=False, allow_unicode=True, width=110)


def only_offered(answers: dict[str, Answer]) -> dict[str, Answer]:
    """Return the answers, with ``own`` in place of every choice that this version of the template does not offer."""
    kept = dict(answers)
    for question in ("vae", "text_encoder", "scheduler"):
        answer = answers.get(question)
        if answer and answer.value not in choices(question):
            kept[question] = Answer("own", f"{answer.why}; the template does not offer {answer.value} yet")
    return kept
