"""Reads what the scripts of `inside.py` sent out of the machine, and what the console showed.

Rules: both come from a machine that may be broken or hostile: a line that is not understood is left out, text
is made harmless before it is kept, and nothing that is said makes this program do more than read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from pipeline.domain.boot.inside import MARK, Part
from pipeline.domain.text import plain, without_ansi

_MOST_LINES = 20_000
_PANIC = re.compile(
    r"Kernel panic - not syncing: (?P<why>.*)"
    r"|(?P<oops>BUG: (?:unable to handle|kernel NULL pointer)[^\n]*|general protection fault[^\n]*)"
)
_PHASE = re.compile(re.escape(MARK) + r": phase (?P<name>[a-z]{1,20})")


class Ending(StrEnum):
    """How the machine ended."""

    OFF = "off"
    PANIC = "panic"
    LATE = "late"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One boot of the machine.

    Attributes:
        part: Which.
        ending: How it ended.
        phase: The last phase that began, "" when none did.
        why: What was wrong, for all endings but `off`.
        report: What came through the second serial port.
        console: What came through the first.
        milliseconds: How long it ran, by this machine's clock.
    """

    part: Part
    ending: Ending
    phase: str
    why: str
    report: bytes
    console: bytes
    milliseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The lines of a report: word and rest."""

    lines: tuple[tuple[str, str], ...]

    def all(self, word: str) -> tuple[str, ...]:
        """Return the rest of every line with this word, in order."""
        return tuple(rest for found, rest in self.lines if found == word)

    def rows(self, word: str, count: int) -> tuple[tuple[str, ...], ...]:
        """Return the rests as `count` words, the last of them up to the line's end; others are left out."""
        split = (rest.split(" ", count - 1) for rest in self.all(word))
        return tuple(tuple(words) for words in split if len(words) == count)

    def of(self, word: str, name: str) -> tuple[str, ...]:
        """Return what lines `WORD NAME …` say of one name; empty texts are left out."""
        return tuple(rest for found, rest in self.rows(word, 2) if found == name and rest.strip())

    def first(self, word: str, name: str) -> str:
        """Return the first of them, or ""."""
        return next(iter(self.of(word, name)), "")


def read_answers(report: bytes) -> Answers:
    """Return the lines of a report, text made harmless."""
    text = report.decode("utf-8", "surrogateescape").replace("\r", "")
    parts = (line.partition(" ") for line in text.split("\n")[:_MOST_LINES])
    return Answers(lines=tuple((word, plain(rest)) for word, _, rest in parts if word.isalpha()))


def milliseconds(seconds: str) -> int:
    """Return the seconds of a kernel's clock (`12.34`) as milliseconds; 0 for what is no number."""
    found = re.fullmatch(r"(\d{1,9})\.(\d\d)", seconds)
    return int(found[1]) * 1000 + int(found[2]) * 10 if found else 0


def panic_in(line: str) -> str | None:
    """Return why the kernel gave up, when the line of the console says so."""
    found = _PANIC.search(line)
    return plain(found["why"] or found["oops"] or "for no reason given") if found else None


def phase_in(line: str) -> str | None:
    """Return the phase that begins, when the line of the console says so."""
    found = _PHASE.search(line)
    return found["name"] if found else None


def last_lines(console: bytes, count: int = 20) -> tuple[str, ...]:
    """Return the last lines of the console that show something, made harmless."""
    text = console[-100_000:].decode("utf-8", "surrogateescape")
    return shown_lines(text.splitlines())[-count:]


def shown_lines(lines: Iterable[str]) -> tuple[str, ...]:
    """Return lines of a console as they are shown: without colours, one line each, empty ones left out."""
    cleaned = (plain(without_ansi(line.replace("\r", ""))).strip() for line in lines)
    return tuple(line for line in cleaned if line)
