"""mmdebstrap for real: the same packages and date give the same archive, and no identity is in it."""

from __future__ import annotations

import filecmp
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from pipeline.adapters.bootstrap import Bootstrapper
from pipeline.adapters.process import Processes
from pipeline.adapters.tools import install_line
from pipeline.domain.definition import Bootstrap

pytestmark = pytest.mark.engine
TIMESTAMP = 1_763_000_000
SMALL = Bootstrap(suite="trixie", components=("main",), packages=("openssh-server",), containerfile="x")
"""openssh-server makes host keys and an account while it is installed."""


def archive(folder: Path) -> Path:
    if shutil.which("mmdebstrap") is None:
        pytest.fail(f"mmdebstrap is not installed; install it: {install_line('mmdebstrap')}")
    folder.mkdir()
    target, log = folder / "rootfs.tar", folder / "log"
    code = Bootstrapper(Processes(environment=os.environ)).archive(
        SMALL, target=target, timestamp=TIMESTAMP, log=log, on_line=lambda _: None
    )
    assert code == 0, log.read_text(errors="replace")[-2000:]
    return target


def test_two_archives_are_the_same_byte_for_byte_and_hold_no_identity(tmp_path: Path) -> None:
    first, second = archive(tmp_path / "a"), archive(tmp_path / "b")
    with tarfile.open(first) as tar:
        names = set(tar.getnames())
        shadow = tar.extractfile("./etc/shadow")
        assert shadow is not None
        days = {line.split(b":")[2] for line in shadow.read().splitlines()}
    assert filecmp.cmp(first, second, shallow=False)
    assert "./usr/sbin/sshd" in names
    assert not [
        name for name in names if "ssh_host_" in name or name.endswith(("/etc/hostname", "/etc/hosts"))
    ]
    assert days == {str(TIMESTAMP // 86400).encode()}
