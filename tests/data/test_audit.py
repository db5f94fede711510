"""The audit: counts, shortcuts that are there and shortcuts that are not, and a contact sheet with every class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stylescan.data.audit.contact_sheet import write_contact_sheet
from stylescan.data.audit.shortcuts import depth_shortcut
from stylescan.data.audit.summary import Findings, audit_lines, make_audit, table_shortcut
from stylescan.data.geometry import Geometry
from stylescan.data.prepared import SPLITS, ImageRecord, IntensityRecord, Manifest, PreparedDataset, ShardRecord

SQUARE = Geometry(source_height=16, source_width=16, resampled_height=16, resampled_width=16)
FINDINGS = Findings(layout="layout flat: test", kind="picture", modes={"L": 9}, sizes={"16x16": 9})


def record(subject: int, label: int | None, depth: float, side: str | None = None) -> ImageRecord:
    return ImageRecord(subject=f"s{subject}", label=label, depth=depth, side=side, split=SPLITS[min(subject % 5, 2)],
                       source="x", source_sha256="x", geometry=SQUARE)  # fmt: skip


def manifest(images: list[ImageRecord], **changes: object) -> Manifest:
    base = Manifest(
        content_hash="c", preparation={}, preparation_hash="p", resolution=16, channels=1, bits=8,
        class_names=["ill", "well"], claim="subject-wise", intensity=IntensityRecord(),
        shards=[ShardRecord(file="shards/a.npy", count=len(images), sha256="0")], images=images,
    )  # fmt: skip
    return base.model_copy(update=changes)


def population(leak: bool) -> list[ImageRecord]:
    """40 subjects with 10 slices each; with `leak`, the ill ones were scanned in the lower half only."""
    generator = np.random.default_rng(0)
    images = []
    for subject in range(40):
        label = subject % 2
        for depth in generator.uniform(0, 1, 10):
            shown = depth / 2 if leak and label == 0 else depth
            images.append(record(subject, label, float(shown), "left" if leak and label else "right"))
    return images


def test_a_depth_shortcut_is_found_where_it_is() -> None:
    images = population(leak=True)
    audit = make_audit(manifest(images), ["ok"] * len(images), FINDINGS)
    assert audit.depth_shortcut is not None
    # Half of the well slices lie where no ill one does: 3/4 of all is the best that depth can tell.
    assert audit.depth_shortcut.accuracy == pytest.approx(0.75, abs=0.07)
    assert audit.depth_shortcut.majority == 0.5
    assert audit.side_shortcut is not None
    assert audit.side_shortcut.accuracy == 1.0
    text = "\n".join(audit_lines(audit))
    assert "warning: depth alone tells the class" in text
    assert "warning: side alone tells the class in 100%" in text


def test_no_shortcut_is_reported_where_none_is() -> None:
    images = population(leak=False)
    audit = make_audit(manifest(images), ["ok"] * len(images), FINDINGS)
    assert audit.depth_shortcut is not None
    assert audit.depth_shortcut.accuracy < 0.56
    assert audit.side_shortcut is None
    assert "warning: depth" not in "\n".join(audit_lines(audit))


@given(st.permutations(range(24)))
def test_shortcuts_do_not_depend_on_what_subjects_are_called(names: list[int]) -> None:
    """Two subjects of twelve in one class lie at another depth; pseudonyms are salted, so their order is anybody's."""
    depths = [0.7 if subject in (1, 3) else 0.3 for subject in range(24)]
    images = [record(names[subject], subject % 2, depth) for subject, depth in enumerate(depths)]
    found = depth_shortcut(images)
    assert found is not None
    assert found == depth_shortcut([record(s, s % 2, depth) for s, depth in enumerate(depths)])


def test_shortcuts_leave_whole_subjects_out() -> None:
    """Each subject has a depth and a random class of its own: within subjects it is telling, across them it is not."""
    generator = np.random.default_rng(1)
    images, codes = [], []
    for subject in range(60):
        label = int(generator.integers(2))
        for _ in range(5):
            images.append(record(subject, label, 0.5))
            codes.append(subject)
    shortcut = table_shortcut(np.array(codes), images)
    assert shortcut is not None
    assert shortcut.accuracy <= shortcut.majority + 1e-9
    assert table_shortcut(np.array(codes[:5]), images[:5]) is None  # one subject: nobody to leave out


def test_counts_and_lines() -> None:
    images = [record(k // 2, k % 3 % 2 if k else None, 0.5) for k in range(12)]
    looks = ["empty", "dark", "dark"] + ["ok"] * 9
    findings = FINDINGS.model_copy(
        update={"sizes": {"16x16": 11, "8x8": 1}, "skipped": ["img-1: torn"], "near_duplicate_pairs": 2,
                "near_duplicates": [("a", "b"), ("a", "c")], "near_duplicates_across_subjects": 1,
                "byte_duplicates": [["d", "e"]], "byte_duplicate_files": 1, "warnings": ["mind the gap"]}
    )  # fmt: skip
    audit = make_audit(manifest(images, claim="image-wise"), looks, findings)
    assert audit.images_by_split == {"train": 4, "select": 2, "holdout": 6}
    assert audit.subjects_by_split == {"train": 2, "select": 1, "holdout": 3}
    assert sum(sum(row.values()) for row in audit.images_by_class.values()) == 11
    assert (audit.dark, audit.empty, audit.images_per_subject) == (2, 1, (2, 2.0, 2))
    text = "\n".join(audit_lines(audit))
    for words in (
        "1 images are empty and 2 very dark", "image-wise", "img-1: torn", "a = b; a = c", "d = e", "mind the gap",
        "mixed sizes: 16x16 (11), 8x8 (1)", "one person under two names",
    ):  # fmt: skip
        assert words in text
    volumes = audit.model_copy(update={"findings": findings.model_copy(update={"kind": "volume"})})
    assert "mixed sizes" not in "\n".join(audit_lines(volumes))  # volumes of many sizes are the rule


@pytest.mark.parametrize(("classes", "dtype", "channels"), [(2, np.uint8, 1), (0, np.uint16, 1), (2, np.uint8, 3)])
def test_contact_sheet_shows_every_class_and_split(tmp_path: Path, classes: int, dtype: type, channels: int) -> None:
    images = [record(k // 4, k % 2 if classes else None, 0.5) for k in range(80)]
    bright = np.array([np.iinfo(dtype).max * (0.4 if k % 2 else 0.9) for k in range(80)])
    pixels = np.broadcast_to(bright.astype(dtype)[:, None, None, None], (80, channels, 16, 16))
    (tmp_path / "shards").mkdir()
    np.save(tmp_path / "shards" / "a.npy", pixels)
    made = manifest(images, channels=channels, bits=16 if dtype is np.uint16 else 8,
                    class_names=["ill", "well"] if classes else [])  # fmt: skip
    dataset = PreparedDataset.assemble(tmp_path, made)
    write_contact_sheet(dataset, tmp_path / "sheet.png")
    write_contact_sheet(dataset, tmp_path / "again.png")
    assert (tmp_path / "sheet.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    colours = {tuple(colour) for colour in np.unique(sheet.reshape(-1, 3), axis=0).tolist()}
    assert {(102, 102, 102), (229, 229, 229)} <= colours  # both kinds of image
    assert {(74, 96, 132), (176, 124, 32), (160, 52, 60)} <= colours  # and all three splits
