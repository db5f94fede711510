"""Depth-matched classes: exactly even at each depth, as few images lost as possible, and no shortcut left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stylescan.data.audit.summary import Shortcut, table_shortcut
from stylescan.data.balance import DepthMatch, depth_bins, match_depth
from stylescan.data.geometry import Geometry
from stylescan.data.options import PrepareOptions
from stylescan.data.prepare import prepare
from stylescan.data.prepared import ImageRecord
from stylescan.errors import DataError

SQUARE = Geometry(source_height=4, source_width=4, resampled_height=4, resampled_width=4)


def counts(match: DepthMatch, depths: list[float], labels: list[str], splits: list[str]) -> dict[tuple, int]:
    return Counter((s, d, c) for s, d, c, k in zip(splits, depths, labels, match.keep, strict=True) if k)


images = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from("ab"), st.sampled_from(["train", "holdout"]), st.integers(0, 6)),
    min_size=1, max_size=80,
)  # fmt: skip


@given(images, st.integers(0, 2**31))
def test_classes_are_even_at_each_depth_and_no_image_is_lost_for_nothing(
    drawn: list[tuple[int, str, str, int]], seed: int
) -> None:
    depths = [float(d) for d, *_ in drawn]
    labels, splits, owners = ([row[k] for row in drawn] for k in (1, 2, 3))
    subjects = [f"s{o}" for o in owners]
    before = Counter(zip(splits, depths, labels, strict=True))
    for split in set(splits):
        present = {c for s, _, c in before if s == split}
        common = [d for d in set(depths) if all(before[split, d, c] for c in present)]
        if len(set(labels)) < 2 or not common:
            with pytest.raises(DataError):
                match_depth(depths, labels, splits, subjects, seed=seed)
            return
    match = match_depth(depths, labels, splits, subjects, seed=seed)
    after = counts(match, depths, labels, splits)
    for split in set(splits):
        present = {c for s, _, c in before if s == split}
        for depth in set(depths):
            expected = min(before[split, depth, c] for c in present)
            assert all(after[split, depth, c] == expected for c in present)
    assert np.array_equal(match.keep, match_depth(depths, labels, splits, subjects, seed=seed).keep)


@given(st.integers(2, 60), st.integers(0, 2**31))
def test_subjects_with_most_images_at_a_depth_lose_them_first(kept: int, seed: int) -> None:
    # one depth; class b keeps all; class a has 40 of one subject, 20 of another and 5 single ones
    subjects = ["giant"] * 40 + ["large"] * 20 + [f"small{k}" for k in range(5)] + [f"b{k}" for k in range(kept)]
    labels = ["a"] * 65 + ["b"] * kept
    match = match_depth([1.0] * len(labels), labels, ["train"] * len(labels), subjects, seed=seed)
    left = Counter(s for s, k in zip(subjects, match.keep, strict=True) if k)
    level = [n for s, n in left.items() if s in ("giant", "large")]
    assert sum(left[s] for s in set(subjects[:65])) == kept
    if kept >= 7:
        assert all(left[f"small{k}"] == 1 for k in range(5))
        assert max(level) - min(level) <= 1 or (left["large"] == 20 and left["giant"] > 20)
    else:
        assert max(left[s] for s in set(subjects[:65])) == 1


def test_with_one_image_a_depth_the_loss_is_spread_over_subjects() -> None:
    rng = np.random.default_rng(0)
    subjects = [f"a{k}" for k in range(40) for _ in range(20)] + [f"b{k}" for k in range(20) for _ in range(20)]
    labels = ["a"] * 800 + ["b"] * 400
    depths = np.tile(np.arange(20.0), 60)
    order = rng.permutation(1200)
    match = match_depth(
        depths[order], [labels[k] for k in order], ["train"] * 1200, [subjects[k] for k in order], seed=0
    )
    left = Counter(subjects[k] for k, kept in zip(order, match.keep, strict=True) if kept)
    assert all(left[f"b{k}"] == 20 for k in range(20))
    assert {left[f"a{k}"] for k in range(40)} <= {9, 10, 11}  # 10 each on average; by chance alone it would be 4 to 16


def planted(continuous: bool) -> tuple[np.ndarray, list[str], list[str], list[str]]:
    """As reported of a public set of two classes: 20 slices a scan, class by class from other depths, one depth with
    129 images of one class and 1 of the other."""
    rng = np.random.default_rng(1)
    depths, labels, subjects = [], [], []
    for label, count, middle in (("AD", 150, 92.0), ("NC", 150, 86.0)):
        for k in range(count):
            start = round(rng.normal(middle, 3)) - 10
            depths += [float(start + n) for n in range(20)]
            labels += [label] * 20
            subjects += [f"{label}{k}"] * 20
    depths += [130.0] * 130
    labels += ["AD"] * 129 + ["NC"]
    subjects += [f"{label}{k}" for k, label in enumerate(labels[-130:])]
    noise = rng.uniform(0, 1, len(depths)) if continuous else 0
    holdout = {name for name in sorted(set(subjects)) if int(name[2:]) % 5 == 0}
    splits = ["holdout" if name in holdout else "train" for name in subjects]
    return np.array(depths) + noise, labels, splits, subjects


def shortcut(depths: np.ndarray, labels: list[str], splits: list[str], subjects: list[str]) -> Shortcut:
    """What the audit's depth-only classifier reaches."""
    records = [
        ImageRecord(subject=w, label=int(c == "NC"), split=s, source="x", source_sha256="y", geometry=SQUARE)
        for c, s, w in zip(labels, splits, subjects, strict=True)
    ]
    edges = np.unique(np.quantile(depths, np.linspace(0, 1, 17)[1:-1]))
    found = table_shortcut(np.searchsorted(edges, depths, side="right"), records)
    assert found is not None
    return found


@pytest.mark.parametrize("continuous", [False, True])
def test_after_it_depth_does_not_tell_the_class(continuous: bool) -> None:
    depths, labels, splits, subjects = planted(continuous)
    before = shortcut(depths, labels, splits, subjects)
    assert before.notable
    match = match_depth(depths, labels, splits, subjects, seed=0)
    kept = np.flatnonzero(match.keep)
    after = shortcut(depths[kept], [labels[k] for k in kept], [splits[k] for k in kept], [subjects[k] for k in kept])
    assert after.majority == pytest.approx(0.5)
    assert after.accuracy < 0.55
    assert not after.notable
    assert len(kept) > 0.5 * len(labels)
    assert "AD 129" not in match.sentence
    assert "images left out (AD " in match.sentence


def test_the_sentence_names_classes_and_depths() -> None:
    match = match_depth([1, 1, 1, 2, 2], ["AD", "AD", "NC", "AD", "NC"], ["train"] * 5, list("abcde"), seed=0)
    assert match.sentence == "depth matched between the classes: 1 of 5 images left out (AD 1), most: AD 1 at 1"
    assert match.warnings == ("matching depth left no image of 1 of 5 subjects",)
    even = match_depth([1, 1], ["AD", "NC"], ["train"] * 2, ["a", "b"], seed=0)
    assert even.keep.all()
    assert "none was left out" in even.sentence


def test_many_depths_are_binned_and_few_are_not() -> None:
    few = np.repeat(np.arange(64.0), 2)
    assert len(set(depth_bins(few, np.ones(128, bool))[0])) == 64
    many, words = depth_bins(np.linspace(0, 1, 6500), np.ones(6500, bool))
    assert len(set(many)) == len(words) == 32
    assert np.ptp(np.bincount(many)) <= 1


def test_images_without_a_class_stay_and_a_split_of_one_class_is_left_alone() -> None:
    labels = ["a", "b", None, "a", "a"]
    splits = ["train", "train", "train", "select", "select"]
    match = match_depth([1, 1, None, 3, 4], labels, splits, list("vwxyz"), seed=0)
    assert match.keep.all()
    assert match.warnings == ("depth was not matched in select, which holds the class 'a' alone",)


@pytest.mark.parametrize(
    ("depths", "labels", "splits", "word"),
    [([1, 2], ["a", "a"], ["train"] * 2, "fewer than two classes"),
     ([1, 2], ["a", None], ["train"] * 2, "fewer than two classes"),
     ([1, None], ["a", "b"], ["train"] * 2, "1 of 2 images have no slice number"),
     ([1, float("nan")], ["a", "b"], ["train"] * 2, "no slice number"),
     ([1, 2], ["a", "b"], ["train"] * 2, "a, b have no depth in common in train"),
     ([1, 1, 1, 2], ["a", "b", "a", "b"], ["train"] * 2 + ["holdout"] * 2, "in common in holdout")],
)  # fmt: skip
def test_what_cannot_be_matched_is_refused_with_a_remedy(
    depths: list[float | None], labels: list[str | None], splits: list[str], word: str
) -> None:
    with pytest.raises(DataError, match=word) as caught:
        match_depth(depths, labels, splits, list("abcd")[: len(depths)], seed=0)
    assert "--balance depth" in caught.value.remedy


def test_a_prepared_set_is_balanced_and_says_so(tmp_path: Path, picture: Callable[..., np.ndarray]) -> None:
    for subject in range(24):
        label = ("AD", "NC")[subject % 2]
        first = 96 if label == "AD" else 90  # two depths in common
        (tmp_path / "scans" / label).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + 8):
            image = Image.fromarray(picture(100 * subject + number, 16, 16))
            image.save(tmp_path / "scans" / label / f"{subject:03d}_{number}.png")
    pattern = r"(?P<label>AD|NC)/(?P<subject>\d+)_(?P<slice>\d+)"
    both = {}
    for balance in (None, "depth"):
        options = PrepareOptions(pattern=pattern, balance=balance, workers=1, resolution=16)
        both[balance] = prepare(tmp_path / "scans", tmp_path / f"DATA-{balance}", options)
    before, after = both[None][1], both["depth"][1]
    assert before.depth_shortcut is not None
    assert before.depth_shortcut.notable
    assert after.depth_shortcut is not None
    assert after.depth_shortcut.majority == 0.5
    assert not after.depth_shortcut.notable
    assert any(note.startswith("depth matched between the classes: ") for note in after.findings.notes)
    left = Counter((i.split, i.slice, i.label) for i in both["depth"][0].manifest.images)
    assert all(count == left[split, number, 1 - label] for (split, number, label), count in left.items())
