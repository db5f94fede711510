"""What each tensor of a network becomes when it starts from another model: the rules of a family.

Layers are matched by meaning: those at the same resolution belong together, whatever their number in the list. Weights
are stored at unit scale and multiplied by 1 / sqrt(inputs) in the forward pass (equalised learning rate), so wherever
the number of inputs changes, the stored weight changes too, and the layer computes what it did.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from stylescan.nets.stylegan2 import StyleGAN2Spec
from stylescan.ops.layers import normalise_second_moment

if TYPE_CHECKING:
    from stylescan.train.objective import Net

Shape = tuple[int, ...]


@dataclass(frozen=True)
class InitSource:
    """A model to start from: averaged generator, D where it came along, specification, SHA-256 of the generator.

    `words`: sentences that say which weights these are.
    """

    G: dict[str, Tensor]
    D: dict[str, Tensor] | None
    spec: Any
    class_names: tuple[str, ...]
    hash: str
    words: tuple[str, ...] = ()


class Rules(Protocol):
    """From a tensor's place in the new nets to a value made of the source's."""

    source: InitSource

    def home(self, net: Net, name: str) -> str | None:
        """The source's name for the same thing."""
        ...

    def value(self, net: Net, name: str) -> Tensor | str:
        """What the tensor starts with, made of the source's, or why nothing is taken. Widths are not looked at."""
        ...

    def start(self, net: Net, name: str, shape: Shape) -> Tensor | None:
        """What a left tensor starts with instead of fresh noise; None: as initialised."""
        ...


def scale_change(old: Any, new: Any, *more: str) -> str | None:
    """Why no weight of the source means the same here: options that change what a stored weight stands for, and `more`."""
    for key in ("equalised_lr", "spectral_norm", *more):
        a, b = getattr(old, key, None), getattr(new, key, None)
        if a != b:
            return f"{key} {a} -> {b}"
    return None


class SameNameRules:
    """The rules of families whose names say a tensor's resolution: a tensor of the same name and shape is the same."""

    def __init__(self, source: InitSource, spec: Any, class_names: Sequence[str]) -> None:
        self.source = source
        self.refusal = scale_change(source.spec, spec)
        self.same_classes = tuple(class_names) == source.class_names

    def home(self, net: Net, name: str) -> str | None:
        """Names are equal."""
        return name

    def value(self, net: Net, name: str) -> Tensor | str:
        """The source's tensor, or why it is left."""
        tensors = self.source.G if net == "G" else self.source.D
        if tensors is None:
            return "no discriminator came along"
        if self.refusal:
            return self.refusal
        if name.endswith("reached.value"):
            return "each run grows by itself"
        if not self.same_classes and (re.search(r"(^|\.)embed\.", name) or name == "mapping.w_avg"):
            return "classes are not the source's"
        return tensors.get(name, "a new layer")

    def start(self, net: Net, name: str, shape: Shape) -> Tensor | None:
        """As initialised."""
        return None


class StyleGAN2Rules:
    """StyleGAN2's rules: from a tensor's place in the new nets to a value made of the source's, or why there is none."""

    def __init__(self, source: InitSource, spec: StyleGAN2Spec, class_names: Sequence[str]) -> None:
        self.source = source
        self.old: StyleGAN2Spec = source.spec
        self.new = spec
        self.k_old, self.k_new = self.old.num_classes, spec.num_classes
        self.same_classes = tuple(class_names) == source.class_names
        self.rows = self._class_rows(class_names)
        self.G_rules: dict[str, Callable[[Tensor], Tensor]] = {
            r"mapping\.embed\.weight": self._class_columns,
            r"mapping\.layers\.0\.weight": self._first_weight,
            r"mapping\.layers\.0\.bias": self._first_bias,
            r"mapping\.w_avg": lambda old: old if self.same_classes else self.rows @ old,
            r"synthesis\.to_images\.\d+\.(weight|bias)": self._to_image,
        }
        self.D_rules: dict[str, Callable[[Tensor], Tensor]] = {
            r"from_image\.weight": self._from_image,
            r"embed\.weight": self._class_columns,
            r"out\.weight": self._score,
        }

    def home(self, net: Net, name: str) -> str | None:
        """The source's name for the same thing. G counts blocks from 4 px up, D from the image down."""
        if net == "D" and (found := re.match(r"blocks\.(\d+)(\..*)", name)):
            number = int(found[1]) + len(self.old.levels) - len(self.new.levels)
            return f"blocks.{number}{found[2]}" if number >= 0 else None
        return name

    def value(self, net: Net, name: str) -> Tensor | str:
        """What the tensor starts with, made of the source's, or why nothing is taken. Widths are not looked at."""
        tensors = self.source.G if net == "G" else self.source.D
        if tensors is None:
            return "no discriminator came along"
        if refusal := self._refusal(name):
            return refusal
        old = tensors.get(self.home(net, name) or "")
        if old is None:
            return "a new resolution"
        rules = self.G_rules if net == "G" else self.D_rules
        rule = next((rule for pattern, rule in rules.items() if re.fullmatch(pattern, name)), None)
        return rule(old) if rule else old

    def _refusal(self, name: str) -> str | None:
        """Why the source's tensor in this place does not mean the same."""
        to_image = re.fullmatch(r"synthesis\.to_images\.(\d+)\.(weight|bias)", name)
        image = to_image or name.startswith("from_image.")
        keys: tuple[str, ...] = ("z_dim", "w_dim", "mapping_layers") if name.startswith("mapping.") else ()
        if name.startswith(("synthesis.layers.", "blocks.")):
            keys = ("convolutions",)  # their numbers mean other layers
        if image:
            keys = ("haar",)
        if changed := scale_change(self.old, self.new, *keys):
            return changed
        tops = {len(self.old.levels) - 1, len(self.new.levels) - 1}
        if self.new.haar and len(tops) == 2 and to_image and int(to_image[1]) in tops:
            return "one gives an image, the other Haar coefficients"
        if self.k_old == 0 and name in ("mapping.embed.weight", "mapping.embed.bias", "embed.weight"):
            return "classes are new"
        if image and self.old.img_channels != self.new.img_channels and 1 not in (
            self.old.img_channels, self.new.img_channels
        ):  # fmt: skip
            return f"image channels {self.old.img_channels} -> {self.new.img_channels}"
        return None

    def start(self, net: Net, name: str, shape: Shape) -> Tensor | None:
        """What a left tensor starts with where fresh noise would spoil what was taken; None: as initialised.

        A new resolution's picture starts at zero, so that G begins as the source's image, enlarged. New classes have
        no say in D's score at first.
        """
        top = len(self.old.levels)
        found = re.fullmatch(r"synthesis\.to_images\.(\d+)\.(weight|bias)", name)
        side = self.old.levels[-1]
        silent = found and int(found[1]) >= top and self.old.width(side) == self.new.width(side)
        no_classes = net == "D" and name == "embed.weight" and self.k_old == 0 and self.source.D is not None
        return torch.zeros(shape) if silent or no_classes else None

    def _class_rows(self, names: Sequence[str]) -> Tensor:
        """[max(K new, 1), max(K old, 1)]: a class known by name is itself, any other the mean of the source's."""
        known = self.source.class_names
        mean = [1 / max(self.k_old, 1)] * max(self.k_old, 1)
        if not names:
            return torch.tensor([mean])
        return torch.tensor([[float(name == other) for other in known] if name in known else mean for name in names])

    def _class_columns(self, old: Tensor) -> Tensor:
        """[out, K]; one input a class, so the scale changes with K."""
        if self.same_classes:
            return old
        return old @ self.rows.t() * math.sqrt(self.k_new / self.k_old)

    def _first_weight(self, old: Tensor) -> Tensor:
        """[w, z] without classes, [w, z + w] with: the class's part starts at zero, or is dropped (see the bias)."""
        z, both = self.old.z_dim, self.old.z_dim + self.old.w_dim
        if self.k_old == 0 and self.k_new:
            return torch.cat([old * math.sqrt(both / z), old.new_zeros(old.shape[0], both - z)], dim=1)
        return old[:, :z] * math.sqrt(z / both) if self.k_old and self.k_new == 0 else old

    def _first_bias(self, old: Tensor) -> Tensor:
        """Where classes are dropped, what they added before the activation, averaged over them, becomes bias."""
        if self.k_new or not self.k_old:
            return old
        G = self.source.G
        embedded = G["mapping.embed.weight"] / math.sqrt(self.k_old) + G["mapping.embed.bias"][:, None]  # [w, K]
        mean = normalise_second_moment(embedded.t()).mean(dim=0)  # [w]
        weight = G["mapping.layers.0.weight"]
        return old + weight[:, self.old.z_dim :] @ mean / math.sqrt(weight.shape[1])

    def _score(self, old: Tensor) -> Tensor:
        """D's last weights [1, width]; dropped classes add the mean of their projections."""
        if self.k_new or not self.k_old or self.source.D is None:
            return old
        return old + self.source.D["embed.weight"].mean(dim=1) / math.sqrt(self.k_old)

    def _to_image(self, old: Tensor) -> Tensor:
        """Rows of [C, width] or [C]: grey is repeated in every channel; colour becomes its mean."""
        if self.old.img_channels == self.new.img_channels:
            return old
        return old.mean(dim=0, keepdim=True).expand(self.new.img_channels, *old.shape[1:])

    def _from_image(self, old: Tensor) -> Tensor:
        """Columns of [width, C]: a grey image, in one channel or in equal ones, gives the same activations."""
        a, b = self.old.img_channels, self.new.img_channels
        if a == b:
            return old
        # sum over channels / sqrt(channels) is what counts
        return (old.sum(dim=1, keepdim=True) / math.sqrt(a * b)).expand(-1, b)
