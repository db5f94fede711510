"""When a mirror image is lawful: one rule, read by training, the audit and the classifier."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from stylescan.data.symmetry import mirror_is_lawful, mirror_refusal

CASES = list(product((None, "axial", "coronal", "sagittal"), ("none", "left-right"), (False, True)))


@pytest.mark.parametrize(("plane", "symmetry", "sided"), CASES)
def test_mirror_needs_a_plane_across_the_body_a_declaration_and_no_side(
    make_dataset: Any, plane: str | None, symmetry: str, sided: bool
) -> None:
    lawful = plane in ("axial", "coronal") and symmetry == "left-right" and not sided
    assert (mirror_refusal(plane, symmetry, sided) is None) == lawful
    manifest = make_dataset().manifest
    records = [image.model_copy(update={"side": "left" if sided else None}) for image in manifest.images]
    changed = manifest.model_copy(update={"plane": plane, "symmetry": symmetry, "images": records})
    assert mirror_is_lawful(changed) == lawful
