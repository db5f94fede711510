"""`TrainState`: all state of a run, named once. It is the checkpoint."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from stylescan.config import RunConfig
from stylescan.errors import CheckpointError
from stylescan.nets.build import build_discriminator, build_generator
from stylescan.nets.protocols import Discriminator, Generator
from stylescan.train.ada import Ada, new_buffers
from stylescan.train.objective import Net, Phase, lazy_correction
from stylescan.train.transfer import frozen_of


@dataclass
class Progress:
    """The run's own bookkeeping: position, best score, and how long it has worked (over all its sessions)."""

    step: int = 0
    nimg: int = 0
    best_score: float | None = None
    best_nimg: int | None = None
    roll_backs: int = 0  # each has multiplied the learning rates by health.lr_factor
    health: dict[str, float] = field(default_factory=dict)  # what the health monitor remembers


@dataclass
class TrainState:
    """Networks, average, optimisers, objective buffers (path length, augmentation) and position. frozen: names of D's
    parameters that never move.

    `tensors` and `numbers` list everything; what is not listed there does not survive a resume.
    """

    G: Generator
    D: Discriminator
    G_ema: Generator
    opt_G: torch.optim.Adam
    opt_D: torch.optim.Adam
    buffers: dict[str, Tensor]
    ada: Ada
    progress: Progress = field(default_factory=Progress)
    frozen: frozenset[str] = frozenset()

    @property
    def step(self) -> int:
        """Steps done."""
        return self.progress.step

    @step.setter
    def step(self, value: int) -> None:
        self.progress.step = value

    @property
    def nimg(self) -> int:
        """Real images shown to D so far."""
        return self.progress.nimg

    @nimg.setter
    def nimg(self, value: int) -> None:
        self.progress.nimg = value

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Every tensor of the state: group (one file of a checkpoint) to name to tensor."""
        return {
            "G": net_tensors(self.G),
            "D": net_tensors(self.D),
            "G_ema": net_tensors(self.G_ema),
            "opt_G": optimiser_tensors(self.opt_G, self.G),
            "opt_D": optimiser_tensors(self.opt_D, self.D),
            "objective": dict(self.buffers),
        }


def net_tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name."""
    return dict(net.state_dict(keep_vars=True))


def optimiser_tensors(optimiser: torch.optim.Adam, net: nn.Module) -> dict[str, Tensor]:
    """Adam's state keyed by parameter name, `exp_avg/NAME` and so on; parameters not yet stepped are absent."""
    flat = {}
    for name, parameter in net.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            flat[f"{key}/{name}"] = value
    return flat


def load_optimiser_tensors(optimiser: torch.optim.Adam, net: nn.Module, flat: dict[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` gave; CheckpointError where a name or shape does not fit."""
    parameters = dict(net.named_parameters())
    optimiser.state.clear()
    for full, value in flat.items():
        key, _, name = full.partition("/")
        parameter = parameters.get(name)
        if parameter is None or key not in ("step", "exp_avg", "exp_avg_sq"):
            raise CheckpointError(f"optimiser state {full}: unknown here", remedy="Resume the run that wrote it.")
        if key == "step":
            optimiser.state[parameter][key] = value.clone().to(parameter.device)  # fused Adam counts on the device
            continue
        if value.shape != parameter.shape:
            raise CheckpointError(
                f"optimiser state {full}: shape {list(value.shape)}, expected {list(parameter.shape)}",
                remedy="Resume with the configuration that the run was started with.",
            )
        # preserve_format keeps the parameter's channels-last layout, which Adam's update relies on for equal results
        optimiser.state[parameter][key] = torch.empty_like(parameter).copy_(value)


def build_optimiser(net: nn.Module, which: Net, config: RunConfig, phases: tuple[Phase, ...]) -> torch.optim.Adam:
    """Adam with the lazy phases' correction: lr * c and beta ** c (Karras et al. 2020, appendix B)."""
    c = lazy_correction(phases, which)
    t = config.train
    return torch.optim.Adam(
        net.parameters(),
        lr=t.lr * c,
        betas=(float(t.beta1) ** c, float(t.beta2) ** c),
        eps=1e-8,
        fused=True,
    )


def build_state(config: RunConfig, phases: tuple[Phase, ...], *, device: torch.device) -> TrainState:
    """The state before step 0; equal for equal seeds."""
    G = build_generator(config.spec, seed=config.seed).to(device)
    D = build_discriminator(config.spec, seed=config.seed).to(device)
    G_ema = copy.deepcopy(G).requires_grad_(False).eval()
    buffers = {"pl_mean": torch.zeros([], device=device), **new_buffers(config.augment, device=device)}
    return TrainState(
        G=G,
        D=D,
        G_ema=G_ema,
        opt_G=build_optimiser(G, "G", config, phases),
        opt_D=build_optimiser(D, "D", config, phases),
        buffers=buffers,
        ada=Ada(config.augment, config.train.total_kimg, buffers),
        frozen=frozen_of(config, D),
    )


def position(state: TrainState) -> dict[str, Any]:
    """The state's numbers, for the checkpoint's JSON."""
    return dict(vars(state.progress))
