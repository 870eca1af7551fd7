"""A difference in words, by kind, the riskiest kinds first: what a dossier and a terminal show.

Rules: the kinds have one order and one name everywhere; a kind in which nothing changed is still there, so
that its silence is seen; what could lock out, break the boot or give rights away is high, and critical where
it surely does or hides what it does; of a first image, where all is new, only what would be risky in any is
more than low. Words come from images: they are as hostile as ever, whoever shows them makes them harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from pipeline.domain.diff.change import Change
from pipeline.domain.diff.containers import ContainerImage
from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.kargs import Karg
from pipeline.domain.diff.kernel import Module
from pipeline.domain.diff.packages import Direction, InstalledPackage, direction, licence_changed
from pipeline.domain.diff.policy import Scope
from pipeline.domain.diff.privileges import Privilege
from pipeline.domain.diff.snapshot import Aspect, ChangeKind, FileChange, FileFacts
from pipeline.domain.diff.texts import TextChange
from pipeline.domain.diff.units import Start
from pipeline.domain.diff.users import Account

MOST_REASONS = 12
"""Reasons of one group that are told one by one."""


class Risk(IntEnum):
    """How closely to look; greater is riskier."""

    NONE = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def word(self) -> str:
        """The name in documents."""
        return self.name.lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One change in words.

    Attributes:
        name: What it is: a package, a path, a unit, a user.
        how: `added`, `removed`, `changed`; of packages also `up`, `down` and `same` (another build).
        before, after: Both states; "" where there is none.
        risk: How closely to look.
        why: What about it is risky, or "".
    """

    name: str
    how: str
    before: str = ""
    after: str = ""
    risk: Risk = Risk.LOW
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All changes of one kind.

    Attributes:
        kind: Stable name, that of the part in the document.
        title: For people.
        items: The changes, the riskiest first; of `noise` one for all paths of one cause.
        count: How many things differ.
    """

    kind: str
    title: str
    items: tuple[Item, ...]
    count: int

    @property
    def risk(self) -> Risk:
        """The highest risk in it; none for an empty group."""
        return max((one.risk for one in self.items), default=Risk.NONE)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What makes it risky, one line a change, the riskiest first; what is left out is counted."""
        risky = [item for item in self.items if item.why or item.risk >= Risk.HIGH]
        told = tuple(f"{item.name}: {item.why or item.how}" for item in risky[:MOST_REASONS])
        more = len(risky) - MOST_REASONS
        return (*told, f"and {more} more") if more > 0 else told


def groups(difference: Difference) -> tuple[Group, ...]:
    """Return every kind, those with the highest risk first, equal ones in the order of the table below."""
    found = [_group(kind, title, items(difference), difference) for kind, title, items in _KINDS]
    return tuple(sorted(found, key=lambda group: -group.risk))


def _group(kind: str, title: str, items: Iterator[Item], difference: Difference) -> Group:
    ordered = _ordered(items, first=difference.first)
    count = {
        "files": sum(area.total for area in difference.areas),
        "noise": sum(len(one.paths) for one in difference.noise) + len(difference.built),
    }.get(kind, len(ordered))
    return Group(kind=kind, title=title, items=ordered, count=count)


def _ordered(items: Iterator[Item], *, first: bool) -> tuple[Item, ...]:
    weighed = (_at_first(item) if first else item for item in items)
    return tuple(sorted(weighed, key=lambda item: (-item.risk, item.name)))


def _at_first(item: Item) -> Item:
    """Lower what is only risky because it changed: of a first image everything did."""
    if item.why or item.risk <= Risk.LOW:
        return item
    return Item(name=item.name, how=item.how, before=item.before, after=item.after, risk=Risk.LOW)


def _unread(difference: Difference) -> Iterator[Item]:
    for what in difference.unread:
        yield Item(name=what, how="changed", risk=Risk.CRITICAL, why="what changed in it is unknown")


def _kernel(difference: Difference) -> Iterator[Item]:
    kernel = difference.kernel
    if kernel.old != kernel.new:
        yield Item(
            name="release",
            how=_how(kernel.old, kernel.new),
            before=", ".join(kernel.old),
            after=", ".join(kernel.new),
            risk=Risk.HIGH if len(kernel.new) == 1 else Risk.CRITICAL,
            why="" if len(kernel.new) == 1 else "an image has exactly one kernel",
        )
    for release in kernel.rebuilt:
        yield Item(name=release, how="changed", risk=Risk.HIGH, after="another build of the same release")
    for release in kernel.initramfs:
        yield Item(name=f"initramfs of {release}", how="changed")  # differs in any two builds
    for name in kernel.drivers_removed:
        yield Item(name=f"driver {name}", how="removed", risk=Risk.MEDIUM)
    if not difference.first:
        for name in kernel.drivers_added:
            yield Item(name=f"driver {name}", how="added")


def _modules(difference: Difference) -> Iterator[Item]:
    for change in difference.modules:
        why = _module_trouble(change, difference.kernel.new)
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_module(change.old),
            after=_module(change.new),
            risk=Risk.CRITICAL if why else Risk.HIGH,
            why=why,
        )


def _module(module: Module | None) -> str:
    if module is None:
        return ""
    if module.fault:
        return "unreadable"
    signer = module.signer or "nobody"
    built = module.vermagic.partition(" ")[0]
    source = module.srcversion or "unknown"
    return f"{module.version or 'no version'}, for {built}, source {source}, signed by {signer}"


def _module_trouble(change: Change[Module], kernels: tuple[str, ...]) -> str:
    old, new = change.old, change.new
    if new is None:
        return ""
    if new.fault:
        return new.fault
    if new.vermagic.partition(" ")[0] not in kernels:
        return "built for a kernel this image does not have"
    return "signed by somebody else" if old is not None and old.signer != new.signer else ""


def _privileges(difference: Difference) -> Iterator[Item]:
    for change in difference.privileges:
        old, new = change.old, change.new
        gained = sorted(set(new.grants if new else ()) - set(old.grants if old else ()))
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_privilege(old),
            after=_privilege(new),
            risk=Risk.HIGH if gained or (old is not None and new is not None) else Risk.MEDIUM,
            why=f"gains {', '.join(gained)}" if gained and not difference.first else "",
        )


def _privilege(privilege: Privilege | None) -> str:
    if privilege is None:
        return ""
    return f"{', '.join(privilege.grants)}; mode {privilege.mode}, owner {privilege.owner}"


def _users(difference: Difference) -> Iterator[Item]:
    for change in difference.accounts:
        account = change.new
        why = _power(account) if account is not None else ""
        newcomer = account is not None and account.what == "user"
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_account(change.old),
            after=_account(account),
            risk=Risk.CRITICAL if why else Risk.HIGH if newcomer else Risk.MEDIUM,
            why=why,
        )


def _account(account: Account | None) -> str:
    if account is None:
        return ""
    fields = (
        ("", account.description),
        ("id ", account.number),
        ("group " if account.what == "user" else "of ", account.group),
        ("home ", account.home),
        ("shell ", account.shell),
        ("password: ", account.password),
    )
    return ", ".join(f"{word}{value}" for word, value in fields if value)


def _power(account: Account) -> str:
    if not account.powerful:
        return ""
    match account.what:
        case "member":
            return f"{account.group} is a group of administrators"
        case "password":
            return "no password is asked for"
        case "user" if account.name != "root":
            return "root under another name"
        case _:
            return ""


def _units(difference: Difference) -> Iterator[Item]:
    for change in difference.units:
        start = change.new or change.old
        preset = start is not None and start.relation == "preset"
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_start(change.old),
            after=_start(change.new),
            risk=Risk.LOW if preset else Risk.HIGH,
        )


def _start(start: Start | None) -> str:
    if start is None:
        return ""
    return f"{start.by} in {start.path}" if start.relation == "alias" else start.path


def _policy(difference: Difference) -> Iterator[Item]:
    policy = difference.policy
    for fault in policy.faults:
        yield Item(name=fault, how="changed", risk=Risk.CRITICAL, why="no program can read it")
    for change in policy.scopes:
        why = "lets through more than before" if change.name in policy.weaker else ""
        if change.name in ("default", "docker:") and change.new is not None and not change.new.strictness:
            why = "accepts any image"
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_scope(change.old),
            after=_scope(change.new),
            risk=Risk.CRITICAL if why else Risk.HIGH,
            why=why,
        )


def _scope(scope: Scope | None) -> str:
    return "" if scope is None else "; ".join(scope.requires)


def _kargs(difference: Difference) -> Iterator[Item]:
    for change in difference.kargs:
        why = change.new.fault if change.new is not None else ""
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_karg(change.old),
            after=_karg(change.new),
            risk=Risk.CRITICAL if why else Risk.HIGH,
            why=why,
        )


def _karg(karg: Karg | None) -> str:
    if karg is None:
        return ""
    return f"{karg.path} ({', '.join(karg.architectures)})" if karg.architectures else karg.path


def _etc(difference: Difference) -> Iterator[Item]:
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


def _containers(difference: Difference) -> Iterator[Item]:
    for change in difference.containers:
        loose = change.new is not None and not change.new.pinned
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=_container(change.old),
            after=_container(change.new),
            risk=Risk.HIGH if loose else Risk.MEDIUM,
            why="not pinned to a digest" if loose else "",
        )


def _bound(difference: Difference) -> Iterator[Item]:
    for change in difference.bound:
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=change.old or "",
            after=change.new or "",
            risk=Risk.MEDIUM,
        )


def _container(container: ContainerImage | None) -> str:
    return "" if container is None else f"{container.image} as {container.user}"


def _system(difference: Difference) -> Iterator[Item]:
    system = difference.system
    if system.differs:
        yield Item(
            name="release",
            how=_how(system.old_id, system.new_id),
            before=system.old_name or system.old_id,
            after=system.new_name or system.new_id,
            risk=Risk.HIGH if system.major else Risk.MEDIUM,
        )


_PACKAGE_RISKS = {Direction.UP: Risk.LOW, Direction.DOWN: Risk.HIGH}


def _packages(difference: Difference) -> Iterator[Item]:
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


def _config(difference: Difference) -> Iterator[Item]:
    for change in difference.config:
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=change.old or "",
            after=change.new or "",
            risk=Risk.MEDIUM,
        )


def _files(difference: Difference) -> Iterator[Item]:
    for change in difference.files:
        yield file_item(change)


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


def _noise(difference: Difference) -> Iterator[Item]:
    for one in difference.noise:
        yield Item(name=one.why, how="changed", after=f"{len(one.paths)} files", risk=Risk.NONE)
    for change in difference.built:
        yield Item(
            name=change.name,
            how=change.kind.value,
            before=change.old or "",
            after=change.new or "",
            risk=Risk.NONE,
        )


def _how(old: Any, new: Any) -> str:
    return "changed" if old and new else "added" if new else "removed"


_KINDS: tuple[tuple[str, str, Callable[[Difference], Iterator[Item]]], ...] = (
    ("unread", "Could not be read", _unread),
    ("kernel", "Kernel", _kernel),
    ("modules", "Out-of-tree modules", _modules),
    ("privileges", "Setuid, capabilities, devices", _privileges),
    ("accounts", "Users and groups", _users),
    ("units", "Enabled units", _units),
    ("policy", "Signature policy", _policy),
    ("texts", "/etc and unit files", _etc),
    ("kargs", "Kernel arguments", _kargs),
    ("containers", "Container images", _containers),
    ("bound", "Bound images", _bound),
    ("system", "Operating system", _system),
    ("packages", "Packages", _packages),
    ("config", "Image config", _config),
    ("files", "Files", _files),
    ("noise", "Noise", _noise),
)
KINDS = tuple(kind for kind, _, _ in _KINDS)
"""Names of all kinds, in their own order."""
