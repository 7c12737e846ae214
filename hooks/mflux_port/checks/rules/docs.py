"""DOC: the READMEs, the changelog and the release note."""

from __future__ import annotations

import re

from mflux_port.checks.engine import readme, reasons, syntax
from mflux_port.checks.engine.package import Package
from mflux_port.checks.engine.rule import MERGE, Verdict, failed, failed_if, needs_you, not_applicable, passed, rule

_README = "src/mflux/models/<model>/README.md"
_TOLD = {
    "the mapping's rules": re.compile(r"\bmapping|\btensor", re.IGNORECASE),
    "tolerances": re.compile(r"tolerance|relative error|relL2|bit[- ]exact", re.IGNORECASE),
}
_SHAPES = re.compile(r"multiples? of|divisible|resolution", re.IGNORECASE)
_ROOT = "README.md"


@rule(
    "DOC01",
    looks_at=_ROOT,
    fix="mflux-port wire <model>, or add the row to the model table",
    why="two ports were added to the table one release late",
    only=reasons.generates,
)
def model_table_has_a_row(package: Package) -> Verdict:
    """The root README's table has a row that links to the port's README"""
    return passed() if package.readme_row else failed("no row")


@rule(
    "DOC02",
    looks_at=_ROOT,
    fix="write the model's release date and size in the row",
    why="wiring does not know the date and the size, and writes question marks",
    only=reasons.generates,
    when=MERGE,
)
def model_table_row_is_complete(package: Package) -> Verdict:
    """The row in the root README has no question mark left"""
    if not package.readme_row:
        return failed("no row")
    return failed("a cell is still ?") if "?" in package.readme_row else passed()


@rule(
    "DOC03",
    looks_at=f"{_ROOT}, acknowledgements",
    fix="add '- <vendor> for the [<name> project](<address>)'",
    why="attribution was forgotten or added late",
    only=reasons.generates,
)
def authors_are_acknowledged(package: Package) -> Verdict:
    """The root README thanks the model's authors"""
    lines = package.facts.text(_ROOT).lower().splitlines()
    bullets = [line for line in lines if " for the [" in line and line.startswith("- ")]
    if not bullets:
        return not_applicable("the README has no acknowledgements")
    name = package.display_name.lower()
    owners = {entry.repo.split("/")[0].lower() for entry in package.entries if entry.repo}
    words = {name, name.split()[0], package.model.replace("_", " "), *owners}
    words |= {owner.replace("-", " ") for owner in owners}
    named = any(word in line for word in words for line in bullets)
    return passed() if named else failed("no line names the authors")


@rule(
    "DOC04",
    looks_at="README.md, contributor table",
    fix="add the row '| <name> | [@you](…) | [#n](…) |' when the pull request has a number",
    why="every port since the table was added has a row",
    only=reasons.generates,
    when=MERGE,
)
def contributor_table_has_a_row(package: Package) -> Verdict:
    """The contributor table lists the model"""
    lines = package.facts.text(_ROOT).splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("|") and "Contributor" in line), None)
    if start is None:
        return not_applicable("the README has no contributor table")
    name = re.sub(r"[^a-z0-9]", "", package.display_name.lower())
    rows = [re.sub(r"[^a-z0-9]", "", line.split("|")[1].lower()) for line in lines[start:] if line.startswith("|")]
    listed = any(name in row or (row and row in name) for row in rows)
    return passed() if listed else failed(f"{package.display_name} is not listed")


@rule(
    "DOC05",
    looks_at=_README,
    fix="write the README like flux2's: example, Python API, features, weights, notes",
    why="the guide: README following the structure of existing model READMEs",
    only=reasons.generates,
)
def readme_exists(package: Package) -> Verdict:
    """The package has a README with an example"""
    if not package.readme:
        return failed(f"{package.folder}/README.md is missing")
    return passed() if readme.has_heading(package, "example", "quick start", "usage") else failed("no heading Example")


@rule(
    "DOC06",
    looks_at=_README,
    fix="show every command of the port and every checkpoint of the answers in a shell example",
    why="users do not find a command that is not shown (guide: turbo and base examples)",
    only=reasons.generates,
)
def readme_shows_every_command(package: Package) -> Verdict:
    """The README shows every command and every checkpoint"""
    shown = set(re.findall(r"mflux-[\w.-]*\w", package.readme))
    used = {example.key for example in readme.examples(package)}
    keys = [checkpoint.key for checkpoint in package.port.checkpoints] if package.port else []
    missing = [f"{name} is not shown" for name in package.generating if name not in shown]
    return failed_if(missing + [f"no example uses {key}" for key in keys if key not in used])


@rule(
    "DOC07",
    looks_at=_README,
    fix="fix or remove the option, or use a model of the registry",
    why="users paste README examples",
    only=reasons.generates,
)
def readme_options_exist(package: Package) -> Verdict:
    """Every option and every model in the README's examples exists"""
    known = set(package.facts.shared_flags)
    for file in package.facts.files(package.folder):
        if "add_argument(" in package.facts.text(file):
            known |= {text for text in syntax.strings(package.facts.nodes(file)) if text.startswith("-")}
    shown = readme.examples(package)
    options = {option for example in shown for option in example.options if option not in known}
    models = {example.value("--model") for example in shown if not example.key}
    # A value that starts like the model's name must be a key; anything else may be a folder or a repo.
    keys = {name for name in models if re.fullmatch(rf"{re.escape(package.model.split('_')[0])}[\w.-]*", name)}
    unknown = sorted(name for name in keys if not readme.saves_to(package, name))
    return failed_if(
        [f"{option} does not exist" for option in sorted(options)]
        + [f"--model {name} does not exist" for name in unknown]
    )


@rule(
    "DOC08",
    looks_at=_README,
    fix="import names that exist and call a ModelConfig.<factory>() of the registry",
    why="the Python example must match the command and the defaults (guide)",
    only=reasons.generates,
)
def python_example_works(package: Package) -> Verdict:
    """The README has a Python example, it parses, and its names exist"""
    texts = readme.python_examples(package)
    if not texts:
        return failed("no Python example imports the port")
    called = re.findall(r"ModelConfig\.(\w+)\(\)", "\n".join(texts))
    wrong = [f"ModelConfig.{name}() does not exist" for name in called if name not in package.facts.factories]
    return failed_if(wrong + [problem for text in texts for problem in readme.import_problems(package, text)])


@rule(
    "DOC09",
    looks_at=f"{_README} and MODEL_INFERENCE_STEPS",
    fix="show each checkpoint with its default steps, in shell and in Python",
    why="README, command and table showed three different numbers (#580)",
    only=reasons.has_entries,
)
def readme_uses_the_default_steps(package: Package) -> Verdict:
    """The README's examples use the checkpoint's default steps"""
    found = readme.shown_values(package, "--steps", "num_inference_steps")
    known = {key: package.facts.default_steps(key) for key in package.keys}
    wrong = [
        f"{key} is shown with {given:g} steps, the default is {known[key]}"
        for key, given in found
        if isinstance(known[key], int) and known[key] != given
    ]
    return failed_if(wrong) if found else not_applicable("no example gives --steps")


@rule(
    "DOC10",
    looks_at=_README,
    fix="run mflux-port inspect <repo> --sizes <model> --saved <folder of the mflux-save copy>; it writes both sizes there",
    why="an unexpected download fills the user's disk (guide: disk-size warning)",
    only=reasons.generates,
    when=MERGE,
)
def readme_gives_sizes(package: Package) -> Verdict:
    """The README gives the measured size of the download"""
    if "not measured yet" in package.readme:
        return failed("the README says: not measured yet")
    found = readme.sizes(package)
    if not found:
        return failed("no size in GB of a download or a saved copy")
    return passed(readme.SIZE.search(found[0]).group(0))


@rule(
    "DOC11",
    looks_at=_README,
    fix="add '## Notes' with the reference's features that this port omits",
    why="users look for features of the reference that mflux omits (guide)",
    only=reasons.generates,
)
def readme_has_notes(package: Package) -> Verdict:
    """The README has notes on limits and omitted features"""
    words = ("note", "limit", "known", "not supported", "difference", "weights", "validation", "tips")
    return passed() if readme.has_heading(package, *words) else failed("no heading Notes")


@rule(
    "DOC12",
    looks_at=_README,
    fix="add '## Training' with the example configuration",
    why="the guide: a README with a Training section",
    only=reasons.trains,
)
def readme_explains_training(package: Package) -> Verdict:
    """The README explains training"""
    return passed() if readme.has_heading(package, "train") else failed("no heading Training")


@rule(
    "DOC13",
    looks_at=_README,
    fix="add '## Image-to-image' with an example",
    why="the guide: a README section per feature",
    only=reasons.takes_image,
)
def readme_shows_image_to_image(package: Package) -> Verdict:
    """The README shows image-to-image"""
    shown = readme.has_heading(package, "image-to-image", "img2img", "image to image") or "--image" in package.readme
    return passed() if shown else failed("no heading Image-to-image")


@rule(
    "DOC14",
    looks_at=_README,
    fix="add '## LoRA' with --lora-paths and --lora-scales",
    why="the guide: a README section per feature",
    only=reasons.takes_lora,
)
def readme_shows_lora(package: Package) -> Verdict:
    """The README shows LoRA"""
    return passed() if readme.has_heading(package, "lora") or "--lora" in package.readme else failed("no heading LoRA")


@rule(
    "DOC15",
    looks_at=_README,
    fix="show mflux-save or -q 8",
    why="the guide: measure sizes with mflux-save; most machines need the quantized copy",
    only=reasons.generates,
)
def readme_shows_quantization(package: Package) -> Verdict:
    """The README shows quantization"""
    shown = re.search(r"mflux-save|--quantize|-q \d|quantiz", package.readme)
    return passed() if shown else failed("nothing about quantization")


@rule(
    "DOC16",
    looks_at=f"{_README} and src/mflux/assets/",
    fix="add an image to src/mflux/assets/ (git add -f, since *.jpg is ignored) and link it above the first section",
    why="every popular model's README opens with an image; one that git ignores is missing from the pull request",
    only=reasons.generates,
    when=MERGE,
)
def readme_opens_with_an_image(package: Package) -> Verdict:
    """The README opens with an image that is in git"""
    opening = re.split(r"^##+ ", package.readme, maxsplit=2, flags=re.MULTILINE)
    paths = readme.images(package, "".join(opening[:2]))
    if not paths:
        return failed("no image above the second heading" if readme.images(package, package.readme) else "no image")
    local = [path for path in paths if not path.startswith("http")]
    if local and not package.facts.files("src/mflux/assets", "*.jpg"):
        return not_applicable("this checkout has no images in src/mflux/assets")
    known = None if reasons.in_git(package) else package.facts.git("ls-files", "src/mflux/assets", package.folder)
    missing = [f"{path} is missing" for path in local if not package.facts.exists(path)]
    return failed_if(missing + [f"{path} is not in git" for path in local if known is not None and path not in known])


@rule(
    "DOC17",
    looks_at=_README,
    fix="fix the path",
    why="dead links stay in READMEs for years",
    only=reasons.generates,
)
def readme_links_work(package: Package) -> Verdict:
    """Every relative link in the README works"""
    links = re.findall(r"(?<!!)\[[^\]]*\]\(([^)\s#]+)(?:#[^)]*)?\)", package.readme)
    local = [link for link in links if "://" not in link and not link.startswith("mailto:") and "assets/" not in link]
    return failed_if([f"{link} is missing" for link in local if not package.facts.exists(f"{package.folder}/{link}")])


@rule(
    "DOC18",
    looks_at=_README,
    fix="name the shared VAE and its family in the Notes",
    why="anyone who changes that family's VAE must know which other models use it (guide)",
    only=reasons.generates,
)
def reused_vae_is_named(package: Package) -> Verdict:
    """The README names a VAE that belongs to another family"""
    found = [o for f in package.initializers for o in package.facts.imports(f).values() if "vae" in o.lower()]
    classes = [o for o in found if re.search(r"\.models\.(?!common\b)\w+\.model\.", o)]
    foreign = [o for o in classes if f".models.{package.model}." not in o]
    if not foreign:
        return not_applicable("the port has its own VAE, or none")
    return passed(foreign[0]) if "vae" in package.readme.lower() else failed(f"{foreign[0]} is not named")


@rule(
    "DOC19",
    looks_at=_README,
    fix="list the allowed sizes in the Notes (multiples of 16, longest side)",
    why="deliverable: documented shape constraints; dimension bugs came back often (#649)",
    only=reasons.generates,
)
def shape_constraints_are_documented(package: Package) -> Verdict:
    """The README lists the allowed image sizes"""
    return passed() if _SHAPES.search(package.readme) else failed("nothing about sizes")


@rule(
    "DOC20",
    looks_at="CHANGELOG.md",
    fix="mflux-port wire <model>, or add a line under Unreleased with the pull request's number",
    why="mflux's pull request template asks for it",
    only=reasons.has_answers,
)
def changelog_lists_the_model(package: Package) -> Verdict:
    """The changelog lists the model"""
    text = package.facts.text("CHANGELOG.md")
    if not text:
        return not_applicable("this checkout has no CHANGELOG.md")
    if package.port and not re.search(r"^##\s+\[?unreleased", text, re.IGNORECASE | re.MULTILINE):
        return not_applicable("CHANGELOG.md has no Unreleased section; its lines are written at the release")
    name = re.compile(rf"(?<![\w-]){re.escape(package.display_name)}(?![\w-])")
    newest = re.split(r"^## ", text, maxsplit=2, flags=re.MULTILINE)[1:2]
    # A merged port is listed under its own release.
    places = newest if package.port else [text]
    found = any(name.search(place) for place in places)
    return passed() if found else failed(f"{package.display_name} is not listed")


@rule(
    "DOC21",
    looks_at="the pull request's description",
    fix="keep the fenced release-note block that mflux-port finish writes",
    why="mflux's workflow release-note.yml rejects a pull request without one",
    only=reasons.has_answers,
    when=MERGE,
)
def release_note_is_written(package: Package) -> Verdict:
    """The pull request has a release note"""
    return needs_you("mflux-port finish <model> --dry-run")


@rule(
    "DOC22",
    looks_at=f"{_README} and porting/<model>/",
    fix="use the folder where this checkout keeps its skills",
    why="mflux's skills moved from .cursor/skills to .agents/skills",
)
def mentioned_skills_exist(package: Package) -> Verdict:
    """The skills that the port's documents mention exist"""
    texts = [package.readme, package.facts.text(f"porting/{package.model}/PORTING.md")]
    named = {path for text in texts for path in re.findall(r"\.(?:cursor|agents)/skills[\w/.-]*\w", text)}
    return failed_if([f"{path} does not exist" for path in sorted(named) if not package.facts.exists(path)])


@rule(
    "DOC23",
    looks_at=f"{_README} and the variant's DEFAULT_GUIDANCE",
    fix="show a distilled checkpoint without --guidance, a base one with its default",
    why="the guide: guidance is the same in ModelConfig, command, README and training preview",
    only=reasons.has_entries,
)
def readme_uses_the_default_guidance(package: Package) -> Verdict:
    """The README's examples use the checkpoint's default guidance"""
    distilled = package.distilled
    wrong = []
    for key, given in readme.shown_values(package, "--guidance", "guidance"):
        wanted = package.default_guidance.get(key, 1.0 if key in distilled else given)
        if given != wanted and not (key in distilled and given == 0):
            wrong.append(f"{key} is shown with guidance {given:g}, the default is {wanted}")
    return failed_if(wrong)


@rule(
    "DOC24",
    looks_at=_README,
    fix="write in the Notes what the mapping renames, splits or joins, and how close the port is to the reference",
    why="deliverable: documented weight mapping and any known tolerances",
    only=reasons.has_answers,
)
def mapping_and_tolerances_are_documented(package: Package) -> Verdict:
    """The README describes the mapping and the tolerances"""
    return failed_if([f"nothing about {what}" for what, words in _TOLD.items() if not words.search(package.readme)])
