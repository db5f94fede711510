"""Two runs never write into one folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from stylescan.errors import ConfigError
from stylescan.train.run_folder import RunFolder

HOLDER = """
import sys
from pathlib import Path
from stylescan.train.run_folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock():
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_a_folder_is_locked_while_another_process_trains(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.create()
    command = [sys.executable, "-c", HOLDER, str(run.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="another process is training here"), run.lock():
            pass
        holder.communicate("\n")
    with run.lock():
        pass
