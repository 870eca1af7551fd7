"""Container images of quadlets, out of units and Kubernetes files, hostile ones too."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.quadlet import LARGEST, is_quadlet, kubernetes_files, kubernetes_images

UNIT = "/etc/containers/systemd/users/2001/app.kube"

DEPLOYMENT = """\
kind: Deployment
spec: {template: {spec: {initContainers: [{name: i, image: x}], containers: [{name: a, image: y}]}}}
---
spec: {containers: [{image: z}]}
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/etc/containers/systemd/a.kube", True),
        ("/usr/share/containers/systemd/users/a.container", True),
        ("/etc/containers/systemd/a.kube.d/10.conf", True),
        ("/etc/containers/systemd/a.network", False),
        ("/etc/containers/systemd/a.yaml", False),
        ("/srv/a.container", False),
    ],
)
def test_what_is_a_quadlet(path: str, expected: bool) -> None:  # noqa: FBT001 - a table of answers
    assert is_quadlet(path) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Kube]\nYaml=app.yaml\n", ("/etc/containers/systemd/users/2001/app.yaml",)),
        ("Yaml = ../pod.yaml\nYaml=/srv/b.yaml\n", ("/etc/containers/systemd/users/pod.yaml", "/srv/b.yaml")),
        ("#Yaml=app.yaml\nYaml=\n", ()),
    ],
)
def test_files_of_a_unit(text: str, expected: tuple[str, ...]) -> None:
    assert kubernetes_files(UNIT, text.encode()) == expected
    assert kubernetes_files(f"{UNIT}.d/10.conf", text.encode()) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: Pod\nspec: {containers: [{name: a, image: x}]}\n", [("a", "x")]),
        (DEPLOYMENT, [("i", "x"), ("a", "y"), ("", "z")]),
        ("volumes: [{name: v, image: {reference: x}}, {name: w, hostPath: {path: /}}]\n", [("v", "x")]),
        (
            "x: &x {image: y}\ncontainers: [{<<: *x, name: a}, {<<: [*x], image: z}]\n",
            [("a", "y"), ("", "z")],
        ),
        ("containers: [{name: a}, b]\n", [("a", ""), ("", "")]),
        ("a: [\n", [("", "")]),
        ("", []),
        ("containers: &c [{image: x}]\nagain: *c\nspec: {containers: *c}\n", [("", "x")]),
        ("a: &a {<<: *a}\n", [("", "")]),
        ("[" * 5000, [("", "")]),
        ("#" * (LARGEST + 1), [("", "")]),
        ("!!python/object/apply:os.system [x]\n", []),
        ("containers: [{image: !!timestamp x}]\n", [("", "x")]),
    ],
)
def test_images_of_a_kubernetes_file(text: str, expected: list[tuple[str, str]]) -> None:
    assert list(kubernetes_images(text.encode())) == expected


def test_aliases_of_aliases_are_looked_at_once() -> None:
    bomb = "a0: &a0 {containers: [{image: x}]}\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    merges = "m0: &m0 {k: v}\n" + "".join(
        f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 30)
    )
    assert kubernetes_images(bomb.encode()) == (("", "x"),)
    assert kubernetes_images(f"{merges}containers: [*m29]\n".encode()) == (("", ""),)


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(data: bytes) -> None:
    kubernetes_images(data)
    kubernetes_files(UNIT, data)
