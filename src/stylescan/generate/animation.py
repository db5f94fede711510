"""Frames as a moving picture: WebP and GIF through Pillow, MP4 through PyAV (the extra `video`)."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from stylescan.errors import ConfigError
from stylescan.files import write_bytes_atomic
from stylescan.generate.drawing import Picture
from stylescan.generate.images import refuse_existing

ENDINGS = (".webp", ".gif", ".mp4")
MAX_FPS = 50  # GIF counts hundredths of a second, and viewers slow down what lasts less than two
_MP4_CRF = "16"  # of x264: visually without loss
_IMAGE_DESCRIPTION, _SOFTWARE = 0x010E, 0x0131  # EXIF


def require_animation(path: Path, *, also: tuple[str, ...] = ()) -> None:
    """ConfigError where `path` ends in none of ENDINGS or `also`, or its kind cannot be written here."""
    known = (*ENDINGS, *also)
    ending = path.suffix.lower()
    if ending not in known:
        raise ConfigError(
            f"{path}: found the ending {path.suffix!r}, expected one of {', '.join(known)}",
            remedy="Name a file with one of these endings; .webp is the smallest that every browser shows.",
        )
    if ending == ".mp4":
        _av()


def check_fps(fps: float) -> None:
    """ConfigError for a rate that no viewer keeps."""
    if not 0.1 <= fps <= MAX_FPS:
        raise ConfigError(
            f"fps: found {fps:g}, expected 0.1 to {MAX_FPS} frames a second", remedy="Give for instance 24."
        )


def write_animation(
    path: Path,
    frames: Iterable[Picture],
    *,
    fps: float = 24.0,
    hold_s: float = 0.0,
    text: Mapping[str, str],
    overwrite: bool = False,
) -> Path:
    """Frames uint8 [H, W, 3] of one size as the animation that `path` ends in; WebP and GIF run for ever.

    fps : frames a second; GIF rounds to hundredths of a second a frame. hold_s : how much longer the last one stays.
    text : from `provenance`; goes into EXIF (WebP), the comment (GIF) or the metadata (MP4). Grey frames lose nothing
    in WebP and GIF, colour nothing in WebP; equal frames in a row become one that lasts longer.

    Raises ConfigError where the ending is another, `path` exists and `overwrite` is off, or PyAV is missing.
    """
    require_animation(path)
    check_fps(fps)
    if not overwrite:
        refuse_existing([path])
    coder = {".webp": _webp, ".gif": _gif, ".mp4": _mp4}[path.suffix.lower()]
    write_bytes_atomic(path, coder(iter(frames), fps, hold_s, text))
    return path


def _durations(count: int, frame_ms: int, hold_s: float) -> list[int]:
    return [frame_ms] * (count - 1) + [frame_ms + round(hold_s * 100) * 10]


def _pillow_image(frame: Picture) -> Image.Image:
    """Grey where it is grey, so that GIF's 256 colours are all its greys."""
    grey = bool((frame == frame[..., :1]).all())
    return Image.fromarray(np.ascontiguousarray(frame[..., 0]) if grey else frame)


def _webp(frames: Iterable[Picture], fps: float, hold_s: float, text: Mapping[str, str]) -> bytes:
    images = [Image.fromarray(frame) for frame in frames]
    exif = Image.Exif()
    exif[_IMAGE_DESCRIPTION], exif[_SOFTWARE] = _comment(text), text.get("Software", "")
    stream = io.BytesIO()
    images[0].save(
        stream, "WEBP", save_all=True, append_images=images[1:], duration=_durations(len(images), round(1000 / fps), hold_s),
        loop=0, lossless=True, method=4, exif=exif.tobytes(),
    )  # fmt: skip
    return stream.getvalue()


def _gif(frames: Iterable[Picture], fps: float, hold_s: float, text: Mapping[str, str]) -> bytes:
    images = [_pillow_image(frame) for frame in frames]
    stream = io.BytesIO()
    images[0].save(
        stream, "GIF", save_all=True, append_images=images[1:], duration=_durations(len(images), round(100 / fps) * 10, hold_s),
        loop=0, comment=_comment(text).encode("utf-8")[:4000],
    )  # fmt: skip
    return stream.getvalue()


def _mp4(frames: Iterable[Picture], fps: float, hold_s: float, text: Mapping[str, str]) -> bytes:
    av = _av()
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[0] + first.shape[0] % 2, first.shape[1] + first.shape[1] % 2  # 4:2:0 halves both
    stream = io.BytesIO()
    with av.open(stream, "w", format="mp4") as container:
        container.metadata.update({"title": text.get("Title", ""), "comment": _comment(text)})
        rate = Fraction(fps).limit_denominator(1000)
        video = container.add_stream("libx264", rate=rate, options={"crf": _MP4_CRF, "preset": "medium"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        last = first
        for last in chain([first], frames):
            _encode(av, container, video, last)
        for _ in range(round(hold_s * fps)):
            _encode(av, container, video, last)
        container.mux(video.encode(None))
    return stream.getvalue()


def _encode(av: Any, container: Any, video: Any, frame: Picture) -> None:
    padded = np.pad(frame, ((0, video.height - frame.shape[0]), (0, video.width - frame.shape[1]), (0, 0)), "edge")
    container.mux(video.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")))


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ConfigError(
            "MP4 is written by the package av, which is not installed",
            remedy="pip install 'stylescan[video]', or name a file that ends in .webp or .gif.",
        ) from None
    return av


def _comment(text: Mapping[str, str]) -> str:
    return "; ".join([text.get("Title", ""), *(f"{key}: {value}" for key, value in text.items() if key != "Title")])
