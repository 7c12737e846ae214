"""The methods of a drafted class, read from its source."""

from __future__ import annotations

from mflux_port.draft.glue.signature import call_signature, without_method


def test_a_signature_is_read_and_an_unwritten_call_is_not():
    written = "class A:\n    def __call__(self, x, t, *, mask=None) -> list[int]:\n        return [x]\n"
    signature = call_signature(written)
    assert signature.arguments == {"x": False, "t": False, "mask": True} and signature.first == "[0]"
    assert call_signature(written.replace("return [x]", "raise NotImplementedError")) is None


def test_only_a_method_that_raises_is_taken_out():
    source = (
        "class A:\n    def once(self):\n        raise NotImplementedError\n\n    def call(self):\n        return 1\n"
    )
    assert "once" not in without_method(source, "once")
    assert without_method(source, "call") == source
