"""What precision a device gets, and the switches of a step: set inside, as before outside."""

from __future__ import annotations

import itertools

import pytest
import torch

from stylescan.errors import ConfigError
from stylescan.runtime import DeviceFacts, device_facts, to_device
from stylescan.train.precision import Precision, PrecisionName, choose_precision

A100 = DeviceFacts("cuda", "NVIDIA A100", bf16=True)
T4 = DeviceFacts("cuda", "Tesla T4", bf16=False)
PLAIN_CPU = DeviceFacts("cpu", "AMD EPYC", bf16=False)
AMX_CPU = DeviceFacts("cpu", "Intel Xeon", bf16=True)
MPS = DeviceFacts("mps", "mps", bf16=False)


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("auto", A100, Precision("cuda", bf16=True)),
        ("auto", T4, Precision("cuda")),
        ("auto", PLAIN_CPU, Precision("cpu")),
        ("auto", AMX_CPU, Precision("cpu")),  # a CPU's runs repeat bit for bit
        ("auto", MPS, Precision("mps")),
        ("fp32", A100, Precision("cuda")),
        ("fp32", AMX_CPU, Precision("cpu")),
        ("bf16", A100, Precision("cuda", bf16=True)),
        ("bf16", AMX_CPU, Precision("cpu", bf16=True)),
    ],
)
def test_chosen_by_device(name: PrecisionName, facts: DeviceFacts, expected: Precision) -> None:
    assert choose_precision(name, facts) == expected


@pytest.mark.parametrize("facts", [T4, PLAIN_CPU, MPS, DeviceFacts("mps", "M9", bf16=True)])
def test_bf16_without_units_is_refused(facts: DeviceFacts) -> None:
    with pytest.raises(ConfigError, match=rf"train\.precision=bf16: {facts.name}") as refused:
        choose_precision("bf16", facts)
    assert "train.precision=auto" in refused.value.remedy
    assert ("ten times slower" in refused.value.message) == (facts.kind == "cpu")


def test_lazy_phases_are_float32() -> None:
    mixed = Precision("cuda", bf16=True)
    assert mixed.of_phase(1) is mixed
    assert mixed.of_phase(2) == mixed.of_phase(16) == Precision("cuda")


def test_autocast_is_on_inside_and_only_with_bf16() -> None:
    with Precision("cpu", bf16=True).nets():
        assert torch.is_autocast_enabled("cpu")
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    with Precision("cpu").nets():
        assert not torch.is_autocast_enabled("cpu")


def fail_inside(precision: Precision, expected: tuple[bool, bool]) -> None:
    cudnn = torch.backends.cudnn
    with precision.kernels():
        assert (cudnn.benchmark, cudnn.allow_tf32) == expected
        raise ZeroDivisionError


def test_switches_of_cudnn_hold_inside_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    cudnn = torch.backends.cudnn
    for benchmark, tf32, bf16 in itertools.product((False, True), repeat=3):
        monkeypatch.setattr(cudnn, "benchmark", benchmark)
        monkeypatch.setattr(cudnn, "allow_tf32", tf32)
        with pytest.raises(ZeroDivisionError):
            fail_inside(Precision("cuda", bf16=bf16), (True, bf16))
        assert (cudnn.benchmark, cudnn.allow_tf32) == (benchmark, tf32)
        with pytest.raises(ZeroDivisionError):  # a CPU's switches are left alone
            fail_inside(Precision("cpu", bf16=bf16), (benchmark, tf32))


def test_deterministic_algorithms_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "are_deterministic_algorithms_enabled", lambda: True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    with Precision("cuda").kernels():
        assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.benchmark


@pytest.mark.parametrize(("unit", "able"), [("amx_bf16", True), ("avx512_bf16", True), ("bf16", True), ("avx2", False)])
def test_facts_of_cpus(monkeypatch: pytest.MonkeyPatch, unit: str, able: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {unit: True, "cpu_name": "chip"})
    assert device_facts(torch.device("cpu")) == DeviceFacts("cpu", "chip", able)


@pytest.mark.parametrize(("capability", "able"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_facts_of_gpus(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], able: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "card")
    assert device_facts(torch.device("cuda")) == DeviceFacts("cuda", "card", able)


def test_this_machines_facts_are_plain_values() -> None:
    facts = device_facts(torch.device("cpu"))
    assert facts.kind == "cpu"
    assert facts.name
    assert device_facts(torch.device("meta")) == DeviceFacts("meta", "meta", bf16=False)


def test_what_is_there_already_is_not_copied() -> None:
    x = torch.ones(2)
    assert to_device(x, torch.device("cpu")) is x
    assert to_device(x, torch.device("meta")).device.type == "meta"
