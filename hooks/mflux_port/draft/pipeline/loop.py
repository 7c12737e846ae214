"""What the loop does around the transformer: timestep, schedule, guidance."""

from __future__ import annotations

import itertools
import math

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.watch import NetworkCall, Trace

AT_MOST = "at most "  # a size that guidance may reduce but not increase
BEFORE_SHIFT = "1000 * the sigma before its shift"
WHOLE = "whole timesteps from 1000 to 1, / 1000"
_SHIFT_KEYS = (
    "shift",
    "base_shift",
    "max_shift",
    "base_image_seq_len",
    "max_image_seq_len",
    "shift_terminal",
    "time_shift_type",
)
_TIMES = {
    "sigma": lambda sigma: sigma,
    "1 - sigma": lambda sigma: 1 - sigma,
    "1000 * sigma": lambda sigma: 1000 * sigma,
    "1000 - 1000 * sigma": lambda sigma: 1000 - 1000 * sigma,
}


def timestep(trace: Trace) -> Fact:
    """The argument that holds the time, and how it follows from sigma, over all steps."""
    firsts = [_calls(trace, step)[0] for step in range(len(trace.steps)) if _calls(trace, step)]
    where = f"{len(firsts)} steps of a recorded run"
    sigmas = trace.sigmas[: len(firsts)]
    for name in firsts[0].arguments:
        values = [_scalar(call.arguments.get(name)) for call in firsts]
        if None in values or len(set(values)) < 2:
            continue
        fitting = [text for text, rule in _TIMES.items() if _near(values, map(rule, sigmas))]
        if _near(values, trace.timesteps) and not fitting:
            given = trace.set_timesteps.get("sigmas")
            unshifted = given is not None and _near(values, [1000 * float(sigma) for sigma in given][: len(values)])
            fitting = [BEFORE_SHIFT if unshifted else "the scheduler's timestep"]
        if fitting:
            return Fact("timestep", {"argument": name, "is": fitting[0]}, where, tuple(fitting[1:]))
    return Fact("timestep", None, f"{where}: no argument follows sigma or the scheduler's timesteps")


def schedule(traces: list[Trace], config: dict) -> Fact:
    """How the sigmas are computed: no shift, a constant one, or mu as a function of the number of image tokens.

    The sigmas of every run are recomputed from the result; a schedule that does not reproduce them stays undecided.
    """
    where = f"set_timesteps and sigmas at {len(traces)} sizes, scheduler/scheduler_config.json"
    if not all(trace.sigmas for trace in traces):
        return Fact("schedule", None, f"{where}: {config.get('_class_name')} has no sigmas")
    if not _is_euler(traces[0]):
        other = f"a step of {config.get('_class_name')} is not sample + (next sigma - sigma) * output, as mflux's schedulers do it"
        return Fact("schedule", None, where, (other,))
    line = _line(traces[0])
    value = {"scheduler": config.get("_class_name", ""), "sigmas": line}
    tried = []
    for name, shift in _shifts(traces, config).items():
        if all(_near(trace.sigmas[: len(expected)], expected) for trace, expected in _expected(traces, config, shift)):
            kept = {key: config[key] for key in _SHIFT_KEYS if config.get(key) is not None}
            return Fact("schedule", value | {"shift": name, "config": kept}, where)
        tried.append(name)
    return Fact("schedule", None, where, (f"sigmas {line}, none of: {', '.join(map(str, tried))}", *_measured(traces)))


def _is_euler(trace: Trace) -> bool:
    """Whether each step adds the model's output times the difference of two sigmas to the latents."""
    differences = (after - before for before, after in itertools.pairwise(trace.sigmas))
    return all(
        _equal((step.sample + difference * step.model_output).reshape(-1), step.result.reshape(-1), 1e-4)
        for step, difference in zip(trace.steps, differences, strict=False)
        if step.result is not None
    )


def _shifts(traces: list[Trace], config: dict) -> dict:
    """The time shifts that may explain the runs, each as a function from a run to its factor."""
    if not config.get("use_dynamic_shifting"):
        constant = config.get("shift", 1.0)
        return {constant: lambda trace: constant}
    given = {trace.set_timesteps.get("mu") for trace in traces}
    if None in given:
        return {}
    exponential = config.get("time_shift_type", "exponential") == "exponential"
    factor = (lambda mu: math.exp(mu)) if exponential else (lambda mu: mu)
    for name, formula in _FORMULAS_OF_MU.items():
        if all(abs(trace.set_timesteps["mu"] - formula(trace, config)) < 1e-4 for trace in traces):
            return {name: lambda trace: factor(trace.set_timesteps["mu"])}
    if len({round(float(mu), 6) for mu in given}) == 1:
        return {f"mu {float(given.pop())}": lambda trace: factor(trace.set_timesteps["mu"])}
    return {}


def _measured(traces: list[Trace]) -> list[str]:
    given = [(trace.set_timesteps.get("mu"), _image_tokens(trace), len(trace.timesteps)) for trace in traces]
    points = [f"{float(mu):.4f} at {tokens} tokens and {steps} steps" for mu, tokens, steps in given if mu is not None]
    return [f"mu by the pipeline's own formula: {', '.join(points)}"] if points else []


def _expected(traces: list[Trace], config: dict, shift) -> list[tuple[Trace, list[float]]]:
    """The sigmas of each run, computed from its line and its shift, without the zero at the end."""
    found = []
    for trace in traces:
        factor = shift(trace)
        sigmas = [factor * sigma / (1 + (factor - 1) * sigma) for sigma in _unshifted(trace, config)]
        terminal = config.get("shift_terminal")
        if terminal and sigmas[-1] < 1:
            scale = (1 - sigmas[-1]) / (1 - terminal)
            sigmas = [1 - (1 - sigma) / scale for sigma in sigmas]
        found.append((trace, sigmas))
    return found


def _unshifted(trace: Trace, config: dict) -> list[float]:
    given = trace.set_timesteps.get("sigmas")
    if given is not None:
        return [float(sigma) for sigma in given]
    count, total = len(trace.timesteps), config.get("num_train_timesteps", 1000)
    shift = 1.0 if config.get("use_dynamic_shifting") else config.get("shift", 1.0)
    # The scheduler's own line runs between the shifted ends of its training timesteps.
    top, bottom = (shift * x / (1 + (shift - 1) * x) for x in (1.0, 1 / total))
    return [top + (bottom - top) * index / max(count - 1, 1) for index in range(count)]


def _linear_mu(trace: Trace, config: dict) -> float:
    tokens = _image_tokens(trace)
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    base, top = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    return base + (top - base) * (tokens - low) / (high - low)


def _root_mu(trace: Trace, config: dict) -> float:
    root = math.sqrt(_image_tokens(trace) / config.get("base_image_seq_len", 256))
    return root * config.get("max_shift", 0.75) + config.get("base_shift", 0.25)


def _empirical_mu(trace: Trace, config: dict) -> float:  # noqa: ARG001
    # Linear in the image tokens, for 10 and for 200 steps, and interpolated between the two by the number of steps.
    tokens, steps = _image_tokens(trace), len(trace.timesteps)
    at_200 = 0.00016927 * tokens + 0.45666666
    at_10 = 8.73809524e-05 * tokens + 1.89833333
    return at_200 if tokens > 4300 else at_200 + (at_200 - at_10) / 190 * (steps - 200)


_FORMULAS_OF_MU = {
    "mu linear in the image tokens, base_shift to max_shift": _linear_mu,
    "mu by the square root of the image tokens, base_shift and max_shift": _root_mu,
    "mu by FLUX.2's empirical formula": _empirical_mu,
}


def _image_tokens(trace: Trace) -> int:
    """The number of tokens of the latents: for packed ones the token axis, for others half of each side, multiplied."""
    latents = trace.steps[0].sample
    return latents.shape[1] if latents.dim() == 3 else latents.shape[-1] * latents.shape[-2] // 4


def _line(trace: Trace) -> str | list[float]:
    """The sigmas that the pipeline gives to the scheduler, before any shift."""
    given = trace.set_timesteps.get("sigmas")
    if given is None:
        return "the scheduler's own"
    values = [float(value) for value in given]
    steps = len(values)
    ends = {"linspace(1, 1 / steps, steps)": 1 / steps, "linspace(1, 0, steps)": 0.0}
    for text, end in ends.items():
        if _near(values, [1 + (end - 1) * index / max(steps - 1, 1) for index in range(steps)]):
            return text
    whole = [int(1000 - 999 * index / max(steps - 1, 1)) / 1000 for index in range(steps)]
    return WHOLE if _near(values, whole) else values


def guidance(traces: tuple[Trace, Trace], scales: tuple[float, float]) -> Fact:
    """How a step's model output follows from what the transformer returned, from two runs that differ in guidance.

    Both runs begin with the same latents, so that ``a + guidance * b`` is solved for a and b.
    """
    rows = [rows_of_step(trace) for trace in traces]
    calls = len(_calls(traces[0], 0))
    first = traces[0].steps[0].model_output[0]
    targets = [trace.steps[0].model_output[0].reshape(-1) for trace in traces]
    shape = {"calls": calls, "batch": len(rows[0]) // calls} | _output_channels(rows[0][0], first)
    rows = [[row.reshape(-1)[: target.numel()] for row in own] for own, target in zip(rows, targets, strict=True)]
    where = f"step 0 with guidance {scales[0]:g} and {scales[1]:g}: {calls} call(s), {len(rows[0])} output(s)"
    formula = _formula(rows, targets, scales, len(first) if first.dim() > 2 else 1)
    if formula is None:
        return Fact("guidance", None, where, (f"{shape}; no known formula fits",))
    less = formula | {"formula": formula["formula"].replace(", then the", f", then {AT_MOST}the")}
    others = [(_first_other_step(traces[0], one, scales[0]), one) for one in (formula, less)]
    holding = next((one for step, one in others if step is None), None)
    if holding is not None:
        return Fact("guidance", shape | holding, where)
    other = others[0][0]
    return Fact("guidance", None, where, (f"{formula['formula']}, but another formula from step {other} on",))


def _formula(rows: list[list], targets: list, scales: tuple[float, float], channels: int) -> dict | None:
    """How the targets follow from the rows of both runs, which are flat with ``channels`` channels; None if no formula
    fits.
    """
    if len(rows[0]) == len(rows[1]) == 1:
        return _alone(rows[0][0], targets[0])
    if len(rows[0]) == len(rows[1]) == 2:
        return (
            _linear(rows[0], targets, scales)
            or _normed(rows[0], targets, scales)
            or _of_first_channels(rows[0], targets, scales, channels)
        )
    return None


def _output_channels(row, target) -> dict:
    """The number of channels that the transformer returns, if it exceeds that of the latents."""
    is_more = row.dim() == target.dim() > 2 and len(row) > len(target) and row.shape[1:] == target.shape[1:]
    return {"output_channels": len(row)} if is_more else {}


def _first_other_step(trace: Trace, found: dict, scale: float) -> int | None:
    """The first step in which a formula does not hold; None if it holds in all of them."""
    for number, step in enumerate(trace.steps):
        target = step.model_output[0].reshape(-1)
        rows = [row.reshape(-1)[: target.numel()] for row in rows_of_step(trace, number)]
        if len(rows) != (2 if "conditional" in found else 1) or not _is_formula(rows, target, found, scale):
            return number
    return None


def _is_formula(rows: list, target, found: dict, scale: float) -> bool:
    if "conditional" not in found:
        return _equal(found["sign"] * rows[0], target)
    first, second = (found["sign"] * rows[place] for place in (found["conditional"], 1 - found["conditional"]))
    if "channels" in found:
        at = found["channels"] * target.numel() // found["of"]
        if not _equal(first[at:], target[at:]):
            return False
        first, second, target = first[:at], second[:at], target[:at]
    plain, _, size = found["formula"].partition(", then ")
    mixed = (second if plain.startswith("unconditional") else first) + scale * (first - second)
    if size:
        shrinks = size.startswith(AT_MOST)
        return f"{_scaling(mixed, first, target, shrinks)} of the conditional output" == size
    return _equal(mixed, target, 1e-4)


def _alone(row, target) -> dict | None:
    for sign in (1, -1):
        if _equal(sign * row, target):
            return {"formula": "conditional", "sign": sign}
    return None


def _linear(rows: list, targets: list, scales: tuple[float, float]) -> dict | None:
    slope = (targets[1] - targets[0]) / (scales[1] - scales[0])
    base = targets[0] - scales[0] * slope
    for sign, conditional in itertools.product((1, -1), (0, 1)):
        first, second = sign * rows[conditional], sign * rows[1 - conditional]
        if not _equal(slope, first - second, 1e-4):
            continue
        order = {"sign": sign, "conditional": conditional}
        if _equal(base, second, 1e-4):
            return {"formula": "unconditional + guidance * (conditional - unconditional)", **order}
        if _equal(base, first, 1e-4):
            return {"formula": "conditional + guidance * (conditional - unconditional)", **order}
    return None


def _of_first_channels(rows: list, targets: list, scales: tuple[float, float], channels: int) -> dict | None:
    """Guidance of the first channels only; the others are those of the conditional prediction."""
    for count in range(channels - 1, 0, -1):
        at = count * targets[0].numel() // channels
        found = _linear([row[:at] for row in rows], [target[:at] for target in targets], scales)
        rest = found and found["sign"] * rows[found["conditional"]][at:]
        if found and all(_equal(rest, target[at:]) for target in targets):
            return found | {"channels": count, "of": channels}
    return None


def _normed(rows: list, targets: list, scales: tuple[float, float]) -> dict | None:
    # The result is scaled back to the norm of the conditional output.
    for shrinks, sign, conditional in itertools.product((False, True), (1, -1), (0, 1)):
        first, second = sign * rows[conditional], sign * rows[1 - conditional]
        found = [
            _scaling(second + scale * (first - second), first, target, shrinks)
            for scale, target in zip(scales, targets, strict=True)
        ]
        if found[0] and found[0] == found[1]:
            text = (
                f"unconditional + guidance * (conditional - unconditional), then {found[0]} of the conditional output"
            )
            return {"formula": text, "sign": sign, "conditional": conditional}
    return None


def _scaling(mixed, conditional, target, shrinks: bool = False) -> str | None:
    """What of ``mixed`` is scaled to that of ``conditional``; ``shrinks``: only where it is larger."""

    def fits(own, wanted, size) -> bool:
        ratio = size(wanted) / size(own)
        scaled = own * (ratio.clamp(max=1.0) if shrinks else ratio)
        return _equal(scaled.reshape(-1), target, 1e-4)

    start = AT_MOST if shrinks else ""
    for width in (size for size in range(2, 1025) if mixed.numel() % size == 0):
        tokens = mixed.reshape(-1, width), conditional.reshape(-1, width)
        if fits(*tokens, lambda value: value.norm(dim=1, keepdim=True)):
            return f"{start}the norm of each {width} values"
    for name, size in (("the norm", lambda value: value.norm()), ("the standard deviation", lambda value: value.std())):
        if fits(mixed, conditional, size):
            return f"{start}{name}"
    return None


def rows_of_step(trace: Trace, step: int = 0) -> list:
    """The predictions of a step, one for each prompt."""
    return [row for call in _calls(trace, step) for row in _outputs(call)]


def guidance_argument(trace: Trace, other: Trace, scales: tuple[float, float]) -> Fact | None:
    """An argument of the transformer that holds the guidance scale itself (distilled models); None without one."""
    for name, value in trace.transformers[0].arguments.items():
        first, second = _scalar(value), _scalar(other.transformers[0].arguments.get(name))
        if first is None or second is None or first == second:
            continue
        for factor in (1, 1000):
            if math.isclose(first, factor * scales[0], rel_tol=1e-3) and math.isclose(
                second, factor * scales[1], rel_tol=1e-3
            ):
                text = "guidance" if factor == 1 else f"{factor} * guidance"
                return Fact(
                    "guidance_argument",
                    {"argument": name, "is": text},
                    f"runs with guidance {scales[0]:g} and {scales[1]:g}",
                )
    return None


def _calls(trace: Trace, step: int) -> list[NetworkCall]:
    return [call for call in trace.transformers if call.step == step]


def _outputs(call: NetworkCall) -> list:
    """The rows of what the transformer returned."""
    output = call.output
    while isinstance(output, dict):
        output = output.get("sample", next(iter(output.values())))
    if isinstance(output, list) and len(output) == 1 and getattr(output[0], "dim", int)() > 2:
        output = output[0]
    elif isinstance(output, list) and output and isinstance(output[0], list):
        output = output[0]
    return list(output)


def _scalar(value) -> float | None:
    """The one number that an argument holds; None when it holds several, or none."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return float(value)
    if getattr(value, "numel", int)() and value.dim() <= 1 and value.min() == value.max():
        return float(value.reshape(-1)[0])
    return None


def _near(values, wanted) -> bool:
    values, wanted = list(values), list(wanted)
    return len(values) == len(wanted) and all(
        math.isclose(a, b, rel_tol=2e-3, abs_tol=1e-6) for a, b in zip(values, wanted, strict=True)
    )


def _equal(value, target, limit: float = 1e-5) -> bool:
    return bool((value - target).norm() <= limit * target.norm())
