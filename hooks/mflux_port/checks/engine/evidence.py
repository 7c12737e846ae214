"""The evidence in ``porting/<model>/``: the stages that were compared with the reference, with their figures."""

from __future__ import annotations

import re
from typing import NamedTuple

from mflux_port.checks.engine.package import Package

# In the guide's order, which goes backwards from the image.
STAGES = ("vae_decode", "vae_encode", "transformer", "guidance", "scheduler", "loop", "text_encoder", "end_to_end")
BFLOAT16 = "bfloat16"  # the box of a whole run in bfloat16
# Claims of a port besides text-to-image: the answer that makes the claim, and the runner's flag that proves it.
CLAIMS = {"edit": "edits", "image_to_image": "img2img", "lora": "lora", "training": "training", "quantized": ""}
CLAIM_FLAGS = {
    "edit": "--edit", "image_to_image": "--image", "lora": "--lora", "training": "--training", "quantized": "--quantize 8",
}  # fmt: skip
TWIN = " --model porting/{model}/artifacts/tiny"  # the option of run_reference.py
# Stages whose result depends on the guidance.
_GUIDED = ("guidance", "loop", "end_to_end", BFLOAT16)
_BOX = re.compile(r"^- \[(?P<tick>[ xX])\] (?P<text>.*)$")
_MARK = re.compile(r"<!-- evidence: (?P<stage>\w+) -->(?P<figures>.*)$")
# The figures, in the form that porting/<model>/parity/explain/boxes.py writes.
_FIGURES = re.compile(
    r"(?P<failed>FAIL )?(?:worst (?P<worst>\w+) )?relL2 (?P<relative>\S+) of (?P<limit>[^\s,]+)(?P<waived>, waived)?, "
    r"(?P<dtype>\w+), (?P<width>\d+)x(?P<height>\d+), (?P<steps>\d+) steps?, guidance (?P<guidance>[^\s,]+), "
    r"(?P<twin>tiny twin, )?[\d-]+, commit (?P<commit>\w+)(?P<changed>\+?)"
)
_BEFORE_SETTINGS = re.compile(r"relL2 \S+ of [^\s,]+(, waived)?, \w+, \d+x\d+, [\d-]+, commit \w+\+?")
OPEN = "is open"
# The smallest side of a picture that counts, in pixels: a smaller picture hides errors at the edges of tiles and of
# position tables.
_SIDE = 512
# The folders whose code a stage's proof covers.
_PROVEN_CODE = ("model", "weights", "variants", "latent_creator", "training_adapter")


class Box(NamedTuple):
    """One box of PORTING.md.

    ``stage`` is set if the runner ticks it; ``figures`` is the text that it wrote after the box.

    ``guidance`` is the value that the port used, 1 if it used none.
    """

    text: str
    ticked: bool
    stage: str = ""
    figures: str = ""
    guidance: float = 1.0

    @property
    def problem(self) -> str:
        """The reason why the box proves nothing; empty when its figures prove the stage."""
        found = _FIGURES.fullmatch(self.figures)
        if found and found["failed"]:
            return f"failed ({self.figures.removeprefix('FAIL ')})"
        if not self.ticked:
            return OPEN
        if not self.figures:
            return "is ticked without figures"
        if not found:
            return self._unreadable
        if not found["waived"] and not _number(found["relative"]) <= _number(found["limit"]):
            return f"exceeds its limit ({found['relative']} of {found['limit']})"
        return self._lesser_setting(found)

    @property
    def _unreadable(self) -> str:
        if _BEFORE_SETTINGS.fullmatch(self.figures):
            return "has figures without steps and guidance, as earlier versions wrote them"
        return f"has figures that run_mflux.py does not write ({self.figures})"

    def _lesser_setting(self, found: re.Match) -> str:
        wanted = BFLOAT16 if self.stage == BFLOAT16 else "float32"
        if found["dtype"] != wanted:
            return f"was run in {found['dtype']}; only {wanted} counts"
        if self.stage in CLAIMS:
            return ""  # they compare numbers, not pictures
        if int(found["width"]) * int(found["height"]) < _SIDE**2:
            return f"was run at {found['width']}x{found['height']}; only {_SIDE}x{_SIDE} or larger counts"
        if self._unguided(found):
            return f"was run with guidance {found['guidance']}; the port's is {self.guidance:g}"
        return ""

    def _unguided(self, found: re.Match) -> bool:
        return self.stage in _GUIDED and self.guidance > 1 and not _number(found["guidance"]) > 1

    def commands(self, model: str, checkpoint: str = "") -> str:
        """The command that proves the box, with the reference's command before it if the reference has to run again.

        ``checkpoint``: the options of the reference for a claim's own run, which name another one than the port's repo.
        """
        if self.stage in CLAIMS:
            return _claim_commands(model, self.stage, checkpoint)
        flags = " --dtype bfloat16" if self.stage == BFLOAT16 else f" --stage {self.stage}"
        judge = f"uv run python porting/{model}/run_mflux.py{flags}"
        found = _FIGURES.fullmatch(self.figures)
        if not found or found["failed"] or not self._lesser_setting(found):
            return judge
        flags = TWIN.format(model=model) if found["twin"] else ""
        if int(found["width"]) * int(found["height"]) < _SIDE**2:
            flags += f" --size {_SIDE}"
        if self._unguided(found):
            flags += f" --guidance {self.guidance:g}"
        return f"uv run porting/{model}/run_reference.py{flags} && {judge}"

    @property
    def passed(self) -> bool:
        """Whether the stage was within its limit, in any setting."""
        found = _FIGURES.fullmatch(self.figures)
        return self.ticked and found is not None and not found["failed"]

    @property
    def failed_in(self) -> str:
        """The flags of run_reference.py for the setting in which the stage failed; empty when it did not fail."""
        found = _FIGURES.fullmatch(self.figures)
        if not found or not found["failed"]:
            return ""
        return f" --size {found['width']}x{found['height']} --steps {found['steps']} --guidance {found['guidance']}"

    @property
    def proven(self) -> bool:
        return not self.problem

    @property
    def on_twin(self) -> bool:
        """Whether its figures are of a tiny twin."""
        found = _FIGURES.fullmatch(self.figures)
        return found is not None and found["twin"] is not None

    @property
    def commit(self) -> str:
        """The commit that was measured, with + when source was changed after it; empty without figures."""
        found = _FIGURES.fullmatch(self.figures)
        return f"{found['commit']}{found['changed']}" if found else ""


def boxes(package: Package) -> list[Box]:
    """The boxes of ``porting/<model>/PORTING.md``, in order."""
    guidance = _guidance(package)
    found: list[Box] = []
    for line in package.facts.text(f"porting/{package.model}/PORTING.md").splitlines():
        match = _BOX.match(line)
        if not match:
            continue
        mark = _MARK.search(match["text"])
        text = _MARK.sub("", match["text"]).strip()
        stage, figures = (mark["stage"], mark["figures"].strip()) if mark else ("", "")
        found.append(Box(text, match["tick"] != " ", stage, figures, guidance))
    return found


def wanted(package: Package) -> list[str]:
    """The stages that have to be proven: guidance only if the port uses it, and each of its text encoders."""
    return [stage for stage in _all_stages(package) if stage != "guidance" or _guidance(package) > 1]


def _all_stages(package: Package) -> tuple[str, ...]:
    further = [encoder.name for encoder in package.port.text_encoders[1:]] if package.port is not None else []
    return (*STAGES[:-1], *further, STAGES[-1])


def claimed(package: Package) -> list[str]:
    """The port's claims besides text-to-image, by its answers; every port claims that it can be saved quantized."""
    port = package.port
    return [claim for claim, answer in CLAIMS.items() if not answer or port is not None and getattr(port, answer)]


def shares_checkpoint(package: Package, claim: str) -> bool:
    """Whether a claim is recorded from the checkpoint of the stages; editing may have one of its own."""
    return claim != "edit" or package.port is None or package.port.edit_repo == package.port.hf_repo


def _claim_commands(model: str, claim: str, checkpoint: str) -> str:
    judge = f"uv run python porting/{model}/run_mflux.py {CLAIM_FLAGS[claim]}"
    recorded = "" if claim == "quantized" else f" {CLAIM_FLAGS[claim]}"
    return f"uv run porting/{model}/run_reference.py{checkpoint}{recorded} && {judge}"


def _guidance(package: Package) -> float:
    guides = package.port is not None and package.port.supports_guidance
    return package.port.guidance if guides else 1.0


def stages(package: Package) -> dict[str, Box]:
    """The boxes of the stages in PORTING.md, in the guide's order; then those of the bfloat16 run and the claims."""
    marked = {box.stage: box for box in boxes(package) if box.stage}
    return {stage: marked[stage] for stage in (*_all_stages(package), BFLOAT16, *CLAIMS) if stage in marked}


def outdated(package: Package) -> dict[str, str]:
    """The stages whose proof is for older code, each with what has changed since."""
    commits = {stage: box.commit for stage, box in stages(package).items() if box.proven}
    problems = {commit: _since(package, commit) for commit in set(commits.values())}
    return {stage: problems[commit] for stage, commit in commits.items() if problems[commit]}


def _since(package: Package, commit: str) -> str:
    """Describe what changed in the port's code since a commit; empty when nothing did."""
    if commit == "unknown":
        return "mflux was not imported from this checkout's src; run run_mflux.py with `uv run` here"
    if commit.endswith("+"):
        return f"measured on changes that commit {commit[:-1]} does not have"
    if not package.facts.git("rev-parse", "--verify", "--quiet", f"{commit}^{{commit}}"):
        return f"commit {commit} is not in this repository"
    paths = [*(f"{package.folder}/{name}" for name in _PROVEN_CODE), *package.initializers]
    changed = package.facts.git("diff", "--name-only", commit, "--", *paths)
    return f"{changed[0]} changed since commit {commit}" if changed else ""


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
