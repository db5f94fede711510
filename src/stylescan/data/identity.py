"""Names that do not give people away: salted hashes, with a salt that stays beside the data and is never shared."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from stylescan.data.formats.table import suffix_of
from stylescan.errors import DataError

SALT_NAME = ".salt"


def kept_salt(folder: Path) -> str:
    """The salt kept in the dataset's folder, or ''."""
    file = folder / SALT_NAME
    try:
        return file.read_text("utf-8").strip() if file.is_file() else ""
    except UnicodeDecodeError:
        raise DataError(
            f"{file}: not the salt of a prepared dataset", remedy="remove it, or choose another --out"
        ) from None


def load_salt(folder: Path, given: str | None) -> str:
    """The salt of the dataset in `folder`: the given one, else the one kept there, else a new one; kept, mode 0600."""
    file = folder / SALT_NAME
    kept = kept_salt(folder)
    salt = given or kept or secrets.token_hex(16)
    if salt != kept:
        file.unlink(missing_ok=True)
        # Created private, so that no moment exists in which others can read it.
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(salt + "\n")
    return salt


def _hash(salt: str, kind: str, text: str) -> str:
    return hmac.new(salt.encode(), f"{kind}\0{text}".encode(), hashlib.sha256).hexdigest()


def hide_subjects(subjects: set[str], salt: str) -> dict[str, str]:
    """Subject -> 'sub-' and ten hexadecimal digits. Raises DataError in the rare case that two coincide."""
    hidden = {subject: f"sub-{_hash(salt, 'subject', subject)[:10]}" for subject in subjects}
    if len(set(hidden.values())) != len(hidden):
        raise DataError("two subjects' hashed names coincide", remedy="give another salt")
    return hidden


def hide_source(name: str, salt: str) -> str:
    """A file's name -> 'img-', twelve hexadecimal digits and its suffix."""
    return f"img-{_hash(salt, 'source', name)[:12]}{suffix_of(name) or ''}"


def fingerprint(salt: str, text: str) -> str:
    """A keyed hash of any text: tells whether it changed, and nothing else."""
    return _hash(salt, "fingerprint", text)
