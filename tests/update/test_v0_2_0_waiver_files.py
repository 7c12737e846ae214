"""The two waiver files of template v0.1.0 as one: nothing that the porter wrote is lost."""

from __future__ import annotations

import pytest
import yaml
from mflux_port.errors import PortError
from mflux_port.update import v0_2_0_waiver_files
from mflux_port.update.v0_2_0_waiver_files import merge_waivers

ENTRY = {"module": "vae.*", "limit": 1e-4, "reason": "mflux has another eps here"}
BLOCK = '- module: "vae.*"\n  limit: 1.0e-4\n  reason: >-\n    mflux has\n    another eps here\n'
FLOW = '[{module: "vae.*", limit: 1.0e-4,\n  reason: mflux has another eps here}]'


@pytest.fixture
def merged(tmp_path, monkeypatch):
    """``merged(ledger, waivers)``: the text of waivers.yml afterwards, None when there is no file."""
    monkeypatch.setattr(v0_2_0_waiver_files, "amend", lambda root, **facts: None)
    home = tmp_path / "porting/nova"
    home.mkdir(parents=True)

    def merge(ledger: str | None, waivers: str | None) -> str | None:
        for name, text in (("ledger_waivers.yml", ledger), ("waivers.yml", waivers)):
            if text is not None:
                (home / name).write_text(text)
        merge_waivers(tmp_path, "nova")
        assert not (home / "ledger_waivers.yml").exists()
        return (home / "waivers.yml").read_text() if (home / "waivers.yml").exists() else None

    return merge


@pytest.mark.parametrize("text", [BLOCK, FLOW, f"---\n{BLOCK}", f"# one\n--- # two\n{BLOCK}", f"# one\n\n{BLOCK}# two"])
def test_the_list_becomes_a_section(merged, text):
    found = merged(None, text)
    assert yaml.safe_load(found) == {"parity": [ENTRY]}
    assert found.count("# one") == text.count("# one") and found.count("# two") <= text.count("# two")


def test_both_files_become_one(merged):
    found = merged("# ours\nvae:\n  tensors: {bn.*: counters}\ntransformer:\n", BLOCK)
    entry = {"component": "vae", "tensor": "bn.*", "reason": "counters"}
    assert yaml.safe_load(found) == {"ledger": [entry], "parity": [ENTRY]} and "# ours" in found


@pytest.mark.parametrize(("ledger", "waivers"), [(None, None), (None, "ledger: []\n"), (None, ""), ("", "")])
def test_without_old_files_nothing_changes(merged, ledger, waivers):
    assert merged(ledger, waivers) == waivers


def test_files_without_entries_keep_their_comments(merged):
    assert merged("# ours\n", "# one\n[]\n") == "# ours\n# one\n"


def test_file_with_sections_receives_the_ledger_entries(merged):
    found = merged("vae: {parameters: {freqs: computed}}\n", "parity: []\n")
    assert yaml.safe_load(found)["ledger"] == [{"component": "vae", "parameter": "freqs", "reason": "computed"}]


@pytest.mark.parametrize(
    ("ledger", "waivers", "told"),
    [
        ("vae: [a]\n", None, "must be a mapping of components"),
        ("- vae\n", None, "must be a mapping of components"),
        ("vae: {weights: {a: b}}\n", None, "must be a mapping of components"),
        ("vae: {tensors: {a: }}\n", None, "entry 1 of ledger"),
        (None, "[\n", "waivers.yml"),
        (None, "text\n", "write the entries there"),
        ("vae: {tensors: {a: counters}}\n", "ledger: []\n", "are both there"),
    ],
)
def test_files_that_v010_would_not_read_are_refused(merged, ledger, waivers, told):
    with pytest.raises(PortError, match=told):
        merged(ledger, waivers)
