"""mmdebstrap for real: no identity and no date of the day is in the archive.

That a second one is the same is seen on the whole image, where the Debian line is built.
"""

from __future__ import annotations

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


def test_an_archive_holds_no_identity_and_the_date_it_was_given(tmp_path: Path) -> None:
    with tarfile.open(archive(tmp_path / "a")) as tar:
        names = set(tar.getnames())
        shadow = tar.extractfile("./etc/shadow")
        assert shadow is not None
        days = {line.split(b":")[2] for line in shadow.read().splitlines()}
    assert "./usr/sbin/sshd" in names
    assert not [
        name for name in names if "ssh_host_" in name or name.endswith(("/etc/hostname", "/etc/hosts"))
    ]
    assert days == {str(TIMESTAMP // 86400).encode()}
