"""What to train on freshly prepared data, and about how long it takes here: an estimate that costs a second.

The multiplications of one training image are counted from the networks themselves, and divided by what this machine's
convolutions reach now. `stylescan train --dry-run` measures instead.
"""

from __future__ import annotations

import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from stylescan.config import RunConfig
from stylescan.data.prepared import PreparedDataset
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.presets import PRESETS, build_config
from stylescan.recipes.common import Machine
from stylescan.recipes.source_projects import PUBLISHED_ON
from stylescan.train.start import fingerprint

# Forward passes a training image costs, a backward pass counting two: D sees a real and a fake and is differentiated for
# its own sake, G makes two fakes and is differentiated through D once. Lazy penalties add a tenth or so.
G_PASSES, D_PASSES = 4.0, 9.0
# Of the machine's best convolutions, training reaches about this share (small, 64 px, benchmarks/README.md).
REACHED = 0.5
_PROBE_S = 0.3


def training_advice(dataset: PreparedDataset, device: torch.device) -> list[str]:
    """Sentences: the preset that fits, its length and expected time on `device`, and what was published on such data."""
    data, machine = fingerprint(dataset), Machine(device.type, 1)
    if not data.train_images:
        return ["no training images: nothing to suggest"]
    config = build_config("auto", data, machine=machine)
    hours = config.train.total_kimg * 1000 * training_flops(config) / (REACHED * convolution_rate(device)) / 3600
    lines = [
        f"suggested preset: auto, which here means {config.spec.family} for {config.train.total_kimg:g} kimg in batches of "
        f"{config.train.batch}",
        f"expected cost: about {_duration(hours)} on this {'GPU' if device.type == 'cuda' else 'CPU'} (estimated; `stylescan "
        "train --dry-run` measures it, --minutes M sets it)",
    ]
    published = PUBLISHED_ON.get(str(dataset.manifest.preparation.get("layout")), ())
    lines += [f"published on such data: --preset {name} ({PRESETS[name].summary})" for name in published]
    return lines + PRESETS["auto"].remarks(data, machine)


def training_flops(config: RunConfig) -> float:
    """Floating-point operations of one image shown in training, lazy penalties left out."""
    spec = config.spec
    G, D = build_generator(spec).to("meta"), build_discriminator(spec).to("meta")
    size = (1, spec.img_channels, spec.resolution, spec.resolution)
    c = torch.zeros((1, spec.num_classes), device="meta") if spec.num_classes else None
    with torch.no_grad():
        with FlopCounterMode(display=False) as generator:
            G.synthesis(torch.zeros((1, G.num_ws, G.mapping.w_avg.shape[1]), device="meta"), noise="none")
        with FlopCounterMode(display=False) as discriminator:
            D(torch.zeros(size, device="meta"), c, group=1)
    return float(G_PASSES * generator.get_total_flops() + D_PASSES * discriminator.get_total_flops())


def convolution_rate(device: torch.device) -> float:
    """Floating-point operations a second of a 3x3 convolution, 128 to 128 channels at 32x32, batch 16, channels-last."""
    x = torch.ones((16, 128, 32, 32), device=device).to(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(128, 128, 3, padding=1, bias=False, device=device)
    conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
    flops = 2 * 9 * 128 * 128 * x.numel() // 128
    best, started = float("inf"), time.perf_counter()
    with torch.no_grad():
        while time.perf_counter() - started < _PROBE_S:
            begun = time.perf_counter()
            conv(x)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            best = min(best, time.perf_counter() - begun)
    return flops / best


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} minutes"
    return f"{hours:.1f} hours" if hours < 10 else f"{hours:.0f} hours" if hours < 72 else f"{hours / 24:.0f} days"
