"""The way back: which host, which release, what is told of it, what the journal knows of a way."""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
from collections.abc import Sequence

import pytest
from hostfakes import MemoryLedger, journal
from hypothesis import given
from hypothesis import strategies as st
from records import candidate, deployment, digest, digests, seal, yank
from rich.console import Console
from rollbackworld import WHY, instance

from pipeline.arguments.rolling import add_rollback
from pipeline.domain.decision import Release
from pipeline.domain.diff.groups import Group
from pipeline.domain.diff.item import Item
from pipeline.domain.hostcontrol.address import Address
from pipeline.domain.hostcontrol.rollback import RollbackPlan
from pipeline.domain.hostcontrol.wayback import WayBack, zfs_downgrade
from pipeline.domain.image import Repository
from pipeline.domain.record import Candidate, Parent, Record, RecordedPins
from pipeline.domain.release import Seal, Step
from pipeline.errors import GateRefusedError, NotFoundError, UsageError
from pipeline.render.rollback import show_plan
from pipeline.verbs.rollback import order_of
from pipeline.verbs.rollback_target import Way, Ways

WEB, DB = "web1", "db1"


def repository(host: str, line: str = "debian") -> Repository:
    return Repository(registry="127.0.0.1:5000", path=f"os/{line}/{host}")


def released(host: str, *versions: str, line: str = "debian", start: int = 1) -> list[Record]:
    """Candidates and seals of one host, in the order given."""
    found: list[Record] = []
    for number, version in enumerate(versions, start):
        made = instance(host, number, repository(host, line), line=line)
        found += [made, seal(version, of=made)]
    return found


def seals(records: Sequence[Record]) -> dict[str, Seal]:
    return {one.version: one for one in records if isinstance(one, Seal)}


def left(found: Seal, step: Step, before: Seal, **changes: object) -> Record:
    went = Release(version=before.version, digest=before.digest)
    return deployment(found, step, before=went, **changes)


RECORDS = [
    *released(WEB, "1.0.0", "2.0.0", "2.0.3", "2.1.0"),
    *released(DB, "2.1.0", start=20),
    candidate(50, image="base"),
    seal("4.0.0", of=candidate(50, image="base")),
]


def test_a_host_and_a_version_as_people_write_them() -> None:
    ways = Ways(RECORDS)
    for wanted in ("v2.0", "2.0.3", "v2.0.3"):
        way = ways.to(WEB, wanted)
        assert (way.seal.version, way.left and way.left.version) == ("2.0.3", "2.1.0")
    assert ways.to(f"debian/{WEB}", "v1").seal.version == "1.0.0"


def test_a_yanked_release_is_never_gone_back_to() -> None:
    bad = seals(RECORDS[:8])["2.0.3"]
    ways = Ways([*RECORDS, yank(bad)])
    assert ways.to(WEB, "v2.0").seal.version == "2.0.0"
    with pytest.raises(GateRefusedError, match="was yanked"):
        ways.to(WEB, "v2.0.3")


def test_what_is_no_host_is_refused_with_what_there_is() -> None:
    ways = Ways(RECORDS, defined=["debian/new1"])
    with pytest.raises(UsageError, match="no host's image"):
        ways.to("debian/base", "v4")
    with pytest.raises(NotFoundError) as wrong:
        ways.to("web2", "v2")
    assert "web1" in wrong.value.hint
    with pytest.raises(NotFoundError, match="has no release"):
        ways.to("new1", "v2")
    with pytest.raises(UsageError, match="no version"):
        ways.to(WEB, "current; reboot")


def test_a_name_in_two_lines_asks_for_the_line() -> None:
    records = [*RECORDS, *released(WEB, "1.0.0", line="centos", start=30)]
    with pytest.raises(UsageError, match="several lines"):
        Ways(records).to(WEB, "v1")
    assert Ways(records).to(f"centos/{WEB}", "v1").seal.line == "centos"
    assert Ways(records, line="centos").to(WEB, "v1").seal.line == "centos"


def test_every_host_on_a_release_goes_below_it_and_who_cannot_is_told() -> None:
    ways, refused = Ways(RECORDS).from_release("v2.1", None)
    assert [(way.host, way.seal.version) for way in ways] == [(WEB, "2.0.3")]
    assert [one.name for one in refused] == [f"debian/{DB}"]
    assert "no good release below v2.1.0" in refused[0].error.message
    ways, refused = Ways(RECORDS).from_release("2.1", "v1")
    assert [(way.host, way.seal.version) for way in ways] == [(WEB, "1.0.0")]
    with pytest.raises(NotFoundError) as none:
        Ways(RECORDS).from_release("v3", None)
    assert "v2.1.0" in none.value.hint


def test_a_yanked_release_can_be_left() -> None:
    bad = seals(RECORDS[:8])["2.1.0"]
    ways, _ = Ways([*RECORDS, yank(bad)]).from_release("v2.1", None)
    assert [way.host for way in ways] == [WEB]


def on_base(version: str, base: Seal, number: int) -> list[Record]:
    made = instance(WEB, number, repository(WEB))
    return [made, seal(version, of=made, parent=Release(version=base.version, digest=base.digest))]


def test_every_host_that_is_built_on_a_bad_base_goes_below_it() -> None:
    bases = [seal(version, number, image="base") for number, version in ((91, "1.0.0"), (92, "1.1.0"))]
    web = [*on_base("1.0.0", bases[0], 93), *on_base("1.0.1", bases[1], 94), *on_base("1.1.0", bases[1], 95)]
    records = [*bases, *web, *released(DB, "1.1.0", start=20)]
    ways, refused = Ways(records).from_release("debian/base:v1.1", None)
    assert ([(way.host, way.seal.version) for way in ways], refused) == ([(WEB, "1.0.0")], ())
    bad = [*records, yank(bases[1])]
    assert Ways(bad).to(WEB, "v1.0.1").unsound == "debian/base v1.1.0"
    assert Ways(bad).to(WEB, "v1.0.0").unsound == ""
    ways, _ = Ways(bad).from_release("v1.1", None)
    assert [(way.host, way.seal.version) for way in ways] == [(WEB, "1.0.0")], "1.0.1 is on the yanked base"


def test_an_unfinished_way_counts_for_where_it_left_and_a_finished_one_does_not() -> None:
    found = seals(RECORDS[:8])
    moved = [left(found["2.0.3"], step, found["2.1.0"]) for step in (Step.WANTED, Step.CHANNEL)]
    ways, _ = Ways([*RECORDS, *moved]).from_release("v2.1", None)
    assert [(way.host, way.left and way.left.version) for way in ways] == [(WEB, "2.1.0")]
    assert Ways([*RECORDS, *moved]).from_release("v2.0", None)[0][0].seal.version == "1.0.0"
    again = Ways([*RECORDS, *moved]).to(WEB, "v2.0.3")
    assert again.left == found["2.1.0"], "the same command goes on where it was"
    further = Ways([*RECORDS, *moved]).to(WEB, "v1")
    assert further.left == found["2.0.3"], "another one leaves what the channel names"
    booted = left(found["2.0.3"], Step.BOOTED, found["2.1.0"])
    ways, refused = Ways([*RECORDS, *moved, booted]).from_release("v2.1", None)
    assert ([way.host for way in ways], [one.name for one in refused]) == ([], [f"debian/{DB}"])


def test_zfs_of_an_image_is_found_down_its_chain() -> None:
    assert Ways(RECORDS).to(WEB, "v2").zfs == "2.3.2"
    bare = RecordedPins(kernel="6.12", kernel_devel="6.12-1", modules={})
    upstream = candidate(900, image="base", parent=None, pins=None)
    without = instance(WEB, 60, repository(WEB), pins=bare)
    records = [without, seal("3.0.0", of=without)]
    assert Ways([upstream, *records]).to(WEB, "v3").zfs == ""
    assert Ways(records).to(WEB, "v3").zfs is None, "a chain with a hole says nothing"
    endless = candidate(900, image="base", parent=Parent(image="debian/base", digest=digest(900)), pins=None)
    assert Ways([endless, *records]).to(WEB, "v3").zfs is None


@pytest.mark.parametrize(
    ("runs", "wanted", "said"),
    [
        ("2.3.2", "2.3.1", ""), ("2.2.2", "2.3.9-0+deb13u1", ""), ("", None, ""), ("", "2.1", ""),
        ("2.3.2", "2.2.9", "goes down"), ("2.10.0", "2.9.0", "goes down"), ("2.3.2", "", "has no ZFS"),
        ("2.3.2", None, "not known"), (None, "2.3.2", "cannot be compared"),
        ("git", "2.3.2", "cannot be compared"),
    ],
)  # fmt: skip
def test_what_an_older_zfs_means(runs: str | None, wanted: str | None, said: str) -> None:
    told = zfs_downgrade(runs, wanted)
    assert said in told
    assert bool(told) == bool(said)


def way(records: Sequence[Record] = RECORDS) -> Way:
    return Ways(records).to(WEB, "v2.0")


def test_a_way_begins_once_and_a_release_ends_it() -> None:
    book = MemoryLedger()
    order = order_of(way(), WHY)
    for _ in range(2):
        journal(book).begin(order)
    journal(book).note(order, Step.CHANNEL)
    journal(book).note(order, Step.CHANNEL)
    assert book.steps == ["wanted", "channel"]
    journal(book).begin(order)
    assert book.steps == ["wanted", "channel", "wanted"], "a channel moved behind our back is moved anew"
    journal(book).note(order, Step.CHANNEL)
    made = instance(WEB, 70, repository(WEB))
    book.records.append(seal("2.2.0", of=made))
    journal(book).note(order, Step.WANTED)
    assert book.steps[-1] == "wanted", "the release in between has moved the channel on"


def test_two_hosts_of_one_name_in_two_lines_have_ways_of_their_own() -> None:
    records = [*RECORDS, *released(WEB, "2.0.3", line="centos", start=30)]
    book = MemoryLedger()
    for line in ("debian", "centos"):
        journal(book).note(order_of(Ways(records).to(f"{line}/{WEB}", "v2.0"), WHY), Step.WANTED)
    assert book.steps == ["wanted", "wanted"]


@given(
    st.text(max_size=20), st.sampled_from(["ssh://root@{host}", "ssh://{host}.example.org:2222", "{host}"])
)
def test_whatever_a_template_is_filled_with_it_is_an_address_or_refused(host: str, template: str) -> None:
    try:
        found = Address.of_host(template, host)
    except UsageError:
        return
    assert found is None or not set(str(found)) & set(" ;$`'\"\\\n\t")


def plan(**changes: object) -> RollbackPlan:
    found = way()
    item = Item(name="postgresql\x1b[2J", how="down", before="17", after="16\n! all is well")
    changed = WayBack(
        groups=(Group(kind="packages", title="Packages", items=(item,), count=1),),
        others=(("Files", 7),),
        warnings=("the schema",),
    )
    base = RollbackPlan(
        seal=found.seal, left=found.left, why=WHY, changes=changed, warnings=("/var does not come back",)
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def shown(told: RollbackPlan, *, as_json: bool = False) -> str:
    sink = io.StringIO()
    show_plan(told, console=Console(file=sink, width=100, markup=False, highlight=False), as_json=as_json)
    return sink.getvalue()


def test_a_plan_is_shown_whole_and_harmless() -> None:
    text = shown(plan(problems=("the signature is gone",), unknown="the registry is down"))
    assert "\x1b" not in text
    assert not any(line.startswith("! all is well") for line in text.splitlines())
    for said in (
        "v2.1.0 → v2.0.3",
        "DOES NOT VERIFY",
        "/var does not come back",
        "the registry is down",
        WHY,
    ):
        assert said in text


def test_a_plan_as_json_has_the_same() -> None:
    found = json.loads(shown(plan(problems=("gone",)), as_json=True))
    assert (found["to"]["version"], found["from"]["version"], found["verifies"]) == ("2.0.3", "2.1.0", False)
    assert found["changes"]["packages"][0]["how"] == "down"
    assert found["channel"]["moves"] is True


def words(*given: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_rollback(parser.add_subparsers())
    return parser.parse_args(["rollback", *given])


def test_the_words_of_the_command() -> None:
    found = words("web1", "v2.0", "--why", WHY, "--dry-run", "--max-failures", "0")
    assert (found.words, found.plan, found.max_failures, found.reboot_timeout) == (
        ["web1", "v2.0"],
        True,
        0,
        900,
    )
    assert words("--all-hosts-on", "v2.1", "v2.0", "--why", WHY).words == ["v2.0"]


@given(digests)
def test_an_order_names_the_digest_and_the_channel(found: object) -> None:
    made: Candidate = instance(WEB, 1, repository(WEB), digest=found)
    order = order_of(Ways([made, seal("1.0.0", of=made)]).to(WEB, "v1"), WHY)
    assert order.target.reference == f"{repository(WEB)}@{found}"
    assert str(order.target.channel) == f"{repository(WEB)}:current"
