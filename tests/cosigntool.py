"""A real cosign for tests, from the project's tools folder or PATH, with keys made on the spot.

A missing cosign fails the test with the line that installs it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

_TOOLS = Path(__file__).parents[1] / ".tools" / "bin"


def cosign_program() -> str:
    """Return cosign's path; fail the test without one."""
    found = shutil.which("cosign", path=os.pathsep.join((str(_TOOLS), os.environ.get("PATH", ""))))
    if found is None:
        pytest.fail("cosign is not installed; install it: scripts/fetch-cosign .tools/bin")
    return found


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Make a key pair without a password; return the private and the public key's file."""
    _cosign("generate-key-pair", f"--output-key-prefix={folder / name}")
    return folder / f"{name}.key", folder / f"{name}.pub"


def sign(key: Path, reference: str) -> None:
    """Sign as vendors do for hosts: the legacy signature tag, made with a key, no transparency log."""
    _cosign(
        "sign",
        f"--key={key}",
        "--new-bundle-format=false",
        "--use-signing-config=false",
        "--tlog-upload=false",
        "--allow-http-registry=true",
        "--recursive",
        reference,
    )


def attest(key: Path, reference: str, predicate: Path) -> None:
    """Attach an attestation as a bundle, which is no signature."""
    _cosign(
        "attest",
        f"--key={key}",
        "--use-signing-config=false",
        "--tlog-upload=false",
        "--allow-http-registry=true",
        "--type=https://example.org/test",
        f"--predicate={predicate}",
        reference,
    )


def _cosign(*arguments: str) -> None:
    environment = {**os.environ, "COSIGN_PASSWORD": "", "COSIGN_YES": "true"}
    done = subprocess.run(
        [cosign_program(), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
