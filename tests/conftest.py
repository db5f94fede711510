"""Shared fixtures: one thread a worker, and the real scans where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch


def pytest_configure(config: pytest.Config) -> None:
    # Two cores are shared by parallel workers; results also depend on the thread count, so fix it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real scans: STYLESCAN_DATA, or `../shared/data` beside the project. Skips where it is absent."""
    named = os.environ.get("STYLESCAN_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        if os.environ.get("STYLESCAN_REQUIRE_DATA"):
            pytest.fail(f"real scans are required here, and {folder} does not exist")
        pytest.skip(f"no real scans at {folder}: set STYLESCAN_DATA to their folder")
    return folder
