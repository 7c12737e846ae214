"""The files between the networks, from the facts of the pipeline: prediction, prompt encoder, latents, sizes of the
tests.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from mflux_port.draft.forward.writer.step_constants import METHOD
from mflux_port.draft.glue import latent_creator, prediction, prompt_encoder, readme, scheduler, tiny_sizes
from mflux_port.draft.glue.signature import call_signature, without_method
from mflux_port.draft.glue.tiny_size_names import TINY_SIZES
from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.write.formatting import formatted
from mflux_port.draft.write.targets import Unresolved
from mflux_port.port.port import Port
from mflux_port.port.text_encoders import OF_FIXED_SIZE

COMPONENT = "pipeline"  # the glue's open questions are listed under this name


class Glue:
    """Collects the files of one port. ``source``: a file's current text; ``drafted``: texts of this draft, by file."""

    def __init__(self, port: Port, facts: list[Fact], source: Callable[[str], str], drafted: dict[str, str]):
        self.port, self.source, self.drafted = port, source, drafted
        self.facts = {fact.name: fact.as_dict() for fact in facts}
        self.files: dict[str, str] = {}
        self.unresolved: list[Unresolved] = []

    def write(self, configs: dict[str, dict], twin: Path) -> None:
        """Write all files. ``configs``: of the checkpoint's networks; ``twin``: the folder that was run."""
        self._prediction()
        self._prompt_encoder()
        self._latent_creator()
        self._scheduler()
        self._sizes(configs, twin)
        self.files = formatted_paths(self.files)
        self._readme()

    def _prediction(self) -> None:
        name = f"{self.port.folder}/model/{self.port.model}_transformer/transformer.py"
        signature = call_signature(self._of_draft(name))
        why, fix = "the transformer has no proven forward pass, so nothing calls it yet", "port the transformer"
        if signature is not None and "arguments" not in self.facts:
            why = "the runs do not show where the transformer's arguments with the prompt's vectors come from"
            fix = "write how the transformer is called, and encode_prompt"
        if signature is None or "arguments" not in self.facts:
            self.unresolved.append(Unresolved(COMPONENT, "prediction", why, (fix,)))
            return
        writer = prediction.Writer(self.port, self.facts, signature)
        self.files[f"{self.port.folder}/variants/{self.port.model}_prediction.py"] = writer.text()
        # What is the same in every step is prepared there.
        self.files[name] = without_method(self._of_draft(name), METHOD)
        self.unresolved += writer.unresolved

    def _prompt_encoder(self) -> None:
        writer = prompt_encoder.Writer(self.port, self.facts, self._encoder_classes(), self._of_module)
        self.files[self._prompt_encoder_file] = writer.text()
        self.unresolved += writer.unresolved

    @property
    def _prompt_encoder_file(self) -> str:
        return f"{self.port.folder}/model/{self.port.model}_text_encoder/prompt_encoder.py"

    def _encoder_classes(self) -> dict[str, tuple[str, str]]:
        return prompt_encoder.encoder_classes(self.source(self._prompt_encoder_file))

    def _latent_creator(self) -> None:
        name = f"{self.port.folder}/latent_creator/{self.port.model}_latent_creator.py"
        text = latent_creator.resized(self.source(name), self.facts)
        if text is not None:
            self.files[name] = text
        sides = latent_creator.multiple(self.facts)
        if sides != self.port.size_multiple:
            why = f"both sides must be multiples of {sides}, and the answer size_multiple is {self.port.size_multiple}"
            fix = f"answer size_multiple: {sides}, and copy again"
            self.unresolved.append(Unresolved(COMPONENT, "size_multiple", why, (fix,)))

    def _readme(self) -> None:
        name = f"{self.port.folder}/README.md"
        text = readme.with_notes(self.source(name), self.facts, latent_creator.multiple(self.facts))
        if text != self.source(name):
            self.files[name] = text

    def _scheduler(self) -> None:
        text, unresolved = scheduler.written(self.port, self.facts)
        self.unresolved += unresolved
        if text is not None:
            self.files[f"{self.port.folder}/model/{self.port.model}_scheduler/{self.port.model}_scheduler.py"] = text

    def _sizes(self, configs: dict[str, dict], twin: Path) -> None:
        name = TINY_SIZES.format(model=self.port.model)
        drafted = {
            "transformer": self._of_draft(f"{self.port.folder}/model/{self.port.model}_transformer/transformer.py")
        }
        drafted |= {name: self._of_module(module) for name, (module, _) in self._encoder_classes().items()}
        of_twin = (
            json.loads((twin / "sizes.json").read_text(encoding="utf-8")) if (twin / "sizes.json").is_file() else {}
        )
        index = json.loads((twin / "model_index.json").read_text(encoding="utf-8"))
        vae = configs.get("vae", {}) if self.port.vae == "own" else {}
        configs = {name: config for name, config in configs.items() if name != "vae"}
        fixed = [encoder.name for encoder in self.port.text_encoders if encoder.kind in OF_FIXED_SIZE]
        small = tiny_sizes.small_configs(configs, of_twin, [name for name in fixed if name in configs])
        reference = index.get("transformer", ["", ""])[1]
        rules = self.facts.get("arguments", {}).get("value") or {}
        of_pairs = tuple(argument for argument, rule in rules.items() if rule and rule["is"] == "rotary")
        text = tiny_sizes.sizes_text(self.source(name), drafted, reference, configs, small, of_pairs)
        self.files[name] = tiny_sizes.with_vae_channels(text, vae)

    def _of_draft(self, name: str) -> str:
        return self.drafted.get(name, "")

    def _of_module(self, module: str) -> str:
        return self._of_draft(f"src/{module.replace('.', '/')}.py")


def formatted_paths(files: dict[str, str]) -> dict[str, str]:
    """Files by path, as mflux's formatter leaves them."""
    stems = {name: f"file_{place}" for place, name in enumerate(files)}
    done = formatted({stems[name]: text for name, text in files.items()})
    return {name: done[stem] for name, stem in stems.items()}
