"""The option --data where a run remembers its own data."""

from __future__ import annotations

from pathlib import Path


def data_for(target: Path, data: Path | None, command: str, why: str) -> Path:
    """`data`, else the dataset that the run `target` was trained on; ConfigError where neither is known.

    command : the call as it should have been, without --data. why : what the data is needed for.
    """
    from stylescan.errors import ConfigError
    from stylescan.train.run_folder import data_of

    found = data if data is not None else data_of(target)
    if found is None:
        raise ConfigError(f"--data: missing; {why}", remedy=f"{command} --data DATA")
    return found
