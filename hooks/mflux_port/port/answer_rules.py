"""The table of allowed answers, ``components/answer_rules.yml``, and functions that check single values against it."""

from __future__ import annotations

import keyword
import re
from functools import cache

from mflux_port.errors import PortError, short_repr
from mflux_port.files.yaml_files import read_yaml
from mflux_port.template.project import project_root


@cache
def answer_rules() -> dict:
    """The rules by question; those for entries of ``checkpoints`` are under ``entry``."""
    return _never_asked("answer_rules")


@cache
def taken_class_names() -> frozenset[str]:
    """Names that no port's class may have: a port imports them, or its class names begin with them."""
    return frozenset(_never_asked("taken_class_names"))


def choices(question: str) -> list[str]:
    """The answers that ``question`` offers."""
    listed = answer_rules()[question]["choices"]
    return list(listed.values() if isinstance(listed, dict) else listed)


def verify_text(value: object, rule: dict, where: str) -> None:
    """Raise PortError, starting with ``where``, when ``value`` is not a text that ``rule`` allows."""
    if not isinstance(value, str):
        raise PortError(f"{where} is {short_repr(value)}, which is not text; write {rule['wanted']}, in quotes")
    if not re.fullmatch(rule["pattern"], value) or len(value) > rule["longest"]:
        wanted = f"{rule['wanted']} (at most {rule['longest']} characters)"
        raise PortError(f"{where} is {short_repr(value)}; write {wanted}")


def verify_flag(value: object, where: str) -> None:
    """The same for a value that must be true or false."""
    if not isinstance(value, bool):
        raise PortError(f"{where} is {short_repr(value)}; write true or false, without quotes")


def verify_number(value: object, rule: dict, where: str, whole: bool = False) -> None:
    """The same for a number from ``least`` to ``most`` of ``rule``, and a ``multiple`` of one; NaN is refused."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not rule["least"] <= value <= rule["most"]:
        kind = "a whole number" if whole else "a number"
        raise PortError(f"{where} is {short_repr(value)}; write {kind} from {rule['least']:g} to {rule['most']:g}")
    if "multiple" in rule and value % rule["multiple"]:
        raise PortError(f"{where} is {value}; write a multiple of {rule['multiple']}")


def verify_choice(value: object, question: str, where: str) -> None:
    """The same for a value that ``question`` must offer as an answer."""
    if not isinstance(value, str):
        raise PortError(f"{where} is {short_repr(value)}, which is not text; write one of {_listed(question)}")
    if value not in choices(question):
        raise PortError(f"{where} is {short_repr(value)}; write one of {_listed(question)}")


def is_python_word(name: str) -> bool:
    """Whether ``name`` is a Python keyword."""
    return keyword.iskeyword(name)


def _listed(question: str) -> str:
    return ", ".join(choices(question))


def _never_asked(component: str) -> object:
    # Each of these files begins with one question that is never asked; its default is the table.
    path = project_root() / f"components/{component}.yml"
    questions = read_yaml(path, "install copier-mflux-port again")
    return next(iter(questions.values()))["default"]
