"""What the two package managers' adapters share: scripts run in the image, and answers in sections.

Rules: arguments reach a script as arguments, never as part of its text; a name or version that is not
plain is passed over, because it would travel on into Containerfile arguments; a script's answer is
`== name` lines with the section's lines below, each marked by a leading `|` so that no content can pose as
a heading.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar

from pipeline.domain.kernel import DeclaredRange, Workshop, parse_dkms_conf, parse_meta
from pipeline.errors import ToolFailedError

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:~^-]{0,200}")
"""A package name, version or kernel release as rpm and dpkg allow them, and nothing a shell would expand."""

_TAIL_LINES = 20
_TIMEOUT = 900.0


class Offering(Protocol):
    """What an image's repositories offer."""

    @property
    def offered(self) -> Mapping[str, tuple[str, ...]]:
        """Package name to the versions offered, newest first."""


_Offering = TypeVar("_Offering", bound=Offering)


class Questions(Generic[_Offering]):
    """A package manager's two scripts; the inventory is kept for the image that was asked last.

    Args:
        inventory: Script that prints what is installed and offered.
        declared: Script that prints META and dkms.conf of `package version dkms-name`.
        parse: Reads the inventory script's answer.
        words: Arguments both scripts get first.
    """

    def __init__(
        self,
        *,
        inventory: str,
        declared: str,
        parse: Callable[[str], _Offering],
        words: Sequence[str] = (),
    ) -> None:
        self._scripts = (inventory, declared)
        self._parse = parse
        self._words = tuple(words)
        self._known: tuple[Workshop, _Offering] | None = None

    def inventory(self, inside: Workshop) -> _Offering:
        """Return what an image has and is offered."""
        if self._known is None or self._known[0] is not inside:
            answer = ask(inside, self._scripts[0], self._words, what="the kernels on offer", timeout=_TIMEOUT)
            self._known = (inside, self._parse(answer))
        return self._known[1]

    def module_version(self, inside: Workshop, package: str) -> str | None:
        """Return the newest version offered of a package, or None."""
        return next(iter(self.inventory(inside).offered.get(package, ())), None)

    def declared(self, inside: Workshop, package: str, dkms: str) -> tuple[DeclaredRange, ...]:
        """Return what META and dkms.conf in the newest version of a package declare."""
        version = self.module_version(inside, package)
        if version is None:
            return ()
        what = f"the kernels {package} declares"
        words = [*self._words, package, version, dkms]
        return ranges(ask(inside, self._scripts[1], words, what=what, timeout=_TIMEOUT), dkms)


def ask(inside: Workshop, script: str, arguments: Sequence[str], *, what: str, timeout: float) -> str:
    """Run a shell script in the image and return what it printed.

    Raises:
        ToolFailedError: It failed; `what` says what was asked.
    """
    argv = ("sh", "-c", script, "pipeline", *arguments)
    done = inside(argv, timeout=timeout)
    if done.code != 0:
        lines = (done.stderr or done.stdout).splitlines()[-_TAIL_LINES:]
        last = lines[-1] if lines else f"exit code {done.code}"
        raise ToolFailedError(
            f"{what} could not be asked of the image's repositories: {last}",
            hint="look at the image's repositories, and whether this machine reaches them",
            argv=("sh", "-c", "…", *arguments),
            code=done.code,
            tail="\n".join(lines),
        )
    return done.stdout


def sections(text: str) -> dict[str, tuple[str, ...]]:
    """Split an answer into its sections; lines without a mark are passed over."""
    found: dict[str, list[str]] = {}
    current: list[str] = []
    for line in text.splitlines():
        if line.startswith("== "):
            current = found.setdefault(line[3:].strip(), [])
        elif line.startswith("|"):
            current.append(line[1:])
    return {name: tuple(lines) for name, lines in found.items()}


def ranges(answer: str, dkms: str) -> tuple[DeclaredRange, ...]:
    """Return what the sections META and dkms.conf of an answer declare."""
    parts = sections(answer)
    meta = parse_meta("\n".join(parts.get("META", ())), source=f"{dkms} META")
    conf = parse_dkms_conf("\n".join(parts.get("dkms.conf", ())), source=f"{dkms} dkms.conf")
    return tuple(declared for declared in (meta, conf) if declared is not None)


PRINT_SOURCES = r"""
# Prints META and dkms.conf of the DKMS source named $name below $tree.
show() {
    for file in "$tree"/usr/src/"$name"-[0-9]*/"$1"; do
        [ -f "$file" ] && [ ! -L "$file" ] || continue
        echo "== $1"
        head -c 65536 "$file" | sed 's/^/|/'
        echo
    done
}
show META
show dkms.conf
"""
