"""Two reports side by side: refused where they cannot be compared, symmetric where they can."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stylescan.cli.compare import compare as compare_command
from stylescan.errors import ConfigError, DataError, StylescanError
from stylescan.evaluate import judge
from stylescan.evaluate.compare import REPORT_SCHEMA, compare, load_report, paired_interval, write_comparison
from stylescan.evaluate.compare_words import CAVEAT, OVERLAP_ONLY
from stylescan.evaluate.intervals import jackknife_interval

Change = Callable[[dict[str, Any]], Any]


def entry(value: float | None, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    interval = None if low is None else {"low": low, "high": high, "level": 0.95, "groups": 20}
    return {
        "value": value,
        "interval": interval,
        "floor": {"value": 0.01, "low": 0.0, "high": 0.02, "draws": 10},
        **more,
    }


def report() -> dict[str, Any]:
    return {
        "schema_version": 1,
        "subject": {
            "kind": "run",
            "model_hash": "a" * 64,
            "psi": 1.0,
            "noise": "random",
            "seed": 0,
            "trained_on": "t" * 64,
        },
        "data": {"preparation_hash": "b" * 64, "holdout_hash": "c" * 64},
        "extractor": {"name": "pooled", "hash": "d" * 64},
        "metrics": {
            "n": 200,
            "headline": "kid",
            "fd": entry(30.0, 25.0, 35.0, title="FD", better="lower"),
            "kid": entry(0.2, 0.15, 0.25, title="KID", better="lower"),
            "recall": entry(0.4, 0.3, 0.5, title="Recall", better="higher"),
            "ms_ssim": entry(0.05, 0.04, 0.06, title="MS-SSIM", better="near real"),
            "classes": [{"class": "disc", "kid": entry(0.3), "missing": None}, {"class": "square", "kid": None}],
        },
        "audit": {"verdict": "pass", "reason": "No evidence of copying at power .9.", "ran": True},
        "utility": {"seeds": 5, "tstr": {"auc": 0.8, "interval": {"low": 0.7, "high": 0.9}}, "name": "small net"},
        "provenance": {"stylescan": "0.1.0"},
        "interpretation": [],
    }


def other() -> dict[str, Any]:
    values = report()
    values["subject"] |= {"model_hash": "e" * 64}
    values["metrics"] |= {
        "fd": entry(40.0, 34.0, 46.0, title="FD", better="lower"),
        "kid": entry(0.1, 0.08, 0.12, title="KID", better="lower"),
        "recall": entry(0.6, 0.55, 0.65, title="Recall", better="higher"),
        "ms_ssim": entry(0.02, 0.01, 0.03, title="MS-SSIM", better="near real"),
    }
    values["utility"]["tstr"]["auc"] = 0.7
    return values


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, Any], str], Path]:
    def save(values: dict[str, Any], name: str) -> Path:
        path = tmp_path / name / "report.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
        return path

    return save


@pytest.fixture
def both(write: Callable[[dict[str, Any], str], Path]) -> tuple[Path, Path]:
    return write(report(), "a"), write(other(), "b")


def rows_of(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in result["metrics"]}


def test_reads_what_evaluate_writes() -> None:
    assert REPORT_SCHEMA == judge.SCHEMA_VERSION


def test_values_and_readings(both: tuple[Path, Path]) -> None:
    result = compare(*both)
    rows = rows_of(result)
    assert next(iter(rows)) == "kid"  # the headline
    assert rows["kid"]["difference"] == pytest.approx(-0.1)
    assert rows["kid"]["reading"] == "B is better: the intervals lie apart."
    assert rows["fd"]["reading"] == "Cannot tell them apart: the intervals overlap."
    assert rows["recall"]["reading"] == "B is better: the intervals lie apart."
    assert rows["ms_ssim"]["nearer"] == "B"  # .02 is nearer to the floor's .01 than .05 is
    assert rows["kid: disc"]["reading"] == "Equal."
    assert rows["kid"]["interval"] is None
    assert OVERLAP_ONLY in result["remarks"]
    assert result["remarks"][-1] == CAVEAT
    assert result["parts"] == {
        "utility": [
            {"name": "seeds", "a": 5.0, "b": 5.0},
            {"name": "tstr.auc", "a": 0.8, "b": 0.7},
            {"name": "tstr.interval.low", "a": 0.7, "b": 0.7},
            {"name": "tstr.interval.high", "a": 0.9, "b": 0.9},
        ]
    }


def test_swapped_reports_give_the_mirror_image(both: tuple[Path, Path]) -> None:
    there, back = rows_of(compare(*both)), rows_of(compare(*reversed(both)))
    assert set(there) == set(back)
    swap = {"A": "B", "B": "A", None: None}
    for name, row in there.items():
        assert row["difference"] == pytest.approx(-back[name]["difference"])
        assert row["nearer"] == swap[back[name]["nearer"]]
        assert row["explained"] == back[name]["explained"]


def test_a_report_equals_itself(both: tuple[Path, Path]) -> None:
    result = compare(both[0], both[0])
    assert {row["reading"] for row in result["metrics"]} == {"Equal."}
    assert {row["difference"] for row in result["metrics"]} == {0.0}
    assert "Both reports judge the same images." in result["remarks"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["extractor"].update(hash="x"), "different feature extractors"),
        (lambda r: r["data"].update(preparation_hash="x"), "different data preparations"),
        (lambda r: r["data"].update(holdout_hash="x"), "different held-out images"),
        (lambda r: r["metrics"].update(n=199), "different numbers of images (200 and 199)"),
        (lambda r: r.update(schema_version=2), "schema_version 2, expected 1"),
        (lambda r: r.update(schema_version=True), "not a report"),
        (lambda r: r.pop("schema_version"), "not a report"),
        (lambda r: r.pop("metrics"), "not a report"),
        (lambda r: r.pop("extractor"), "damaged report: extractor: "),
        (lambda r: r["metrics"].update(n="200"), "damaged report: metrics.n: "),
        (lambda r: r["metrics"]["kid"].update(value="small"), "damaged report: value: "),
        (lambda r: r["metrics"]["kid"].update(interval=[0, 1]), "damaged report: interval: "),
        (lambda r: r["metrics"]["kid"].update(jackknife=["a"]), "damaged report: jackknife.0: "),
        (lambda r: r["metrics"]["kid"].update(better="purple"), "damaged report: better: "),
        (lambda r: r["audit"].update(verdict=None), "damaged report: audit.verdict: "),
    ],
)
def test_refusals(change: Change, words: str, write: Callable[[dict[str, Any], str], Path]) -> None:
    values = other()
    change(values)
    a, b = write(report(), "a"), write(values, "b")
    for first, second in ((a, b), (b, a)):
        with pytest.raises(DataError) as problem:
            compare(first, second)
        assert re.search(words.replace("(200 and 199)", r"\((200 and 199|199 and 200)\)"), problem.value.message)
        assert problem.value.remedy


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"schema_version": 1}', b"\xff", b'{"a": NaN}', b"[" * 99_999]
)
def test_files_that_are_no_reports(content: bytes, both: tuple[Path, Path]) -> None:
    both[1].write_bytes(content)
    with pytest.raises(DataError, match=re.escape(str(both[1]))) as problem:
        compare(*both)
    assert problem.value.remedy


def test_where_reports_are_looked_for(both: tuple[Path, Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "report").mkdir(parents=True)
    (run / "report" / "report.json").write_bytes(both[0].read_bytes())
    expected = load_report(both[0])
    assert load_report(both[0].parent) == expected
    assert load_report(run) == expected
    with pytest.raises(DataError, match="no such file"):
        load_report(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no report\.json"):
        load_report(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r["subject"].update(psi=0.7), "Different psi (1.0 and 0.7)"),
        (lambda r: r["subject"].update(seed=1), "Different seed (0 and 1)"),
        (lambda r: r["subject"].update(trained_on="u"), "Different training data"),
        (lambda r: r["provenance"].update(stylescan="0.2.0"), "different versions of software"),
    ],
)
def test_what_is_allowed_but_said(change: Change, words: str, write: Callable[[dict[str, Any], str], Path]) -> None:
    values = other()
    change(values)
    a, b = write(report(), "a"), write(values, "b")
    assert any(words in text for text in compare(a, b)["remarks"])
    assert not any(words in text for text in compare(a, a)["remarks"])


def test_metrics_that_one_report_lacks(write: Callable[[dict[str, Any], str], Path]) -> None:
    values = other()
    values["metrics"]["new"] = entry(1.0)
    values["metrics"]["fd"] = entry(None)
    values["projection"] = {"lpips": 0.3}
    a, b = write(report(), "a"), write(values, "b")
    result = compare(a, b)
    rows = rows_of(result)
    assert rows["new"]["reading"] == "A value in B alone."
    assert rows["new"]["title"] == "NEW"
    assert rows["fd"]["reading"] == "A value in A alone."
    assert rows["fd"]["difference"] is None
    assert (result["only_a"], result["only_b"]) == ([], ["projection"])


def test_without_intervals_nothing_is_claimed(write: Callable[[dict[str, Any], str], Path]) -> None:
    a, b = report(), other()
    for values in (a, b):
        values["metrics"]["kid"]["interval"] = None
    row = rows_of(compare(write(a, "a"), write(b, "b")))["kid"]
    assert row["explained"] is None
    assert row["reading"] == "Cannot tell: there is no interval."


def test_paired_interval_of_a_mean_is_the_paired_t_interval() -> None:
    """Leaving one of g values out of a mean: the jackknife is the paired t interval of the textbook."""
    from scipy.stats import t

    rng = np.random.default_rng(0)
    a = rng.normal(0, 1, 20)
    b = a + rng.normal(0.3, 0.1, 20)  # subjects move both alike
    left_out = [[float(np.delete(x, i).mean()) for i in range(20)] for x in (a, b)]
    found = paired_interval(left_out[0], left_out[1], float(b.mean() - a.mean()))
    assert found is not None
    half = t.ppf(0.975, 19) * (b - a).std(ddof=1) / np.sqrt(20)
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half)
    assert (found["high"] + found["low"]) / 2 == pytest.approx((b - a).mean())


def test_paired_interval_against_zeros_is_the_interval_of_the_report() -> None:
    subjects = np.repeat(np.arange(20), 3)
    values = np.random.default_rng(1).normal(size=60)
    kept: list[float] = []

    def mean(_: Any, real: Any) -> float:
        kept.append(float(values[real].mean()))
        return kept[-1]

    single = jackknife_interval(mean, float(values.mean()), 60, subjects)
    found = paired_interval([0.0] * 20, list(kept), float(values.mean()))
    assert found == pytest.approx({"low": single.low, "high": single.high})


def test_pairs_find_what_overlap_hides(write: Callable[[dict[str, Any], str], Path]) -> None:
    rng = np.random.default_rng(2)
    shared = rng.normal(0, 0.01, 20)
    a, b = report(), other()
    a["metrics"]["fd"] |= {"jackknife": (30 + shared).tolist()}
    b["metrics"]["fd"] |= {"jackknife": (40 + shared + rng.normal(0, 0.001, 20)).tolist()}
    first, second = write(a, "a"), write(b, "b")
    row = rows_of(compare(first, second))["fd"]
    assert (row["method"], row["explained"], row["nearer"]) == ("paired", False, "A")
    assert row["interval"]["low"] < 10 < row["interval"]["high"]
    for spoil in (
        lambda r: r["subject"].update(seed=1),
        lambda r: r["metrics"]["fd"]["jackknife"].pop(),
        lambda r: r["metrics"]["fd"]["jackknife"].__setitem__(0, None),
    ):
        changed = copy.deepcopy(b)
        spoil(changed)
        second.write_text(json.dumps(changed))
        assert rows_of(compare(first, second))["fd"]["method"] == "overlap"


def test_the_page_is_offline_and_escaped(both: tuple[Path, Path], tmp_path: Path) -> None:
    values = json.loads(both[0].read_text())
    values["audit"]["reason"] = "<script>alert(1)</script>"
    both[0].write_text(json.dumps(values))
    page = write_comparison(compare(*both), tmp_path / "c.html").read_text("utf-8")
    assert "<script" not in page
    assert not re.search(r"https?://|\ssrc=", page)
    assert "default-src 'none'" in page
    assert "B is better: the intervals lie apart." in page


def test_only_an_older_comparison_is_replaced(both: tuple[Path, Path], tmp_path: Path) -> None:
    result = compare(*both)
    out = write_comparison(result, tmp_path / "c.html")
    assert write_comparison(result, out) == out
    foreign = tmp_path / "report.html"
    foreign.write_text("<html>a report</html>")
    for path, words in ((foreign, "is no comparison"), (tmp_path / "c.json", "web page"), (tmp_path, "web page")):
        with pytest.raises(ConfigError, match=words):
            write_comparison(result, path)
    assert foreign.read_text() == "<html>a report</html>"


def test_the_command(both: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    compare_command(*both, out=tmp_path / "c.html")
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("KID ") and line.endswith("B is better: the intervals lie apart.") for line in lines)
    assert "memorisation audit A: pass" in lines
    assert (tmp_path / "c.html").is_file()
    with pytest.raises(StylescanError):
        compare_command(both[0], tmp_path / "none")
