"""`stylescan presets`."""

from __future__ import annotations

from pathlib import Path

from stylescan.cli.console import say


def presets(name: str | None = None, /, *, data: Path | None = None, device: str = "auto", devices: int = 1) -> None:
    """List the presets: named recipes that fit themselves to the data.

    With a name and a dataset, print every number that it would take there: what `train` writes to RUN/config.yaml.

    Parameters
    ----------
    name
        A preset; all if left out.
    data
        Prepared dataset that the numbers are for.
    device
        auto, cpu, cuda or cuda:N: the device that the numbers are for.
    devices
        Devices that train together.
    """
    from stylescan.presets import PRESETS, resolve_name

    names = [resolve_name(name)] if name else list(PRESETS)
    if data is not None:
        for each in names if name else ["auto"]:
            _numbers(each, data, device, devices)
        return
    for each in names:
        preset = PRESETS[each]
        say(f"{each}\n  {preset.summary}\n  cost:   {preset.cost}\n  expect: {preset.expect}")
    say("Numbers for your data: stylescan presets NAME --data DATA. Speed on this machine: stylescan train --dry-run")


def _numbers(name: str, data: Path, device: str, devices: int) -> None:
    from stylescan.config import config_yaml
    from stylescan.data.prepared import PreparedDataset
    from stylescan.presets import PRESETS, build_config
    from stylescan.recipes.common import Machine
    from stylescan.runtime import pick_device
    from stylescan.train.start import fingerprint

    found = fingerprint(PreparedDataset.open(data))
    kind = device if device in ("cpu", "cuda") else pick_device(device).type  # numbers for a GPU need none here
    say(config_yaml(build_config(name, found, machine=Machine(kind, devices))).rstrip())
    for remark in PRESETS[name].remarks(found, Machine(kind, devices)):
        say(f"# {remark}")
