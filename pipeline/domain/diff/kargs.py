"""Kernel arguments that an image brings.

Rules: bootc's kargs.d is TOML with `kargs` and, where they are for some machines only,
`match-architectures`; boot loader entries and /etc/kernel/cmdline are read where an image has any; a file
that is none of these is a fault that is shown, because the host would refuse it as well.
Sources: bootc's "Kernel arguments"; the UAPI group's Boot Loader Specification.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.domain.diff.change import Change, compare
from pipeline.domain.diff.pair import Pair, Side
from pipeline.domain.tree import FileType

_KARGS = re.compile(r"/usr/lib/bootc/kargs\.d/[^/]+\.toml", re.DOTALL)
_ENTRY = re.compile(r"(?:/usr/lib|/boot|/efi|/boot/efi)/(?:.+/)?loader/entries/[^/]+\.conf", re.DOTALL)
_CMDLINE = re.compile(r"(?:/etc|/usr/lib|/usr/etc)/kernel/cmdline")
_OPTIONS = re.compile(r"^options[ \t]+(.*)$", re.MULTILINE)
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Karg:
    """One kernel argument: the file that brings it, and for which architectures (empty for all)."""

    path: str = field(compare=False)
    architectures: tuple[str, ...] = ()
    fault: str = ""


def karg_changes(pair: Pair) -> tuple[Change[Karg], ...]:
    """Return the arguments that came, went or are for other machines, by argument."""
    return compare(dict(_kargs(pair.old)), dict(_kargs(pair.new)))


def _kargs(side: Side) -> Iterator[tuple[str, Karg]]:
    for facts in side.changed:
        path = facts.path
        if facts.type is not FileType.FILE:
            continue
        if _KARGS.fullmatch(path):
            yield from _toml(path, _text(side, path))
        elif _ENTRY.fullmatch(path):
            for options in _OPTIONS.findall(_text(side, path)):
                yield from ((one, Karg(path=path)) for one in options.split())
        elif _CMDLINE.fullmatch(path):
            yield from ((one, Karg(path=path)) for one in _text(side, path).split())


def _text(side: Side, path: str) -> str:
    return (side.read(path, limit=_LARGEST) or b"").decode("utf-8", "surrogateescape")


def _toml(path: str, text: str) -> Iterator[tuple[str, Karg]]:
    try:
        found = tomllib.loads(text)
        kargs, machines = _texts(found, "kargs"), _texts(found, "match-architectures")
    except (ValueError, TypeError, RecursionError) as error:
        yield f"(unreadable) {path}", Karg(path=path, fault=f"{type(error).__name__}: {error}")
        return
    yield from ((one, Karg(path=path, architectures=tuple(sorted(machines)))) for one in kargs)


def _texts(document: dict[str, Any], key: str) -> list[str]:
    found = document.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise TypeError(f"{key} must be a list of texts")
    return found
