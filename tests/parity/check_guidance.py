"""Run inside an environment with torch and diffusers: which guidance a pipeline applies, for pipelines of every kind.

``check_guidance.py PORTING`` prints a JSON line for each kind: the value that was passed and the predictions of a step.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

sys.path.insert(0, sys.argv[1])

import torch  # noqa: E402 - found through the path above
from diffusers.guiders import AdaptiveProjectedMixGuidance  # noqa: E402
from parity.errors import ParityError  # noqa: E402
from parity.record import guidance, reference  # noqa: E402
from parity.record.probe import find_orders  # noqa: E402

SHAPE = (1, 4, 6, 10)


def randn_tensor(shape, generator=None, device=None, dtype=None):
    return torch.randn(shape)


class Network(torch.nn.Module):
    def forward(self, hidden_states, prompt, guidance=None):
        return -(hidden_states * 0.5 + prompt.mean())


class Scheduler:
    def step(self, model_output, timestep, sample):
        return sample - model_output


class Pipe:
    """Calls its transformer twice if ``guided`` is true for the given value; packs its latents."""

    guider = None
    guided = staticmethod(lambda value: value > 1)

    def __init__(self):
        self.transformer, self.scheduler, self.vae = Network(), Scheduler(), torch.nn.Conv2d(4, 3, 1)
        self.components = {"transformer": self.transformer, "vae": self.vae, "scheduler": self.scheduler}

    def __call__(self, prompt="", guidance_scale=5.0):
        self.value = guidance_scale
        latents = randn_tensor(SHAPE).permute(0, 2, 3, 1).reshape(1, 60, 4)
        for _ in range(2):
            outputs = [self.transformer(latents, torch.ones(1, 7, 12))]
            if self.guided(guidance_scale):
                outputs.append(self.transformer(latents, torch.zeros(1, 7, 12)))
            noise = outputs[0] if len(outputs) == 1 else outputs[1] + guidance_scale * (outputs[0] - outputs[1])
            latents = self.scheduler.step(-noise, 0, latents)
        return self.vae(latents.reshape(1, 6, 10, 4).permute(0, 3, 1, 2) / 0.36 + 0.1)


class AnyAboveZero(Pipe):
    guided = staticmethod(lambda value: value > 0)


class Embedded(Pipe):
    guided = staticmethod(lambda value: False)


class WithoutNegative(Pipe):
    """Guides only with a negative prompt, and gets none."""

    guided = staticmethod(lambda value: False)


class Scheduled(Pipe):
    def __call__(self, prompt="", guidance_scale=None, guidance_schedule=(7.0, 3.0)):
        if (guidance_scale is None) == (guidance_schedule is None):
            raise ValueError("exactly one of guidance_scale and guidance_schedule")
        super().__call__(prompt, guidance_scale)


class Guided(Pipe):
    """Its guidance is a separate component, and the call's argument has no effect."""

    def __init__(self):
        super().__init__()
        self.guider = AdaptiveProjectedMixGuidance()

    def __call__(self, prompt="", guidance_scale=0.0):
        self.guided = lambda value: self.guider._enabled and self.guider.num_conditions > 1
        super().__call__(prompt, guidance_scale)
        self.value = self.guider.guidance_scale


@dataclass(frozen=True)
class Run:
    guidance: float
    unguided: bool
    guided_port: bool = True


def call(pipe, run) -> None:
    guidance.set_guider(pipe, run.guidance)
    with torch.no_grad():
        pipe(**guidance.arguments(pipe, run.guidance))


for kind in (Pipe, AnyAboveZero, Embedded, WithoutNegative, Scheduled, Guided):
    for unguided, value in ((True, 1.0), (True, 5.0), (False, 5.0)):
        pipe = kind()
        run = guidance.settle(pipe, Run(value, unguided), 240, call)
        rows = guidance.rows(pipe, replace(run), 240, call)
        names = {"transformer.0": ["hidden_states", "prompt"] + ["guidance"] * (kind is Embedded)}
        found = guidance.applied(pipe, SimpleNamespace(guidance=run.guidance), names, rows)
        line = guidance.sentence(run, found, value)
        row = {"kind": kind.__name__, "unguided": unguided, "asked": value, "passed": run.guidance, "line": line}
        print(json.dumps(row | {"rows": rows, "ran": found["value"], "guider": found.get("guider")}), flush=True)

for kind in (Pipe, Embedded):
    try:
        answer = guidance.settle(kind(), Run(5.0, False, guided_port=False), 240, call).guidance
    except ParityError as error:
        answer = str(error)
    print(json.dumps({"refused": kind.__name__, "answer": answer}), flush=True)

pipe = Pipe()
outputs = {("transformer", n): Network()(torch.zeros(1, 60, 4), torch.ones(1)) for n in range(2)}
orders, facts = find_orders(pipe, lambda: pipe(guidance_scale=5.0), outputs, 240, 2)


def same(name: str, wanted: torch.Tensor) -> bool:
    return bool((torch.from_numpy(orders[name]) == wanted).all())


drawn: dict = {}
reference._note_size(pipe, SimpleNamespace(width=1024, height=768, model=None), (1, 3, 96, 64), drawn)
numbers = torch.arange(240).reshape(1, 6, 10, 4)
row = {
    "orders": sorted(orders),
    "noise": same("layout/noise/out/0", torch.arange(240).reshape(SHAPE).permute(0, 2, 3, 1).reshape(1, 60, 4)),
    "vae": same("layout/vae/in/0", numbers.permute(0, 3, 1, 2)),
    "drawn": drawn,
    **facts,
}
print(json.dumps(row))
