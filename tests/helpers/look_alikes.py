"""Small folders with the names, sizes and modes of public sets, filled with drawn anatomy.

The sets themselves may not be handed on. `write_akoa`, `write_oasis` and `write_adni` make what a user of each set has
on disk, `write_oasis1`, `write_adni_raw` and `write_bids` what archives hand out (tiny volumes). Equal arguments give
equal bytes. Faults that the sets have or get are options, or are added by `double`, `wrap` and `litter`. As a script:

    python tests/helpers/look_alikes.py akoa FOLDER --subjects 12 --slices 8

Brains are either a phantom of ellipses (quick) or, with `brain=demo_brains`, the demo's warped template (nilearn).
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]
# (seed, subject, visit, class, slices) -> [slices, 256, 256], axial; visits of one subject differ in noise alone
Brain = Callable[[int, int, int, str, int], Bytes]

OASIS_SHARES = {"train": 0.85, "validate": 0.1, "test": 0.05}  # 302, 35 and 17 of 354 cases
TISSUES = (0, 85, 170, 255)  # background, fluid, grey and white matter in the masks
KNEE_SPELLINGS = {"left": ("LEFT", "left", "l_e_f_t", "L_E_F_T"), "right": ("RIGHT", "right", "r_i_g_h_t", "R_I_G_H_T")}
SYSTEM_FILES = ("Thumbs.db", ".DS_Store", "desktop.ini", "README.txt", "__MACOSX/._image.png", "._image.png",
                "__MACOSX/image.png", "@eaDir/image.png/SYNOPHOTO_THUMB_M.jpg")  # fmt: skip


def write_akoa(folder: Path, subjects: int = 12, slices: int = 8, seed: int = 0) -> Path:
    """`AKOA_Analysis/`: RGB PNG with three equal channels, 260 wide and 228 high, all in one folder.

    Every second subject has both knees, the others the right one alone. Sides come in all their spellings, and the
    underscore behind the series comes and goes. Returns the folder of the images.
    """
    root = _made(folder / "AKOA_Analysis")
    for subject in range(subjects):
        for side in ("left", "right") if subject % 2 == 0 else ("right",):
            spelling = KNEE_SPELLINGS[side][subject // 2 % 4]
            series = f"{1 + subject % 3}{'_' if subject % 4 == 1 else ''}"
            start = f"OAI{9_000_099 + 7919 * subject}_BaseLine_{series}de3d1_SAG_3D_DESS_WE_{spelling}"
            for number, image in enumerate(knee_phantom(seed, subject, side, slices)):
                Image.fromarray(np.dstack([image] * 3)).save(root / f"{start}.nii.gz_{number}.png")
    return root


def write_oasis(
    folder: Path, subjects: int = 12, slices: int = 8, seed: int = 0, *, brain: Brain | None = None,
    missing_masks: int = 0,
) -> Path:  # fmt: skip
    """`keras_png_slices_data/`: 256x256 grey PNG in folders train, validate and test, and a folder of masks for each.

    missing_masks : of so many subjects, the first ones, the masks are not there.
    """
    root = folder / "keras_png_slices_data"
    bounds = np.rint(np.cumsum(list(OASIS_SHARES.values())) * subjects)
    for subject in range(subjects):
        split = list(OASIS_SHARES)[int(np.searchsorted(bounds, subject, side="right"))]
        images = (brain or brain_phantom)(seed, subject, 0, "NC", slices)
        for kind, name, pictures in (
            ("case", f"keras_png_slices_{split}", images),
            ("seg", f"keras_png_slices_seg_{split}", tissue_mask(images)),
        ):
            place = _made(root / name)
            if kind == "seg" and subject < missing_masks:
                continue
            for number, image in enumerate(pictures):
                Image.fromarray(image).save(place / f"{kind}_{subject + 1:03d}_slice_{number}.nii.png")
    return root


def write_adni(
    folder: Path, subjects: int = 12, slices: int = 8, seed: int = 0, *, brain: Brain | None = None,
    depth_shortcut: bool = False, meta: str = "whole", leaking: bool = True,
) -> Path:  # fmt: skip
    """`ADNI/AD_NC/{train,test}/{AD,NC}/`: grey JPEG, 256 wide and 240 high; and `ADNI/meta_data_with_label.json`.

    Classes alternate.

    leaking : every third subject has a second scan, which lies in the other of the two folders, as most patients of the
        set's test folder have one in train; else in the same.
    depth_shortcut : two thirds of the AD scans, and no others, are numbered from another depth.
    meta : 'whole'; 'none' leaves the JSON out; 'lacking' leaves every fourth scan out of it.
    """
    root, known, scan = folder / "ADNI", {}, 0
    for subject in range(subjects):
        label, patient = ("AD", "NC")[subject % 2], f"{1 + subject % 140:03d}_S_{1000 + 37 * subject:04d}"
        first = 95 if depth_shortcut and label == "AD" and subject % 6 else 75
        for visit in range(2 if subject % 3 == 0 else 1):
            image_id = 218_391 + 13 * scan
            scan += 1
            if meta == "whole" or scan % 4:
                known[str(image_id)] = {"label": label, "raw": f"ADNI_{patient}_MR_MPRAGE_br_raw_I{image_id}.nii"}
            place = _made(root / "AD_NC" / ("train", "test")[(visit * leaking + (subject % 4 == 3)) % 2] / label)
            images = (brain or brain_phantom)(seed, subject, visit, label, slices)
            for number, image in enumerate(images, start=first):
                Image.fromarray(image[8:-8]).save(place / f"{image_id}_{number}.jpeg", quality=95)
    if meta != "none":
        (root / "meta_data_with_label.json").write_text(json.dumps(known, indent=1))
    return root


def write_oasis1(folder: Path, subjects: int = 4, seed: int = 0, *, stripped: bool = True) -> Path:
    """`disc1/`, `disc2/`: Analyze pairs of OASIS-1, a folder a session, and `oasis_cross-sectional.csv`.

    Subject 2 came twice; the table leaves the second visit empty, as the set's own does.

    stripped : whether the skull-stripped volumes are there.
    """
    root, rows = folder / "OASIS1", []
    for subject in range(1, subjects + 1):
        for visit in (1, 2) if subject == 2 else (1,):
            session, cdr = f"OAS1_{subject:04d}_MR{visit}", ("0", "0.5", "1")[subject % 3] if visit == 1 else ""
            base = root / f"disc{1 + subject % 2}" / session
            atlas, own = f"{session}_mpr_n4_anon_111_t88", f"{session}_mpr_n4_anon_sbj_111"
            voxels = volume_phantom(seed, subject, visit)
            names = {f"PROCESSED/MPRAGE/T88_111/{atlas}_gfc": voxels, f"PROCESSED/MPRAGE/SUBJ_111/{own}": voxels[:-2],
                     f"RAW/{session}_mpr-1_anon": voxels[2:]}  # fmt: skip
            if stripped:
                names[f"PROCESSED/MPRAGE/T88_111/{atlas}_masked_gfc"] = voxels * (voxels > 200)
                names[f"FSL_SEG/{atlas}_masked_gfc_fseg"] = np.digitize(voxels, (200, 500, 800)).astype(np.int16)
            for name, content in names.items():
                save_analyze(base / f"{name}.img", content)
            rows.append(f"{session},{'MF'[subject % 2]},R,{60 + subject},,,,{cdr},,,,{'N/A' if visit == 1 else 20}")
    header = "ID,M/F,Hand,Age,Educ,SES,MMSE,CDR,eTIV,nWBV,ASF,Delay"
    (root / "oasis_cross-sectional.csv").write_text("\n".join([header, *rows, ""]))
    return root


def write_adni_raw(folder: Path, subjects: int = 4, seed: int = 0, *, dicom: bool = False, table: bool = True) -> Path:
    """`ADNI/<###_S_####>/MP-RAGE/<date>/<image>/*_I<image>.nii`, or one .dcm a slice; and the search's CSV beside.

    Every second subject has two images. The file names of a DICOM series are in no order.
    """
    root, image = folder / "ADNI", 30_117
    rows = ['"Image Data ID","Subject","Group","Sex","Age","Visit"']
    for subject in range(subjects):
        patient = f"{2 + subject:03d}_S_{295 + 118 * subject:04d}"
        for visit in range(1 + subject % 2):
            image += 31
            place = _made(root / patient / "MP-RAGE" / f"200{6 + visit}-04-18_08_20_30.0" / f"I{image}")
            start = f"ADNI_{patient}_MR_MP-RAGE_br_raw_20060418{subject:02d}"
            voxels = volume_phantom(seed, subject, visit)
            if dicom:
                save_dicom_series(place, start, f"_S13408_I{image}.dcm", voxels, seed=image)
            else:
                save_nifti(place / f"{start}_S13408_I{image}.nii", voxels)
            rows.append(
                f'"I{image}","{patient}","{("CN", "MCI", "AD")[subject % 3]}","F","{70 + subject}","{visit + 1}"'
            )
    if table:
        (root / "ADNI1_Complete_1Yr_1.5T.csv").write_text("\n".join([*rows, ""]))
    return root


def write_bids(folder: Path, subjects: int = 4, seed: int = 0, *, sessions: int = 0) -> Path:
    """`study/sub-*/[ses-*/]anat/*_T1w.nii.gz` and `_T2w`, `participants.tsv`, a functional run and a derivative.

    sessions : folders `ses-*` of each subject; 0 for none. Subject 02 has two runs of each contrast, 03 no T2w.
    """
    root, rows = folder / "study", ["participant_id\tage\tsex\tgroup"]
    for subject in range(1, subjects + 1):
        who = f"sub-{subject:02d}"
        rows.append(f"{who}\t{30 + subject}\t{'MF'[subject % 2]}\t{('patient', 'control')[subject % 2]}")
        for session in range(1, max(sessions, 1) + 1):
            within, start = (f"{who}/ses-{session}", f"{who}_ses-{session}") if sessions else (who, who)
            for run in ("_run-1", "_run-2") if subject == 2 else ("",):
                for suffix in ("T1w",) if subject == 3 else ("T1w", "T2w"):
                    voxels = volume_phantom(seed, subject, 10 * session + 2 * (run == "_run-2") + (suffix == "T2w"))
                    save_nifti(root / within / "anat" / f"{start}{run}_{suffix}.nii.gz", voxels)
            save_nifti(root / within / "func" / f"{start}_task-rest_bold.nii.gz", np.zeros((4, 4, 4, 9), np.int16))
        brain = volume_phantom(seed, subject, 1)
        save_nifti(root / "derivatives" / "fmriprep" / who / "anat" / f"{who}_desc-brain_T1w.nii.gz", brain)
    (root / "participants.tsv").write_text("\n".join([*rows, ""]))
    (root / "dataset_description.json").write_text('{"Name": "a study", "BIDSVersion": "1.8.0"}')
    return root


def double(root: Path) -> Path:
    """The folder unpacked into itself: `root/<its name>` is a copy of all that is in it. Returns `root`."""
    copy = root.with_name(root.name + ".copy")
    shutil.copytree(root, copy)
    copy.rename(root / root.name)
    return root


def wrap(root: Path, *names: str) -> Path:
    """Move `root` into folders of these names, from the outside in. Returns the outermost."""
    outer = root.parent / names[0]
    inner = _made(root.parent.joinpath(*names))
    shutil.move(root, inner / root.name)
    return outer


def litter(root: Path) -> Path:
    """Put what systems leave into every folder. Returns `root`."""
    for folder in [root, *(path for path in sorted(root.rglob("*")) if path.is_dir())]:
        for name in SYSTEM_FILES:
            _made((folder / name).parent)
            (folder / name).write_bytes(b"\0\5\x16\7 left by the system")
    return root


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _grid(height: int, width: int) -> tuple[Floats, Floats]:
    """(y, x) of every pixel, y from -1 (top) to 1, x in the same unit."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return (2 * y + 1 - height) / height, (2 * x + 1 - width) / height


def _ellipse(y: Floats, x: Floats, at: Sequence[float], radii: Sequence[float], turn: float = 0.0) -> Floats:
    """1 inside the ellipse, 0 outside, with an edge about two pixels soft."""
    dy, dx = y - at[0], x - at[1]
    v, u = dy * np.cos(turn) - dx * np.sin(turn), dy * np.sin(turn) + dx * np.cos(turn)
    r = np.sqrt((v / radii[0]) ** 2 + (u / radii[1]) ** 2 + 1e-9)
    return np.asarray(np.clip((1 - r) * min(radii) * 60 + 0.5, 0, 1))


def _over(image: Floats, mask: Floats, value: float | Floats) -> Floats:
    return image * (1 - mask) + mask * value


def _smooth_noise(random: np.random.Generator, height: int, width: int, cells: int) -> Floats:
    """Smooth noise of about unit size, `cells` bumps a side."""
    coarse = Image.fromarray(random.normal(size=(cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float64)


def _finished(image: Floats, random: np.random.Generator, noise: float) -> Bytes:
    """Rician noise, then 8 bits."""
    noisy = np.hypot(image + random.normal(0, noise, image.shape), random.normal(0, noise, image.shape))
    return np.asarray(np.clip(np.rint(noisy * 255), 0, 255), np.uint8)


def knee_phantom(seed: int, subject: int, side: str, slices: int) -> Bytes:
    """Sagittal slices [slices, 228, 260] through one knee: femur, tibia, patella, cartilage, menisci, fat and muscle.

    Front is on the left in a right knee and on the right in a left one.
    """
    shape = np.random.default_rng([seed, subject, 1])
    size, tilt = shape.normal(1.0, 0.06), shape.normal(0.0, 0.06)
    height, bone, cartilage = shape.normal(0.0, 0.05), shape.uniform(0.28, 0.4), shape.uniform(0.035, 0.06)
    y, x = _grid(228, 260)
    images = []
    for number in range(slices):
        random = np.random.default_rng([seed, subject, 2 + (side == "left"), number])
        depth = (number + 0.5) / slices * 2 - 1  # -1 and 1: the inner and the outer edge of the joint
        condyle = size * (0.36 + 0.1 * np.cos(2 * np.pi * (abs(depth) - 0.5)))
        images.append(_finished(_knee(y, x, random, depth, size, tilt, height, bone, cartilage, condyle), random, 0.03))
    flipped = np.stack(images)
    return flipped[:, :, ::-1].copy() if side == "left" else flipped


def _knee(
    y: Floats, x: Floats, random: np.random.Generator, depth: float, size: float, tilt: float, height: float,
    bone: float, cartilage: float, condyle: float,
) -> Floats:  # fmt: skip
    texture = _smooth_noise(random, *y.shape, cells=28)
    joint = 0.12 + height  # y of the gap between the bones
    image = np.full(y.shape, 0.02)
    image = _over(image, _ellipse(y, x, (0.0, 0.02), (1.6, 0.98 * size), tilt), 0.62 + 0.05 * texture)  # fat
    image = _over(image, _ellipse(y, x, (-0.65, 0.45), (0.75, 0.34 * size), tilt - 0.1), 0.33 + 0.06 * texture)
    image = _over(image, _ellipse(y, x, (0.95, 0.42), (0.75, 0.3 * size), tilt + 0.1), 0.35 + 0.06 * texture)
    image = _over(image, _ellipse(y, x, (-0.75, -0.52), (0.6, 0.16), tilt + 0.15), 0.36 + 0.05 * texture)
    centre = (joint - condyle * 0.92, 0.02)
    marrow = bone + 0.015 * texture
    femur = np.maximum(
        _ellipse(y, x, centre, (condyle, condyle * 1.12)), _ellipse(y, x, (-0.95, -0.06), (0.85, 0.25 * size), tilt)
    )
    shell = _ellipse(y, x, centre, (condyle + cartilage, condyle * 1.12 + cartilage)) * (y > centre[0] - 0.1)
    image = _over(image, shell, 0.9)  # cartilage is brightest
    plateau = _ellipse(y, x, (joint + 0.3, 0.03), (0.27, 0.5 * size), tilt / 2)
    image = _over(image, _ellipse(y, x, (joint + 0.28, 0.03), (0.27 + cartilage / 2, 0.5 * size), tilt / 2), 0.85)
    image = _over(image, np.maximum(femur, 0), marrow)
    image = _over(image, np.maximum(plateau, _ellipse(y, x, (1.1, 0.0), (0.85, 0.3 * size), tilt)), marrow + 0.03)
    for at in (-0.27, 0.32):  # menisci: dark wedges in front and behind
        image = _over(image, _ellipse(y, x, (joint + 0.02, at * size), (0.05, 0.12)), 0.08)
    if abs(depth) < 0.55:  # the patella and its tendon lie in the middle
        for grown, value in ((0.03, 0.06), (0.0, bone + 0.08)):
            radii = (0.22 + grown, 0.1 + grown)
            image = _over(image, _ellipse(y, x, (-0.28 + height, -0.62 * size), radii, 0.1), value)
        image = _over(image, _ellipse(y, x, (0.25, -0.6 * size), (0.3, 0.03), 0.25), 0.1)
    return np.asarray(image * (1 + 0.08 * _smooth_noise(random, *y.shape, cells=3)))


def brain_phantom(seed: int, subject: int, visit: int, label: str, slices: int) -> Bytes:
    """Axial slices [slices, 256, 256] of one skull-stripped brain; the ventricles of class AD are twice as wide."""
    shape = np.random.default_rng([seed, subject, 5])
    half_height, half_width = shape.normal(0.76, 0.03), shape.normal(0.6, 0.03)
    white = shape.uniform(0.72, 0.9)
    grey, fluid = white * shape.uniform(0.6, 0.75), white * shape.uniform(0.12, 0.25)
    ventricle = shape.normal(2.0 if label == "AD" else 1.0, 0.15)
    folds, phases = shape.normal(0, 0.012, 7), shape.uniform(0, 2 * np.pi, 7)
    y, x = _grid(256, 256)
    angle = np.arctan2(x, y)
    waves = sum(a * np.cos((5 + 2 * k) * angle + p) for k, (a, p) in enumerate(zip(folds, phases)))
    images = []
    for number in range(slices):
        random = np.random.default_rng([seed, subject, 6 + visit, number])
        depth = (number + 0.5) / slices * 2 - 1
        scale = np.sqrt(1 - 0.35 * depth**2)
        warp = waves + 0.012 * _smooth_noise(random, 256, 256, 30)
        image = np.zeros(y.shape)
        for shrink, value in ((1.0, fluid), (0.95, grey), (0.84, white)):
            image = _over(image, _ellipse(y * (1 + warp), x * (1 + warp), (0, 0),
                                          (half_height * scale * shrink, half_width * scale * shrink)), value)  # fmt: skip
        image = _over(image, _ellipse(y, x, (0, 0), (half_height * scale * 0.95, 0.012)), fluid)  # between the halves
        for sign in (-1, 1):
            image = _over(image, _ellipse(y, x, (0.08, sign * 0.22), (0.14, 0.08), sign * 0.2), grey)
            radii = (0.2 * scale * np.sqrt(ventricle), 0.045 * ventricle * scale)
            image = _over(image, _ellipse(y, x, (-0.02, sign * (0.03 + radii[1])), radii, sign * 0.18), fluid)
        images.append(_finished(image, random, 0.02))
    return np.stack(images)


def volume_phantom(seed: int, subject: int, visit: int, side: int = 24) -> NDArray[np.int16]:
    """A noisy ellipsoid [side, side, side]; its axes belong to the subject, its noise to the visit."""
    axes = np.random.default_rng([seed, subject, 8]).uniform(0.6, 0.9, 3)
    noise = np.random.default_rng([seed, subject, 9, visit]).normal(0, 20, (side,) * 3)
    grid = np.meshgrid(*[np.linspace(-1, 1, side)] * 3, indexing="ij")
    radius = np.sqrt(sum((g / a) ** 2 for g, a in zip(grid, axes)))
    return np.asarray(np.clip(1000 * np.clip(1.4 - radius, 0, 1) + noise, 0, None), np.int16)


def save_analyze(path: Path, voxels: NDArray[Any]) -> None:
    """An Analyze pair; `path` ends with .img."""
    _made(path.parent)
    nib.save(nib.AnalyzeImage(voxels.astype(np.int16), np.diag([1.0, 1.0, 1.0, 1.0])), path)


def save_nifti(path: Path, voxels: NDArray[Any]) -> None:
    """A NIfTI file of 1 mm, axes to the right, the front and the top; compressed without a time, for equal bytes."""
    _made(path.parent)
    data = nib.Nifti1Image(voxels, np.eye(4)).to_bytes()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def save_dicom_series(folder: Path, start: str, end: str, voxels: NDArray[Any], *, seed: int) -> None:
    """A series of sagittal MR slices, 2 mm apart, a file each; the files' numbers are in no order. Needs pydicom."""
    from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    _made(folder)
    numbers = np.random.default_rng([seed, 10]).permutation(len(voxels))
    for position, (number, image) in enumerate(zip(numbers, voxels.astype(np.uint16))):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[start, end, str(position)])
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(None, Dataset(), file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID, file.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID = generate_uid(entropy_srcs=[start, end])
        file.StudyInstanceUID = generate_uid(entropy_srcs=[start])
        file.PatientName, file.PatientID, file.Modality = "PLANTED^NAME", start[5:15], "MR"
        file.InstanceNumber = position + 1
        file.ImageOrientationPatient, file.ImagePositionPatient = [0, 1, 0, 0, 0, -1], [-2.0 * position, 0, 0]
        file.PixelSpacing, file.SliceThickness = [1.0, 1.0], 2.0
        file.SamplesPerPixel, file.PhotometricInterpretation, file.PixelRepresentation = 1, "MONOCHROME2", 0
        file.BitsAllocated = file.BitsStored = 16
        file.HighBit = 15
        stored = np.ascontiguousarray(image.T[::-1, ::-1])  # rows run down, columns to the back
        file.Rows, file.Columns = stored.shape
        file.PixelData = stored.tobytes()
        file.save_as(folder / f"{start}_{number}{end}", enforce_file_format=True)


def demo_brains() -> Brain:
    """Brains of the built-in demo (the MNI152 template, warped): atrophy for AD, control for NC. Needs nilearn."""
    from stylescan.data.demo_anatomy import load_template, ventricle_flow
    from stylescan.data.demo_subject import draw_subject, render_subject

    template = load_template()
    flow = ventricle_flow(template)

    def brain(seed: int, subject: int, visit: int, label: str, slices: int) -> Bytes:
        wanted = {"AD": "atrophy", "NC": "control"}[label]
        # Of each pair of the demo's subjects one has the class.
        pair = (draw_subject(seed, 2 * subject + k) for k in range(2))
        drawn = next(one for one in pair if one.label == wanted)
        return render_subject(drawn, template, flow, seed=seed + visit, resolution=256, slices=slices).images

    return brain


def tissue_mask(images: Bytes) -> Bytes:
    """A mask of four values for every image, by grey value alone."""
    return np.asarray(TISSUES, np.uint8)[np.digitize(images, (20, 70, 150))]


def main() -> None:
    """Write one look-alike."""
    writers: dict[str, Callable[..., Path]] = {
        "akoa": write_akoa, "oasis": write_oasis, "adni": write_adni,
        "oasis1": write_oasis1, "adni-raw": write_adni_raw, "bids": write_bids,
    }  # fmt: skip
    parser = argparse.ArgumentParser(description="a small look-alike of a public set")
    parser.add_argument("kind", choices=tuple(writers))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--subjects", type=int, default=12)
    parser.add_argument("--slices", type=int, default=8, help="of sets of slices")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--demo-brains", action="store_true", help="the demo's anatomy in place of ellipses")
    asked = parser.parse_args()
    more: dict[str, Any] = {"seed": asked.seed}
    if asked.kind in ("akoa", "oasis", "adni"):
        more["slices"] = asked.slices
    if asked.kind in ("oasis", "adni") and asked.demo_brains:
        more["brain"] = demo_brains()
    print(writers[asked.kind](asked.folder, asked.subjects, **more))


if __name__ == "__main__":
    main()
