"""Scoring a reader study: answers in, `score.json` and `score.html` out."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.readers.page import png_data_uri
from stylescan.evaluate.readers.records import KEY_FOLDER, LEVEL_NAMES, Answers, Key, load_answers, load_key
from stylescan.evaluate.readers.score import score_answers
from stylescan.evaluate.readers.words import interval, percent, sentences
from stylescan.files import storage_error, write_bytes_atomic, write_json_atomic
from stylescan.pages import render


@dataclass(frozen=True)
class StudyResult:
    """The score's JSON values, what they say in sentences, and the two files that hold them."""

    score: dict[str, Any]
    html: Path
    json: Path

    @property
    def interpretation(self) -> list[str]:
        """The verdict first."""
        return list(self.score["interpretation"])


def score_study(pack: str | Path, answers: Sequence[str | Path], out_dir: str | Path | None = None) -> StudyResult:
    """Score answers to the pack in folder `pack`, and write score.json and score.html.

    Parameters
    ----------
    pack : the folder that `make_pack` wrote, with its key.
    answers : one file a reader, as the page saved it; at least one.
    out_dir : folder of the score; `pack`/key/score by default, for it holds the truth.

    Raises DataError where a file is not a reader's whole answers to this pack, or a reader answers twice.
    """
    folder = Path(pack)
    key = load_key(folder)
    if not answers:
        raise ConfigError(
            "no answers are given", remedy=f"stylescan reader-study score {folder} ANSWERS..., one file a reader."
        )
    given = _load_all([Path(file) for file in answers], key)
    score = score_answers(key, given)
    score["interpretation"] = sentences(score)
    out = folder / KEY_FOLDER / "score" if out_dir is None else Path(out_dir)
    html, json_path = out / "score.html", out / "score.json"
    page = _render(score, key, folder)
    try:
        write_bytes_atomic(html, page.encode())
        write_json_atomic(json_path, score)
    except OSError as problem:
        raise storage_error(f"{out}: the score", problem, then="repeat the command.") from None
    return StudyResult(score, html, json_path)


def _load_all(files: list[Path], key: Key) -> list[Answers]:
    first: dict[int, Path] = {}
    loaded = []
    for file in files:
        answers = load_answers(file, key)
        if answers.reader in first:
            raise DataError(
                f"{file}: answers of reader {answers.reader}, as {first[answers.reader]} is",
                remedy="Give one file a reader. Readers who shared a page cannot be told apart: make more with --readers.",
            )
        first[answers.reader] = file
        loaded.append(answers)
    return loaded


def _pictures(score: dict[str, Any], key: Key, pack: Path) -> dict[str, str]:
    """Data URIs of the images that the page shows, by id; those that are gone or changed are left out."""
    expected = {image.id: image.sha256 for image in key.images}
    out = {}
    for entry in [entry for group in score["fooling"].values() for entry in group]:
        file = pack / KEY_FOLDER / "images" / f"{entry['id']}.png"
        content = file.read_bytes() if file.is_file() else b""
        if hashlib.sha256(content).hexdigest() == expected[entry["id"]]:
            out[entry["id"]] = png_data_uri(content)
    return out


def _render(score: dict[str, Any], key: Key, pack: Path) -> str:
    return render(
        "stylescan.evaluate",
        "reader_score.html.j2",
        {"percent": percent, "interval": interval},
        score=score,
        pictures=_pictures(score, key, pack),
        level_names=LEVEL_NAMES,
    )
