"""The document every image carries about itself: what is base, what is writable, what survives, how to reset.

Two forms of the same facts: persistence.json for programs, persistence.md for people.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass

from pipeline.domain.app import user_of
from pipeline.domain.catalogue import Instance
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.accounts import HOMES
from pipeline.domain.rootfs.entries import file, made_from

FOLDER = "/usr/lib/pipeline"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One place of the file system and what becomes of changes there.

    Attributes:
        path: Where it is.
        kind: `base` (the image, read-only), `overlay` (the image's content with the host's changes on top),
            `state` (the host's own) or `volatile`.
        reboot: What a reboot does to changes.
        update: What a new image does to them.
        rollback: What a rollback does to them.
        reset: How to return to what the image says.
    """

    path: str
    kind: str
    reboot: str
    update: str
    rollback: str
    reset: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A directory in /var that this host's definition asks for."""

    path: str
    owner: str
    why: str


_BASE = Place(
    path="/usr",
    kind="base",
    reboot="cannot be changed",
    update="replaced as a whole",
    rollback="the earlier image's, as a whole",
    reset="nothing to reset; change the definition and release a new image",
)
_ROOT = Place(
    path="/ (all that is not named below)",
    kind="base",
    reboot="cannot be changed",
    update="replaced as a whole",
    rollback="the earlier image's, as a whole",
    reset="nothing to reset",
)
_ETC = Place(
    path="/etc",
    kind="overlay",
    reboot="kept",
    update="three-way merge: files the host changed stay, all others become the new image's",
    rollback="the earlier deployment's /etc comes back as it was; changes made since are not carried over",
    reset="`ostree admin config-diff` lists the changes; copy a file back from /usr/etc to undo one",
)
_VAR = Place(
    path="/var",
    kind="state",
    reboot="kept",
    update="kept; a new image's content of /var is not copied in",
    rollback="kept: data is never rolled back",
    reset="stop the service, remove its directory, reboot: systemd-tmpfiles makes it again, empty",
)
_BOOT = Place(
    path="/boot, /sysroot",
    kind="state",
    reboot="kept",
    update="written by bootc alone",
    rollback="written by bootc alone",
    reset="never by hand; install the host anew",
)
_VOLATILE = Place(
    path="/run, /tmp",
    kind="volatile",
    reboot="gone",
    update="gone with the reboot",
    rollback="gone with the reboot",
    reset="reboot",
)
_PLACES = (_ROOT, _BASE, _ETC, _VAR, _BOOT, _VOLATILE)


def persistence(host: Instance) -> Iterator[TreeEntry]:
    """Yield both forms of the document."""
    links = dict(sorted(host.persistence.links.items()))
    state = tuple(_state(host))
    document = {
        "image": {"line": host.line, "name": host.name, "base": host.parent, "hostname": host.hostname},
        "definition": host.file,
        "places": [asdict(place) for place in _PLACES],
        "links": links,
        "state": [asdict(one) for one in state],
    }
    yield file(f"{FOLDER}/persistence.json", json.dumps(document, indent=2, ensure_ascii=False) + "\n")
    yield file(f"{FOLDER}/persistence.md", _markdown(host, links, state))


def _state(host: Instance) -> Iterator[State]:
    definition = host.definition
    for name in sorted(definition.users):
        yield State(path=f"{HOMES}/{name}", owner=name, why="home of a person")
    for name, app in sorted(definition.apps.items()):
        user = user_of(name, app)
        if not app.rootful:
            why = f"home of application {name}: its containers, volumes and secrets"
            yield State(path=f"{HOMES}/{user}", owner=user, why=why)
        for path in sorted(app.directories):
            yield State(path=path, owner=user, why=f"data of application {name}")
        if app.rootful:
            why = f"containers, volumes and secrets of application {name}"
            yield State(path="/var/lib/containers", owner="root", why=why)
    if definition.alloy is not None:
        yield State(path="/var/lib/alloy", owner="alloy", why="Alloy's positions and queues")


def _markdown(host: Instance, links: dict[str, str], state: tuple[State, ...]) -> str:
    title = f"# What persists on {host.hostname}"
    intro = (
        f"{made_from(host.file)}\n\nThe host is image based: it boots the image `{host.name}` of line "
        f"`{host.line}`, laid on `{host.parent}`. What the image brings cannot be changed in place; a "
        "change is made in the definition, reviewed, and released as a new image. Three places are "
        "writable, and they differ in what survives."
    )
    parts = [
        title,
        intro,
        "## Places",
        _table(
            ("place", "kind", "reboot", "update", "rollback", "reset"),
            [(one.path, one.kind, one.reboot, one.update, one.rollback, one.reset) for one in _PLACES],
        ),
        "## Links\n\nThese names lead out of the read-only tree.",
        _table(("name", "leads to"), list(links.items())),
        "## State of this host",
        _table(("directory", "owner", "what for"), [(one.path, one.owner, one.why) for one in state]),
        _RESET,
    ]
    return "\n\n".join(parts) + "\n"


_RESET = """\
## Back to what the image says

- One file of /etc: `cp -a /usr/etc/PATH /etc/PATH`.
- One application: stop it, remove its home and its data as listed above, reboot.
- The whole host: install the image anew; nothing of /etc and /var is kept then.
- The image itself: `pipeline rollback` moves the host to an earlier release. `/var` stays as it is."""


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return "None."
    body = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in body)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
