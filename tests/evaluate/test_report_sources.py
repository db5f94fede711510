"""What the page is told of the run: curves thinned from its log, its configuration without paths, and charts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stylescan.evaluate.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Series, line_chart
from stylescan.evaluate.origin import MAX_BYTES, command_again, configuration_text, read_configuration
from stylescan.evaluate.training_log import MAX_EVENTS, MAX_POINTS, read_curves, read_scores


def write_log(path: Path, lines: list[Any], tail: str = "") -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n" + tail)
    return path


def test_scores_and_losses_are_told_apart_and_torn_lines_left_out(tmp_path: Path) -> None:
    lines: list[Any] = [
        {"nimg": 100, "G_loss": 1.0, "images_per_s": 20.0},
        {"nimg": 200, "kid": 0.5, "fd": 9.0},
        {"nimg": 300, "kid": float("nan"), "fd": float("inf")},
        {"nimg": 400, "G_loss": 10**400, "D_loss": True, "sign_real": "0.5"},
        {"kid": 0.1},
        [1, 2],
        7,
        {"nimg": 500, "D_loss": 2.0, "augment_p": 0.25},
        {"nimg": 600, "event": "divergence", "message": "left its range", "action": "warn"},
    ]
    log = write_log(tmp_path / "log.jsonl", lines, '{"nimg": 700, "G_lo')
    assert read_scores(log) == [{"nimg": 200.0, "kid": 0.5, "fd": 9.0}]
    curves = read_curves(log, 500)
    assert curves == {
        "points": [{"nimg": 100.0, "G_loss": 1.0}, {"nimg": 500.0, "D_loss": 2.0, "augment_p": 0.25}],
        "lines": 2,
        "events": [{"nimg": 600.0, "event": "divergence", "message": "left its range"}],
        "num_events": 1,
        "chosen_nimg": 500,
    }
    assert read_scores(None) == []
    assert read_curves(None) is None
    assert read_curves(tmp_path / "nowhere") is None
    assert read_curves(write_log(tmp_path / "scores", [lines[1]])) is None


def test_a_long_log_is_thinned_to_means_of_neighbours(tmp_path: Path) -> None:
    n = 3 * MAX_POINTS + 1
    rows = [{"nimg": 10 * k, "G_loss": float(k)} for k in range(n)]
    events = [{"nimg": k, "event": "x", "message": "m" * 9999} for k in range(MAX_EVENTS + 5)]
    curves = read_curves(write_log(tmp_path / "log.jsonl", [*reversed(rows), *events]))
    assert curves is not None
    assert len(curves["points"]) <= MAX_POINTS
    assert curves["lines"] == n
    assert curves["points"][0] == {"nimg": 15.0, "G_loss": 1.5}
    assert curves["points"][-1]["nimg"] == pytest.approx(10 * (n - 1))
    assert (len(curves["events"]), curves["num_events"]) == (MAX_EVENTS, MAX_EVENTS + 5)
    assert all(len(event["message"]) == 300 for event in curves["events"])


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_in_a_log_or_configuration_are_survived(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    folder = tmp_path_factory.mktemp("run")
    (folder / "log.jsonl").write_bytes(raw)
    (folder / "config.yaml").write_bytes(raw)
    json.dumps([read_scores(folder / "log.jsonl"), read_curves(folder / "log.jsonl")], allow_nan=False)
    found = read_configuration(folder)
    assert found is None or "train" in found


def test_the_configuration_is_shown_without_paths(tmp_path: Path) -> None:
    text = (
        "preset: small\ntrain:\n  lr: 0.002\n  beta1: .nan\nclasses: [AD/MCI, NC]\ntransfer:\n  source: /home/me/RUN\n"
        "  other: 'C:\\Users\\me'\n  home: ~/RUN\n  share: '\\\\server\\x'\n"
    )
    (tmp_path / "config.yaml").write_text(text)
    found = read_configuration(tmp_path)
    assert found is not None
    assert found["train"] == {"lr": 0.002, "beta1": "nan"}
    assert found["classes"] == ["AD/MCI", "NC"]
    assert set(found["transfer"].values()) == {"(a path, left out)"}
    shown = configuration_text(found)
    assert shown is not None
    assert shown.startswith("preset: small\ntrain:\n  lr: 0.002\n")
    assert "me" not in re.findall(r"\w+", shown)
    assert configuration_text(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "train: &a [1]\nother: *a\n",
        "train: !!python/object/apply:os.system ['true']\n",
        "train: " + "[" * 20 + "]" * 20,
        "train: " + "[" * 5000,
        "train: 1\n#" + "x" * MAX_BYTES,
        "preset: small\n",
        "- train\n",
        "train: 1\x00",
    ],
)
def test_a_configuration_that_train_does_not_write_is_not_shown(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    assert read_configuration(tmp_path) is None


def test_a_snapshot_shows_its_record_and_in_a_run_the_configuration(tmp_path: Path) -> None:
    snapshot = tmp_path / "run" / "snapshot"
    snapshot.mkdir(parents=True)
    (snapshot / "snapshot.json").write_text(json.dumps({"family": "stylegan2", "spec": {"z_dim": 8}}))
    assert read_configuration(snapshot) == {"family": "stylegan2", "spec": {"z_dim": 8}}
    assert read_configuration(tmp_path) is None
    (tmp_path / "config.yaml").write_text("train: 1\n")
    (tmp_path / "images").mkdir()
    assert read_configuration(tmp_path / "images") is None


def test_the_command_names_all_that_decides_the_numbers() -> None:
    report = {
        "subject": {"kind": "run", "seed": 3, "psi": 0.7},
        "extractor": {"name": "efficientnet-lite0"},
        "metrics": {"n": 918},
        "full": True,
    }
    expected = "stylescan evaluate RUN --data DATA --out REPORT --extractor efficientnet-lite0"
    assert command_again(report) == f"{expected} --count 918 --seed 3 --psi 0.7 --full"
    folder = report | {"subject": {"kind": "folder", "seed": 0}, "extractor": {"name": "/home/me/a.pt"}, "full": False}
    assert command_again(folder) == (
        "stylescan evaluate FOLDER --data DATA --out REPORT --extractor EXTRACTOR --count 918 --seed 0"
    )


def path_of(svg: str, kind: str) -> list[tuple[float, float]]:
    found = re.search(rf'<path class="{kind}" d="M([^"]*)"', svg)
    assert found
    return [(float(a), float(b)) for a, b in (pair.split() for pair in re.split("L", found[1]))]


def test_a_chart_puts_points_where_they_belong() -> None:
    svg = line_chart(
        [Series("a", [(0, 0.0), (5, 5.0), (10, 10.0)])], label='"quoted"', x_label="x & y", mark=5, dots=True
    )
    assert svg is not None
    at = path_of(svg, "line s1")
    assert at[0][0] == LEFT
    assert at[2][0] == WIDTH - RIGHT
    assert at[1][0] == pytest.approx((LEFT + WIDTH - RIGHT) / 2)
    assert at[0][1] == HEIGHT - BOTTOM
    assert at[1][1] == pytest.approx((at[0][1] + at[2][1]) / 2, abs=0.11)
    assert f'class="chosen" d="M{(LEFT + WIDTH - RIGHT) / 2:.1f} ' in svg
    assert svg.count("<circle") == 3
    assert 'aria-label="&quot;quoted&quot;"' in svg
    assert "x &amp; y" in svg
    two = line_chart([Series("<b>", [(0, 0), (1, 1)])] * 2, label="l", x_label="x")
    assert two is not None
    assert two.count("&lt;b&gt;</text>") == 2
    assert "<b>" not in two


def test_decades_are_of_equal_height_and_no_chart_has_log_of_zero() -> None:
    svg = line_chart([Series("a", [(0, 0.01), (1, 0.1), (2, 1.0)])], label="l", x_label="x", log_y=True)
    assert svg is not None
    at = path_of(svg, "line s1")
    assert at[0][1] - at[1][1] == pytest.approx(at[1][1] - at[2][1], abs=0.11)
    labels = re.findall(r'class="end"[^>]*>([^<]*)<', svg)
    assert {"0.01", "0.1", "1"} <= set(labels)
    flat = line_chart([Series("a", [(0, 0.0), (1, 0.1)])], label="l", x_label="x", log_y=True)
    assert flat is not None
    assert line_chart([Series("a", [(0, 1.0)])], label="l", x_label="x") is None
    assert line_chart([], label="l", x_label="x") is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e9, 1e9)), min_size=2, max_size=20),
    st.booleans(),
    st.none() | st.floats(0, 1e6),
)
def test_whatever_is_drawn_stays_inside_with_a_few_ticks(
    points: list[tuple[float, float]], log_y: bool, mark: float | None
) -> None:
    svg = line_chart([Series("a", sorted(points))], label="l", x_label="x", log_y=log_y, mark=mark)
    assert svg is not None
    for x, y in path_of(svg, "line s1"):
        assert LEFT - 0.1 <= x <= WIDTH - RIGHT + 0.1
        assert TOP - 0.1 <= y <= HEIGHT - BOTTOM + 0.1
    assert 1 <= svg.count('class="end"') <= 8
