"""Container images in an SBOM: what Quadlets and the Kubernetes files they name will run."""

from __future__ import annotations

import pytest
from sbomkit import ENVOY, base_tree
from sbomtold import content, named, needs, vague
from trees import Content, Link

from pipeline.domain.sbom.shipped import Quadlets, quadlet_images


def test_images_of_quadlets_are_listed_by_digest() -> None:
    part = named(content(), "docker.io/envoyproxy/envoy")
    assert part["hashes"] == [{"alg": "SHA-256", "content": "e" * 64}]
    assert part["version"] == "v1"
    assert part["purl"].startswith("pkg:oci/envoy@sha256:")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Image = '{ENVOY}'\n", ["docker.io/envoyproxy/envoy"]),
        ("Image=app.image\n", []),
        ("Image=app.build\n", []),
        ("#Image=docker.io/a/b:1\n", []),
        ("Image=nginx\n", ["nginx"]),
    ],
)
def test_a_quadlet_names_an_image(text: str, expected: list[str]) -> None:
    found = quadlet_images(Quadlets(units={"/q.container": text.encode()}, kubernetes={}))
    assert [one["name"] for one in found] == expected


def test_a_drop_in_of_a_quadlet_counts() -> None:
    path = "/etc/containers/systemd/users/2001/web.container.d/10-image.conf"
    tree = base_tree(
        **{path: "[Container]\nImage=quay.io/other/web:2\n", "/etc/containers/x.conf": "Image=no"}
    )
    images = [one["name"] for one in content(tree)["components"] if one["type"] == "container"]
    assert images == ["docker.io/envoyproxy/envoy", "quay.io/other/web"]


def test_a_quadlet_may_be_a_link() -> None:
    path, target = "/etc/containers/systemd/web.container", "/usr/share/web.container"
    linked: dict[str, Content] = {path: Link(target), target: "Image=quay.io/other/web:2\n"}
    found = content(base_tree(**linked))
    assert vague(found) == ["image:quay.io/other/web:2"]
    masked = content(base_tree(**{path: Link("/dev/null")}))
    assert vague(masked) == []


POD = f"""\
kind: Pod
spec:
  initContainers: [{{name: init, image: quay.io/a/init:1}}]
  containers:
    - {{name: web, image: "{ENVOY}"}}
---
kind: ConfigMap
"""


def test_images_of_kubernetes_files_are_listed_by_digest() -> None:
    folder = "/etc/containers/systemd"
    tree = base_tree(**{f"{folder}/app.kube": "[Kube]\nYaml=app.yaml\n", f"{folder}/app.yaml": POD})
    found = content(tree)
    envoy, init = named(found, "docker.io/envoyproxy/envoy"), named(found, "quay.io/a/init")
    assert [one["location"] for one in envoy["evidence"]["occurrences"]] == [
        f"{folder}/app.kube",
        f"{folder}/app.yaml",
        "/usr/share/containers/systemd/envoy.container",
    ]
    assert "hashes" not in init
    assert vague(found) == ["image:quay.io/a/init:1"]


@pytest.mark.parametrize(
    "file",
    [
        {},
        {"/srv/app.yaml": "{"},
        {"/srv/app.yaml": "containers: [{name: x}]\n"},
        {"/srv/app.yaml": Link("/nowhere")},
    ],
)
def test_a_kubernetes_file_that_tells_nothing_is_told_to_be_unknown(file: dict[str, Content]) -> None:
    unit: dict[str, Content] = {"/usr/share/containers/systemd/app.kube": "Yaml=/srv/app.yaml\n"}
    found = content(base_tree(**unit, **file))
    assert vague(found) == ["kubernetes:/srv/app.yaml"]
    assert needs(found, "kubernetes:/srv/app.yaml") == []
