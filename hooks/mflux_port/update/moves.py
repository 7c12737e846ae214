"""The rendered files that each template version moved, or gave to the porter. ``{model}`` is the model's name."""

from __future__ import annotations

# By version and folder: the old path of a file and its new one.
MOVES: dict[str, dict[str, dict[str, str]]] = {
    "v0.2.0": {
        "porting/{model}/parity": {
            "alignment.py": "compare/alignment.py",
            "causes.py": "explain/causes_in_values.py",
            "components.py": "record/components.py",
            "crossing.py": "run/run_trace.py",
            "estimate.py": "record/estimate.py",
            "fingerprints.py": "record/fingerprints.py",
            "gaps.py": "record/calibration.py",
            "limits.py": "compare/limits.py",
            "mlx_port.py": "run/mlx_port.py",
            "mlx_taps.py": "run/mlx_taps.py",
            "modules.py": "run/module_judge.py",
            "notes.py": "explain/boxes.py",
            "pairing.py": "compare/pairing.py",
            "pictures.py": "explain/pictures.py",
            "port.py": "answers.py",
            "prompts.py": "compare/prompts.py",
            "recording.py": "record/recording.py",
            "reference.py": "record/reference.py",
            "report.py": "explain/report.py",
            "seams.py": "run/forced_run.py",
            "session.py": "explain/session.py",
            "shrink.py": "record/shrink.py",
            "soundness.py": "record/recording_schema.py",
            "stages.py": "run/stages.py",
            "torch_taps.py": "record/torch_taps.py",
            "toy_tokenizer.py": "record/toy_tokenizer.py",
            "verdict.py": "explain/diagnosis.py",
        },
    },
}

# Files that become the porter's in some version. An update across that version still merges them, so that they start
# with its conventions.
HANDED_OVER: dict[str, tuple[str, ...]] = {
    "v0.2.0": ("src/mflux/models/{model}/weights/{model}_weight_definition.py",),
}


def moves_of(version: str, model: str) -> dict[str, str]:
    """The new path of each file that ``version`` moved, by its old one, relative to the checkout."""
    places = MOVES.get(version, {}).items()
    return {
        f"{folder}/{old}".format(model=model): f"{folder}/{new}".format(model=model)
        for folder, names in places
        for old, new in names.items()
    }


def handed_over(version: str, model: str) -> list[str]:
    """The files that belong to the porter from ``version`` on, relative to the checkout."""
    return [name.format(model=model) for name in HANDED_OVER.get(version, ())]
