"""The walks of the documentation, on folders that look like the real sets: `prepare` sees what is there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from stylescan.cli import run
from stylescan.data.audit.summary import Audit
from stylescan.data.geometry import undo
from stylescan.data.prepared import PreparedDataset

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = ("from_akoa", "from_knee", "from_oasis_lite", "from_oasis_attention", "from_adni")
SUBJECTS, SLICES = 12, 2


@pytest.fixture(scope="session")
def raw(look_alikes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all three sets, as their users have them."""
    folder = tmp_path_factory.mktemp("raw")
    for write in (look_alikes.write_akoa, look_alikes.write_oasis, look_alikes.write_adni):
        write(folder, SUBJECTS, SLICES, 0)
    return folder


def commands(page: str, verb: str) -> list[list[str]]:
    """The arguments of each `stylescan VERB` on a page, continued lines joined."""
    text = (DOCS / f"{page}.rst").read_text("utf-8").replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.strip().startswith(f"stylescan {verb} ")]


Prepared = tuple[PreparedDataset, Audit]


@pytest.fixture
def prepared(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], Prepared]:
    """Runs a documented `prepare` within the folder of the sets, small and with names kept."""

    def make(arguments: list[str]) -> Prepared:
        monkeypatch.chdir(raw)
        words, out = list(arguments), tmp_path / "data"
        words[words.index("--out") + 1] = str(out)
        size = [] if "--resolution" in words else ["--resolution", "64"]
        assert run([*words, *size, "--keep-ids", "--workers", "1"]) == 0
        return PreparedDataset.open(out), Audit.model_validate_json((out / "audit.json").read_text())

    return make


def slices_of(data: PreparedDataset) -> dict[tuple[str, str | None], list[int]]:
    """Slice numbers by subject and side."""
    found: dict[tuple[str, str | None], list[int]] = {}
    for image in data.manifest.images:
        assert image.slice is not None
        found.setdefault((image.subject, image.side), []).append(image.slice)
    return {key: sorted(numbers) for key, numbers in found.items()}


def apart(data: PreparedDataset) -> bool:
    """Whether no subject stands in two splits."""
    pairs = {(image.subject, image.split) for image in data.manifest.images}
    return len(pairs) == len({subject for subject, _ in pairs})


@pytest.mark.parametrize("page", ["from_akoa", "from_knee"])
def test_akoa_has_subjects_sides_and_slices(page: str, prepared: Callable[[list[str]], Prepared]) -> None:
    data, audit = prepared(commands(page, "prepare")[0])
    both = SUBJECTS // 2
    assert audit.sides == {"left": both * SLICES, "right": SUBJECTS * SLICES}
    assert Counter(side for _, side in slices_of(data)) == {"left": both, "right": SUBJECTS}
    assert all(numbers == list(range(SLICES)) for numbers in slices_of(data).values())
    assert (data.manifest.claim, data.class_names, data.channels) == ("subject-wise", (), 1)
    assert (data.manifest.plane, audit.findings.sizes) == ("sagittal", {"228x260": 3 * both * SLICES})
    assert {image.extra["series"] for image in data.manifest.images} == {"1", "2", "3"}
    assert apart(data)


def test_akoa_at_full_size_is_cropped_in_width_and_padded_in_height(raw: Path, tmp_path: Path) -> None:
    words = commands("from_akoa", "prepare")[0]
    out = tmp_path / "full"
    words = ["prepare", str(raw / words[1]), "--out", str(out), *words[4:], "--workers", "1"]
    assert run(words) == 0
    geometry = PreparedDataset.open(out).manifest.images[0].geometry
    assert (geometry.crop_left, geometry.crop_right, geometry.pad_top, geometry.pad_bottom) == (2, 2, 14, 14)
    assert (geometry.output_height, geometry.resampled_height, geometry.resampled_width) == (256, 228, 256)


@pytest.mark.parametrize("page", ["from_oasis_lite", "from_oasis_attention"])
def test_oasis_leaves_the_masks_out(
    page: str, prepared: Callable[[list[str]], Prepared], look_alikes: ModuleType
) -> None:
    data, audit = prepared(commands(page, "prepare")[0])
    assert (len(data), data.class_names, data.channels) == (SUBJECTS * SLICES, (), 1)
    assert slices_of(data) == {(f"{k:03d}", None): list(range(SLICES)) for k in range(1, SUBJECTS + 1)}
    assert not [image.source for image in data.manifest.images if "seg" in image.source]
    assert f"({SUBJECTS * SLICES} images, {SUBJECTS * SLICES} masks)" in audit.findings.layout
    assert (data.manifest.plane, data.manifest.symmetry) == ("axial", "left-right")
    held = {image.subject for image in data.manifest.images if image.split == "holdout"}
    folders = {image.subject for image in data.manifest.images if "_train/" not in image.source}
    assert held == folders
    assert apart(data)
    # masks have four values; images many
    assert len(np.unique(data.read([0]))) > len(look_alikes.TISSUES) * 4


def test_oasis_may_be_nested_once_more(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "keras_png_slices_data", tmp_path / "outer" / "keras_png_slices_data")
    words = commands("from_oasis_lite", "prepare")[0]
    assert run(["prepare", str(tmp_path / "outer"), "--out", str(tmp_path / "x"), *words[4:], "--workers", "1"]) == 0
    assert len(PreparedDataset.open(tmp_path / "x")) == SUBJECTS * SLICES


def scans_of(raw: Path) -> dict[str, str]:
    """Patient of each scan, by the set's JSON."""
    meta = json.loads((raw / "ADNI" / "meta_data_with_label.json").read_text())
    return {scan: re.findall(r"ADNI_(\d{3}_S_\d{4,5})_", entry["raw"])[0] for scan, entry in meta.items()}


def test_adni_by_patient(raw: Path, prepared: Callable[[list[str]], Prepared]) -> None:
    data, audit = prepared(commands("from_adni", "prepare")[0])
    patients = scans_of(raw)
    assert (len(patients), len(set(patients.values())), len(data)) == (16, SUBJECTS, 16 * SLICES)
    assert data.class_names == ("AD", "NC")
    for image in data.manifest.images:
        assert image.subject == patients[Path(image.source).name.split("_")[0]]
        assert image.label is not None
        assert data.class_names[image.label] == image.source.split("/")[2]
    assert {image.slice for image in data.manifest.images} == set(range(75, 75 + SLICES))
    assert (data.manifest.claim, data.manifest.plane, data.manifest.symmetry) == ("subject-wise", "sagittal", "none")
    assert apart(data)
    folders = {(image.subject, image.source.split("/")[1]) for image in data.manifest.images}
    assert len(folders) > SUBJECTS  # as in the set, patients stand in both of its folders
    assert any("leaked" in text for text in audit.findings.warnings)


def test_adni_without_its_json_is_by_scan(raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw / "ADNI" / "AD_NC", tmp_path / "AD_NC")
    words = commands("from_adni", "prepare")[0]
    out = tmp_path / "data"
    assert (
        run(["prepare", str(tmp_path / "AD_NC"), "--out", str(out), *words[4:], "--resolution", "64", "--workers", "1"])
        == 0
    )
    data, audit = PreparedDataset.open(out), Audit.model_validate_json((out / "audit.json").read_text())
    assert (data.manifest.claim, data.class_names) == ("scan-wise", ("AD", "NC"))
    assert len(set(data.subjects.tolist())) == 16
    assert audit.findings.sizes == {"240x256": 16 * SLICES}
    assert any(text.startswith("NO SUBJECTS") for text in audit.findings.warnings)


@pytest.mark.parametrize(("number", "scans"), [(1, 8), (2, 8), (3, 16)])
def test_adni_one_class_or_all_without(number: int, scans: int, prepared: Callable[[list[str]], Prepared]) -> None:
    words = commands("from_adni", "prepare")[number]
    data, _ = prepared(words)
    assert (data.num_classes, len(data)) == (0, scans * SLICES)
    kept = {image.source.split("/")[2] for image in data.manifest.images}
    assert kept == ({words[-1]} if "--only-class" in words else {"AD", "NC"})


def test_adni_padding_is_undone(raw: Path, tmp_path: Path) -> None:
    words = commands("from_adni", "prepare")[0]
    out = tmp_path / "full"
    assert run(["prepare", str(raw / words[1]), "--out", str(out), *words[4:], "--keep-ids", "--workers", "1"]) == 0
    data = PreparedDataset.open(out)
    geometry, first = data.output_geometry(), data.manifest.images[0]
    assert (geometry.pad_top, geometry.pad_bottom, geometry.pad_left) == (8, 8, 0)
    real = np.asarray(Image.open(raw / "ADNI" / first.source))
    np.testing.assert_array_equal(undo(data.read([0]), geometry)[0, 0], real)


@pytest.mark.parametrize(
    ("kind", "pattern", "mode", "size"),
    [
        ("AKOA_Analysis", r"^OAI\d+_BaseLine_\d+.*\.nii\.gz_\d+\.png$", "RGB", (260, 228)),
        ("keras_png_slices_data", r"^(case|seg)_\d{3}_slice_\d+\.nii\.png$", "L", (256, 256)),
        ("ADNI/AD_NC", r"^\d+_\d+\.jpeg$", "L", (256, 240)),
    ],
)
def test_names_modes_and_sizes_are_the_sets_own(
    raw: Path, kind: str, pattern: str, mode: str, size: tuple[int, int]
) -> None:
    files = [path for path in (raw / kind).rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert re.match(pattern, path.name), path.name
        with Image.open(path) as image:
            assert (image.mode, image.size) == (mode, size)
            if mode == "RGB":
                red, green, blue = np.asarray(image).transpose(2, 0, 1)
                assert (red == green).all()
                assert (red == blue).all()


def test_left_knees_mirror_right_ones_and_disease_widens_the_ventricles(look_alikes: ModuleType) -> None:
    right, left = (look_alikes.knee_phantom(0, 4, side, 3).astype(float) for side in ("right", "left"))
    assert np.abs(right - left[:, :, ::-1]).mean() < 0.5 * np.abs(right - left).mean()
    for subject in range(3):
        dark = {}
        for label in ("AD", "NC"):
            middle = look_alikes.brain_phantom(0, subject, 0, label, 3)[1][96:160, 80:176]
            dark[label] = (middle < 75).mean()
        assert dark["AD"] > 1.5 * dark["NC"]


def test_equal_arguments_give_equal_bytes_and_another_seed_others(look_alikes: ModuleType, tmp_path: Path) -> None:
    for write in (look_alikes.write_akoa, look_alikes.write_oasis, look_alikes.write_adni):
        first, again, other = (write(tmp_path / f"{k}", 1, 1, int(k == 2)) for k in range(3))
        files = [path.relative_to(first) for path in first.rglob("*.*g")]
        assert files
        for name in files:
            assert (first / name).read_bytes() == (again / name).read_bytes()
            assert (first / name).read_bytes() != (other / name).read_bytes()


def test_every_page_has_a_walk_and_stands_in_the_overview() -> None:
    overview = (DOCS / "source_projects.rst").read_text("utf-8")
    for page in PAGES:
        assert f":doc:`{page}`" in overview
        assert commands(page, "prepare")
        assert commands(page, "train")
        assert commands(page, "evaluate")
