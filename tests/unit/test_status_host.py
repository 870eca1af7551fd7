"""`pipeline status HOST`: what the host says before what the ledger remembers, and each with its source."""

from __future__ import annotations

import json

import pytest
from hostfakes import MemoryAccess
from hostmachine import Machine, State, machine_state
from memoryledger import ShelfLedger
from records import deployment, yank
from releasekit import base, host, later, shown

from pipeline.adapters.hosts import driver_for
from pipeline.domain.hostcontrol.state import BootEntry, HostState, System, Timer
from pipeline.domain.image import Digest, ImageRef
from pipeline.domain.oci import Descriptor
from pipeline.domain.record import Record
from pipeline.domain.release import Seal, Step
from pipeline.domain.seen import HostReport, Line, Source
from pipeline.errors import HostError, NotFoundError, RegistryError
from pipeline.render import status_host as render
from pipeline.verbs.hosts import status_of
from pipeline.verbs.status_host import host_status

OLD_BASE, OLD = base("1.0.0", 1)
WEB_BUILT, WEB = host("web-1", "1.0.0", 11, OLD)
WEB_NEXT_BUILT, WEB_NEXT = host("web-1", "1.1.0", 12, OLD)
ESTATE: tuple[Record, ...] = (OLD_BASE, OLD, WEB_BUILT, WEB, WEB_NEXT_BUILT, WEB_NEXT)
BOOTED = (deployment(WEB), deployment(WEB_NEXT, time=later(WEB_NEXT, hours=2)))
NOW = later(WEB_NEXT, hours=5)


class Tags:
    """A registry whose channels name one release."""

    def __init__(self, names: Seal | None) -> None:
        self.names = names
        self.asked: list[str] = []

    def resolve(self, ref: ImageRef) -> Descriptor:
        self.asked.append(str(ref))
        if self.names is None:
            raise RegistryError("127.0.0.1:5000 cannot be reached", hint="start it")
        return Descriptor(media_type="x/y", digest=self.names.digest, size=1)


def look(*records: Record, state: State | None = None, names: Seal | None = WEB_NEXT) -> HostReport:
    def ask() -> HostState:
        return status_of(driver_for(MemoryAccess(Machine(state or {}))))

    return host_status(
        ShelfLedger(*ESTATE, *records), "web-1", defined=frozenset(), tags=Tags(names),
        ask=None if state is None else ask, now=NOW,
    )  # fmt: skip


def line(found: HostReport, role: str) -> Line:
    return next(one for one in found.lines if one.role == role)


def test_the_ledger_tells_with_its_age_where_nobody_asks_the_host() -> None:
    found = look(*BOOTED)
    booted, fallback = line(found, "booted"), line(found, "fallback")
    assert (booted.source, booted.seal, booted.time) == (Source.LEDGER, WEB_NEXT, BOOTED[1].time)
    assert fallback.seal == WEB
    assert line(found, "wanted").says == "it is there"
    text = " ".join(shown(render.as_shown(found)).split())
    assert "booted v1.1.0 000000000000 the ledger, 3 h ago" in text
    assert "tag v1.1.0 000000000000 the registry, now" in text


def test_a_host_nobody_ever_deployed_to_is_unknown() -> None:
    found = look()
    assert line(found, "booted").says == "unknown: no boot of it was ever recorded"
    assert line(found, "fallback").says == "unknown"
    assert line(found, "wanted").says == "nothing was ever asked of this host"
    assert line(found, "channel").seal == WEB_NEXT


def test_the_channel_s_tag_is_asked_by_name_and_compared() -> None:
    tags = Tags(WEB)
    found = host_status(
        ShelfLedger(*ESTATE), "debian/web-1", defined=frozenset(), tags=tags, ask=None, now=NOW
    )
    assert tags.asked == ["127.0.0.1:5000/os/debian/web-1:current"]
    assert "NOT what the ledger says: run `pipeline audit`" in line(found, "tag").says
    gone = line(look(names=None), "tag")
    assert (gone.digest, gone.says) == (None, "not known: 127.0.0.1:5000 cannot be reached")


@pytest.mark.parametrize("system", ["bootc", "rpm-ostree"])
def test_what_the_host_says_goes_before_what_was_recorded(system: str) -> None:
    found = look(*BOOTED, state=machine_state(system, 11, 12))
    booted = line(found, "booted")
    assert (booted.source, booted.seal, booted.time) == (Source.HOST, WEB, None)
    assert line(found, "fallback").seal == WEB_NEXT
    assert line(found, "staged").says == "none"
    assert "the ledger saw it boot v1.1.0 last; it was moved without a record" in found.notices
    assert any("updates it by itself" in notice for notice in found.notices)
    assert f"managed by {system}" in shown(render.as_shown(found))


def test_what_a_host_keeps_to_itself_is_no_none() -> None:
    state = {**machine_state("bootc", 12, 11), "absent": ["status.staged", "status.rollback"]}
    found = look(*BOOTED, state=state)
    assert (line(found, "staged").says, line(found, "fallback").says) == ("the host does not tell",) * 2


def test_what_else_a_host_says_of_itself_is_told() -> None:
    state = HostState(
        system=System.BOOTC,
        booted=BootEntry(reference="r/os/web-1:current", digest=WEB_NEXT.digest),
        staged=BootEntry(digest=WEB.digest, held=True),
        others=(BootEntry(digest=WEB.digest, pinned=True),),
        queued=True,
        busy="an update",
        read_only=True,
        timers=(
            Timer(unit="a.timer", active=False, enabled=False),
            Timer(unit="b", active=True, enabled=True),
            Timer(unit="c", active=False, enabled=True),
            Timer(unit="d", active=False, enabled=False, masked=True, held=True),
            Timer(unit="e", active=False, enabled=False, masked=True),
        ),
    )
    found = host_status(
        ShelfLedger(*ESTATE, *BOOTED), "web-1", defined=frozenset(), tags=Tags(WEB_NEXT),
        ask=lambda: state, now=NOW,
    )  # fmt: skip
    assert found.notices == (
        "a rollback is queued: its next boot is the fallback",
        "it is busy: an update",
        "it runs from a medium that cannot be changed",
        "b updates it by itself",
        "c is stopped until the next boot; on the host: systemctl start c",
        (
            "d is masked since a rollback, and the host does not update itself: run the rollback again, "
            "or on the host: systemctl unmask d && systemctl start d && systemctl unmask pipeline-holds-d"
        ),
    )
    assert line(found, "staged").says.endswith(", a reboot alone does not boot it")
    assert line(found, "pinned").seal == WEB


def test_an_image_that_is_no_release_is_told() -> None:
    found = look(*BOOTED, state=machine_state("bootc", 77))
    assert line(found, "booted").digest == Digest(f"sha256:{77:064x}")
    assert "it runs an image that is no release of it" in found.notices
    assert "no release" in shown(render.as_shown(found))


def test_a_yanked_image_that_waits_on_the_host_is_told() -> None:
    found = look(*BOOTED, yank(WEB), state=machine_state("bootc", 12, 11))
    assert "fallback is v1.0.0, which was yanked: zfs.ko does not load" in found.notices
    assert found.troubles == ()
    on_it = look(*BOOTED, yank(WEB_NEXT))
    assert on_it.troubles[0].do == "pipeline rollback debian/web-1 v1.0.0 --why '…'"
    text = shown(render.as_shown(on_it))
    assert "web-1 runs, and its channel names, v1.1.0, which was yanked" in text
    assert on_it.troubles[0].do in text


def test_where_it_is_going_and_what_failed() -> None:
    wanted = deployment(WEB, Step.WANTED, time=later(WEB_NEXT, hours=4), why="1.1 loses mail")
    staged = deployment(WEB, Step.STAGED, time=later(WEB_NEXT, hours=4.5))
    way = look(*BOOTED, wanted, staged)
    assert (line(way, "wanted").seal, line(way, "wanted").says) == (WEB, "1.1 loses mail")
    assert line(way, "staged").seal == WEB
    failed = deployment(WEB, Step.FAILED, time=later(WEB_NEXT, hours=4.6), why="no route to host")
    broken = look(*BOOTED, wanted, staged, failed)
    assert line(broken, "wanted").says == "failed: no route to host"
    assert "did not reach v1.0.0: no route to host" in broken.troubles[0].says


def test_a_host_that_does_not_answer_hides_nothing() -> None:
    def ask() -> HostState:
        raise HostError("web-1 cannot be reached: \x1b[31mno", hint="look")

    found = host_status(
        ShelfLedger(*ESTATE, *BOOTED), "web-1", defined=frozenset(), tags=Tags(WEB_NEXT), ask=ask, now=NOW
    )
    assert isinstance(found.failure, HostError)
    assert line(found, "booted").source is Source.LEDGER
    assert "the host could not be asked: web-1 cannot be reached: \\x1b[31mno" in shown(
        render.as_shown(found)
    )


def test_a_host_is_one_of_the_definitions_or_of_the_ledger() -> None:
    tags = Tags(None)
    found = host_status(
        ShelfLedger(), "new-1", defined=frozenset({"debian/new-1"}), tags=tags, ask=None, now=NOW
    )
    assert (found.name, tags.asked) == ("debian/new-1", [])
    assert line(found, "channel").says == "none: nothing of it was released"
    with pytest.raises(NotFoundError) as caught:
        host_status(ShelfLedger(*ESTATE), "web-2", defined=frozenset(), tags=tags, ask=None, now=NOW)
    assert "debian/web-1" in caught.value.hint
    with pytest.raises(NotFoundError):
        host_status(ShelfLedger(*ESTATE), "base", defined=frozenset(), tags=tags, ask=None, now=NOW)


def test_json_tells_sources_and_times() -> None:
    data = json.loads(json.dumps(render.as_json(look(*BOOTED, state=machine_state("bootc", 12, 11)))))
    lines = {one["role"]: one for one in data["lines"]}
    assert (data["image"], data["system"], data["complete"], data["failure"]) == (
        "debian/web-1", "bootc", True, None,
    )  # fmt: skip
    assert (lines["booted"]["source"], lines["booted"]["version"], lines["booted"]["time"]) == (
        "the host", "1.1.0", None,
    )  # fmt: skip
    assert lines["channel"]["time"] == "2026-11-21T13:00:12Z"
