"""Damaged files of every kind: read as they were, or refused by name; never a crash, a hang, or another shape in silence.

The fast test takes a few dozen of each kind, the slow one 2,000 in all. A mutation is a function of (kind, number).
"""

from __future__ import annotations

import gzip
import json
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from stylescan.data.formats.scans import Picture, Volume
from stylescan.data.layouts.table import find_sources
from stylescan.data.options import PrepareOptions
from stylescan.data.prepared import PreparedDataset
from stylescan.data.sources import read_source
from stylescan.errors import StylescanError

PER_KIND = {"fast": 25, "slow": 182}  # eleven kinds: 2,002
LIMIT_S = 20
SHAPE = (13, 17, 11)  # primes: no other sizes hold as many voxels
Write = Callable[[Path], Path]
Check = Callable[[Path], None]


def write_png(folder: Path, bits: int, colour: bool = False) -> Path:
    values = np.random.default_rng(bits).integers(0, 2**bits, (29, 31, 3) if colour else (29, 31))
    Image.fromarray(values.astype(np.uint16 if bits == 16 else np.uint8)).save(folder / "slice.png")
    return folder / "slice.png"


def write_jpeg(folder: Path) -> Path:
    values = np.random.default_rng(2).integers(0, 255, (31, 37)).astype(np.uint8)
    Image.fromarray(values).save(folder / "slice.jpg", quality=90)
    return folder / "slice.jpg"


def write_nifti(folder: Path, suffix: str) -> Path:
    voxels = np.random.default_rng(3).integers(-50, 900, SHAPE).astype(np.int16)
    image = nib.Nifti1Image(voxels, np.diag([1.0, 1.5, 2.0, 1.0]))
    file = folder / f"volume{suffix}"
    if suffix == ".nii.gz":
        file.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    else:
        file.write_bytes(image.to_bytes())
    return file


def write_dicom(folder: Path) -> Path:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = "1.2.3.4"
    data.StudyInstanceUID, data.SeriesInstanceUID, data.Modality = "1.2.3", "1.2.3.1", "MR"
    data.PatientID, data.PatientName, data.SeriesNumber, data.InstanceNumber = "p1", "Doe^J", 1, 1
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = 29, 31, 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelSpacing, data.ImagePositionPatient = [1.0, 1.0], [0.0, 0.0, 0.0]
    data.ImageOrientationPatient, data.RescaleSlope, data.RescaleIntercept = [1, 0, 0, 0, 1, 0], 1, 0
    data.PixelData = np.random.default_rng(4).integers(0, 4096, (29, 31)).astype("<u2").tobytes()
    data.save_as(folder / "slice.dcm", enforce_file_format=True)
    return folder / "slice.dcm"


def write_list(folder: Path) -> Path:
    for number in range(6):
        Image.fromarray(np.full((8, 8), 30 * number, np.uint8)).save(folder / f"image {number}.png")
    rows = [f'"image {n}.png",p{n // 2},{"ill" if n % 2 else "well"},{n},left,{n * 1.5}' for n in range(6)]
    (folder / "list.csv").write_text("path,subject,label,slice,side,age\n" + "\n".join(rows) + "\n", "utf-8")
    return folder / "list.csv"


def write_labels(folder: Path) -> Path:
    names = [f"00000/img{n:08d}.png" for n in range(6)]
    (folder / "00000").mkdir()
    for number, name in enumerate(names):
        Image.fromarray(np.full((8, 8), 30 * number, np.uint8)).save(folder / name)
    (folder / "dataset.json").write_text(json.dumps({"labels": [[name, k % 2] for k, name in enumerate(names)]}))
    return folder / "dataset.json"


def write_meta(folder: Path) -> Path:
    meta = {}
    for scan in range(8):
        label = ("AD", "NC")[scan % 2]
        place = folder / "AD_NC" / ("train", "test")[scan // 6] / label
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((240, 256), 30 * scan, np.uint8)).save(place / f"{2000 + scan}_80.jpeg")
        meta[str(2000 + scan)] = {
            "label": label,
            "raw": f"ADNI_{scan:03d}_S_{4000 + scan}_MR_br_raw_I{2000 + scan}.nii",
        }
    (folder / "meta_data_with_label.json").write_text(json.dumps(meta, indent=1))
    return folder / "meta_data_with_label.json"


def check_scan(original: Path) -> Check:
    """The scan reads with the shape and type it had."""
    expected = described(read_source(find_sources(original.parent, AUTO)[0].sources[0]))

    def check(file: Path) -> None:
        for source in find_sources(file.parent, AUTO)[0].sources:
            assert described(read_source(source)) == expected

    return check


def described(scan: Picture | Volume) -> tuple[Any, ...]:
    values = scan.pixels if isinstance(scan, Picture) else scan.voxels
    assert np.isfinite(values).all()
    # A volume may come back turned round, for its header says where the patient's right is.
    shape = values.shape if isinstance(scan, Picture) else tuple(sorted(values.shape))
    return type(scan), shape, values.dtype


def check_table(root: Callable[[Path], Path]) -> Callable[[Path], Check]:
    """Every scan that the damaged table names is one that exists, under a subject and class that are text."""

    def prepared(original: Path) -> Check:
        def check(file: Path) -> None:
            for source in find_sources(root(file), AUTO)[0].sources:
                assert all(path.is_file() and path.is_relative_to(root(file).parent) for path in source.paths)
                assert all(
                    value is None or (isinstance(value, str) and value) for value in (source.subject, source.label)
                )

        return check

    return prepared


def check_manifest(original: Path) -> Check:
    expected = PreparedDataset.open(original.parent).read([0, 3])

    def check(file: Path) -> None:
        found = PreparedDataset.open(file.parent).read([0, 3])
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)

    return check


AUTO = PrepareOptions()
KINDS: dict[str, tuple[Write, Callable[[Path], Check]]] = {
    "png8": (lambda folder: write_png(folder, 8), check_scan),
    "png16": (lambda folder: write_png(folder, 16), check_scan),
    "png-colour": (lambda folder: write_png(folder, 8, colour=True), check_scan),
    "jpeg": (write_jpeg, check_scan),
    "nifti": (lambda folder: write_nifti(folder, ".nii"), check_scan),
    "nifti-gz": (lambda folder: write_nifti(folder, ".nii.gz"), check_scan),
    "dicom": (write_dicom, check_scan),
    "csv": (write_list, check_table(lambda file: file)),
    "labels-json": (write_labels, check_table(lambda file: file.parent)),
    "adni-json": (write_meta, check_table(lambda file: file.parent)),
    "manifest-json": (lambda folder: folder / "manifest.json", check_manifest),
}


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """`data` with one to four faults: bytes changed, cut off, doubled, dropped, blanked, or a header's field at its end."""
    out = bytearray(data)
    for _ in range(int(random.choice([1, 1, 1, 2, 4]))):
        # Most files keep what matters in their first bytes.
        reach = len(out) if random.random() < 0.5 else min(len(out), 400)
        at = int(random.integers(0, max(1, reach)))
        length = int(random.integers(1, 40))
        fault = int(random.integers(0, 7))
        if fault == 0 and at < len(out):
            out[at] = int(random.integers(0, 256))
        elif fault == 1 and at < len(out):
            out[at] ^= 1 << int(random.integers(0, 8))
        elif fault == 2:
            del out[at:]
        elif fault == 3:
            del out[at : at + length]
        elif fault == 4:
            out[at:at] = out[at : at + length]
        elif fault == 5:
            out[at : at + length] = bytes(len(out[at : at + length]))
        else:
            out[at : at + 4] = [b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\x7f\xff\xff\xff", b"nan,"][at % 4]
    return bytes(out)


@contextmanager
def limit(seconds: int, what: str) -> Iterator[None]:
    def late(signum: int, frame: FrameType | None) -> None:
        raise AssertionError(f"{what}: not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fuzz(kind: str, numbers: range, file: Path, check: Check) -> tuple[int, int]:
    """(accepted, refused) of the mutations `numbers`; every refusal must name the file."""
    original = file.read_bytes()
    accepted = refused = 0
    for number in numbers:
        random = np.random.default_rng([sorted(KINDS).index(kind), number])
        file.write_bytes(mutated(original, random))
        what = f"{kind} number {number}"
        with limit(LIMIT_S, what), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                check(file)
            except StylescanError as problem:
                assert problem.remedy, what
                assert any(name in str(problem) for name in (file.name, str(file.parent))), f"{what}: {problem}"
                refused += 1
            except AssertionError:
                raise
            except Exception as problem:
                raise AssertionError(f"{what}: {type(problem).__name__}: {problem}") from problem
            else:
                accepted += 1
    file.write_bytes(original)
    return accepted, refused


def run(kind: str, numbers: range, folder: Path) -> tuple[int, int]:
    write, prepare_check = KINDS[kind]
    file = write(folder)
    return fuzz(kind, numbers, file, prepare_check(file))


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest, make_dataset: Callable[..., PreparedDataset]) -> Path:
    return make_dataset().path if request.getfixturevalue("kind") == "manifest-json" else tmp_path


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_read_as_they_were_or_refused_by_name(kind: str, folder: Path) -> None:
    accepted, refused = run(kind, range(PER_KIND["fast"]), folder)
    assert refused > 0
    assert accepted + refused == PER_KIND["fast"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_thousand_damaged_files(kind: str, folder: Path, record_property: Callable[[str, object], None]) -> None:
    accepted, refused = run(kind, range(1000, 1000 + PER_KIND["slow"]), folder)
    record_property("accepted", accepted)
    print(f"{kind}: {accepted} read as they were, {refused} refused by name")
    assert refused > accepted / 20
