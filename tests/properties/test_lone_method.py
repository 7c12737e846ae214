"""A method that is parsed from its own lines alone is the one that the whole file has, or is left to the whole file."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mflux_port.wiring.source import Source, UnknownShape

_INSIDE = [
    "",
    "# a comment at the margin",
    "        # a comment",
    "        return 1",
    "        text = '''\nat the margin\n'''",
    "        text = '''\n    def wanted(key):\n        pass\n'''",
    "        values = [\n1,\n    ]",
    "        total = 1 + \\\n2",
    "        def inner():\n            return 2",
    "        def wanted(key):\n            return 3",
    "\f",
    "\f        return 4",
    "        'ü'; x = 5",
    "        if key: return 6",
    "\t\treturn 7",
]
_BESIDE = [
    "",
    "# a comment at the margin",
    "    @staticmethod",
    "    text = '''\n    def wanted(key):\n        pass\n'''",
    "    def other(\n        self,\n    ):\n        return 8",
    "    def wanted(key):\n        return 9",
    "    async \\\n    def wanted(key):\n        return 10",
    "    ü = 11",
    "\f",
]
_BELOW = [*_BESIDE, "class Other:\n    pass", "if True:\n    y = 12", "    )"]
_inside, _beside, _below = (st.lists(st.sampled_from(pieces), max_size=4) for pieces in (_INSIDE, _BESIDE, _BELOW))


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("piece", sorted({*_INSIDE, *_BELOW}))
def test_the_lines_of_a_method_beside_one_odd_thing(place: int, piece: str):
    _assert_same_as_in_the_file(*([piece] if place == number else [] for number in range(3)))


@given(_beside, _inside, _below, st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_the_lines_of_a_method_say_what_the_file_says(above, inside, below, newline, mark):
    _assert_same_as_in_the_file(above, inside, below, newline, mark)


def test_the_lines_are_enough_for_a_plain_file():
    text = "class Checker:\n    @staticmethod\n    def wanted(key):\n        return None\n\n    def other():\n        pass\n"
    source = Source("checker.py", text.encode())
    assert source.lone_method("wanted").body[0].lineno == 4
    assert "tree" not in vars(source)


@pytest.mark.parametrize(
    "method",
    [
        "    async def wanted(key):\n            pass\n",
        "    if 1: # def wanted(key):\n                x = 1\n",
        "    pass\ndef wanted(key): pass\n",
    ],
)
def test_what_is_no_plain_method_is_left_to_the_whole_file(method: str):
    assert Source("checker.py", f"class Checker:\n{method}".encode()).lone_method("wanted") is None


def _assert_same_as_in_the_file(above, inside, below, newline="\n", mark=""):
    lines = ["class Checker:", *above, "    def wanted(key):", "        x = 1", *inside, "        return None", *below]
    text = mark + "\n".join([*lines, ""])
    source = Source("checker.py", text.replace("\n", newline).encode())
    found = source.lone_method("wanted")
    whole = _whole(source)
    if found is None or whole is None:
        return
    whole.decorator_list = []
    assert ast.dump(found, include_attributes=True) == ast.dump(whole, include_attributes=True)
    assert source.text(source.window).startswith("    def wanted(")


def _whole(source: Source) -> ast.FunctionDef | None:
    # What the file says when it is parsed whole: None when that fails, or when it has another number of them.
    try:
        found = [node for node in source.functions if node.name == "wanted"]
    except UnknownShape:
        return None
    return found[0] if len(found) == 1 else None
