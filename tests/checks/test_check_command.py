"""``check``, ``status`` and ``finish`` as a user runs them."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest
from mflux_port.checks.engine.evidence import CLAIM_FLAGS

from tests.checks.complete_port import MODEL, git


@pytest.fixture
def own(completed, tmp_path):
    """A copy of the complete port that the test may change."""
    return shutil.copytree(completed, tmp_path / "mflux")


def test_check_prints_rows_and_its_exit_code_follows_them(mflux_port, rendered, completed):
    good = mflux_port("check", MODEL, "--merge", cwd=completed)
    assert good.returncode == 0 and "0 fail" not in good.stdout and f"{MODEL}: " in good.stdout
    bad = mflux_port("check", MODEL, "--merge", cwd=rendered)
    assert bad.returncode == 1
    assert "FAIL  MRG01" in bad.stdout and "fix    " in bad.stdout and "YOU   MRG12" in bad.stdout


def test_check_prints_json(mflux_port, rendered):
    rows = json.loads(mflux_port("check", MODEL, "--json", cwd=rendered).stdout)["rows"]
    assert {"model", "rule", "title", "state", "detail", "looks_at", "fix", "file", "line"} == set(rows[0])


def test_check_explains_a_rule(mflux_port, tmp_path):
    done = mflux_port("check", "--explain", "reg12", cwd=tmp_path)
    assert done.returncode == 0 and "#405" in done.stdout
    assert mflux_port("check", "--explain", "REG99", cwd=tmp_path).returncode == 2
    unknown = mflux_port("check", "--explain", "foo", cwd=tmp_path).stderr
    assert "LAY" in unknown and len(unknown) < 300


@pytest.mark.parametrize("arguments", [["check", "nothing"], ["status", "nothing"], ["finish", "nothing"]])
def test_unknown_model_is_one_line(mflux_port, rendered, arguments):
    done = mflux_port(*arguments, cwd=rendered)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "nothing" in done.stderr


def test_check_outside_a_checkout_is_one_line(mflux_port, tmp_path):
    done = mflux_port("check", cwd=tmp_path)
    assert done.returncode == 2 and "is not an mflux checkout" in done.stderr


def test_broken_project_file_is_one_line(mflux_port, own):
    (own / "pyproject.toml").write_text("[project\n")
    for command in ("check", "status"):
        done = mflux_port(command, cwd=own)
        assert done.returncode == 2 and "Traceback" not in done.stderr


def test_status_reads_the_evidence(mflux_port, rendered, completed):
    fresh = json.loads(mflux_port("status", "--json", cwd=rendered).stdout)["ports"][0]
    assert fresh["reached"] == "wired" and "make_tiny_checkpoint.py" in fresh["next"]["command"]
    done = json.loads(mflux_port("status", "--json", cwd=completed).stdout)
    assert done["ports"][0]["reached"] == "merge-ready"
    assert done["ports"][0]["next"]["command"] == f"mflux-port finish {MODEL}"
    assert "flux2" in done["merged"]


def test_every_claim_without_proof_has_a_command(mflux_port, rendered):
    rows = json.loads(mflux_port("check", MODEL, "--merge", "--json", cwd=rendered).stdout)["rows"]
    (row,) = (row for row in rows if row["rule"] == "MRG21")
    claims = dict(part.split(": ", 1) for part in row["detail"].split("; "))
    assert [name.removesuffix(" is open") for name in claims] == [*CLAIM_FLAGS]
    for name, flag in zip(claims, CLAIM_FLAGS.values(), strict=True):
        recorded = "" if "quantized" in name else f" {flag}"
        record, judge = (f"porting/{MODEL}/run_{side}.py" for side in ("reference", "mflux"))
        assert claims[name] == f"uv run {record}{recorded} && uv run python {judge} {flag}"


def test_a_tick_without_figures_proves_nothing(mflux_port, own):
    path = own / f"porting/{MODEL}/PORTING.md"
    text = path.read_text()
    mark = "<!-- evidence: transformer -->"
    line = next(line for line in text.splitlines() if mark in line)
    path.write_text(text.replace(line, line.partition(mark)[0] + mark))
    port = json.loads(mflux_port("status", "--json", cwd=own).stdout)["ports"][0]
    assert port["reached"] == "VAE" and not port["steps"]["transformer"]


def test_status_says_why_a_ticked_box_does_not_count(mflux_port, own):
    path = own / f"porting/{MODEL}/PORTING.md"
    path.write_text(path.read_text().replace("1024x1024", "64x64"))
    port = json.loads(mflux_port("status", "--json", cwd=own).stdout)["ports"][0]
    judge = f"uv run python porting/{MODEL}/run_mflux.py --stage vae_decode"
    reason = "vae_decode was run at 64x64; only 512x512 or larger counts"
    command = f"uv run porting/{MODEL}/run_reference.py --size 512 && uv run python porting/{MODEL}/run_mflux.py"
    assert port["next"] == {"command": command, "reason": reason, "edit": ""}
    said = mflux_port("check", MODEL, "--merge", cwd=own).stdout.splitlines()
    row = said[next(n for n, line in enumerate(said) if "MRG01" in line) + 1]
    assert reason in row and row.endswith(judge)


def test_status_reports_lost_wiring(mflux_port, own):
    (own / "CHANGELOG.md").write_text("# Changelog\n\n## [Unreleased]\n")
    done = mflux_port("status", cwd=own)
    assert done.returncode == 1 and "changelog" in done.stdout


def test_finish_refuses_while_a_row_fails(mflux_port, rendered, tmp_path):
    own = shutil.copytree(rendered, tmp_path / "mflux")
    done = mflux_port("finish", MODEL, cwd=own)
    assert done.returncode == 1 and "nothing was removed" in done.stderr
    found = json.loads(mflux_port("finish", MODEL, "--json", cwd=own).stdout)
    assert found["removed"] == [] and "MRG01" in {row["rule"] for row in found["rows"]}
    assert (own / f"porting/{MODEL}").is_dir()


def test_finish_refuses_files_that_git_cannot_restore(mflux_port, own):
    (own / f"porting/{MODEL}/notes.md").write_text("mine")
    done = mflux_port("finish", MODEL, cwd=own)
    assert done.returncode == 2 and "notes.md" in done.stderr and (own / f"porting/{MODEL}/notes.md").is_file()


def test_finish_removes_the_scaffolding(mflux_port, own):
    dry = mflux_port("finish", MODEL, "--dry-run", cwd=own)
    assert dry.returncode == 0 and f"--- a/porting/{MODEL}/answers.yml" in dry.stdout
    assert git(own, "status", "--porcelain") == ""
    done = mflux_port("finish", MODEL, "--description", "pr.md", cwd=own)
    assert done.returncode == 0, done.stderr
    assert not (own / "porting").exists()
    changed = git(own, "status", "--porcelain").splitlines()
    others = [line for line in changed if not line.split()[-1].startswith("porting/")]
    key_test = f"tests/parity/test_{MODEL}_checkpoint_keys.py"  # this test reads the porting folder
    assert sorted(others) == [f" D {key_test}", "?? pr.md"]
    text = (own / "pr.md").read_text()
    for part in (
        "3.1e-06",
        "`pyproject.toml`: wiring: pyproject",
        "12.5 GB",
        "```release-note",
        "mflux-save --model nova-turbo",
    ):
        assert part in text
    assert "porting/" not in text and "mflux-port" not in text
    subprocess.run(done.stdout.splitlines()[-1].removeprefix("next: "), shell=True, cwd=own, check=True)
    assert git(own, "status", "--porcelain") == "?? pr.md"
    (own / "pr.md").unlink()
    after = mflux_port("check", MODEL, "--merge", cwd=own)
    assert after.returncode == 0, after.stdout
