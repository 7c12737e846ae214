"""The package's README: its parts, and what it must tell."""

from __future__ import annotations

import posixpath
import re

from mflux_port.checks.engine import reasons
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, none_of, not_applicable, passed, rule

_README = "src/mflux/models/<model>/README.md"
_SIZE = re.compile(r"\d+(\.\d+)?\s*(GB|GiB|MB)", re.IGNORECASE)
# Memory is measured in GB too: the size on the disk is asked for.
_STORED = re.compile(r"download|disk|weights|checkpoint|repo|saved?\b|quantized|storage|files?\b", re.IGNORECASE)
_TOLD = {
    "the mapping's rules": re.compile(r"\bmapping|\btensor", re.IGNORECASE),
    "tolerances": re.compile(r"tolerance|relative error|relL2|bit[- ]exact", re.IGNORECASE),
}
_SHAPES = re.compile(r"multiples? of|divisible|resolution", re.IGNORECASE)


def _heading(package: Package, *words: str) -> bool:
    headings = [line.lower() for line in package.readme.splitlines() if line.startswith("#")]
    return any(word in heading for heading in headings for word in words)


@rule(
    "DOC05",
    looks_at=_README,
    fix="write the README after flux2's: example, Python API, features, weights, notes",
    why="the guide: README following the structure of existing model READMEs",
    only=reasons.draws,
)
def readme_is_there(package: Package) -> Verdict:
    """The package has a README with an example"""
    if not package.readme:
        return failed(f"{package.folder}/README.md is missing")
    return passed() if _heading(package, "example", "quick start", "usage") else failed("no heading Example")


@rule(
    "DOC10",
    looks_at=_README,
    fix="mflux-port inspect <repo> --sizes <model> --saved <folder of the mflux-save copy> writes both sizes there",
    why="people fill their disk without knowing (guide: disk-size warning)",
    only=reasons.draws,
    when=MERGE,
)
def readme_gives_sizes(package: Package) -> Verdict:
    """The README gives the measured size of the download"""
    if "not measured yet" in package.readme:
        return failed("a size is not measured yet")
    found = sizes(package)
    return passed(_SIZE.search(found[0]).group(0)) if found else failed("no size in GB of a download or a saved copy")


def sizes(package: Package) -> list[str]:
    """The README's lines that give a size on the disk."""
    return [line for line in package.readme.splitlines() if _SIZE.search(line) and _STORED.search(line)]


@rule(
    "DOC11",
    looks_at=_README,
    fix="add '## Notes' that lists what the reference has and this port omits",
    why="an upstream component that mflux leaves out is looked for in vain (guide)",
    only=reasons.draws,
)
def readme_has_notes(package: Package) -> Verdict:
    """The README has notes on limits and omitted features"""
    words = ("note", "limit", "known", "not supported", "difference", "weights", "validation", "tips")
    return passed() if _heading(package, *words) else failed("no heading Notes")


@rule(
    "DOC12",
    looks_at=_README,
    fix="add '## Training' with the example configuration",
    why="the guide: README with Training",
    only=reasons.trains,
)
def readme_tells_of_training(package: Package) -> Verdict:
    """The README says how to train"""
    return passed() if _heading(package, "train") else failed("no heading Training")


@rule(
    "DOC13",
    looks_at=_README,
    fix="add '## Image-to-image' with an example",
    why="the guide: README with a feature section",
    only=reasons.takes_image,
)
def readme_tells_of_image_to_image(package: Package) -> Verdict:
    """The README shows image-to-image"""
    shown = _heading(package, "image-to-image", "img2img", "image to image") or "--image" in package.readme
    return passed() if shown else failed("no heading Image-to-image")


@rule(
    "DOC14",
    looks_at=_README,
    fix="add '## LoRA' with --lora-paths and --lora-scales",
    why="the guide: README with a feature section",
    only=reasons.takes_lora,
)
def readme_tells_of_lora(package: Package) -> Verdict:
    """The README shows LoRA"""
    return passed() if _heading(package, "lora") or "--lora" in package.readme else failed("no heading LoRA")


@rule(
    "DOC15",
    looks_at=_README,
    fix="show mflux-save or -q 8",
    why="the guide: measure sizes with mflux-save; most machines need the quantized copy",
    only=reasons.draws,
)
def readme_tells_of_quantization(package: Package) -> Verdict:
    """The README shows quantization"""
    shown = re.search(r"mflux-save|--quantize|-q \d|quantiz", package.readme)
    return passed() if shown else failed("nothing about quantization")


@rule(
    "DOC16",
    looks_at=f"{_README} and src/mflux/assets/",
    fix="add a picture below src/mflux/assets/ (git add -f, since *.jpg is ignored) and link it above the first section",
    why="every popular model opens with a picture; one that git ignores is missing from the pull request",
    only=reasons.draws,
    when=MERGE,
)
def readme_has_a_picture(package: Package) -> Verdict:
    """The README opens with a picture that git has"""
    opening = re.split(r"^##+ ", package.readme, maxsplit=2, flags=re.MULTILINE)
    paths = _pictures("".join(opening[:2]))
    if not paths:
        return failed("no picture above the second heading" if _pictures(package.readme) else "no picture")
    local = [_resolved(package, path) for path in paths if not path.startswith("http")]
    if local and not package.facts.files("src/mflux/assets", "*.jpg"):
        return not_applicable("this checkout carries no pictures in src/mflux/assets")
    known = None if reasons.in_git(package) else package.facts.git("ls-files", "src/mflux/assets", package.folder)
    missing = [f"{path} is missing" for path in local if not package.facts.exists(path)]
    return none_of(missing + [f"{path} is not in git" for path in local if known is not None and path not in known])


def _pictures(text: str) -> list[str]:
    links = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"", text)
    return [first or second for first, second in links]


def _resolved(package: Package, path: str) -> str:
    return posixpath.normpath(f"{package.folder}/{path}")


@rule(
    "DOC17",
    looks_at=_README,
    fix="mend the path",
    why="a dead link in a README stays for years",
    only=reasons.draws,
)
def readme_links_resolve(package: Package) -> Verdict:
    """Every relative link in the README leads somewhere"""
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)", package.readme)
    local = [link for link in links if "://" not in link and not link.startswith("mailto:") and "assets/" not in link]
    return none_of([f"{link} is missing" for link in local if not package.facts.exists(f"{package.folder}/{link}")])


@rule(
    "DOC18",
    looks_at=_README,
    fix="name the shared VAE (and the family that it comes from) in the Notes",
    why="who changes that family's VAE must know who else uses it (guide)",
    only=reasons.draws,
)
def reused_vae_is_named(package: Package) -> Verdict:
    """A VAE that another family owns is named in the README"""
    found = [o for f in package.initializers for o in package.facts.imports(f).values() if "vae" in o.lower()]
    classes = [o for o in found if re.search(r"\.models\.(?!common\b)\w+\.model\.", o)]
    foreign = [o for o in classes if f".models.{package.model}." not in o]
    if not foreign:
        return not_applicable("the port has its own VAE, or none")
    return passed(foreign[0]) if "vae" in package.readme.lower() else failed(f"{foreign[0]} is not named")


@rule(
    "DOC19",
    looks_at=_README,
    fix="say in the Notes which sizes are allowed (multiples of 16, largest side)",
    why="deliverable: documented shape constraints; 'dimension bugs' came back often (#649)",
    only=reasons.draws,
)
def shape_constraints_are_documented(package: Package) -> Verdict:
    """The README says which picture sizes are allowed"""
    return passed() if _SHAPES.search(package.readme) else failed("nothing about sizes")


@rule(
    "DOC24",
    looks_at=_README,
    fix="say in the Notes what the mapping renames, splits or joins, and how close the port is to the reference",
    why="deliverable: documented weight mapping and any known tolerances",
    only=reasons.has_answers,
)
def mapping_and_tolerances_are_documented(package: Package) -> Verdict:
    """The README tells the mapping's rules and the tolerances"""
    return none_of([f"nothing about {what}" for what, words in _TOLD.items() if not words.search(package.readme)])
