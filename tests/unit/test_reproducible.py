"""Two builds compared: same, or what differs in which layer and why it likely does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from buildkit import NOW, Yard, make_yard, sha
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.diff.snapshot import FileFacts, LayerSize
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.placement import TreeEntry
from pipeline.domain.provenance import BuildFacts
from pipeline.domain.reproducible import (
    Cause,
    Comparison,
    entry_differences,
    layer_differences,
    likely_cause,
    path_differences,
    setting_differences,
)
from pipeline.domain.toc import LayerToc, escaped, line_of
from pipeline.domain.tree import FileType
from pipeline.errors import GateRefusedError, NotFoundError
from pipeline.render.reproducible import SHOWN, to_json, to_text
from pipeline.verbs.built import Built
from pipeline.verbs.ports import Run
from pipeline.verbs.reproduce import build_again, require_same

TIMESTAMP = 1_700_000_000


def file(path: str, content: str = "x", **facts: Any) -> FileFacts:
    known = {"mode": 0o644, "uid": 0, "gid": 0, "mtime": TIMESTAMP, "size": len(content), **facts}
    return FileFacts(path=path, type=FileType.FILE, sha256=sha(content).hex, **known)


def toc(*files: FileFacts, gone: tuple[str, ...] = (), links: Mapping[str, str] | None = None) -> LayerToc:
    return LayerToc(
        entries={escaped(one.path): line_of(one) for one in files},
        times={escaped(one.path): str(one.mtime).encode() for one in files},
        gone=tuple(escaped(path) for path in gone),
        links=tuple((escaped(path), escaped(to)) for path, to in (links or {}).items()),
    )


def snapshot(*tocs: LayerToc, diff_ids: str, config: Mapping[str, Any] | None = None) -> LayeredSnapshot:
    """Return an image with one layer a letter of `diff_ids`; the same letter is the same diff ID."""

    def contents(_layer: int, path: str, _sha256: str) -> bytes:
        raise AssertionError(f"{path} was read, but hashes tell what differs")

    layers = tuple(
        LayerSize(digest=sha(one), diff_id=sha(one), size=1, unpacked=1, created_by=f"step {number}")
        for number, one in enumerate(diff_ids, 1)
    )
    return LayeredSnapshot(tocs=tocs, layers=layers, config=config or {}, contents=contents)


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("/etc/ssh/ssh_host_ed25519_key.pub", Cause.HOST_KEY),
        ("/etc/machine-id", Cause.IDENTITY),
        ("/var/lib/systemd/random-seed", Cause.IDENTITY),
        ("/etc/resolv.conf", Cause.BUILDER),
        ("/var/log/apt/history.log", Cause.LOG),
        ("/usr/share/x/install.log", Cause.LOG),
        ("/etc/shadow-", Cause.ACCOUNTS),
        ("/usr/lib/sysimage/dpkg/status", Cause.PACKAGES),
        ("/usr/lib/sysimage/rpm/rpmdb.sqlite", Cause.PACKAGES),
        ("/usr/lib/modules/6.12.94+deb13-amd64/initramfs.img", Cause.INITRAMFS),
        ("/usr/lib/modules/6.12.94+deb13-amd64/modules.dep.bin", Cause.TABLES),
        ("/usr/lib/modules/6.12.94+deb13-amd64/updates/dkms/zfs.ko.xz", Cause.MODULE),
        ("/usr/lib/python3/__pycache__/os.cpython-313.pyc", Cause.BYTECODE),
        ("/var/cache/ldconfig/aux-cache", Cause.CACHE),
        ("/usr/share/fonts/.uuid", Cause.UNKNOWN),
        ("/usr/bin/tool", Cause.UNKNOWN),
    ],
)
def test_guesses_the_cause_by_what_a_path_is_for(path: str, cause: Cause) -> None:
    assert likely_cause(path, ("content",)) is cause
    assert likely_cause(path, ("mtime",)) is Cause.TIME


@given(st.text(), st.text())
def test_any_path_has_a_cause_and_text_without_controls(path: str, content: str) -> None:
    pair = {path: file(path)}, {path: file(path, content, mode=0o755)}
    (found,) = path_differences(*pair)
    assert "mode" in found.what
    one = Comparison(image="x/y", manifests=(sha("1"), None), configs=(sha("2"), sha("3")))
    layers = layer_differences(
        snapshot(toc(*pair[0].values()), diff_ids="a"), snapshot(toc(*pair[1].values()), diff_ids="b")
    )
    text = to_text(dataclasses.replace(one, layers=layers)).plain
    assert all(char == "\n" or char.isprintable() for char in text)
    json.dumps(to_json(dataclasses.replace(one, layers=layers))).encode()


def test_names_the_paths_that_differ_in_the_layer_that_has_them() -> None:
    same = toc(file("/usr/bin/sh"))
    first = snapshot(
        same,
        toc(file("/etc/ssh/ssh_host_rsa_key", "one"), file("/usr/bin/a"), file("/usr/bin/only", "1")),
        diff_ids="ab",
    )
    second = snapshot(
        same,
        toc(
            file("/etc/ssh/ssh_host_rsa_key", "two"),
            file("/usr/bin/a", mtime=TIMESTAMP + 1),
            gone=("/usr/x",),
        ),
        diff_ids="ac",
    )
    (layer,) = layer_differences(first, second)
    assert (layer.number, layer.created_by) == (2, "step 2")
    assert layer.diff_ids == (sha("b"), sha("c"))
    assert [(one.path, one.what, one.cause) for one in layer.paths] == [
        ("/etc/ssh/ssh_host_rsa_key", ("content",), Cause.HOST_KEY),
        ("/usr/bin/a", ("mtime",), Cause.TIME),
        ("/usr/bin/only", ("only in the first",), Cause.UNKNOWN),
        ("/usr/x", ("only in the second",), Cause.UNKNOWN),
    ]
    assert layer.causes[0] == (Cause.UNKNOWN, 2)


def test_a_path_that_a_layer_above_hides_is_told_of_all_the_same() -> None:
    above = toc(file("/var/log/x.log", "last"))
    first = snapshot(toc(file("/var/log/x.log", "1")), above, diff_ids="ac")
    second = snapshot(toc(file("/var/log/x.log", "2")), above, diff_ids="bc")
    (layer,) = layer_differences(first, second)
    assert (layer.number, [one.cause for one in layer.paths]) == (1, [Cause.LOG])


def test_equal_layers_are_not_looked_into() -> None:
    assert layer_differences(snapshot(toc(file("/a")), diff_ids="a"), snapshot(toc(), diff_ids="a")) == ()


def test_hard_links_and_layers_that_one_build_lacks() -> None:
    first = snapshot(toc(), toc(links={"/usr/bin/b": "/usr/bin/a"}), diff_ids="ab")
    second = snapshot(toc(), toc(links={"/usr/bin/b": "/usr/bin/c"}), toc(file("/new")), diff_ids="acd")
    linked, new = layer_differences(first, second)
    assert [(one.path, one.what) for one in linked.paths] == [("/usr/bin/b", ("target",))]
    assert new.diff_ids == (None, sha("d"))
    assert [one.what for one in new.paths] == [("only in the second",)]


def test_the_same_files_in_another_order_are_not_called_the_same() -> None:
    one, two = (snapshot(toc(file("/a")), diff_ids=letter) for letter in "ab")
    found = Comparison(
        image="debian/base",
        manifests=(sha("m"), None),
        configs=(sha("c"), sha("d")),
        layers=layer_differences(one, two),
    )
    assert not found.same
    assert "another order" in found.verdict
    with pytest.raises(GateRefusedError, match="1 of 1 images"):
        require_same([found])


def test_settings_are_compared_to_the_leaf_and_layers_left_out() -> None:
    first = {
        "created": "2026-01-01T00:00:00Z",
        "config": {"Labels": {"a": "1"}},
        "rootfs": {"diff_ids": ["sha256:1"]},
        "history": [{"created_by": "ADD file:1 in /"}, {"created_by": "RUN a"}, {"created_by": "x"}],
    }
    second = {
        "created": "2026-01-02T00:00:00Z",
        "config": {"Labels": {"a": "1", "b": "2"}},
        "rootfs": {"diff_ids": ["sha256:2"]},
        "history": [{"created_by": "ADD file:2 in /"}, {"created_by": "RUN b"}, {"created_by": "x"}],
    }
    found = setting_differences(first, second)
    assert [(one.place, one.cause) for one in found] == [
        ("config.Labels.b", Cause.UNKNOWN),
        ("created", Cause.TIME),
        ("history[0].created_by", Cause.SOURCES),
        ("history[1].created_by", Cause.COMMAND),
    ]
    assert found[0].values == (None, "2")


def test_renderings_of_a_host_are_compared_entry_by_entry() -> None:
    def entry(path: str, **more: Any) -> TreeEntry:
        return TreeEntry(path=path, type=FileType.FILE, **more)

    found = entry_differences(
        [entry("/etc/a", content=b"1"), entry("/etc/b"), entry("/etc/c")],
        [entry("/etc/a", content=b"2", mode=0o600), entry("/etc/b"), entry("/etc/d")],
    )
    assert [(one.path, one.what) for one in found] == [
        ("/etc/a", ("content", "mode")),
        ("/etc/c", ("only in the first",)),
        ("/etc/d", ("only in the second",)),
    ]


def test_the_text_names_the_first_paths_and_counts_the_rest() -> None:
    many = [file(f"/usr/share/{number:03}\x1b[31m") for number in range(SHOWN + 5)]
    layers = layer_differences(snapshot(toc(*many), diff_ids="a"), snapshot(toc(), diff_ids="b"))
    found = Comparison(
        image="debian/base", manifests=(sha("m"), None), configs=(sha("c"), sha("d")), layers=layers
    )
    text = to_text(found).plain
    assert text.splitlines()[0] == f"debian/base: not reproducible: {SHOWN + 5} paths in 1 layer"
    assert "/usr/share/000\\x1b[31m: only in the first" in text
    assert "and 5 more" in text
    assert "\x1b" not in text
    assert len(to_json(found)["layers"][0]["paths"]) == SHOWN + 5


def test_long_settings_are_shown_from_where_they_part() -> None:
    long = "RUN " + "same " * 200
    found = Comparison(
        image="debian/base",
        manifests=(sha("m"), None),
        configs=(sha("c"), sha("d")),
        settings=setting_differences(
            {"history": [{"created_by": f"{long}one\x1b[1m"}]}, {"history": [{"created_by": f"{long}two"}]}
        ),
    )
    line = to_text(found).plain.splitlines()[1]
    assert "same one\\x1b[1m / …" in line
    assert line.endswith("same two")


# --- the verb ------------------------------------------------------------------------------------------


class Pair:
    """An engine with the first build that makes a second one, by the ids it is told; keeps what was done."""

    def __init__(self, yard: Yard, ids: Mapping[str, str | None]) -> None:
        self.ids = ids
        self.pushed: list[str] = []
        self.opened: list[tuple[str, ...]] = []
        self.snapshots: tuple[LayeredSnapshot, ...] = ()
        engine = _Ids(self)
        self.again = dataclasses.replace(yard.run, engine=engine)  # type: ignore[arg-type]
        self.first = Built(
            image=yard.base,
            local="first",
            kernel=None,
            started=NOW,
            facts=BuildFacts(definition="", timestamp=0),
        )

    def make(self, run: Run) -> Built:
        assert run is self.again
        return dataclasses.replace(self.first, local="second")

    def push(self, _: Run, built: Built) -> ImageRef:
        self.pushed.append(built.local)
        return self.again.catalogue.repository(built.image).at(sha("manifest"))

    def open(self, *images: str) -> tuple[LayeredSnapshot, ...]:
        self.opened.append(images)
        return self.snapshots

    def compare(self, digest: Digest) -> Comparison:
        return build_again(self.again, self.first, digest, make=self.make, push=self.push, images=self)


class _Ids:
    def __init__(self, pair: Pair) -> None:
        self._pair = pair

    def id_of(self, name: str) -> str | None:
        return self._pair.ids[name]


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., Pair]:
    yard = make_yard(tmp_path)
    return lambda **ids: Pair(yard, ids)


def test_an_image_that_comes_out_the_same_is_pushed_to_compare_the_manifest_too(
    pair: Callable[..., Pair],
) -> None:
    same = pair(first=sha("id").hex, second=f"sha256:{sha('id').hex}")
    found = same.compare(sha("manifest"))
    assert found.same
    assert found.image == "debian/base"
    assert (same.pushed, same.opened) == (["second"], [])
    require_same([found])


def test_the_same_image_packed_otherwise_is_not_the_same_digest(pair: Callable[..., Pair]) -> None:
    found = pair(first=sha("id").hex, second=sha("id").hex).compare(sha("other manifest"))
    assert not found.same
    assert "packed" in found.verdict


def test_another_image_is_never_pushed_but_looked_into(pair: Callable[..., Pair]) -> None:
    other = pair(first=sha("1").hex, second=sha("2").hex)
    other.snapshots = (
        snapshot(toc(file("/etc/machine-id", "1")), diff_ids="a", config={"created": "1"}),
        snapshot(toc(file("/etc/machine-id", "2")), diff_ids="b", config={"created": "1"}),
    )
    found = other.compare(sha("manifest"))
    assert (other.pushed, other.opened) == ([], [("first", "second")])
    assert found.manifests == (sha("manifest"), None)
    assert [one.cause for one in found.layers[0].paths] == [Cause.IDENTITY]
    assert found.settings == ()
    with pytest.raises(GateRefusedError, match="debian/base: not reproducible: 1 path in 1 layer"):
        require_same([found])


def test_an_image_the_engine_lost_is_told(pair: Callable[..., Pair]) -> None:
    with pytest.raises(NotFoundError, match="lost second"):
        pair(first=sha("1").hex, second=None).compare(sha("manifest"))
