"""Answers are checked as a stranger's file, and scored as known readers must be."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cyclopts import CycloptsError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stylescan.cli.reader_study import reader_study
from stylescan.errors import ConfigError, DataError, StylescanError
from stylescan.evaluate.readers.pack import ReaderPack
from stylescan.evaluate.readers.records import Answer, Answers, Key, KeyImage, load_answers, load_key
from stylescan.evaluate.readers.score import score_answers
from stylescan.evaluate.readers.scoring import score_study
from stylescan.evaluate.readers.words import LIMITS, sentences

Writer = Callable[..., Path]


def made_key(images: int = 100, per_subject: int = 1, seed: int = 0, readers: int = 20) -> Key:
    half = images // 2
    entries = [
        KeyImage(
            id=f"{i:08x}",
            sha256="0" * 64,
            origin="real" if i < half else "generated",
            class_name=None,
            subject=f"s{i // per_subject}" if i < half else None,
            position=i,
        )
        for i in range(images)
    ]
    return Key(
        pack="0" * 16,
        seed=seed,
        readers=readers,
        target={},
        content_hash="",
        preparation_hash="",
        notes=[],
        images=entries,
    )


def said(reader: int, levels: list[int | None]) -> Answers:
    return Answers(
        schema_version=1,
        kind="stylescan reader answers",
        pack="0" * 16,
        reader=reader,
        answers=[Answer(id=f"{i:08x}", level=level) for i, level in enumerate(levels) if level is not None],
    )


def test_a_reader_who_knows(pack: ReaderPack, answer_file: Writer, oracle: Callable[[Any], int]) -> None:
    result = score_study(pack.folder, [answer_file(1, oracle), answer_file(2, oracle)])
    [first, second] = result.score["readers"]
    low = pytest.approx(0.025 ** (1 / 40))
    assert first["accuracy"] == {"right": 40, "n": 40, "value": 1.0, "interval": {"low": low, "high": 1.0}}
    assert first["auc"] == second["auc"] == 1.0
    assert first["seconds_mean"] == 2.0
    assert first["levels"] == {"generated": [20, 0, 0, 0, 0, 0], "real": [0, 0, 0, 0, 0, 20]}
    assert result.score["agreement"]["kappa"] == pytest.approx(1.0)
    assert result.score["pooled"]["accuracy_interval"] == {"low": 1.0, "high": 1.0}
    assert "better than chance" in result.interpretation[0]
    assert LIMITS in result.interpretation
    assert json.loads(result.json.read_text()) == result.score


def test_sides_are_not_mixed_up() -> None:
    """Finds 40 of 50 generated images, calls 15 of 50 real ones synthetic."""
    levels: list[int | None] = [2] * 15 + [5] * 35 + [1] * 40 + [4] * 10
    [reader] = score_answers(made_key(), [said(1, levels)])["readers"]
    assert reader["sensitivity"]["value"] == pytest.approx(0.8)
    assert reader["specificity"]["value"] == pytest.approx(0.7)
    assert reader["accuracy"]["right"] == 75
    assert reader["dprime"] > 0
    # Pairs: a generated 1 beats every real; a 4 beats the 35 real at 5 and loses to the 15 at 2.
    assert reader["auc"] == pytest.approx((40 * 50 + 10 * 35) / 2500)


def test_the_wrong_way_round_is_said() -> None:
    levels: list[int | None] = [1] * 50 + [6] * 50
    score = score_answers(made_key(), [said(1, levels)])
    assert "wrong way round" in sentences(score)[0]
    assert score["readers"][0]["auc"] == 0.0


def test_always_real_is_chance_with_a_leaning() -> None:
    score = score_answers(made_key(), [said(1, [6] * 100), said(2, [6] * 100)])
    assert score["readers"][0]["criterion"] > 1
    assert score["readers"][0]["dprime"] == pytest.approx(0.0)
    assert score["agreement"]["kappa"] is None
    text = " ".join(sentences(score))
    assert "no better than chance" in text
    assert "would have been noticed" in text
    assert "same answer to all" in text


def test_images_left_out_are_counted() -> None:
    levels: list[int | None] = [None] * 10 + [6] * 40 + [1] * 50
    score = score_answers(made_key(), [said(1, levels), said(2, [6] * 50 + [1] * 50)])
    assert score["readers"][0]["missing"] == 10
    assert score["readers"][0]["accuracy"]["n"] == 90
    assert score["agreement"]["images"] == 90
    assert score["pooled"]["answers"] == 190
    assert "10 images were left out" in " ".join(sentences(score))


def test_one_answer_alone_gives_no_fault() -> None:
    score = score_answers(made_key(), [said(1, [6] + [None] * 99)])
    assert score["readers"][0]["auc"] is None
    assert score["readers"][0]["sensitivity"]["value"] is None
    assert score["pooled"]["accuracy_interval"] is None
    assert "too few to show any skill" in " ".join(sentences(score))


def test_the_order_of_files_is_nothing() -> None:
    rng = np.random.default_rng(0)
    one, two = (said(r, rng.integers(1, 7, 100).tolist()) for r in (1, 2))
    assert score_answers(made_key(), [one, two]) == score_answers(made_key(), [two, one])


def test_subjects_widen_the_interval() -> None:
    """A reader who is right about whole subjects: the ten slices of one are one opinion, not ten."""
    rng = np.random.default_rng(1)
    levels: list[int | None] = [*np.repeat(rng.choice([1, 6], 10), 10).tolist(), *rng.choice([1, 6], 100).tolist()]
    widths = []
    for per_subject in (1, 10):
        found = score_answers(made_key(200, per_subject), [said(1, levels)])["pooled"]["accuracy_interval"]
        widths.append(found["high"] - found["low"])
    assert widths[1] > 1.3 * widths[0]


@pytest.mark.slow
def test_pooled_interval_seldom_errs_on_guessers() -> None:
    """200 studies, five guessing readers each: the 95 % interval misses 1/2 in at most 20."""
    rng = np.random.default_rng(5)
    missed = 0
    for study in range(200):
        answers = [said(r, rng.integers(1, 7, 100).tolist()) for r in range(1, 6)]
        found = score_answers(made_key(seed=study), answers)["pooled"]["accuracy_interval"]
        missed += not found["low"] <= 0.5 <= found["high"]
    assert missed <= 20


def test_images_that_fooled(pack: ReaderPack, key: Key, answer_file: Writer, oracle: Callable[[Any], int]) -> None:
    fakes = [image.id for image in key.images if image.origin == "generated"]
    worst, bad = fakes[3], fakes[7]

    def fooled(image: Any) -> int:
        return 6 if image.id == worst else 4 if image.id == bad else oracle(image)

    result = score_study(pack.folder, [answer_file(r, fooled) for r in (1, 2)])
    groups = result.score["fooling"]
    assert [entry["id"] for entry in groups["generated_taken_for_real"]] == [worst, bad]
    assert groups["real_taken_for_generated"] == []
    assert len(groups["generated_found"]) == 6
    assert not {worst, bad} & {entry["id"] for entry in groups["generated_found"]}
    page = result.html.read_text("utf-8")
    assert page.count("<img") == 2 + 6 + 6
    assert not re.search(r"https?://|<script", page)
    assert result.html.parent == pack.folder / "key" / "score"


def test_a_changed_picture_is_not_shown(
    pack: ReaderPack, key: Key, answer_file: Writer, oracle: Callable[[Any], int]
) -> None:
    for image in key.images:
        (pack.folder / "key" / "images" / f"{image.id}.png").write_bytes(b"other")
    page = score_study(pack.folder, [answer_file(1, oracle)]).html.read_text("utf-8")
    assert "<img" not in page
    assert "missing or was changed" in page


BAD: list[tuple[str, dict[str, Any], str]] = [
    ("another pack", {"pack": "f" * 16}, "answers to pack ffffffffffffffff"),
    ("unknown field", {"name": "Dr. X"}, "name: Extra inputs"),
    ("no answers", {"answers": []}, "holds no answers"),
    ("reader beyond", {"reader": 4}, "reader 4, the pack has 3"),
    ("reader zero", {"reader": 0}, "reader: "),
    ("reader as text", {"reader": "1"}, "reader: "),
    ("other kind", {"kind": "something"}, "kind: "),
    ("later schema", {"schema_version": 2}, "schema_version: "),
    ("strange id", {"answers": [{"id": "../../etc", "level": 1}]}, "answers.0.id"),
    ("unknown image", {"answers": [{"id": "ffffffff", "level": 1}]}, "image ffffffff is not of this pack"),
    ("answers as object", {"answers": {}}, "answers: "),
]


@pytest.mark.parametrize(("changes", "words"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_wrong_answers(
    changes: dict[str, Any], words: str, bare_key: Key, bare_file: Writer, oracle: Callable[[Any], int]
) -> None:
    with pytest.raises(DataError, match=re.escape(words)) as problem:
        load_answers(bare_file(1, oracle, **changes), bare_key)
    assert problem.value.remedy


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"level": 7}, "answers.0.level"),
        ({"level": 0}, "answers.0.level"),
        ({"level": 2.5}, "answers.0.level"),
        ({"level": True}, "answers.0.level"),
        ({"level": 1, "seconds": -1}, "answers.0.seconds"),
        ({"level": 1, "seconds": 1e9}, "answers.0.seconds"),
        ({"level": 1, "truth": "real"}, "answers.0.truth"),
    ],
)
def test_wrong_entries(entry: dict[str, Any], words: str, bare_key: Key, bare_file: Writer) -> None:
    wrong = bare_file(1, lambda _: None, answers=[{"id": bare_key.images[0].id} | entry])
    with pytest.raises(DataError, match=re.escape(words)):
        load_answers(wrong, bare_key)


def test_an_image_answered_twice(bare_key: Key, bare_file: Writer) -> None:
    name = bare_key.images[0].id
    twice = bare_file(1, lambda _: None, answers=[{"id": name, "level": 1}, {"id": name, "level": 6}])
    with pytest.raises(DataError, match="answered 2 times"):
        load_answers(twice, bare_key)


def test_a_reader_twice_and_no_reader(pack: ReaderPack, answer_file: Writer, oracle: Callable[[Any], int]) -> None:
    file = answer_file(1, oracle)
    with pytest.raises(DataError, match="answers of reader 1, as"):
        score_study(pack.folder, [file, file])
    with pytest.raises(ConfigError, match="no answers are given"):
        score_study(pack.folder, [])
    assert not (pack.folder / "key" / "score").exists()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"pack": NaN}', b"\xff\xfe", b"[" * 100_000, b" " * (5 << 20)]
)
def test_files_that_are_no_answers(content: bytes, bare_key: Key, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json"):
        load_answers(tmp_path / "a.json", bare_key)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("schema_version", "kind", "pack", "reader", "answers", "x"), JSON)
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_any_change_is_read_or_refused(
    bare_key: Key, bare_file: Writer, oracle: Callable[[Any], int], changes: dict[str, Any]
) -> None:
    try:
        assert len(load_answers(bare_file(1, oracle, **changes), bare_key).answers) == 40
    except DataError as problem:
        assert problem.remedy


def test_wrong_packs(pack: ReaderPack, tmp_path: Path) -> None:
    for path, words in ((tmp_path / "none", "no such folder"), (tmp_path, "no reader pack"), (pack.pages[0], "a file")):
        with pytest.raises(DataError, match=words):
            load_key(path)
    values = json.loads(pack.key.read_text())
    values["images"][1]["id"] = values["images"][0]["id"]
    pack.key.write_text(json.dumps(values))
    with pytest.raises(DataError, match="occurs twice"):
        load_key(pack.folder)


def command(*words: object) -> None:
    reader_study([str(word) for word in words], result_action="return_value", exit_on_error=False, print_error=False)


def test_the_command_makes_and_scores(
    folder: Path, shapes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "study"
    command(folder, "--data", shapes.path, "--out", out, "--count", 20, "--readers", 1)
    assert "1 page of 20 images" in capsys.readouterr().out
    key = load_key(out)
    answers = tmp_path / "a.json"
    answers.write_text(
        json.dumps(
            {
                "schema_version": 1, "kind": "stylescan reader answers", "pack": key.pack, "reader": 1,
                "answers": [{"id": image.id, "level": 6} for image in key.images],
            }
        )
    )  # fmt: skip
    command("score", out, answers, "--out", tmp_path / "result")
    assert "10 of 20 answers right (50 %" in capsys.readouterr().out
    assert (tmp_path / "result" / "score.json").is_file()
    with pytest.raises(StylescanError, match="--data: missing"):
        command(folder, "--out", tmp_path / "x")
    with pytest.raises(CycloptsError):
        command("score", out, answers, "--nonsense")
