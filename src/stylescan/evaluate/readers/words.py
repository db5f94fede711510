"""What a reader study says, in sentences that need no training in statistics. Pure functions of the score's values."""

from __future__ import annotations

from typing import Any

LIMITS = (
    "This says nothing about privacy: copies of training images would look real too. It says nothing about usefulness "
    "either: images may look real and hold no disease."
)
ONE_BY_ONE = (
    "The exact interval of a reader takes images as independent, which slices of one subject are not quite; the "
    "interval over readers and images resamples whole subjects, generated images and readers."
)


def percent(share: float | None) -> str:
    """A share as whole percent; an en dash for nothing."""
    return "–" if share is None else f"{100 * share:.0f} %"


def interval(low_high: dict[str, float] | None) -> str:
    """For instance '42 % to 62 %'; an en dash for nothing."""
    return "–" if low_high is None else f"{percent(low_high['low'])} to {percent(low_high['high'])}"


def _judged(value: float, low_high: dict[str, float] | None, who: str, be: str) -> str:
    """What an accuracy and its interval say against guessing."""
    if low_high is None:
        return f"whether {who} {be} better than guessing cannot be told"
    if low_high["low"] > 0.5:
        return f"{who} told generated from real images better than chance"
    if low_high["high"] < 0.5:
        return (
            f"{who} saw a difference but named it the wrong way round: wrong more often than chance allows, so the kinds "
            "do look different"
        )
    return f"{who} told generated from real images no better than chance"


def _first_upper(text: str) -> str:
    return text[:1].upper() + text[1:]


def reader_sentence(reader: dict[str, Any]) -> str:
    """One reader's accuracy with its interval, what it means, and what could have been missed."""
    accuracy = reader["accuracy"]
    who = f"reader {reader['reader']}"
    text = (
        f"{_first_upper(_judged(accuracy['value'], accuracy['interval'], who, 'is'))}: {accuracy['right']} of "
        f"{accuracy['n']} answers right ({percent(accuracy['value'])}, 95 % interval {interval(accuracy['interval'])})."
    )
    if accuracy["interval"]["low"] <= 0.5 <= accuracy["interval"]["high"]:
        least = reader["detectable_accuracy"]
        text += (
            f" With {accuracy['n']} answers, a reader who is right {percent(least)} of the time would have been noticed "
            "in 8 studies of 10; a smaller skill is easily missed."
            if least is not None
            else f" {accuracy['n']} answers are too few to show any skill."
        )
    if reader["missing"]:
        text += f" {reader['missing']} image{'s were' if reader['missing'] > 1 else ' was'} left out."
    return text


def pooled_sentence(score: dict[str, Any]) -> str:
    """All readers together."""
    pooled = score["pooled"]
    low_high = pooled["accuracy_interval"]
    judged = _first_upper(_judged(pooled["accuracy"], low_high, "the readers together", "are"))
    text = (
        f"{judged}: {percent(pooled['accuracy'])} of {pooled['answers']} answers right "
        f"(95 % interval over readers and images {interval(low_high)})."
    )
    if pooled["readers"] < 5:
        count = f"{pooled['readers']} reader{'s' if pooled['readers'] > 1 else ''}"
        text += f" From {count} little can be said about other readers."
    return text


def agreement_sentence(agreement: dict[str, Any]) -> str:
    """Fleiss' kappa, or why there is none."""
    if agreement["kappa"] is None:
        return f"No agreement is given: {agreement['missing']}."
    text = f"Agreement between readers (Fleiss' kappa; 0 = as by chance, 1 = always): {agreement['kappa']:.2f}"
    low_high = agreement["interval"]
    if low_high is not None:
        text += f", 95 % interval {low_high['low']:.2f} to {low_high['high']:.2f}"
    return f"{text}, on {agreement['images']} images."


def sentences(score: dict[str, Any]) -> list[str]:
    """The verdict first, then each reader, agreement, and what none of it says."""
    each = [reader_sentence(reader) for reader in score["readers"]]
    first = [pooled_sentence(score)] if len(each) > 1 else []
    agreement = [agreement_sentence(score["agreement"])] if len(each) > 1 else []
    return [*first, *each, *agreement, LIMITS, *([ONE_BY_ONE] if first else [])]
