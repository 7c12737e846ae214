"""Turn a port of the cover into answers."""

from __future__ import annotations

import math

_SHIFTS = {
    "none": {},
    "static": {"requires_sigma_shift": True, "sigma_base_shift": math.log(4), "sigma_max_shift": math.log(4)},
    "dynamic": {"requires_sigma_shift": True, "sigma_base_shift": 0.6, "sigma_max_shift": 1.2},
    "terminal": {"requires_sigma_shift": True, "sigma_shift_terminal": 0.02},
}
_TURBO = {"steps": 8, "guidance": 1.0, "supports_guidance": False}
_BASE = {"steps": 50, "guidance": 4.5, "supports_guidance": True}


def answers(port: dict, number: int) -> dict:
    """The answers that a porter would give. ``number`` distinguishes the ports of one checkout."""
    # Whether a line with a name must be wrapped depends on the name's length alone, so testing both ends is enough.
    short = port.get("naming", "short") == "short"
    model = f"x{number:02}" if short else f"panoramic_landscapes_by_diffusion_mod_{number:02}"
    name = model.replace("_", "-")
    kind = port.get("checkpoints", "guided")
    given = {
        "model": model,
        "hf_repo": f"acme/{name}",
        "display_name": f"X {number:02}" if short else f"Panoramic Landscapes by Diffusion Models {number:02}".ljust(60, "x"),
        "variants": ["txt2img", "edit"] if port.get("edit") else ["txt2img"],
        "guidance": 1.0 if kind == "distilled" else 4.0,
    }
    asked = ("vae", "text_encoder", "scheduler", "img2img", "negative_prompt", "lora", "training", "size_multiple", "max_images")
    given |= {question: port[question] for question in asked if question in port}
    further = further_encoders(port)
    if further:
        given["text_encoders"] = [{}, *({"kind": kind} for kind in further)]
    parts = ["text_encoder", *(f"text_encoder_{place}" for place, _ in enumerate(further, 2))]
    skipped = {"text encoders": parts, "all": ["vae", *parts]}.get(port.get("skip_quantization", "none"))
    given |= {"skip_quantization": skipped} if skipped else {}
    shift = _SHIFTS[port.get("shift", "none")]
    entries = _entries(kind, name)
    if entries or shift:
        entries = entries or [{"key": name, "supports_guidance": kind != "distilled"}]
        given["checkpoints"] = [{"hf_repo": f"acme/{entry['key']}", **entry, **shift} for entry in entries]
    return given


def further_encoders(port: dict) -> list[str]:
    """The kinds of the text encoders after the first."""
    return [kind for kind in port.get("further_encoders", "none").split(" and ") if kind != "none"]


def _entries(kind: str, name: str) -> list[dict]:
    turbo = {"key": f"{name}-turbo", "aliases": [f"{name}-quick"], **_TURBO}
    base = {"key": f"{name}-base", **_BASE}
    retouch = {"key": f"{name}-retouch", "variant": "edit", **_BASE}
    return {
        "own command": [turbo, {**base, "cli_name": f"{name}-base"}],
        "with edit": [turbo, base, retouch],
        "guided edit": [turbo, {**retouch, "cli_name": f"{name}-retouch"}],
        "distilled edit": [base, retouch, {**retouch, "key": f"{name}-touch", **_TURBO}],
    }.get(kind, [])
