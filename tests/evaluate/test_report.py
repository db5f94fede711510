"""The page: it needs nothing else, shows what report.json holds, escapes it, and can be read by everybody."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from html import unescape
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylescan.data.prepared import PreparedDataset
from stylescan.evaluate.judge import evaluate
from stylescan.evaluate.material import Material, gather
from stylescan.evaluate.pictures import (
    COLUMNS,
    MAX_PAGE_VALUES,
    MIN_SIDE_PX,
    montage,
    plan_grids,
    shrink,
    to_display,
)
from stylescan.evaluate.report import render_html
from stylescan.evaluate.targets import open_target
from stylescan.evaluate.verdicts import audit_card
from stylescan.evaluate.words import number, ratio

EVIL = "<script>alert('1')</script> & \"quoted\""
CSS = Path(__file__).resolve().parents[2] / "src" / "stylescan" / "evaluate" / "templates" / "report.css"
LOOK = Path(__file__).resolve().parents[2] / "benchmarks" / "look_at_report.py"


class Judged:
    """One evaluation and what it takes to draw its page again with other values."""

    def __init__(self, report: dict[str, Any], material: Material) -> None:
        self.report = report
        self.material = material

    def page(self, parts: dict[str, dict[str, Any]] | None = None, **changes: Any) -> str:
        return render_html(self.report | changes, self.material, parts or {})


def judged(folder: Path, data: PreparedDataset, extractor: Any, images: np.ndarray, **options: Any) -> Judged:
    folder.mkdir()
    for i, image in enumerate(images):
        picture = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
        Image.fromarray(picture).save(folder / f"{i:04d}.png")
    report = evaluate(folder, data, folder.parent / "out", extractor=extractor, **options).report
    material = gather(open_target(folder, data), data, extractor, n=None, seed=0, full=False, progress=None)
    return Judged(report, material)


@pytest.fixture(scope="module")
def made() -> dict[str, Judged]:
    """What was judged once for all tests of this file, which draw it and never change it."""
    return {}


@pytest.fixture
def few(
    made: dict[str, Judged],
    make_dataset: Callable[..., PreparedDataset],
    pooled: Any,
    more_shapes: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> Judged:
    """60 generated images against 8 held-out subjects, the classes' names as bad as they come."""
    if made:
        return made["few"]
    tmp_path = tmp_path_factory.mktemp("few")
    images, labels = more_shapes(120)
    subjects = np.repeat([f"s{i:02d}" for i in range(24)], 5)
    splits = np.repeat(["train"] * 16 + ["holdout"] * 8, 5)
    data = make_dataset(tmp_path / "data", images, subjects, splits, labels.tolist(), ("disc", EVIL))
    made["few"] = judged(tmp_path / "g", data, pooled, more_shapes(60)[0], notices=[f"Terms {EVIL}"])
    return made["few"]


def training(n: int = 30) -> dict[str, Any]:
    """A run's record as report.json holds it."""
    return {
        "training": [{"nimg": 1000.0 * k, "kid": 1 / k, "fd": 70.0 / k} for k in range(1, n + 1)],
        "curves": {
            "points": [
                {"nimg": 500.0 * k, "G_loss": 1 + 1 / k, "D_loss": 0.5, "sign_real": 0.4, "augment_p": 0.01 * k}
                for k in range(1, 2 * n + 1)
            ],
            "lines": 600,
            "events": [{"nimg": 1500.0, "event": "divergence", "message": f"G_loss left its range {EVIL}"}],
            "num_events": 3,
            "chosen_nimg": 12_000,
        },
        "configuration": {"preset": EVIL, "train": {"lr": 0.002, "batch": 16}},
    }


class Tags(HTMLParser):
    """All tags with their attributes, in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def without_pictures(page: str) -> str:
    return re.sub(r"data:image/[^\"]*", "data:image/", page)


def test_the_page_refers_to_nothing_but_itself(few: Judged) -> None:
    page = few.page(**training())
    text = without_pictures(page)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.findall(r"<(?:script|link|iframe|object|embed|form|base)\b|@import|url\(|://|\bon\w+=\"", text)
    tags = Tags(page).found
    references = [a[name] or "" for _, a in tags for name in ("src", "href", "srcset", "action") if name in a]
    assert len(references) > 20
    assert all(r.startswith(("data:image/png;base64,", "#")) for r in references)
    ids = [a["id"] for _, a in tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {r[1:] for r in references if r.startswith("#")} <= set(ids)


def test_all_that_comes_from_outside_is_escaped(few: Judged) -> None:
    cards = [{"label": EVIL, "level": "bad", "headline": EVIL, "details": [EVIL]}]
    plain = few.page()
    page = few.page(verdicts=cards, notes=[EVIL], subject=few.report["subject"] | {"kind": EVIL}, **training())
    assert "<script" not in page
    for text, count in ((plain, 2), (page, 8)):
        assert unescape(text).count(EVIL) >= count
    class_named = few.material.dataset.class_names[1]
    assert class_named == EVIL


def values_of(value: Any) -> Iterator[float]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from values_of(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_every_number_in_a_table_is_in_report_json_and_every_metric_is_on_the_page(few: Judged) -> None:
    report = few.report | training()
    page = few.page(**training())
    stored = json.loads(json.dumps(report))
    known = {"", "–", "none"}
    for value in values_of(stored):
        thousands = f"{value / 1000:,.1f}"
        known |= {number(value), ratio(value), f"{value:,}", f"{value:.0%}", str(value), thousands}
    cells = [unescape(re.sub(r"<[^>]*>", " ", c)) for c in re.findall(r'<td class="n">(.*?)</td>', page, re.DOTALL)]
    words = [word for cell in cells for word in re.split(r" to | / |\s+", cell.strip())]
    assert len(words) > 80
    assert set(words) <= known, set(words) - known
    shown = unescape(re.sub(r"<[^>]*>", " ", page))
    for name, entry in report["metrics"].items():
        if isinstance(entry, dict):
            for value in (entry["value"], *(entry["interval"] or {}).values()):
                if isinstance(value, float) and value != 0.95:
                    assert number(value) in shown, (name, value)
    for row in report["training"]:
        assert f"{row['nimg'] / 1000:,.1f}" in shown
        assert number(row["kid"]) in shown
    for key in ("content_hash", "preparation_hash", "holdout_hash"):
        assert report["data"][key] in shown
    assert report["extractor"]["hash"] in shown
    assert "lr: 0.002" in shown


def test_equal_inputs_give_equal_bytes(few: Judged) -> None:
    assert few.page(**training()) == few.page(**training())
    assert few.page(**training()) != few.page(**training(29))


def with_templates(monkeypatch: pytest.MonkeyPatch, templates: dict[str, str]) -> None:
    import jinja2

    own = jinja2.PackageLoader("stylescan.evaluate", "templates")
    loader = jinja2.ChoiceLoader([jinja2.DictLoader({f"parts/{k}.html.j2": v for k, v in templates.items()}), own])
    monkeypatch.setattr(jinja2, "PackageLoader", lambda *_: loader)


def test_parts_come_in_their_order_the_audit_first_and_none_is_needed(
    few: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("zebra_part", "audit", "apple")
    text = "<h2>T-{{ part.value }}</h2>{{ pictures.word }}{{ report.schema_version }}"
    with_templates(monkeypatch, dict.fromkeys(names, text))
    values = {name: few.report.get(name, {}) | {"value": f"<{name}>"} for name in names}
    page = few.page({name: {"word": f"picture-{name}"} for name in names}, **values)
    order = [page.index(f'<section id="{name}"') for name in ("numbers", "audit", "zebra_part", "apple", "made")]
    assert order == sorted(order)
    places = [page.index(f"T-&lt;{name}&gt;</h2>picture-{name}1") for name in ("audit", "zebra_part", "apple")]
    assert places == sorted(places)
    assert '<a href="#zebra_part">Zebra part</a>' in page
    assert "Nearest training images" in few.page()
    assert "Nearest training images" not in page
    assert "T-" not in few.page()


def test_sections_come_in_the_order_of_a_reader(few: Judged) -> None:
    page = few.page(**training())
    names = ("verdict", "pictures", "training", "numbers", "made", "licence", "glossary")
    order = [page.index(f' id="{name}"') for name in names]
    assert order == sorted(order)
    assert 'id="training"' not in few.page()
    assert page.count("SYNTHETIC - not for diagnosis") >= 2
    assert page.count('class="chart"') == 4
    assert page.count('class="chosen"') == 4
    assert "at 12.0 kimg" in page
    assert "The first 1 of 3" in page


def test_image_wise_data_and_notes_are_said_before_the_pictures(few: Judged) -> None:
    said = few.page(data=few.report["data"] | {"claim": "image-wise"}, notes=["Mind this."])
    assert said.index("Image-wise only") < said.index("Mind this.") < said.index('id="pictures"')
    assert "groups of similar images" in said
    plain = few.page(notes=[])
    assert "Image-wise only" not in plain
    assert "Note." not in plain


def test_verdicts_are_shown_as_they_are_with_a_word_for_each_level(few: Judged) -> None:
    levels = {"good": "Good", "mixed": "Mixed", "bad": "Poor", "unknown": "Not known"}
    cards = [{"label": f"L{k}", "level": k, "headline": f"H{k}", "details": ["D1", "D2"]} for k in levels]
    page = few.page(verdicts=cards)
    for level, word in levels.items():
        assert f'<section class="verdict {level}">' in page
        assert f'<h2 class="label">L{level} <span class="chip {level}">{word}</span></h2>' in page
    for verdict, level in (("pass", "good"), ("warn", "mixed"), ("fail", "bad"), ("cannot tell", "unknown")):
        assert audit_card({"verdict": verdict, "reason": "R."})["level"] == level


def test_anybody_can_read_the_page(few: Judged) -> None:
    page = few.page(**training())
    tags = Tags(page).found
    assert ("html", {"lang": "en"}) in tags
    levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))
    assert all(a.get("alt") for tag, a in tags if tag == "img")
    assert all(a.get("aria-label") and a.get("role") == "img" for tag, a in tags if tag == "svg")
    assert any(a.get("name") == "viewport" for tag, a in tags if tag == "meta")


def schemes() -> dict[str, dict[str, str]]:
    """The variables of each scheme as the browser would see them."""
    css = CSS.read_text("utf-8")
    blocks = [dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", body)) for body in re.findall(r":root \{([^}]*)\}", css)]
    light, dark, paper = blocks
    return {"light": light, "dark": light | dark, "print": light | paper}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_formula_of_contrast_is_that_of_wcag() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_stands_out_from_its_ground(scheme: str) -> None:
    colours = schemes()[scheme]
    pairs = [(ink, ground) for ink in ("text", "soft", "main") for ground in ("ground", "panel")]
    pairs += [(level, f"{level}-ground") for level in ("good", "mixed", "bad", "unknown", "mark")]
    pairs += [(level, ground) for level in ("good", "mixed", "bad", "unknown") for ground in ("ground", "panel")]
    pairs += [("text", "mark-ground"), *((f"s{k}", "ground") for k in (1, 2, 3, 4))]
    for ink, ground in pairs:
        assert contrast(colours[ink], colours[ground]) >= 4.5, (scheme, ink, ground)


def test_dark_and_print_have_their_own_rules(few: Judged) -> None:
    page = few.page()
    for rule in ("@media (prefers-color-scheme: dark)", "@media print", "size: A4", "table-footer-group"):
        assert rule in page
    assert ":focus-visible" in page


@pytest.mark.parametrize(
    ("grids", "side", "channels"), [(2, 64, 1), (24, 64, 1), (24, 64, 3), (2, 256, 3), (60, 256, 1), (2, 1024, 1)]
)
def test_grids_keep_the_page_light(grids: int, side: int, channels: int) -> None:
    plan = plan_grids(grids, side, channels)
    planes = 3 if channels == 3 else 1
    cost = grids * plan.images * (side // plan.shrink) ** 2 * planes
    assert cost <= MAX_PAGE_VALUES
    assert plan.images % COLUMNS == 0
    assert plan.shrink == 1 or side // plan.shrink >= MIN_SIDE_PX


def test_few_small_images_are_shown_in_full_and_too_many_by_the_least() -> None:
    assert (plan_grids(6, 64, 1).images, plan_grids(6, 64, 1).shrink) == (24, 1)
    assert (plan_grids(500, 96, 1).images, plan_grids(500, 96, 1).shrink) == (COLUMNS, 1)


def test_shrinking_is_the_mean_over_whole_blocks() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), dtype=np.uint8)
    expected = [[images[1, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].mean() for j in (0, 1)] for i in (0, 1)]
    found = shrink(to_display(images), 4)
    assert found.shape == (3, 2, 2, 3)
    np.testing.assert_allclose(found[1, :, :, 0], expected, atol=0.5)
    assert montage(images, 2, 4).shape == (5, 5, 3)
    np.testing.assert_array_equal(montage(images, 2, 4)[:2, 3:], found[1])


def test_deep_and_coloured_images_are_shown_as_they_are() -> None:
    deep = np.array([0, 255, 256, 65535], np.uint16).reshape(1, 1, 2, 2)
    assert to_display(deep)[0, :, :, 0].tolist() == [[0, 0], [1, 255]]
    colour = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)
    assert to_display(colour)[0, 0, 1].tolist() == [1, 5, 9]
    assert to_display(np.concatenate([colour, colour], axis=1))[0, 0, 1].tolist() == [1, 1, 1]


@pytest.mark.slow
def test_a_browser_shows_the_page_on_a_small_phone_without_a_complaint(few: Judged, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None or sys.platform == "win32":
        pytest.skip("no chromium on this machine")
    long_word = "Pneumonoultramicroscopicsilicovolcanoconiosis" * 3
    cards = [{"label": long_word, "level": "bad", "headline": long_word, "details": [long_word]}] * 3
    (tmp_path / "report.html").write_text(few.page(verdicts=cards, notes=[long_word], **training()))
    command = [sys.executable, str(LOOK), "report.html", "--out", "shots", "--width", "360", "1280"]
    done = subprocess.run(
        [*command, "--browser", browser], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "shots").glob("*.png"))) >= 4
    assert (tmp_path / "shots" / "print.pdf").read_bytes().startswith(b"%PDF")
