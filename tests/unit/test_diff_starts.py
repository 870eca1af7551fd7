"""What a host starts, in a difference: units, kernel arguments and containers."""

from __future__ import annotations

import pytest
from diffkit import SITE, group, items, one
from difftrees import compared
from trees import Content, Link

from pipeline.domain.diff.item import Risk


def test_enabled_masked_and_preset_units() -> None:
    wants = "/etc/systemd/system/multi-user.target.wants"
    old: dict[str, Content] = {
        f"{wants}/old.service": Link("/usr/lib/systemd/system/old.service"),
        f"{wants}/kept.service": Link("/usr/lib/systemd/system/kept.service"),
        "/usr/lib/systemd/system/default.target": Link("graphical.target"),
    }
    new: dict[str, Content] = {
        # moved from /etc to /usr and spelled otherwise: still the same thing
        "/usr/lib/systemd/system/multi-user.target.wants/kept.service": Link("../kept.service"),
        "/usr/lib/systemd/user/default.target.wants/agent.service": Link("../agent.service"),
        "/usr/lib/systemd/system/dracut.service": Link("../../dracut/dracut.service"),
        "/etc/systemd/system/bad.service": Link("/dev/null"),
        "/usr/lib/systemd/system/default.target": Link("multi-user.target"),
        "/usr/lib/systemd/system-preset/50.preset": "# no\nenable new.service\n\ndisable *\n",
    }
    assert set(items(compared(old, new), "units")) == {
        ("removed", "multi-user.target wants old.service"),
        ("added", "user default.target wants agent.service"),
        ("added", "mask bad.service"),
        ("added", "link dracut.service"),
        ("changed", "alias default.target"),
        ("added", "preset enable new.service"),
        ("added", "preset disable *"),
    }


def test_kernel_arguments() -> None:
    path = "/usr/lib/bootc/kargs.d/10.toml"
    old = {path: 'kargs = ["quiet", "mitigations=auto"]'}
    new = {path: 'kargs = ["mitigations=auto", "console=ttyS0"]\nmatch-architectures = ["x86_64"]'}
    assert set(items(compared(old, new), "kargs")) == {
        ("removed", "quiet"),
        ("changed", "mitigations=auto"),
        ("added", "console=ttyS0"),
    }


def test_kernel_arguments_of_boot_loader_entries_and_the_command_line() -> None:
    new = {
        "/boot/loader/entries/1.conf": "title x\noptions root=/dev/vda ro\n",
        "/etc/kernel/cmdline": "quiet\n",
    }
    found = compared({SITE: ""}, {SITE: "", **new}).kargs
    assert [change.name for change in found] == ["quiet", "ro", "root=/dev/vda"]


@pytest.mark.parametrize("text", ["kargs = [", 'kargs = "quiet"', "kargs = [1]", "x = " + "[" * 3000])
def test_kernel_arguments_that_bootc_would_refuse_are_told(text: str) -> None:
    item = one(compared({SITE: ""}, {SITE: "", "/usr/lib/bootc/kargs.d/1.toml": text}), "kargs")
    assert item.risk is Risk.CRITICAL
    assert "Error" in item.why


def test_bound_images() -> None:
    path = "/usr/lib/bootc/bound-images.d/web.container"
    found = compared({path: Link("../web.container")}, {path: Link("../other.container")})
    assert items(found, "bound") == [("changed", "web.container")]


def test_container_images() -> None:
    pinned = f"reg.example/web@sha256:{1:064x}"
    path = "/etc/containers/systemd/users/1001/web.container"
    old = {path: f"[Container]\nImage={pinned}\n"}
    new = {
        path: "[Container]\nImage=reg.example/web:latest\n",
        "/usr/share/containers/systemd/envoy.container": f"Image = {pinned}\n",
    }
    found = group(compared(old, new), "containers")
    assert {(item.how, item.name, item.why) for item in found.items} == {
        ("changed", "web.container (user 1001)", "not pinned to a digest"),
        ("added", "envoy.container", ""),
    }


KUBE = "/etc/containers/systemd/users/1001/app.kube"
PODS = "/etc/containers/systemd/users/1001/pods.yaml"


def test_container_images_of_kubernetes_files() -> None:
    def pod(*images: str) -> str:
        return f"spec: {{containers: [{', '.join(f'{{name: web, image: {one}}}' for one in images)}]}}\n"

    unit = {KUBE: "[Kube]\nYaml=pods.yaml\n", "/usr/share/containers/systemd/same.kube": "Yaml=x.yaml\n"}
    new = f"reg.example/web@sha256:{1:064x}"
    found = compared({**unit, PODS: pod("a:1", "b:1")}, {**unit, PODS: pod(new, "b:1", "c:1")})
    assert {(item.how, item.name, item.why) for item in group(found, "containers").items} == {
        ("changed", "app.kube (user 1001), web", ""),
        ("added", "app.kube (user 1001), web 3", "not pinned to a digest"),
    }
    assert [one.new.path for one in found.containers if one.new is not None] == [PODS, PODS]


def test_a_kubernetes_file_that_is_gone_is_told() -> None:
    unit = {KUBE: "[Kube]\nYaml=pods.yaml\n"}
    found = compared({**unit, PODS: "containers: [{name: web, image: a}]"}, unit)
    assert {(item.how, item.name, item.why) for item in group(found, "containers").items} == {
        ("removed", "app.kube (user 1001), web", ""),
        ("added", "app.kube (user 1001), container", "no image can be read"),
    }


def test_a_drop_in_that_names_an_image_counts() -> None:
    path = "/etc/containers/systemd/web.container.d/10.conf"
    kube = f"{KUBE}.d/10.conf"
    found = compared({SITE: ""}, {SITE: "", path: "Image=a\n", kube: "Yaml=/srv/x.yaml\n"})
    assert [change.name for change in found.containers] == [
        "app.kube.d/10.conf (user 1001), container",
        "web.container.d/10.conf",
    ]
