"""Tables of contents of layers: what each layer says of every path, and the one place that stacks them.

Rules: a table is made from a layer alone and is the same whatever it lies on; what depends on the layers
below (deletions, directories nobody named, links down) is kept as facts of the layer and applied by `Stack`,
as an engine would. Paths and facts stay the bytes that `tocline` writes until somebody looks, so that two
images are compared as sets of lines.
Grammar of layers: OCI image specification, "Image Layer Filesystem Changeset".
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.domain.tocline import escaped, facts_of, line_of, normal, unescaped
from pipeline.errors import RegistryError

__all__ = [
    "WHITEOUT",
    "LayerBuilder",
    "LayerToc",
    "Stack",
    "decoded",
    "encoded",
    "escaped",
    "facts_of",
    "line_of",
    "normal",
    "stacked",
    "unescaped",
    "within",
]

WHITEOUT = ".wh."
"""Names that begin so delete in a layer; no file of an image can be called so."""

_MARK = WHITEOUT.encode()
_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
_PATHS_LIMIT = 5_000_000
_IMPLIED = b"d\t755\t0\t0\t0\t\t"
_DIRECTORY = ord("d")
_HINT = "the image was pushed by a broken tool; build and push it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerToc:
    """What one layer says.

    Attributes:
        entries: Path to facts, as `line_of` writes them.
        times: Path to modification time, in decimal digits.
        implied: Directories on the way to something that the layer does not name itself.
        gone: Paths it deletes from the layers below.
        opaque: Directories whose contents below it hides.
        links: Hard links to files of the layers below: path and target.
        size: Bytes of all files in it.
        kept: SHA-256 of contents that were kept, with their place among the layer's kept contents.
    """

    entries: Mapping[bytes, bytes]
    times: Mapping[bytes, bytes]
    implied: tuple[bytes, ...] = ()
    gone: tuple[bytes, ...] = ()
    opaque: tuple[bytes, ...] = ()
    links: tuple[tuple[bytes, bytes], ...] = ()
    kept: Mapping[bytes, tuple[int, int]] = field(default_factory=dict)
    size: int = 0


class LayerBuilder:
    """Takes the members of one layer in their order and gives its table.

    Args:
        most_bytes: Of all paths and facts together; a layer with more is refused.
    """

    def __init__(self, *, most_bytes: int = 512 << 20) -> None:
        self._room = most_bytes
        self._entries: dict[bytes, bytes] = {}
        self._times: dict[bytes, bytes] = {}
        self._order: dict[bytes, int] = {}
        self._parents: set[bytes] = set()
        self._settled: set[bytes] = set()
        self._replaced: dict[bytes, int] = {}
        self._gone: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._links: dict[bytes, bytes] = {}
        self._count = 0

    def take(self, name: bytes, line: bytes, mtime: int) -> bytes:
        """Take a member.

        Args:
            name: Its name as written.
            line: Its facts (see `line_of`).
            mtime: Seconds since the epoch.

        Returns:
            Its path; empty when the member was no entry but a deletion.

        Raises:
            RegistryError: The name climbs out of the image.
        """
        path = normal(name)
        self._count += 1
        self._use(len(path) + len(line))
        parent, _, last = path.rpartition(b"/")
        if last.startswith(_MARK):
            self._delete(parent, last)
            return b""
        self._put(path, line, b"%d" % mtime)
        return path

    def link(self, name: bytes, target: bytes) -> None:
        """Take a hard link.

        Raises:
            RegistryError: A name climbs, or the target is a directory of the layer.
        """
        path, target = normal(name), normal(target)
        self._count += 1
        self._use(len(path) + len(target))
        target = self._links.get(target, target)
        line = self._entries.get(target)
        if line is not None:
            if line[0] == _DIRECTORY:
                raise _broken(f"links {_shown(path)} to {_shown(target)}, which is no file")
            self._put(path, line, self._times[target])
        else:
            self._put(path, b"-", b"0")
            del self._entries[path], self._times[path]
            self._links[path] = target

    def finish(self) -> LayerToc:
        """Return the table."""
        self._settle_links()
        paths = self._without_replaced(sorted(self._entries))
        implied = self._unnamed((*paths, *self._links))
        return LayerToc(
            entries={path: self._entries[path] for path in paths},
            times={path: self._times[path] for path in paths},
            implied=tuple(sorted(implied)),
            gone=tuple(sorted(self._gone)),
            opaque=tuple(sorted(self._opaque)),
            links=tuple(sorted(self._links.items())),
            size=sum(int(line.split(b"\t", 5)[4]) for line in self._entries.values()),
        )

    def _delete(self, parent: bytes, name: bytes) -> None:
        if name == _OPAQUE:
            self._opaque.add(parent or b"/")
        elif not name.startswith(_META):  # the rest of `.wh..wh.` was private to AUFS
            deleted = name.removeprefix(_MARK)
            if deleted in (b"", b".", b".."):
                raise _broken(f"deletes {deleted!r} in {_shown(parent or b'/')}, which is no name")
            self._gone.add(parent + b"/" + deleted)

    def _use(self, size: int) -> None:
        self._room -= size
        if self._count > _PATHS_LIMIT or self._room < 0:
            raise _broken(f"says more than a table can hold, after {self._count} entries")

    def _put(self, path: bytes, line: bytes, mtime: bytes) -> None:
        self._lead_to(path)
        if line[0] == _DIRECTORY:
            self._displace(path)
        elif path in self._parents:
            self._replaced[path] = self._count
            self._settled.clear()  # what lay below is no longer led to
        self._entries[path], self._times[path], self._order[path] = line, mtime, self._count
        self._links.pop(path, None)

    def _lead_to(self, path: bytes) -> None:
        """Note the directories on the way; what the layer had there before gives way to them."""
        parent = path.rpartition(b"/")[0]
        while parent and parent not in self._settled:
            if parent not in self._parents:  # one long name may stand for two thousand directories
                self._use(len(parent))
            self._parents.add(parent)
            self._settled.add(parent)
            self._displace(parent)
            parent = parent.rpartition(b"/")[0]

    def _displace(self, path: bytes) -> None:
        """Take away what is no directory, and what it had taken the place of below."""
        line = self._entries.get(path)
        if path in self._links or (line is not None and line[0] != _DIRECTORY):
            self._gone.add(path)
            self._links.pop(path, None)
            self._entries.pop(path, None)

    def _settle_links(self) -> None:
        """Resolve links to what came later in the layer; the rest point to the layers below."""
        for path, target in list(self._links.items()):
            line = self._entries.get(target)
            if line is not None and line[0] != _DIRECTORY:
                self._put(path, line, self._times[target])

    def _without_replaced(self, paths: list[bytes]) -> list[bytes]:
        """Drop what lay below a directory that something else took the place of."""
        for top, when in self._replaced.items():
            for path in within(paths, top):
                if self._order[path] < when:
                    self._entries.pop(path, None)
        return [path for path in paths if path in self._entries] if self._replaced else paths

    def _unnamed(self, paths: Iterable[bytes]) -> set[bytes]:
        found: set[bytes] = set()
        for path in paths:
            parent = path.rpartition(b"/")[0]
            while parent and parent not in self._entries and parent not in found:
                found.add(parent)
                parent = parent.rpartition(b"/")[0]
        return found


class Stack:
    """Layers applied one over the other: the merged paths of an image.

    Attributes:
        lines: Path to facts, as `line_of` writes them.
        times: Path to modification time, in decimal digits.
        below: The stack it began as; None for one that began empty.
        touched: Paths that may be other than `below` has them; of a stack that began empty nothing is kept.
    """

    def __init__(self, below: Stack | None = None) -> None:
        self.below = below
        self.touched: set[bytes] = set()
        self.lines: dict[bytes, bytes] = below.lines if below else {}
        self.times: dict[bytes, bytes] = below.times if below else {}
        self._borrowed = below is not None  # until the first layer: most often there is none

    def apply(self, layer: LayerToc) -> None:
        """Put the next layer on top.

        Raises:
            RegistryError: The layer links to what no layer has.
        """
        if self._borrowed:
            self.lines, self.times, self._borrowed = dict(self.lines), dict(self.times), False
        hidden = self._hidden(layer)
        if self.below is not None:
            self.touched.update(hidden, layer.entries, layer.implied, (path for path, _ in layer.links))
        for path in hidden:
            del self.lines[path], self.times[path]
        self.lines.update(layer.entries)
        self.times.update(layer.times)
        for path in layer.implied:
            if self.lines.get(path, b"-")[0] != _DIRECTORY:
                self.lines[path], self.times[path] = _IMPLIED, b"0"
        for path, target in layer.links:
            line = self.lines.get(target)
            if line is None or line[0] == _DIRECTORY:
                raise _broken(f"links {_shown(path)} to {_shown(target)}, which is no file")
            self.lines[path], self.times[path] = line, self.times[target]
        if len(self.lines) > _PATHS_LIMIT:
            raise RegistryError(f"the image has more than {_PATHS_LIMIT} paths", hint=_HINT)

    def _hidden(self, layer: LayerToc) -> set[bytes]:
        """Return the paths of the layers below that a layer takes away."""
        hidden = {path for path in layer.gone if path in self.lines}
        emptied = [path for path in hidden if self.lines[path][0] == _DIRECTORY]
        emptied += layer.opaque
        emptied += [path for path in self._met(layer) if self.lines[path][0] == _DIRECTORY]
        if emptied:
            paths = sorted(self.lines)
            for top in emptied:
                hidden.update(within(paths, top))
        return hidden

    def _met(self, layer: LayerToc) -> Iterator[bytes]:
        """Yield the paths below that something other than a directory takes the place of."""
        lines = self.lines
        yield from (path for path, line in layer.entries.items() if line[0] != _DIRECTORY and path in lines)
        yield from (path for path, _ in layer.links if path in lines)


def stacked(layers: Iterable[LayerToc], below: Stack | None = None) -> Stack:
    """Return layers applied one over the other, the first at the bottom or on what is given."""
    stack = Stack(below)
    for layer in layers:
        stack.apply(layer)
    return stack


def within(paths: list[bytes], top: bytes) -> Iterator[bytes]:
    """Yield those of sorted paths that lie below one, itself left out."""
    prefix = b"/" if top == b"/" else top + b"/"
    for at in range(bisect_left(paths, prefix), len(paths)):
        if not paths[at].startswith(prefix):
            return
        if paths[at] != top:
            yield paths[at]


def encoded(layer: LayerToc) -> bytes:
    """Return a table as bytes; the same table always gives the same ones."""
    times = [*layer.times.values()]
    sections = (
        layer.entries,
        layer.entries.values(),
        times[:1] if len(set(times)) == 1 else times,  # a layer built for reproducibility has one time
        layer.implied,
        layer.gone,
        layer.opaque,
        (path + b"\t" + target for path, target in layer.links),
        (b"%d" % layer.size,),
        (b"%s\t%d\t%d" % (sha256, *place) for sha256, place in sorted(layer.kept.items())),
    )
    return b"\0".join(b"\n".join(section) for section in sections)


def decoded(data: bytes) -> LayerToc:
    """Return the table that `encoded` wrote.

    Raises:
        ValueError: The bytes are no table.
    """
    paths, lines, times, implied, gone, opaque, links, size, kept = (
        tuple(section.split(b"\n")) if section else () for section in data.split(b"\0")
    )
    every = times * len(paths) if len(times) == 1 else times
    places = (line.split(b"\t") for line in kept)
    return LayerToc(
        entries=dict(zip(paths, lines, strict=True)),
        times=dict(zip(paths, every, strict=True)),
        implied=implied,
        gone=gone,
        opaque=opaque,
        links=tuple((path, target) for path, target in (line.split(b"\t") for line in links)),
        size=int(size[0]),
        kept={sha256: (int(at), int(size)) for sha256, at, size in places},
    )


def _shown(path: bytes) -> str:
    return repr(unescaped(path))[:200]


def _broken(does: str) -> RegistryError:
    return RegistryError(f"the layer {does}", hint=_HINT)
