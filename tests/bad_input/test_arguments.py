"""Command lines that the commands refuse."""

from __future__ import annotations

import pytest
from mflux_port.cli import COMMANDS, main

from tests.bad_input.world import complains, refused

LONG = "x" * 100_000
# The typed arguments, and words in the error line. The working directory is the checkout.
BAD = [
    ("", "the following arguments are required: command; see `mflux-port --help`"),
    ("wier", "invalid choice: 'wier'"),
    ("--verbose", "the following arguments are required: command"),
    # every command
    *((f"{name} --drry-run", "see `mflux-port") for name in COMMANDS),
    *((f"{name} --checkout", "argument --checkout: expected one argument") for name in COMMANDS),
    # wire and unwire
    *((f"{name}", "the following arguments are required: model") for name in ("wire", "unwire", "finish")),
    *((f"{name} nova vega", "unrecognized arguments: vega") for name in ("wire", "unwire", "finish", "check", "status")),
    *((f"{name} vega", "porting/vega/answers.yml is missing; start the port with `copier copy`")
      for name in ("wire", "unwire", "finish", "ledger", "draft --checkpoint .")),
    *((f"{name} {model}", "is not a package name") for name in ("wire", "unwire", "finish", "ledger")
      for model in ("../nova", "Nova", "nova/", "no-va", "\udcff")),
    *((f"{name} --checkout {where}", "is not an mflux checkout")
      for name in ("wire nova", "unwire nova", "check", "status", "finish nova", "ledger nova", "update",
                   "draft nova --checkpoint .") for where in ("/nowhere", "/etc/hostname", "/")),
    # check and status
    ("check vega", "src/mflux/models/vega does not exist; name one of"),
    *((f"check {model}", "is not a package name") for model in ("..", "../models/flux2", "/etc", "flux2/", LONG)),
    ("check --explain", "argument --explain: expected one argument"),
    ("check --explain NOPE", "NOPE is not a rule; name one of"),
    ("check --explain LAY99", "LAY99 is not a rule; name one of LAY01"),
    ("status vega", "vega has no porting folder here; the checkout's ports are nova"),
    ("status ../nova", "../nova has no porting folder here"),
    # draft and ledger
    ("draft nova", "the following arguments are required: --checkpoint"),
    ("draft nova --checkpoint /nowhere", "/nowhere does not exist and is not a repo id"),
    ("draft nova --checkpoint ../checkpoint --component unet", "unet is not a component of this port"),
    ("draft nova --checkpoint ../checkpoint --component vae", "has no vae, it has transformer; choose with --component"),
    ("ledger nova", "checkpoint_keys.txt is missing; name the checkpoint once with --checkpoint"),
    ("ledger nova --lora", "argument --lora: expected at least one argument"),
    ("ledger nova --key vega --checkpoint ../checkpoint", "nova has no checkpoint 'vega'; it has nova, nova-edit"),
    ("ledger nova --checkpoint /nowhere", "/nowhere does not exist and is not a repo id"),
    # inspect
    ("inspect", "the following arguments are required: checkpoint"),
    ("inspect /nowhere", "/nowhere does not exist and is not a repo id; type a folder or organisation/name"),
    ("inspect nowhere", "nowhere does not exist and is not a repo id"),
    ("inspect a/b/c", "a/b/c does not exist and is not a repo id"),
    ("inspect a/../b", "a/../b does not exist and is not a repo id"),
    ("inspect ~nobody-of-that-name/x", "~nobody-of-that-name/x does not exist and is not a repo id"),
    ("inspect acme/Nova-Nowhere", "is not in the Hugging Face cache and HF_HUB_OFFLINE is set"),
    (f"inspect {LONG}", "cannot be read (File name too long)"),
    ("inspect README.md", "README.md is not a .safetensors file"),
    ("inspect /dev/null", "cannot use /dev/null: Not a directory"),
    ("inspect src", "src holds no safetensors file"),
    ("inspect ../checkpoint -o README.md", "README.md exists; name another file, or add --force"),
    ("inspect ../checkpoint -o /nowhere/a.yml", "/nowhere/a.yml"),
    ("inspect ../checkpoint -o src --force", "src"),
    ("inspect ../checkpoint --repo nova", "'nova' is not a Hugging Face repo id"),
    ("inspect ../checkpoint --repo acme/../nova", "is not a Hugging Face repo id"),
    ("inspect ../checkpoint --saved a", "--saved needs --sizes MODEL"),
    ("inspect ../checkpoint --sizes vega", "porting/vega/answers.yml is missing"),
    ("inspect ../checkpoint --sizes ../nova", "is not a package name"),
    ("inspect /nowhere --sizes nova", "/nowhere is not on this disk"),
    ("inspect porting/nova/answers.yml --sizes nova", "is not on this disk"),
    ("inspect ../checkpoint --sizes nova --saved /nowhere", "/nowhere is not a quantized copy made by mflux-save"),
    # update
    ("update nova --all", "name one port or --all, not both"),
    ("update vega", "has no port vega; it has nova"),
    ("update --to", "argument --to: expected one argument"),
    ("update nova --to=--upload-pack=x", "--to --upload-pack=x is not a version of a template; git would take it"),
    ("update nova --template /nowhere", "the template of nova cannot be reached at /nowhere"),
    ("update nova --template ../checkpoint", "cannot be reached at ../checkpoint (it is not a git repository with a commit)"),
    ("update nova --template=--upload-pack=x.git", "--template --upload-pack=x.git is not a place of a template"),
    ("update --restore", "no update was interrupted"),
    # demo
    ("demo --mflux latest --into ../demo", "'latest' is not an mflux release; type one like"),
    ("demo --mflux ../0.24.0 --into ../demo", "'../0.24.0' is not an mflux release"),
    ("demo --mflux 0.17.5 --into ../demo", "the template supports mflux 0.18.0 and later"),
    ("demo --into", "argument --into: expected one argument"),
    ("demo --into README.md", "README.md"),
]  # fmt: skip
NOTICE = "if this is interrupted, `mflux-port update --restore` restores the tree\n"


@pytest.mark.parametrize(("typed", "words"), [pytest.param(*case, id=case[0][:60] or "nothing") for case in BAD])
def test_bad_arguments(world, capsys, typed, words):
    out = NOTICE if typed.startswith("update nova --template ") else ""
    refused(world, capsys, typed.split(), (words,), out)


@pytest.mark.parametrize("typed", [["inspect", ""], ["draft", "nova", "--checkpoint", ""], ["check", ""], ["wire", ""]])
def test_empty_words(world, capsys, typed):
    refused(world, capsys, typed, ("package name" if typed[0] in ("check", "wire") else "is not a checkpoint; type",))


def test_checkout_that_is_a_link_to_itself(world, capsys):
    (world.home / "loop").symlink_to("loop")
    refused(world, capsys, ["wire", "nova", "--checkout", "../loop"], ("is not an mflux checkout",))


def test_a_checkout_without_ports(world, capsys):
    world.path("porting").rename(world.home / "porting")
    with world.unchanged():
        complains(capsys, ["update"], ("has no port of this template",))
        assert main(["status"]) == 0


def test_a_checkout_with_two_ports(world, capsys):
    world.write("porting/vega/answers.yml", world.path("porting/nova/answers.yml").read_bytes())
    refused(world, capsys, ["update"], ("has 2 ports (nova, vega); name one, or --all",))
