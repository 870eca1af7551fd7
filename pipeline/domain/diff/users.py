"""Users and groups: of passwd and group, of the accounts systemd-sysusers makes, and who has a password.

Rules: a password's hash never leaves the image: what is told is whether there is one, none at all (anybody
may enter), or a lock, and whether it is another than before. Who gains uid 0, a group of administrators or
entry without a password is told apart, because that is what a reader must not miss.
Sources: passwd(5), group(5), shadow(5), sysusers.d(5).
"""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.tree import FileType

ADMINISTRATORS = frozenset(
    {"root", "sudo", "wheel", "docker", "disk", "shadow", "kmem", "lxd", "incus-admin", "libvirt"}
)
"""Groups whose members may become root or read its secrets."""

_TABLE = re.compile(r"/(?:etc|usr/etc|usr/lib)/(?P<table>passwd|group|shadow)")
_SYSUSERS = re.compile(r"/(?:etc|usr/lib|usr/etc)/sysusers\.d/[^/]+\.conf", re.DOTALL)
_LARGEST = 4 << 20
_PASSWD, _GROUP, _SHADOW = 7, 4, 2
_SHORTEST_HASH = 13
"""Characters of the oldest form, DES crypt; anything shorter matches no password."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user, a group, a membership or a password's state, as one file says it.

    Attributes:
        what: `user`, `group`, `member` or `password`.
        name: Of the user or group.
        number: uid or gid as written; "" where the host chooses, or none is meant.
        group: A user's primary group, a group's members, or the group one is a member of.
        home, shell, description: Of a user.
        password: `hash`, `locked` or `none`; "" where the file says nothing of it.
        path: The file; a move to another file is no change.
        mark: Tells one hash from another without telling either; "" where there is none.
    """

    what: str
    name: str
    number: str = ""
    group: str = ""
    home: str = ""
    shell: str = ""
    description: str = ""
    password: str = ""
    path: str = field(default="", compare=False)
    mark: str = ""

    @property
    def powerful(self) -> bool:
        """Whether it is root's equal, belongs to administrators, or lets anybody in."""
        if self.what == "user":
            return self.number == "0" or self.group in ("0", "root")
        if self.what == "group":
            return self.name in ADMINISTRATORS
        return self.group in ADMINISTRATORS if self.what == "member" else self.password == "none"  # noqa: S105


def account_changes(pair: Pair) -> tuple[Change[Account], ...]:
    """Return the accounts that differ, by kind and name."""
    return compare(dict(_accounts(pair.old)), dict(_accounts(pair.new)))


def _accounts(side: Side) -> Iterator[tuple[str, Account]]:
    for facts in side.changed:
        if facts.type is not FileType.FILE:
            continue
        table = _TABLE.fullmatch(facts.path)
        if table is None and not _SYSUSERS.fullmatch(facts.path):
            continue
        text = (side.read(facts.path, limit=_LARGEST) or b"").decode("utf-8", "surrogateescape")
        rows = _sysusers(text, facts.path) if table is None else _table(table["table"], text, facts.path)
        for account in rows:
            yield _name(account, sysusers=table is None), account


def _name(account: Account, *, sysusers: bool) -> str:
    suffix = " (sysusers)" if sysusers else ""
    member = f" of {account.group}" if account.what == "member" else ""
    return f"{account.what} {account.name}{member}{suffix}"


def _table(table: str, text: str, path: str) -> Iterator[Account]:
    for line in text.splitlines():
        fields = line.split(":")
        if not fields[0] or line.startswith("#"):
            continue
        match table:
            case "passwd" if len(fields) >= _PASSWD:
                yield _user(fields, path)
            case "group" if len(fields) >= _GROUP:
                yield from _group(fields, path)
            case "shadow" if len(fields) >= _SHADOW:
                yield _password(fields[0], fields[1], path)
            case _:
                yield Account(what="unreadable line", name=fields[0], path=path)


def _user(fields: list[str], path: str) -> Account:
    name, password, uid, gid, description, home, shell = fields[:_PASSWD]
    return Account(
        what="user",
        name=name,
        number=uid,
        group=gid,
        description=description,
        home=home,
        shell=shell,
        password="" if password == "x" else _state(password),  # noqa: S105 - "see shadow"
        path=path,
    )


def _group(fields: list[str], path: str) -> Iterator[Account]:
    name, _, gid, members = fields[:_GROUP]
    yield Account(what="group", name=name, number=gid, path=path)
    for member in filter(None, members.split(",")):
        yield Account(what="member", name=member, group=name, path=path)


def _password(name: str, password: str, path: str) -> Account:
    state = _state(password)
    # A hash of the hash: tells that it changed. Cut short, so that guesses cannot be tried against it.
    mark = hashlib.sha256(f"{name}\0{password}".encode("utf-8", "surrogateescape")).hexdigest()[:4]
    return Account(
        what="password", name=name, password=state, path=path, mark=mark if state == "hash" else ""
    )


def _state(password: str) -> str:
    if not password:
        return "none"
    if password.startswith(("!", "*")) or len(password) < _SHORTEST_HASH:
        return "locked"
    return "hash"


def _sysusers(text: str, path: str) -> Iterator[Account]:
    for line in text.splitlines():
        try:
            words = shlex.split(line, comments=True)
        except ValueError:
            words = line.split()
        if len(words) < 2:  # noqa: PLR2004 - type and name
            continue
        kind, name, *rest = words
        number, description, home, shell = ("" if word == "-" else word for word in [*rest, *[""] * 4][:4])
        match kind.rstrip("!"):
            case "u":
                uid, _, group = number.partition(":")
                yield Account(
                    what="user",
                    name=name,
                    number=uid,
                    group=group,
                    description=description,
                    home=home,
                    shell=shell,
                    path=path,
                )
            case "g":
                yield Account(what="group", name=name, number=number, path=path)
            case "m":
                yield Account(what="member", name=name, group=number, path=path)
