"""No name or id of a person leaves the hospital: every byte that any verb writes is searched for what was planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dicom_builder
import nibabel as nib
import numpy as np
import pytest

from stylescan.cli import run

PERSONS = 12
# Names, ids, birthdays, an institution, and what users write into folders and files.
PLANTED = ["Moreau", "MRN-77", "19540312", "Sankt Planted", "accession-5", "private note", "Dr-Referrer", "bett 9"]
TINY = [
    "--set", "model.channel_base=64", "--set", "model.channel_max=8", "--set", "model.z_dim=8", "--set", "model.w_dim=8",
    "--set", "model.mapping_layers=1", "--set", "train.batch=4", "--set", "train.score_kimg=null", "--threads", "1",
]  # fmt: skip


def write_dicom_tree(folder: Path) -> Path:
    for person in range(PERSONS):
        random = np.random.default_rng(person)
        slices = (random.integers(0, 900, (4, 20, 20)) + 100 * person).astype(np.uint16)
        tags = {
            "PatientName": f"Moreau^Anna {person}", "PatientID": f"MRN-77{person:02d}", "PatientBirthDate": "19540312",
            "InstitutionName": "Sankt Planted", "AccessionNumber": f"accession-5{person}", "Modality": "MR",
            "ReferringPhysicianName": "Dr-Referrer", "SeriesDescription": f"private note {person}",
        }  # fmt: skip
        dicom_builder.series(folder / f"Moreau Anna bett 9 {person}", slices, key=100 + person, **tags)
    return folder


def write_bids(folder: Path) -> Path:
    rows = []
    for person in range(PERSONS):
        name = f"sub-MRN77Moreau{person:02d}"
        place = folder / name / "anat"
        place.mkdir(parents=True)
        voxels = np.random.default_rng(person).integers(0, 800, (16, 16, 5)).astype(np.int16)
        image = nib.Nifti1Image(voxels, np.eye(4))
        image.header["descrip"] = b"Sankt Planted, Dr-Referrer"
        nib.save(image, place / f"{name}_T1w.nii.gz")
        rows.append(f"{name}\t{'patient' if person % 2 else 'control'}\t19540312\tprivate note {person}")
    table = "participant_id\tgroup\tbirth\tcomment\n" + "\n".join(rows) + "\n"
    (folder / "participants.tsv").write_text(table)
    return folder


def written(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def leaks(files: dict[str, bytes], words: list[str]) -> list[str]:
    """'file: word' for each planted word in a file's bytes or name, in any letter case, also as UTF-16."""
    found = []
    for name, data in files.items():
        text = name.lower().encode() + b"\n" + data.lower()
        for word in words:
            plain = word.lower()
            if plain.encode() in text or plain.encode("utf-16-le") in text:
                found.append(f"{name}: {word}")
    return found


@pytest.mark.parametrize(("write", "options"), [(write_dicom_tree, []), (write_bids, ["--label-column", "group"])])
def test_no_verb_writes_a_planted_name(write: Callable[[Path], Path], options: list[str], tmp_path: Path) -> None:
    scans, out = write(tmp_path / "Sankt Planted" / "scans"), tmp_path / "out"
    words = [*PLANTED, "MRN77", "subMoreau"]
    source = written(scans)
    assert len(leaks(source, words)) >= len(source), "the words were not planted"
    data, model = str(out / "data"), str(out / "run")
    assert run(["prepare", str(scans), "--out", data, "--resolution", "16", "--workers", "1", *options]) == 0
    assert run(["train", "--data", data, "--out", model, "--kimg", "0.008", *TINY]) == 0
    for form in ("png", "nifti", "dicom", "tiff"):
        assert run(["generate", model, "--seeds", "0-1", "--out", str(out / form), "--format", form]) == 0
    assert run(["export", data, "--out", str(out / "set.zip")]) == 0
    assert leaks(written(out), words) == []


def test_the_search_finds_what_is_there() -> None:
    files = {"a/MOREAU.txt": b"", "b.bin": "x Dr-Referrer".encode("utf-16-le"), "c": b"nobody"}
    assert leaks(files, PLANTED) == ["a/MOREAU.txt: Moreau", "b.bin: Dr-Referrer"]
