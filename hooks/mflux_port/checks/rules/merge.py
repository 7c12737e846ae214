"""MRG: what must be true before the pull request: proof, no traces, and a reason for every outside change."""

from __future__ import annotations

import re

from mflux_port.checks.engine import evidence, reasons, syntax
from mflux_port.checks.engine.changes import changed_outside, known_reason, missing_milestones, written_reasons
from mflux_port.checks.engine.debug_code import debugging_calls, unwritten_lines
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, failed_if, needs_you, not_applicable, passed, rule

_CODE = "src/mflux/models/<model>/**/*.py"
_PORTING = "porting/<model>/PORTING.md"
_PLACEHOLDERS = re.compile(r"\b(TODO|FIXME|XXX)\b|not measured yet|is listed here\.")
_IMAGES = re.compile(r"\.(png|jpe?g|webp|gif|mp4)$", re.IGNORECASE)
_TENSORS = re.compile(r"\.(safetensors|npy|npz|pt|bin|gguf)$|(^|/)(debug_)?artifacts/")


def _in_branch(package: Package) -> str | None:
    return reasons.is_open(package) or reasons.in_git(package)


@rule(
    "MRG01",
    looks_at=_PORTING,
    fix="run porting/<model>/run_mflux.py; it ticks the box and writes the figures after it",
    why="correctness first: each stage is proven against the reference before anything is polished",
    only=reasons.is_open,
    when=MERGE,
)
def stages_are_proven(package: Package) -> Verdict:
    """Every stage was proven against the reference, with figures"""
    return _unproven(package, evidence.wanted(package))


@rule(
    "MRG20",
    looks_at=_PORTING,
    fix="run porting/<model>/run_mflux.py --dtype bfloat16 without --stage; it ticks the box and writes the figures after it",
    why="mflux runs in bfloat16: a cast in the wrong place (a timestep's sinusoid) passes every float32 run",
    only=reasons.is_open,
    when=MERGE,
)
def bfloat16_is_proven(package: Package) -> Verdict:
    """Every stage was proven in bfloat16, too"""
    return _unproven(package, [evidence.BFLOAT16])


@rule(
    "MRG21",
    looks_at=_PORTING,
    fix="run both runners with the flag; the second one ticks the box and writes the figures after it",
    why="LoRA targets swapped, a scale applied twice, training without the timestep shift: text-to-image pictures do not show it",
    only=reasons.is_open,
    when=MERGE,
)
def claims_are_proven(package: Package) -> Verdict:
    """Every claim besides text-to-image is proven: editing, image-to-image, LoRA, training, quantized"""
    found, claimed = evidence.stages(package), evidence.claimed(package)
    problems = [_MISSING.format(claim) for claim in claimed if claim not in found]
    boxes = {claim: found[claim] for claim in claimed if claim in found and found[claim].problem}
    # A port whose stages were proven on a twin has no other checkpoint here.
    given = evidence.TWIN.format(model=package.model) if any(box.on_twin for box in found.values()) else ""
    for claim, box in boxes.items():
        checkpoint = given if evidence.shares_checkpoint(package, claim) else ""
        problems.append(f"{claim} {box.problem}: {box.commands(package.model, checkpoint)}")
    return failed("; ".join(problems)) if problems else passed()  # each has its own command


_MISSING = "{0}: its line is missing in PORTING.md: `- [ ] Done <!-- evidence: {0} -->`"


def _unproven(package: Package, wanted: list[str]) -> Verdict:
    """Fail with the reason why each box does not count, and the command that proves the first of them."""
    found = evidence.stages(package)
    problems = [_MISSING.format(stage) for stage in wanted if stage not in found]
    lacking = [stage for stage in wanted if stage in found and found[stage].problem]
    problems += [f"{stage} {found[stage].problem}" for stage in lacking]
    verdict = failed_if(problems)
    return failed(f"{verdict.detail}: {found[lacking[0]].commands(package.model)}") if lacking else verdict


@rule(
    "MRG02",
    looks_at=_PORTING,
    fix="do what the box says, or tick it and write why it does not apply",
    why="steps of the workflow get forgotten",
    only=reasons.is_open,
    when=MERGE,
)
def boxes_are_ticked(package: Package) -> Verdict:
    """Every other box of PORTING.md is ticked"""
    # The last two boxes are for this check itself and for `finish`.
    own = ("mflux-port check", "mflux-port finish")
    left = [b.text for b in evidence.boxes(package) if not (b.ticked or b.stage or any(o in b.text for o in own))]
    return failed_if(left)


@rule(
    "MRG03",
    looks_at=_CODE,
    fix="remove the debugging code",
    why="the guide: remove loaded tensors and debug artifacts completely",
    when=MERGE,
)
def no_debug_code(package: Package) -> Verdict:
    """The package has no debug code and saves or loads no tensors"""
    found = []
    for file in package.files:
        nodes = package.facts.nodes(file)
        calls = debugging_calls(file, nodes)
        found += [f"{file} line {call.lineno}: {syntax.dotted(call.func)}" for call in calls]
    return failed_if(found)


@rule(
    "MRG04",
    looks_at=_CODE,
    fix="remove the print; a command prints only what the user must know",
    why="the guide: no debug artifacts; merged ports still have print() in model files",
    when=MERGE,
)
def only_commands_print(package: Package) -> Verdict:
    """Only the commands print"""
    files = [file for file in package.files if "/cli/" not in file and "print(" in package.facts.text(file)]
    calls = [(f, c) for f in files for c in syntax.calls(package.facts.nodes(f), "print")]
    return failed_if([f"{file} line {call.lineno}" for file, call in calls if syntax.dotted(call.func) == "print"])


@rule(
    "MRG05",
    looks_at=f"{_CODE}, tests and porting/",
    fix="remove the reference to artifacts/ or to a path of your machine",
    why="artifacts/ exists on your machine only",
    when=MERGE,
)
def no_local_paths(package: Package) -> Verdict:
    """No code refers to artifacts, scaffolding or a local path"""
    pattern = re.compile(rf"debug_artifacts|porting/{re.escape(package.model)}|/Users/\w+/|/home/\w+/|/tmp/")
    found = []
    for file in [*package.files, *package.tests]:
        match = pattern.search(package.facts.text(file))
        if match:
            found.append(f"{file} has {match.group(0)}")
    return failed_if(found)


@rule(
    "MRG06",
    looks_at=f"{_CODE} and README.md",
    fix="replace the placeholder, or remove it",
    why="placeholder text was merged and shown to users",
    when=MERGE,
)
def no_placeholders(package: Package) -> Verdict:
    """No placeholder text is left"""
    files = [*package.files, *package.tests, f"{package.folder}/README.md"]
    hits = [(file, _PLACEHOLDERS.search(package.facts.text(file))) for file in files]
    found = [f"{file} has {match.group(0)!r}" for file, match in hits if match]
    for file in package.files:
        if "NotImplementedError" in package.facts.text(file):
            found += [f"{file} line {line} raises NotImplementedError" for line in unwritten_lines(package, file)]
    return failed_if(found)


@rule(
    "MRG07",
    looks_at="git diff against main",
    fix="remove the file from the pull request; artifacts and weights stay on your machine",
    why="git history keeps tensors and images forever",
    only=_in_branch,
    when=MERGE,
)
def no_artifacts_are_committed(package: Package) -> Verdict:
    """git has no tensors, images or run artifacts of the port"""
    homes = ("src/mflux/assets/", "tests/resources/")
    stray = [f for f in package.facts.changed if _IMAGES.search(f) and not f.startswith(homes)]
    return failed_if([file for file in package.facts.changed if _TENSORS.search(file)] + stray)


@rule(
    "MRG08",
    looks_at=f"git diff against main, and {_PORTING}",
    fix="list the file with its reason in PORTING.md ('- `path`: reason'), or revert the change",
    why="the guide: list every file outside models/<model>/ and justify shared changes",
    only=_in_branch,
    when=MERGE,
)
def outside_changes_have_reasons(package: Package) -> Verdict:
    """Every changed file outside the package has a reason"""
    written = written_reasons(package)
    return failed_if(
        [file for file in changed_outside(package) if file not in written and not known_reason(package, file)]
    )


@rule(
    "MRG09",
    looks_at=".gitignore",
    fix="move personal entries to .git/info/exclude",
    why="the guide: drop unrelated edits such as personal .gitignore entries",
    only=_in_branch,
    when=MERGE,
)
def gitignore_has_only_the_example(package: Package) -> Verdict:
    """.gitignore has no new line except the training example's"""
    lines = package.facts.git("diff", "--unified=0", package.facts.base, "--", ".gitignore")
    added = [line[1:].strip() for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    return failed_if(
        [line for line in added if line and not line.startswith("!src/mflux/models/common/training/_example/")]
    )


@rule(
    "MRG10",
    looks_at="git log since main",
    fix="commit each proven stage separately ('VAE done')",
    why="the guide: preserve progress with milestone commits; a bisect needs them",
    only=_in_branch,
    when=MERGE,
)
def milestones_are_commits(package: Package) -> Verdict:
    """Each proven stage has its own commit"""
    return failed_if([f"no commit names the {name}" for name in missing_milestones(package)])


@rule(
    "MRG11",
    looks_at="src/mflux/models/<model>/variants/ and PORTING.md",
    fix="prove the stages first, then compile",
    why="the guide: no mx.compile before deterministic parity passes",
    only=reasons.is_open,
)
def compiling_comes_after_parity(package: Package) -> Verdict:
    """mx.compile is used only after parity"""
    files = [file for file in package.files if "mx.compile" in package.facts.text(file)]
    if not files:
        return passed()
    found = evidence.stages(package)
    open_ = [stage for stage in ("transformer", "loop") if not (stage in found and found[stage].proven)]
    return failed(f"{files[0]} compiles, {open_[0]} is not proven") if open_ else passed()


@rule(
    "MRG12",
    looks_at="porting/<model>/artifacts/report.html",
    fix="run both sides on the same noise and compare the images side by side",
    why="small numeric differences are judged by eye (guide: human visual inspection)",
    only=reasons.is_open,
    when=MERGE,
)
def images_were_compared(package: Package) -> Verdict:
    """The images of diffusers and mflux were compared by eye"""
    return needs_you(
        "uv run python porting/<model>/run_mflux.py --stage end_to_end, then open porting/<model>/artifacts/report.html"
    )


@rule(
    "MRG13",
    looks_at="a run at 1024x1024",
    fix="treat an out-of-memory error at a sensible size as a porting mistake: check the shapes",
    why="the guide: if MLX OOMs on sensible inputs, assume a likely porting mistake (#407)",
    only=reasons.is_open,
    when=MERGE,
)
def full_size_fits(package: Package) -> Verdict:
    """1024x1024 fits in memory and takes a reasonable time"""
    return needs_you(
        '/usr/bin/time -l mflux-generate-<cli> --prompt "a red bicycle" --width 1024 --height 1024 --seed 42'
    )


@rule(
    "MRG14",
    looks_at="the golden test's reference image",
    fix="choose a prompt, seed and settings that give the same image on other hardware",
    why="references differed between machines; they change only with explicit approval (#263, #491, #507)",
    only=reasons.is_open,
    when=MERGE,
)
def golden_settings_are_stable(package: Package) -> Verdict:
    """The golden test's settings are stable, and its reference was approved"""
    return needs_you("open tests/resources/reference_<model>*.png and say in the pull request who approved it")


@rule(
    "MRG15",
    looks_at="the other ports of this checkout",
    fix="prefer one shared fix in models/common to a copy per model",
    why="the guide: when fixing a gap for one model, ask whether others have it",
    only=reasons.is_open,
    when=MERGE,
)
def other_models_were_checked(package: Package) -> Verdict:
    """The other models were checked for the same gaps"""
    return needs_you("mflux-port check (without a model) shows the same rows for every port")


@rule(
    "MRG16",
    looks_at=f"{_PORTING}, and git diff since the commits that it names",
    fix="commit the code, run porting/<model>/run_mflux.py again, commit PORTING.md",
    why="the guide: tests run again after the polish; a proof covers only the code that was run",
    only=_in_branch,
    when=MERGE,
)
def proofs_are_of_this_code(package: Package) -> Verdict:
    """Every proof is for the current code"""
    return failed_if([f"{stage}: {problem}" for stage, problem in evidence.outdated(package).items()])


@rule(
    "MRG17",
    looks_at="git log since the golden reference image",
    fix="read the commits and apply the same preferences to the rest of the port",
    why="the guide: review the commits after the first deterministic test for refactoring preferences",
    only=_in_branch,
    when=MERGE,
)
def later_commits_were_reviewed(package: Package) -> Verdict:
    """The commits after the first deterministic test were reviewed"""
    images = package.reference_images
    added = package.facts.git("log", "--format=%h", "--diff-filter=A", "--", *images) if images else []
    if not added:
        return not_applicable("no reference image is committed yet: TST05")
    return needs_you(f"git log --patch {added[-1]}..HEAD -- {package.folder}")


@rule(
    "MRG18",
    looks_at="the whole checkout",
    fix="fix the failure; a port can break another model's test",
    why="the guide: make lint, make test-fast, then the slow golden tests, before merge",
    only=reasons.is_open,
    when=MERGE,
)
def the_whole_checkout_passes(package: Package) -> Verdict:
    """Lint and the fast tests of the whole checkout pass"""
    if re.search(r"^test-fast:", package.facts.text("Makefile"), re.MULTILINE):
        return needs_you("make lint && make test-fast")
    return needs_you("uv run ruff check . && uv run ruff format --check . && uv run python -m pytest -m fast")


@rule(
    "MRG19",
    looks_at="git ls-files --ignored",
    fix="add them with `git add --force -- <files>`",
    why="a personal ignore file with models/ or weights/ in it hides the port's files: the pull request lacks them",
    only=reasons.in_git,
    when=MERGE,
)
def no_file_is_ignored(package: Package) -> Verdict:
    """Git ignores no source file of the port"""
    listed = package.facts.git("ls-files", "--others", "--ignored", "--exclude-standard", "--", package.folder, "tests")
    own = [file for file in listed if file.startswith(f"{package.folder}/") or package.model in file]
    return failed_if([file for file in own if file.endswith((".py", ".md", ".json"))])
