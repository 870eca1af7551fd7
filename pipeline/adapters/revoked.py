"""Tells which listed keys were revoked, by a list as `ssh-keygen -r` takes it: keys one a line, or a KRL.

Rules: plain lists are read here; a binary one (KRL) is read by ssh-keygen, and what it does not call good
counts as revoked.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipeline.adapters.process import Processes
from pipeline.domain.allowed_signers import AllowedKey, AllowedSigners, fingerprint

_KRL = b"SSHKRL\n\0"


def revoked_keys(processes: Processes, revoked: bytes, signers: AllowedSigners) -> frozenset[str]:
    """Return the fingerprints of the listed keys that were revoked.

    Args:
        processes: The door to ssh-keygen.
        revoked: The list of revoked keys; empty for none.
        signers: The list of signers.

    Raises:
        ToolMissingError: ssh-keygen is not installed.
    """
    if not revoked.startswith(_KRL):
        gone = frozenset(_fingerprints(revoked))
        return frozenset(one.key for one in signers.keys if one.key in gone)
    with tempfile.TemporaryDirectory(prefix="pipeline-revoked-") as name:
        krl = Path(name) / "krl"
        krl.write_bytes(revoked)
        return frozenset(one.key for one in signers.keys if _revoked(processes, krl, one))


def _fingerprints(text: bytes) -> Iterator[str]:
    for line in text.splitlines():
        for word in line.split():
            try:
                yield fingerprint(base64.b64decode(word, validate=True))
            except (binascii.Error, ValueError):
                continue


def _revoked(processes: Processes, krl: Path, key: AllowedKey) -> bool:
    file = krl.with_name("key.pub")
    file.write_text(f"{key.public}\n", encoding="ascii")
    return processes.run(["ssh-keygen", "-Q", "-f", str(krl), str(file)], check=False, timeout=60).code != 0
