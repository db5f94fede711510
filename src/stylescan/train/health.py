"""Watches over a run: what has gone wrong, since which step, and what is to be done about it.

The loop measures, `HealthMonitor` judges and remembers. It sees plain numbers at log lines, weight checks and scores;
its memory (`state`) belongs in the checkpoint, so that a resumed run is judged as the unbroken one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from stylescan.config import Action, HealthConfig
from stylescan.errors import StylescanError

Watch = Literal["nan", "divergence", "collapse", "overfitting", "augment_ceiling"]

# A logistic loss is about |score| on the wrong side; healthy runs stay below 15 even where a line holds one step.
MAX_LOSS = 1e3
# Penalties are squares, and a path length's first ones are large, because its running mean starts at 0.
MAX_PENALTY = 1e5
# Adam moves a weight by about lr a step: at lr .0025 a random walk of 25 Mimg makes a unit weight 2 or 3, never 100.
MAX_GROWTH = 100.0
# The logistic loss fixes D's zero, and healthy signs of reals lie from 0 to 1; one line of a few images may fall below.
WRONG_SIGN = -0.5
SIZE_LINES, SIGN_LINES, CEILING_LINES = 2, 5, 10
LASTING_IMAGES = (
    1000  # ... and five lines of one step each prove nothing, so the fault must also last for so many images
)
# Share of the real images' diversity: fakes of a sound run have .5 to 1, a collapsed one's differ by noise maps alone.
COLLAPSED, LEARNED, COLLAPSE_SCORES = 0.15, 0.3, 2
# r_v is 0 where D scores unseen reals as training ones, 1 where it takes them for fakes.
OVERFIT, OVERFIT_SCORES = 0.6, 2


@dataclass(frozen=True)
class Probed:
    """Diversity of the fakes relative to reals, and D's r_v; None where it cannot be said."""

    diversity: float | None
    overfitting: float | None


@dataclass(frozen=True)
class Finding:
    """Something went wrong: by which watch, at which step, in words, what helps, and the configured action.

    sound_step: the last step at which this watch looked and saw nothing; later checkpoints are not to be trusted.
    """

    watch: Watch
    step: int
    message: str
    remedy: str
    action: Action
    sound_step: int = 0


def decide(
    findings: Iterable[Finding], rolled_back: int, config: HealthConfig
) -> Literal["go on", "roll_back", "stop"]:
    """The gravest action among the findings; a roll back beyond `config.roll_backs` becomes a stop."""
    actions = {finding.action for finding in findings}
    if "stop" in actions or ("roll_back" in actions and rolled_back >= config.roll_backs):
        return "stop"
    return "roll_back" if "roll_back" in actions else "go on"


def stop_error(findings: Sequence[Finding], rolled_back: int) -> StylescanError:
    """What the run ends with: the gravest finding, its step and remedy."""
    grave = [finding for finding in findings if finding.action in ("stop", "roll_back")]
    times = f", after {rolled_back} roll back{'s' * (rolled_back > 1)}" if rolled_back else ""
    return StylescanError(
        f"training stopped at step {grave[0].step}{times}: {grave[0].message}",
        remedy=f"{grave[0].remedy} The checkpoints and the snapshot made before are unharmed.",
    )


class HealthMonitor:
    """Judges what it is told; returns findings that are new, and the same one again only after it had gone away.

    Parameters: config: what to do about each watch ('ignore' switches it off); total_nimg: length of the run;
    p_max: bound of adaptive augmentation, None where it is not adaptive; signs_tell: whether the loss fixes D's zero, so
    that the sign of a score means something.
    """

    def __init__(
        self, config: HealthConfig, total_nimg: int, *, p_max: float | None = None, signs_tell: bool = True
    ) -> None:
        self.config = config
        self.total_nimg = total_nimg
        self.p_max = p_max
        self.signs_tell = signs_tell
        self._memory: dict[str, float] = {}

    def state(self) -> dict[str, float]:
        """All that the monitor remembers, for the checkpoint."""
        return dict(self._memory)

    def load_state(self, state: Mapping[str, float]) -> None:
        """Put back what `state` gave."""
        self._memory = dict(state)

    @property
    def good(self) -> bool:
        """Whether a checkpoint of this moment is one to roll back to: nothing grave stands or is half way to it."""
        return not any(key.startswith(("near/nan", "near/divergence", "near/collapse")) for key in self._memory)

    def on_log(
        self, step: int, nimg: int, means: Mapping[str, float], *, first_bad: int | None = None
    ) -> list[Finding]:
        """Judge a log line's means, by the names of terms and scores, `augment_p` among them.

        first_bad: the first step with a loss that is not finite, where `FirstBadStep` knows it.
        """
        last, self._memory["last_line"] = int(self._memory.get("last_line", 0)), float(step)
        bad = [name for name, value in means.items() if not math.isfinite(value)]
        when = f"first at step {first_bad}" if first_bad is not None else f"first between steps {last + 1} and {step}"
        text = f"not finite: {', '.join(f'{name} is {means[name]}' for name in bad)}, {when}"
        found = self._judge("nan", "loss", bool(bad), step if first_bad is None else first_bad, nimg, text)
        if bad:
            return found
        large = [n for n, v in means.items() if abs(v) > (MAX_PENALTY if n.endswith("_penalty") else MAX_LOSS)]
        text = f"{', '.join(f'{name} {means[name]:.4g}' for name in large)} in {SIZE_LINES} log lines running"
        found += self._judge("divergence", "size", bool(large), step, nimg, text, times=SIZE_LINES)
        sign = means.get("sign_real", 0.0)
        found += self._judge(
            "divergence", "sign", self.signs_tell and sign < WRONG_SIGN, step, nimg,
            f"D takes training images for fakes (mean sign of their scores {sign:.2f}) "
            f"since step {int(self._memory.get('since/divergence/sign', step))}",
            times=SIGN_LINES, images=LASTING_IMAGES,
        )  # fmt: skip
        p = means.get("augment_p", 0.0)
        at_ceiling = self.p_max is not None and p >= self.p_max - 1e-3
        text = f"augmentation has stood at its bound, p = {p:.3f}, for {CEILING_LINES} log lines and more"
        return found + self._judge(
            "augment_ceiling", "", at_ceiling, step, nimg, text, times=CEILING_LINES, images=LASTING_IMAGES
        )

    def on_weights(self, step: int, nimg: int, facts: Mapping[str, Mapping[str, float]]) -> list[Finding]:
        """Judge the nets' weights, {net: weight_facts(net)}; a tensor seen first is taken as its start."""
        rms = {f"{net}.{name}": value for net, tensors in facts.items() for name, value in tensors.items()}
        bad = [name for name, value in rms.items() if not math.isfinite(value)]
        text = (
            f"weights are not finite: {bad[0]}" + (f" and {len(bad) - 1} more" if len(bad) > 1 else "") if bad else ""
        )
        found = self._judge("nan", "weights", bool(bad), step, nimg, text)
        if bad:
            return found
        # biases start at 0, hence the floor
        growth = {n: v / max(self._memory.setdefault(f"start/{n}", v), 1.0) for n, v in rms.items()}
        worst = max(growth, key=growth.__getitem__, default="")
        text = f"{worst} has root mean square {rms.get(worst, 0):.4g}, {growth.get(worst, 0):.0f} times its start"
        return found + self._judge("divergence", "weights", growth.get(worst, 0) > MAX_GROWTH, step, nimg, text)

    def on_score(self, step: int, nimg: int, probed: Probed, *, kid: float | None = None) -> list[Finding]:
        """Judge the fakes' diversity and D's scores of seen and unseen reals; `kid` only makes the words exact."""
        found: list[Finding] = []
        if probed.diversity is not None:
            # an untrained generator's images differ too, by twice as much as scans: early ones prove nothing
            if probed.diversity >= LEARNED and nimg >= self.total_nimg / 20:
                self._memory["learned"] = 1.0
            wrong = probed.diversity < COLLAPSED and ("learned" in self._memory or nimg >= self.total_nimg / 4)
            text = (
                f"fakes have {probed.diversity:.0%} of the real images' diversity at {COLLAPSE_SCORES} scores running"
            )
            found += self._judge("collapse", "", wrong, step, nimg, text, times=COLLAPSE_SCORES)
        if kid is not None and math.isfinite(kid):
            better = kid < self._memory.get("best_kid", math.inf)
            self._memory["stale_scores"] = 0.0 if better else self._memory.get("stale_scores", 0.0) + 1
            self._memory["best_kid"] = min(kid, self._memory.get("best_kid", math.inf))
        if probed.overfitting is not None:
            stale = int(self._memory.get("stale_scores", 0.0))
            trend = f"KID has not improved for {stale} scores" if stale else "KID still improves"
            text = f"D tells training images from unseen ones (r_v {probed.overfitting:.2f} of 1; {trend})"
            wrong = probed.overfitting > OVERFIT
            found += self._judge("overfitting", "", wrong, step, nimg, text, times=OVERFIT_SCORES)
        return found

    def _judge(
        self, watch: Watch, kind: str, wrong: bool, step: int, nimg: int, text: str, *, times: int = 1, images: int = 0
    ) -> list[Finding]:
        """Count how often and for how many images a fault was seen; a finding at the moment both are enough."""
        action: Action = getattr(self.config, watch)
        if action == "ignore":
            return []
        memory, key = self._memory, f"{watch}/{kind}"
        if not wrong:
            for part in ("count", "near", "from", "since", "told"):
                memory.pop(f"{part}/{key}", None)
            memory[f"sound/{key}"] = float(step)
            return []
        memory[f"count/{key}"] = memory.get(f"count/{key}", 0.0) + 1
        memory.setdefault(f"since/{key}", float(step))
        began = memory.setdefault(f"from/{key}", float(nimg))
        if memory[f"count/{key}"] * 2 >= times and (nimg - began) * 2 >= images:
            memory[f"near/{key}"] = 1.0
        if memory[f"count/{key}"] < times or nimg - began < images or f"told/{key}" in memory:
            return []
        memory[f"told/{key}"] = 1.0
        return [Finding(watch, step, text, REMEDIES[watch], action, int(memory.get(f"sound/{key}", 0.0)))]


_STEADIER = (
    "Start a new run with half the train.lr, or a gradient penalty four times as strong (objective.r1_gamma, r2_gamma or "
    "gp_weight)."
)
REMEDIES: dict[Watch, str] = {
    "nan": _STEADIER,
    "divergence": _STEADIER,
    "collapse": "Start a new run with a larger train.batch, a stronger gradient penalty (objective.r1_gamma, gp_weight), or "
    "from another model (--init).",
    "overfitting": "More subjects help most; else augment.mode=ada, a start from another model (--init), or fewer kimg. "
    "RUN/snapshot is the best on select, so nothing is lost.",
    "augment_ceiling": "The set is small for these nets: add subjects, start from another model (--init), or take "
    "narrower nets (model.channel_max).",
}
