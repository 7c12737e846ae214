"""A recording: one safetensors file, written while the model runs, with the facts of the run in its header.

Tensor names are ``<stage>/<module path>/<in|out>/<n>``. Tensors larger than ``cap`` elements are thinned: every
``stride``-th element of the flat tensor is kept, which is enough to measure an error and bounds the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from parity import files
from parity.errors import ParityError
from parity.record import recording_schema
from parity.record.padding import PaddingLast

FORMAT = "mflux-port parity 1"
HEADER_ROOM = 1 << 20  # bytes kept free for the table of contents, so that the tensors can be written first
LONG_HEADER_ROOM = 8 * HEADER_ROOM  # for thousands of tensors: of modules, or of LoRA files
_DTYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64, "I32": np.int32, "BF16": np.uint16, "BOOL": np.bool_}
_CODES = {np.dtype(kind): code for code, kind in _DTYPES.items() if code != "BF16"}


def is_denoiser(name: str) -> bool:
    """Whether a component, or a stage or a module of it, is the network that the loop calls in every step."""
    component = name.split(".")[0]
    return "transformer" in component or "unet" in component


@dataclass(frozen=True)
class Event:
    """One recorded tensor. ``shape`` is the whole tensor's, ``stride`` says how it was thinned (1: not at all).

    ``same`` names the event that holds the values if this same tensor was recorded before. ``order`` counts events.
    """

    name: str
    shape: tuple[int, ...]
    stride: int
    order: int
    same: str = ""

    @property
    def stage(self) -> str:
        return self.name.split("/")[0]

    @property
    def module(self) -> str:
        return self.name.split("/")[1]

    @property
    def port(self) -> str:
        return self.name.split("/", 2)[2]


def stride_for(size: int, cap: int | None) -> int:
    """The stride that reduces ``size`` elements to at most ``cap``; odd, so that it does not align with even rows."""
    if not cap or size <= cap:
        return 1
    return math.ceil(size / cap) | 1


class Recorder:
    """Streams tensors to ``path``. Only the table of contents stays in memory. Use as a context manager.

    ``room`` bytes are kept free for that table (about 300 for a tensor); if it gets longer, the file is copied at the
    end.
    """

    def __init__(
        self,
        path: Path,
        facts: dict,
        cap: int | None = None,
        half: bool = False,
        strict: bool = True,
        room: int = HEADER_ROOM,
    ):
        self.path, self.facts, self.cap, self.half = Path(path), facts, cap, half
        self.strict = strict  # whether to refuse NaN
        self.events: list[Event] = []
        self._events: dict[str, Event] = {}
        self._index: dict[str, dict] = {}
        self._wholes: dict[tuple, str] = {}  # whole tensors: a digest of their values, and the first event with it
        self._written = 0
        self._reserved = (len(json.dumps(json.dumps(facts))) + room) // 8 * 8
        self._part = files.part_of(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._part, "w+b")
        self._file.seek(self._reserved)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            if kind is None:
                self._finish()
        except OSError as failed:
            files.name(failed, self.path)
            raise
        finally:
            with contextlib.suppress(OSError):  # on a full disk, the rest in its buffer cannot be written
                self._file.close()
            files.remove(self._part)
            files.name(error, self.path)

    def __contains__(self, name: str) -> bool:
        return name in self._events

    def add(self, name: str, values: np.ndarray, whole: bool = False) -> None:
        """Write one tensor (any numpy dtype; booleans and integers are kept, floats become float32 or bfloat16).

        A ``whole`` one is not thinned, and one with the same values as an earlier whole one is not written again.
        """
        if whole:
            key = (
                values.shape,
                values.dtype.str,
                hashlib.blake2b(np.ascontiguousarray(values).data, digest_size=16).digest(),
            )
            first = self._wholes.setdefault(key, name)
            if first != name:
                self.repeat(name, first)
                return
        stride = 1 if whole else stride_for(values.size, self.cap)
        kept = np.ascontiguousarray(values.reshape(-1)[::stride] if stride > 1 else values)
        if self.strict and kept.dtype.kind == "f" and not np.isfinite(kept).all():
            self._refuse_nan(name, kept)
        code, kept = self._encode(kept)
        self._file.write(kept.data)  # the array's own memory, not a copy
        end = self._written + kept.nbytes
        self._index[name] = {"dtype": code, "shape": list(kept.shape), "data_offsets": [self._written, end]}
        self._written = end
        self._note(name, values.shape, stride)

    def repeat(self, name: str, first: str) -> None:
        """Note that ``name`` is the same tensor that was written as ``first``."""
        known = self._events[first]
        self._note(name, known.shape, known.stride, known.same or first)

    def read(self, name: str) -> np.ndarray:
        """The values of a tensor that was already written."""
        event = self._events[name]
        entry = self._index[event.same or name]
        here = self._file.tell()
        self._file.seek(self._reserved + entry["data_offsets"][0])
        data = self._file.read(entry["data_offsets"][1] - entry["data_offsets"][0])
        self._file.seek(here)
        return _decode(data, entry["dtype"], event)

    def _note(self, name: str, shape: tuple[int, ...], stride: int, same: str = "") -> None:
        self._events[name] = Event(name, tuple(shape), stride, len(self.events), same)
        self.events.append(self._events[name])

    def _encode(self, kept: np.ndarray) -> tuple[str, np.ndarray]:
        if kept.dtype.kind == "f":
            kept = kept.astype(np.float32, copy=False)
            return ("BF16", to_bfloat16(kept)) if self.half else ("F32", kept)
        if kept.dtype.kind in "iu":
            kept = kept.astype(np.int64, copy=False)
        return _CODES[kept.dtype], kept

    def _refuse_nan(self, name: str, kept: np.ndarray) -> None:
        # Masks contain -inf. Any other value that is not finite would make every later figure meaningless.
        if "mask" in name or not (np.isnan(kept).any() or np.isposinf(kept).any()):
            return
        cure = "look at its weights, or run it in float32"
        if name.startswith("text_encoder") and "" in (self.facts.get("prompt"), self.facts.get("negative_prompt")):
            cure = f"an empty text may have no token: give --prompt and --negative-prompt a word, or {cure}"
        raise ParityError(f"the reference itself gives NaN or infinity at {name}; {cure}")

    def _finish(self) -> None:
        table = [[e.name, e.shape, e.stride, e.same] for e in self.events]
        metadata = {"format": FORMAT, "facts": json.dumps(self.facts), "events": json.dumps(table)}
        header = json.dumps({"__metadata__": metadata, **self._index}, separators=(",", ":")).encode()
        room = self._reserved - 8
        if len(header) > room:
            self._shift(len(header))
            room = len(header)
        self._file.seek(0)
        self._file.write(struct.pack("<Q", room) + header.ljust(room))
        self._file.close()
        self._part.replace(self.path)

    def _shift(self, room: int) -> None:
        # The table of contents is longer than the space for it: move the tensors back, starting at the end, piece by
        # piece.
        self._file.flush()
        offset, piece = 8 + room - self._reserved, 1 << 24
        for start in reversed(range(0, self._written, piece)):
            self._file.seek(self._reserved + start)
            data = self._file.read(min(piece, self._written - start))
            self._file.seek(self._reserved + start + offset)
            self._file.write(data)


class Recording:
    """Reads what a Recorder wrote. Values are mapped from disk, one tensor at a time.

    Raises ParityError when the file is missing, cut off, or not a recording.
    """

    def __init__(self, path: Path, made_by: str = "run_reference.py"):
        self.path = Path(path)
        if not self.path.is_file():
            raise ParityError(f"{self.path} is missing; run {made_by} first")
        self.made_by = made_by
        header, self._start = self._header()
        metadata = header.pop("__metadata__", {})
        if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
            raise ParityError(f"{self.path} was not written by this port's {made_by}; run {made_by} again")
        self._index = header
        try:
            self.facts = recording_schema.json_object(metadata.get("facts"), "the run's facts")
            rows = recording_schema.rows_of(metadata.get("events"))
            recording_schema.verify_tensors(header, rows, self.path.stat().st_size - self._start)
        except ValueError as error:
            raise self._damaged(error) from None
        self.events = [Event(name, tuple(shape), stride, n, same) for n, (name, shape, stride, same) in enumerate(rows)]
        self._events = {event.name: event for event in self.events}
        self._paddings: dict[str, PaddingLast] = {}
        self._inputs: dict[str, list[Event]] = {}
        for event in self.events:
            if "." not in event.module and "/in/" in event.name:  # a network's own
                self._inputs.setdefault(event.stage, []).append(event)

    def __contains__(self, name: str) -> bool:
        return name in self._events

    def event(self, name: str) -> Event | None:
        return self._events.get(name)

    def get(self, name: str) -> np.ndarray:
        """The values: in the event's shape when it was kept whole, else the flat, thinned tensor.

        Rows of padding in the middle of a prompt come last.
        """
        event = self._events[name]
        values = self._stored(event)
        return values if event.stride > 1 else self._padding_last(event.stage)(values)

    def _padding_last(self, stage: str) -> PaddingLast:
        if stage not in self._paddings:
            inputs = [event for event in self._inputs.get(stage, ()) if event.stride == 1]
            self._paddings[stage] = PaddingLast({event.name: self._stored(event) for event in inputs})
        return self._paddings[stage]

    def _stored(self, event: Event) -> np.ndarray:
        name = event.name
        entry = self._index[event.same or name]
        begin, end = entry["data_offsets"]
        with open(self.path, "rb") as file:
            file.seek(self._start + begin)
            return _decode(file.read(end - begin), entry["dtype"], event)

    def extended(self, values: dict[str, np.ndarray], facts: dict) -> Recording:
        """Write the file again with more tensors and facts in it."""
        with Recorder(self.path, self.facts | facts, room=LONG_HEADER_ROOM) as sink:
            for event in self.events:
                sink.add(event.name, self._stored(event), whole=True)
            for name, array in values.items():
                sink.add(name, array)
        return Recording(self.path)

    def names(self, stage: str) -> list[str]:
        return [event.name for event in self.events if event.stage == stage]

    def verify_facts(self) -> None:
        """Raise ParityError when the recording lacks something that a comparison needs to know about the run."""
        try:
            recording_schema.verify_facts(self.facts)
        except ValueError as error:
            raise self._damaged(error) from None

    def verify_claim(self, claim: str) -> None:
        """Raise ParityError when the recording lacks the results that the claim is judged by."""
        try:
            recording_schema.verify_claim(self.facts, claim)
        except ValueError as error:
            raise ParityError(
                f"{self.path} has nothing to judge --{claim} by: {error}; run {self.made_by} again"
            ) from None

    def _header(self) -> tuple[dict, int]:
        try:
            with open(self.path, "rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > self.path.stat().st_size:
                    raise ValueError("longer than the file")
                return recording_schema.json_object(file.read(length), "the header"), 8 + length
        except (ValueError, struct.error):
            raise ParityError(f"{self.path} is cut off or not a recording; run {self.made_by} again") from None

    def _damaged(self, error: ValueError) -> ParityError:
        return ParityError(f"{self.path} is damaged ({error}); run {self.made_by} again")


def _decode(data: bytes, code: str, event: Event) -> np.ndarray:
    flat = np.frombuffer(data, _DTYPES[code])
    if code == "BF16":
        flat = from_bfloat16(flat)
    return flat if event.stride > 1 else flat.reshape(event.shape).copy()


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, rounded to nearest even, as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat16(halves: np.ndarray) -> np.ndarray:
    """float32 numbers from the uint16 that ``to_bfloat16`` gave."""
    return (halves.astype(np.uint32) << 16).view(np.float32)
