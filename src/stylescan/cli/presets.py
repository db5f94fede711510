"""`stylescan presets`."""

from __future__ import annotations

from stylescan.cli.console import say


def presets() -> None:
    """List the presets: named recipes that fit themselves to the data."""
    from stylescan.presets import PRESETS

    say("auto       small on a CPU, standard on a GPU")
    for name, preset in PRESETS.items():
        say(f"{name:<10} {preset.summary}; {preset.default_kimg:g} kimg unless --kimg or --minutes is given")
