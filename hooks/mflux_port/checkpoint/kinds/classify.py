"""Classify the tensors of one component, before anything is drafted or accounted for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mflux_port.checkpoint.headers import Tensor
from mflux_port.checkpoint.kinds.adapters import adapters
from mflux_port.checkpoint.kinds.axis_order import layouts
from mflux_port.checkpoint.kinds.buffers import buffers
from mflux_port.checkpoint.kinds.kind import Kind
from mflux_port.checkpoint.kinds.prefixes_and_copies import averaged_copies, is_averaged, is_flat_copy, unwrapped
from mflux_port.checkpoint.kinds.quantization import doubles, quantized


@dataclass
class Classified:
    """``kinds``: what is special about them. ``waived``: tensors that a port does not load, with the reason."""

    kinds: list[Kind]
    tensors: dict[str, Tensor]
    waived: dict[str, str] = field(default_factory=dict)
    any_prefix: bool = True

    def loadable(self, known: Iterable[str] = ()) -> dict[str, Tensor]:
        """The tensors that a port loads, by their name without wrappers; ``Tensor.name`` stays the name in the file.

        ``known``: the reference's names for its tensors, if there is a reference.
        """
        blocked = self._blocked()
        plain = self._plain(known)
        return {plain[name]: self.tensors[name] for name in plain if name not in blocked}

    def blocked_modules(self, known: Iterable[str] = ()) -> set[str]:
        """Modules whose tensors cannot be loaded as they are, and the modules above them."""
        plain, found = self._plain(known), set()
        for name in self._blocked():
            parts = plain.get(name, name).split(".")[:-1]
            found.update(".".join(parts[:count]) for count in range(len(parts) + 1))
        return found

    def _plain(self, known: Iterable[str]) -> dict[str, str]:
        # One reference may store a tensor that others compute.
        kept = set(known)
        return unwrapped(
            [name for name in self.tensors if name not in self.waived or name in kept], kept, self.any_prefix
        )

    def _blocked(self) -> set[str]:
        return {name for kind in self.kinds if kind.blocks for name in kind.names}

    @property
    def blocking(self) -> list[Kind]:
        return [kind for kind in self.kinds if kind.blocks]


def classify(
    tensors: Mapping[str, Tensor], config: Mapping | None = None, metadata: Mapping[str, str] | None = None
) -> Classified:
    """Classify the tensors of a component by its header, its config.json and the header's metadata."""
    kinds, waived = [], buffers(tensors)
    copies, prefix = averaged_copies(tensors)
    if copies:
        why = f"an averaged copy (EMA) of the other weights, below {prefix}"
        waived |= dict.fromkeys(copies, why)
        kinds.append(Kind("EMA copy", why, "the other weights are used, as in diffusers", tuple(copies), blocks=False))
    rest = {name: tensor for name, tensor in tensors.items() if name not in waived}
    kinds += [*quantized(rest, config or {}), *doubles(rest)]
    rest = _without_blocked(rest, kinds)
    kinds += [*adapters(rest), *layouts(rest, metadata or {}), *_flat_copy(rest)]
    rest = _without_blocked(rest, kinds)
    # Classes of transformers keep their model under a class-specific name (`model.`, `text_model.`), which is not a
    # wrapper.
    any_prefix = "architectures" not in (config or {})
    shortened = unwrapped(rest, any_prefix=any_prefix)
    wrapped = [name for name, plain in shortened.items() if plain != name]
    if wrapped:
        what = f"every name is wrapped, {wrapped[0]} is {shortened[wrapped[0]]}"
        averaged = ", and these averaged weights (EMA) are the only ones here" if is_averaged(wrapped[0]) else ""
        kinds.append(Kind("wrapper", what, f"the wrapper's prefix is left out of the names{averaged}", blocks=False))
    return Classified(kinds, dict(tensors), waived, any_prefix)


def _flat_copy(tensors: Mapping[str, Tensor]) -> list[Kind]:
    if not tensors or not all(map(is_flat_copy, tensors)):
        return []
    what = "averaged weights (EMA) alone, under names without dots"
    return [Kind("EMA copy alone", what, "name a file with the weights themselves", tuple(tensors))]


def _without_blocked(tensors: dict[str, Tensor], kinds: list[Kind]) -> dict[str, Tensor]:
    blocked = {name for kind in kinds if kind.blocks for name in kind.names}
    return {name: tensor for name, tensor in tensors.items() if name not in blocked}
