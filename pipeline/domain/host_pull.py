"""Whether a host may pull an image: what an image's own files say of it, and what its skopeo's words mean.

Rules: skopeo decides, nothing here does. What is read from an image (policy, registries.d, registries.conf,
keys that the policy names) is only carried to its skopeo; whatever cannot be carried faithfully (links, large
files, a policy that is not understood) is left to a container of that very image. "No" is said only where
skopeo refused for a reason that would be the host's own; a registry that fails gives no answer at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.domain.text import plain
from pipeline.domain.tree import Entry, FileType, Tree
from pipeline.domain.trust import POLICY, REGISTRIES_D
from pipeline.errors import NotFoundError

SKOPEO = "/usr/bin/skopeo"
CONTAINERS = "/etc/containers"
REGISTRIES_CONF = "/etc/containers/registries.conf"

_LARGEST_FILE = 1 << 20
_LARGEST_KEY = 64 << 10
_MOST_KEYS = 100
_HOMES = ("/root/.config/containers", "/var/roothome/.config/containers")
"""Where a policy or a registries.d of root's own would go before those of /etc."""
_SECTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,100}\.yaml")
_DROP_IN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,100}\.conf")
_UNITS = f"{CONTAINERS}/systemd"
_LEFT_OUT = re.compile(
    rf"/etc/containers|{POLICY}|{REGISTRIES_D}(?:/.*)?|{REGISTRIES_CONF}(?:\.d(?:/.*)?)?"
    r"|/(?:etc|usr/share)/containers/systemd(?:/.*)?",
    re.DOTALL,
)
"""What is carried, and quadlets, which skopeo does not read and every host has its own of."""
_SWAYING = re.compile(
    r"/bin(?:/.*)?|/usr/bin/(?:skopeo|env|sh|dash|bash|base64|cat|cp|head|mkdir|mktemp|rm|tar|timeout|tr|truncate)"
    r"|.*\.so(?:\.[^/]*)?|/etc/ld\.so.*"
    r"|/(?:etc/containers|etc/pki|etc/ssl|etc/ca-certificates|etc/docker|etc/crypto-policies)(?:/.*)?"
    r"|/usr/share/(?:containers|pki|ca-certificates|crypto-policies)(?:/.*)?"
    r"|/usr/local/share/ca-certificates(?:/.*)?"
    r"|/(?:root|var/roothome)(?:/.*)?",
    re.DOTALL,
)
_PLACE = re.compile(r"/etc/(?:containers|pki)(?:/[A-Za-z0-9_@+-][A-Za-z0-9._@+-]*)+")

_FATAL = re.compile(r'level=fatal msg="((?:[^"\\]|\\.)*)"')
_UNABLE = re.compile(r"sigstore disabled|sigstore .*not supported|Unknown key \"(?:keyPaths|keyDatas)\"")
_OWN_FAULT = re.compile(
    r"Error loading trust policy|loading registries configuration|parsing \S*\.yaml|is blocked in"
    r"|blob unknown|fetching blob: StatusCode: 404|does not match expected|x509: "
)
"""Refusals in which no answer of the registry is doubtful: the host's own files, or what is not there."""
_FAILING = re.compile(
    r"dial tcp|connection re(?:fused|set)|no such host|timeout|deadline exceeded|EOF|broken pipe"
    r"|unauthorized|authentication required|denied|too ?many ?requests|HTTP response to HTTPS client"
    r"|status(?: code)?[: ]+\"?[45][0-9][0-9]|[^0-9](?:429|50[0-9])[^0-9]",
    re.IGNORECASE,
)
_REJECTED = "Source image rejected"
_OLD = "; this skopeo is too old for several keys in one requirement (containers/image has them from 5.33 on)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullAnswer:
    """What a host would say.

    Attributes:
        ok: Whether it accepts the image and can fetch it.
        said: Who was asked and what it said, one line that is safe to show.
    """

    ok: bool
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """The files of one image that decide on a pull and can be handed to the skopeo of another container.

    Attributes:
        policy: Content of policy.json, or None where there is none.
        sections: Names in registries.d to contents.
        registries: `registries.conf`, and names in registries.conf.d, to contents.
        keys: Every path the policy names to its content, or None where there is no such file.
    """

    policy: bytes | None
    sections: Mapping[str, bytes]
    registries: Mapping[str, bytes]
    keys: Mapping[str, bytes | None]


def carried(tree: Tree) -> Carried | None:
    """Read what decides on a pull; None where only the image itself can show what its skopeo would read."""
    if any(tree.entry(path) is not None for path in _HOMES):
        return None
    if any(entry.type is FileType.SYMLINK for entry in _files(tree)):
        return None
    try:
        policy = _content(tree, POLICY, _LARGEST_FILE)
        named = named_files(policy) if policy is not None else ()
        if named is None:
            return None
        registries = dict(_folder(tree, f"{REGISTRIES_CONF}.d", _DROP_IN))
        return Carried(
            policy=policy,
            sections=dict(_folder(tree, REGISTRIES_D, _SECTION)),
            registries={"registries.conf": _content(tree, REGISTRIES_CONF, _LARGEST_FILE) or b""}
            | registries,
            keys={path: _content(tree, path, _LARGEST_KEY) for path in named},
        )
    except NotFoundError:
        return None


def _files(tree: Tree) -> Iterator[Entry]:
    below = tree.walk(CONTAINERS)
    return (it for it in below if it.type is not FileType.DIRECTORY and not it.path.startswith(f"{_UNITS}/"))


def _folder(tree: Tree, folder: str, known: re.Pattern[str]) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of a folder; NotFoundError where it has what cannot be carried."""
    for name in tree.list(folder):
        data = tree.read(f"{folder}/{name}", limit=_LARGEST_FILE)
        # A lookaside of `file:` is a folder of the host, which stays behind.
        if b"file:" in data or not known.fullmatch(name):
            raise NotFoundError(f"{folder}/{name} cannot be carried", hint="ask the image itself")
        yield name, data


def _content(tree: Tree, path: str, limit: int) -> bytes | None:
    """Return a file's bytes, or None where nothing is; NotFoundError where something else or too much is."""
    if tree.entry(path) is None:
        return None
    return tree.read(path, limit=limit)


def same_file(tree: Tree, path: str, data: bytes | None) -> bool:
    """Tell whether an image has exactly this content at a path, or nothing there for None."""
    try:
        return _content(tree, path, _LARGEST_KEY) == data
    except NotFoundError:
        return False


def named_files(policy: bytes) -> tuple[str, ...] | None:
    """Return every path a policy names, whatever for; None where it is no policy that can be understood."""
    try:
        found = sorted(set(_named(json.loads(policy.decode()))))
    except (ValueError, RecursionError):
        return None
    if len(found) > _MOST_KEYS or not all(path.startswith("/") and "\0" not in path for path in found):
        return None
    return tuple(found)


def _named(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _named(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _named(inner, key)
    elif isinstance(value, str) and key.endswith(("Path", "Paths")):
        yield value


def swaying(paths: Iterable[str]) -> Iterator[str]:
    """Yield those of the paths in which two images may not differ if one's skopeo is to speak for both.

    Policy and registries.d are left out: they are carried.
    """
    return (path for path in paths if _SWAYING.fullmatch(path) and not _LEFT_OUT.fullmatch(path))


def placeable(tree: Tree, files: Carried) -> Mapping[str, bytes | None] | None:
    """Return all files that decide on a pull by their absolute paths; None where one cannot be put elsewhere.

    For a container of another image, whose own files they replace: so nothing outside of /etc/containers and
    /etc/pki is put there. A path without content is one where no file may be.
    """
    try:
        found: dict[str, bytes | None] = {
            entry.path: tree.read(entry.path, limit=_LARGEST_FILE) for entry in _files(tree)
        }
    except NotFoundError:
        return None
    found |= files.keys
    return found if all(map(_PLACE.fullmatch, found)) else None


class Word(StrEnum):
    """What skopeo's end means."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNABLE = "unable"
    """Refused, because this skopeo was built without what verifies sigstore signatures."""
    UNKNOWN = "unknown"


def heard(code: int, text: str) -> tuple[Word, str]:
    """Return what skopeo's exit code and words mean, and the words, cleaned."""
    reason = _reason(text)
    shown = plain(reason, 600)
    if code == 0:
        return Word.ACCEPTED, shown
    if _UNABLE.search(reason):
        return Word.UNABLE, shown + (_OLD if "Unknown key" in reason else "")
    if _OWN_FAULT.search(reason) or (_REJECTED in reason and not _FAILING.search(reason)):
        return Word.REFUSED, shown
    return Word.UNKNOWN, shown or f"it ended with code {code} and said nothing"


def _reason(text: str) -> str:
    """Return the message of skopeo's last word, without the time before it."""
    found = _FATAL.findall(text)
    return found[-1].replace('\\"', '"').replace("\\\\", "\\") if found else text.strip()
