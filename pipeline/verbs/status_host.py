"""`pipeline status HOST`: wanted, channel, booted, staged and fallback of one host.

Rules: what the host itself says goes before what the ledger remembers, and each line tells which of the two
it is and how old; a host or a registry that does not answer is told beside what is known, and hides nothing.
"""

from __future__ import annotations

import datetime as dt
import shlex
from collections.abc import Callable, Iterator
from typing import Protocol

from pipeline.domain.hostcontrol.plan import release_commands
from pipeline.domain.hostcontrol.state import BootEntry, HostState, Timer
from pipeline.domain.image import ImageRef
from pipeline.domain.lineage import CHANNEL
from pipeline.domain.oci import Descriptor
from pipeline.domain.overview import HostView, Overview, image_named
from pipeline.domain.record import LedgerReader
from pipeline.domain.release import Deployment, Seal
from pipeline.domain.seen import HostReport, Line, Source
from pipeline.domain.trouble import HostStatus, badness, host_troubles
from pipeline.errors import PipelineError
from pipeline.verbs.releases import latest_records


class Tags(Protocol):
    """The registry, as far as a channel's tag needs it."""

    def resolve(self, ref: ImageRef) -> Descriptor:
        """Return what a reference names now."""


def host_status(
    ledger: LedgerReader,
    host: str,
    *,
    defined: frozenset[str],
    tags: Tags,
    ask: Callable[[], HostState] | None,
    now: dt.datetime,
    line: str | None = None,
) -> HostReport:
    """Return how one host stands.

    Args:
        ledger: Where the records are.
        host: Its name, or `LINE/NAME`.
        defined: The hosts' images of the definitions, `line/host`.
        tags: The registry.
        ask: Asks the host; None when there is no access to it.
        now: UTC, whole seconds.
        line: The line that is asked for, or the default one.

    Raises:
        NotFoundError: There is no such host.
        UsageError: Several lines have it.
        LedgerError: The ledger is damaged, rewritten or not understood.
    """
    records, stale = latest_records(ledger)
    overview = Overview(records)
    name = image_named(host, {*defined, *(view.name for view in overview.hosts)}, line)
    view = overview.host(name)
    state, failure = _asked(ask)
    channel = overview.lineage.channel(name)
    lines = (
        *_wanted(view, overview),
        *_channel(name, overview, tags),
        *(_of_host(state, name, overview) if state is not None else _of_ledger(view, overview)),
    )
    troubles = host_troubles(HostStatus(view=view, channel=channel), overview, now)
    notices = (stale, *_differences(lines, view), *_own_words(state), *_bad(lines, overview))
    return HostReport(
        now=now,
        name=name,
        host=view.host,
        lines=lines,
        troubles=tuple(sorted(troubles, key=lambda one: one.severity)),
        notices=tuple(filter(None, notices)),
        state=state,
        failure=failure,
    )


def _asked(ask: Callable[[], HostState] | None) -> tuple[HostState | None, PipelineError | None]:
    if ask is None:
        return None, None
    try:
        return ask(), None
    except PipelineError as error:
        return None, error


def _recorded(role: str, record: Deployment | Seal, overview: Overview, says: str = "") -> Line:
    return Line(
        role=role,
        source=Source.LEDGER,
        digest=record.digest,
        seal=overview.lineage.at(record.name, record.digest),
        says=says,
        time=record.time,
    )


def _wanted(view: HostView, overview: Overview) -> Iterator[Line]:
    if view.wanted is not None:
        yield _recorded("wanted", view.wanted, overview, view.wanted.why)
    elif view.failed is not None:
        yield _recorded("wanted", view.failed, overview, f"failed: {view.failed.why}")
    elif view.runs is not None:
        yield _recorded("wanted", view.runs, overview, "it is there")
    else:
        yield Line(role="wanted", source=Source.LEDGER, says="nothing was ever asked of this host")


def _channel(name: str, overview: Overview, tags: Tags) -> Iterator[Line]:
    moved = overview.lineage.channel(name)
    if moved is None:
        yield Line(role="channel", source=Source.LEDGER, says="none: nothing of it was released")
        return
    by = f"moved by {moved.kind}: {moved.why}"
    yield _recorded("channel", moved, overview, by)
    ref = moved.repository.tagged(CHANNEL)
    try:
        digest = tags.resolve(ref).digest
    except PipelineError as error:
        yield Line(role="tag", source=Source.REGISTRY, says=f"not known: {error.message}")
        return
    yield Line(
        role="tag",
        source=Source.REGISTRY,
        digest=digest,
        seal=overview.lineage.at(name, digest),
        says="" if digest == moved.digest else "NOT what the ledger says: run `pipeline audit`",
    )


def _of_ledger(view: HostView, overview: Overview) -> Iterator[Line]:
    unknown = "unknown: no boot of it was ever recorded"
    if view.runs is None:
        yield Line(role="booted", source=Source.LEDGER, says=unknown)
    else:
        yield _recorded("booted", view.runs, overview)
    if view.staged is not None:
        yield _recorded("staged", view.staged, overview)
    if view.fallback is not None:
        yield Line(
            role="fallback",
            source=Source.LEDGER,
            digest=view.fallback.digest,
            seal=overview.lineage.at(view.name, view.fallback.digest),
            says="what it ran before",
        )
    else:
        yield Line(role="fallback", source=Source.LEDGER, says="unknown")


def _of_host(state: HostState, name: str, overview: Overview) -> Iterator[Line]:
    told = {role for role, _ in state.entries()}
    for role, entry in state.entries():
        yield _entry(role, entry, name, overview)
    for role in ("booted", "staged", "fallback"):
        if role not in told:
            known = "the host does not tell" if role in state.unknown or role == "booted" else "none"
            yield Line(role=role, source=Source.HOST, says=known)


def _entry(role: str, entry: BootEntry, name: str, overview: Overview) -> Line:
    seal = None if entry.digest is None else overview.lineage.at(name, entry.digest)
    stays = ", a reboot alone does not boot it" if entry.held else ""
    return Line(role=role, source=Source.HOST, digest=entry.digest, seal=seal, says=f"{entry}{stays}")


def _differences(lines: tuple[Line, ...], view: HostView) -> Iterator[str]:
    """Yield in what the host itself differs from what was recorded of it."""
    booted = next(one for one in lines if one.role == "booted")
    if booted.source is not Source.HOST or booted.digest is None:
        return
    if booted.seal is None:
        yield "it runs an image that is no release of it"
    elif view.runs is not None and view.runs.digest != booted.digest:
        yield f"the ledger saw it boot v{view.runs.version} last; it was moved without a record"


def _own_words(state: HostState | None) -> Iterator[str]:
    if state is None:
        return
    if state.queued:
        yield "a rollback is queued: its next boot is the fallback"
    if state.busy:
        yield f"it is busy: {state.busy}"
    if state.read_only:
        yield "it runs from a medium that cannot be changed"
    for timer in state.timers:
        yield from _timer(timer)


def _timer(timer: Timer) -> Iterator[str]:
    again = " && ".join(map(shlex.join, release_commands(timer)))
    if timer.masked and timer.held:
        yield (
            f"{timer.unit} is masked since a rollback, and the host does not update itself: run the rollback "
            f"again, or on the host: {again}"
        )
    elif timer.active:
        yield f"{timer.unit} updates it by itself"
    elif timer.enabled:
        yield f"{timer.unit} is stopped until the next boot; on the host: systemctl start {timer.unit}"


def _bad(lines: tuple[Line, ...], overview: Overview) -> Iterator[str]:
    """Yield what the host itself has that nothing should run."""
    for one in lines:
        bad = None if one.seal is None else badness(one.seal, overview)
        if one.source is Source.HOST and one.seal is not None and bad is not None:
            yield f"{one.role} is v{one.seal.version}, {bad[1]}"
