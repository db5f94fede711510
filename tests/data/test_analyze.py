"""Analyze pairs: two files, one volume, sizes exact, and an orientation that is said to be assumed."""

from __future__ import annotations

import contextlib
import gzip
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stylescan.data.formats.analyze import read_analyze
from stylescan.data.layouts.found import Listing
from stylescan.data.layouts.pairs import listed_sources
from stylescan.data.sources import read_source
from stylescan.errors import DataError

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def write_pair(folder: Path, name: str = "a", *, dtype: str = "<i2", kind: Any = nib.AnalyzeImage) -> Path:
    """`name`.img and `name`.hdr, written by nibabel; the path of the .img."""
    folder.mkdir(parents=True, exist_ok=True)
    header = kind.header_class(endianness=dtype[0])
    header.set_data_dtype(np.dtype(dtype))
    image = kind(VALUES.astype(dtype), np.diag([-1.0, 1.25, 1.5, 1.0]), header)
    image.header.set_zooms((1.0, 1.25, 1.5))
    nib.save(image, folder / f"{name}.img")
    return folder / f"{name}.img"


def patched(image: Path, offset: int, layout: str, *values: float) -> Path:
    header = image.with_suffix(".hdr")
    data = bytearray(header.read_bytes())
    struct.pack_into(layout, data, offset, *values)
    header.write_bytes(bytes(data))
    return image


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_analyze([path])
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize("dtype", ["<u1", ">i2", "<i2", ">i4", "<f4", ">f8"])
def test_a_pair_reads_as_nibabel_reads_it(tmp_path: Path, dtype: str) -> None:
    path = write_pair(tmp_path, dtype=dtype)
    reference = nib.as_closest_canonical(nib.AnalyzeImage.load(path))
    for given_paths in ([path], [path.with_suffix(".hdr")], [path, path.with_suffix(".hdr")]):
        volume = read_analyze(given_paths)
        np.testing.assert_array_equal(volume.voxels, np.asarray(reference.dataobj, np.float32))
        assert volume.spacing_mm == pytest.approx((1, 1.25, 1.5))
        assert len(volume.notes) == 1
        assert "orientation assumed" in volume.notes[0]
        assert "transverse" in volume.notes[0]


def test_compressed_upper_case_and_scaled_pairs(tmp_path: Path) -> None:
    plain = write_pair(tmp_path / "plain")
    expected = read_analyze([plain]).voxels
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "a.img.gz").write_bytes(gzip.compress(plain.read_bytes()))
    shutil.copy(plain.with_suffix(".hdr"), packed / "a.hdr")
    np.testing.assert_array_equal(read_analyze([packed / "a.img.gz"]).voxels, expected)
    (packed / "a.hdr.gz").write_bytes(gzip.compress((packed / "a.hdr").read_bytes()))
    (packed / "a.hdr").unlink()
    np.testing.assert_array_equal(read_analyze([packed / "a.hdr.gz"]).voxels, expected)
    loud = tmp_path / "loud"
    loud.mkdir()
    shutil.copy(plain, loud / "A.IMG")
    shutil.copy(plain.with_suffix(".hdr"), loud / "A.HDR")
    np.testing.assert_array_equal(read_analyze([loud / "A.HDR"]).voxels, expected)
    scaled = patched(write_pair(tmp_path / "scaled"), 112, "<f", 0.5)  # SPM's factor
    np.testing.assert_array_equal(read_analyze([scaled]).voxels, expected / 2)


def test_matrices_of_spm_are_never_read(tmp_path: Path) -> None:
    path = write_pair(tmp_path)
    expected = read_analyze([path]).voxels
    path.with_suffix(".mat").write_bytes(b"\x80\x04not a matrix")
    np.testing.assert_array_equal(read_analyze([path]).voxels, expected)


def test_a_nifti_pair_goes_to_the_nifti_reader(tmp_path: Path) -> None:
    for kind in (nib.Nifti1Pair, nib.Nifti2Pair):
        path = tmp_path / "pair.img"
        nib.save(kind(VALUES, np.diag([1.0, 2.0, 3.0, 1.0])), path)
        volume = read_analyze([path])
        np.testing.assert_array_equal(volume.voxels, VALUES)  # not flipped: this header does say
        assert (volume.spacing_mm, volume.notes) == ((1.0, 2.0, 3.0), ())
    with path.open("ab") as stream:
        stream.write(b"\0")
    assert "promises" in refused(path)


TRAPS: dict[str, tuple[int, str, tuple[float, ...], str]] = {
    "one slice less": (46, "<h", (5,), "promises"),
    "one slice more": (46, "<h", (7,), "promises"),
    "huge": (42, "<3h", (900, 900, 900), "promises"),
    "negative": (42, "<h", (-4,), "axes of length"),
    "no axes": (40, "<h", (0,), "axes of length"),
    "series": (40, "<5h", (4, 4, 5, 6, 9), "time series"),
    "bits": (72, "<h", (8,), "8 bits a voxel"),
    "smaller type": (70, "<hh", (2, 8), "promises"),
    "colours": (70, "<hh", (128, 24), "colours"),
    "complex": (70, "<hh", (32, 64), "complex"),
    "binary": (70, "<hh", (1, 1), "bits"),
    "unknown": (70, "<hh", (77, 16), "unknown type 77"),
    "spacing": (80, "<f", (0.0,), "spacing"),
    "spacing NaN": (84, "<f", (float("nan"),), "spacing"),
    "offset": (108, "<f", (2.0,), "promises"),
    "offset NaN": (108, "<f", (float("nan"),), "begin at byte"),
    "scale": (112, "<f", (float("inf"),), "scaled by"),
    "size": (0, "<i", (350,), "348 bytes"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_header_traps(tmp_path: Path, trap: str) -> None:
    offset, layout, values, words = TRAPS[trap]
    message = refused(patched(write_pair(tmp_path, "trap"), offset, layout, *values))
    assert "trap." in message
    assert words in message


def test_unknown_orientation_codes_are_said(tmp_path: Path) -> None:
    volume = read_analyze([patched(write_pair(tmp_path), 252, "<B", 77)])
    assert "unknown orientation code 77" in volume.notes[0]
    np.testing.assert_array_equal(volume.voxels, VALUES[::-1])


def test_lone_halves_and_cut_files(tmp_path: Path) -> None:
    path = write_pair(tmp_path / "whole")
    for suffix, missing in ((".img", "header"), (".hdr", "image")):
        lone = tmp_path / suffix[1:] / f"lone{suffix}"
        lone.parent.mkdir()
        shutil.copy(path.with_suffix(suffix), lone)
        assert f"its {missing}" in refused(lone)
        with pytest.raises(DataError, match="one half of a pair"):
            listed_sources(Listing(lone.parent))
    path.write_bytes(path.read_bytes()[:-1])
    assert "promises" in refused(path)
    path.with_suffix(".hdr").write_bytes(bytes(100))
    assert "cut short" in refused(path)
    path.with_suffix(".hdr").write_bytes(b"")
    assert "is empty" in refused(path)
    (tmp_path / "z").mkdir()
    shutil.copy(write_pair(tmp_path / "other"), tmp_path / "z" / "a.img")
    (tmp_path / "z" / "a.hdr.gz").write_bytes(b"not gzip")
    assert "cannot be read as Analyze" in refused(tmp_path / "z" / "a.img")


def test_a_folder_of_pairs_lists_each_once(tmp_path: Path, write_nifti: Callable[..., Path]) -> None:
    for name in ("disc1/OAS1_0001", "disc2/OAS1_0002"):
        write_pair((tmp_path / name).parent, Path(name).name)
    write_nifti("extra.nii", VALUES)
    sources = listed_sources(Listing(tmp_path))
    assert sorted(source.name for source in sources) == ["disc1/OAS1_0001.img", "disc2/OAS1_0002.img", "extra.nii"]
    pair = next(source for source in sources if source.name.startswith("disc1"))
    assert [path.name for path in pair.paths] == ["OAS1_0001.hdr", "OAS1_0001.img"]
    assert (pair.kind, pair.format) == ("volume", "analyze")
    np.testing.assert_array_equal(read_source(pair).voxels, VALUES[::-1])  # type: ignore[union-attr]
    [single] = listed_sources(Listing(tmp_path / "disc1" / "OAS1_0001.hdr"))
    assert (single.name, single.paths) == (pair.paths[1].name, pair.paths)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=5))
def test_a_damaged_header_is_an_error_or_the_same_number_of_voxels(
    tmp_path: Path, changes: list[tuple[int, int]]
) -> None:
    path = write_pair(tmp_path)
    for offset, value in changes:
        patched(path, offset, "<B", value)
    with contextlib.suppress(DataError):
        assert read_analyze([path]).voxels.size == VALUES.size
