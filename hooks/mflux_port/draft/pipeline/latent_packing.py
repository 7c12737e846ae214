"""How latents are laid out: from the noise to the transformer, and from the loop to the VAE.

The layouts are found by sending numbered values.
"""

from __future__ import annotations

from itertools import permutations

from mflux_port.draft.pipeline.fact import Fact
from mflux_port.draft.pipeline.watch import Intervention, Trace, run


def packing(pipe, call: dict) -> Fact:
    """How the first noise (batch, channels, height, width) becomes the transformer's latents.

    A ramp replaces the noise, and each number shows where it went: no two layouts can be confused, for any shape.
    """
    trace = run(pipe, call, Intervention(noise=_ramp, stop_at_transformer=True))
    where = f"ramp as noise, {call['width']}x{call['height']}"
    if not trace.noise or not trace.transformers:
        return Fact("packing", None, f"{where}: the run drew no noise through randn_tensor")
    noise = trace.noise[-1]
    if noise.ndim < 4:
        drawn = "x".join(map(str, noise.shape))
        return Fact(
            "packing", None, f"{where}: the noise is drawn packed, as {drawn}: its rows and columns are not known"
        )
    name, latents = _latents_argument(trace, noise)
    if name is None:
        return Fact("packing", None, f"{where}: no argument of the transformer holds the numbers of the noise")
    value = {"argument": name, "noise_shape": list(noise.shape), "shape": list(latents.shape)}
    value["pixels"] = call["height"] // noise.shape[-2]
    pattern = _pattern(noise, latents)
    return Fact("packing", pattern and value | {"pattern": pattern}, where, () if pattern else (str(value),))


def decoding(pipe, call: dict) -> Fact:
    """What happens to the loop's last latents before the VAE's decoder: ``latents * scale + shift``, and the order.

    Zeros give the shift, ones the scale, and a ramp the order, element by element.
    """
    import torch

    def send(value) -> Trace:
        return run(pipe, call, Intervention(final=value, stop_at_decode=True))

    zeros, ones, ramp = (send(value).decoded for value in (torch.zeros_like, torch.ones_like, _ramp))
    last = send(lambda latents: latents).steps[-1].result
    where = f"zeros, ones and a ramp after the last step, {call['width']}x{call['height']}"
    shift, scale = zeros, ones - zeros
    if (scale == 0).any():
        return Fact("decoding", None, f"{where}: not every element of the VAE's input depends on the latents")
    order = ((ramp - shift) / scale).round()
    source = torch.arange(last.numel(), dtype=torch.float32).reshape(last.shape)
    if not torch.allclose(order * scale + shift, ramp, rtol=1e-4, atol=1e-3):
        return Fact("decoding", None, f"{where}: the VAE's input is not the latents times a scale plus a shift")
    pattern = _pattern_out(source, order)
    value = {"pattern": pattern, "shape": list(order.shape), **_normalisation(pipe, scale, shift, order)}
    return Fact("decoding", value if pattern else None, where, () if pattern else (str(value),))


def _ramp(noise):
    import torch

    return torch.arange(noise.numel(), dtype=noise.dtype, device=noise.device).reshape(noise.shape)


def _latents_argument(trace: Trace, noise) -> tuple[str | None, object]:
    for name, value in trace.transformers[0].arguments.items():
        for item in value if isinstance(value, list) else [value]:
            if not getattr(item, "is_floating_point", bool)() or item.numel() < noise.numel():
                continue
            first = item.reshape(-1)[: noise.numel()]
            if set(first.tolist()) == set(range(noise.numel())):
                return name, item if item.numel() == noise.numel() else _first_row(item)
    return None, None


def _first_row(value):
    return value[:1]  # with guidance, both rows of the batch hold the same latents


def _pattern(noise, latents) -> str | None:
    """The einops pattern from ``noise`` to ``latents``; None when no known pattern gives these numbers."""
    if latents.numel() == noise.numel() and latents.reshape(-1).equal(noise.reshape(-1)):
        same = [size for size in latents.shape if size > 1] == [size for size in noise.shape if size > 1]
        return "unchanged" if same else f"reshape to {_axes(latents)}"
    image = _without_frames(noise)
    for text, value in _packed(image):
        if value.numel() == latents.numel() and value.reshape(-1).equal(latents.reshape(-1)):
            return text
    return None


def _pattern_out(latents, decoded) -> str | None:
    """The einops pattern with which ``latents`` is the packed form of ``decoded``."""
    if latents.reshape(-1).equal(decoded.reshape(-1)):
        return "unchanged"
    for text, value in _packed(_without_frames(decoded)):
        if value.numel() == latents.numel() and value.reshape(-1).equal(latents.reshape(-1)):
            return text
    return None


def _without_frames(value):
    # Video VAEs keep an axis of frames, which is 1 for an image: (b, c, 1, h, w) or (b, 1, c, h, w).
    if value.dim() == 5:
        return value[:, :, 0] if value.shape[2] == 1 else value[:, 0]
    return value


def _packed(image):
    """Every known way to pack (batch, channels, height, width), as (pattern, values)."""
    if image.dim() != 4:
        return
    batch, channels, height, width = image.shape
    axes = {"c": 1, "h": 2, "p": 3, "w": 4, "q": 5}
    for patch in (size for size in (1, 2, 4) if height % size == 0 and width % size == 0):
        view = image.reshape(batch, channels, height // patch, patch, width // patch, patch)
        for inner in permutations("cpq") if patch > 1 else (("c",),):
            feature = [axes[name] for name in (inner if patch > 1 else ("c", "p", "q"))]
            names, size = " ".join(inner), f", p = q = {patch}" if patch > 1 else ""
            source = "b c (h p) (w q)" if patch > 1 else "b c h w"
            yield f"{source} -> b (h w) ({names}){size}", view.permute(0, 2, 4, *feature)
            yield f"{source} -> b ({names}) h w{size}", view.permute(0, *feature, 2, 4)


def _axes(value) -> str:
    return "x".join(map(str, value.shape))


def _normalisation(pipe, scale, shift, order) -> dict:
    """The scale and shift, by their names in the VAE's config or by value if it has none."""
    import torch

    config = getattr(pipe.vae, "config", {})
    mean, std = config.get("latents_mean"), config.get("latents_std")
    channel = 1 if order.shape[1] > 1 else 2
    per_channel = [value.movedim(channel, 0).reshape(value.shape[channel], -1) for value in (scale, shift)]
    even = all(torch.allclose(value, value[:, :1].expand_as(value), rtol=1e-4, atol=1e-6) for value in per_channel)
    scales, shifts = (value[:, 0] for value in per_channel)
    if even and mean is not None and _close(scales, std) and _close(shifts, mean):
        return {"normalisation": "latents * latents_std + latents_mean"}
    factor, offset = config.get("scaling_factor"), config.get("shift_factor") or 0.0
    if even and factor and _close(scales, [1 / factor] * len(scales)) and _close(shifts, [offset] * len(shifts)):
        return {"normalisation": "latents / scaling_factor" + (" + shift_factor" if offset else "")}
    if even and _close(scales, [1.0] * len(scales)) and _close(shifts, [0.0] * len(shifts)):
        return {"normalisation": "none"}
    statistics = getattr(getattr(pipe.vae, "bn", None), "running_var", None)
    if statistics is not None:
        deviations = (statistics.float() + config.get("batch_norm_eps", 0.0)).sqrt()
        if set(scale.flatten().tolist()) and _is_drawn_from(scale, deviations):
            return {"normalisation": "latents * sqrt(bn.running_var + eps) + bn.running_mean, per packed channel"}
    return {"normalisation": None, "scale": scales.tolist()[:64], "shift": shifts.tolist()[:64]}


def _close(values, wanted) -> bool:
    import torch

    wanted = torch.as_tensor(wanted, dtype=torch.float32)
    return values.shape == wanted.shape and torch.allclose(values, wanted, rtol=1e-3, atol=1e-5)


def _is_drawn_from(values, known) -> bool:
    """Whether each of ``values`` is near one of ``known``."""
    return bool(((values.reshape(-1, 1) - known.reshape(1, -1)).abs().min(dim=1).values < 1e-3).all())
