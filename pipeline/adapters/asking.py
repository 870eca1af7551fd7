"""What the two package managers' adapters share: scripts run in the image, and answers in sections.

Rules: arguments reach a script as arguments, never as part of its text; a name or version that is not
plain is passed over, because it would travel on into Containerfile arguments; a script's answer is
`== name` lines with the section's lines below, each marked by a leading `|` so that no content can pose as
a heading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.domain.kernel import DeclaredRange, Workshop, parse_dkms_conf, parse_meta
from pipeline.errors import ToolFailedError

PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:~^-]{0,200}")
"""A package name, version or kernel release as rpm and dpkg allow them, and nothing a shell would expand."""

_TAIL_LINES = 20


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
