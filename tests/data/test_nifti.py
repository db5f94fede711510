"""NIfTI: volumes come in as they are, and a file that is not what its header says never does."""

from __future__ import annotations

import contextlib
import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stylescan.data.formats import voxels
from stylescan.data.formats.analyze import read_analyze
from stylescan.data.formats.nifti import read_nifti
from stylescan.data.formats.scans import Volume
from stylescan.data.intensity import looks_like_labels
from stylescan.errors import DataError

# A volume whose values tell where each voxel lies: 100 * right + 10 * front + up, in voxels.
RIGHT, FRONT, UP = np.meshgrid(np.arange(4), np.arange(5), np.arange(6), indexing="ij")
MAP = (100 * RIGHT + 10 * FRONT + UP).astype(np.int16)


def refused(*paths: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_nifti(paths)
    assert caught.value.remedy
    return caught.value.message


def test_a_single_time_point_is_a_volume_and_a_series_is_not(write_nifti: Callable[..., Path]) -> None:
    assert read_nifti([write_nifti("one.nii", MAP[..., None])]).voxels.shape == (4, 5, 6)
    pair = read_nifti([write_nifti("pair.nii", np.stack([MAP, MAP + 1], -1)[..., None])])
    assert pair.voxels.shape == (4, 5, 6, 2)
    assert np.array_equal(pair.contrasts[1], pair.contrasts[0] + 1)
    with pytest.raises(DataError, match="4x5x6x9") as caught:
        read_nifti([write_nifti("many.nii", np.stack([MAP] * 9, -1))])
    assert "fslroi" in caught.value.remedy
    with pytest.raises(DataError, match=r"4x5 \(not a volume\)") as caught:
        read_nifti([write_nifti("flat.nii", MAP[..., 0])])
    assert "third axis" in caught.value.remedy
    assert read_nifti([write_nifti("slice.nii", MAP[..., :1])]).voxels.shape == (4, 5, 1)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8"])
def test_every_type_and_byte_order_as_nibabel_reads_it(
    tmp_path: Path, name: str, kind: Any, order: str, dtype: str
) -> None:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(np.dtype(order + dtype))
    image = kind((MAP % 100).astype(order + dtype), np.diag([1.5, -2.0, 3.0, 1.0]), header)
    nib.save(image, tmp_path / name)
    volume = read_nifti([tmp_path / name])
    reference = nib.as_closest_canonical(nib.load(tmp_path / name))
    np.testing.assert_array_equal(volume.voxels, np.asarray(reference.dataobj, np.float32))
    assert volume.voxels.dtype == np.float32
    assert volume.spacing_mm == pytest.approx((1.5, 2, 3))
    assert volume.notes == ()


def edit(path: Path, change: Callable[[bytearray], object], name: str = "trap.nii") -> Path:
    data = bytearray(path.read_bytes())
    change(data)
    out = path.with_name(name)
    out.write_bytes(bytes(data))
    return out


def patch(offset: int, layout: str, *values: float) -> Callable[[bytearray], object]:
    return lambda data: struct.pack_into(layout, data, offset, *values)


def both(*changes: Callable[[bytearray], object]) -> Callable[[bytearray], object]:
    return lambda data: [change(data) for change in changes]


def test_scaling_and_missing_orientation(write_nifti: Callable[..., Path]) -> None:
    path = edit(write_nifti("a.nii", MAP), both(patch(112, "<ff", 0.5, 10.0), patch(252, "<hh", 0, 0)))
    volume = read_nifti([path])
    assert isinstance(volume, Volume)
    assert sorted(volume.voxels.reshape(-1)) == sorted((MAP * 0.5 + 10).reshape(-1))
    assert "no orientation" in volume.notes[0]


def test_zero_and_nan_slopes_mean_no_scaling(write_nifti: Callable[..., Path]) -> None:
    for slope in (0.0, float("nan")):
        path = edit(write_nifti("a.nii", MAP), patch(112, "<ff", slope, 10.0))
        np.testing.assert_array_equal(read_nifti([path]).voxels, MAP)


def test_units_of_length_are_converted(write_nifti: Callable[..., Path]) -> None:
    plain = write_nifti("a.nii", MAP, np.diag([1.0, 2.0, 3.0, 1.0]))
    assert read_nifti([edit(plain, patch(123, "<B", 0))]).spacing_mm == pytest.approx((1, 2, 3))
    assert read_nifti([edit(plain, patch(123, "<B", 3))]).spacing_mm == pytest.approx((0.001, 0.002, 0.003))
    metres = write_nifti("m.nii", MAP, np.diag([0.001, 0.002, 0.003, 1.0]))
    assert read_nifti([edit(metres, patch(123, "<B", 1))]).spacing_mm == pytest.approx((1, 2, 3))
    assert "unit of length 5" in refused(edit(plain, patch(123, "<B", 5)))


def test_a_missing_handedness_means_right_handed(write_nifti: Callable[..., Path]) -> None:
    """pixdim[0] is 0 in many files: the standard takes it for 1."""
    path = write_nifti("a.nii", MAP[::-1], np.array([[-1.0, 0, 0, 3], [0, -2.0, 0, 8], [0, 0, 3.0, 0], [0, 0, 0, 1]]))
    volume = read_nifti([edit(path, both(patch(76, "<f", 0.0), patch(252, "<hh", 1, 0)))])
    np.testing.assert_array_equal(volume.voxels, MAP[:, ::-1])
    assert volume.spacing_mm == pytest.approx((1, 2, 3))
    assert volume.notes == ()


def test_two_orientations_that_differ_are_said(write_nifti: Callable[..., Path]) -> None:
    image = nib.Nifti1Image(MAP, np.diag([-1.0, 1.0, 1.0, 1.0]))
    image.set_qform(np.eye(4), code=1)
    path = write_nifti("a.nii", MAP)
    nib.save(image, path)
    volume = read_nifti([path])
    assert "two orientations" in volume.notes[0]
    np.testing.assert_array_equal(volume.voxels, MAP[::-1])  # as the sform says


HEADER_TRAPS: dict[str, tuple[Callable[[bytearray], object], str]] = {
    "huge": (patch(42, "<hhh", 900, 900, 900), "promises"),
    "beyond all memory": (patch(42, "<hhh", 32000, 32000, 32000), "header says"),
    "negative": (patch(42, "<h", -4), "axes of length"),
    "zero": (patch(42, "<h", 0), "axes of length"),
    "one less": (patch(42, "<h", 3), "promises"),
    "one more": (patch(44, "<h", 6), "promises"),
    "no axes": (patch(40, "<h", 0), "0 axes"),
    "eight axes": (patch(40, "<h", 8), "8 axes"),
    "hidden axis": (patch(48, "<h", 2), "axes of length"),
    "spacing NaN": (patch(80, "<f", float("nan")), "spacing"),
    "spacing infinite": (patch(80, "<f", float("inf")), "spacing"),
    "spacing negative": (patch(80, "<f", -1.0), "spacing"),
    "orientation NaN": (patch(280, "<f", float("nan")), "orientation"),
    "orientation singular": (patch(280, "<12f", *[0.0] * 12), "orientation"),
    "orientation far too large": (patch(280, "<f", 1e20), "spacing"),
    "RGB values": (patch(70, "<hh", 128, 24), "type"),
    "complex values": (patch(70, "<hh", 32, 64), "type"),
    "bits that do not fit": (patch(70, "<hh", 4, 8), "8 bits a voxel"),
    "another type of the same bits": (patch(70, "<hh", 16, 16), "16 bits a voxel"),
    "a smaller type": (patch(70, "<hh", 2, 8), "promises"),
    "scale infinite": (patch(112, "<ff", 1.0, float("inf")), "scaled by"),
    "scale overflows": (patch(112, "<ff", 3e38, 0.0), "infinite"),
    "unknown values": (patch(70, "<h", 3), "trap.nii"),
    "offset in the header": (patch(108, "<f", 348.0), "begin at byte"),
    "offset NaN": (patch(108, "<f", float("nan")), "begin at byte"),
    "offset between bytes": (patch(108, "<f", 352.5), "begin at byte"),
    "offset beyond the file": (patch(108, "<f", 1e6), "promises"),
    "offset into the voxels": (patch(108, "<f", 368.0), "promises"),
    "magic": (patch(344, "<4s", b"nn\0\0"), "no NIfTI header"),
    "magic of a pair": (patch(344, "<4s", b"ni1\0"), "header of a pair"),
    "header size": (patch(0, "<i", 349), "no header of 348 bytes"),
    "cut short": (lambda data: data.__delitem__(slice(200, None)), "no NIfTI header"),
    "one byte missing": (lambda data: data.pop(), "promises"),
    "one byte more": (lambda data: data.append(0), "promises"),
    "nothing": (lambda data: data.clear(), "is empty"),
}


@pytest.mark.parametrize("trap", HEADER_TRAPS)
@pytest.mark.parametrize("packed", [False, True])
def test_header_traps_are_errors_not_crashes(write_nifti: Callable[..., Path], trap: str, packed: bool) -> None:
    change, words = HEADER_TRAPS[trap]
    path = edit(write_nifti("a.nii", MAP), change)
    if packed:
        path = path.rename(path.with_name("trap.nii.gz"))
        path.write_bytes(gzip.compress(path.read_bytes()))
    message = refused(path)
    assert path.name in message
    assert words in message


def test_compressed_traps(write_nifti: Callable[..., Path], tmp_path: Path) -> None:
    path = write_nifti("a.nii.gz", MAP)
    packed = path.read_bytes()
    content = bytearray(gzip.decompress(packed))
    struct.pack_into("<hhh", content, 42, 900, 900, 900)
    traps = {
        "cut": (packed[:-40], "cannot be read"),
        "bomb": (gzip.compress(bytes(content)), "promises"),
        "crc": (packed[:-8] + bytes(4) + packed[-4:], "CRC"),
        "length": (packed[:-4] + bytes(4), "cannot be read"),
        "garbage": (packed + b"garbage", "cannot be read"),
        "plain": (gzip.decompress(packed), "cannot be read"),
        "empty": (b"", "is empty"),
    }
    for name, (data, words) in traps.items():
        (tmp_path / f"{name}.nii.gz").write_bytes(data)
        assert words in refused(tmp_path / f"{name}.nii.gz")


def test_memory_is_bounded_before_anything_is_allocated(
    write_nifti: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_nifti("a.nii", MAP)
    monkeypatch.setattr(voxels, "MAX_VOXELS", MAP.size - 1)
    monkeypatch.setattr(voxels, "_read_voxels", lambda grid: pytest.fail("voxels were read"))
    assert "4x5x6 voxels" in refused(path)


def test_voxels_that_are_not_numbers(write_nifti: Callable[..., Path]) -> None:
    values = MAP.astype(np.float32)
    values[0, 0, 0], values[1, 1, 1] = np.inf, np.nan
    assert "2 voxels are NaN or infinite" in refused(write_nifti("inf.nii", values))


def test_contrasts_of_a_session_become_channels(write_nifti: Callable[..., Path]) -> None:
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    first = write_nifti("sub-1_T1w.nii.gz", MAP, affine)
    # The same grid in space, stored in another order.
    flipped = affine @ np.array([[-1, 0, 0, 3], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    second = write_nifti("sub-1_T2w.nii.gz", MAP[::-1] + 1, flipped)
    volume = read_nifti([first, second])
    assert volume.voxels.shape == (4, 5, 6, 2)
    np.testing.assert_array_equal(volume.contrasts[0], MAP)
    np.testing.assert_array_equal(volume.contrasts[1], MAP + 1)
    assert volume.spacing_mm == pytest.approx((1, 2, 3))


def test_contrasts_on_other_grids_are_refused(write_nifti: Callable[..., Path]) -> None:
    first = write_nifti("one.nii", MAP)
    moved = np.eye(4)
    moved[0, 3] = 0.9 * voxels.SAME_GRID
    assert read_nifti([first, write_nifti("close.nii", MAP, moved)]).voxels.shape[3] == 2
    moved[0, 3] = 1.1 * voxels.SAME_GRID
    message = refused(first, write_nifti("moved.nii", MAP, moved))
    assert "moved.nii" in message
    assert "elsewhere in space than one.nii" in message
    assert "shape 4x5x5" in refused(first, write_nifti("short.nii", MAP[..., :5]))
    assert "two.nii" in refused(first, write_nifti("two.nii", np.stack([MAP] * 2, -1)))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_damaged_header_is_an_error_or_the_same_shape_and_type(tmp_path: Path, data: st.DataObject) -> None:
    """Bytes of the header changed at random: what still reads has the number of voxels that the file holds."""
    name = data.draw(st.sampled_from(["a.nii", "a.nii.gz"]))
    kind = data.draw(st.sampled_from([nib.Nifti1Image, nib.Nifti2Image]))
    content = bytearray(kind(MAP, np.eye(4)).to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, 350))] = data.draw(st.integers(0, 255))
    path = tmp_path / name
    path.write_bytes(gzip.compress(bytes(content), 1) if name.endswith("gz") else bytes(content))
    with contextlib.suppress(DataError):
        volume = read_nifti([path])
        assert volume.voxels.size == MAP.size
        assert np.isfinite(volume.voxels).all()


NIBABEL_READS = {
    "anatomical.nii": (33, 41, 25),
    "example4d.nii.gz": (128, 96, 24, 2),
    "example_nifti2.nii.gz": (32, 20, 12, 2),
    "reoriented_anat_moved.nii": (21, 26, 22),
    "standard.nii.gz": (4, 5, 7),
}
NIBABEL_REFUSED = {
    "functional.nii": "17x21x3x20 (a time series",
    "resampled_anat_moved.nii": "153 voxels are NaN",
    "row_major.dconn.nii": "1x1x1x1x10x10",  # a matrix of connections, no image
    "analyze.hdr": "one half of a pair",
    "nifti1.hdr": "one half of a pair",
    "nifti2.hdr": "one half of a pair",
}


def test_the_files_that_nibabel_tests_itself_with() -> None:
    """Each that has one of our suffixes reads as nibabel reads it, or is refused for the reason in the table."""
    folder = Path(nib.__file__).parent / "tests" / "data"
    if not folder.is_dir():
        pytest.skip("nibabel is installed without its test files")
    read: dict[str, tuple[int, ...]] = {}
    failed: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.name.endswith((".nii", ".nii.gz", ".hdr", ".img")):
            try:
                volume = (read_analyze if path.suffix in (".hdr", ".img") else read_nifti)([path])
            except DataError as problem:
                failed[path.name] = problem.message
                continue
            read[path.name] = volume.voxels.shape
            reference = nib.as_closest_canonical(nib.load(path))
            np.testing.assert_array_equal(volume.voxels, np.asarray(reference.dataobj, np.float32))
            np.testing.assert_allclose(volume.spacing_mm, nib.affines.voxel_sizes(reference.affine), rtol=1e-6)
    assert NIBABEL_READS.items() <= read.items()
    assert set(NIBABEL_REFUSED) <= set(failed)
    assert all(words in failed[name] for name, words in NIBABEL_REFUSED.items())


def test_no_file_of_nibabel_under_our_suffixes_gets_past_data_error(tmp_path: Path) -> None:
    """Every other format in nibabel's tests (MGH, MINC, PAR/REC, AFNI, tracks, DICOM), named as if it were NIfTI."""
    folder = Path(nib.__file__).parent / "tests" / "data"
    if not folder.is_dir():
        pytest.skip("nibabel is installed without its test files")
    foreign = [p for p in sorted(folder.iterdir()) if p.is_file() and not p.name.endswith((".nii", ".nii.gz"))]
    assert len(foreign) > 40
    for path in foreign:
        for suffix in (".nii", ".nii.gz"):
            copy = tmp_path / f"foreign{suffix}"
            copy.write_bytes(path.read_bytes())
            refused(copy)


def test_the_hippocampus_volumes(shared_data: Path) -> None:
    folder = shared_data / "hippocampus_nifti"
    scans = [read_nifti([path]).voxels for path in sorted((folder / "images").glob("*.nii.gz"))]
    masks = [read_nifti([path]).voxels for path in sorted((folder / "labels").glob("*.nii.gz"))]
    assert len(scans) == len(masks) == 60
    assert [s.shape for s in scans] == [m.shape for m in masks]
    assert len({s.shape for s in scans}) > 50
    assert len({(float(s.min()), float(s.max())) for s in scans}) > 50
    assert not any(looks_like_labels(s) for s in scans)
    assert all(looks_like_labels(m) for m in masks)
