"""PNG, TIFF, NIfTI and DICOM of generated images: what goes in comes out of other people's readers, upright, in the
scan's own values and with its spacing; and each file says that it is synthetic."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from stylescan.cli import run
from stylescan.data.formats.nifti import read_nifti
from stylescan.data.formats.tiff import read_tiff
from stylescan.data.options import PrepareOptions
from stylescan.data.planes import plane_slices, plane_spacing
from stylescan.data.prepare import prepare
from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, SnapshotError
from stylescan.generate import images as images_module
from stylescan.generate.file_formats import FORMATS, FormatName, Output, encode_png, parts_of
from stylescan.generate.images import file_names, write_images
from stylescan.generate.nifti_file import encode_nifti
from stylescan.generate.sample import NO_CLASS, sample
from stylescan.generate.snapshot import META_NAME, Snapshot, load_snapshot, save_snapshot
from stylescan.generate.value_range import ValueRange, in_source_values, training_range

PLANES = ["axial", "coronal", "sagittal"]
ALL: list[FormatName] = ["png", "tiff", "nifti", "dicom"]
HU = ValueRange(low=-1000, high=1500, units="HU", scope="all")
TEXT = {"Title": "SYNTHETIC image, not for diagnosis", "Software": "stylescan 1", "model_hash": "ab" * 32, "seed": "7"}


def dicom(path: Path) -> Any:
    return pytest.importorskip("pydicom").dcmread(path)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A volume without any symmetry, in an orientation of its own, 1.5 mm wide, -1000 to 1499."""
    voxels = np.random.default_rng(0).integers(-1000, 1500, (25, 28, 30)).astype(np.int16)
    voxels[0, 0, 0], voxels[-1, -1, -1] = -1000, 1499
    affine = np.array([[0, -1.5, 0, 3], [0, 0, 1.5, 0], [-1.5, 0, 0, 9], [0, 0, 0, 1]])
    path = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


@pytest.fixture
def written(
    scan: Path, tmp_path: Path, make_snapshot: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[np.ndarray, tuple[float, float], list[Path]]]:
    """written(plane, format) -> the scan's own slices [n, H, W], their spacing, and the files that hold the prepared
    slices as if a perfect model had made them: only the drawing of new ones is left out."""

    def make(plane: str, file_format: FormatName) -> tuple[np.ndarray, tuple[float, float], list[Path]]:
        options = PrepareOptions(plane=plane, percentiles=(0, 100), min_foreground=0, bits=16, workers=1)
        data, _ = prepare(scan, tmp_path / "DATA", options)
        geometry = data.output_geometry()
        assert geometry.source_height == geometry.resampled_height  # pixels were kept, and padded
        assert geometry.pad_top + geometry.pad_left > 0
        perfect = make_snapshot(classes=0, resolution=data.resolution)
        meta = perfect.meta.model_copy(
            update={"bits": 16, "plane": data.manifest.plane, "values": training_range(data.manifest),
                    "geometry": geometry.model_dump(mode="json")}
        )  # fmt: skip
        seeds = list(range(len(data)))
        batches = [(seeds, [NO_CLASS] * len(seeds), data.read(np.arange(len(data))))]
        monkeypatch.setattr(images_module, "sample", lambda *_, **__: batches)
        paths = write_images(dataclasses.replace(perfect, meta=meta), tmp_path / "made", seeds, file_format=file_format)
        volume = read_nifti([scan])
        return plane_slices(volume.voxels, plane), plane_spacing(volume.spacing_mm, plane), paths

    return make


STEP = 2499 / 65535


@pytest.mark.parametrize("plane", PLANES)
def test_nifti_gives_the_scans_slices_back(plane: str, written: Callable[..., Any]) -> None:
    slices, spacing, paths = written(plane, "nifti")
    assert len(paths) == len(slices)
    for path, picture in zip(paths[::6], slices[::6], strict=True):
        volume = read_nifti([path])
        again = plane_slices(volume.voxels, plane)
        assert again.shape == (1, *picture.shape)
        np.testing.assert_allclose(again[0], picture, atol=STEP)
        assert plane_spacing(volume.spacing_mm, plane) == pytest.approx(spacing)
        image = nib.load(path)
        assert image.shape == (picture.shape[1], picture.shape[0], 1)
        # A viewer that knows no orientation draws the first axis to the right and the second one up.
        np.testing.assert_allclose(np.asarray(image.dataobj)[:, ::-1, 0].T, picture, atol=STEP)
        assert nib.aff2axcodes(image.affine) == {"axial": tuple("LAS"), "coronal": tuple("LSA"),
                                                 "sagittal": tuple("PSR")}[plane]  # fmt: skip
        np.testing.assert_allclose(image.header.get_qform(), image.header.get_sform(), atol=1e-5)
        assert image.header.get_xyzt_units()[0] == "mm"
        assert bytes(image.header["descrip"].item()).startswith(b"SYNTHETIC")
        comment = json.loads(image.header.extensions[0].get_content())
        side = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
        assert comment == side["Provenance"]
        assert comment["Title"].startswith("SYNTHETIC")
        assert side["Values"]["scope"] == "all"


@pytest.mark.parametrize("plane", PLANES)
def test_tiff_gives_the_scans_slices_back(plane: str, written: Callable[..., Any]) -> None:
    slices, spacing, paths = written(plane, "tiff")
    for path, picture in zip(paths[::6], slices[::6], strict=True):
        np.testing.assert_allclose(read_tiff([path]).pixels[0], picture, atol=STEP)
        with tifffile.TiffFile(path) as file:
            tags = file.pages.first.tags
            assert file.pages.first.dtype == np.float32
            per_cm = [tags[name].value for name in ("YResolution", "XResolution")]
            assert tuple(10 * down / up for up, down in per_cm) == pytest.approx(spacing)
            assert tags["ResolutionUnit"].value == 3  # centimetre
            assert json.loads(tags["ImageDescription"].value)["Title"].startswith("SYNTHETIC")
            assert "DateTime" not in tags
        with Image.open(path) as image:  # a reader of other people
            np.testing.assert_allclose(np.asarray(image), picture, atol=STEP)


@pytest.mark.parametrize("plane", PLANES)
def test_dicom_gives_the_scans_slices_back(plane: str, written: Callable[..., Any]) -> None:
    pytest.importorskip("pydicom")
    slices, spacing, paths = written(plane, "dicom")
    files = [dicom(path) for path in paths[::6]]
    for file, picture in zip(files, slices[::6], strict=True):
        values = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        np.testing.assert_allclose(values, picture, atol=1.01 * STEP)
        assert [float(v) for v in file.get("PixelSpacing", file.get("NominalScannedPixelSpacing"))] == pytest.approx(
            spacing
        )
        assert "SYNTHETIC" in str(file)
    assert all(file.SeriesDescription.startswith("SYNTHETIC image, not for diagnosis; seed ") for file in files)
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):  # one person a seed
        assert len({file[keyword].value for file in files}) == len(files)


@pytest.mark.parametrize("plane", PLANES)
def test_png_gives_the_scans_slices_back(plane: str, written: Callable[..., Any]) -> None:
    slices, _, paths = written(plane, "png")
    for path, picture in zip(paths[::6], slices[::6], strict=True):
        with Image.open(path) as image:
            np.testing.assert_allclose(np.asarray(image) * STEP - 1000, picture, atol=STEP)
            assert image.info["dpi"] == pytest.approx((25.4 / 1.5,) * 2, rel=1e-3)
            assert image.info["values"] == "black and white stand for -1000 to 1499 (the range of every training image)"


@given(
    plane=st.sampled_from([*PLANES, None]), height=st.integers(1, 9), width=st.integers(1, 9), channels=st.integers(1, 4),
    spacing=st.none() | st.tuples(st.floats(0.05, 5), st.floats(0.05, 5)), bits=st.sampled_from([8, 16]),
)  # fmt: skip
def test_any_picture_survives_nifti(
    tmp_path_factory: pytest.TempPathFactory, plane: str | None, height: int, width: int, channels: int,
    spacing: tuple[float, float] | None, bits: int,
) -> None:  # fmt: skip
    image = np.random.default_rng(height).integers(0, 2**bits, (channels, height, width)).astype(f"u{bits // 8}")
    path = tmp_path_factory.mktemp("any") / "x.nii.gz"
    path.write_bytes(encode_nifti(image, TEXT, spacing_mm=spacing, plane=plane))
    volume = read_nifti([path])
    hung = plane or "axial"
    for contrast, channel in zip(volume.contrasts, image, strict=True):
        np.testing.assert_array_equal(plane_slices(contrast, hung)[0], channel)
    assert plane_spacing(volume.spacing_mm, hung) == pytest.approx(spacing or (1, 1), rel=1e-5)
    assert ("no orientation" in " ".join(volume.notes)) == (plane is None)
    units = nib.load(path).header.get_xyzt_units()[0]
    assert units == ("mm" if spacing else "unknown")


@pytest.mark.parametrize("file_format", ALL)
def test_equal_arguments_are_equal_bytes_and_name_nobody(
    file_format: FormatName, tmp_path: Path, make_snapshot: Callable[..., Snapshot]
) -> None:
    if file_format == "dicom":
        pytest.importorskip("pydicom")
    snapshot = make_snapshot(resolution=16)
    snapshot = dataclasses.replace(snapshot, meta=snapshot.meta.model_copy(update={"values": HU, "plane": "axial"}))
    first, second = (write_images(snapshot, tmp_path / k, [3, 4], labels=[1, 0], file_format=file_format) for k in "ab")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert first[0].read_bytes() != first[1].read_bytes()
    assert {p.name for p in first} <= {p.name for p in (tmp_path / "a").iterdir()}
    for path in (tmp_path / "a").iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert b"SYNTHETIC" in content
        for private in (str(tmp_path), socket.gethostname(), os.path.expanduser("~")):
            assert len(private) < 4 or private.encode() not in content
    if file_format == "nifti":
        assert first[0].read_bytes()[4:8] == bytes(4)  # gzip's time


@pytest.mark.parametrize(
    ("channels", "bits", "expected"),
    [(1, 16, 1), (3, 8, 1), (3, 16, 3), (2, 8, 2), (4, 8, 4)],
)  # fmt: skip
@pytest.mark.parametrize("file_format", ALL)
def test_channels_go_together_where_the_format_can_hold_them(
    file_format: FormatName, channels: int, bits: int, expected: int, tmp_path: Path,
    make_snapshot: Callable[..., Snapshot],
) -> None:  # fmt: skip
    if file_format == "dicom":
        pytest.importorskip("pydicom")
    snapshot = make_snapshot(classes=0, resolution=16, img_channels=channels)
    snapshot = dataclasses.replace(snapshot, meta=snapshot.meta.model_copy(update={"bits": bits}))
    ((_, _, images),) = sample(snapshot, [5])
    paths = write_images(snapshot, tmp_path, [5], file_format=file_format)
    assert len(paths) == (1 if file_format == "nifti" else expected)
    assert [p.name for p in paths] == file_names(snapshot, 5, NO_CLASS, file_format)
    if file_format == "nifti":
        voxels = np.asarray(nib.load(paths[0]).dataobj)
        assert voxels.shape == ((16, 16, 1) if channels == 1 else (16, 16, 1, channels))
        assert voxels.dtype == images.dtype
        read = plane_slices(voxels if channels == 1 else voxels[..., -1], "axial")[0][:, ::-1]
        np.testing.assert_array_equal(read, images[0, -1])
        return
    load = {
        "png": lambda p: np.asarray(Image.open(p)),
        "tiff": tifffile.imread,
        "dicom": lambda p: dicom(p).pixel_array,
    }
    stored = [load[file_format](path) for path in paths]
    back = stored[0].transpose(2, 0, 1) if stored[0].ndim == 3 else np.stack(stored)
    np.testing.assert_array_equal(back, images[0])
    assert stored[0].dtype == images.dtype


def test_contrasts_are_written_in_the_values_of_each() -> None:
    image = np.array([[[0, 255]], [[0, 255]]], np.uint8)
    values = ValueRange(low=0, high=1, further=[(-5, 5)], scope="typical")
    np.testing.assert_array_equal(in_source_values(image, values), [[[0, 1]], [[-5, 5]]])
    output = Output(image, TEXT, values=values)
    pages = [tifffile.imread(io.BytesIO(FORMATS["tiff"].encode(part))) for part in parts_of(output, False)]
    np.testing.assert_array_equal(pages, [[[0, 1]], [[-5, 5]]])
    raw = gzip.decompress(FORMATS["nifti"].encode(output))
    voxels = np.asarray(nib.Nifti1Image.from_bytes(raw).dataobj)
    np.testing.assert_array_equal(voxels[:, 0, 0, :], [[0, -5], [1, 5]])


def test_eight_bit_values_that_were_never_scaled_stay_integers() -> None:
    plain = ValueRange(low=0, high=255, scope="all")
    image = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    stream = io.BytesIO(FORMATS["tiff"].encode(Output(image, TEXT, values=plain)))
    assert tifffile.imread(stream).dtype == np.uint8
    assert in_source_values(image, plain).tolist() == image.astype(float).tolist()


def test_nothing_is_overwritten_not_even_a_sidecar(tmp_path: Path, make_snapshot: Callable[..., Snapshot]) -> None:
    snapshot = make_snapshot(classes=0, resolution=16)
    (tmp_path / "seed-000001.json").write_bytes(b"precious")
    with pytest.raises(ConfigError, match=r"seed-000001\.json: exists already"):
        write_images(snapshot, tmp_path, [0, 1], file_format="nifti")
    assert [p.name for p in tmp_path.iterdir()] == ["seed-000001.json"]
    assert len(write_images(snapshot, tmp_path, [0, 1], file_format="nifti", overwrite=True)) == 2
    assert len(list(tmp_path.iterdir())) == 4  # two images, two sidecars, nothing left over


def test_rows_and_columns_keep_their_own_spacing() -> None:
    output = Output(np.zeros((1, 4, 6), np.uint8), TEXT, spacing_mm=(0.5, 0.25), plane="axial")
    with tifffile.TiffFile(io.BytesIO(FORMATS["tiff"].encode(output))) as file:
        across, down = (file.pages.first.tags[name].value for name in ("XResolution", "YResolution"))
        assert (across[0] / across[1], down[0] / down[1]) == (40, 20)  # pixels a centimetre
    image = nib.Nifti1Image.from_bytes(gzip.decompress(FORMATS["nifti"].encode(output)))
    assert image.header.get_zooms() == (0.25, 0.5, 1)  # the columns are its first axis


def test_png_spacing_is_in_whole_pixels_a_metre() -> None:
    stream = io.BytesIO(encode_png(np.zeros((1, 4, 4), np.uint8), {}, (0.5, 0.25)))
    with Image.open(stream) as image:
        assert image.info["dpi"] == pytest.approx((101.6, 50.8), rel=1e-3)  # across, down


# -- the range of the training images ------------------------------------------------------------------------------


def with_ranges(
    data: PreparedDataset, ranges: Callable[[int], tuple[float, float]], mapping: str = "percentile",
    units: str | None = None,
) -> Any:  # fmt: skip
    records = [
        image.model_copy(update={"value_low": ranges(k)[0], "value_high": ranges(k)[1]})
        for k, image in enumerate(data.manifest.images)
    ]
    intensity = data.manifest.intensity.model_copy(update={"mapping": mapping, "units": units})
    return data.manifest.model_copy(update={"images": records, "intensity": intensity})


def test_the_range_of_every_image_or_the_medians(make_dataset: Callable[..., PreparedDataset]) -> None:
    data = make_dataset()
    train = set(data.indices("train").tolist())
    assert training_range(data.manifest) == ValueRange(low=0, high=255, scope="all")
    others = with_ranges(data, lambda k: (0, 80) if k in train else (5, 9))
    assert training_range(others) == ValueRange(low=0, high=80, scope="all")  # only what the model has seen
    own = with_ranges(data, lambda k: (k % 3, 100 + k % 3))
    found = training_range(own)
    assert found == ValueRange(low=1, high=101, scope="typical")
    assert found is not None
    assert "indicative" in found.words()
    assert training_range(with_ranges(data, lambda k: (0, 80), "mixed")) is None
    assert training_range(with_ranges(data, lambda k: (3, 3))) is None
    assert training_range(with_ranges(data, lambda k: (-1000, 1500), "window", "HU")) == HU
    assert HU.words() == "-1000 to 1500 HU (the range of every training image)"


def test_an_old_snapshot_without_values_loads_and_a_forged_range_does_not(
    tmp_path: Path, make_snapshot: Callable[..., Snapshot]
) -> None:
    made = make_snapshot(resolution=16)
    with_values = made.meta.model_copy(update={"values": HU})
    folder = save_snapshot(tmp_path / "new", made.generator, with_values)
    assert load_snapshot(folder).meta.values == HU
    again = save_snapshot(tmp_path / "again", made.generator, with_values)
    assert (folder / META_NAME).read_bytes() == (again / META_NAME).read_bytes()
    record = json.loads((folder / META_NAME).read_text())
    old = {key: value for key, value in record.items() if key != "values"}
    (folder / META_NAME).write_text(json.dumps(old))
    assert load_snapshot(folder).meta.values is None
    for change in (
        {"high": -1000},
        {"high": float("1e400")},
        {"scope": "some"},
        {"units": "x" * 99},
        {"further": [[1, 1]]},
    ):
        text = json.dumps({**old, "values": {**HU.model_dump(mode="json"), **change}})
        (folder / META_NAME).write_text(text.replace("Infinity", "1e400"))
        with pytest.raises(SnapshotError, match=r"snapshot\.json"):
            load_snapshot(folder)
    with pytest.raises(ValidationError):
        ValueRange(low=1, high=0, scope="all")


# -- the command line ----------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path, make_snapshot: Callable[..., Snapshot]) -> Path:
    made = make_snapshot(resolution=16)
    return save_snapshot(tmp_path / "model", made.generator, made.meta.model_copy(update={"values": HU}))


def test_generate_writes_every_format(model: Path, tmp_path: Path) -> None:
    for name, form in FORMATS.items():
        if name == "dicom":
            pytest.importorskip("pydicom")
        out = tmp_path / name
        assert run(["generate", str(model), "--seeds", "0-1", "--out", str(out), "--format", name, "--bits", "16"]) == 0
        assert sum(path.name.endswith(form.suffix) for path in out.iterdir()) == 2
    values = np.asarray(nib.load(next((tmp_path / "nifti").glob("*.nii.gz"))).dataobj)
    assert values.dtype.kind == "f"
    assert -1000 <= values.min() < values.max() <= 1500.001


@pytest.mark.parametrize(
    ("more", "said"),
    [(["--format", "nifti", "--grid"], "a grid is a picture"), (["--format", "bmp"], "bmp"),
     (["--format", "tiff", "--out", "one.tif"], "looks like one file")],
)  # fmt: skip
def test_impossible_combinations_are_refused(
    more: list[str], said: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    out = [] if "--out" in more else ["--out", "made"]
    assert run(["generate", str(model), "--seeds", "0", *out, *more]) == 2
    assert said in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_without_pydicom_the_remedy_is_named(
    tmp_path: Path, make_snapshot: Callable[..., Snapshot], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)  # how Python marks a module that cannot be had
    with pytest.raises(ConfigError, match="pydicom") as caught:
        write_images(make_snapshot(resolution=16), tmp_path, [0], file_format="dicom")
    assert "pip install" in caught.value.remedy
