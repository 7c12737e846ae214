"""Turn the measurements into one answer: the wrong module of the port, and the reference's module that it matches."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from parity.answers import ENCODERS, FAIL, PASS
from parity.compare.alignment import align
from parity.compare.limits import FLOAT32
from parity.compare.pairing import COUNT
from parity.compare.rows import rows_cut
from parity.explain import causes_in_values
from parity.explain.causes_in_values import DIFFERS
from parity.explain.grouping import grouped, kind_of
from parity.record.recording import is_denoiser
from parity.run.call_events import same_tokens
from parity.run.mlx_taps import modules as modules_of
from parity.run.module_call import Call
from parity.run.module_judge import SIGNIFICANT
from parity.run.run_trace import LATENTS
from parity.run.sensitivity import LAST_BIT, LAST_OF_SHORT, sensitivity
from parity.run.stages import Judge, Result, encoders_of
from parity.waivers import Waivers

OTHER_PROMPT = " (if the port expects prompts in a special format, such as JSON, record one: run_reference.py --prompt)"
ENOUGH = 0.03  # share of an image's error: a decoder does not amplify an error of its latents by more
TOLERANT = 1e-4  # limit for a module that ran with a waived one inside, unless that one's error is larger


@dataclass
class Verdict:
    """``module`` is the port's, ``reference`` the reference's path.

    ``local`` is the module's own error, ``accumulated`` that of its output in the running port. ``kind`` is weights,
    module or code (what runs between the modules).
    """

    kind: str
    stage: str
    module: str
    reference: str = ""
    reference_class: str = ""
    reference_file: str = ""
    local: float = float("nan")
    accumulated: float = float("nan")
    limit: float = float("nan")
    cause: str = ""
    waived: str = ""
    places: str = ""  # other places with the same finding, such as "layers 1-5, 8-34"

    @property
    def line(self) -> str:
        there = f" = {self.reference}" if self.reference and self.reference != self.module else ""
        named = ", ".join(filter(None, (self.reference_class, self.reference_file)))
        where = (f" [{named}]" if named else "") + (f" in {self.places}" if self.places else "")
        numbers = f" local relL2 {self.local:.1e} (limit {self.limit:.1e})" if self.local == self.local else ""
        numbers += f", accumulated {self.accumulated:.1e}" if self.accumulated == self.accumulated else ""
        return f"{self.stage}: {self.module}{there}{where}{numbers}; {self.cause or 'no known pattern'}"


@dataclass
class Findings:
    """All verdicts, the most important first. ``answer`` is the first that no waiver covers."""

    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def answer(self) -> Verdict | None:
        return next((item for item in self.verdicts if not item.waived), None)


class Diagnosis:
    """Combines the weights, the modules of one forced run, and the stages."""

    def __init__(self, judge: Judge):
        self.recording, self.pairing, self.limits = judge.recording, judge.pairing, judge.limits
        self.watch, self.trace, self.calls = judge.watch, judge.trace, judge.calls
        self.modules = modules_of(judge.port.model)
        self._causes: dict[str, str] = {}  # grouped by kind of module: an error in one block is also in the next

    def findings(self, results: list[Result], waivers: Waivers) -> Findings:
        """Weights come first; then the stages that fail, in the order in which a port is written."""

        def waived(verdict: Verdict) -> str:
            return waivers.module(verdict) or self._inherited(verdict, waivers)

        verdicts = [self._of_fault(fault) for fault in self._faults()]
        failed = [result for result in results if result.status == FAIL or self._covered(result)]
        failed.sort(key=lambda result: (not self._other_length(result), not self._upstream(result)))
        for result in failed:
            verdicts += self._of_stage(result, waived)
        said = {verdict.module for verdict in verdicts}
        verdicts += [verdict for verdict in self._blamed(self.calls, waived) if verdict.module not in said]
        for verdict in verdicts:
            verdict.waived = waived(verdict)
        return Findings(grouped(sorted(verdicts, key=lambda verdict: verdict.kind != "weights")))

    def _inherited(self, verdict: Verdict, waivers: Waivers) -> str:
        """Why a module may be off: there are waived modules inside it that were not recorded."""
        judged = {call.path for call in self.calls if call.local is not None}
        inside = [path for path in self.modules if path.startswith(f"{verdict.module}.") and path not in judged]
        return waivers.inherited(verdict.local, verdict.limit, inside) if verdict.kind == "module" else ""

    def _other_length(self, result: Result) -> bool:
        # Embeddings of a different length or width go into the transformer unchanged.
        return result.stage in ENCODERS and any(not item.aligned for item in self.trace.of("prompt/"))

    def _covered(self, result: Result) -> bool:
        # In bfloat16 a whole decoder's rounding can hide an error in its latents. No network runs before it.
        short = self.limits.dtype == "bfloat16" and result.stage == "vae_decode"
        return short and result.status == PASS and self._wrong_latents() is not None

    def _upstream(self, result: Result) -> bool:
        # A stage that stopped with an error, or a wrong schedule, affects every stage that follows.
        if self.trace.failure:
            return result.stage == self.trace.failure[0]
        return result.stage == "scheduler" and self._other_sigmas()

    def _other_sigmas(self) -> bool:
        sigmas = self.trace.of("sigmas/")
        return bool(sigmas) and sigmas[0].distance.relative > self.limits.of_stage("scheduler", sigmas[0].name)

    # ------------------------------------------------------------------------------------------------------- weights

    def _faults(self) -> list:
        order = {call.path: n for n, call in reversed(list(enumerate(self.calls)))}
        return sorted(self.pairing.faults, key=lambda fault: order.get(fault.module, len(order)))

    def _of_fault(self, fault) -> Verdict:
        reference = fault.reference.rpartition(".")[0]
        verdict = self._at("weights", fault.parameter.split(".")[0], fault.module, reference)
        named = "" if fault.kind == COUNT else f"{fault.parameter.rpartition('.')[2]} "
        verdict.cause = f"{fault.kind}: {named}{fault.detail}"
        return verdict

    # ------------------------------------------------------------------------------------------------------- modules

    def _blamed(self, calls: list[Call], waived) -> list[Verdict]:
        """The innermost modules whose result for the reference's input is wrong, in the order of execution."""
        guilty: set[int] = set()
        excused: dict[int, float] = {}  # the error of the worst waived module inside
        found: dict[str, Verdict] = {}
        following = _following(calls)
        for call in calls:
            inside = [id(child) for child in call.children]
            if any(child in guilty for child in inside):
                guilty.add(id(call))
                continue
            limit = self.limits.of_module(call)
            waived_inside = [excused[child] for child in inside if child in excused]
            if waived_inside:
                excused[id(call)] = max(waived_inside)
                limit = limit if call.freed else max(limit, TOLERANT, *waived_inside)
            if call.local is None or call.local.relative <= limit or self._made_good(call, following[id(call)]):
                continue
            bit = LAST_OF_SHORT if call.short and self.limits.dtype == "bfloat16" else LAST_BIT
            limit = max(limit, self.limits.of_sensitive(call, sensitivity(call, bit)))
            if call.local.relative <= limit:
                continue
            verdict = self._verdict(call, limit)
            if waived(verdict):
                excused[id(call)] = max([call.local.relative, *waived_inside])
            else:
                guilty.add(id(call))
            found.setdefault(call.path, verdict)
        return list(found.values())

    def _made_good(self, call: Call, after: list[Call]) -> bool:
        """Whether a factor or a sign comes from the surrounding code: all that follows in the same module is right."""
        measured = [later.output.relative <= self.limits.of_output(later) for later in after if later.output]
        return bool(causes_in_values.of_distance(call.local)) and bool(measured) and all(measured)

    def _verdict(self, call: Call, limit: float) -> Verdict:
        verdict = self._at("module", call.stage, call.path, call.reference)
        verdict.local, verdict.limit = call.local.relative, limit
        verdict.accumulated = call.output.relative if call.output else float("nan")
        verdict.cause = self._cause(call)
        return verdict

    def _cause(self, call: Call) -> str:
        kind = kind_of(call.path)
        if kind not in self._causes:
            self._causes[kind] = causes_in_values.of_module(call, self.modules[call.path], self.watch)
        return self._causes[kind]

    def _at(self, kind: str, stage: str, module: str, reference: str) -> Verdict:
        name, file = self.recording.facts["classes"].get(reference, ("", ""))
        return Verdict(kind, stage, module, reference, name, f"{file.replace('.', '/')}.py" if file else "")

    # -------------------------------------------------------------------------------------------------------- stages

    def _of_stage(self, result: Result, waived) -> list[Verdict]:
        stage = result.stage
        if stage == "loop":
            return self._loop(result)
        if stage == "end_to_end":
            return []  # the earlier stages judge the modules that it runs
        if self.trace.failure and self.trace.failure[0] == stage:
            refused = stage in ENCODERS and isinstance(self.trace.failure[1], ValueError)
            return [self._code(result, stage, result.note + OTHER_PROMPT * refused)]
        named = encoders_of(stage, self.pairing) if stage in ENCODERS else {stage}
        calls = [call for call in self.calls if call.stage.split(".")[0] in named]
        before = self._before_the_modules(result, calls)
        if before and before[0].module == "tokenizer":
            return before
        if self._other_positions(calls):  # tables that the network computes from them are wrong, too
            return [self._code(result, "predict", self._of_given([call for call in calls if call.root]))]
        blamed = sorted(self._blamed(calls, waived), key=lambda verdict: verdict.local < SIGNIFICANT)
        strong = [verdict for verdict in blamed if verdict.local >= SIGNIFICANT and not waived(verdict)]
        givers = self._givers(calls, [verdict for verdict in blamed if verdict in strong or waived(verdict)])
        first = before or givers or []
        strong = [*first, *[verdict for verdict in strong if verdict not in first]]
        weak = [verdict for verdict in blamed if verdict not in strong]
        # The code between the modules is only considered when no module explains the stage.
        outside = not strong or givers == [] and not before
        between = self._between_the_modules(result, calls) if outside else []
        return [*between, *strong, *weak]

    def _before_the_modules(self, result: Result, calls: list[Call]) -> list[Verdict]:
        """Describe what is already wrong in a network's input."""
        first = self._wrong_latents(result.relative) if result.stage == "vae_decode" else None
        if first is not None:
            how = causes_in_values.of_given(first, self.watch)
            return [
                self._code(result, "vae", f"latent normalisation or packing before {first.path}{': ' * bool(how)}{how}")
            ]
        if result.stage in ENCODERS:
            return self._other_tokens(result, calls)
        if result.stage == "transformer" and self.trace.unused:
            missing = " and ".join(self.trace.unused)
            return [self._code(result, "transformer", f"the port's transformer never gets the reference's {missing}")]
        return [] if result.stage in ENCODERS else self._fewer_blocks(result)

    def _fewer_blocks(self, result: Result) -> list[Verdict]:
        component = result.stage.partition("_")[0] if result.stage.startswith("vae") else result.stage
        other = {"vae_decode": "encoder", "vae_encode": "decoder"}.get(result.stage)
        parts = {path: path.split(".") for path in self.pairing.fewer}
        shorter = [
            self.pairing.fewer[path] for path in parts if parts[path][0] == component and other not in parts[path]
        ]
        return [self._code(result, component, f"block count: {text}") for text in shorter[:1]]

    def _between_the_modules(self, result: Result, calls: list[Call]) -> list[Verdict]:
        kind = ENCODERS[0] if result.stage in ENCODERS else result.stage
        return getattr(self, f"_{kind}", lambda result, calls: [])(result, calls)

    def _givers(self, calls: list[Call], blamed: list[Verdict]) -> list[Verdict] | None:
        """The module that passes a wrong input to a right one, when that comes before every module that is wrong
        itself.

        Empty when the whole network is right and its input is wrong (not when it is only wrong in the type of the run);
        None when no module gets a wrong input, or when the reference itself is so far off in bfloat16 that a result as
        it ran shows nothing.
        """
        repeated = [item.name.removeprefix(FLOAT32) for item in self.trace.of(FLOAT32)]
        if any(map(self.limits.is_unsteady, repeated)) and any(is_denoiser(call.stage) for call in calls):
            return None
        first = next(
            (call for call in calls if call.output and call.output.relative > self.limits.of_output(call)), None
        )
        said = {verdict.module: verdict for verdict in blamed}
        if first is None or first.path in said or not self._innocent(first):
            return None
        above = {id(child): call for call in calls for child in call.children}
        call, takers = above.get(id(first)), [first]
        while call is not None and self._innocent(call):
            takers.append(call)
            call = above.get(id(call))
        if call is None:
            return self._only_in_this_type(takers)
        if call.path in said:  # itself wrong, too, in this step or another
            verdict = said[call.path]
            verdict.cause = causes_in_values.of_wrong_input(takers, self.watch) or verdict.cause
            return [verdict]
        verdict = self._at("module", call.stage, call.path, call.reference)
        verdict.accumulated, verdict.limit = first.output.relative, self.limits.of_output(first)
        verdict.cause = causes_in_values.of_input(call.path, takers, self.watch)
        return [verdict]

    def _only_in_this_type(self, takers: list[Call]) -> list[Verdict]:
        """A network that is right in float32 and wrong as it ran, both with the same input."""
        root, inside = takers[-1], takers[:-1]
        same_input = root.replaced <= DIFFERS[self.limits.dtype] and not self.trace.timesteps
        if self.limits.dtype == "float32" or not same_input or not inside:
            return []
        verdict = self._at("module", root.stage, root.path, root.reference)
        verdict.accumulated, verdict.limit = takers[0].output.relative, self.limits.of_output(takers[0])
        found = causes_in_values.of_input(root.path, inside, self.watch)
        verdict.cause = f"precision: it is right in float32 but not in {self.limits.dtype}; {found}"
        return [verdict]

    def _other_positions(self, calls: list[Call]) -> bool:
        """Whether a whole network is right on the reference's input, and is given other position ids."""
        roots = [call for call in calls if call.root]
        return any(call.positions is not None for call in roots) and all(map(self._innocent, roots))

    def _innocent(self, call: Call) -> bool:
        return call.local is not None and call.local.relative <= max(self.limits.of_module(call), SIGNIFICANT)

    def _code(self, result: Result, module: str, cause: str) -> Verdict:
        pipeline = self.recording.facts["pipeline"]
        verdict = Verdict("code", result.stage, module, "", pipeline, "", cause=cause)
        verdict.accumulated, verdict.limit = result.relative, result.limit
        return verdict

    def _scheduler(self, result: Result, calls: list[Call]) -> list[Verdict]:
        if self._other_sigmas():
            sigmas = self.trace.of("sigmas/")
            return [self._code(result, "scheduler", causes_in_values.of_sigmas(sigmas[0].reference, sigmas[0].own))]
        return [self._code(result, "scheduler", f"one step: {self._of_step(result)}")]

    def _loop(self, result: Result) -> list[Verdict]:
        # Earlier stages judge the steps, so only the loop's changes to the latents outside the steps remain.
        for item in self.trace.of(f"{LATENTS}/"):
            if not item.aligned or item.distance.relative > self.limits.of_stage("loop", item.name):
                cause = causes_in_values.of_distance(item.distance) or causes_in_values.of_values(
                    item.reference, item.own
                )
                where = f"the latents that the {item.name.split('/')[1].split('.')[0]} is given"
                return [self._code(result, "loop", f"{where}: {cause or 'they are changed outside the steps'}")]
        return [self._code(result, "loop", result.note)] if result.note and result.worst is None else []

    def _transformer(self, result: Result, calls: list[Call]) -> list[Verdict]:
        roots = [call for call in calls if call.path == "transformer"]
        right = [
            call for call in roots if call.output and call.output.relative <= self.limits.of_stage("", result.tensor)
        ]
        if roots and len(right) == len(roots):
            guided = self.recording.facts["guidance"] > 1
            cause = self._of_worst(result) or ("the guidance formula" if guided else "the prediction is changed")
            return [self._code(result, "predict", f"between the transformer and the scheduler: {cause}")]
        replayable = [call for call in roots if call.local and call.local.relative <= self.limits.of_module(call)]
        if roots and len(replayable) == len(roots):
            return [self._code(result, "predict", self._of_given(roots))]
        return []

    def _guidance(self, result: Result, calls: list[Call]) -> list[Verdict]:
        cause = result.note or self._of_worst(result) or "the prediction is changed"
        return [self._code(result, "predict", f"between the transformer and the scheduler: {cause}")]

    def _of_given(self, roots: list[Call]) -> str:
        positions = next((call.positions for call in roots if call.positions is not None), None)
        if positions is not None:
            return causes_in_values.of_ids(*positions)
        given = self.trace.timesteps
        return causes_in_values.of_timestep(*given[0]) if given else "the arguments of the transformer"

    def _vae_decode(self, result: Result, calls: list[Call]) -> list[Verdict]:
        return [self._code(result, "vae", self._of_worst(result) or "the code before or after the decoder")]

    def _wrong_latents(self, error: float = 0.0) -> Call | None:
        """The decoder's first module, if its input is wrong enough to explain an ``error`` of the image."""
        decoding = [call for call in self.calls if call.stage == "vae_decode"]
        first = next((call for call in decoding if call.output is not None and call.leaf), None)
        if first is None or first.inputs is None:  # these are not checked, because the result is right
            return None
        enough = max(self.limits.of_stage("vae_decode", "vae_decode/vae/in/0"), error * ENOUGH)
        return first if first.inputs > enough else None

    def _vae_encode(self, result: Result, calls: list[Call]) -> list[Verdict]:
        return [self._code(result, "vae", self._of_worst(result) or "latent normalisation after the encoder")]

    def _other_tokens(self, result: Result, calls: list[Call]) -> list[Verdict]:
        for call in calls:
            if call.ids is not None and self._are_tokens(call) and not same_tokens(*call.ids):
                return [self._code(result, "tokenizer", _of_tokens(*call.ids))]
        return []

    def _are_tokens(self, call: Call) -> bool:
        """Whether the reference's encoder was given these ids; if not, they are positions, which a module inside
        computes.
        """
        stage = call.event.split("/")[0]
        names = self.watch.recorded.inputs(f"{stage}/{stage.split('.')[0]}")
        given = [self.watch.reference(call, name) for name in names]
        tokens = [ids.reshape(-1) for ids in given if ids.dtype.kind != "f"]
        return not tokens or any(np.array_equal(ids, call.ids[0]) for ids in tokens)

    def _text_encoder(self, result: Result, calls: list[Call]) -> list[Verdict]:
        # An encoder's last layers may be left out on purpose, so they are blamed when nothing else is found.
        return self._fewer_blocks(result) or [self._code(result, result.stage, self._of_hidden_state(result))]

    def _of_worst(self, result: Result) -> str:
        item = result.worst
        if item is None or item.reference.size != item.own.size:
            return result.note
        return causes_in_values.of_distance(item.distance) or causes_in_values.of_values(item.reference, item.own)

    def _of_step(self, result: Result) -> str:
        item, name = result.worst, result.tensor.replace("scheduler/", "loop/", 1).replace("/out/", "/in/")
        before = f"{name.rpartition('/')[0]}/1"
        if item is None or before not in self.recording or item.reference.size != item.own.size:
            return result.note or "its result differs"
        latents = self.recording.get(before).reshape(item.reference.shape)
        return (
            causes_in_values.of_change(latents, item.reference, item.own.reshape(latents.shape)) or "its result differs"
        )

    def _of_hidden_state(self, result: Result) -> str:
        """Find out which of the reference's hidden states the port's prompt embeddings are, or whether rows were added
        or are missing.
        """
        item = result.worst
        if item is None:
            return "which hidden states are passed on, and how they are processed"
        cut = rows_cut(item.reference, item.own) if item.own.ndim > 1 else ""
        if cut:
            return f"the prompt embeddings: {cut}"
        mine, theirs = (self._hidden_state(values) for values in (item.own, item.reference))
        if mine and mine != theirs:
            instead = f", the reference uses the output of {theirs}" if theirs else ""
            return f"the prompt embeddings are the output of {mine}{instead}: off by some layers, or a norm too many"
        return self._of_worst(result) or "which hidden states are passed on, and how they are processed"

    def _hidden_state(self, values: np.ndarray) -> str:
        limit = self.limits.of_stage("text_encoder", "prompt/text_encoder/out/0")
        for event in self.recording.events:
            if (
                not event.stage.startswith("text_encoder")
                or "/out/" not in event.name
                or event.stride > 1
                or event.same
            ):
                continue
            found = align(self.recording.get(event.name), values)
            if found and found[1].relative < limit:
                number = event.name.rpartition("/")[2]
                return f"{event.module}, number {number}" if "." not in event.module else event.module
        return ""


def _following(calls: list[Call]) -> dict[int, list[Call]]:
    """For each call, by its id, the calls that follow it in the same stage and inside the same module."""
    inner = {id(child) for call in calls for child in call.children}
    outermost = [call for call in calls if id(call) not in inner]
    found = {}
    for siblings in (outermost, *(call.children for call in calls)):
        for n, call in enumerate(siblings):
            found[id(call)] = [later for later in siblings[n + 1 :] if later.stage == call.stage]
    return found


def _of_tokens(reference: np.ndarray, own: np.ndarray) -> str:
    length = min(len(reference), len(own))
    differ = np.flatnonzero(reference[:length] != own[:length])
    if len(reference) != len(own) and not differ.size:
        return f"{len(own)} token ids, the reference has {len(reference)} (padding or truncation)"
    at = int(differ[0])
    return f"token {at} is {own[at]}; the reference's is {reference[at]} (prompt template, special tokens or tokenizer)"
