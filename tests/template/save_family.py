"""Runs in an environment of mflux: save each checkpoint of a family with mflux-save, load it again, compare all.

Arguments: the port's class name, its package, an empty folder.
"""

import importlib
import sys
from pathlib import Path

import mlx.core as mx
from mflux.models.common.cli import save
from mflux.models.common.config.model_config import AVAILABLE_MODELS
from mlx.utils import tree_flatten
from PIL import Image


def main(class_name: str, model: str, folder: Path) -> None:
    package = importlib.import_module(f"mflux.models.{model}")
    helper = importlib.import_module(f"tests.image_generation.helpers.tiny_{model}_checkpoint")
    tiny = getattr(helper, f"Tiny{class_name}Checkpoint")
    source = tiny.write(folder / "source")
    Image.effect_noise((32, 32), 64).convert("RGB").save(folder / "image.png")
    for key, model_class in _family(package, class_name).items():
        AVAILABLE_MODELS[key] = tiny.model_config(key)
        saved = folder / key
        sys.argv = ["mflux-save", "--model", str(source), "--base-model", key, "--quantize", "8", "--path", str(saved)]
        save.main()
        assert save.MODEL_CLASSES[key] is model_class, key
        model = model_class(quantize=8, model_path=str(source), model_config=AVAILABLE_MODELS[key])
        reloaded = save.MODEL_CLASSES[key](model_path=str(saved), model_config=AVAILABLE_MODELS[key])
        left, right = dict(tree_flatten(model.parameters())), dict(tree_flatten(reloaded.parameters()))
        assert left.keys() == right.keys(), key
        assert all(mx.array_equal(left[name], right[name]).item() for name in left), key
        assert _picture(model, folder) == _picture(reloaded, folder), key
        print(key, type(reloaded).__name__, len(left), "tensors")


def _family(package, class_name: str) -> dict[str, type]:
    text, edit = getattr(package, class_name), getattr(package, f"{class_name}Edit")
    return {**dict.fromkeys(text.CHECKPOINTS, text), **dict.fromkeys(edit.CHECKPOINTS, edit)}


def _picture(model, folder: Path) -> bytes:
    images = {"image_paths": [folder / "image.png"]} if type(model).__name__.endswith("Edit") else {}
    made = model.generate_image(seed=1, prompt="a fox", num_inference_steps=2, height=32, width=32, **images)
    return made.image.tobytes()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
