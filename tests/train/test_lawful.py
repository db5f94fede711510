"""Which operations anatomy allows, and what is said about the others."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from stylescan.config import DataFingerprint
from stylescan.data.laterality import canonical_record
from stylescan.data.layouts.adni import find_adni
from stylescan.data.layouts.akoa import find_akoa
from stylescan.data.layouts.found import Found, Listing
from stylescan.data.layouts.generic import find_flat
from stylescan.data.layouts.oasis import find_oasis
from stylescan.data.options import PrepareOptions
from stylescan.errors import ConfigError
from stylescan.train.lawful import OPERATIONS, lawful_operations

CASES = list(itertools.product([None, "axial", "coronal", "sagittal"], ["none", "left-right"], [False, True]))


def data(plane: str | None, symmetry: str, sided: bool, channels: int = 1) -> DataFingerprint:
    return DataFingerprint(
        content_hash="c", preparation_hash="p", resolution=64, channels=channels, bits=8, train_images=100,
        select_images=10, holdout_images=20, plane=plane, symmetry=symmetry, sided=sided,
    )  # fmt: skip


@pytest.mark.parametrize(("plane", "symmetry", "sided"), CASES)
def test_a_flip_needs_a_symmetric_plane_a_declaration_and_no_side(plane, symmetry, sided) -> None:
    lawful = lawful_operations(data(plane, symmetry, sided))
    flips = (plane, symmetry, sided) in [("axial", "left-right", False), ("coronal", "left-right", False)]
    assert ("flip" in lawful.allowed) == flips
    assert [name for name, _ in lawful.refused] == ([] if flips else ["flip"])
    assert [name for name in lawful.allowed if name != "flip"] == [name for name in OPERATIONS if name != "flip"]


def reason(plane: str | None, symmetry: str, sided: bool) -> str:
    return dict(lawful_operations(data(plane, symmetry, sided)).refused)["flip"]


def test_each_refusal_has_a_reason_of_its_own_and_a_remedy_where_there_is_one() -> None:
    sagittal, sided = reason("sagittal", "left-right", False), reason("axial", "left-right", True)
    plane, symmetry = reason(None, "left-right", False), reason("coronal", "none", False)
    assert "sagittal" in sagittal
    assert "side" in sided
    assert "prepare" not in sagittal + sided  # nothing can be done
    assert "plane of the images is not known" in plane
    assert "--plane axial" in plane
    assert "--symmetry" not in plane  # that was given
    assert "no symmetry was declared" in symmetry
    assert "--symmetry left-right" in symmetry
    assert "--plane axial (or coronal) --symmetry left-right" in reason(None, "none", False)
    assert reason("sagittal", "none", True) == sagittal
    assert reason(None, "none", True) == sided


def test_nothing_that_anatomy_forbids_is_in_the_table() -> None:
    assert set(OPERATIONS) == {"flip", "rotate", "scale", "anisotropy", "shift", "brightness", "contrast", "gamma"}
    assert OPERATIONS["rotate"].limit <= 10


def test_operations_can_be_left_out_by_name() -> None:
    lawful = lawful_operations(data("axial", "left-right", False), ["gamma", "flip"])
    assert lawful.allowed == ("rotate", "scale", "anisotropy", "shift", "brightness", "contrast")
    assert lawful.refused == tuple((name, "left out on request (augment.leave_out)") for name in ("flip", "gamma"))
    assert dict(lawful_operations(data("sagittal", "none", False), ["flip"]).refused)["flip"].startswith("the images")


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="'rotation'") as caught:
        lawful_operations(data("axial", "none", False), ["rotation"])
    assert caught.value.remedy == "Did you mean rotate?"
    with pytest.raises(ConfigError) as caught:
        lawful_operations(data("axial", "none", False), ["zzz"])
    assert caught.value.remedy == f"Known operations: {', '.join(OPERATIONS)}."


def test_what_is_said_at_the_start() -> None:
    first, *others = lawful_operations(data("sagittal", "none", False), ["scale"]).lines()
    assert first.startswith("augmentation: rotate <= 10 degrees, stretch <= 5 %, shift")
    assert "scale" not in first
    assert "flip" not in first
    assert others == [
        "augmentation without flip: the images are sagittal, so a flip would swap front and back",
        "augmentation without scale: left out on request (augment.leave_out)",
    ]
    nothing = lawful_operations(data("sagittal", "none", False), list(OPERATIONS))
    assert nothing.lines()[0] == "augmentation: nothing is left"


SAGITTAL = "the images are sagittal, so a flip would swap front and back"


@pytest.fixture(scope="module")
def raw(look_alikes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small folders with the names and sizes of the public sets, and one of pictures that say nothing."""
    root = tmp_path_factory.mktemp("raw")
    for name in ("akoa", "oasis", "adni"):
        getattr(look_alikes, f"write_{name}")(root / name, subjects=4, slices=2)
    (root / "flat").mkdir()
    Image.new("L", (16, 16)).save(root / "flat" / "1.png")
    return root


@pytest.mark.parametrize(
    ("name", "find", "refused"),
    [("akoa", find_akoa, SAGITTAL), ("adni", find_adni, SAGITTAL), ("oasis", find_oasis, None),
     ("flat", find_flat, "the plane of the images is not known")],
)  # fmt: skip
def test_what_a_layout_declares_is_what_a_run_may_do(
    name: str, find: Callable[..., Found], refused: str | None, raw: Path
) -> None:
    found = find(Listing(raw / name), PrepareOptions(), None)
    sided = any(source.side is not None for source in found.sources)
    assert sided == (name == "akoa")
    first, *others = lawful_operations(data(found.plane, found.symmetry or "none", sided)).lines()
    assert ("flip left-right" in first) == (refused is None)
    assert len(others) == (refused is not None)
    assert refused is None or others[0].startswith(f"augmentation without flip: {refused}")


def test_one_canonical_side_keeps_flips_off() -> None:
    side, _ = canonical_record("left", {})
    found = lawful_operations(data("coronal", "left-right", side is not None))
    assert found.lines()[1] == (
        "augmentation without flip: the data record which side an image shows, and a flip would turn one side into the other"
    )
