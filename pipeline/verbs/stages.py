"""Stages of a build: each with its own full log, its place in the progress, and its first real error line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.domain.logs import first_error
from pipeline.errors import BuildFailedError
from pipeline.verbs.ports import Run
from pipeline.verbs.source_files import digest_of

Work = Callable[[Path, Callable[[str], None]], int]
"""Does a stage's work: given the log and a listener for lines, returns an exit code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStage:
    """One call of the engine: name for people, context folder, file, build arguments, tag of the result."""

    name: str
    context: Path
    file: Path
    arguments: Mapping[str, str]
    tag: str
    squash: bool = False


def run_stage(run: Run, name: str, work: Work) -> Path:
    """Do a stage's work and return its log.

    Raises:
        BuildFailedError: The work's exit code is not 0; names the log and its first real error line.
    """
    log = run.folders.log(name)
    with run.reporter.stage(name, log=str(log)) as stage:
        code = work(log, stage.line)
        if code != 0:
            raise BuildFailedError(
                stage=name,
                first_error=first_error(_lines(log)) or f"exit code {code}, and no line of the log says why",
                log=str(log),
                log_digest=str(digest_of(log)),
            )
    return log


def run_engine(run: Run, stage: EngineStage, *, cancel: threading.Event | None = None) -> Path:
    """Build one image as a stage and return its log."""

    def work(log: Path, on_line: Callable[[str], None]) -> int:
        return run.engine.build(
            context=stage.context,
            file=stage.file,
            arguments=stage.arguments,
            tag=stage.tag,
            timestamp=run.timestamp,
            log=log,
            on_line=on_line,
            squash=stage.squash,
            cancel=cancel,
        )

    return run_stage(run, stage.name, work)


def _lines(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").splitlines()
