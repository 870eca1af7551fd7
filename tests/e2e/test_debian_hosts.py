"""The hosts on the real Debian base: their images are base plus tree and nothing else."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import Demo
from e2e.demoimages import mounted, newest, podman, pulled

pytestmark = [pytest.mark.e2e, pytest.mark.engine]

HOSTS = ("db-1", "gpu-1", "web-1")


@dataclass(frozen=True)
class Item:
    """What must be equal of a file: type and permission bits, owner, size, link target."""

    mode: int
    uid: int
    gid: int
    size: int
    target: str


def items(root: Path) -> dict[str, Item]:
    found: dict[str, Item] = {}
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            path = Path(folder, name)
            info = path.lstat()
            link = stat.S_ISLNK(info.st_mode)
            size = info.st_size if stat.S_ISREG(info.st_mode) else 0
            target = str(path.readlink()) if link else ""
            found[f"/{path.relative_to(root)}"] = Item(info.st_mode, info.st_uid, info.st_gid, size, target)
    return found


def raw_manifest(name: str) -> dict[str, Any]:
    done = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_fleet_is_one_commit_of_the_ledger(demo: Demo) -> None:
    records = [newest(demo, host) for host in HOSTS]
    assert len({one["run"] for one in records}) == 1
    assert {one["parent"]["digest"] for one in records} == {newest(demo, "base")["digest"]}
    commits = subprocess.run(
        ["git", "-C", str(demo.folder), "log", "--format=%H", "pipeline-ledger"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert len(commits) == len({one.get("run", one["id"]) for one in demo.json("log")["records"]})


@pytest.mark.parametrize("host", HOSTS)
def test_a_hosts_image_is_base_plus_tree_and_nothing_else(demo: Demo, host: str, tmp_path: Path) -> None:
    image, base = pulled(demo, host), pulled(demo, "base")
    layers = [one["digest"] for one in raw_manifest(image)["layers"]]
    assert layers[:-1] == [one["digest"] for one in raw_manifest(base)["layers"]]
    tree = tmp_path / "tree"
    demo.run("render", host, str(tree))
    wanted = {path: item for path, item in items(tree).items() if not stat.S_ISDIR(item.mode)}
    with mounted(image) as root, mounted(base) as below:
        there, before = items(root), items(below)
        for path, item in wanted.items():
            real = real_path(root, path)
            assert there[real] == item, path
            if stat.S_ISREG(item.mode):
                assert Path(f"{root}{real}").read_bytes() == Path(f"{tree}{path}").read_bytes()
        changed = {path for path in there.keys() | before.keys() if there.get(path) != before.get(path)}
        allowed = {real_path(root, path) for path in wanted}
        strange = {path for path in changed - allowed if not is_new_folder(path, there, before, allowed)}
    assert strange == set()


def real_path(root: Path, path: str) -> str:
    parent = Path(f"{root}{path}").parent.resolve()
    return f"/{parent.relative_to(root)}/{Path(path).name}".replace("//", "/").replace("/./", "/")


def is_new_folder(path: str, there: dict[str, Item], before: dict[str, Item], files: set[str]) -> bool:
    item = there.get(path)
    new = item is not None and stat.S_ISDIR(item.mode) and path not in before
    return new and any(one.startswith(f"{path}/") for one in files)


def test_the_engine_builds_the_same_tree(demo: Demo, tmp_path: Path) -> None:
    image, base = pulled(demo, "web-1"), pulled(demo, "base")
    copy = tmp_path / "copy"
    subprocess.run(
        ["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{image}", f"dir:{copy}"], check=True
    )
    layer = raw_manifest(image)["layers"][-1]["digest"].removeprefix("sha256:")
    (copy / layer).rename(tmp_path / "layer.tar.gz")
    (tmp_path / "Containerfile").write_text(f"FROM {base}\nADD layer.tar.gz /\n")
    built = "localhost/pipeline-e2e/engine-built"
    podman("build", "--quiet", "--no-cache", "--tag", built, "--ignorefile", "/dev/null", str(tmp_path))
    try:
        with mounted(image) as ours, mounted(built) as theirs:
            assert items(ours) == items(theirs)
    finally:
        podman("image", "rm", built)


def test_a_hosts_keys_and_policy_are_the_ones_its_programs_read(demo: Demo) -> None:
    image = pulled(demo, "db-1")
    script = "ssh-keygen -A >/dev/null; mkdir -p /run/sshd; /usr/sbin/sshd -T | grep -i authorizedkeysfile"
    limits = ("--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000")
    said = podman("run", "--rm", "--network", "none", *limits, image, "sh", "-c", script)
    assert "/usr/lib/ssh/authorized_keys.d" in said
    with mounted(image) as root:
        policy = json.loads((root / "etc/containers/policy.json").read_text())
    assert policy["default"] == [{"type": "reject"}]
