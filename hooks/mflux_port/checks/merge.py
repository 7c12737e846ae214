"""Before the pull request: proof instead of ticks, no traces, every change outside the package accounted for."""

from __future__ import annotations

import re

from mflux_port.checks import evidence, reasons, syntax
from mflux_port.checks.package import Package
from mflux_port.checks.rule import MERGE, Verdict, failed, needs_you, none_of, passed, rule
from mflux_port.wiring.surfaces import SURFACES

_CODE = "src/mflux/models/<model>/**/*.py"
_PORTING = "porting/<model>/PORTING.md"
_STUBS = re.compile(r"\b(TODO|FIXME|XXX)\b|not measured yet|is listed here\.")
_TRACES = (
    "breakpoint",
    "set_trace",
    "mx.save",
    "np.save",
    "np.savez",
    "mx.savez",
    "np.load",
    "torch.save",
    "torch.load",
)


def _is_open(package: Package) -> str | None:
    """The port is still being made: it has its porting folder."""
    if package.facts.exists(f"porting/{package.model}"):
        return None
    return "the port has no porting folder (finished, or not made with the template)"


def _in_branch(package: Package) -> str | None:
    return _is_open(package) or reasons.in_git(package)


@rule(
    "MRG01",
    looks_at=_PORTING,
    fix="run porting/<model>/run_mflux.py; it ticks the box and writes the figures beside it",
    why="correctness first: each stage is proven against the reference before anything is polished",
    only=_is_open,
    when=MERGE,
)
def stages_are_proven(package: Package) -> Verdict:
    """Every stage was proven against the reference, with figures"""
    found = evidence.stages(package.facts, package.model)
    lacking = [stage for stage in evidence.STAGES if stage not in found]
    open_ = [
        f"{stage} is {'ticked without figures' if box.ticked else 'open'}"
        for stage, box in found.items()
        if not box.proven
    ]
    return none_of([f"{stage} is not in PORTING.md" for stage in lacking] + open_)


@rule(
    "MRG02",
    looks_at=_PORTING,
    fix="do what the box says, or tick it with a word on why it does not apply",
    why="the workflow's steps are forgotten one by one",
    only=_is_open,
    when=MERGE,
)
def boxes_are_ticked(package: Package) -> Verdict:
    """Every other box of PORTING.md is ticked"""
    # The last two boxes are this check itself and `finish`.
    own = ("mflux-port check", "mflux-port finish")
    left = [
        b.text
        for b in evidence.boxes(package.facts, package.model)
        if not (b.ticked or b.stage or any(o in b.text for o in own))
    ]
    return none_of(left)


@rule(
    "MRG03",
    looks_at=_CODE,
    fix="take the debugging out",
    why="the guide: remove any loaded tensors or debug artifacts so that no traces remain",
    when=MERGE,
)
def no_debug_traces(package: Package) -> Verdict:
    """No debug traces and no saved or loaded tensors in the package"""
    found = []
    for file in package.files:
        text = package.facts.text(file)
        if any(name.rpartition(".")[2] in text for name in _TRACES):
            found += [
                f"{file} line {c.lineno}: {syntax.dotted(c.func)}"
                for c in syntax.calls(package.facts.nodes(file), *_TRACES)
            ]
    return none_of(found)


@rule(
    "MRG04",
    looks_at=_CODE,
    fix="log nothing; a command prints only what the user must know",
    why="print() of shapes and norms stayed in merged ports",
    when=MERGE,
)
def nothing_is_printed(package: Package) -> Verdict:
    """Nothing below model/ and variants/ prints"""
    files = [f for f in [*package.below("model"), *package.below("variants")] if "print(" in package.facts.text(f)]
    calls = [(f, c) for f in files for c in syntax.calls(package.facts.nodes(f), "print")]
    return none_of([f"{file} line {call.lineno}" for file, call in calls if syntax.dotted(call.func) == "print"])


@rule(
    "MRG05",
    looks_at=f"{_CODE}, tests and porting/",
    fix="take the reference to artifacts/ or to a path of your machine out",
    why="what lies in artifacts/ is on your machine only",
    when=MERGE,
)
def no_local_paths(package: Package) -> Verdict:
    """No code refers to artifacts, scaffolding or a path of one machine"""
    pattern = re.compile(rf"debug_artifacts|porting/{re.escape(package.model)}|/Users/\w+/|/home/\w+/|/tmp/")
    found = []
    for file in [*package.files, *package.tests]:
        match = pattern.search(package.facts.text(file))
        if match:
            found.append(f"{file} has {match.group(0)}")
    return none_of(found)


@rule(
    "MRG06",
    looks_at=f"{_CODE} and README.md",
    fix="write what the stub stands for, or take it out",
    why="stub text was merged and shown to users",
    when=MERGE,
)
def no_stubs(package: Package) -> Verdict:
    """No stub text is left"""
    files = [*package.files, *package.tests, f"{package.folder}/README.md"]
    hits = [(file, _STUBS.search(package.facts.text(file))) for file in files]
    return none_of([f"{file} has {match.group(0)!r}" for file, match in hits if match])


@rule(
    "MRG07",
    looks_at="git diff against main",
    fix="take the file out of the pull request; artifacts and weights stay on your machine",
    why="tensors and pictures of runs end up in history for ever",
    only=_in_branch,
    when=MERGE,
)
def no_artifacts_are_committed(package: Package) -> Verdict:
    """git holds no tensors and no run artifacts of the port"""
    wrong = re.compile(r"\.(safetensors|npy|npz|pt|bin|gguf)$|(^|/)(debug_)?artifacts/")
    return none_of([file for file in package.facts.changed if wrong.search(file)])


@rule(
    "MRG08",
    looks_at=f"git diff against main, and {_PORTING}",
    fix="name the file with its reason in PORTING.md ('- `path`: reason'), or take the change out",
    why="the guide: list every file outside models/<model>/ and justify shared changes",
    only=_in_branch,
    when=MERGE,
)
def foreign_changes_have_reasons(package: Package) -> Verdict:
    """Every changed file outside the package has a reason"""
    notes = package.facts.text(f"porting/{package.model}/PORTING.md")
    return none_of([file for file in touched(package) if not reason(package, file) and f"`{file}`" not in notes])


@rule(
    "MRG09",
    looks_at=".gitignore",
    fix="keep personal entries in .git/info/exclude",
    why="the guide: drop unrelated edits, as personal .gitignore entries",
    only=_in_branch,
    when=MERGE,
)
def gitignore_has_only_the_example(package: Package) -> Verdict:
    """.gitignore gained nothing but the training example"""
    lines = package.facts.git("diff", "--unified=0", package.facts.base, "--", ".gitignore")
    added = [line[1:].strip() for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    return none_of(
        [line for line in added if line and not line.startswith("!src/mflux/models/common/training/_example/")]
    )


@rule(
    "MRG10",
    looks_at="git log since main",
    fix="commit each proven stage on its own ('VAE done')",
    why="the guide: preserve progress with milestone commits; a bisect needs them",
    only=_in_branch,
    when=MERGE,
)
def milestones_are_commits(package: Package) -> Verdict:
    """The proven stages are commits of their own"""
    log = " ".join(package.facts.git("log", "--format=%s", f"{package.facts.base}..HEAD")).lower()
    wanted = {"VAE": "vae", "transformer": "transformer", "text encoder": "encoder"}
    return none_of([f"no commit names the {name}" for name, word in wanted.items() if word not in log])


@rule(
    "MRG11",
    looks_at="src/mflux/models/<model>/variants/ and PORTING.md",
    fix="prove the stages first, then compile",
    why="the guide: no mx.compile before deterministic parity passes",
    only=_is_open,
)
def compiling_comes_after_parity(package: Package) -> Verdict:
    """mx.compile comes after parity"""
    files = [file for file in package.files if "mx.compile" in package.facts.text(file)]
    found = evidence.stages(package.facts, package.model)
    open_ = [stage for stage in ("transformer", "loop") if not (stage in found and found[stage].proven)]
    return failed(f"{files[0]} compiles, {open_[0]} is not proven") if files and open_ else passed()


@rule(
    "MRG12",
    looks_at="porting/<model>/artifacts/report.html",
    fix="run both sides on the same noise and look at the pictures side by side",
    why="small numeric differences are judged by eye (guide: human visual inspection)",
    only=_is_open,
    when=MERGE,
)
def pictures_were_compared(package: Package) -> Verdict:
    """The pictures of diffusers and mflux were compared by eye"""
    return needs_you(
        "uv run python porting/<model>/run_mflux.py --stage end_to_end, then open porting/<model>/artifacts/report.html"
    )


@rule(
    "MRG13",
    looks_at="a run at 1024x1024",
    fix="an out-of-memory error at a sensible size is a porting mistake: look at the shapes",
    why="the guide: if MLX OOMs on sensible inputs, assume a likely porting mistake (#407)",
    only=_is_open,
    when=MERGE,
)
def full_size_fits(package: Package) -> Verdict:
    """1024x1024 fits in memory and takes the time it should"""
    return needs_you(
        '/usr/bin/time -l mflux-generate-<cli> --prompt "a red bicycle" --width 1024 --height 1024 --seed 42'
    )


@rule(
    "MRG14",
    looks_at="the golden picture",
    fix="choose prompt, seed and settings whose picture does not tip over on other hardware",
    why="goldens flapped between machines; they change with explicit approval only (#263, #491, #507)",
    only=_is_open,
    when=MERGE,
)
def golden_settings_are_stable(package: Package) -> Verdict:
    """The golden test's settings are stable, and its reference was approved"""
    return needs_you("open tests/resources/reference_<model>*.png and say in the pull request who approved it")


@rule(
    "MRG15",
    looks_at="the other ports of this checkout",
    fix="prefer a shared fix in models/common to a copy per model",
    why="the guide: when fixing a gap for one model, ask whether others have it",
    only=_is_open,
    when=MERGE,
)
def other_models_were_thought_of(package: Package) -> Verdict:
    """Gaps that were found here were looked for in the other models"""
    return needs_you("mflux-port check (without a model) lists the same rows for every port")


def touched(package: Package) -> list[str]:
    """Changed files that are neither the package's, nor its tests', nor its scaffolding."""
    own = (f"{package.folder}/", f"porting/{package.model}/")
    named = {*package.tests, *(f for f in package.facts.changed if f.startswith("tests/") and package.model in f)}
    return [file for file in package.facts.changed if not file.startswith(own) and file not in named]


def reason(package: Package, file: str) -> str:
    """Why the port touches a shared file, where a wiring surface says so; empty otherwise."""
    ids = [surface.ID for surface in SURFACES if surface.FILE.format(model=package.model) == file]
    if file == "uv.lock":
        return "the lock file follows pyproject.toml"
    if re.fullmatch(r"tests/([\w/]+/)?__init__\.py", file):
        return "makes a test folder importable"
    if file.startswith("src/mflux/assets/"):
        return "the README's picture"
    return f"wiring: {', '.join(ids)}" if ids else ""
