"""A difference as a whole: nothing for equal images, every kind, what is read, and a first image's sum."""

from __future__ import annotations

from diffkit import PASSWD, SITE, base, group, loud
from difftrees import MemorySnapshot, compared
from trees import File

from pipeline.domain.diff.groups import groups
from pipeline.domain.diff.item import Risk
from pipeline.domain.dossier.kinds import READERS


def test_equal_images_have_no_difference() -> None:
    tree = base()
    found = compared(tree, dict(tree))
    assert loud(found) == set()
    assert (found.files, found.areas, found.unread, found.size.grown) == ((), (), (), 0)


def test_every_kind_is_there_even_if_silent() -> None:
    assert {one.kind for one in groups(compared(base(), base()))} == set(READERS)


def test_what_could_not_be_read_is_the_loudest() -> None:
    old = MemorySnapshot({SITE: "a", "/etc/passwd": PASSWD}, unreadable=frozenset({"/etc/passwd"}))
    found = compared(old, {SITE: "a", "/etc/passwd": PASSWD + "eve:x:5:5::/:/bin/sh\n"})
    assert found.unread == ("old: /etc/passwd",)
    assert groups(found)[0].kind == "unread"


def test_only_what_differs_is_read() -> None:
    old, new = MemorySnapshot(base()), MemorySnapshot(base() | {SITE: "changed"})
    compared(old, new)
    # os-release of the new image is always told
    assert (set(old.reads), set(new.reads)) == ({SITE}, {SITE, "/usr/lib/os-release"})


def test_a_first_image_is_summed_up() -> None:
    found = compared(None, base())
    assert found.first
    assert (found.files, found.texts, found.noise) == ((), (), ())
    assert {change.name for change in found.packages} == {"libc6:amd64", "zlib1g:amd64"}
    assert sum(area.added for area in found.areas) == len(list(MemorySnapshot(base()).all()))
    assert group(found, "privileges").risk is Risk.LOW
    assert {item.name for item in group(found, "accounts").items if item.risk is Risk.CRITICAL} == {
        "member ada of sudo"
    }


def test_a_first_image_still_tells_what_is_risky_in_any() -> None:
    found = compared(None, base() | {"/etc/shadow": File(b"ada::1:::::\n", mode=0o640)})
    assert group(found, "accounts").risk is Risk.CRITICAL
