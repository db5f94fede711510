"""Starting from another model: what is taken of it, and how the first images are trained.

Freezing D's first blocks: Freeze-D (Mo, Cho & Shin 2020, section 3.2).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from torch import Tensor, nn

from stylescan.config import RunConfig, merge
from stylescan.errors import ConfigError
from stylescan.nets.build import build_discriminator, build_generator, family_of
from stylescan.train.transfer_rules import InitSource, Rules, SameNameRules, Shape, StyleGAN2Rules

if TYPE_CHECKING:
    from stylescan.train.objective import Net
    from stylescan.train.state import TrainState

Kind = Literal["taken", "adapted", "left"]
SHOWN = 6  # layers named a line
_CHANCE = re.compile(r"noise_const$|w_avg$")  # fits between any two nets of a size: no sign of a common layer


@dataclass(frozen=True)
class Entry:
    """One tensor of the new nets. taken: the source's, unchanged; adapted: computed from it; left: fresh.

    `value` is what it starts with (None: as initialised); `source_shape` is None where the source has no such layer.
    """

    net: Net
    name: str
    source_shape: Shape | None
    shape: Shape
    kind: Kind
    why: str
    value: Tensor | None = None

    @property
    def layer(self) -> str:
        """The layer that the tensor belongs to, with its net in front."""
        return f"{self.net}.{_layer_of(self.name)}"


@dataclass(frozen=True)
class TransferPlan:
    """Every tensor of G and D exactly once; `source` is the generator's hash."""

    source: str
    with_D: bool
    entries: tuple[Entry, ...]

    def count(self, kind: Kind) -> int:
        """How many tensors are `kind`."""
        return sum(entry.kind == kind for entry in self.entries)

    def left(self) -> dict[str, list[str]]:
        """Why a tensor was left -> the layers concerned, in the nets' order."""
        reasons: dict[str, list[str]] = {}
        for entry in self.entries:
            layers = reasons.setdefault(entry.why, []) if entry.kind == "left" else []
            if entry.layer not in layers:
                layers.append(entry.layer)
        return reasons

    def record(self) -> list[dict[str, Any]]:
        """The plan as JSON values, without the tensors."""
        return [
            {"net": e.net, "name": e.name, "kind": e.kind, "why": e.why, "from": e.source_shape, "to": e.shape}
            for e in self.entries
        ]

    @property
    def blocks(self) -> int:
        """How many blocks D has."""
        return len(_stages({entry.name for entry in self.entries if entry.net == "D"}))

    @property
    def freezable(self) -> int:
        """How many of D's blocks, counted from the image, came along whole."""
        fresh = {entry.name for entry in self.entries if entry.net == "D" and entry.kind == "left"}
        stages = _stages({entry.name for entry in self.entries if entry.net == "D"})
        whole = 0
        while whole < len(stages) and not stages[whole] & fresh:
            whole += 1
        return whole


def _layer_of(name: str) -> str:
    return re.sub(r"(\.affine)?\.(weight|bias|noise_strength|noise_const)$", "", name)


def _stages(names: set[str]) -> list[set[str]]:
    """D's names by block from the image on; what reads the image belongs to the first block."""
    blocks: dict[int, set[str]] = {}
    for name in names:
        by_number = re.match(r"blocks\.(\d+)\.", name)
        by_resolution = re.match(r"(?:blocks|layers|from_images?)\.r(\d+)\.", name)
        if by_resolution:
            blocks.setdefault(-int(by_resolution[1]), set()).add(name)
        elif by_number or name.startswith("from_image."):
            blocks.setdefault(int(by_number[1]) if by_number else -(2**30), set()).add(name)
    reads_image = blocks.pop(-(2**30), set())
    stages = [blocks[number] for number in sorted(blocks)]
    return [stages[0] | reads_image, *stages[1:]] if stages else []


def _rules(source: InitSource, spec: Any, class_names: Sequence[str]) -> Rules:
    made = StyleGAN2Rules if spec.family == "stylegan2" else SameNameRules
    return made(source, spec, class_names)


def _shapes(spec: Any) -> list[tuple[Net, str, Shape]]:
    with torch.device("meta"):  # shapes alone: nothing is initialised
        nets: tuple[tuple[Net, nn.Module], ...] = (("G", build_generator(spec)), ("D", build_discriminator(spec)))
    return [(net, name, tuple(t.shape)) for net, module in nets for name, t in module.state_dict().items()]


def _entry(rules: Rules, net: Net, name: str, shape: Shape) -> Entry:
    """The tensor by itself; layers are made whole afterwards."""
    tensors = (rules.source.G if net == "G" else rules.source.D) or {}
    old = tensors.get(rules.home(net, name) or "")
    source_shape = None if old is None else tuple(old.shape)
    value = rules.value(net, name)
    if isinstance(value, Tensor) and value.shape != shape:
        axis = next((i for i, (a, b) in enumerate(zip(value.shape, shape)) if a != b), 0)
        what = "w_dim" if name.endswith(".affine.weight") and axis == 1 else "width"
        value = f"{what} {value.shape[axis]} -> {shape[axis]}"
    if isinstance(value, str):
        return Entry(net, name, source_shape, shape, "left", value, rules.start(net, name, shape))
    whole = old is not None and value.shape == old.shape and torch.equal(value, old)
    return Entry(net, name, source_shape, shape, "taken" if whole else "adapted", "", value)


def _whole_layers(entries: list[Entry]) -> list[Entry]:
    """Leave whatever belongs to a weight that was left: a bias means nothing without its channels."""
    left = {(e.net, e.name): e.why for e in entries if e.kind == "left"}
    result = []
    for e in entries:
        anchors = [f"{e.name.rpartition('.')[0]}.weight", f"{_layer_of(e.name)}.weight"]
        why = next((left[e.net, name] for name in anchors if (e.net, name) in left), None)
        lone = e.kind == "left" or e.name.endswith("noise_const") or why is None
        result.append(e if lone or why is None else Entry(e.net, e.name, e.source_shape, e.shape, "left", why))
    return result


def plan_transfer(source: InitSource, spec: Any, class_names: Sequence[str]) -> TransferPlan:
    """What of `source` the nets of `spec`, for data of these classes, start with; nothing is changed yet.

    Raises ConfigError for a source of another family, and where no layer matches.
    """
    if source.spec.family != spec.family:
        raise ConfigError(
            f"--init: the source is a {source.spec.family} model, this run trains {spec.family}",
            remedy="Choose a source and a preset of the same family.",
        )
    rules = _rules(source, spec, class_names)
    entries = _whole_layers([_entry(rules, net, name, shape) for net, name, shape in _shapes(spec)])
    if not any(e.kind != "left" and not _CHANCE.search(e.name) and e.net == "G" for e in entries):
        raise ConfigError(
            "--init: no layer of the source fits this run's generator",
            remedy="Leave the model section to the source (no --set model...), or train without --init.",
        )
    return TransferPlan(source.hash, source.D is not None, tuple(entries))


@torch.no_grad()
def apply_transfer(plan: TransferPlan, state: TrainState) -> None:
    """Put the plan's values into G, G_ema and D, before step 0. The optimisers stay fresh."""
    nets: dict[Net, tuple[nn.Module, ...]] = {"G": (state.G, state.G_ema), "D": (state.D,)}
    for net, modules in nets.items():
        for module in modules:
            tensors = module.state_dict()
            for entry in plan.entries:
                if entry.net == net and entry.value is not None:
                    tensors[entry.name].copy_(entry.value)


def source_model_overrides(source: InitSource) -> dict[str, Any]:
    """The source's model section: with it, every layer of an equal resolution matches."""
    return {key: getattr(source.spec, key) for key in family_of(source.spec.family).options.model_fields}


def transfer_overrides(plan: TransferPlan) -> dict[str, Any]:
    """The transfer section's defaults: half of D's blocks frozen where they came along; else D learns alone first."""
    freeze = min(plan.blocks // 2, plan.freezable)
    return {"source": plan.source, "freeze_d": freeze, "d_alone": 0.0 if plan.with_D else 0.05}


def check_freeze(plan: TransferPlan, freeze_d: int) -> None:
    """ConfigError where blocks are to be frozen that start as noise."""
    if freeze_d > plan.freezable:
        why = "no discriminator came along" if not plan.with_D else f"{plan.freezable} of D's first blocks came along"
        raise ConfigError(
            f"transfer.freeze_d: found {freeze_d}, but {why}", remedy=f"Give transfer.freeze_d={plan.freezable}."
        )


def settle_transfer(
    source: InitSource, overrides: Mapping[str, Any], build: Callable[[Mapping[str, Any]], RunConfig]
) -> tuple[dict[str, Any], TransferPlan]:
    """(overrides of a new run, plan): the source's model section and the transfer defaults, under the user's own.

    build: from overrides to a configuration. Raises ConfigError as `plan_transfer` and `check_freeze` do.
    """
    chosen = merge({"model": source_model_overrides(source)}, overrides)
    config = build(chosen)
    plan = plan_transfer(source, config.spec, config.data.class_names)
    chosen = merge({"transfer": transfer_overrides(plan)}, chosen)
    chosen = merge(chosen, {"transfer": {"source": plan.source}})
    check_freeze(plan, build(chosen).transfer.freeze_d)
    return chosen, plan


def transfer_lines(source: InitSource, plan: TransferPlan, config: RunConfig) -> list[str]:
    """What is taken, what is left and how training begins, a sentence a line."""
    fields = family_of(source.spec.family).options.model_fields
    same = [f"{key} {value}" for key, value in source_model_overrides(source).items()
            if getattr(config.model, key) == value != fields[key].default]  # fmt: skip
    lines = [*source.words, f"model as the source's: {', '.join([source.spec.family, *same])}"]
    taken, adapted, left = (plan.count(kind) for kind in get_args(Kind))
    lines.append(f"of {len(plan.entries)} tensors {taken} are taken as they are, {adapted} adapted, {left} left")
    for why, layers in plan.left().items():
        more = f" and {len(layers) - SHOWN} more" if len(layers) > SHOWN else ""
        lines.append(f"left ({why}): {', '.join(layers[:SHOWN])}{more}")
    transfer = config.transfer
    begin = [f"learning rates rise over the first {transfer.warmup:.0%}"] if transfer.warmup else []
    begin += (
        [f"{transfer.freeze_d} of D's {plan.blocks} blocks, from the image on, stay as they are"]
        if transfer.freeze_d
        else []
    )
    begin += [f"D learns alone for the first {transfer.d_alone:.0%}"] if transfer.d_alone else []
    return [*lines, "; ".join(begin)] if begin else lines


def frozen_parameters(D: nn.Module, blocks: int) -> frozenset[str]:
    """Names of the parameters in D's first `blocks` blocks from the image on, with what reads the image.

    ConfigError where D has fewer blocks.
    """
    stages = _stages({name for name, _ in D.named_parameters()})
    if blocks > len(stages):
        raise ConfigError(
            f"transfer.freeze_d: found {blocks}, this discriminator has {len(stages)} blocks",
            remedy=f"Give 0 to {len(stages)}.",
        )
    return frozenset(name for stage in stages[:blocks] for name in stage)


def frozen_of(config: RunConfig, D: nn.Module) -> frozenset[str]:
    """What of D this run freezes; ConfigError where it would freeze noise, for there is no source."""
    if config.transfer.freeze_d and config.transfer.source is None:
        raise ConfigError(
            f"transfer.freeze_d: found {config.transfer.freeze_d} in a run from scratch",
            remedy="Name a source (--init), or leave it at 0.",
        )
    return frozen_parameters(D, config.transfer.freeze_d)


def lr_factor(config: RunConfig, net: Net, nimg: int) -> float:
    """Warm-up of a transferred run: from 0 at the net's first image to 1, linearly; a function of `nimg` alone."""
    transfer, total = config.transfer, config.train.total_kimg * 1000
    if transfer.source is None or transfer.warmup == 0:
        return 1.0
    first = transfer.d_alone * total if net == "G" else 0.0
    return min(max((nimg - first) / (transfer.warmup * total), 0.0), 1.0)


def g_rests(config: RunConfig, nimg: int) -> bool:
    """Whether D learns alone at `nimg`, because it did not come along."""
    transfer = config.transfer
    return transfer.source is not None and nimg < transfer.d_alone * config.train.total_kimg * 1000
