"""The machine: devices, threads, memory allocator. The only room that may know of launchers and process groups."""

from __future__ import annotations

import ctypes
import platform
import sys
from typing import Any

import torch

from stylescan.errors import ConfigError

_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD = -3, -1  # glibc, malloc.h


def tune_allocator() -> bool:
    """Let glibc keep freed blocks: otherwise every large tensor costs page faults at every step (1.2-1.35x).

    Must run before torch allocates. Returns whether it took effect; a no-op off glibc.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    limit = 1 << 30
    return bool(mallopt(_M_MMAP_THRESHOLD, limit) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))


def pick_device(name: str = "auto") -> torch.device:
    """`auto`: CUDA where there is one, else the CPU. ConfigError for a device that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as problem:
        first = str(problem).splitlines()[0]
        raise ConfigError(f"--device {name}: not usable here ({first})", remedy="Use --device auto or cpu.") from None
    return device


def set_threads(count: int | None) -> int:
    """Fix the number of CPU threads (None: torch's own choice) and return it; results depend on it."""
    if count is not None:
        if count < 1:
            raise ConfigError(f"--threads {count}: expected at least 1", remedy="Leave it out to use all cores.")
        torch.set_num_threads(count)
    return torch.get_num_threads()


def environment(device: torch.device) -> dict[str, Any]:
    """What bitwise equality of two runs depends on: machine type, torch, device and thread count."""
    return {
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
    }


def peak_memory_mb() -> float:
    """The process's peak resident memory in MB so far; NaN on Windows, which keeps no such count."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)
