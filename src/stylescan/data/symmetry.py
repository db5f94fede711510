"""When a left-right mirrored image is as possible as the image itself: one rule for training and for judging."""

from __future__ import annotations

from stylescan.data.prepared import Manifest


def mirror_refusal(plane: str | None, symmetry: str, sided: bool) -> str | None:
    """Why images must not be mirrored, and what can be done; None where it is lawful.

    sided : whether the data record which side (left or right) an image shows.
    """
    declare = "if mirrored anatomy is equally possible, prepare the data again with"
    undeclared = symmetry != "left-right"
    if plane == "sagittal":
        return "the images are sagittal, so a flip would swap front and back"
    if sided:
        return "the data record which side an image shows, and a flip would turn one side into the other"
    if plane not in ("axial", "coronal"):
        option = "--plane axial (or coronal)" + (" --symmetry left-right" if undeclared else "")
        return f"the plane of the images is not known; {declare} {option}"
    if undeclared:
        return f"no symmetry was declared; {declare} --symmetry left-right"
    return None


def mirror_is_lawful(manifest: Manifest) -> bool:
    """Whether another subject could have looked like an image of this dataset mirrored left-right."""
    sided = any(image.side is not None for image in manifest.images)
    return mirror_refusal(manifest.plane, manifest.symmetry, sided) is None
