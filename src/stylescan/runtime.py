"""The machine: devices, threads, memory allocator, and the processes that train together.

The only room that knows of launchers and process groups. Networks stay unwrapped: DDP's wrappers raise where a penalty
leaves a parameter unused, so gradients travel in one flat all-reduce a phase.
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from stylescan.errors import ConfigError

MOST_THREADS = 4096


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
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"--device {name}: expected auto, cpu, cuda or cuda:N; other devices are not tested",
            remedy="Use --device cpu.",
        )
    return device


def set_threads(count: int | None) -> int:
    """Fix the number of CPU threads (None: torch's own choice) and return it; results depend on it."""
    if count is not None:
        if not 1 <= count <= MOST_THREADS:
            raise ConfigError(
                f"--threads {count}: expected 1 to {MOST_THREADS}", remedy="Leave it out to use all cores."
            )
        torch.set_num_threads(count)
    return torch.get_num_threads()


@dataclass(frozen=True)
class DeviceFacts:
    """What matters of a device for the number formats to compute in.

    kind: cpu, cuda, ...; name: the model's, as its maker calls it; bf16: whether it has units that multiply bfloat16.
    """

    kind: str
    name: str
    bf16: bool


def device_facts(device: torch.device) -> DeviceFacts:
    """The facts of `device`, from torch's own account of it.

    CUDA has bfloat16 units (and TF32) from compute capability 8.0 on; a CPU by AMX, AVX512-BF16 or Arm's BF16 extension.
    Without them bfloat16 is emulated: on a CPU ten times slower than float32.
    """
    if device.type == "cuda":
        major, _ = torch.cuda.get_device_capability(device)
        return DeviceFacts("cuda", torch.cuda.get_device_name(device), major >= 8)
    if device.type == "cpu":
        has = torch.cpu.get_capabilities()
        name = str(has.get("cpu_name") or platform.machine())
        return DeviceFacts("cpu", name, any(bool(has.get(unit)) for unit in ("amx_bf16", "avx512_bf16", "bf16")))
    return DeviceFacts(device.type, device.type, False)


def to_device(x: Tensor, device: torch.device) -> Tensor:
    """`x` on `device`, without waiting for CUDA's queue of kernels; `x` itself where it is there already."""
    return x.to(device, non_blocking=device.type == "cuda")  # elsewhere the source would have to outlive the copy


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was given (nothing on a CPU)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def environment(device: torch.device, team: Team | None = None) -> dict[str, Any]:
    """What bitwise equality of two runs depends on: machine type, torch, device, number of processes and threads."""
    return {
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "python": ".".join(map(str, sys.version_info[:3])),
        "device": device.type if device.type == "cpu" else torch.cuda.get_device_name(device),
        "processes": team.size if team else 1,
        "threads": torch.get_num_threads(),
    }


def peak_memory_mb() -> float:
    """The process's peak resident memory in MB so far; NaN on Windows, which keeps no such count."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


@dataclass(frozen=True)
class Team:
    """The processes that train one model together; `Team()` is one process alone, for which every method is free.

    Every process draws a phase's random numbers for the global batch and takes its own rows. Rows are dealt like cards,
    so that minibatch groups (images i, i + N/g, ...) are those of one process on the whole batch.
    """

    rank: int = 0
    size: int = 1

    @property
    def leader(self) -> bool:
        """Whether this process writes files and talks to the user."""
        return self.rank == 0

    def rows(self, x: Tensor) -> Tensor:
        """This process's part of a global batch: every size-th row."""
        return x if self.size == 1 else x[self.rank :: self.size]

    @torch.no_grad()
    def mean_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one flat all-reduce."""
        tensors = list(tensors)
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([t.reshape(-1) for t in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        for tensor, part in zip(tensors, torch.split(flat, [t.numel() for t in tensors])):
            tensor.copy_(part.view(tensor.shape))

    @torch.no_grad()
    def sum(self, x: Tensor) -> Tensor:
        """The sum over the processes."""
        if self.size == 1:
            return x
        total = x.clone()
        dist.all_reduce(total)
        return total

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process says yes."""
        return flag if self.size == 1 else bool(self.sum(torch.tensor(float(flag), device=device)) > 0)

    @torch.no_grad()
    def copy_from_leader(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite each tensor by the leader's."""
        if self.size > 1:
            for tensor in tensors:
                whole = tensor.detach().contiguous()
                dist.broadcast(whole, 0)
                tensor.copy_(whole)

    def share(self, value: Any, device: torch.device) -> Any:
        """The leader's JSON-able value; what the others pass is ignored."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.leader else b""
        length = torch.tensor(len(text), device=device)
        dist.broadcast(length, 0)
        buffer = torch.zeros(int(length), dtype=torch.uint8)
        if self.leader:
            buffer.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        buffer = buffer.to(device)
        dist.broadcast(buffer, 0)
        return json.loads(bytes(buffer.tolist()))

    def disband(self) -> None:
        """Wait for the others, then leave the group."""
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()


def launched_rank() -> int:
    """This process's number where a launcher (ours, torchrun or SLURM) has started several, else 0."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK") if _launched_outside() else ("LOCAL_RANK",)
    return next((int(os.environ[name]) for name in names if os.environ.get(name, "").isdigit()), 0)


def leader_is_gone(problem: RuntimeError) -> bool:
    """Whether a collective failed because another process has ended: that one says why, this one need not."""
    words = str(problem).lower()
    return isinstance(problem, dist.DistError) or "connection" in words or "timed out" in words


def _launched_outside() -> bool:
    """Whether torchrun, or SLURM with more than one task, started the processes."""
    slurm = "SLURM_PROCID" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return "TORCHELASTIC_RUN_ID" in os.environ or (slurm and int(os.environ.get("SLURM_NTASKS", "1")) > 1)


def check_devices(devices: int, device: torch.device) -> None:
    """ConfigError where there are not so many devices of this kind."""
    if devices < 1:
        raise ConfigError(f"--devices {devices}: expected at least 1", remedy="Leave it out to train in one process.")
    if device.type == "cuda" and devices > torch.cuda.device_count():
        raise ConfigError(
            f"--devices {devices}: found {torch.cuda.device_count()} CUDA devices",
            remedy="Ask for as many as there are, or train with --device cpu.",
        )


def launch(devices: int, device: torch.device) -> tuple[Team, torch.device]:
    """Start (or, where a launcher has, join) `devices` processes a node on devices of one kind.

    The other processes run this same command again from its start; the caller asks `launched_rank` what it is. Returns
    the team and this process's device. Raises ConfigError as `check_devices`.
    """
    check_devices(devices, device)
    if devices == 1 and not _launched_outside():
        return Team(), device
    import logging

    from lightning_fabric import Fabric

    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    nodes = int(os.environ.get("SLURM_NNODES") or os.environ.get("GROUP_WORLD_SIZE") or 1)
    kind = "cuda" if device.type == "cuda" else "cpu"
    if nodes == 1 and kind == "cpu" and sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # else gloo asks the network for this machine's name
    fabric = Fabric(accelerator=kind, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return Team(fabric.global_rank, fabric.world_size), fabric.device
