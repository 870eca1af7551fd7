"""syft on real folders: the packages of databases, no word of the caller's own settings, errors that help."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.adapters.process import Processes
from pipeline.adapters.syft import Syft
from pipeline.domain.sbom.scanned import take_apart
from pipeline.errors import ToolFailedError, ToolMissingError

STATUS = """Package: tool
Status: install ok installed
Maintainer: Jo <jo@example.org>
Architecture: amd64
Version: 1.0-1
Depends: library (>= 1) | other

Package: library
Status: install ok installed
Architecture: all
Version: 2.0-1
Provides: thing
"""


def syft(program: str = "") -> Syft:
    return Syft(Processes(environment=dict(os.environ)), program=program)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A Debian root whose package database lies in /usr and is linked to from /var."""
    top = tmp_path / "root"
    database = top / "usr/lib/sysimage/dpkg"
    (database / "info").mkdir(parents=True)
    (database / "status").write_text(STATUS)
    (top / "usr/lib/os-release").write_text('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n')
    (top / "etc").mkdir()
    (top / "etc/os-release").symlink_to("../usr/lib/os-release")
    (top / "var/lib").mkdir(parents=True)
    (top / "var/lib/dpkg").symlink_to("../../usr/lib/sysimage/dpkg")
    return top


def test_a_database_that_is_linked_to_counts_once(root: Path) -> None:
    document = syft().scan(root)
    assert document["specVersion"] == "1.6"
    names = [(one["name"], one["version"]) for one in document["components"] if one["type"] == "library"]
    assert sorted(names) == [("library", "2.0-1"), ("tool", "1.0-1")]
    found = take_apart(document)
    tool, library = (
        next(ref for ref in found.components if f"/{name}@" in ref) for name in ("tool", "library")
    )
    assert found.dependencies[tool] == {library}
    assert "pkg:deb/debian/tool@1.0-1" in tool
    assert found.scanner[0] == "syft"
    assert [one["name"] for one in document["components"] if one["type"] == "operating-system"] == ["debian"]


def test_the_caller_s_own_settings_say_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".syft.yaml").write_text("exclude: ['**/status']\n")
    monkeypatch.chdir(tmp_path)
    own = {**os.environ, "HOME": str(tmp_path), "SYFT_EXCLUDE": "**/status"}
    found = Syft(Processes(environment=own)).scan(root)
    assert len([one for one in found["components"] if one["type"] == "library"]) == 2


def test_the_same_folder_gives_the_same_components(root: Path) -> None:
    first, second = (take_apart(syft().scan(root)) for _ in range(2))
    assert first == second


def test_the_command_asks_for_the_catalogers_of_images() -> None:
    argv = syft("syft").argv(Path("/image"), Path("/config.yaml"))
    assert argv == (
        "syft",
        "scan",
        "dir:/image",
        "--quiet",
        "--config=/config.yaml",
        "--base-path=/image",
        "--override-default-catalogers=image",
        "--output=cyclonedx-json@1.6",
    )


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError, match="ended with code"):
        syft().scan(tmp_path / "gone")


def test_a_missing_syft_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match="not installed"):
        syft("no-such-syft").scan(tmp_path)


@pytest.mark.parametrize("said", ["", "[]", "no document"])
def test_what_is_no_document_is_told(tmp_path: Path, said: str) -> None:
    program = tmp_path / "syft"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
    program.chmod(0o755)
    with pytest.raises(ToolFailedError, match="printed no document"):
        syft(str(program)).scan(tmp_path)
