"""Finds the line of a build log that says why the build failed.

Rules: a cause beats what merely passes a failure on, wherever it stands (DKMS prints its make.log after its
own verdict, make repeats one error once per level); of causes of one kind the first wins, for compilers
stumble on after it. Echoed commands (podman's `STEP`, shell traces, configure's questions) are never errors,
however they read. The text is made harmless (`domain.text`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from operator import itemgetter

from pipeline.domain.text import plain, without_ansi

_LONGEST = 4000
"""Characters of a line that are looked at; command lines of kernel builds have no bound."""

_ENGINE = re.compile(r'(?:Error|error|ERRO\[\d+\])[: ] ?(?:error )?building at STEP ".*": (?P<rest>.+)')
_STAGE = re.compile(r"^(?:\[\d+/\d+\] )+")
_ECHO = re.compile(
    r"STEP \d+(?:/\d+)?: |--> |COMMIT\b|\++ |# command: |checking |configure:\d+: checking "
    r"| *CONFTEST: |(?:W|WARNING|warning): "
)
_OPEN = re.compile(r"(?:configure: error|Error):?\s*$")
"""Lines whose text stands on the next line."""

_RANKS: tuple[re.Pattern[str], ...] = (
    # The compiler, the linker, modpost, a script that looked at the system, the disk.
    re.compile(
        r"^[^:]+:\d+(?::\d+)?: (?:fatal )?[Ee]rror: "
        r"|\b(?:fatal|internal compiler) error: "
        r"|\bundefined reference to "
        r"|\bld(?:\.\w+)?: (?:error: |cannot find )"
        r"|^(?:ERROR|FATAL): modpost: "
        r"|^configure: error: "
        r"|^error(?:\[E\d+\]|: objtool): "
        r"|\bNo space left on device\b"
    ),
    # What a package manager misses.
    re.compile(
        r"^(?:Error: )?(?:No match for argument|Unable to find a match)\b"
        r"|\bnothing provides "
        r"|^(?: *- )?(?:Curl error \(|Status code: [45])"
        r"|^Error: (?:Failed to download|GPG check|Transaction )"
        r"|^E: (?!Sub-process )"
        r"|^dpkg: error: "
        r"|^dpkg: dependency problems prevent"
        r"|^make(?:\[\d+\])?: \*\*\* (?!\[|Waiting ).*Stop\."
    ),
    # What solves and what finishes a module, where nothing above says more.
    re.compile(
        r"^(?:pahole|resolve_btfids|sign-file): "
        r"|^ *Problem(?: \d+)?: |^Errors during downloading |^error: Failed dependencies"
    ),
    # Those who pass a failure on, from the inside out.
    re.compile(
        r"^(?:make|gmake)(?:\[\d+\])?: \*\*\* \[.*\] (?:Error \d+|Killed|Terminated)|^collect2: error: "
    ),
    re.compile(r"^Error! |\bBUILD_EXCLUSIVE directive which does not match"),
    re.compile(r"^dpkg: error processing "),
    re.compile(r"^E: Sub-process "),
    # Anything that calls itself an error.
    re.compile(r"(?:^|[\s:])(?:error|fatal|failed)(?::|!)|: (?:command )?not found$", re.IGNORECASE),
)

_NO_ERROR = len(_RANKS) + 1
"""After the ranks and the engine's own last line."""


def first_error(lines: Iterable[str]) -> str | None:
    """Return the line that explains the failure as plain text, or None when no line looks like an error.

    Args:
        lines: The log, oldest line first, with or without line ends.
    """
    best: tuple[int, str] | None = None
    pending = ""
    for raw in lines:
        line = _clean(raw)
        if not line or _ECHO.match(line):
            continue
        if _OPEN.match(line):
            pending = line
            continue
        joined = f"{pending} " + line.lstrip("* \t") if pending else line
        rank, text = min(_judge(joined), _judge(line), key=itemgetter(0))
        pending = ""
        if rank < _NO_ERROR and (best is None or rank < best[0]):
            best = (rank, text)
        if rank == 0:
            break
    if best is None:
        return plain(pending) if pending else None
    return plain(best[1].strip())


def _clean(raw: str) -> str:
    text = without_ansi(raw[:_LONGEST]).rstrip()
    return _STAGE.sub("", text.rpartition("\r")[2])


def _judge(line: str) -> tuple[int, str]:
    """Return the rank of a line, 0 best, and its text."""
    engine = _ENGINE.match(line)
    if engine:
        return len(_RANKS), engine["rest"]
    ranks = (rank for rank, pattern in enumerate(_RANKS) if pattern.search(line))
    return next(ranks, _NO_ERROR), line
