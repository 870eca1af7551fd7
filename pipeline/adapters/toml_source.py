"""Reads one TOML file into plain values and the line of every key.

Rules: whatever the file holds, the answer is values or a problem, never another exception; a file that
leads out of its top folder, is no regular file or is larger than 1 MiB is not read at all.
tomllib gives the values; the lines come from a scanner of our own, since tomllib keeps none.
"""

from __future__ import annotations

import re
import stat
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.problem import Problem

LARGEST = 1 << 20
"""Bytes of the largest definition file that is read."""

_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"((?:[^"\\\n]|\\.)*)"|'([^'\n]*)')[ \t]*""")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:[^"\\\n]|\\.)*"|' + r"'[^'\n]*'", re.DOTALL
)
_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)+")
_SCALAR = re.compile(r"[^,\]}\n#]*")
_AT_LINE = re.compile(r" ?\(at (?:line (\d+), column \d+|end of document)\)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TomlFile:
    """A file that was read: how it is named, its values (lists as tuples) and the line of each dotted key."""

    file: str
    values: Mapping[str, Any]
    lines: Mapping[str, int]


def read(path: Path, *, top: Path, shown: str) -> TomlFile | Problem:
    """Read `path`, which must lie in `top` after all symlinks; problems name it as `shown`."""
    try:
        text = _text(path, top)
    except _UnreadableError as error:
        return Problem(file=shown, line=error.line, key="", message=error.message, hint=error.hint)
    return parse(text, shown=shown)


def parse(text: str, *, shown: str) -> TomlFile | Problem:
    """Parse the text of a file; see `read`."""
    try:
        values = tomllib.loads(text)
        return TomlFile(file=shown, values=_frozen(values), lines=key_lines(text))
    except RecursionError:
        message, line = "is nested too deeply", None
    except ValueError as error:
        message, line = _syntax(str(error), text)
    return Problem(
        file=shown, line=line, key="", message=message, hint="write TOML 1.0: key = value, text in quotes"
    )


class _UnreadableError(Exception):
    def __init__(self, message: str, hint: str, line: int | None = None) -> None:
        super().__init__(message)
        self.message, self.hint, self.line = message, hint, line


def _text(path: Path, top: Path) -> str:
    try:
        if not path.resolve().is_relative_to(top.resolve()):
            raise _UnreadableError(f"leads out of {top.name}/", "put the file itself there, not a link to it")
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            kind = "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file"
            raise _UnreadableError(f"is {kind} where a definition file is wanted", "put a TOML file there")
        if found.st_size > LARGEST:
            raise _UnreadableError(
                f"has {found.st_size} bytes; at most {LARGEST} are read", "move data out of the definition"
            )
        raw = path.read_bytes()
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of symlinks (Python 3.11)
        reason = error.strerror if isinstance(error, OSError) else "a loop of symbolic links"
        raise _UnreadableError(f"cannot be read: {reason}", "check that it exists and its mode") from error
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        message = f"byte {raw[error.start]:#04x} is no UTF-8"
        raise _UnreadableError(message, "save the file as UTF-8", line) from error


def _syntax(message: str, text: str) -> tuple[str, int | None]:
    where = _AT_LINE.search(message)
    if where is None:
        return f"is no valid TOML: {message[:200]}", None
    line = int(where[1]) if where[1] else text.count("\n") + 1
    return f"is no valid TOML: {message[: where.start()][:200]}", line


def _frozen(value: Any) -> Any:
    """Return the value with every list made a tuple, which is what the frozen models hold."""
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return tuple(_frozen(inner) for inner in value)
    return value


def key_lines(text: str) -> dict[str, int]:
    """Return the 1-based line of every key and list item of a valid TOML text, by dotted path."""
    return _Scanner(text).scan()


class _Scanner:
    """Walks over valid TOML and notes where keys begin; values are skipped, not understood."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [index for index, char in enumerate(text) if char == "\n"]
        self._lines: dict[str, int] = {}
        self._lengths: dict[str, int] = {}  # of arrays of tables, by path

    def scan(self) -> dict[str, int]:
        table: tuple[str, ...] = ()
        self._space()
        while self._at < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
            self._space()
        return self._lines

    def _space(self) -> None:
        if found := _SPACE.match(self._text, self._at):
            self._at = found.end()

    def _note(self, path: tuple[str, ...], at: int) -> None:
        line = bisect_right(self._newlines, at - 1) + 1 if at else 1
        for length in range(1, len(path) + 1):
            self._lines.setdefault(".".join(path[:length]), line)

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        while found := _KEY.match(self._text, self._at):
            self._at = found.end()
            bare, basic, literal = found.groups()
            parts.append(bare or literal or _unescaped(basic or ""))
            if self._text[self._at : self._at + 1] != ".":
                break
            self._at += 1
        return tuple(parts)

    def _header(self) -> tuple[str, ...]:
        start = self._at
        many = self._text.startswith("[[", self._at)
        self._at += 2 if many else 1
        keys = self._key()
        self._at += 2 if many else 1
        path: tuple[str, ...] = ()
        for index, key in enumerate(keys):
            path = (*path, key)
            joined = ".".join(path)
            if many and index == len(keys) - 1:
                self._lengths[joined] = self._lengths.get(joined, 0) + 1
            if joined in self._lengths:
                path = (*path, str(self._lengths[joined] - 1))
        self._note(path, start)
        return path

    def _pair(self, table: tuple[str, ...]) -> None:
        start = self._at
        keys = self._key()
        if not keys:  # cannot happen in valid TOML; never stand still
            self._at = len(self._text)
            return
        path = (*table, *keys)
        self._note(path, start)
        self._space_then("=")
        self._value(path)

    def _space_then(self, char: str) -> None:
        self._space()
        if self._text[self._at : self._at + 1] == char:
            self._at += 1
            self._space()

    def _value(self, path: tuple[str, ...]) -> None:
        first = self._text[self._at : self._at + 1]
        if first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        elif found := (_STRING if first in {'"', "'"} else _SCALAR).match(self._text, self._at):
            self._at = found.end()

    def _array(self, path: tuple[str, ...]) -> None:
        self._space_then("[")
        index = 0
        while self._at < len(self._text) and self._text[self._at] != "]":
            item = (*path, str(index))
            self._note(item, self._at)
            self._value(item)
            self._space_then(",")
            index += 1
        self._at += 1

    def _inline_table(self, path: tuple[str, ...]) -> None:
        self._space_then("{")
        while self._at < len(self._text) and self._text[self._at] != "}":
            self._pair(path)
            self._space_then(",")
        self._at += 1


def _unescaped(basic: str) -> str:
    if "\\" not in basic:
        return basic
    return str(next(iter(tomllib.loads(f'"{basic}" = 0'))))
