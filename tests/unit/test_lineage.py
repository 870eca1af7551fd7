"""The releases of images by the ledger alone, against a slow and obvious model of the same rules."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import candidate, deployment, digest, reservation, seal, yank
from semver import Version

from pipeline.domain.image import Digest, Tier
from pipeline.domain.lineage import CHANNEL, FIRST, Lineage, aliases_of, predecessor
from pipeline.domain.record import Record
from pipeline.domain.release import Deployment, Reservation, Seal, Step, Yank
from pipeline.errors import GateRefusedError, NotFoundError, UsageError

BASE = "debian/base"
HOST = candidate(50, image="web-1", tier=Tier.INSTANCE)
small = st.integers(0, 2)
majors = st.sampled_from([0, 1, 2, 10])
versions = st.tuples(majors, small, small).map(lambda parts: ".".join(map(str, parts)))
images = st.sampled_from(["base", "gpu"])
numbers = st.integers(1, 4)
made = functools.cache(lambda version, number, image: seal(version, number, image=image))
seals = st.builds(made, versions, numbers, images)
histories = st.lists(
    st.one_of(
        seals,
        seals.map(yank),
        st.builds(lambda v, n, i: reservation(v, n, image=i), versions, numbers, images),
        st.builds(deployment, seals, st.sampled_from([Step.CHANNEL, Step.BOOTED])),
    ),
    max_size=25,
)


def of(records: Sequence[Record], name: str) -> list[Seal]:
    """The releases of an image, the first seal of each version, found the slow way."""
    found: list[Seal] = []
    for one in records:
        if isinstance(one, Seal) and one.name == name and one.version not in {it.version for it in found}:
            found.append(one)
    return sorted(found, key=lambda one: Version.parse(one.version))


def yanked(records: Sequence[Record], one: Seal) -> bool:
    return any(isinstance(it, Yank) and (it.name, it.version) == (one.name, one.version) for it in records)


@given(histories)
def test_releases_are_the_first_seal_of_each_version_in_the_order_of_versions(records: list[Record]) -> None:
    lineage = Lineage(records)
    assert lineage.names == tuple(sorted({one.name for one in records if isinstance(one, Seal)}))
    for name in (BASE, "debian/gpu"):
        expected = of(records, name)
        good = [one for one in expected if not yanked(records, one)]
        assert list(lineage.releases(name)) == expected
        assert list(lineage.good(name)) == good
        assert lineage.newest(name) == (good[-1] if good else None)
        assert predecessor(records, name).seal == lineage.newest(name)


@given(histories, numbers.map(digest))
def test_a_digest_is_found_at_the_highest_release_that_has_it(records: list[Record], wanted: Digest) -> None:
    lineage = Lineage(records)
    found = {name: [one for one in of(records, name) if one.digest == wanted] for name in lineage.names}
    for name in lineage.names:
        assert lineage.at(name, wanted) == (found[name][-1] if found[name] else None)
    first = next((one[-1] for _, one in sorted(found.items()) if one), None)
    assert lineage.by_digest(wanted) == first


@given(histories, versions, st.integers(1, 3), st.sampled_from(["", "v"]))
def test_find_gives_the_highest_good_release_that_fits(
    records: list[Record], version: str, parts: int, sign: str
) -> None:
    wanted = ".".join(version.split(".")[:parts])
    fits = [one for one in of(records, BASE) if f"{one.version}.".startswith(f"{wanted}.")]
    good = [one for one in fits if not yanked(records, one)]
    lineage = Lineage(records)
    if good:
        assert lineage.find(BASE, sign + wanted) == good[-1]
    elif fits:
        with pytest.raises(GateRefusedError, match=r"was yanked: zfs\.ko does not load"):
            lineage.find(BASE, sign + wanted)
    else:
        with pytest.raises(NotFoundError, match="has no release"):
            lineage.find(BASE, sign + wanted, yanked=True)


def test_a_yanked_release_is_found_only_when_asked_for_in_full() -> None:
    bad = seal("2.0.1", 2)
    lineage = Lineage([seal("2.0.0"), bad, yank(bad)])
    assert lineage.find(BASE, "v2").version == "2.0.0"
    assert lineage.find(BASE, "v2.0.1", yanked=True) == bad
    alone = Lineage([bad, yank(bad)])
    with pytest.raises(GateRefusedError) as caught:
        alone.find(BASE, "v2", yanked=True)
    assert "pipeline releases debian/base" in caught.value.hint


@pytest.mark.parametrize(
    "wanted",
    [
        "",
        "v",
        "2.",
        "v2.0.3.4",
        "02.0",
        "2.0.03",
        "V2",
        "v2.x",
        "current",
        "2.0-rc1",
        "-1",
        "٢.0",
        "v2\n",
        "9" * 10,
    ],
)
def test_what_is_no_version_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match="is no version"):
        Lineage([seal("2.0.3")]).find(BASE, wanted)


@pytest.mark.parametrize(
    ("records", "hint"),
    [
        ([seal("2.0.0"), seal("2.1.0", 2)], "v2.1.0"),
        ([seal("2.0.0"), yank(seal("2.0.0"))], "every release of debian/base was yanked"),
        ([], "debian/base has no release yet"),
    ],
)
def test_a_version_that_is_not_there_says_what_is(records: list[Record], hint: str) -> None:
    with pytest.raises(NotFoundError) as caught:
        Lineage(records).find(BASE, "v9.1.0")
    assert hint in caught.value.hint


@given(histories, st.sampled_from(["major", "minor", "patch"]), numbers.map(digest))
def test_the_next_version_is_higher_than_everything_that_was_taken(
    records: list[Record], bump: str, mine: Digest
) -> None:
    lineage = Lineage(records)
    taken = [one.version for one in of(records, BASE)]
    taken += [
        one.version
        for one in records
        if isinstance(one, Reservation) and one.name == BASE and one.digest != mine
    ]
    made = lineage.next_version(BASE, bump, digest=mine)
    if taken:
        highest = max(taken, key=Version.parse)
        assert lineage.highest(BASE, but=mine) == highest
        assert made == str(Version.parse(highest).next_version(part=bump))
        assert all(Version.parse(made) > one for one in taken)
    else:
        assert made == FIRST


@given(histories, versions)
def test_a_version_belongs_to_who_took_it_first(records: list[Record], version: str) -> None:
    first = next(
        (
            one.digest
            for one in records
            if isinstance(one, Reservation | Seal) and (one.name, one.version) == (BASE, version)
        ),
        None,
    )
    assert Lineage(records).holder(BASE, version) == first


@given(histories, numbers.map(digest))
def test_a_reservation_is_open_until_its_version_is_sealed(records: list[Record], mine: Digest) -> None:
    sealed = {one.version for one in of(records, BASE)}
    still = [
        one
        for one in records
        if isinstance(one, Reservation)
        and (one.name, one.digest) == (BASE, mine)
        and one.version not in sealed
    ]
    found = Lineage(records).reservation(BASE, mine)
    expected = max((Version.parse(one.version) for one in still), default=None)
    assert (None if found is None else Version.parse(found.version)) == expected
    assert found is None or found.digest == mine


@given(histories)
def test_each_tag_names_what_moved_it_last_and_releases_never_move(records: list[Record]) -> None:
    lineage = Lineage(records)
    releases = of(records, BASE)
    expected: dict[str, Digest] = {}
    for one in records:
        if isinstance(one, Seal) and any(one is it for it in releases):
            expected.update(dict.fromkeys(one.aliases, one.digest))
        elif isinstance(one, Deployment) and one.name == BASE and one.step is Step.CHANNEL:
            expected[CHANNEL] = one.digest
    expected.update({f"v{one.version}": one.digest for one in releases})
    assert lineage.tags(BASE) == expected
    moved = lineage.channel(BASE)
    assert (None if moved is None else moved.digest) == expected.get(CHANNEL)


def test_a_host_s_channel_goes_with_seals_and_with_moves_back() -> None:
    first, second = seal("1.0.0", of=HOST), seal("1.1.0", 51, of=dataclasses.replace(HOST, digest=digest(51)))
    back = deployment(first, Step.CHANNEL)
    assert Lineage([first, second]).channel("debian/web-1") == second
    lineage = Lineage([first, second, back, deployment(second, Step.BOOTED)])
    assert lineage.channel("debian/web-1") == back
    assert lineage.tags("debian/web-1") == {
        "v1.0.0": first.digest, "v1.1.0": second.digest, "v1.0": first.digest, "v1.1": second.digest,
        "v1": second.digest, CHANNEL: first.digest,
    }  # fmt: skip
    assert Lineage([seal("1.0.0")]).channel(BASE) is None


def test_a_second_seal_of_a_version_moves_nothing() -> None:
    first, forged = seal("1.0.0", 1), seal("1.0.0", 2)
    lineage = Lineage([first, forged])
    assert lineage.releases(BASE) == (first,)
    assert set(lineage.tags(BASE).values()) == {first.digest}
    assert lineage.at(BASE, forged.digest) is None


@pytest.mark.parametrize("tier", Tier)
def test_aliases_move_within_their_version_and_only_hosts_have_a_channel(tier: Tier) -> None:
    expected = ("v2.10", "v2", *([CHANNEL] if tier is Tier.INSTANCE else []))
    assert aliases_of("2.10.3", tier) == expected


def test_what_a_candidate_follows_is_told_with_the_reason() -> None:
    one = seal("1.0.0")
    assert Lineage([]).predecessor(BASE).because == "debian/base has no release yet"
    assert Lineage([one]).predecessor(BASE).because == "v1.0.0 is the last release of debian/base"
    assert Lineage([one, yank(one)]).predecessor(BASE).because == "every release of debian/base was yanked"
