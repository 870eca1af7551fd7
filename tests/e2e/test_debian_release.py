"""The README's way to a release and back, line by line as it is printed, on a copy of what the demo left."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import TOP, Demo
from e2e.terminal import at_a_terminal

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

HOSTS = ("db-1", "gpu-1", "web-1")
IMAGES = ("base", "debian-13", *HOSTS)


def printed() -> list[str]:
    """Return the lines of the README from the first approval on, without their comments."""
    blocks = re.findall(r"```sh\n(.*?)```", (TOP / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [one for one in blocks if "pipeline approve" in one]
    return [re.sub(r"\s+#.*", "", line) for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def copy(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release") / "demo"
    shutil.copytree(demo.folder, folder, symlinks=True)
    return folder


@pytest.fixture(scope="module")
def environment(demo: Demo) -> Mapping[str, str]:
    """What the demo's env file sets, in a shell that is nobody's CI job."""
    script = f". '{demo.state}/env' && env -0"
    calm = {name: text for name, text in os.environ.items() if name not in ("CI", "GITLAB_CI")}
    said = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, env=calm)
    found = dict(line.split("=", 1) for line in said.stdout.split("\0") if line)
    return {**found, "PATH": f"{Path(sys.executable).parent}:{found['PATH']}"}


@pytest.fixture(scope="module")
def said(copy: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Each line that was run, and what it printed."""
    found = {}
    for line in printed():
        code, text = at_a_terminal(["bash", "-c", line], copy, environment, answer="yes\n")
        assert code == 0, f"$ {line}\n{text[-4000:]}"
        found[line] = text
    return found


def ask(copy: Path, environment: Mapping[str, str], *words: str) -> Any:
    done = subprocess.run(
        ["pipeline", "--json", *words], cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seals(copy: Path, environment: Mapping[str, str], *image: str) -> list[Any]:
    return [one for one in ask(copy, environment, "log", *image)["records"] if one["kind"] == "seal"]


def test_every_line_of_the_readme_works_as_printed(said: dict[str, str]) -> None:
    verbs = {line.split()[1] for line in said if line.startswith("pipeline ")}
    assert {"approve", "seal", "verify", "rollback", "yank", "status", "audit", "prune"} <= verbs


def test_the_releases_are_what_the_lines_say(
    said: dict[str, str], copy: Path, environment: Mapping[str, str]
) -> None:
    del said
    found = seals(copy, environment)
    names = sorted(f"{one['image']} {one['version']}" for one in found)
    assert names == sorted([*(f"{name} 1.0.0" for name in IMAGES), "web-1 1.0.1"])
    assert all({"signature", "sbom", "provenance", "approval"} <= one["signatures"].keys() for one in found)
    base = next(one for one in found if one["image"] == "base")
    assert {one["parent"]["digest"] for one in found if one["tier"] == "instance"} == {base["digest"]}


def test_the_channel_went_forward_and_back_by_digest(
    said: dict[str, str], copy: Path, environment: Mapping[str, str]
) -> None:
    del said
    records = ask(copy, environment, "log", "debian/web-1")["records"]
    first, second = [one for one in records if one["kind"] == "seal"]
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{first['repository']}:current"],
        capture_output=True,
        check=True,
    )
    raw = subprocess.run(
        [
            "skopeo", "inspect", "--raw", "--tls-verify=false",
            f"docker://{first['repository']}@{first['digest']}",
        ],
        capture_output=True,
        check=True,
    )  # fmt: skip
    assert done.stdout == raw.stdout
    (yank,) = [one for one in records if one["kind"] == "yank"]
    assert yank["digest"] == second["digest"]
    steps = [one["step"] for one in records if one["kind"] == "deployment"]
    assert steps == ["wanted", "channel"]


def test_git_has_a_signed_tag_for_each_release(
    said: dict[str, str], copy: Path, environment: Mapping[str, str], demo: Demo, tmp_path: Path
) -> None:
    del said
    key = (demo.state / "ada.pub").read_text().split()[:2]
    signers = tmp_path / "signers"
    signers.write_text(f"ada@example.org {' '.join(key)}\n")
    tags = subprocess.run(
        ["git", "tag", "--list"], cwd=copy, capture_output=True, text=True, check=True
    ).stdout.split()
    assert sorted(tags) == sorted([*(f"debian/{name}/v1.0.0" for name in IMAGES), "debian/web-1/v1.0.1"])
    for tag in tags:
        subprocess.run(
            ["git", "-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={signers}", "tag", "-v", tag],
            cwd=copy, env=environment, check=True, capture_output=True,
        )  # fmt: skip


def test_what_was_yanked_is_no_way_to_go(
    said: dict[str, str], copy: Path, environment: Mapping[str, str]
) -> None:
    del said
    done = subprocess.run(
        ["pipeline", "-q", "rollback", "web-1", "v1.0.1", "--why", "try"],
        cwd=copy, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "loses sessions" in done.stderr


def test_a_tag_moved_behind_our_back_is_told_by_audit(
    said: dict[str, str], copy: Path, environment: Mapping[str, str]
) -> None:
    del said
    (first,) = seals(copy, environment, "debian/db-1")
    (other,) = seals(copy, environment, "debian/gpu-1")

    def point(digest: str) -> None:
        source = (
            f"docker://{first['repository']}@{digest}"
            if digest == first["digest"]
            else (f"docker://{other['repository']}@{digest}")
        )
        subprocess.run(
            [
                "skopeo", "copy", "-q", "--preserve-digests", "--src-tls-verify=false",
                "--dest-tls-verify=false", source, f"docker://{first['repository']}:v1.0.0",
            ],
            check=True,
        )  # fmt: skip

    point(other["digest"])
    try:
        done = subprocess.run(
            ["pipeline", "-q", "audit", "debian/db-1"],
            cwd=copy, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    finally:
        point(first["digest"])
    assert done.returncode == 1
    assert "v1.0.0" in done.stdout
    assert ask(copy, environment, "audit", "debian/db-1")
