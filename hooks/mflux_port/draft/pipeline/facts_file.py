"""``porting/<model>/pipeline_facts.yml``: what a draft read from the pipeline, for people and for the rendered glue."""

from __future__ import annotations

from mflux_port.draft.pipeline.fact import Fact

FACTS = "porting/{model}/pipeline_facts.yml"
_HEAD = """\
# What the reference's pipeline does between its networks, read from runs of the tiny twin by `mflux-port draft`.
# Each entry says where it was read. `alternatives` are other values that fit, or what was tried and did not fit: decide there.
"""


def facts_text(facts: list[Fact]) -> str:
    """The file's text. The same facts give the same bytes."""
    import yaml  # every interpreter that runs a draft has PyYAML

    entries = {fact.name: fact.as_dict() for fact in facts}
    return _HEAD + yaml.safe_dump(entries, sort_keys=False, allow_unicode=True, width=120)


def summary(facts: list[Fact]) -> str:
    """One line for the terminal."""
    open_ones = [fact.name for fact in facts if not fact.is_decided]
    rest = f", to be decided: {', '.join(open_ones)}" if open_ones else ""
    return f"pipeline: {len(facts) - len(open_ones)} of {len(facts)} facts read{rest}"
