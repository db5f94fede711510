"""Windows: the customary names, LEVEL/WIDTH, the file's own, and plain words for everything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stylescan.data.geometry import undo
from stylescan.data.options import PrepareOptions
from stylescan.data.planes import plane_slices
from stylescan.data.prepare import prepare
from stylescan.data.windows import CT_WINDOWS, Window, parse_window, window_range
from stylescan.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("brain", (0, 80)), ("Brain ", (0, 80)), ("lung", (-1350, 150)), ("temporal bone", (-800, 2000)),
     ("Soft_Tissue", (-160, 240)), ("40/80", (0, 80)), ("-600/1500", (-1350, 150)), (" 40 / 80.5 ", (-0.25, 80.25)),
     ("+.5/1", (0, 1))],
)  # fmt: skip
def test_what_users_write(text: str, expected: tuple[float, float]) -> None:
    assert window_range(parse_window(text), None) == expected


def test_every_name_is_known_and_wide_enough_to_hold_what_it_is_for() -> None:
    ranges = {name: window_range(parse_window(name), None) for name in CT_WINDOWS}
    for name, (tissue, value) in {
        "brain": ("grey matter", 38), "subdural": ("fresh blood", 70), "lung": ("lung", -850), "liver": ("liver", 60),
        "temporal-bone": ("petrous bone", 1900), "bone": ("cortical bone", 1200), "angiography": ("vessel", 350),
    }.items():  # fmt: skip
        low, high = ranges[name]
        assert low < value < high, tissue
    assert all(low < high for low, high in ranges.values())


def test_the_header_window_is_the_files_own() -> None:
    assert parse_window("Header") == "header"
    assert window_range("header", (-10, 90)) == (-10, 90)
    with pytest.raises(DataError, match=r"7\.dcm: states no window") as caught:
        window_range("header", None, source="7.dcm")
    assert "LEVEL/WIDTH" in caught.value.remedy
    for wrong in ((5.0, 5.0), (9.0, 1.0), (float("nan"), 1.0), (0.0, float("inf"))):
        with pytest.raises(DataError, match="rising range"):
            window_range("header", wrong)


def test_a_named_window_is_for_hounsfield_units_alone() -> None:
    brain = parse_window("brain")
    assert window_range(brain, None, units="HU") == window_range(brain, None, units=None) == (0, 80)
    with pytest.raises(DataError, match=r"Bq/ml.*'brain'"):
        window_range(brain, None, units="Bq/ml", source="pet.dcm")
    assert window_range(Window(40, 80), None, units="Bq/ml") == (0, 80)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [("brian", "did you mean brain?"), ("lungs", "did you mean lung?"), ("bones", "did you mean bone?"),
     ("heder", "did you mean header?"), ("zzzz", "name one of brain, "), ("40", "LEVEL/WIDTH"), ("40/", "LEVEL/WIDTH"),
     ("40/80/2", "LEVEL/WIDTH"), ("nan/1", "LEVEL/WIDTH"), ("1e3/5", "LEVEL/WIDTH"), ("", "LEVEL/WIDTH"),
     ("40/0", "for instance 40/80"), ("40/-80", "for instance 40/80"), ("9999999/1", "for instance 40/80")],
)  # fmt: skip
def test_anything_else_is_refused_with_a_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match="window") as caught:
        parse_window(text)
    assert remedy in caught.value.remedy


@given(st.text(max_size=20))
def test_no_text_does_worse_than_a_refusal(text: str) -> None:
    try:
        window = parse_window(text)
    except ConfigError as problem:
        assert problem.remedy
    else:
        low, high = window_range(window, (0.0, 1.0))
        assert low < high


def test_the_record_names_preset_and_numbers() -> None:
    assert parse_window("lung").text == "lung -600/1500"  # type: ignore[union-attr]
    assert parse_window("40/80.5").text == "40/80.5"  # type: ignore[union-attr]


def test_a_window_is_applied_and_recorded(tmp_path: Path, write_nifti: Callable[..., Path]) -> None:
    voxels = np.random.default_rng(0).integers(-1000, 1000, (16, 16, 16)).astype(np.int16)
    scan = write_nifti("scans/a.nii.gz", voxels)
    options = PrepareOptions(window="brain", min_foreground=0, bits=16, workers=1)
    data, _ = prepare(scan, tmp_path / "DATA", options)
    image, record = data.read([8])[0, 0], data.manifest.images[8]
    assert (record.value_low, record.value_high) == (0, 80)
    intensity = data.manifest.intensity
    assert (intensity.mapping, intensity.window, intensity.percentiles) == ("window", "brain 40/80", None)
    expected = plane_slices(voxels, "axial")[record.slice or 0].clip(0, 80)
    np.testing.assert_allclose(undo(image, record.geometry) / 65535 * 80, expected, atol=80 / 65535)
    with pytest.raises(ConfigError, match="brian"):
        prepare(scan, tmp_path / "no", PrepareOptions(window="brian", workers=1))
    assert not (tmp_path / "no").exists()
    with pytest.raises(DataError, match="no window of its own"):
        prepare(scan, tmp_path / "no", PrepareOptions(window="header", workers=1))
