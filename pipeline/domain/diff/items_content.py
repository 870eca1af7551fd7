"""What an image holds differently, in words: texts, containers, packages, config, files, noise.

Rules: a package that goes down is high, one that goes up is low; /etc is high, because hosts merge it into
their own; a container image that is not pinned is high, since what it runs may move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pipeline.domain.diff.containers import ContainerImage
from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.item import Item, Risk, became, item_of
from pipeline.domain.diff.packages import Direction, InstalledPackage, direction, licence_changed
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts
from pipeline.domain.diff.texts import TextChange


def unread(difference: Difference) -> Iterator[Item]:
    """Yield what could not be read."""
    for what in difference.unread:
        yield Item(name=what, how="changed", risk=Risk.CRITICAL, why="what changed in it is unknown")


def texts(difference: Difference) -> Iterator[Item]:
    """Yield the configuration and unit files that differ."""
    for text in difference.texts:
        yield Item(
            name=text.path,
            how=text.kind.value,
            before=f"{text.removed} lines" if text.removed else "",
            after=text.why or (f"{text.added} lines" if text.added else ""),
            risk=_text_risk(text),
        )


def _text_risk(text: TextChange) -> Risk:
    return Risk.HIGH if text.path.startswith(("/etc/", "/usr/etc/")) else Risk.MEDIUM


def containers(difference: Difference) -> Iterator[Item]:
    """Yield the container images that differ."""
    for change in difference.containers:
        loose = change.new is not None and not change.new.pinned
        why = (
            "not pinned to a digest"
            if change.new is not None and change.new.image
            else "no image can be read"
        )
        yield item_of(change, _container, Risk.HIGH if loose else Risk.MEDIUM, why if loose else "")


def bound(difference: Difference) -> Iterator[Item]:
    """Yield the bound images that differ."""
    for change in difference.bound:
        yield item_of(change, str, Risk.MEDIUM)


def _container(container: ContainerImage) -> str:
    return f"{container.image} as {container.user}"


def system(difference: Difference) -> Iterator[Item]:
    """Yield the operating system where it differs."""
    system = difference.system
    if system.differs:
        yield Item(
            name="release",
            how=became(system.old_id, system.new_id),
            before=system.old_name or system.old_id,
            after=system.new_name or system.new_id,
            risk=Risk.HIGH if system.major else Risk.MEDIUM,
        )


_PACKAGE_RISKS = {Direction.UP: Risk.LOW, Direction.DOWN: Risk.HIGH}


def packages(difference: Difference) -> Iterator[Item]:
    """Yield the packages that differ."""
    for change in difference.packages:
        where = direction(change)
        licence = licence_changed(change)
        risk = _PACKAGE_RISKS.get(where, Risk.MEDIUM)
        yield Item(
            name=change.name,
            how=where.value,
            before=_package(change.old, licence=licence),
            after=_package(change.new, licence=licence),
            risk=max(risk, Risk.MEDIUM) if licence else risk,
            why="another licence" if licence else "goes down" if where is Direction.DOWN else "",
        )


def _package(package: InstalledPackage | None, *, licence: bool) -> str:
    if package is None:
        return ""
    return f"{package.version} ({package.licence})" if licence else package.version


def config(difference: Difference) -> Iterator[Item]:
    """Yield what differs in the image's config."""
    for change in difference.config:
        yield item_of(change, str, Risk.MEDIUM)


def files(difference: Difference) -> Iterator[Item]:
    """Yield every file that differs."""
    unexplained = frozenset(difference.unexplained)
    for change in difference.files:
        item = file_item(change)
        if change.path in unexplained:
            item = replace(item, risk=Risk.MEDIUM, why="no package that differs brings it")
        yield item


def file_item(change: FileChange) -> Item:
    """Return one file's change in words: what of it differs, and both sides as far as they do."""
    return Item(
        name=change.path,
        how=change.kind.value,
        before=_side(change, change.old),
        after=_side(change, change.new),
        risk=Risk.MEDIUM if change.what & {Aspect.MODE, Aspect.OWNER, Aspect.TYPE} else Risk.LOW,
    )


def _side(change: FileChange, facts: FileFacts | None) -> str:
    if facts is None:
        return ""
    shown: tuple[tuple[set[Aspect], str], ...] = (
        ({Aspect.TYPE}, facts.type.value),
        ({Aspect.CONTENT}, f"{facts.size} bytes, sha256 {facts.sha256[:12]}"),
        ({Aspect.TARGET}, f"to {facts.target}"),
        ({Aspect.MODE, Aspect.SETUID, Aspect.SETGID}, f"mode {facts.mode:04o}"),
        ({Aspect.OWNER}, f"owner {facts.uid}:{facts.gid}"),
        ({Aspect.XATTRS}, f"attributes {', '.join(name for name, _ in facts.xattrs) or 'none'}"),
    )
    if change.kind is not ChangeKind.CHANGED:
        return f"{facts.type.value}, mode {facts.mode:04o}, owner {facts.uid}:{facts.gid}"
    return ", ".join(words for aspects, words in shown if aspects & change.what)


def noise(difference: Difference) -> Iterator[Item]:
    """Yield what differs in any two builds, one for each cause."""
    for one in difference.noise:
        yield Item(name=one.why, how="changed", after=f"{len(one.paths)} files", risk=Risk.NONE)
    for change in difference.built:
        yield item_of(change, str, Risk.NONE)
