"""A port that edits, from before its prediction handled images, generates the same images after an update."""

from __future__ import annotations

import shutil

import pytest
from mflux_port.errors import PortError
from mflux_port.update import v0_2_0_edit_methods
from mflux_port.update.v0_2_0_edit_methods import add_edit_methods

from tests.update.template_versions import Template, copy

FOLDER = "src/mflux/models/nova/variants"
METHODS = ("fit_image", "prepare_edit", "predict_edit")
BEFORE = """import mlx.core as mx

from mflux.models.nova.model.nova_transformer.transformer import NovaTransformer


class NovaPrediction:
    UNCONDITIONAL_PROMPT = ""  # The porter's own line.

    @staticmethod
    def predict(transformer: NovaTransformer, latents: mx.array) -> mx.array:
        return transformer(latents)
"""


@pytest.fixture
def migrated(tmp_path, monkeypatch):
    """``migrated(text, edits)``: the prediction's text afterwards."""
    monkeypatch.setattr(v0_2_0_edit_methods, "amend", lambda root, **facts: None)
    (tmp_path / FOLDER / "edit").mkdir(parents=True)

    def migrate(text: str, edits: bool = True) -> str:
        path = tmp_path / FOLDER / "nova_prediction.py"
        path.write_text(text)
        if edits:
            (tmp_path / FOLDER / "edit/nova_edit.py").write_text("")
        add_edit_methods(tmp_path, "nova")
        return path.read_text()

    return migrate


def test_methods_equal_those_of_a_fresh_port(migrated, pristine, tmp_path):
    found = migrated(BEFORE)
    root = shutil.copytree(pristine(), tmp_path / "mflux")
    copy(Template.snapshot(tmp_path / "template").home, root, "nova", "v0.1.0", variants=["txt2img", "edit"])
    wanted = (root / FOLDER / "nova_prediction.py").read_text()
    assert [_method(found, name) for name in METHODS] == [_method(wanted, name) for name in METHODS]
    assert _imports(wanted) == _imports(found) and "# The porter's own line." in found


def test_methods_are_added_once_and_only_to_a_port_that_edits(migrated):
    assert migrated(BEFORE, edits=False) == BEFORE
    once = migrated(BEFORE)
    assert migrated(once) == once != BEFORE


def test_another_class_is_refused(migrated):
    with pytest.raises(PortError, match=r"nova_prediction.py has no class …Prediction .*, commit, and update again"):
        migrated(BEFORE.replace("Prediction", "Model"))


def _method(text: str, name: str) -> str:
    return text[text.index(f"    def {name}(") :].split("\n    @staticmethod")[0].rstrip()


def _imports(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(("import ", "from "))]
