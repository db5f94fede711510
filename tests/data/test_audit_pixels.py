"""The audit's pixel checks: closed forms, planted faults that must be found, and clean sets that must stay quiet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from audit_sets import assemble, brains, shell
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from stylescan.data.audit import measures
from stylescan.data.audit.annotation import find_writing
from stylescan.data.audit.heads import HEAD_SCORE, skull_score
from stylescan.data.audit.inspection import inspect_pixels, spread_sample
from stylescan.data.audit.measures import Measures, block_means, measure, to_grey8
from stylescan.data.audit.odd import find_odd
from stylescan.data.prepared import PreparedDataset

Bytes = NDArray[np.uint8]


def measured(images: Bytes) -> Measures:
    return Measures(*measures._measure(images))


def test_measures_have_their_closed_forms() -> None:
    side = 128
    ramp = np.broadcast_to(np.arange(side, dtype=np.uint8) * 2, (side, side))
    frame = np.full((side, side), 100, np.uint8)
    frame[8:-8, 8:-8] = 0
    half = np.zeros((side, side), np.uint8)
    half[:, side // 2 :] = 255
    noise = np.random.default_rng(0).integers(0, 256, (side, side)).astype(np.uint8)
    found = measured(np.stack([ramp, frame, half, noise]))
    assert found.mean == pytest.approx([127 / 255, 100 / 255 * 60 / 256, 0.5, 0.5], abs=0.01)
    assert found.border[1] == pytest.approx(100 / 255)
    assert found.border[2] == pytest.approx(0.5)
    assert found.saturated.tolist()[:3] == pytest.approx([1 / 64, 0, 0.5], abs=0.02)
    # A step of 2 in a ramp of variance (2 * 128)^2 / 12; white noise differs by twice its variance.
    assert found.roughness[0] == pytest.approx(4 / (2 * 256**2 / 12), rel=0.02)
    assert found.roughness[3] == pytest.approx(1.0, abs=0.05)
    assert found.histogram.sum(axis=1) == pytest.approx(1.0)
    assert found.histogram[2, [0, 31]] == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("side", [4, 8, 16, 32, 64])
def test_block_means_are_means_of_blocks(side: int) -> None:
    images = np.random.default_rng(side).integers(0, 256, (3, side, side)).astype(np.uint8)
    means = block_means(images, 16)
    assert means.shape == (3, 16, 16)
    size = max(1, side // 16)
    assert means[1, 2, 3] == pytest.approx(images[1, 2 * side // 16 :, 3 * side // 16 :][:size, :size].mean(), abs=1e-4)


def test_measuring_in_blocks_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = assemble(tmp_path, brains(9, 64)[0], [f"s{k}" for k in range(9)])
    whole = measure(dataset)
    monkeypatch.setattr(measures, "_BLOCK_BYTES", 2 * 64 * 64)
    for one, other in zip(vars(whole).values(), vars(measure(dataset)).values()):
        np.testing.assert_array_equal(one, other)


def test_grey8_takes_the_high_byte_and_the_mean_of_colours() -> None:
    assert to_grey8(np.full((1, 1, 2, 2), 0x7F12, np.uint16)).tolist() == [[[0x7F, 0x7F]] * 2]
    assert to_grey8(np.array([10, 20, 60], np.uint8).reshape(1, 3, 1, 1)).tolist() == [[[30]]]


FAULTS: dict[str, tuple[Callable[[Bytes], Bytes], str]] = {
    "inverted": (lambda image: 255 - image, "inverted"),
    "turned": (lambda image: np.rot90(image).copy(), "turned by 270 degrees"),
    "noise": (lambda image: np.random.default_rng(3).integers(0, 256, image.shape).astype(np.uint8), "noise"),
    "writing": (lambda image: page_of_text(len(image)), ""),
    "one line": (
        lambda image: np.where(np.arange(len(image)) == 40, 200, 20 + 0 * image).astype(np.uint8),
        "hardly anything",
    ),
}


def page_of_text(side: int) -> Bytes:
    page = Image.new("L", (side, side), 230)
    for top in range(4, side, 12):
        ImageDraw.Draw(page).text((4, top), "a page about a patient", 20, ImageFont.load_default(10))
    return np.asarray(page)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_odd_image_is_found_with_its_reason(fault: str) -> None:
    images, subjects = brains(60, 64)
    images = np.concatenate([images, FAULTS[fault][0](images[0])[None]])
    odd, count = find_odd(measured(images), [*subjects, "another"])
    assert odd, fault
    assert odd[0].index == 60
    assert count <= 2
    assert FAULTS[fault][1] in odd[0].reason


def test_an_odd_subject_does_not_vouch_for_itself() -> None:
    images, subjects = brains(120, 64)
    disc = np.stack([shell(64, rings=((0.5, 200),), shift=0.5)] * 6)  # six equal images of one person
    odd, count = find_odd(measured(np.concatenate([images, disc])), [*subjects, *["one"] * 6])
    assert {o.index for o in odd} == set(range(120, 126))
    assert count == 6
    two = np.concatenate([images, disc[:2]])  # nor do two people with the same fault
    assert {o.index for o in find_odd(measured(two), [*subjects, "one", "two"])[0]} == {120, 121}


def test_a_clean_set_has_no_odd_images_and_a_tiny_one_none_to_compare() -> None:
    images, subjects = brains(120, 64)
    assert find_odd(measured(images), subjects) == ([], 0)
    odd, _ = find_odd(measured(np.concatenate([images[:3], 255 - images[:1]])), ["a", "b", "c", "d"])
    assert odd == []
    blank = np.zeros((30, 64, 64), np.uint8)
    assert find_odd(measured(blank), [str(k) for k in range(30)]) == ([], 0)


def test_rim_gap_and_inside_make_a_head() -> None:
    head = shell(128, rings=((0.8, 220), (0.72, 20), (0.62, 150)))
    assert skull_score(head) == 1.0
    assert skull_score(shell(128, rings=((0.7, 150),))) == 0.0  # no rim
    assert skull_score(shell(128, rings=((0.8, 220), (0.72, 150)))) == 0.0  # no gap
    assert skull_score(np.zeros((128, 128), np.uint8)) == 0.0
    assert skull_score(shell(128, rings=((2.0, 220), (1.6, 20), (1.2, 150)))) == 0.0  # the outline is not in the image
    half = head.copy()
    half[:, :64] = shell(128, rings=((0.8, 150),))[:, :64]
    assert 0.3 < skull_score(half) < 0.7  # the ring is there on half of the rays


@pytest.mark.parametrize("side", [128, 256, 512])
@pytest.mark.parametrize("text", ["DOE^JANE 1961", "MUELLER, ANNA", "ID 4711-23"])
def test_planted_words_are_found_and_their_place(side: int, text: str) -> None:
    clean = np.asarray(Image.fromarray(brains(1, 64)[0][0]).resize((side, side), Image.Resampling.BICUBIC))
    assert find_writing(clean) == []
    size = max(9, side // 18)
    picture = Image.fromarray(clean)
    ImageDraw.Draw(picture).text((side // 3, side - 2 * size), text, 255, ImageFont.load_default(size))
    boxes = find_writing(np.asarray(picture))
    assert boxes
    assert all(box.top >= side - 2 * size - 2 and box.left >= side // 3 - 2 for box in boxes)


def test_lines_and_single_marks_are_no_words() -> None:
    image = np.zeros((256, 256), np.uint8)
    image[20, 20:200] = 255  # a ruler's line
    image[60:80, 30] = 255
    image[100:116, 100:118:4] = 255  # a grid as high as it is wide
    ImageDraw.Draw(picture := Image.fromarray(image)).text((200, 200), "R", 255, ImageFont.load_default(16))
    assert find_writing(np.asarray(picture)) == []
    assert find_writing(np.zeros((64, 64), np.uint8)) == []


def test_the_sample_takes_subjects_in_turn() -> None:
    subjects = np.array(["a"] * 50 + ["b"] * 3 + ["c"] * 20)
    wanted = np.ones(73, bool)
    wanted[72] = False
    chosen = spread_sample(subjects, wanted, 12)
    assert len(set(chosen.tolist())) == 12
    assert sorted(np.unique(subjects[chosen], return_counts=True)[1].tolist()) == [3, 4, 5]
    assert 72 not in spread_sample(subjects, wanted, 100)


@pytest.fixture
def faulty(tmp_path: Path) -> PreparedDataset:
    images, subjects = brains(40, 128)
    head = shell(128, rings=((0.8, 220), (0.72, 20), (0.62, 150)))
    marked = Image.fromarray(images[0])
    ImageDraw.Draw(marked).text((4, 4), "DOE^JANE 1961", 255, ImageFont.load_default(12))
    more = [head, head // 2, np.asarray(marked), np.zeros_like(head)]
    return assemble(tmp_path, np.concatenate([images, np.stack(more)]), [*subjects, "h", "h", "w", "e"])


def test_an_inspection_says_who_and_where(faulty: PreparedDataset) -> None:
    found = inspect_pixels(faulty, ["ok"] * 43 + ["empty"]).findings
    assert found.skull_subjects == ["h"]
    assert (found.skulls.count, found.skulls.indices) == (2, [40, 41])
    assert (found.writing.count, found.writing.indices) == (1, [42])
    assert (found.empty.indices, found.dark.count) == ([43], 0)
    assert (found.sampled, found.sampled_subjects) == (43, 42)
    assert {odd.index for odd in found.odd} <= {40, 41, 42}
    assert set(found.histograms) == {"all"}
    assert sum(found.histograms["all"]) == pytest.approx(1, abs=1e-4)
    knees = inspect_pixels(faulty, ["ok"] * 44, anatomy="knee").findings
    assert (knees.heads_checked, knees.skulls.count, knees.skull_subjects) == (False, 0, [])


def real(folder: Path, side: int, every: int) -> Bytes:
    files = sorted(folder.glob("*/*.jpg"))[::every]
    return np.stack([np.asarray(Image.open(file).convert("L").resize((side, side))) for file in files])


def test_real_heads_are_recognised_and_hands_are_not(shared_data: Path) -> None:
    heads = real(shared_data / "brain_t1ce_figshare", 256, 20)
    assert len(heads) > 30
    assert np.mean([skull_score(image) > HEAD_SCORE for image in heads]) > 0.85  # all of 782: 93 %
    hands = [np.asarray(Image.open(file)) for file in sorted((shared_data / "mednist64" / "Hand").glob("*"))[:60]]
    assert np.mean([skull_score(image) > HEAD_SCORE for image in hands]) < 0.05
    assert not any(find_writing(image) for image in heads)
    marked = []
    for image in heads[:10]:
        picture: Any = Image.fromarray(image)
        ImageDraw.Draw(picture).text((5, 5), "SMITH 12.03.1961", 255, ImageFont.load_default(13))
        marked.append(bool(find_writing(np.asarray(picture))))
    assert all(marked)
