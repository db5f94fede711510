"""The memory that a piece of work takes at its peak, and whether the allocator keeps what is freed."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from stylescan.runtime import peak_memory_mb, synchronise

_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_RESET_PEAK = b"5"  # man proc_pid_clear_refs: reset the peak of resident memory
_MB = 1 << 20


@dataclass(frozen=True)
class Peak:
    """Megabytes: resident (CPU) or allocated (CUDA) at the peak of the work, and how much of it the work itself added.

    added_mb is None where only the whole process's peak so far is known.
    """

    peak_mb: float | None
    added_mb: float | None


def memory_method(device: torch.device) -> str:
    """How `measure_peak` measures here, in words."""
    if device.type == "cuda":
        return "allocated by tensors on the device, a phase each"
    if _reset_peak():
        return "resident memory of the process, a phase each"
    return "resident memory of the process, its peak so far: phases cannot be told apart here"


def measure_peak(work: Callable[[], object], device: torch.device) -> Peak:
    """Run `work` once; its peak. What earlier work left in the allocator's hands is given back first."""
    if device.type == "cuda":
        synchronise(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        synchronise(device)
        peak = torch.cuda.max_memory_allocated(device)
        return Peak(peak / _MB, (peak - before) / _MB)
    _give_back_free_blocks()
    if not _reset_peak():
        work()
        so_far = peak_memory_mb()
        return Peak(so_far if math.isfinite(so_far) else None, None)
    rest = _status_mb("VmRSS")
    work()
    highest = _status_mb("VmHWM")
    return Peak(highest, max(highest - rest, 0.0))


def _reset_peak() -> bool:
    """Let the process's peak begin anew from what is resident now; False where the system does not."""
    try:
        _CLEAR_REFS.write_bytes(_RESET_PEAK)
        _status_mb("VmHWM")
    except (OSError, StopIteration):
        return False
    return True


def _status_mb(field: str) -> float:
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024


def _give_back_free_blocks() -> None:
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # not glibc
        return


_COUNTS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _COUNTS]


def allocator_keeps_blocks() -> bool | None:
    """Whether a freed tensor's memory stays with the process, as `allocator.tune_allocator` asks; None off glibc.

    Seen from what happens to a block of 64 MB, which an untuned glibc takes from the system anew each time.
    """
    try:
        libc = ctypes.CDLL(None)
        info, take, give = libc.mallinfo2, libc.malloc, libc.free
    except (OSError, AttributeError, TypeError):
        return None
    info.restype = _Mallinfo
    take.restype, take.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    give.argtypes = [ctypes.c_void_p]
    before = info().hblks
    block = take(64 * _MB)
    from_system = info().hblks > before
    give(block)
    return not from_system
