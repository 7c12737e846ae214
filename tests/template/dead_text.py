"""Words of features that are switched off: none of them may appear in a rendered port."""

from __future__ import annotations

import re
from pathlib import Path

from tests.template import ports, rendering

# The words of features that can be switched off.
_OPTIONS = {
    "edit": r"edit",
    "img2img": r"img2img|image.to.image|image.strength|init_time_step",
    "negative_prompt": r"negative.prompt",
    "lora": r"lora",
    "training": r"\btrain(ing|er)?\b|mflux-train|TrainingAdapter|gradient_checkpointing",
}
# Words that a later release added.
_LATER = {
    "0.18.1": r"bake_lora|dense_component|capabilities|VAEDecodeOptions|VAEBlockDecoder|MODEL_CLASSES|resolve_restricted",
    "0.22.0": r"VAEDecodeOptions|VAEBlockDecoder|vae.full.precision|generation_parameters",
    "0.24.0": r"MODEL_CHOICES",
}


def dead_text(port: dict, model: str, files: list[Path]) -> list[str]:
    """Every line of the port's files with a word of something that its answers leave out."""
    patterns = {name: words for name, words in _OPTIONS.items() if not port[name]}
    patterns["release"] = _LATER[port["release"]]
    patterns["own"] = _own_parts(port, model)
    patterns["components"] = "|".join(re.escape(name) for name in _components(port))
    patterns["Jinja"] = r"\{%|\{#|\bTrue if\b.*\bFalse else\b"
    found = []
    for path in _rendered_from_answers(model, files):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.rstrip() != line:
                found.append(f"{path}:{number}: blanks at the end: {line!r}")
            for name, words in patterns.items():
                if words and re.search(words, _allowed(line), re.IGNORECASE):
                    found.append(f"{path}:{number}: {name}: {line.strip()}")
    return found


def _rendered_from_answers(model: str, files: list[Path]) -> list[Path]:
    # porting/ holds the answers themselves and tools that are the same for every port.
    return [path for path in files if f"/porting/{model}/" not in path.as_posix() or path.name == "PORTING.md"]


def _allowed(line: str) -> str:
    # Names of mflux and of transformers, what mflux 0.18 reads of every model, the toy tokenizer's chat template, and
    # the option that the shared parser has in any case: a model without negative prompts must mention it.
    return re.sub(
        r"model\.lora_(paths|scales) = None|save_pretrained|NUM_TRAIN_TIMESTEPS|num_train_timesteps|\{% .* %\}"
        r"|\"--negative-prompt\"",
        "",
        line,
    )


def _own_parts(port: dict, model: str) -> str:
    parts = {
        "vae": f"{model}_vae",
        "scheduler": f"{model}_scheduler",
        "text_encoder": f"{model}_text_encoder.text_encoder",
    }
    return "|".join(words for question, words in parts.items() if port[question] != "own")


def _components(port: dict) -> list[str]:
    """Modules of the components that were not chosen."""
    modules = []
    for question in ("vae", "text_encoder"):
        specs = rendering.specs(question)
        chosen = {port[question], *(ports.further_encoders(port) if question == "text_encoder" else ())}
        kept = {specs[name]["module"] for name in chosen}
        modules += [spec["module"] for name, spec in specs.items() if name != "own" and spec["module"] not in kept]
    return modules
