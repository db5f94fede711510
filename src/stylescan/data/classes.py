"""Which classes a preparation keeps: all, some (one of them: a set without classes), or all images without their classes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import replace

from stylescan.data.options import PrepareOptions
from stylescan.data.sources import SHOWN, Source, natural_key, some
from stylescan.errors import ConfigError


def choose_classes(sources: Sequence[Source], options: PrepareOptions) -> tuple[list[Source], str]:
    """The scans that `options` ask for by class, in order, and words for the audit ('' where nothing was asked).

    Raises ConfigError for a class that no scan has, and for `only_classes` of scans without classes.
    """
    if options.ignore_classes:
        names = _class_names(sources)
        words = f"; classes left aside ({some(names)})" if names else "; no classes were found to leave aside"
        return [replace(source, label=None) for source in sources], words
    if not options.only_classes:
        return list(sources), ""
    _check_known(options.only_classes, _class_names(sources))
    kept = [source for source in sources if source.label in options.only_classes]
    return kept, f"; {len(kept)} of {len(sources)} scans kept, those of class {some(list(options.only_classes))}"


def _class_names(sources: Sequence[Source]) -> list[str]:
    return sorted({source.label for source in sources if source.label is not None}, key=natural_key)


def _check_known(asked: Sequence[str], known: Sequence[str]) -> None:
    if not known:
        raise ConfigError(
            f"only class {asked[0]!r}: none of the scans has a class, so no image would be left",
            remedy="use --layout classes, a pattern with (?P<label>...), or a CSV list with the column `label`",
        )
    for name in asked:
        if name not in known:
            raise ConfigError(f"only class {name!r}: no scan has it; the classes are {_listed(known)}",
                              remedy=_did_you_mean(name, known))  # fmt: skip


def _listed(known: Sequence[str]) -> str:
    more = f", and {len(known) - SHOWN} more" if len(known) > SHOWN else ""
    return ", ".join(map(repr, known[:SHOWN])) + more


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    # Case is the commonest slip, and it leaves short names such as AD and ad without a letter in common.
    folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), list(folded), n=1)
    return f"did you mean {folded[close[0]]!r}?" if close else "name one of these, as it is spelt there"
