"""What a projection says, in sentences that need no training in statistics. Pure functions of the part's values."""

from __future__ import annotations

from typing import Any

LEVEL = 0.05
_NEAR = 0.5  # the own images' share of the held-out error, above which the search itself is in doubt


def sentences(values: dict[str, Any]) -> list[str]:
    """Three or four sentences for the values of the part `projection`."""
    own, held = values["groups"]["own"], values["groups"]["held_out"]
    found = [_distances(own["w"], held["w"], values["other_subject"])]
    if own["w"]["perceptual"] > _NEAR * held["w"]["perceptual"]:
        found.append(
            "The search does not even find the model's own images again, so the errors of real images say little of "
            "what the model can make."
        )
    found.append(_memory(values["training_against_held_out"]["w"]))
    if "w+" in held:
        found.append(
            f"In W+, with a style of its own for every layer, the held-out images' error falls to "
            f"{_percent(held['w+']['rmse'])}. W+ can draw images that the model would never make: a small error there "
            "is no sign of quality."
        )
    elif values["no_w_plus"]:
        found.append(f"There is no W+: {values['no_w_plus']}.")
    return found


def _distances(own: dict[str, Any], held: dict[str, Any], other: dict[str, float] | None) -> str:
    text = (
        f"In W, the styles that the model uses itself, its own images are found again to an error of "
        f"{_percent(own['rmse'])} of the intensity range, and {held['n']} held-out real images are met to "
        f"{_percent(held['rmse'])} (medians)"
    )
    if other is not None:
        text += f"; two images of different subjects differ by {_percent(other['rmse'])}"
    return f"{text}."


def _memory(result: dict[str, Any]) -> str:
    """Whether training images are met better than held-out ones. Silence at this n is not absence."""
    trained, held = result["n"]
    if trained < 4 or held < 4:
        return "There are too few subjects to compare training images with held-out ones."
    times, p = f"{result['ratio']:.2f}", f"p = {result['p']:.2g}"
    if result["p"] <= LEVEL:
        return (
            f"Training images are met better than held-out ones: held-out images are {times} times as far by feature "
            f"maps ({p}, {trained} against {held} subjects). A model that has memorised its training images does that; "
            "see the audit of copies."
        )
    return (
        f"Held-out images are {times} times as far by feature maps as training images are, which chance alone can do "
        f"({p}, {trained} against {held} subjects): no sign of memorisation here, but a small one would not show at "
        "this number."
    )


def _percent(share: float) -> str:
    return f"{share * 100:.1f} %"
