"""`build --tier upstream` of a line that mirrors a vendor: a real image, a real signature, two registries."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cosigntool import key_pair, sign
from e2e.conftest import TOP, Demo, command
from e2e.demoimages import candidates
from registries import running_registry

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

UPSTREAM = """\
package_manager = "apt"
[mirror]
source = "{source}"
key = "keys/vendor.pub"
insecure = true
[kernel]
flavour = "amd64"
"""


@pytest.fixture(scope="module")
def vendor(demo: Demo) -> dict[str, Any]:
    """The vendor's image: the demo's upstream, under its tag in the demo's registry."""
    return candidates(demo, "debian-13")[0]


@pytest.fixture
def repository(vendor: dict[str, Any], tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "images"
    (folder / "mirrored/upstream").mkdir(parents=True)
    (folder / "mirrored/keys").mkdir()
    shutil.copytree(TOP / "Containerfiles/debian", tmp_path / "Containerfiles/mirrored")
    (folder / "mirrored/upstream/os.toml").write_text(
        UPSTREAM.format(source=f"{vendor['repository']}:{vendor['tag']}")
    )
    with running_registry(tmp_path / "registry") as own:
        (folder / "pipeline.toml").write_text(f'[registry]\nurl = "{own.host}/copies"\ninsecure = true\n')
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
        yield tmp_path


def build(repository: Path) -> subprocess.CompletedProcess[str]:
    # cosign lies in the checkout's tools folder, not in that of the repository made here.
    path = f"{TOP / '.tools/bin'}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command("--json", "build", "--tier", "upstream"),
        cwd=repository,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def records(repository: Path) -> list[Any]:
    done = subprocess.run(
        command("--json", "log"), cwd=repository, capture_output=True, text=True, check=True
    )
    return list(json.loads(done.stdout)["records"])


def test_a_signed_image_is_mirrored_by_digest_and_recorded(
    vendor: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    private, public = key_pair(tmp_path, "vendor")
    sign(private, f"{vendor['repository']}@{vendor['digest']}")
    shutil.copy(public, repository / "images/mirrored/keys/vendor.pub")
    done = build(repository)
    assert done.returncode == 0, done.stderr
    (candidate,) = json.loads(done.stdout)["candidates"]
    assert candidate["digest"] == vendor["digest"]
    assert candidate["origin"]["digest"] == vendor["digest"]
    assert candidate["repository"].endswith("/copies/mirrored/os")
    assert [one["digest"] for one in records(repository)] == [vendor["digest"]]


def test_an_image_signed_by_a_stranger_is_refused(
    vendor: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    _, public = key_pair(tmp_path, "stranger")
    shutil.copy(public, repository / "images/mirrored/keys/vendor.pub")
    done = build(repository)
    assert done.returncode == 14, done.stderr
    assert records(repository) == []
