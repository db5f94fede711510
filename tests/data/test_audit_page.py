"""Shortcuts, sides, words and the page: what is told, with what remedy, and that the page stands alone."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from audit_sets import assemble, brains

from stylescan.data.audit.figures import line_chart, tile_uri
from stylescan.data.audit.inspection import inspect_pixels
from stylescan.data.audit.measures import measure
from stylescan.data.audit.page import PAGE_NAME, render_page, write_audit_page
from stylescan.data.audit.shortcuts import Shortcut, find_shortcuts
from stylescan.data.audit.sides import look_at_sides
from stylescan.data.audit.summary import Audit, Findings, audit_lines, audit_table, make_audit
from stylescan.data.audit.words import concerns
from stylescan.data.prepared import PreparedDataset

FINDINGS = Findings(layout="layout flat: <test>", kind="picture", modes={"L": 60}, sizes={"32x32": 60})


def two_classes(folder: Path, count: int = 60, side: int = 32) -> PreparedDataset:
    images, subjects = brains(count, side)
    made: PreparedDataset = assemble(folder, images, subjects, [k % 2 for k in range(count)], ("AD", "NC"))
    return made


def with_records(dataset: PreparedDataset, **columns: list[object]) -> list[object]:
    return [image.model_copy(update={name: values[k] for name, values in columns.items()})
            for k, image in enumerate(dataset.manifest.images)]  # fmt: skip


def test_formats_sizes_and_kinds_that_tell_the_class_are_found(tmp_path: Path) -> None:
    dataset = two_classes(tmp_path)
    plain = dataset.manifest.images
    assert find_shortcuts(plain) == {}  # all alike: nothing to try
    names: list[object] = [f"img-{k}.{'jpeg' if k % 2 else 'png'}" for k in range(60)]
    small = plain[0].geometry.model_copy(update={"source_width": 30, "pad_left": 1, "pad_right": 1})
    sizes: list[object] = [small if k % 2 else plain[0].geometry for k in range(60)]
    found = find_shortcuts(with_records(dataset, source=names, geometry=sizes), modes=["L", "RGB"] * 30)  # type: ignore[arg-type]
    assert set(found) == {"file format", "size", "kind of image"}
    assert all(shortcut.accuracy == 1.0 and shortcut.notable and shortcut.subjects == 60 for shortcut in found.values())
    chance: list[object] = ["a.jpg" if k // 2 % 2 else "a.PNG" for k in range(60)]
    mixed = find_shortcuts(with_records(dataset, source=chance))  # type: ignore[arg-type]
    assert not mixed["file format"].notable
    one: list[object] = ["a.jpg" if k % 2 else "a.JPEG" for k in range(60)]
    assert find_shortcuts(with_records(dataset, source=one)) == {}  # type: ignore[arg-type]


def test_brightness_that_tells_the_class_is_found(tmp_path: Path) -> None:
    images, subjects = brains(60, 32)
    images[1::2, :2] = 90  # a bright edge in one class alone
    dataset = assemble(tmp_path, images, subjects, [k % 2 for k in range(60)], ("AD", "NC"))
    found = find_shortcuts(dataset.manifest.images, measure(dataset))
    assert found["border brightness"].accuracy > 0.9
    assert found["border brightness"].notable


@pytest.mark.parametrize(
    ("accuracy", "majority", "subjects", "notable"),
    [
        (0.56, 0.5, 10_000, True),
        (0.54, 0.5, 10_000, False),
        (0.65, 0.5, 20, False),
        (0.75, 0.5, 20, True),
        (0.56, 0.5, 0, True),
    ],
)
def test_few_subjects_prove_less(accuracy: float, majority: float, subjects: int, notable: bool) -> None:
    assert Shortcut(accuracy=accuracy, majority=majority, images=100, subjects=subjects).notable is notable


def test_classes_drawn_at_random_are_seldom_told_apart(tmp_path: Path) -> None:
    dataset = two_classes(tmp_path)
    measures = measure(dataset)
    alarms = tried = 0
    for seed in range(20):
        labels: list[object] = [int(v) for v in np.random.default_rng(seed).integers(0, 2, 60)]
        found = find_shortcuts(with_records(dataset, label=labels), measures)  # type: ignore[arg-type]
        alarms += sum(shortcut.notable for shortcut in found.values())
        tried += len(found)
    assert tried == 40
    assert alarms <= 2


@pytest.mark.parametrize("stored", ["mirrored", "alike"])
def test_sides_are_counted_and_compared(tmp_path: Path, stored: str) -> None:
    axis = np.arange(32)
    right = (np.exp(-((axis - 8) ** 2) / 40) * 200).astype(np.uint8) * np.ones((32, 1), np.uint8)
    left = right[:, ::-1] if stored == "mirrored" else right
    images = np.stack([left if k % 2 else right for k in range(40)])
    subjects = [f"s{k // 2}" for k in range(36)] + ["a", "b", "c", "d"]  # 18 with both sides, 4 with one
    dataset = assemble(tmp_path, images, subjects, [0] * 36 + [1] * 4, ("AD", "NC"), symmetry="left-right")
    sides: list[object] = ["left" if k % 2 else "right" for k in range(40)]
    manifest = dataset.manifest.model_copy(update={"images": with_records(dataset, side=sides)})
    found = look_at_sides(manifest, measure(dataset))
    assert found is not None
    assert (found.both_sides, found.one_side, found.stored, found.contradiction) == (18, {"NC": 4}, stored, True)
    assert (found.mirrored if stored == "mirrored" else found.as_is) == pytest.approx(1.0)
    assert look_at_sides(dataset.manifest) is None
    audit = make_audit(manifest, ["ok"] * 40, FINDINGS, inspect_pixels(dataset, ["ok"] * 40))
    text = "\n".join(audit_lines(audit))
    assert "subjects with both sides: 18; with one side only: NC 4" in text
    assert "left-right symmetry is declared although" in text


@pytest.fixture
def audited(tmp_path: Path) -> tuple[PreparedDataset, Audit]:
    dataset = two_classes(tmp_path / "set")
    findings = FINDINGS.model_copy(
        update={"byte_duplicates": [["img-1.png", "img-2.png"]], "byte_duplicate_files": 1, "near_duplicate_pairs": 3,
                "near_duplicates": [("img-3.png", "img-4.png"), ("img-5.png", "gone.png")], "skipped": ["x.png: <torn>"],
                "near_duplicates_across_subjects": 2, "near_duplicates_across_splits": 1}
    )  # fmt: skip
    looks = ["ok"] * 58 + ["dark", "empty"]
    made = make_audit(dataset.manifest, looks, findings, inspect_pixels(dataset, looks), advice=["Train <small>."])
    return dataset, made


def test_every_concern_is_told_the_gravest_first(audited: tuple[PreparedDataset, Audit]) -> None:
    found = concerns(audited[1])
    texts = [concern.text for concern in found]
    assert texts[0] == "1 pair of near copies in different splits"
    assert found[0].remedy
    for words in ("1 files are byte copies of another: img-1.png = img-2.png", "3 pairs of near copies",
                  "2 pairs of near copies across subjects: one person under two names?", "1 files skipped: x.png"):  # fmt: skip
        assert any(words in text for text in texts)
    assert audit_lines(audited[1])[-1] == "Train <small>."


def test_the_table_adds_up(audited: tuple[PreparedDataset, Audit]) -> None:
    rows = audit_table(audited[1])
    assert rows[0] == ["images (subjects)", "train", "select", "holdout", "all"]
    assert [row[0] for row in rows[1:]] == ["AD", "NC", "all"]
    assert rows[-1] == ["all", "36 (36)", "12 (12)", "12 (12)", "60 (60)"]
    assert [row[-1] for row in rows[1:3]] == ["30 (30)", "30 (30)"]


def test_an_audit_of_an_earlier_version_is_read(audited: tuple[PreparedDataset, Audit]) -> None:
    stored = json.loads(audited[1].model_dump_json())
    assert Audit.model_validate(stored) == audited[1]
    for later in ("shortcuts", "laterality", "pixels", "advice"):
        del stored[later]
    del stored["findings"]["near_duplicates_across_splits"]
    old = Audit.model_validate(stored)
    assert old.pixels is None
    assert "In the way" in render_page(audited[0], old)
    assert audit_lines(old)


def test_the_page_stands_alone_and_escapes(audited: tuple[PreparedDataset, Audit], tmp_path: Path) -> None:
    write_audit_page(*audited, tmp_path / PAGE_NAME)
    page = (tmp_path / PAGE_NAME).read_text("utf-8")
    assert len(page) < 3_000_000
    assert not re.search(r"<script|https?://|url\(|@import", page)
    assert "default-src 'none'" in page
    for raw in ("<b>lung", "<torn>", "<test>", "<small>"):
        assert raw not in page
        assert raw.replace("<", "&lt;").replace(">", "&gt;") in page
    assert page.count("<img ") == page.count("data:image/jpeg;base64,")
    assert page.count("<svg") == 2  # grey values and depth
    # Rows: 12 of train and 6 of select and holdout in two classes; the byte copies, the near copies, dark and empty ones.
    gallery = page[page.index('id="copies"') : page.index('id="made"')]
    assert gallery.count("<img ") == 2 + 3 + 2
    for anchor in re.findall(r'href="#([\w-]+)"', page):
        assert f'id="{anchor}"' in page


def test_a_set_without_classes_or_faults_has_a_quiet_page(tmp_path: Path) -> None:
    images, subjects = brains(30, 32)
    dataset = assemble(tmp_path, images, subjects)
    audit = make_audit(dataset.manifest, ["ok"] * 30, FINDINGS, inspect_pixels(dataset, ["ok"] * 30))
    page = render_page(dataset, audit)
    assert "Nothing found" in page
    assert "train: 18 images" in page
    assert 'id="odd"' not in page


@pytest.mark.parametrize(
    ("channels", "dtype", "side"), [(1, np.uint8, 16), (3, np.uint8, 128), (1, np.uint16, 256), (2, np.uint8, 96)]
)
def test_tiles_keep_grey_and_size(channels: int, dtype: type, side: int) -> None:
    import base64
    import io

    from PIL import Image

    image = np.full((channels, side, side), np.iinfo(dtype).max // 2, dtype)
    uri = tile_uri(image, 96)
    picture = Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))
    assert picture.size == (96, 96)
    assert picture.mode == ("RGB" if channels == 3 else "L")
    assert np.asarray(picture).mean() == pytest.approx(127, abs=1.5)


def test_charts_escape_names_and_reach_the_top() -> None:
    chart = line_chart(
        {"<a>": [0, 1, 0.5], "b": [0.5, 0.5, 0.5], "none": [0, 0, 0]}, label='"x"', x_label="v", ends=("0", "1")
    )
    assert chart is not None
    assert "&lt;a&gt;" in chart
    assert "none" not in chart
    assert " 28.0" in chart  # the largest value lies at the top margin
    assert line_chart({}, label="x", x_label="v", ends=("0", "1")) is None
