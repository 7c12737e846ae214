"""v0.2.0: an edit variant asks the prediction for an image's size and for predictions with images,
not the transformer.
"""

from __future__ import annotations

import re
from pathlib import Path

from mflux_port.checkout.lock import under_way
from mflux_port.errors import PortError
from mflux_port.files.writing import write_whole
from mflux_port.update.tree import amend

_PREDICTION = "src/mflux/models/{model}/variants/{model}_prediction.py"
_EDIT = "src/mflux/models/{model}/variants/edit/{model}_edit.py"
_IMPORT = "import mlx.core as mx\n"
# What the edit variant of earlier versions did.
_METHODS = """
    @staticmethod
    def fit_image(image: PIL.Image.Image, width: int, height: int) -> PIL.Image.Image:
        # An image to edit, as the VAE encodes it. The generated image is width x height.
        return ImageUtil.scale_to_dimensions(image=image, target_width=width, target_height=height)

    @staticmethod
    def prepare_edit(
        transformer: {transformer},
        latents: mx.array,
        prompt_embeds: mx.array,
        guidance: float,  # noqa: ARG004
        image_latents: list[mx.array],
    ) -> tuple[mx.array, ...]:
        # Like prepare, for calls with images to edit.
        return transformer.get_rotary_embeddings(latents, prompt_embeds, 1 + len(image_latents))

    @staticmethod
    def predict_edit(
        transformer: {transformer},
        latents: mx.array,
        sigma: mx.array,
        prompt_embeds: mx.array,
        prepared: tuple[mx.array, ...],
        image_latents: list[mx.array],
    ) -> mx.array:
        return transformer(latents, sigma * 1000, prompt_embeds, prepared, image_latents)
"""


def add_edit_methods(root: Path, model: str) -> None:
    """After the merge: the prediction of a port that edits gets the methods that its edit variant calls.

    Does nothing if it has them. Raises PortError if the file is not one that v0.1.0 rendered or drafted.
    """
    name = _PREDICTION.format(model=model)
    path = root / name
    if not path.is_file() or not (root / _EDIT.format(model=model)).is_file():
        return
    text = path.read_text(encoding="utf-8")
    if "def predict_edit(" in text:
        return
    found = re.search(r"^class (\w+)Prediction:$", text, re.MULTILINE)
    if found is None or _IMPORT not in text:
        raise PortError(
            f"{name} has no class …Prediction for the methods fit_image, prepare_edit and predict_edit; "
            "write them there, commit, and update again"
        )
    text = text.rstrip("\n") + "\n" + _METHODS.format(transformer=f"{found[1]}Transformer")
    amend(root, writes=[*(under_way(root) or {}).get("writes", ()), name])
    write_whole(path, _with_imports(text))


def _with_imports(text: str) -> str:
    """The file with the imports that the methods need, where an import sorter puts them."""
    if "import PIL.Image\n" not in text:
        text = text.replace(_IMPORT, f"{_IMPORT}import PIL.Image\n", 1)
    line = "from mflux.utils.image_util import ImageUtil\n"
    if line in text:
        return text
    end = text.index("\n\n\nclass ") + 1  # after the last import
    return text[:end] + line + text[end:]
