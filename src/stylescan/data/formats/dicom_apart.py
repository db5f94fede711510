"""Unpacking in a process of its own, for a decoder that damaged files can crash.

GDCM is the one free decoder of lossless JPEG, and on damaged streams it ends the process that called it. So it is
called in a child: this file is also the child's program, and imports nothing of the package.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

LONGEST_S = 120.0  # for one file; a decoder that takes longer hangs
_LENGTH = 8  # bytes that state how many follow; 0: the decoder refused


class Apart:
    """A child process that unpacks DICOM files one after the other; started when first needed. Use it with `closing`."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def unpack(self, path: Path) -> Any:
        """The pixels of `path` as pydicom gives them, or None where the decoder refused, crashed or hung."""
        if self._child is None:
            # -P: the folder of this file must not stand before the installed packages.
            command = [sys.executable, "-P", __file__]
            self._child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        child = self._child
        assert child.stdin is not None
        assert child.stdout is not None
        watch = threading.Timer(LONGEST_S, child.kill)
        watch.start()
        try:
            child.stdin.write(json.dumps(str(path.resolve())).encode() + b"\n")
            child.stdin.flush()
            answer = _receive(child.stdout)
        except OSError:  # it is gone
            answer = None
        finally:
            watch.cancel()
        if answer is None:
            self.close()
        if not answer:
            return None
        import numpy as np

        return np.load(io.BytesIO(answer), allow_pickle=False)

    def close(self) -> None:
        """End the child."""
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()


def _receive(stream: IO[bytes]) -> bytes | None:
    """One answer of the child; None where it ended before it was complete."""
    head = stream.read(_LENGTH)
    count = int.from_bytes(head, "big")
    body = stream.read(count)
    return body if len(head) == _LENGTH and len(body) == count else None


def serve(questions: IO[bytes], answers: IO[bytes]) -> None:
    """The child: for each line, a path as JSON, the pixels as npy after their length."""
    import warnings

    import numpy as np
    from pydicom.pixels.utils import pixel_array

    warnings.simplefilter("ignore")
    for line in questions:
        body = io.BytesIO()
        try:
            np.save(body, pixel_array(json.loads(line), decoding_plugin="gdcm"), allow_pickle=False)
        except Exception:  # the parent names the file
            body = io.BytesIO()
        answers.write(len(body.getvalue()).to_bytes(_LENGTH, "big") + body.getvalue())
        answers.flush()


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
