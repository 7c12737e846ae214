"""Strategies for answers: valid names of all forms, and invalid texts."""

from __future__ import annotations

from hypothesis import strategies as st

from fuzz.splicing import ANSWERS

keys = st.from_regex(r"[a-z][a-z0-9]{1,8}([._-][a-z0-9]{1,6}){0,3}", fullmatch=True).map(lambda name: f"x{name}")
repos = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,8}/[A-Za-z0-9]([A-Za-z0-9_-]|\.[A-Za-z0-9]){0,12}", fullmatch=True)
commands = st.from_regex(r"[a-z0-9]{1,6}([.-][a-z0-9]{1,6}){0,2}", fullmatch=True).map(lambda name: f"x-{name}")
displays = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,30}", fullmatch=True)
texts = st.text(max_size=40) | st.sampled_from(
    [
        '"',
        "'",
        "\\",
        '"""',
        "\n",
        "\r\n",
        "{{ 7 * 7 }}",
        "../x",
        "]",
        "# x",
        "\u2028",
        "\x85",
        "\x00",
        "\ud800",
        "${x}",
        "$(x)",
    ]
)
values = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20) | st.sampled_from(
    ['"', "'", "\\", '"""', "\\n", "{x}", "]", "# x", "\u2028", "\x85", "\ufeff", "${x}"]
)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(-1e17, 1e17) | values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(values, inner, max_size=3),
    max_leaves=8,
)
# Tables of sizes: numbers, words and lists of them, with names that are not keywords.
_words = (
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.text(st.sampled_from("az AZ'_#]{}%"), max_size=9)
)
sizes = st.dictionaries(
    st.from_regex(r"x[a-z]{1,8}", fullmatch=True), _words | st.lists(_words, max_size=3), max_size=3
)


@st.composite
def sound(draw) -> dict:
    """Generate answers in which every name has a form that the questions accept."""
    names = draw(st.lists(keys, min_size=1, max_size=3, unique=True))
    entries = [
        {
            "key": name,
            "hf_repo": draw(repos),
            "aliases": draw(st.lists(keys, max_size=3, unique=True)),
            "steps": draw(st.integers(1, 1000)),
            "variant": draw(st.sampled_from(["txt2img", "edit", "both"])),
            "cli_name": draw(st.just("") | commands),
            "revision": draw(st.just("") | st.from_regex(r"[0-9a-f]{40}", fullmatch=True)),
        }
        for name in names
    ]
    chosen = {
        "checkpoints": entries,
        "hf_repo": draw(repos),
        "display_name": draw(displays),
        "cli_name": draw(commands),
    }
    return {**ANSWERS, **chosen, "training": draw(st.booleans()), "steps": draw(st.integers(1, 1000))}
