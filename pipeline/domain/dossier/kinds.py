"""Puts each kind of change in the diff's document into words.

Rules: of a thing that is on both sides only what differs is told, of one that came or went all that is known;
a module's or package's version is told first. The kinds and their fields are those of `docs/diff.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pipeline.domain.dossier.difference import Change, How
from pipeline.domain.dossier.reading import Fields, NotUnderstoodError

_SHORT = 12

Shown = Sequence[tuple[str, str]]
"""Keys of one side of a change, in the order they are told, each with the word before its value."""

_MODULE: Shown = (
    ("fault", "unreadable:"),
    ("version", ""),
    ("vermagic", "for"),
    ("signer", "signed by"),
    ("licence", "licence"),
    ("srcversion", "source"),
)
_ACCOUNT: Shown = (
    ("number", "id"),
    ("group", "group"),
    ("home", "home"),
    ("shell", "shell"),
    ("password", "password"),
    ("description", "called"),
    ("mark", "hash"),
)
_PRIVILEGE: Shown = (("grants", ""), ("mode", "mode"), ("owner", "owner"))
_CONTAINER: Shown = (("image", ""), ("user", "as"), ("pinned", "by digest:"))
_KARG: Shown = (("fault", "unreadable:"), ("path", "in"), ("architectures", "only on"))


def _words(side: Fields | None, other: Fields | None, shown: Shown) -> str:
    """Say what of one side differs from the other; all of it where there is no other."""
    if side is None:
        return ""
    told = []
    for key, label in shown:
        value = _value(key, side.raw(key))
        differs = bool(value) if other is None else value != _value(key, other.raw(key))
        if differs:
            told.append(f"{label} {value or 'none'}".strip())
    return ", ".join(told)


def _value(key: str, raw: object) -> str:
    if key == "vermagic":
        return str(raw or "").partition(" ")[0]
    if isinstance(raw, list | tuple):
        return " and ".join(str(one) for one in raw)
    if isinstance(raw, bool):
        return "yes" if raw else "no"
    return "" if raw is None else str(raw)


def _how(fields: Fields, key: str) -> How:
    try:
        return How(fields.text(key))
    except ValueError as error:
        raise NotUnderstoodError(f"{fields.where}.{key} is {fields.text(key)!r}") from error


def _side(fields: Fields, key: str) -> Fields | None:
    return fields.object(key) if key in fields else None


def _changes(kind: str, shown: Shown) -> Callable[[Fields], Iterator[Change]]:
    """Return the reader of a kind that is a list of changes of objects."""
    return lambda fields: _objects(fields.objects(kind), shown)


def _objects(found: Sequence[Fields], shown: Shown) -> Iterator[Change]:
    for one in found:
        old, new = _side(one, "old"), _side(one, "new")
        yield Change(
            name=one.text("name"),
            how=_how(one, "kind"),
            before=_words(old, new, shown),
            after=_words(new, old, shown),
        )


def _texts_of(kind: str) -> Callable[[Fields], Iterator[Change]]:
    """Return the reader of a kind that is a list of changes of texts."""

    def read(fields: Fields) -> Iterator[Change]:
        for one in fields.objects(kind):
            yield Change(
                name=one.text("name"),
                how=_how(one, "kind"),
                before=one.text("old", ""),
                after=one.text("new", ""),
            )

    return read


def _unread(fields: Fields) -> Iterator[Change]:
    for what in fields.texts("unread"):
        yield Change(name=what, how=How.CHANGED, after="could not be read")


def _kernel(fields: Fields) -> Iterator[Change]:
    kernel = fields.object("kernel")
    old, new = ", ".join(kernel.texts("old")), ", ".join(kernel.texts("new"))
    if old != new:
        how = How.CHANGED if old and new else How.ADDED if new else How.REMOVED
        yield Change(name="release", how=how, before=old, after=new)
    for release in kernel.texts("rebuilt"):
        yield Change(name=release, how=How.SAME, after="another build of the same release")
    for release in kernel.texts("initramfs"):
        yield Change(name=f"initramfs of {release}", how=How.CHANGED)
    for key, how in (("drivers_removed", How.REMOVED), ("drivers_added", How.ADDED)):
        for name in kernel.texts(key):
            yield Change(name=f"driver {name}", how=how)


def _units(fields: Fields) -> Iterator[Change]:
    for one in fields.objects("units"):
        old, new = _side(one, "old"), _side(one, "new")
        yield Change(
            name=one.text("name"),
            how=_how(one, "kind"),
            before="" if old is None else old.text("path"),
            after="" if new is None else new.text("path"),
        )


def _policy(fields: Fields) -> Iterator[Change]:
    policy = fields.object("policy")
    for fault in policy.texts("faults"):
        yield Change(name=fault, how=How.CHANGED)
    yield from _objects(policy.objects("scopes"), (("requires", ""),))


def _texts(fields: Fields) -> Iterator[Change]:
    for one in fields.objects("texts"):
        counted = f"+{one.whole('added')} \N{MINUS SIGN}{one.whole('removed')} lines"
        yield Change(
            name=one.text("path"),
            how=_how(one, "kind"),
            after=one.text("why", "") or counted,
            lines=one.texts("lines"),
            cut=one.whole("cut"),
        )


def _system(fields: Fields) -> Iterator[Change]:
    system = fields.object("system")
    yield Change(
        name="release",
        how=How.CHANGED,
        before=system.text("old_name") or system.text("old_id"),
        after=system.text("new_name") or system.text("new_id"),
    )


def _packages(fields: Fields) -> Iterator[Change]:
    for one in fields.objects("packages"):
        old, new = _side(one, "old"), _side(one, "new")
        rebuilt = one.text("direction") == How.SAME
        yield Change(
            name=one.text("name"),
            how=_how(one, "direction"),
            before="" if old is None or rebuilt else old.text("version"),
            after="" if new is None else new.text("version"),
        )


def _files(fields: Fields) -> Iterator[Change]:
    """Tell every path; of a first image, whose paths are all new, the areas."""
    for one in fields.objects("files"):
        what = frozenset(one.texts("what"))
        yield Change(
            name=one.text("path"),
            how=_how(one, "kind"),
            before=_facts(one, "old", what),
            after=_facts(one, "new", what),
        )
    if "old" not in fields:
        for area in fields.objects("areas"):
            yield Change(name=area.text("name"), how=How.ADDED, after=f"{area.whole('added'):,} paths")


def _facts(change: Fields, side: str, what: frozenset[str]) -> str:
    """Say what of one side differs; of a path that came or went, what it is."""
    if side not in change:
        return ""
    facts = change.object(side)
    mode, owner = f"mode {facts.text('mode')}", f"owner {facts.whole('uid')}:{facts.whole('gid')}"
    if change.text("kind") != How.CHANGED:
        return f"{facts.text('type')}, {mode}, {owner}"
    told = (
        ({"type"}, facts.text("type")),
        ({"content"}, f"{facts.raw('size') or 0} bytes, sha256 {facts.text('sha256', '')[:_SHORT]}"),
        ({"target"}, f"to {facts.text('target', '')}"),
        ({"mode", "setuid", "setgid"}, mode),
        ({"owner"}, owner),
        ({"xattrs"}, f"attributes {', '.join(name for name, _ in facts.pairs('xattrs')) or 'none'}"),
    )
    return ", ".join(words for aspects, words in told if aspects & what)


def _noise(fields: Fields) -> Iterator[Change]:
    for one in fields.objects("noise"):
        for path in one.texts("paths"):
            yield Change(name=path, how=How.CHANGED, after=one.text("why"))
    yield from _texts_of("built")(fields)


READERS: dict[str, Callable[[Fields], Iterator[Change]]] = {
    "unread": _unread,
    "kernel": _kernel,
    "modules": _changes("modules", _MODULE),
    "privileges": _changes("privileges", _PRIVILEGE),
    "accounts": _changes("accounts", _ACCOUNT),
    "units": _units,
    "policy": _policy,
    "texts": _texts,
    "kargs": _changes("kargs", _KARG),
    "containers": _changes("containers", _CONTAINER),
    "bound": _texts_of("bound"),
    "system": _system,
    "packages": _packages,
    "config": _texts_of("config"),
    "files": _files,
    "noise": _noise,
}
"""Kind of the document to the reader of its changes."""
