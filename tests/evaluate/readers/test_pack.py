"""The pack: matched, blinded, offline, and the same again for the same seed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from stylescan.data.prepared import PreparedDataset
from stylescan.errors import ConfigError, DataError
from stylescan.evaluate.readers.blinding import display_pixels, encode_alike, opaque_ids, reading_order
from stylescan.evaluate.readers.choose import spread_at_depths
from stylescan.evaluate.readers.pack import ReaderPack, make_pack, reader_study_part
from stylescan.evaluate.readers.records import Key
from stylescan.files import read_json


def page_data(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def png_of(entry: dict[str, str]) -> bytes:
    head, _, body = entry["src"].partition(",")
    assert head == "data:image/png;base64"
    return base64.b64decode(body)


def chunks(png: bytes) -> list[tuple[str, bytes]]:
    out, at = [], 8
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        out.append((kind.decode(), png[at + 8 : at + 8 + length]))
        at += 12 + length
    return out


def test_half_of_the_images_are_real_and_matched_by_class(pack: ReaderPack, key: Key, shapes: PreparedDataset) -> None:
    counts = Counter((image.origin, image.class_name) for image in key.images)
    assert sum(n for (origin, _), n in counts.items() if origin == "real") == 20
    for name in shapes.class_names:
        assert counts["real", name] == counts["generated", name]
    real = [image for image in key.images if image.origin == "real"]
    held = set(shapes.indices("holdout").tolist())
    assert {image.position for image in real} <= held
    assert len({image.position for image in real}) == 20
    # 20 images of 16 held-out subjects: every subject once before any is seen twice in its class.
    assert len({image.subject for image in real}) == 16
    assert max(Counter(image.subject for image in real).values()) == 2
    assert pack.images == 40


def test_every_reader_sees_the_same_images_in_another_order(pack: ReaderPack, key: Key) -> None:
    pages = [page_data(page) for page in pack.pages]
    assert [page["reader"] for page in pages] == [1, 2, 3]
    orders = [[entry["id"] for entry in page["images"]] for page in pages]
    assert {frozenset(order) for order in orders} == {frozenset(image.id for image in key.images)}
    assert len({tuple(order) for order in orders}) == 3
    hashes = {image.id: image.sha256 for image in key.images}
    for page in pages:
        for entry in page["images"]:
            assert hashlib.sha256(png_of(entry)).hexdigest() == hashes[entry["id"]]


def test_the_bytes_of_an_image_tell_nothing(pack: ReaderPack) -> None:
    files = [png_of(entry) for entry in page_data(pack.pages[0])["images"]]
    assert len({len(file) for file in files}) == 1
    assert len({chunks(file)[0] for file in files}) == 1  # IHDR: size, depth, colour
    for file in files:
        assert [kind for kind, _ in chunks(file)] == ["IHDR", "IDAT", "IEND"]


def test_the_page_holds_no_word_of_the_key(pack: ReaderPack, key: Key, shapes: PreparedDataset) -> None:
    page = pack.pages[0].read_text("utf-8")
    data = page_data(pack.pages[0])
    assert set(data) == {"pack", "reader", "images"}
    assert all(set(entry) == {"id", "src"} for entry in data["images"])
    shown = re.sub(r"base64,[A-Za-z0-9+/=]+", "", page)
    words = [key.content_hash, "key.json", *shapes.class_names, *{i.subject for i in key.images if i.subject}]
    assert not [word for word in words if word in shown]


def test_ids_and_orders_follow_neither_kind() -> None:
    """Over 200 seeds, the real half (positions 0..49) lies as often early as late: 5 standard errors allowed."""
    early_by_id, early_by_order = [], []
    for seed in range(200):
        ids = opaque_ids(100, seed)
        assert len(set(ids)) == 100
        early_by_id.append((np.argsort(ids)[:50] < 50).mean())
        early_by_order.append((reading_order(100, seed, 1)[:50] < 50).mean())
    # The share of real ones in a random half has standard deviation .05 (hypergeometric).
    for shares in (early_by_id, early_by_order):
        assert abs(np.mean(shares) - 0.5) < 5 * 0.0503 / np.sqrt(200)
        assert 0.03 < np.std(shares) < 0.07


def test_the_page_allows_its_own_script_and_no_other(pack: ReaderPack) -> None:
    page = pack.pages[0].read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    for tag in ("script", "style"):
        inline = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]
    assert not re.search(
        r"https?://|//[a-z]|\ssrc=|\sstyle=|\son[a-z]+=", re.sub(r"<script.*?</script>", "", page, flags=re.S)
    )
    assert "not for diagnosis" in page


def test_the_same_seed_gives_the_same_bytes(
    pack: ReaderPack, folder: Path, shapes: PreparedDataset, tmp_path: Path
) -> None:
    again = make_pack(folder, shapes, tmp_path / "again", count=40, readers=3, seed=4)
    for one, other in zip([*pack.pages, pack.key], [*again.pages, again.key], strict=True):
        assert one.read_bytes() == other.read_bytes()
    other_seed = make_pack(folder, shapes, tmp_path / "other", count=40, readers=3, seed=5)
    assert other_seed.pack_id != pack.pack_id


def test_another_pack_is_refused_and_the_same_completed(
    pack: ReaderPack, folder: Path, shapes: PreparedDataset
) -> None:
    pack.pages[1].unlink()
    before = pack.key.read_bytes()
    make_pack(folder, shapes, pack.folder, count=40, readers=3, seed=4)
    assert pack.pages[1].exists()
    with pytest.raises(ConfigError, match="another reader pack"):
        make_pack(folder, shapes, pack.folder, count=40, readers=3, seed=5)
    assert pack.key.read_bytes() == before
    pack.key.unlink()
    with pytest.raises(ConfigError, match="without a key"):
        make_pack(folder, shapes, pack.folder, count=40, readers=3, seed=4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"count": 41}, "even number"),
        ({"count": 10}, "even number"),
        ({"count": 2000}, "even number"),
        ({"count": 180}, "80 held-out real images, expected at least 90"),
        ({"count": 140}, "60 generated images in the folder, expected at least 70"),
        ({"readers": 0}, "readers is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"psi": float("nan")}, "psi is nan"),
    ],
)
def test_wrong_options(
    options: dict[str, Any], words: str, folder: Path, shapes: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises((ConfigError, DataError), match=words) as problem:
        make_pack(folder, shapes, tmp_path / "pack", **({"count": 40} | options))
    assert problem.value.remedy
    assert not (tmp_path / "pack").exists()


def test_the_remedy_for_a_rare_class_works(tmp_path: Path, make_dataset: Callable[..., PreparedDataset]) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (80, 1, 16, 16), dtype=np.uint8)
    subjects, splits = [f"s{i // 2}" for i in range(80)], ["train"] * 20 + ["holdout"] * 60
    labels = [0] * 10 + [1] * 10 + [0] * 50 + [1] * 10
    data = make_dataset(tmp_path / "data", images, subjects, splits, labels)
    for number in range(60):
        path = tmp_path / "made" / ("disc", "square")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[number, 0]).save(path)
    with pytest.raises(DataError, match="of class square") as problem:
        make_pack(tmp_path / "made", data, tmp_path / "pack", count=100)
    count = re.search(r"--count (\d+)", problem.value.remedy)
    assert count
    assert make_pack(tmp_path / "made", data, tmp_path / "pack", count=int(count[1])).images == int(count[1])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.data())
def test_real_images_are_spread_over_subjects(subjects: list[int], data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(subjects)))
    names = np.array([f"s{i}" for i in subjects])
    chosen = spread_at_depths(names, np.linspace(0, 1, len(names)), np.linspace(0, 1, k), np.random.default_rng(0))
    assert len(set(chosen.tolist())) == k
    taken = Counter(names[chosen].tolist())
    most = max(taken.values())
    for name, available in Counter(names.tolist()).items():
        assert taken[name] >= min(available, most - 1)


def test_real_images_follow_the_wanted_depths() -> None:
    """Held-out slices are even in depth; asked for the middle alone, that is what is chosen."""
    subjects = np.repeat([f"s{i}" for i in range(10)], 20)
    depths = np.tile(np.linspace(0, 1, 20), 10)
    chosen = spread_at_depths(subjects, depths, np.full(10, 0.5), np.random.default_rng(0))
    assert np.abs(depths[chosen] - 0.5).max() < 0.03
    assert len(set(subjects[chosen])) == 10


def test_padding_is_cut_from_both_kinds(shapes: PreparedDataset) -> None:
    geometry = shapes.output_geometry().model_copy(update={"resampled_height": 12, "pad_top": 3, "pad_bottom": 1})
    images = np.zeros((2, 1, 16, 16), np.uint8)
    images[1, :, :3] = 7  # a generator's rim
    shown = display_pixels(images, geometry)
    assert shown.shape == (2, 12, 16)
    assert not shown.any()


def test_depths_and_channels_are_shown_alike() -> None:
    deep = np.full((1, 2, 4, 4), 0xAB12, np.uint16)
    sheet = display_pixels(deep, None)
    assert sheet.shape == (1, 4, 10)
    assert (sheet[0, :, :4] == 0xAB).all()
    colour = np.zeros((2, 3, 4, 4), np.uint8)
    assert display_pixels(colour, None).shape == (2, 4, 4, 3)
    for file in encode_alike(display_pixels(colour, None)):
        assert Image.open(io.BytesIO(file)).mode == "RGB"


def test_a_report_has_a_pack_beside_it(shapes: PreparedDataset, folder: Path, pooled: Any, tmp_path: Path) -> None:
    from stylescan.evaluate.material import gather
    from stylescan.evaluate.targets import open_target

    material = gather(open_target(folder, shapes), shapes, pooled, n=40, seed=0, full=True, progress=None)
    part = reader_study_part(material, tmp_path / "report")
    assert part.values["images"] == 100
    found = tmp_path / "report" / part.values["folder"] / "key" / "key.json"
    assert read_json(found, DataError, remedy="")["pack"] == part.values["pack"]
    assert reader_study_part(material, tmp_path / "report").values == part.values


def test_a_report_says_why_there_is_no_pack(shapes: PreparedDataset, folder: Path, pooled: Any, tmp_path: Path) -> None:
    from stylescan.evaluate.material import gather
    from stylescan.evaluate.targets import open_target

    for file in sorted(folder.glob("*/*.png"))[:20]:
        file.unlink()
    material = gather(open_target(folder, shapes), shapes, pooled, n=40, seed=0, full=True, progress=None)
    part = reader_study_part(material, tmp_path / "report")
    assert part.values["folder"] is None
    assert "expected at least 50" in part.values["missing"]
    assert not (tmp_path / "report").exists()
