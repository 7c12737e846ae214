"""The package's README: structure, and examples that can be pasted."""

from __future__ import annotations

import re
from functools import cache

from mflux_port.checks import reasons, syntax
from mflux_port.checks.package import Package
from mflux_port.checks.rule import MERGE, Verdict, failed, none_of, not_applicable, passed, rule
from mflux_port.parsing import parse_python

_README = "src/mflux/models/<model>/README.md"
_SIZE = re.compile(r"\d+(\.\d+)?\s*(GB|GiB|MB)", re.IGNORECASE)
_SHAPES = re.compile(r"multiples? of|divisible|resolution", re.IGNORECASE)
_COMMAND = re.compile(r"^\s*(?:uv run )?(mflux-[\w.-]+)((?:.*\\\n)*.*)$", re.MULTILINE)


def _heading(package: Package, *words: str) -> bool:
    headings = [line.lower() for line in package.readme.splitlines() if line.startswith("#")]
    return any(word in heading for heading in headings for word in words)


@cache
def _blocks(text: str, language: str) -> tuple[str, ...]:
    return tuple(re.findall(rf"```(?:{language})\n(.*?)```", text, re.DOTALL))


def _shell(package: Package) -> list[tuple[str, str]]:
    """Command and arguments of every shell example."""
    text = "\n".join(_blocks(package.readme, "sh|bash|shell|zsh"))
    return [(found.group(1), found.group(2)) for found in _COMMAND.finditer(text)]


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
    "DOC06",
    looks_at=_README,
    fix="show every command of the port in a shell example",
    why="a command that is not shown is not found",
    only=reasons.draws,
)
def readme_shows_every_command(package: Package) -> Verdict:
    """The README shows every command"""
    shown = {name for name, _ in _shell(package)} | set(re.findall(r"mflux-[\w.-]*\w", package.readme))
    return none_of([f"{name} is not shown" for name in package.generating if name not in shown])


@rule(
    "DOC07",
    looks_at=_README,
    fix="take the option out of the example, or spell it as the parser does",
    why="README examples are a contract: they are pasted",
    only=reasons.draws,
)
def readme_options_exist(package: Package) -> Verdict:
    """Every option in the README's examples exists"""
    known = set(package.facts.shared_flags)
    for file in package.facts.files(package.folder):
        if "add_argument(" in package.facts.text(file):
            known |= {text for text in syntax.strings(package.facts.nodes(file)) if text.startswith("-")}
    unknown = {
        f for name, text in _shell(package) if name in package.generating for f in _flags(text) if f not in known
    }
    return none_of([f"{flag} is no option" for flag in sorted(unknown)])


@rule(
    "DOC08",
    looks_at=_README,
    fix="import what exists and call ModelConfig.<factory>() of the registry",
    why="the Python example must match command and defaults (guide)",
    only=reasons.draws,
)
def python_example_works(package: Package) -> Verdict:
    """The README has a Python example whose names exist"""
    texts = _blocks(package.readme, "python|py")
    code = "\n".join(text for text in texts if f"mflux.models.{package.model}" in text)
    if not code:
        return failed("no Python example imports the port")
    wrong = [
        f"ModelConfig.{n}() does not exist"
        for n in re.findall(r"ModelConfig\.(\w+)\(\)", code)
        if n not in package.facts.factories
    ]
    for name, origin in _imports(texts).items():
        module = origin.rpartition(".")[0]
        file = package.facts.find(module)
        if not file or not re.search(rf"\b{name}\b", package.facts.text(file)):
            wrong.append(f"{module} has no {name}")
    return none_of(wrong)


@rule(
    "DOC09",
    looks_at=f"{_README} and MODEL_INFERENCE_STEPS",
    fix="show the default steps in one example per command",
    why="README, command and table showed three different numbers (#580)",
    only=reasons.has_entries,
)
def readme_steps_are_the_defaults(package: Package) -> Verdict:
    """The README's examples run with a checkpoint's default steps"""
    examples = [text for name, text in _shell(package) if name in package.generating]
    if any("--steps" not in text for text in examples):
        return passed("an example leaves --steps at its default")
    steps = {int(found) for text in examples for found in re.findall(r"--steps[ =](\d{1,9})", text)}
    known = {value for key, value in package.facts.steps.items() if key in _names(package)}
    if not steps or not known:
        return not_applicable("no example gives --steps")
    return passed() if steps & known else failed(f"examples use {sorted(steps)}, the defaults are {sorted(known)}")


@rule(
    "DOC10",
    looks_at=_README,
    fix="mflux-port inspect <repo> --sizes <model> measures the cache and the saved copy; write both into the README",
    why="people fill their disk without knowing (guide: disk-size warning)",
    only=reasons.draws,
    when=MERGE,
)
def readme_gives_sizes(package: Package) -> Verdict:
    """The README gives the measured size of the download"""
    if "not measured yet" in package.readme:
        return failed("a size is not measured yet")
    found = _SIZE.search(package.readme)
    return passed(found.group(0)) if found else failed("no size in GB")


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
    fix="add a picture below src/mflux/assets/ (git add -f, since *.jpg is ignored) and link it",
    why="every popular model opens with a picture",
    only=reasons.draws,
    when=MERGE,
)
def readme_has_a_picture(package: Package) -> Verdict:
    """The README opens with a picture that exists"""
    links = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)|<img[^>]+src=\"([^\"]+)\"", package.readme)
    paths = [first or second for first, second in links]
    if not paths:
        return failed("no picture")
    local = [path for path in paths if not path.startswith("http")]
    if local and not package.facts.exists("src/mflux/assets"):
        return not_applicable("this checkout carries no src/mflux/assets")
    return none_of([f"{path} is missing" for path in local if not package.facts.exists(f"{package.folder}/{path}")])


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
    found = [
        o for f in package.initializers for o in syntax.imports(package.facts.tree(f)).values() if "vae" in o.lower()
    ]
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


def _imports(texts: tuple[str, ...]) -> dict[str, str]:
    """What the examples import from mflux, by name. A fragment that is no whole Python is passed over."""
    found: dict[str, str] = {}
    for text in texts:
        try:
            imported = syntax.imports(parse_python(text))
        except SyntaxError:
            continue
        found |= {name: origin for name, origin in imported.items() if origin.startswith("mflux.") and "." in origin}
    return found


def _flags(text: str) -> list[str]:
    bare = re.sub(r"\"(?:[^\"\\]|\\.)*\"|'[^']*'", "", text)
    return re.findall(r"(?<![\w-])(--[a-z][\w-]*)", bare)


def _names(package: Package) -> set[str]:
    return {name for entry in package.entries for name in (entry.key, *entry.aliases)}
