"""stylescan: train style-based generators on medical scans, and say honestly how good the synthetic images are.

The library is the names below, each with a runnable example; `import stylescan` itself loads none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stylescan.api import evaluate_images, prepare_scans, write_picture
    from stylescan.data.demo import write_population
    from stylescan.data.prepared import PreparedDataset
    from stylescan.errors import StylescanError
    from stylescan.generate.edit import interpolate_styles, mix_styles
    from stylescan.generate.sample import sample_images
    from stylescan.generate.snapshot import Snapshot, load_snapshot
    from stylescan.runs import TrainedRun, resolve_config, train_generator

__version__ = "0.1.0"

__all__ = [
    "PreparedDataset",
    "Snapshot",
    "StylescanError",
    "TrainedRun",
    "evaluate_images",
    "interpolate_styles",
    "load_snapshot",
    "mix_styles",
    "prepare_scans",
    "resolve_config",
    "sample_images",
    "train_generator",
    "write_picture",
    "write_population",
]

# Where each public name lives. No name may be that of a package in here, such as `train`: importing the package would
# put it in the name's place.
_HOME = {
    "PreparedDataset": "stylescan.data.prepared",
    "Snapshot": "stylescan.generate.snapshot",
    "StylescanError": "stylescan.errors",
    "TrainedRun": "stylescan.runs",
    "evaluate_images": "stylescan.api",
    "interpolate_styles": "stylescan.generate.edit",
    "load_snapshot": "stylescan.generate.snapshot",
    "mix_styles": "stylescan.generate.edit",
    "prepare_scans": "stylescan.api",
    "resolve_config": "stylescan.runs",
    "sample_images": "stylescan.generate.sample",
    "train_generator": "stylescan.runs",
    "write_picture": "stylescan.api",
    "write_population": "stylescan.data.demo",
}

if not TYPE_CHECKING:  # a type checker that saw this would take any name for known

    def __getattr__(name: str) -> object:
        """A public name, imported when it is first asked for (PEP 562)."""
        if name not in _HOME:
            raise AttributeError(_unknown(name), name=name)
        from importlib import import_module

        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    folded = {known.lower(): known for known in _HOME}
    close = [folded[word] for word in get_close_matches(name.lower(), list(folded), n=2, cutoff=0.5)]
    if not close:  # a verb alone
        close = [known for known in _HOME if name.lower() in known.lower()]
    hint = f"did you mean {' or '.join(close)}?" if close else f"the public names are {', '.join(__all__)}"
    return f"module 'stylescan' has no attribute {name!r}: {hint}"
