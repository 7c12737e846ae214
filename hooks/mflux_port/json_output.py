"""The output of ``--json``: one object per command, with the fields below, which docs/reference/json.md lists, too."""

from __future__ import annotations

import json

SCHEMA = 1  # increases when a field is renamed, removed, or means something else; a new field does not change it
_DIFF = {"diff": "the unified diff of what would be written"}
# The fields of each form. All objects have ``schema`` and ``command`` too.
FIELDS: dict[str, dict[str, str]] = {
    "start": {
        "model": "the port's package name; empty while it is not known",
        "steps": "list of `step`, `command`, `seconds`, `code` (the exit code), in the order in which they ran",
        "next": "the next action: `command` to type, `reason`, and `edit`, the file or folder to change first (or empty)",
    },
    "copy": {"model": "the port's package name", "answers": "its answers file"},
    "start --dry-run": {"planned": "list of `step` and `command`"},
    "demo": {
        "checkout": "the folder of the mflux checkout",
        "image": "the file of the generated image",
        "tests_passed": "whether the port's own tests passed",
    },
    "inspect": {
        "checkpoint": "the folder, file or repo that was read",
        "repo": "the repo id; empty when it is not known",
        "revision": "the commit of the repo; empty for a folder",
        "pipeline": "the reference's pipeline class",
        "custom_pipeline": "the file of the checkpoint's own pipeline",
        "unlisted": "folders with weights that model_index.json does not list",
        "components": "list of components: `name`, `class`, `parameters`, `bytes`, `tensors`, `dtypes`, `notes` and more",
        "tokenizers": "list of folder names",
        "scheduler": "the scheduler's class",
        "answers": "by question: `value`, `why`, and `known`, which is false for a value to look up. `text_encoders`, "
        "`folders` and `size_multiple` are there if they are not the default; no checkpoint answers `skip_quantization`",
        "reused": "list of sentences: which parts mflux has already",
        "to_port": "list of sentences: what must be ported",
    },
    "inspect --sizes": {
        "readme": "the README into which the sizes were written",
        "repo": "the repo id",
        "bytes": "size on disk by name: `download`, `8-bit copy`",
    },
    "draft": {
        "components": "list of `component`, `from`, `classes`, `targets`, `lora`, `forward`, `left_out` and `unresolved`",
        "written": "list of files",
        "beside": "by edited file: the draft written next to it",
        "removed": "list of placeholders that were deleted because the draft replaces them",
        "leftover": "list of files that no draft uses",
        "key_list": "list of sentences about the stored key list",
        "tiny_sizes": "`file`, `says`, `takes` when the fast tests use other names than the drafted transformer; else {}",
        "pipeline": "by fact: what the pipeline does between its networks",
        "pipeline_refusal": "why the pipeline could not be run; empty when it was, or was not asked for",
    },
    "draft --dry-run": _DIFF,
    "ledger": {
        "passed": "whether nothing is open",
        "components": "list of `component`, `tensors`, `parameters`, `waived`, `findings` (their number)",
        "findings": "list of `component`, `kind`, `name`, `why`, `fails`",
        "key_list": "list of sentences about the stored key list",
    },
    "ledger --lora": {"passed": "whether every key of every file matches", "loras": "list with one object per file"},
    "wire": {"surfaces": "list of `surface`, `state` and `detail`, one per shared file"},
    "wire --dry-run": _DIFF,
    "unwire": {"surfaces": "list of `surface`, `state` and `detail`, one per shared file"},
    "unwire --dry-run": _DIFF,
    "update": {"updates": "list with one object per port: `model`, `files`, `conflicts` and more, or `refused`"},
    "update --restore": {"restored": "a sentence: what was restored"},
    "check": {"rows": "list of `model`, `rule`, `title`, `state`, `detail`, `looks_at`, `fix`, `file`, `line`"},
    "check --explain": {
        "id": "the rule",
        "title": "what must be true",
        "looks_at": "the files that it reads",
        "fix": "what to do when it fails",
        "why": "what went wrong before",
        "when": "`always`, `merge` or `run`",
    },
    "status": {
        "ports": "list with one object per port: `model`, `reached`, `steps`, `next` (as in `start`), `wiring`, `conflicts`",
        "merged": "list of models without a porting folder",
    },
    "finish": {
        "removed": "list of files",
        "description": "the pull request's text",
        "rows": "list of rows that fail, as in `check`; then nothing is removed",
    },
}


def print_json(form: str, facts: dict) -> None:
    """Print one object for ``form``, a key of FIELDS."""
    print(json.dumps({"schema": SCHEMA, "command": form.split()[0], **facts}, indent=1))


def print_diff(form: str, diff: str, as_json: bool) -> None:
    """Print the diff of a dry run, as text or as JSON."""
    if as_json:
        print_json(form, {"diff": diff})
    else:
        print(diff, end="")
