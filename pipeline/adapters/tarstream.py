"""A tar archive read as it comes, without a file and without trust: the members of an image's layer.

Rules: nothing is sought and nothing is held but one header and one piece of content; every length is checked
against a limit before it is read; what is not understood is an error, never skipped, for an engine might lay
it down. Names stay bytes. Formats: POSIX ustar and pax (IEEE 1003.1), GNU long names and base-256 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pipeline.errors import RegistryError

BLOCK = 512
_LONGEST_NAME = 4095  # PATH_MAX without its NUL
_LONGEST_VALUE = 64 << 10  # XATTR_SIZE_MAX
_LARGEST_HEADER = 4 << 20
_LARGEST_FILE = 1 << 44
_ZERO = bytes(BLOCK)
_XATTR = b"SCHILY.xattr."
_HEADER_ONLY = frozenset(b"123456")
_FILE = ord("0")
_DIRECTORY = ord("5")
_HINT = "the image was pushed by a broken tool; build and push it again"


@dataclass(slots=True)
class Member:
    """One member of an archive: what its header says, pax records and long names applied.

    Attributes:
        name: Path as written.
        kind: The type flag, one character.
        mode: Permission bits with setuid, setgid and sticky.
        uid: Owner.
        gid: Group.
        size: Bytes of content that follow.
        mtime: Seconds since the epoch.
        target: Of a link, as written.
        xattrs: Extended attributes by name.
        device: Major and minor number.
    """

    name: bytes
    kind: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    target: bytes
    xattrs: Mapping[bytes, bytes]
    device: tuple[int, int]


class TarStream:
    """Iterates over the members; the content of the one just given is read by `content`.

    Args:
        pieces: The archive's bytes, in pieces of any length.
        what: What it is, for messages.
    """

    def __init__(self, pieces: Iterator[bytes], what: str) -> None:
        self._pieces = pieces
        self._what = what
        self._piece = memoryview(b"")
        self._left = 0
        self._padding = 0
        self._begun = False
        self._global: dict[bytes, bytes] = {}
        self._said = {False: 0, True: 0}  # bytes of headers before the next member, and of those for all

    def __iter__(self) -> Iterator[Member]:
        local: dict[bytes, bytes] = {}
        while (header := self._header()) is not None:
            member = self._member(header)
            if member.kind in b"xgLK":
                self._take(member, local)
                continue
            self._apply({**self._global, **local} if self._global else local, member)
            local, self._said[False] = {}, 0
            self._check(member)
            self._left = 0 if member.kind in _HEADER_ONLY else member.size
            self._padding = -self._left % BLOCK
            yield member
            for _ in self.content():
                pass
            self._skip_padding()
        self._drain()

    def content(self) -> Iterator[memoryview]:
        """Yield what is left of the content of the member given last, in pieces."""
        while self._left:
            part = self._some(self._left)
            self._left -= len(part)
            yield part

    def _header(self) -> bytes | None:
        block = self._exactly(BLOCK, ended=self._begun)  # not even an empty archive is nothing
        self._begun = True
        return None if block in (b"", _ZERO) else block

    def _member(self, block: bytes) -> Member:
        told = self._number(block[148:156])
        if told != sum(block) - sum(block[148:156]) + 8 * 0x20:
            raise self._broken("a header with a wrong checksum")
        prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
        name = block[:100].split(b"\0", 1)[0]
        kind = block[156] or _FILE
        return Member(
            name=prefix + b"/" + name if prefix else name,
            kind=kind,
            mode=self._number(block[100:108]) & 0o7777,
            uid=self._number(block[108:116]),
            gid=self._number(block[116:124]),
            size=self._number(block[124:136]),
            mtime=self._signed(block[136:148]),
            target=block[157:257].split(b"\0", 1)[0],
            xattrs={},
            device=(self._number(block[329:337]), self._number(block[337:345])) if kind in b"34" else (0, 0),
        )

    def _take(self, member: Member, local: dict[bytes, bytes]) -> None:
        """Read a member that only says something of the next one, or of all that follow."""
        everyone = member.kind == ord("g")
        self._said[everyone] += member.size
        if self._said[everyone] > _LARGEST_HEADER:
            raise self._broken(f"a header of {self._said[everyone]} bytes")
        data = self._exactly(member.size)
        self._exactly(-member.size % BLOCK)
        if member.kind == ord("L"):
            local[b"path"] = data.split(b"\0", 1)[0]
        elif member.kind == ord("K"):
            local[b"linkpath"] = data.split(b"\0", 1)[0]
        else:
            (self._global if everyone else local).update(self._records(data))

    def _records(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 12)
            length = data[at:space]
            end = at + int(length) if space > 0 and length.isdigit() else 0
            key, equals, value = data[space + 1 : end - 1].partition(b"=")
            if not space < end <= len(data) or data[end - 1 : end] != b"\n" or not equals:
                raise self._broken("a pax header that makes no sense")
            yield key, value
            at = end

    def _apply(self, records: Mapping[bytes, bytes], member: Member) -> None:
        xattrs: dict[bytes, bytes] = {}
        for key, value in records.items():
            if key == b"path":
                member.name = value
            elif key == b"linkpath":
                member.target = value
            elif key in (b"uid", b"gid", b"size"):
                setattr(member, key.decode(), self._decimal(value))
            elif key == b"mtime":
                member.mtime = self._seconds(value)
            elif key.startswith(_XATTR):
                xattrs[key[len(_XATTR) :]] = value
            elif key.startswith(b"GNU.sparse."):
                raise self._broken(f"{member.name[:200]!r} as a sparse file, which no image has")
        member.xattrs = xattrs
        if member.kind == _FILE and member.name.endswith(b"/"):  # how directories were written before ustar
            member.kind = _DIRECTORY

    def _check(self, member: Member) -> None:
        if max(len(member.name), len(member.target)) > _LONGEST_NAME:
            raise self._broken(f"a name of more than {_LONGEST_NAME} bytes: {member.name[:80]!r}…")
        if b"\0" in member.name or b"\0" in member.target:
            raise self._broken(f"a name with a NUL byte in it: {member.name[:200]!r}")
        if member.size > _LARGEST_FILE:
            raise self._broken(f"{member.name[:200]!r} with {member.size} bytes")
        for name, value in member.xattrs.items():
            if len(value) > _LONGEST_VALUE or len(name) > 255:  # noqa: PLR2004 - XATTR_NAME_MAX
                raise self._broken(
                    f"{member.name[:200]!r} with an attribute of {len(value)} bytes: {name[:80]!r}"
                )

    def _number(self, field: bytes) -> int:
        found = self._signed(field)
        if found < 0:
            raise self._broken(f"a number below zero in a header: {field!r}")
        return found

    def _signed(self, field: bytes) -> int:
        if field[0] & 0x80:  # GNU: base 256, the second highest bit is the sign
            value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
            return value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value
        text = field.strip(b" \0")
        if not text:
            return 0
        if not text.isdigit() or b"8" in text or b"9" in text:
            raise self._broken(f"a number in a header that is none: {field!r}")
        return int(text, 8)

    def _decimal(self, value: bytes) -> int:
        if not value.isdigit() or len(value) > 20:  # noqa: PLR2004 - 64 bits
            raise self._broken(f"a number in a pax header that is none: {value[:40]!r}")
        return int(value)

    def _seconds(self, value: bytes) -> int:
        whole, _, rest = value.partition(b".")
        digits = whole.removeprefix(b"-")
        seconds = -self._decimal(digits) if digits != whole else self._decimal(whole)
        return seconds - 1 if seconds < 0 and rest.strip(b"0") else seconds

    def _exactly(self, count: int, *, ended: bool = False) -> bytes:
        if len(self._piece) >= count:
            part, self._piece = self._piece[:count], self._piece[count:]
            return bytes(part)
        parts: list[memoryview] = []
        missing = count
        while missing:
            part = self._some(missing, ended=ended and missing == count)
            if not part:
                return b""
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _some(self, most: int, *, ended: bool = False) -> memoryview:
        while not self._piece:
            piece = next(self._pieces, None)
            if piece is None:
                if ended:
                    return memoryview(b"")
                raise self._broken("an end in the middle of a file")
            self._piece = memoryview(piece)
        part, self._piece = self._piece[:most], self._piece[most:]
        return part

    def _skip_padding(self) -> None:
        if self._padding:
            self._exactly(self._padding)
            self._padding = 0

    def _drain(self) -> None:
        self._piece = memoryview(b"")
        for _ in self._pieces:  # the end is where digests are checked
            pass

    def _broken(self, has: str) -> RegistryError:
        return RegistryError(f"{self._what} has {has}", hint=_HINT)
