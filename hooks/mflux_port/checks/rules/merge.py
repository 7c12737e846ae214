"""Before the pull request: proof instead of ticks, no traces, every change outside the package accounted for."""

from __future__ import annotations

import ast
import re

from mflux_port.checks.engine import evidence, reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, needs_you, none_of, not_applicable, rule
from mflux_port.checks.rules.tests_rules import references
from mflux_port.wiring.surfaces import SURFACES

_CODE = "src/mflux/models/<model>/**/*.py"
_PORTING = "porting/<model>/PORTING.md"
_STUBS = re.compile(r"\b(TODO|FIXME|XXX)\b|not measured yet|is listed here\.")
_SAVES = ("mx.save", "mx.savez", "mx.save_safetensors", "np.save", "np.savez", "torch.save", "save_file")
_LOADS = ("mx.load", "np.load", "torch.load", "load_file")
_STOPS = ("breakpoint", "set_trace")
_PICTURES = re.compile(r"\.(png|jpe?g|webp|gif|mp4)$", re.IGNORECASE)
_TENSORS = re.compile(r"\.(safetensors|npy|npz|pt|bin|gguf)$|(^|/)(debug_)?artifacts/")
# What a proof of a stage is about.
_PROVEN_CODE = ("model", "weights", "variants", "latent_creator")


def _in_branch(package: Package) -> str | None:
    return reasons.is_open(package) or reasons.in_git(package)


@rule(
    "MRG01",
    looks_at=_PORTING,
    fix="run porting/<model>/run_mflux.py; it ticks the box and writes the figures beside it",
    why="correctness first: each stage is proven against the reference before anything is polished",
    only=reasons.is_open,
    when=MERGE,
)
def stages_are_proven(package: Package) -> Verdict:
    """Every stage was proven against the reference, with figures"""
    return _unproven(package, evidence.wanted(package))


@rule(
    "MRG19",
    looks_at=_PORTING,
    fix="run porting/<model>/run_mflux.py --dtype bfloat16 without --stage; it ticks the box and writes the figures beside it",
    why="mflux runs in bfloat16: a cast in the wrong place (a timestep's sinusoid) passes every float32 run",
    only=reasons.is_open,
    when=MERGE,
)
def bfloat16_is_proven(package: Package) -> Verdict:
    """Every stage was proven in bfloat16, too"""
    return _unproven(package, [evidence.BFLOAT16])


def _unproven(package: Package, wanted: list[str]) -> Verdict:
    """Fail with the reason why each box does not count, and the command for the first of them."""
    found = evidence.stages(package)
    line = "its line is missing in PORTING.md: `- [ ] Done <!-- evidence: {} -->`"
    problems = [f"{stage}: {line.format(stage)}" for stage in wanted if stage not in found]
    lacking = [stage for stage in wanted if stage in found and found[stage].problem]
    problems += [f"{stage} {found[stage].problem}" for stage in lacking]
    verdict = none_of(problems)
    return failed(f"{verdict.detail}: {found[lacking[0]].commands(package.model)}") if lacking else verdict


@rule(
    "MRG02",
    looks_at=_PORTING,
    fix="do what the box says, or tick it with a word on why it does not apply",
    why="the workflow's steps are forgotten one by one",
    only=reasons.is_open,
    when=MERGE,
)
def boxes_are_ticked(package: Package) -> Verdict:
    """Every other box of PORTING.md is ticked"""
    # The last two boxes are this check itself and `finish`.
    own = ("mflux-port check", "mflux-port finish")
    left = [b.text for b in evidence.boxes(package) if not (b.ticked or b.stage or any(o in b.text for o in own))]
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
        nodes = package.facts.nodes(file)
        calls = [*syntax.calls(nodes, *_STOPS), *_saved(nodes), *_loaded(file, nodes)]
        found += [f"{file} line {call.lineno}: {syntax.dotted(call.func)}" for call in calls]
    return none_of(found)


def _saved(nodes: list[ast.AST]) -> list[ast.Call]:
    # An adapter saves what was trained.
    kept = {inner for node in nodes if getattr(node, "name", "") == "save_lora_adapter" for inner in syntax.walk(node)}
    return [call for call in syntax.calls(nodes, *_SAVES) if call not in kept]


def _loaded(file: str, nodes: list[ast.AST]) -> list[ast.Call]:
    # Weights have a path that is worked out; what is read while drawing, or from a path that is written down, is a trace.
    drawing = any(f"/{folder}/" in file for folder in ("variants", "latent_creator", "cli", "training_adapter"))
    return [call for call in syntax.calls(nodes, *_LOADS) if drawing or not call.args or _is_text(call.args[0])]


def _is_text(node: ast.expr) -> bool:
    return not any(isinstance(part, ast.Name | ast.Attribute) for part in syntax.walk(node))


@rule(
    "MRG04",
    looks_at=_CODE,
    fix="log nothing; a command prints only what the user must know",
    why="the guide: no debug artifacts; print() in a model's own files is what merged ports still carry",
    when=MERGE,
)
def nothing_is_printed(package: Package) -> Verdict:
    """Nothing but the commands prints"""
    files = [file for file in package.files if "/cli/" not in file and "print(" in package.facts.text(file)]
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
    stubs = [f"{file} has {match.group(0)!r}" for file, match in hits if match]
    for file in package.files:
        if "NotImplementedError" in package.facts.text(file):
            stubs += [f"{file} line {line} raises NotImplementedError" for line in _unwritten(package, file)]
    return none_of(stubs)


def _unwritten(package: Package, file: str) -> list[int]:
    """Lines that raise NotImplementedError: all in an open port (the draft writes them), bare ones in a merged one."""
    nodes = package.facts.nodes(file)
    functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
    abstract = [node for node in functions if "abstractmethod" in map(syntax.dotted, node.decorator_list)]
    meant = {inner for node in abstract for inner in syntax.walk(node)}
    raised = [node.exc for node in nodes if isinstance(node, ast.Raise) and node.exc and node not in meant]
    wide = reasons.is_open(package) is None
    bare = [node for node in raised if syntax.dotted(node) == "NotImplementedError"]
    made = [call for call in syntax.calls(raised, "NotImplementedError") if wide or not call.args]
    return sorted(node.lineno for node in [*bare, *made])


@rule(
    "MRG07",
    looks_at="git diff against main",
    fix="take the file out of the pull request; artifacts and weights stay on your machine",
    why="tensors and pictures of runs end up in history for ever",
    only=_in_branch,
    when=MERGE,
)
def no_artifacts_are_committed(package: Package) -> Verdict:
    """git holds no tensors, no pictures and no run artifacts of the port"""
    homes = ("src/mflux/assets/", "tests/resources/")
    stray = [f for f in package.facts.changed if _PICTURES.search(f) and not f.startswith(homes)]
    return none_of([file for file in package.facts.changed if _TENSORS.search(file)] + stray)


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
    written = written_reasons(package)
    return none_of([file for file in touched(package) if file not in written and not reason(package, file)])


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
    "MRG16",
    looks_at=f"{_PORTING}, and git diff since the commits that it names",
    fix="commit the code, run porting/<model>/run_mflux.py again, commit PORTING.md",
    why="the guide: tests run again after the polish; a proof is of the code that was run",
    only=_in_branch,
    when=MERGE,
)
def proofs_are_of_this_code(package: Package) -> Verdict:
    """Every proof is of the code as it is now"""
    found = evidence.stages(package)
    commits = {stage: box.commit for stage, box in found.items() if box.proven}
    problems = {commit: _since(package, commit) for commit in set(commits.values())}
    return none_of([f"{stage}: {problems[commit]}" for stage, commit in commits.items() if problems[commit]])


def _since(package: Package, commit: str) -> str:
    """What became of the port's code since a commit; empty when nothing did."""
    if commit.endswith("+"):
        return f"measured on changes that commit {commit[:-1]} does not have"
    if not package.facts.git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return f"commit {commit} is not in this repository"
    paths = [*(f"{package.folder}/{name}" for name in _PROVEN_CODE), *package.initializers]
    changed = package.facts.git("diff", "--name-only", commit, "--", *paths)
    return f"{changed[0]} changed since commit {commit}" if changed else ""


@rule(
    "MRG12",
    looks_at="porting/<model>/artifacts/report.html",
    fix="run both sides on the same noise and look at the pictures side by side",
    why="small numeric differences are judged by eye (guide: human visual inspection)",
    only=reasons.is_open,
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
    only=reasons.is_open,
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
    only=reasons.is_open,
    when=MERGE,
)
def golden_settings_are_stable(package: Package) -> Verdict:
    """The golden test's settings are stable, and its reference was approved"""
    return needs_you("open tests/resources/reference_<model>*.png and say in the pull request who approved it")


@rule(
    "MRG17",
    looks_at="git log since the golden reference picture",
    fix="read the commits, and bring what you preferred there to the rest of the port",
    why="the guide: review the commits after the first deterministic test for refactoring preferences",
    only=_in_branch,
    when=MERGE,
)
def later_commits_were_reviewed(package: Package) -> Verdict:
    """The commits after the first deterministic test were reviewed"""
    pictures = references(package)
    added = package.facts.git("log", "--format=%h", "--diff-filter=A", "--", *pictures) if pictures else []
    if not added:
        return not_applicable("no reference picture is committed yet: TST05")
    return needs_you(f"git log --patch {added[-1]}..HEAD -- {package.folder}")


@rule(
    "MRG18",
    looks_at="the whole checkout",
    fix="mend what is named; a port may break another model's test",
    why="the guide: make lint, make test-fast, then the slow golden tests, before merge",
    only=reasons.is_open,
    when=MERGE,
)
def the_whole_checkout_passes(package: Package) -> Verdict:
    """Lint and fast tests of the whole checkout pass"""
    if re.search(r"^test-fast:", package.facts.text("Makefile"), re.MULTILINE):
        return needs_you("make lint && make test-fast")
    return needs_you("uv run ruff check . && uv run ruff format --check . && uv run python -m pytest -m fast")


@rule(
    "MRG15",
    looks_at="the other ports of this checkout",
    fix="prefer a shared fix in models/common to a copy per model",
    why="the guide: when fixing a gap for one model, ask whether others have it",
    only=reasons.is_open,
    when=MERGE,
)
def other_models_were_thought_of(package: Package) -> Verdict:
    """Gaps that were found here were looked for in the other models"""
    return needs_you("mflux-port check (without a model) lists the same rows for every port")


def touched(package: Package) -> list[str]:
    """Changed files that are neither the package's, nor its tests', nor its scaffolding."""
    own = (f"{package.folder}/", f"porting/{package.model}/")
    return [file for file in package.facts.changed if not file.startswith(own) and not package.owns_test(file)]


def written_reasons(package: Package) -> dict[str, str]:
    """The reasons that PORTING.md gives, by file: ``- `path`: reason``."""
    notes = package.facts.text(f"porting/{package.model}/PORTING.md")
    return dict(re.findall(r"^- `([^`]+)`: *(\S.*)$", notes, re.MULTILINE))


def reason(package: Package, file: str) -> str:
    """Why the port touches a shared file, where its content tells; empty otherwise."""
    ids = [surface.ID for surface in SURFACES if surface.FILE.format(model=package.model) == file]
    if file == "uv.lock":
        return "the lock file follows pyproject.toml"
    if re.fullmatch(r"tests/([\w/]+/)?__init__\.py", file) and not package.facts.text(file):
        return "makes a test folder importable"
    if file.startswith("src/mflux/assets/") and f"/{file.removeprefix('src/mflux/')}" in package.readme:
        return "the README's picture"
    if not ids or _foreign_lines(package, file):
        return ""
    return f"wiring: {', '.join(ids)}"


def _foreign_lines(package: Package, file: str) -> list[str]:
    """What changed in a wired file apart from the port's own text: runs of lines of which none names the port."""
    import difflib  # with --merge alone

    before = package.facts.git("show", f"{package.facts.base}:{file}")
    after = package.unwired.get(file, package.facts.text(file)).splitlines()
    names = re.compile("|".join(rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in package.names), re.IGNORECASE)
    found: list[str] = []
    for _, start, stop, begin, end in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        old, new = before[start:stop], after[begin:end]
        if old != new and not any(names.search(line) for line in new):
            found += new or old
    return found
