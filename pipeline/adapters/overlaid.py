"""Runs programs in a base with a host's layer laid over it: one throw-away container for all programs.

Rules: the container starts from the base that lies in the engine's store, has no network, and takes the
layer as the very bytes that will be pushed; nothing of it is kept. One shell in it reads requests (words,
length and bytes of the input) and answers with code, output and errors, each by its length: no text is
ever pasted into a command. Starting a container costs half a second, a request to one that runs almost
nothing.

Left out of the layer: the files that the engine itself mounts into every container.
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator, Sequence

from pipeline.adapters.engine import Engine
from pipeline.adapters.process import Pipes
from pipeline.domain.gate import CommandResult
from pipeline.domain.text import plain
from pipeline.errors import ToolFailedError

_AGENT = """\
trap 'exit 143' TERM
folder=$(mktemp -d) || exit 1
while IFS=' ' read -r count size; do
  set --
  while [ "$count" -gt 0 ]; do
    IFS= read -r word || exit 1
    set -- "$@" "$word"
    count=$((count - 1))
  done
  head -c "$size" > "$folder/in"
  "$@" < "$folder/in" > "$folder/out" 2> "$folder/err"
  echo "$? $(wc -c < "$folder/out") $(wc -c < "$folder/err")"
  cat "$folder/out" "$folder/err"
done 2> /dev/null
"""
_MOUNTED = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
_LONGEST = 1 << 26
_CONTAINER_SECONDS = 900
_TIMED_OUT = 124
"""What timeout(1) ends with when it had to stop the program."""


class OverlaidContainers:
    """Opens containers; safe to use from several threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextlib.contextmanager
    def opened(self, image: str, layer: bytes) -> Iterator[LaidOver]:
        """Start a container of a local image and lay a gzip layer over its files.

        Raises:
            ToolFailedError: It cannot be started, or the layer cannot be laid over it.
        """
        argv = ["/bin/sh", "-c", _AGENT]
        with self._engine.conversation(image, argv, seconds=_CONTAINER_SECONDS) as pipes:
            inside = LaidOver(pipes, image)
            inside.lay(layer)
            yield inside


class LaidOver:
    """Implements `domain.gate.Inside` on one running container; used by one thread at a time."""

    def __init__(self, pipes: Pipes, image: str) -> None:
        self._pipes = pipes
        self._image = image

    def lay(self, layer: bytes) -> None:
        """Unpack a gzip layer over the container's files.

        Raises:
            ToolFailedError: The image's tar refuses.
        """
        excluded = [f"--exclude={path}" for path in _MOUNTED]
        argv = ["tar", "--extract", "--file=-", "--directory=/", "--numeric-owner", "--preserve-permissions"]
        said = self._ask([*argv, "--anchored", *excluded], gzip.decompress(layer))
        if said.code != 0:
            raise self._failed(f"the host's files cannot be laid over the base: {plain(said.stderr, 400)}")

    def __call__(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        """Run a program; see `domain.gate.Inside`.

        Raises:
            ToolFailedError: It took longer than `timeout` seconds, or the container ended.
        """
        limited = ["timeout", "--kill-after=5", str(int(timeout)), *argv]
        said = self._ask(limited, stdin.encode("utf-8", "surrogateescape"))
        if said.code == _TIMED_OUT:
            raise self._failed(f"{argv[0]} did not end within {timeout:.0f} s")
        return said

    def _ask(self, argv: Sequence[str], stdin: bytes) -> CommandResult:
        words = [word.encode("utf-8", "surrogateescape") for word in _one_line(argv)]
        head = f"{len(words)} {len(stdin)}\n".encode()
        try:
            self._pipes.write(b"".join((head, *(word + b"\n" for word in words), stdin)))
            code, out, err = (min(int(number), _LONGEST) for number in self._pipes.line().split())
            stdout, stderr = self._pipes.read(out), self._pipes.read(err)
        except (ValueError, OSError) as error:
            told = plain(self._pipes.errors().strip() or str(error), 400)
            raise self._failed(f"the container ended early: {told}") from error
        return CommandResult(
            code=code, stdout=stdout.decode(errors="replace"), stderr=stderr.decode(errors="replace")
        )

    def _failed(self, message: str) -> ToolFailedError:
        return ToolFailedError(
            f"{message} (base {self._image})",
            hint="run `pipeline doctor`; it shows what the engine can do here",
            argv=(),
            code=None,
            tail="",
        )


def _one_line(argv: Sequence[str]) -> Iterator[str]:
    """Yield the words; a line break would be the end of a word, so words that hold one go by another way."""
    if not any("\n" in word for word in argv):
        yield from argv
        return
    # printf's %b undoes the spelling inside the container; the script is fixed, the words are its arguments.
    yield from ("/bin/sh", "-c", _UNSPELL, "sh", *(_spelled(word) for word in argv))


_UNSPELL = (
    'left=$#; while [ $left -gt 0 ]; do word=$(printf %b. "$1"); shift; set -- "$@" "${word%.}"; '
    'left=$((left - 1)); done; exec "$@"'
)
"""One line, as every word of a request is."""


def _spelled(word: str) -> str:
    return word.replace("\\", "\\\\").replace("\n", "\\n")
