"""The main job on real input: what the demo built is looked at, and then broken, one fault at a time."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from e2e.conftest import Demo, command
from e2e.demoimages import candidates, podman

from pipeline.adapters.tree import MountedTree
from pipeline.domain.kmod import parse_module
from pipeline.domain.manifest import from_json

pytestmark = [pytest.mark.e2e, pytest.mark.engine]


def base_name(demo: Demo) -> str:
    newest = candidates(demo, "base")[-1]
    return f"{newest['repository']}@{newest['digest']}"


def pins(demo: Demo) -> dict[str, Any]:
    return tomllib.loads((demo.folder / "images/debian/pins.toml").read_text())


@pytest.fixture(scope="module")
def base(demo: Demo) -> str:
    """The base, pulled from the registry by digest."""
    name = base_name(demo)
    podman("pull", "--quiet", "--tls-verify=false", name)
    return name


@pytest.fixture(scope="module")
def tree(base: str) -> Iterator[MountedTree]:
    root = podman("image", "mount", base)
    yield MountedTree(Path(root))
    podman("image", "unmount", base)


def test_upstream_and_base_are_recorded_candidates(demo: Demo) -> None:
    upstream, base = candidates(demo, "debian-13")[-1], candidates(demo, "base")[-1]
    assert base["parent"] == {"image": "debian/debian-13", "digest": upstream["digest"]}
    for record in (upstream, base):
        assert record["tag"].startswith("candidate-")
        assert {gate["verdict"] for gate in record["gates"]} == {"pass"}
        assert record["source"]["commit"]
    assert len(base["gates"]) > len(upstream["gates"])


def test_the_pinned_kernel_is_the_newest_that_compiles_and_says_why(demo: Demo) -> None:
    found = pins(demo)
    pin = found["pins"]["base"]
    offered = [one["kernel"] for one in demo.json("pin", "--dry-run")["offers"][0]["candidates"]]
    assert pin["kernel"] in offered
    newer = offered[: offered.index(pin["kernel"])]
    assert [one["kernel"] for one in pin["passed_over"]] == newer
    assert all(one["reason"] for one in pin["passed_over"])
    assert set(pin["evidence"]) == set(pin["modules"]) == {"nvidia", "zfs"}
    if newer:
        # The kernel just above the pin was tried and failed; that is what makes the pin the newest.
        failed = {one["kernel"]: one for one in found["failures"]}
        assert newer[-1] in failed
        assert "error" in failed[newer[-1]]["error"]


def test_failures_name_the_digest_of_their_log(demo: Demo) -> None:
    logs = {
        f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in (demo.folder / ".pipeline/logs").rglob("*.log")
    }
    for failure in pins(demo).get("failures", []):
        assert failure["log"] in logs


def test_pinning_again_compiles_nothing(demo: Demo) -> None:
    before = pins(demo)
    done = demo.run("pin")
    assert "nothing was compiled" in done.stderr
    assert pins(demo)["pins"]["base"]["kernel"] == before["pins"]["base"]["kernel"]


def test_the_pin_holds(demo: Demo) -> None:
    (found,) = demo.json("pin", "--check")["pins"]
    assert found["state"] == "holds"


def test_a_pin_whose_kernel_left_the_repositories_is_gone(demo: Demo) -> None:
    path = demo.folder / "images/debian/pins.toml"
    text = path.read_text()
    kernel = pins(demo)["pins"]["base"]["kernel"]
    try:
        path.write_text(text.replace(kernel, "6.12.1+deb13-amd64"))
        done = demo.run("pin", "--check", code=11)
        assert "no longer offered" in done.stderr
    finally:
        path.write_text(text)


def test_modules_of_the_base_are_the_manifests_and_fit_its_kernel(demo: Demo, tree: MountedTree) -> None:
    kernel = pins(demo)["pins"]["base"]["kernel"]
    assert tree.list("/usr/lib/modules") == (kernel,)
    listed: set[str] = set()
    for name in tree.list("/usr/lib/pipeline/modules"):
        path = f"/usr/lib/pipeline/modules/{name}"
        manifest = from_json(tree.read(path), path)
        for file in manifest.files:
            module = parse_module(file.path, tree.read(file.path))
            assert (module.sha256, module.kernel) == (file.sha256, kernel)
            listed.add(file.path)
    there = {entry.path for entry in tree.walk(f"/usr/lib/modules/{kernel}/updates") if ".ko" in entry.path}
    assert there == listed
    assert {Path(path).name.split(".")[0] for path in listed} >= {"zfs", "spl", "nvidia"}


def test_the_base_is_ready_for_bootc(demo: Demo, tree: MountedTree) -> None:
    kernel = pins(demo)["pins"]["base"]["kernel"]
    assert tree.list("/boot") == ()
    for name in ("vmlinuz", "initramfs.img"):
        entry = tree.entry(f"/usr/lib/modules/{kernel}/{name}")
        assert entry is not None
        assert entry.size > 1 << 20
    links = {
        "/home": "var/home",
        "/opt": "var/opt",
        "/ostree": "sysroot/ostree",
        "/usr/local": "../var/usrlocal",
    }
    for path, target in links.items():
        entry = tree.entry(path)
        assert entry is not None
        assert entry.target == target
    assert tree.entry("/usr/etc") is None


def test_check_passes_on_the_candidate(demo: Demo) -> None:
    report = demo.json("check", "debian/base")
    assert {one["verdict"] for one in report["gates"]} == {"pass"}


BREAKS = {
    "no-build-tools": "RUN apt-get update -q && apt-get install -q -y --no-install-recommends gcc"
    " && apt-get clean && rm -rf /var/lib/apt/lists/*",
    "modules-vermagic": "COPY --from=upstream {other} {updates}/",
    "modules-present": "RUN rm {updates}/zfs.ko.xz",
    "policy": "COPY policy.json /etc/containers/policy.json",
    "one-kernel": "COPY --from=upstream {old}/vmlinuz {old}/vmlinuz",
    "no-secrets": "COPY id_ed25519 /etc/ssl/private/deploy.key",
}


@pytest.mark.parametrize("gate", BREAKS)
def test_a_broken_base_is_refused_by_its_own_gate(demo: Demo, base: str, gate: str, tmp_path: Path) -> None:
    upstream = candidates(demo, "debian-13")[-1]
    upstream_name = f"{upstream['repository']}@{upstream['digest']}"
    old = upstream_kernel(upstream_name)
    kernel = pins(demo)["pins"]["base"]["kernel"]
    names = {
        "updates": f"/usr/lib/modules/{kernel}/updates/dkms",
        "old": f"/usr/lib/modules/{old}",
        "other": f"/usr/lib/modules/{old}/kernel/drivers/net/dummy.ko.xz",
    }
    (tmp_path / "policy.json").write_text(
        '{"default": [{"type": "reject"}],'
        ' "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}}}'
    )
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id_ed25519"], check=True)
    lines = [f"FROM {upstream_name} AS upstream", f"FROM {base}", BREAKS[gate].format(**names)]
    (tmp_path / "Containerfile").write_text("\n".join(lines) + "\n")
    target = f"{demo.registry}/os/debian/base:broken-{gate}"
    podman(
        "build", "--quiet", "--no-cache", "--force-rm", "--network=host", "--tls-verify=false",
        "--ulimit=nofile=20000:20000", "--ulimit=nproc=30000:30000",
        "--tag", target, str(tmp_path),
    )  # fmt: skip
    try:
        podman("push", "--quiet", "--tls-verify=false", target)
        report = demo.json("--line", "debian", "check", target, "--image", "base", code=1)
    finally:
        podman("image", "rm", target)
    refused = {one["gate"] for one in report["gates"] if one["verdict"] != "pass"}
    assert gate in refused


def upstream_kernel(name: str) -> str:
    podman("pull", "--quiet", "--tls-verify=false", name)
    root = Path(podman("image", "mount", name))
    try:
        return next((root / "usr/lib/modules").iterdir()).name
    finally:
        podman("image", "unmount", name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_build_leaves_no_record_and_no_process(demo: Demo, number: signal.Signals) -> None:
    before = demo.json("log")
    errors = demo.folder.parent / f"interrupted-{number.name}.log"
    with errors.open("w") as sink:
        child = subprocess.Popen(
            command("build", "--tier", "base"), cwd=demo.folder, stderr=sink, stdout=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while not running_in_container(demo) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert running_in_container(demo), "no builder stage came up"
        os.kill(child.pid, number)
        code = child.wait(60)
    assert code == (-9 if number is signal.SIGKILL else 130)
    deadline = time.monotonic() + 40
    while running_in_container(demo) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert not running_in_container(demo)
    assert demo.json("log") == before
    # A killed run cannot clean up after itself; the next one does.
    demo.run("check", "debian/base")
    assert [path.name for path in (demo.folder / ".pipeline/work").iterdir()] == []


def running_in_container(demo: Demo) -> list[str]:
    """Return the builder stages' scripts that run now (in containers; the engine's own words aside)."""
    found: list[str] = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if re.fullmatch(rb"(/bin/)?sh", words[0]) and any(b"/run/build-modules.sh" in word for word in words):
            found.append(path.name)
    return found
