"""`pipeline status`: what waits and for how long, what hosts run, what is wrong; all by the ledger."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence

import pytest
from approvalkit import EVIDENCE, SIGNERS, approval, base_rule, decided, rejection, settings
from memoryledger import ShelfLedger
from records import NOON, candidate, deployment, reservation, yank
from releasekit import base, counted, host, later, shown, waiting

from pipeline.domain.allowed_signers import AllowedSigners
from pipeline.domain.approval_settings import ApprovalSettings
from pipeline.domain.approvals import Proved, Signed
from pipeline.domain.decision import Decision
from pipeline.domain.gate import Verdict
from pipeline.domain.image import Tier
from pipeline.domain.protected_rules import ProtectedRules
from pipeline.domain.record import GateRecord, Record
from pipeline.domain.release import Removed, Retention, Step
from pipeline.domain.seen import Status
from pipeline.domain.trouble import Severity
from pipeline.domain.waiting import Stage, Wait
from pipeline.errors import LedgerRemoteError
from pipeline.render import status as render
from pipeline.render.figures import age
from pipeline.verbs.status import status as verb

NOW = NOON + dt.timedelta(days=3)
ONE = candidate(1, parent=None, evidence=EVIDENCE)
YES = {"expires": NOW + dt.timedelta(days=7)}
OLD_BASE, OLD = base("1.0.0", 1)
NEW_BASE, NEW = base("1.1.0", 2)
DEFINED = {"debian/base": Tier.BASE}


class Branch:
    """A protected branch that says what it is told, or cannot be reached."""

    def __init__(self, table: ApprovalSettings | None = None, *, down: bool = False) -> None:
        self.table, self.down, self.reads = table or settings(), down, 0

    def read(self) -> ProtectedRules:
        self.reads += 1
        if self.down:
            raise LedgerRemoteError("origin cannot be reached", hint="mend it")
        return ProtectedRules(settings=self.table, signers=SIGNERS, source="origin/main")

    def newcomers(self, rules: ProtectedRules, since: str | None, until: str | None) -> frozenset[str]:
        return frozenset()


class Authors:
    """Ada wrote everything."""

    def __init__(self) -> None:
        self.asked: list[tuple[str | None, str | None, tuple[str, ...]]] = []

    def authors(
        self, since: str | None, until: str | None, paths: Sequence[str] = ()
    ) -> tuple[str, ...] | None:
        self.asked.append((since, until, tuple(paths)))
        return ("Ada <ada@example.org>",)


class Believed:
    """Takes every proof for good."""

    def __init__(self) -> None:
        self.checked = 0

    def check(self, decision: Decision, signers: AllowedSigners, revoked: bytes, now: dt.datetime) -> Proved:
        self.checked += 1
        assert decision.proof is not None
        return Signed(identity=decision.proof.identity, key=decision.proof.key)


def look(*records: Record, table: ApprovalSettings | None = None, now: dt.datetime = NOW) -> Status:
    return verb(
        ShelfLedger(*records), defined=DEFINED, branch=Branch(table), authors=Authors(),
        signatures=Believed(), now=now,
    )  # fmt: skip


def waits(*records: Record, name: str = "debian/base", table: ApprovalSettings | None = None) -> Wait | None:
    return next(one for one in look(*records, table=table).images if one.name == name).waits


def said(found: Status) -> list[tuple[Severity, str, str]]:
    return [(one.severity, one.subject, one.says) for one in found.troubles]


def test_a_candidate_waits_for_people_of_a_role_and_since_it_was_built() -> None:
    found = waits(ONE)
    assert found is not None
    assert (found.stage, found.since) == (Stage.APPROVAL, ONE.time)
    assert found.needs == ("approval by 2 of managers",)


def test_who_approved_and_who_does_not_count_is_told() -> None:
    ben, ada = approval("ben", decided(ONE), **YES), approval("ada", decided(ONE), **YES)
    found = waits(ONE, ben, ada)
    assert found is not None
    assert found.needs == ("approval by 1 more of managers (approved: ben@example.org)",)
    assert found.notes == ("ada@example.org built it",)


def test_every_rule_and_any_of_several_is_counted() -> None:
    table = base_rule(
        people=({"at_least": 2, "role": "managers"},),
        any_of=({"at_least": 1, "role": "leads"}, {"at_least": 3, "role": "managers"}),
    )
    assert waits(ONE, table=table) == Wait(
        stage=Stage.APPROVAL,
        since=ONE.time,
        needs=("approval by 2 of managers", "approval by 1 of leads, or approval by 3 of managers"),
    )


def test_what_is_approved_waits_for_its_seal_since_the_last_approval() -> None:
    ben = approval("ben", decided(ONE), **YES)
    cleo = approval("cleo", decided(ONE), time=ben.time + dt.timedelta(hours=5), **YES)
    found = waits(ONE, ben, cleo)
    assert found == Wait(stage=Stage.SEAL, since=cleo.time, needs=("its seal",))


def test_a_seal_that_was_begun_is_told_with_the_command_that_ends_it() -> None:
    ben, cleo = approval("ben", decided(ONE), **YES), approval("cleo", decided(ONE), **YES)
    begun = reservation("1.0.0", digest=ONE.digest, time=NOON + dt.timedelta(hours=9))
    found = look(ONE, ben, cleo, begun)
    assert [(one.severity, one.since, one.do) for one in found.troubles] == [
        (Severity.SEAL_BEGUN, begun.time, "pipeline seal debian/base")
    ]


def test_an_approval_that_ran_out_is_told() -> None:
    short = approval("ben", decided(ONE), expires=NOON + dt.timedelta(days=1))
    found = waits(ONE, short)
    assert found is not None
    assert found.needs == ("approval by 2 of managers",)
    assert "does not count: it expired at 2026-11-22" in found.notes[0]


def test_a_rejected_candidate_waits_for_another_build() -> None:
    found = look(ONE, rejection("ben", decided(ONE)))
    assert [one.severity for one in found.troubles] == [Severity.CANDIDATE_STOPPED]
    assert "rejected" in found.troubles[0].says
    assert "it does not boot here" in found.troubles[0].says


def test_failed_gates_and_missing_evidence_stop_a_candidate() -> None:
    red = GateRecord(gate="one-kernel", verdict=Verdict.FAIL, summary="two")
    failed = dataclasses.replace(ONE, gates=(red,))
    bare = dataclasses.replace(ONE, evidence={})
    assert "another build: gates: one-kernel fail" in look(failed).troubles[0].says
    assert "another build: recorded evidence: none" in look(bare).troubles[0].says


def test_a_rule_that_asks_nothing_is_no_approval() -> None:
    found = waits(ONE, table=settings(rules={}))
    assert found is not None
    assert found.stage is Stage.APPROVAL
    assert "a rule that asks nothing" in found.needs[0]


def test_a_host_waits_for_the_release_below_it() -> None:
    web = waiting("web-1", 11, OLD, evidence=EVIDENCE)
    people = [approval(name, decided(web), **YES) for name in ("ben", "cleo")]
    alone = waits(OLD_BASE, web, name="debian/web-1")
    assert alone is not None
    assert alone.needs == (
        "approval by 2 of managers",
        f"the release of debian/base sha256:{OLD.digest.short}",
    )
    newer = waits(OLD_BASE, web, NEW_BASE, name="debian/web-1")
    assert newer is not None
    assert newer.needs[-1].endswith(", which is not its newest candidate")
    approved = waits(OLD_BASE, web, *people, name="debian/web-1")
    assert approved == Wait(stage=Stage.PARENT, since=people[1].time, needs=alone.needs[1:])
    released = waits(OLD_BASE, web, *people, OLD, name="debian/web-1")
    assert released is not None
    assert released.stage is Stage.SEAL
    yanked = waits(OLD_BASE, web, *people, OLD, yank(OLD), name="debian/web-1")
    assert yanked is not None
    assert (yanked.stage, yanked.needs) == (
        Stage.REFUSED,
        ("another build: debian/base v1.0.0 below it was yanked",),
    )


def test_what_is_released_or_was_deleted_waits_for_nothing() -> None:
    gone = Removed(repository=NEW_BASE.repository, digest=NEW_BASE.digest, reason="older than 30 d")
    assert waits(OLD_BASE, OLD) is None
    assert waits(OLD_BASE, OLD, NEW_BASE) is not None
    assert waits(OLD_BASE, OLD, NEW_BASE, Retention(time=NOON, author="cron", removed=(gone,))) is None
    assert waits() is None


def test_an_approval_counts_for_the_release_that_is_the_last_one_now() -> None:
    after = dataclasses.replace(NEW_BASE, evidence=EVIDENCE)
    stale = approval("ben", decided(after), **YES)
    found = waits(OLD_BASE, OLD, after, stale)
    assert found is not None
    assert "the last release is v1.0.0" in found.notes[0]


def test_without_the_protected_branch_nobody_guesses_the_rule() -> None:
    ledger, branch = ShelfLedger(ONE, approval("ben", decided(ONE), **YES), NEW_BASE), Branch(down=True)
    found = verb(ledger, defined=DEFINED, branch=branch, authors=Authors(), signatures=Believed(), now=NOW)
    assert found.notices == ("who may approve is not known: origin cannot be reached",)
    one = found.images[0].waits
    assert one is not None
    assert one.needs[0] == "approvals by an unknown rule (none recorded)"
    first = look(ONE).images[0]
    assert first.candidate == ONE
    assert branch.reads == 1


def test_the_branch_is_read_only_when_something_waits_and_the_ledger_once() -> None:
    ledger, branch, authors, proofs = ShelfLedger(OLD_BASE, OLD), Branch(), Authors(), Believed()
    found = verb(ledger, defined={}, branch=branch, authors=authors, signatures=proofs, now=NOW)
    assert found.notices == ()
    assert (ledger.reads, branch.reads, authors.asked, proofs.checked) == (1, 0, [], 0)


def test_a_fleet_asks_git_once_for_the_change_its_hosts_share() -> None:
    fleet = [waiting(f"web-{number}", 100 + number, OLD, evidence=EVIDENCE) for number in range(30)]
    one = approval("ben", *sorted((decided(it) for it in fleet), key=lambda it: it.name), **YES)
    authors, proofs, ledger = Authors(), Believed(), ShelfLedger(OLD_BASE, OLD, *fleet, one)
    found = verb(ledger, defined=DEFINED, branch=Branch(), authors=authors, signatures=proofs, now=NOW)
    assert sum(image.waits is not None for image in found.images) == 30
    assert len(authors.asked) == 1
    assert authors.asked[0][2] == ("debian", "pipeline.toml", "../Containerfiles/debian")
    assert proofs.checked == 1
    assert ledger.reads == 1


def test_a_remote_that_is_down_is_said_and_what_is_known_is_shown() -> None:
    ledger = ShelfLedger(OLD_BASE, OLD)
    ledger.down = True
    found = verb(ledger, defined={}, branch=Branch(), authors=Authors(), signatures=Believed(), now=NOW)
    assert found.images[0].newest == OLD
    assert found.notices[0].endswith("shown is what this clone saw last")
    assert found.notices[0] in shown(render.as_shown(found, every=False))


# --- hosts ------------------------------------------------------------------------------------------------

WEB_BUILT, WEB = host("web-1", "1.0.0", 11, OLD)
WEB_NEXT_BUILT, WEB_NEXT = host("web-1", "1.1.0", 12, NEW)
ESTATE: tuple[Record, ...] = (
    OLD_BASE, OLD, NEW_BASE, NEW, WEB_BUILT, WEB, WEB_NEXT_BUILT, WEB_NEXT,
)  # fmt: skip


def test_a_host_without_a_record_is_unknown() -> None:
    one = look(*ESTATE).hosts[0]
    assert (one.view.host, one.view.runs, one.view.fallback) == ("web-1", None, None)
    assert one.channel == WEB_NEXT
    assert "unknown" in shown(render.as_shown(look(*ESTATE), every=False))


def test_a_host_falls_back_to_what_it_ran_before() -> None:
    records = [deployment(WEB), deployment(WEB_NEXT, Step.WANTED, time=later(WEB_NEXT, hours=2))]
    on_the_way = look(*ESTATE, *records, now=later(WEB_NEXT, hours=2.5)).hosts[0].view
    assert (on_the_way.runs, on_the_way.wanted) == (records[0], records[1])
    booted = deployment(WEB_NEXT, time=later(WEB_NEXT, hours=3))
    view = look(*ESTATE, *records, booted).hosts[0].view
    assert (view.runs, view.wanted) == (booted, None)
    assert view.fallback is not None
    assert view.fallback.digest == WEB.digest
    again = look(*ESTATE, *records, booted, dataclasses.replace(booted, time=NOW)).hosts[0].view
    assert again.fallback == view.fallback


def test_the_next_seal_overtakes_a_host_that_was_sent_back_and_never_seen() -> None:
    sent = [deployment(WEB, step, time=later(WEB_NEXT, hours=2)) for step in (Step.WANTED, Step.CHANNEL)]
    there = look(*ESTATE, deployment(WEB_NEXT), *sent)
    assert [one.severity for one in there.troubles] == [Severity.HOST_UNSEEN]
    assert there.hosts[0].view.wanted == sent[0]
    built, newest = host("web-1", "1.2.0", 13, NEW)
    after = look(*ESTATE, deployment(WEB_NEXT), *sent, built, newest)
    assert (after.troubles, after.hosts[0].view.wanted, after.hosts[0].channel) == ((), None, newest)


def test_a_host_that_was_sent_where_it_was_seen_last_is_on_the_way_until_it_is_seen_again() -> None:
    sent = deployment(WEB, Step.WANTED, time=later(WEB_NEXT, hours=2))
    assert look(*ESTATE, deployment(WEB), sent).hosts[0].view.wanted == sent
    moved = deployment(WEB, Step.CHANNEL, time=later(WEB_NEXT, hours=2))
    assert look(*ESTATE, deployment(WEB), moved).hosts[0].view.wanted is None
    assert look(*ESTATE, deployment(WEB_NEXT), moved).hosts[0].view.wanted == moved


def test_the_table_tells_how_far_a_host_is() -> None:
    sent = deployment(WEB_NEXT, Step.WANTED, time=NOW - dt.timedelta(minutes=5))
    staged = deployment(WEB_NEXT, Step.STAGED, time=NOW)
    for records, text in (
        ([sent], "v1.1.0 for 5 min"),
        ([sent, staged], "v1.1.0 for 5 min, staged"),
        ([staged], "v1.1.0 staged"),
        ([sent, deployment(WEB_NEXT, Step.FAILED)], "v1.1.0 FAILED"),
    ):
        shows = shown(render.as_shown(look(*ESTATE, deployment(WEB), *records), every=False))
        assert f"v1.0.0   2 d    unknown         v1.1.0    {text}" in shows


def test_what_went_wrong_and_what_was_not_seen_is_trouble() -> None:
    sent = deployment(WEB_NEXT, Step.WANTED, time=NOW - dt.timedelta(minutes=59))
    assert said(look(*ESTATE, deployment(WEB), sent)) == []
    late = look(*ESTATE, deployment(WEB), sent, now=NOW + dt.timedelta(hours=2))
    assert said(late) == [(Severity.HOST_UNSEEN, "web-1", "was sent to v1.1.0 and was not seen there")]
    failed = deployment(WEB_NEXT, Step.FAILED, time=NOW, why="no answer from it")
    found = look(*ESTATE, deployment(WEB), sent, failed)
    assert said(found) == [(Severity.HOST_FAILED, "web-1", "did not reach v1.1.0: no answer from it")]
    assert found.hosts[0].view.runs is not None
    assert found.troubles[0].do == "pipeline status debian/web-1 --host-access ssh://web-1"


def test_who_runs_or_follows_what_was_yanked_comes_with_the_way_out() -> None:
    old = look(*ESTATE, deployment(WEB), yank(WEB))
    assert said(old) == [
        (Severity.HOST_YANKED, "web-1", "runs v1.0.0, which was yanked: zfs.ko does not load")
    ]
    assert old.troubles[0].do == "pipeline rollback debian/web-1 v1.1.0 --why '…'"
    both = look(*ESTATE, deployment(WEB_NEXT), yank(NEW))
    below = "built on debian/base v1.1.0, which was yanked: zfs.ko does not load"
    assert said(both) == [
        (Severity.CHANNEL_YANKED, "web-1", f"runs, and its channel names, v1.1.0, {below}"),
        (Severity.RELEASE_UNSOUND, "debian/web-1", f"its newest release v1.1.0 is {below}"),
    ]
    assert both.troubles[0].do == "pipeline rollback debian/web-1 v1.0.0 --why '…'"
    nowhere = look(*ESTATE[:6], deployment(WEB), yank(WEB))
    assert nowhere.troubles[0].do == ""
    assert nowhere.troubles[0].says.endswith("; no good release of it is left")
    assert "a new build: every release was yanked" in shown(render.as_shown(nowhere, every=False))
    back = deployment(WEB, Step.CHANNEL, time=later(WEB_NEXT, days=1))
    moved = look(*ESTATE, deployment(WEB_NEXT), yank(WEB_NEXT), back, now=later(WEB_NEXT, days=1))
    assert [one[0] for one in said(moved)] == [Severity.HOST_YANKED]


def test_the_worst_comes_first_and_of_equals_the_oldest() -> None:
    others = [host(f"db-{number}", "1.0.0", 30 + number, NEW) for number in (1, 2)]
    records = [one for pair in others for one in pair]
    failures = [
        deployment(others[0][1], Step.FAILED, time=NOW),
        deployment(others[1][1], Step.FAILED, time=NOW - dt.timedelta(hours=1)),
    ]
    found = look(*ESTATE, *records, deployment(WEB), yank(WEB), *failures)
    assert [one.subject for one in found.troubles] == ["db-2", "db-1", "web-1"]


# --- shown ------------------------------------------------------------------------------------------------


def fleet(count: int) -> list[Record]:
    records: list[Record] = [OLD_BASE, OLD]
    for number in range(count):
        built, sealed = host(f"web-{number:04}", "2.1.0", number + 10, OLD)
        records += [built, sealed, deployment(sealed)]
    return records


def test_a_thousand_hosts_are_one_screen_unless_each_is_asked_for() -> None:
    records = fleet(1000)
    odd_built, odd = host("odd-1", "1.0.0", 5000, OLD)
    found = look(*records, odd_built, odd, deployment(odd))
    text = shown(render.as_shown(found, every=False))
    assert "1,000 hosts of debian: web-0000, web-0001, web-0002 and 997 more" in text
    assert "debian/odd-1" in text
    assert len(text.splitlines()) < 30
    assert shown(render.as_shown(found, every=True)).count("debian/web-0999") == 2


def test_showing_a_fleet_costs_no_walk_for_each_host() -> None:
    few, many = fleet(60), fleet(600)
    _, cheap = counted(lambda: render.as_json(look(*few)))
    _, dear = counted(lambda: render.as_json(look(*many)))
    assert dear < 15 * cheap


def test_alike_troubles_are_told_together() -> None:
    records = fleet(31)
    text = shown(render.as_shown(look(*records, yank(OLD)), every=False))
    assert "web-0000, web-0001, web-0002 and 28 more: runs, and its channel names, v2.1.0" in text
    assert text.splitlines()[0].startswith("62 troubles, nothing waits, 32 images, 31 hosts")


def test_people_see_what_waits_and_for_how_long() -> None:
    hosts = [waiting(f"web-{number}", 40 + number, OLD, evidence=EVIDENCE) for number in range(5)]
    text = " ".join(shown(render.as_shown(look(OLD_BASE, *hosts), every=False), width=200).split())
    assert "5 images of debian: web-0, web-1, web-2 and 2 more" in text
    assert f"approval by 2 of managers; the release of debian/base sha256:{OLD.digest.short} 2 d" in text
    assert "debian/base none 000000000000 another build: recorded evidence" in text


def test_of_images_that_wait_alike_the_oldest_tells_how_long() -> None:
    old = waiting("web-1", 41, OLD, evidence=EVIDENCE)
    new = waiting("web-2", 42, OLD, evidence=EVIDENCE, time=NOW - dt.timedelta(hours=1))
    text = shown(render.as_shown(look(OLD_BASE, OLD, old, new), every=False))
    line = next(line for line in text.splitlines() if "2 images of debian" in line)
    assert line.split()[-2:] == ["2", "d"]


def test_nothing_at_all_is_said_in_words() -> None:
    nothing = verb(
        ShelfLedger(), defined={}, branch=Branch(), authors=Authors(), signatures=Believed(), now=NOW
    )
    assert shown(render.as_shown(nothing, every=False)) == "no trouble, nothing waits, 0 images, 0 hosts\n"
    assert "its first build" in shown(render.as_shown(look(), every=False))


def test_texts_from_records_are_printed_literally() -> None:
    failed = deployment(WEB, Step.FAILED, why="[bold]no[/bold] \\x1b")
    assert "did not reach v1.0.0: [bold]no[/bold]" in shown(
        render.as_shown(look(*ESTATE, failed), every=False)
    )


def test_json_is_complete_and_never_grouped() -> None:
    records = fleet(31)
    data = json.loads(json.dumps(render.as_json(look(*records, ONE, yank(OLD)))))
    assert len(data["hosts"]) == 31
    assert len(data["troubles"]) == 62
    assert data["troubles"][0]["severity"] == "channel-yanked"
    assert data["hosts"][0]["runs"]["version"] == "2.1.0"
    assert data["hosts"][0]["fallback"] is None
    assert data["hosts"][0]["channel"]["version"] == "2.1.0"
    host_image = next(one for one in data["images"] if one["name"] == "debian/web-0000")
    assert (host_image["tier"], host_image["waits"]) == ("instance", None)
    assert host_image["newest"]["version"] == "2.1.0"
    waiting_image = next(one for one in render.as_json(look(ONE))["images"])
    assert waiting_image["waits"]["stage"] == "approval"
    assert waiting_image["candidate"]["record"] == ONE.id


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (172799, "47 h"),
        (172800, "2 d"), (86400 * 1234, "1,234 d"), (-30, "0 s"), (-7200, "in 2 h"),
    ],
)  # fmt: skip
def test_ages_are_told_as_people_say_them(seconds: float, text: str) -> None:
    assert age(seconds) == text
