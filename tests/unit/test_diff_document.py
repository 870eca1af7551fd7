from __future__ import annotations

import contextlib
import dataclasses
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import elfkit
import pytest
from difftrees import STATUS, MemorySnapshot, compared, digest, dpkg, layer, named
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from trees import Content, File, Link

from pipeline.domain.canonical import canonical_json
from pipeline.domain.diff.areas import area_of
from pipeline.domain.diff.bump import Bump, beyond_patch, propose
from pipeline.domain.diff.difference import Difference, ImageName, difference
from pipeline.domain.diff.document import SCHEMA, document
from pipeline.domain.dossier.kinds import READERS
from pipeline.render.diff import MOST_ITEMS, show_diff, size_text
from pipeline.verbs.diff import Opened, diff

Tree = dict[str, Content]
SITE = "/etc/site.conf"
KERNELS = "/usr/lib/modules"
HOSTILE = "\x1b[31m<b>[red]\u202e\ud800"


def read(found: Difference) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(document(found))
    return loaded


def shown(found: Difference, *, as_json: bool = False) -> str:
    sink = io.StringIO()
    show_diff(found, console=Console(file=sink, width=160, force_terminal=False), as_json=as_json)
    return sink.getvalue()


def test_the_document_names_both_images_and_its_own_form() -> None:
    found = read(compared({SITE: "a"}, {SITE: "b"}))
    assert found["schema"] == SCHEMA
    assert found["old"] == {"name": "registry.example/os/base", "digest": str(digest(1))}
    assert found["new"] == {"name": "registry.example/os/base", "digest": str(digest(2))}
    assert {risk["part"] for risk in found["risks"]} == set(READERS)
    assert read(compared(None, {SITE: "b"}))["old"] is None


def test_the_document_is_canonical_and_the_same_every_time() -> None:
    first, second = (document(compared({SITE: "a", "/b": "1"}, {SITE: "b", "/c": "2"})) for _ in range(2))
    assert first == second
    assert canonical_json(json.loads(first)) == first


def test_the_order_in_which_files_were_made_does_not_matter() -> None:
    new: Tree = {SITE: "b", "/usr/bin/x": File(mode=0o4755), "/etc/passwd": "a:x:1:1::/:/bin/sh\n"}
    assert document(compared({}, new)) == document(compared({}, dict(reversed(new.items()))))


def test_another_content_is_another_document_even_where_no_text_is_shown() -> None:
    one, two = (document(compared({SITE: "a"}, {SITE: File(data, mode=0o600)})) for data in (b"b", b"c"))
    assert one != two


def test_a_file_is_told_with_both_sides() -> None:
    (file,) = read(compared({"/usr/x": Link("a")}, {"/usr/x": Link("b")}))["files"]
    assert file["what"] == ["target"]
    assert (file["old"]["target"], file["new"]["target"]) == ("a", "b")


def test_sizes_by_layer_package_and_folder() -> None:
    old = MemorySnapshot(
        {STATUS: dpkg(("a", "1"), size=1), "/usr/lib/x": "12"}, layers=(layer(1, 10), layer(2, 20))
    )
    new = MemorySnapshot(
        {STATUS: dpkg(("a", "2"), size=3), "/usr/lib/x": "1234"}, layers=(layer(1, 10), layer(3, 5))
    )
    size = read(compared(old, new))["size"]
    assert (size["old_download"], size["new_download"], size["fetched"]) == (30, 15, 5)
    assert [one["shared"] for one in size["new_layers"]] == [True, False]
    assert size["packages"] == [{"name": "a:amd64", "old": 1024, "new": 3072}]
    assert {"name": "/usr/lib", "grown": 2} in size["folders"]
    assert size["largest"][0]["new"] == 3072


def test_a_local_image_and_a_pushed_one_are_measured_alike() -> None:
    pushed = MemorySnapshot({SITE: "a"}, layers=(layer(1, 10), layer(2, 20)))
    local = MemorySnapshot(
        {SITE: "a"},
        layers=tuple(
            dataclasses.replace(one, digest=one.diff_id, size=3 * one.unpacked)
            for one in (layer(1, 10), layer(3, 5))
        ),
    )
    size = read(compared(pushed, local))["size"]
    first, second, third = (layer(number, of).unpacked for number, of in ((1, 10), (2, 20), (3, 5)))
    assert (size["old_download"], size["new_download"]) == (first + second, first + third)
    assert (size["fetched"], [one["shared"] for one in size["new_layers"]]) == (third, [True, False])


def test_labels_of_each_build_are_noise_and_other_settings_are_not() -> None:
    def image(revision: str, user: str) -> MemorySnapshot:
        labels = {"org.opencontainers.image.revision": revision, "maintainer": "Ada"}
        return MemorySnapshot({SITE: "a"}, config={"config": {"Labels": labels, "Env": [f"USER={user}"]}})

    found = compared(image("1", "a"), image("2", "b"))
    assert [change.name for change in found.config] == ["variable USER"]
    assert [change.name for change in found.built] == ["label org.opencontainers.image.revision"]


def test_a_secret_in_the_config_is_told_to_differ_and_not_shown() -> None:
    def image(token: str) -> MemorySnapshot:
        return MemorySnapshot({SITE: "a"}, config={"config": {"Env": [f"API_TOKEN={token}"]}})

    found = compared(image("hunter2hunter2"), image("hunter3hunter3"))
    assert [change.name for change in found.config] == ["variable API_TOKEN"]
    assert b"hunter" not in document(found)


texts = st.text(max_size=20)
contents = st.dictionaries(
    st.sampled_from(
        [
            SITE,
            STATUS,
            "/etc/passwd",
            "/etc/group",
            "/etc/shadow",
            "/etc/containers/policy.json",
            "/usr/lib/sysusers.d/x.conf",
            "/usr/lib/bootc/kargs.d/x.toml",
            "/usr/lib/os-release",
            "/usr/lib/modules/6.1/extra/x.ko.xz",
            "/usr/lib/pipeline/modules/x.json",
            "/usr/share/containers/systemd/x.container",
            "/usr/lib/systemd/system-preset/x.preset",
            f"/etc/{HOSTILE[:-1]}\udcff",
        ]
    ),
    st.one_of(
        st.binary(max_size=60).map(File),
        texts.map(lambda text: File(text.encode("utf-8", "surrogatepass"), mode=0o6777)),
        st.sampled_from(
            [
                "Package: a\nStatus: a b c\nInstalled-Size: 9999999999999999\n",
                "{",
                "a:b:c:d:e:f:g",
                "u a b\n",
                "kargs=[1]",
            ]
        ),
        st.just(Link("/dev/null")),
    ),
    max_size=6,
)


@given(old=st.none() | contents, new=contents)
@settings(max_examples=60)
def test_any_image_gives_a_document_and_a_text_without_hidden_characters(old: Tree | None, new: Tree) -> None:
    found = compared(old, new)
    assert canonical_json(read(found)) == document(found)
    text = shown(found)
    assert all(char.isprintable() or char == "\n" for char in text)
    assert json.loads(shown(found, as_json=True)) == read(found)


def test_names_full_of_escapes_and_markup_are_shown_as_they_are() -> None:
    new: Tree = {SITE: "a", f"/etc/{HOSTILE[:-1]}\udcff": "[bold]x[/bold]\n"}
    text = shown(compared({SITE: "a"}, new))
    assert "/etc/\\x1b[31m<b>[red]\\u202e\\xff" in text
    assert "+[bold]x[/bold]" in text


def test_the_risky_kinds_come_first_and_silence_is_told() -> None:
    old: Tree = {STATUS: dpkg(("a", "1.0-1")), SITE: "a"}
    new: Tree = {STATUS: dpkg(("a", "1.0-2")), SITE: "a", "/etc/passwd": "eve:x:0:0::/:/bin/sh\n"}
    text = shown(compared(old, new))
    assert text.index("Users and groups") < text.index("Packages")
    assert "root under another name" in text
    assert "Kernel arguments" in text.partition("no change: ")[2]


def test_long_lists_are_cut_in_the_text_alone() -> None:
    packages = [(f"package-{number:03}", "1.0") for number in range(100)]
    found = compared({STATUS: dpkg(("z", "1"))}, {STATUS: dpkg(("z", "1"), *packages)})
    text = shown(found)
    assert f"package-{MOST_ITEMS - 1:03}" in text
    assert f"package-{MOST_ITEMS:03}:" not in text.partition("Size")[0]
    assert f"and {100 - MOST_ITEMS} more" in text
    assert len(read(found)["packages"]) == 100


def test_a_first_image_fits_on_a_page() -> None:
    new: Tree = {f"/usr/share/doc/{number}": "x" for number in range(3000)}
    text = shown(compared(None, new))
    assert "nothing → " in text
    assert "documentation  3001 added" in text
    assert len(text.splitlines()) < 30


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (-(3 << 20), "-3.0 MiB"), (5 << 50, "5120.0 TiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert size_text(size) == text


def packages(*versions: tuple[str, str]) -> Tree:
    return {STATUS: dpkg(*versions), SITE: "a"}


def plus(path: str, content: Content) -> Callable[[Tree], Tree]:
    return lambda tree: {**tree, path: content}


@pytest.mark.parametrize(
    ("old", "new", "bump", "reason"),
    [
        (("a", "1.2.3-1"), ("a", "1.2.4-1"), Bump.PATCH, "package a:amd64 1.2.3-1 → 1.2.4-1"),
        (("a", "1.2.3-1"), ("a", "1.2.3-1+deb13u1"), Bump.PATCH, "1.2.3-1+deb13u1"),
        (("a", "1.2.3-1"), ("a", "1.3.0-1"), Bump.MINOR, "1.3.0-1"),
        (("a", "1.2.3-1"), ("a", "1:1.2.3-1"), Bump.MINOR, "1:1.2.3-1"),
        (("a", "1.2.4-1"), ("a", "1.2.3-1"), Bump.MINOR, "1.2.3-1"),
        (("a", "1.2.3-1"), ("b", "1.2.3-1"), Bump.MINOR, "package b:amd64 added"),
    ],
)
def test_the_bump_of_a_package(old: tuple[str, str], new: tuple[str, str], bump: Bump, reason: str) -> None:
    proposal = propose(compared(packages(old), packages(new)))
    assert proposal.bump is bump
    assert any(reason in words for _, words in proposal.reasons)


@pytest.mark.parametrize(
    ("change", "bump"),
    [
        (plus(f"{KERNELS}/6.13/vmlinuz", "k"), Bump.MAJOR),
        (plus("/usr/lib/os-release", 'ID=debian\nVERSION_ID="14"\n'), Bump.MAJOR),
        (plus("/usr/lib/os-release", 'ID=debian\nVERSION_ID="13.2"\n'), Bump.MINOR),
        (plus("/usr/bin/x", File(mode=0o4755)), Bump.MINOR),
        (plus("/etc/systemd/system/multi-user.target.wants/x.service", Link("/x.service")), Bump.MINOR),
        (plus("/usr/lib/bootc/kargs.d/x.toml", 'kargs = ["quiet"]'), Bump.MINOR),
        (plus("/usr/share/doc/x", "x"), Bump.PATCH),
        (plus(SITE, "b"), Bump.PATCH),
    ],
)
def test_the_bump_of_everything_else(change: Callable[[Tree], Tree], bump: Bump) -> None:
    release = 'ID=debian\nVERSION_ID="13"\n'
    old: Tree = {SITE: "a", "/usr/lib/os-release": release, f"{KERNELS}/6.12/vmlinuz": "k"}
    assert propose(compared(old, change(old))).bump is bump


@pytest.mark.parametrize(
    ("version", "bump", "reason"),
    [
        ("2.3.9-1", Bump.PATCH, "1 module rebuilt"),
        ("2.3.10-1", Bump.PATCH, "module zfs 2.3.9-1 → 2.3.10-1"),
        ("2.4.0-1", Bump.MINOR, "module zfs 2.3.9-1 → 2.4.0-1"),
        (None, Bump.MINOR, "module zfs removed"),
    ],
)
def test_the_bump_of_a_module(version: str | None, bump: Bump, reason: str) -> None:
    def image(version: str | None, licence: str) -> Tree:
        module = elfkit.module("zfs", kernel="6.12", version=version or "", licenses=[licence])
        modules: Tree = {f"{KERNELS}/6.12/extra/zfs.ko": module} if version else {}
        return {f"{KERNELS}/6.12/vmlinuz": "k", **modules}

    proposal = propose(compared(image("2.3.9-1", "GPL"), image(version, "CDDL")))
    assert proposal.bump is bump
    assert (bump, reason) in proposal.reasons


def test_a_rebuild_is_a_patch_and_a_first_release_says_so() -> None:
    assert propose(compared({SITE: "a"}, {SITE: "a"})).bump is Bump.PATCH
    assert "rebuild" in propose(compared({SITE: "a"}, {SITE: "a"})).reasons[0][1]
    assert propose(compared(None, {SITE: "a"})).reasons == ((Bump.MAJOR, "first release"),)


def test_what_cannot_be_read_is_no_mere_patch() -> None:
    old = MemorySnapshot({SITE: "a"}, unreadable=frozenset({SITE}))
    assert propose(compared(old, {SITE: "b"})).bump is Bump.MINOR


@pytest.mark.parametrize(
    ("old", "new", "beyond"),
    [
        ("2.3.2-1", "2.3.9-1", False),
        ("550.163.01", "550.170.01", True),
        ("20240203", "20240611", True),
        ("2026a-1", "2026b-1", False),
        ("1.0", "1.00", False),
        ("", "1", True),
        ("abc", "abd", True),
    ],
)
def test_what_is_beyond_a_patch(old: str, new: str, beyond: bool) -> None:  # noqa: FBT001
    assert beyond_patch(old, new) is beyond


class Source:
    """Opens the images it was given."""

    def __init__(self, **images: MemorySnapshot) -> None:
        self.images = images
        self.asked: list[tuple[str, ...]] = []

    @contextlib.contextmanager
    def open_snapshots(self, *refs: str) -> Iterator[tuple[Opened, ...]]:
        self.asked.append(refs)
        yield tuple(
            Opened(name=ref, digest=digest(number), snapshot=self.images[ref])
            for number, ref in enumerate(refs)
        )


def test_the_verb_opens_both_images_at_once_and_none_for_no_predecessor() -> None:
    source = Source(a=MemorySnapshot({SITE: "a"}), b=MemorySnapshot({SITE: "b"}))
    both, first = diff("a", "b", source), diff(None, "b", source, because="first release")
    assert source.asked == [("a", "b"), ("b",)]
    assert (both.old, both.new.name, both.new.digest) == (
        ImageName(name="a", digest=digest(0)),
        "b",
        digest(1),
    )
    assert (first.old, first.new.digest, first.because) == (None, digest(0), "first release")


def test_names_come_from_whoever_opened_the_images() -> None:
    tree = MemorySnapshot({SITE: "a"})
    found = difference(tree, tree, names=(named(1), named(2)), because=HOSTILE)
    assert read(found)["because"] == "\\x1b[31m<b>[red]\\u202e\\ud800"


@pytest.mark.parametrize(
    ("path", "area"),
    [
        ("/etc", "configuration"),
        ("/etc/x", "configuration"),
        ("/etcetera", "elsewhere"),
        ("/usr/lib/systemd/system/x.service", "units"),
        ("/usr/lib/modules/6.12/vmlinuz", "kernel and modules"),
        ("/usr/lib/firmware/x", "firmware"),
        ("/usr/lib/x.so", "libraries"),
        ("/usr/share/doc/x", "documentation"),
        ("/usr/share/x", "shared data"),
        ("/usr/lib/sysimage/dpkg/status", "package databases"),
        ("/usr/sbin/x", "programs"),
        ("/var/x", "state"),
        ("/srv", "elsewhere"),
    ],
)
def test_each_path_belongs_to_one_area(path: str, area: str) -> None:
    assert area_of(path) == area
