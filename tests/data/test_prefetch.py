"""Reading ahead gives the same bits as reading on demand, wherever the position jumps, and leaves no thread behind."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stylescan.data.loader import BatchReader
from stylescan.data.prefetch import PrefetchingReader, reader_for
from stylescan.errors import DataError

PREFIX = "stylescan-reader"


class Source:
    """Ten images whose pixels say their number; notes who reads what, and can fail or wait."""

    num_classes = 2

    def __init__(self, n: int = 10) -> None:
        self.labels = np.arange(n, dtype=np.int64) % 2
        self.asked: list[list[int]] = []
        self.threads: set[str] = set()
        self.fail_at: int | None = None
        self.gate: threading.Event | None = None

    def read(self, indices: np.ndarray) -> np.ndarray:
        self.asked.append([int(i) for i in indices])
        self.threads.add(threading.current_thread().name)
        if self.gate is not None:
            assert self.gate.wait(10)
        if self.fail_at is not None and len(self.asked) > self.fail_at:
            raise DataError("shard 3: damaged", remedy="Prepare again.")
        return np.broadcast_to(indices.astype(np.uint8)[:, None, None, None], (len(indices), 1, 2, 2)).copy()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(PREFIX)]


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def reader(source: Source) -> Iterator[PrefetchingReader]:
    made = PrefetchingReader(source, np.arange(10), seed=3)
    yield made
    made.close()


@settings(max_examples=40, deadline=None)
@given(
    jumps=st.lists(
        st.tuples(st.integers(0, 60), st.sampled_from([2, 4, 6]), st.sampled_from([(0, 1), (0, 2), (1, 2)])), max_size=6
    ),
    run=st.integers(1, 4),
)
def test_equals_reading_on_demand(jumps: list[tuple[int, int, tuple[int, int]]], run: int) -> None:
    source = Source()
    plain, ahead = BatchReader(source, np.arange(10), seed=3), PrefetchingReader(source, np.arange(10), seed=3)
    for nimg, batch, part in jumps:
        for step in range(run):
            images, labels = ahead.batch(nimg + step * batch, batch, part=part)
            expected_images, expected_labels = plain.batch(nimg + step * batch, batch, part=part)
            assert torch.equal(images, expected_images)
            assert torch.equal(labels, expected_labels)
    ahead.close()


def ahead_is_read(reader: PrefetchingReader) -> None:
    assert reader._ahead is not None
    reader._ahead[1].result(10)


def test_the_next_batch_is_read_before_it_is_asked_for(source: Source, reader: PrefetchingReader) -> None:
    plain = BatchReader(source, np.arange(10), seed=3)
    reader.batch(0, 4)
    ahead_is_read(reader)
    assert source.asked == [list(plain.positions(0, 4)), list(plain.positions(4, 4))]
    reader.batch(30, 2, part=(1, 2))  # a jump: that batch, and the one after it
    ahead_is_read(reader)
    assert source.asked[2:] == [list(plain.positions(30, 2)[1::2]), list(plain.positions(32, 2)[1::2])]


def test_reads_each_batch_once_in_a_run_and_never_in_the_callers_thread(
    source: Source, reader: PrefetchingReader
) -> None:
    for step in range(5):
        reader.batch(step * 2, 2)
    reader.close()
    assert len(source.asked) in (5, 6)  # the sixth is the one ahead
    assert source.asked[:5] == [list(BatchReader(source, np.arange(10), seed=3).positions(k * 2, 2)) for k in range(5)]
    assert all(name.startswith(PREFIX) for name in source.threads)


def test_returns_while_the_next_batch_is_still_being_read(source: Source, reader: PrefetchingReader) -> None:
    reader.batch(0, 4)
    reader.batch(4, 4)
    ahead_is_read(reader)
    source.gate = threading.Event()
    reader.batch(8, 4)  # read already; the next one waits at the gate
    assert reader._ahead is not None
    assert not reader._ahead[1].done()
    source.gate.set()


def test_an_error_of_the_thread_reaches_the_caller_that_asks_for_the_batch(
    source: Source, reader: PrefetchingReader
) -> None:
    source.fail_at = 1
    reader.batch(0, 4)  # the batch ahead fails, which nobody has asked for yet
    with pytest.raises(DataError, match="shard 3: damaged"):
        reader.batch(4, 4)
    source.fail_at = None
    images, _ = reader.batch(4, 4)  # a failure is not remembered
    assert torch.equal(images, BatchReader(source, np.arange(10), seed=3).batch(4, 4)[0])


def test_an_error_in_a_batch_that_is_never_asked_for_is_nobodys(source: Source, reader: PrefetchingReader) -> None:
    source.fail_at = 1
    reader.batch(0, 4)
    source.fail_at = None
    assert len(reader.batch(20, 4)[0]) == 4


def test_no_thread_before_the_first_batch_and_none_after_close(source: Source) -> None:
    before = len(threads())
    reader = PrefetchingReader(source, np.arange(10), seed=3)
    assert len(threads()) == before
    reader.batch(0, 4)
    reader.batch(40, 4)
    assert len(threads()) == before + 1
    reader.close()
    reader.close()
    assert len(threads()) == before
    assert len(reader.batch(4, 4)[0]) == 4  # starts anew
    reader.close()


def test_a_reader_that_is_dropped_takes_its_thread_along(source: Source) -> None:
    reader = PrefetchingReader(source, np.arange(10), seed=3)
    reader.batch(0, 4)
    (thread,) = reader._thread._threads if reader._thread else ()
    del reader
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_empty_split_is_refused_as_ever(source: Source) -> None:
    with pytest.raises(DataError, match="no images"):
        PrefetchingReader(source, np.arange(0), seed=3)


def test_a_cpu_reads_on_demand_and_other_devices_ahead(source: Source) -> None:
    plain = reader_for(torch.device("cpu"), source, np.arange(10), seed=3)
    assert type(plain) is BatchReader
    plain.close()
    cuda = reader_for(torch.device("cuda"), source, np.arange(10), seed=3)
    assert isinstance(cuda, PrefetchingReader)
    assert cuda._pin
    other = reader_for(torch.device("mps"), source, np.arange(10), seed=3)
    assert isinstance(other, PrefetchingReader)
    assert not other._pin


def test_pinned_images_are_the_same_images(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:  # page-locked memory needs a CUDA driver
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    reader = PrefetchingReader(source, np.arange(10), seed=3, pin=True)
    images, _ = reader.batch(0, 4)
    reader.close()
    assert images is pinned[0]
    assert torch.equal(images, BatchReader(source, np.arange(10), seed=3).batch(0, 4)[0])
