"""Compare a checkpoint's files with a weight definition: downloads, loaded weights and tokenizers."""

from __future__ import annotations

from fnmatch import fnmatchcase

from mflux_port.checkpoint.keylist import Snapshot
from mflux_port.ledger.balance import Finding
from mflux_port.ledger.waivers import Waivers

COMPONENT = "files"


def account_files(definition, snapshot: Snapshot, waivers: dict[str, Waivers]) -> list[Finding]:
    """Findings about download patterns, weight files and tokenizers. None for a snapshot of a single file."""
    if not any("/" in name for name in snapshot.files):
        return []
    components, tokenizers = definition.get_components(), definition.get_tokenizers()
    patterns = list(definition.get_download_patterns())
    for tokenizer in tokenizers:
        patterns += tokenizer.download_patterns or []
    findings = [*_patterns(patterns, snapshot), *_weights(components, patterns, snapshot, waivers)]
    findings += _unread(components, tokenizers, patterns, snapshot)
    return [*findings, *_tokenizers(tokenizers, patterns, snapshot)]


def _patterns(patterns: list[str], snapshot: Snapshot) -> list[Finding]:
    return [
        Finding(COMPONENT, "idle pattern", pattern, "no file of the checkpoint matches this download pattern")
        for pattern in dict.fromkeys(patterns)
        if not any(fnmatchcase(name, pattern) for name in snapshot.files)
    ]


def _unread(components: list, tokenizers: list, patterns: list[str], snapshot: Snapshot) -> list[Finding]:
    # Other downloaded files must be in the root or where a component or a tokenizer looks.
    places = [component.hf_subdir for component in components]
    places += [
        place for tokenizer in tokenizers for place in (tokenizer.hf_subdir, *(tokenizer.fallback_subdirs or ()))
    ]
    known = {"", *(place.strip("/.") for place in places)}
    downloaded = [name for name in snapshot.files if any(fnmatchcase(name, pattern) for pattern in patterns)]
    folders = {name.rpartition("/")[0] for name in downloaded if not name.endswith(".safetensors")}
    why = "a download pattern matches it, and neither a component nor a tokenizer reads that folder"
    return [Finding(COMPONENT, "not loaded", f"{folder}/", why) for folder in sorted(folders - known)]


def _weights(components: list, patterns: list[str], snapshot: Snapshot, waivers: dict[str, Waivers]) -> list[Finding]:
    weight_files = {
        component.hf_subdir.strip("/."): component.weight_files
        for component in components
        if component.download_url is None
    }
    findings = []
    for name in snapshot.files:
        if name.endswith(".safetensors") and not name.rpartition("/")[2].startswith("._"):
            findings += _weight_file(name, weight_files, patterns, snapshot)
    for folder in snapshot.tensors.keys() - weight_files.keys():
        waiver = waivers.get(folder)
        if not (waiver and all(waiver.cover("tensors", name) for name in snapshot.tensors[folder])):
            why = "no component reads this folder; add one or waive it"
            findings.append(Finding(COMPONENT, "not read", folder, why))
    return findings


def _weight_file(name: str, weight_files: dict, patterns: list[str], snapshot: Snapshot) -> list[Finding]:
    # Every weight file must be downloaded and loaded, or neither. ``weight_files`` by folder: empty means all of them.
    folder, _, bare = name.rpartition("/")
    downloaded = any(fnmatchcase(name, pattern) for pattern in patterns)
    loaded = folder in weight_files and (not weight_files[folder] or bare in weight_files[folder])
    if downloaded and not loaded:
        return [Finding(COMPONENT, "not loaded", name, "a download pattern matches it and no component loads it")]
    if not loaded:
        return []
    findings = []
    if not downloaded:
        findings.append(Finding(COMPONENT, "not downloaded", name, "it is loaded, and no download pattern matches it"))
    if name in snapshot.others.get(folder, ()) and not weight_files[folder]:
        why = "mflux reads every safetensors file of the folder: name the right ones in weight_files"
        findings.append(Finding(COMPONENT, "read too", name, why))
    return findings


def _tokenizers(tokenizers: list, patterns: list[str], snapshot: Snapshot) -> list[Finding]:
    findings = []
    for tokenizer in tokenizers:
        places = [tokenizer.hf_subdir, *(tokenizer.fallback_subdirs or ())]
        found = [files for files in (_inside(place, snapshot.files) for place in places) if files]
        if not found:
            why = f"{' and '.join(place or 'the root' for place in places)} has no tokenizer files"
            findings.append(Finding(COMPONENT, "no tokenizer", tokenizer.name, why))
            continue
        missed = [name for name in found[0] if not any(fnmatchcase(name, pattern) for pattern in patterns)]
        why = f"tokenizer {tokenizer.name} needs it"
        findings += [Finding(COMPONENT, "not downloaded", name, why) for name in missed]
    return findings


def _inside(place: str, files: list[str]) -> list[str]:
    from mflux_port.checkpoint.layout import TOKENIZER_FILES

    folder = place.strip("/.")
    return [name for name in files if name.rpartition("/")[0] == folder and name.rpartition("/")[2] in TOKENIZER_FILES]
