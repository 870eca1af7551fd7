"""`pipeline copy` between real registries: what arrives, under which names, and what is not sent again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from copyworld import (
    BASE,
    WEB,
    Site,
    at,
    client,
    complete,
    everything,
    in_folder,
    listed,
    run,
    same,
    sent,
    to_folder,
    verified,
)
from faultyregistry import faulty_registry
from memoryregistry import memory_registry
from records import NOON
from registries import RunningRegistry

from images import push, spelled, tiny_image
from pipeline.adapters.ocilayout import OciLayout
from pipeline.adapters.referrers import Referrers
from pipeline.domain.artifact import artifact_of, fallback_tag
from pipeline.domain.evidence import Evidence, EvidenceKind
from pipeline.domain.image import Repository
from pipeline.domain.parcel import Parcel
from pipeline.errors import NotFoundError
from pipeline.verbs.copy_folder import parcels_in

pytestmark = pytest.mark.engine
SBOM, GATES = EvidenceKind.SBOM, EvidenceKind.GATES


def test_through_a_folder_into_another_registry_everything_keeps_its_digest(
    site: Site, far: RunningRegistry, tmp_path: Path
) -> None:
    to_folder(site, tmp_path / "stick", every=True)
    moved = tmp_path / "carried"
    (tmp_path / "stick").rename(moved)
    layout = OciLayout(moved)
    parcels = parcels_in(layout, WEB, (), every=True, parents=True)
    assert [(one.name, one.version) for one in parcels] == [(BASE, "2.0.0"), (WEB, "1.0.0"), (WEB, "1.1.0")]
    there, place = client(far.host), at(far.host)
    result = run(parcels, layout, there, place)
    same(site, there, place, ())
    for parcel in site.parcels(every=True):
        verified(site, f"{place(parcel.name)}@{parcel.digest}")
    assert {alias: everything(there, place(WEB))[alias] for alias in ("v1", "v1.1", "v1.0")} == {
        "v1": parcels[2].digest, "v1.1": parcels[2].digest, "v1.0": parcels[1].digest,
    }  # fmt: skip
    assert "current" not in there.tags(place(WEB))
    [note] = result.notes
    assert f"the signatures name {site.host}/os/\u2026, not {far.host}/mirror/\u2026" in note
    assert '"exactRepository"' in note


def test_straight_to_another_registry_and_once_more_sends_nothing(site: Site, far: RunningRegistry) -> None:
    with faulty_registry(far.host) as proxy:
        there, place = client(proxy.host), at(proxy.host)
        first = sent(site, site.parcels("v1.1"), proxy.host)
        same(site, there, place, ("1.1.0",))
        assert first.bytes > 0
        proxy.requests.clear()
        again = sent(site, site.parcels("v1.1"), proxy.host)
        assert not proxy.count("^(PUT|POST|PATCH|DELETE)")
        assert (again.bytes, {one.sent for one in again.releases}) == (0, {0})
        assert all(one.tags == () for one in again.releases)


def test_the_newest_release_is_copied_when_none_is_named(site: Site, far: RunningRegistry) -> None:
    result = sent(site, site.parcels(), far.host)
    assert [(one.name, one.version) for one in result.releases] == [(BASE, "2.0.0"), (WEB, "1.1.0")]


def test_without_parents_the_release_goes_alone(site: Site, far: RunningRegistry) -> None:
    there = client(far.host)
    run(site.parcels(parents=False), site.registry, there, at(far.host))
    with pytest.raises(NotFoundError):
        there.tags(at(far.host)(BASE))


def test_blobs_that_another_repository_over_there_has_are_mounted(site: Site, far: RunningRegistry) -> None:
    with faulty_registry(far.host) as proxy:
        sent(site, site.parcels(every=True), proxy.host)
        assert proxy.count("^POST .*mount=.*from=mirror/debian/base") > 0


def test_a_dry_run_sends_nothing_and_tells_what_it_would(
    site: Site, far: RunningRegistry, tmp_path: Path
) -> None:
    with faulty_registry(far.host) as proxy:
        told = sent(site, site.parcels(), proxy.host, dry_run=True)
        assert not proxy.count("^(PUT|POST|PATCH|DELETE)")
    done = sent(site, site.parcels(), far.host)
    assert (told.dry_run, told.bytes) == (True, done.bytes)
    assert [one.sent for one in told.releases] == [one.sent for one in done.releases]
    absent = OciLayout(tmp_path / "no", absent=True)
    run(site.parcels(), site.registry, absent, in_folder, dry_run=True)
    assert not (tmp_path / "no").exists()


def test_aliases_name_the_highest_release_over_there_that_was_not_yanked(
    site: Site, far: RunningRegistry
) -> None:
    there, place = client(far.host), at(far.host)
    sent(site, site.parcels(every=True), far.host)
    old, new = (one.digest for one in site.parcels("1.0", "1.1", parents=False))
    sent(site, site.parcels("1.0"), far.host)
    assert there.resolve(place(WEB).tagged("v1")).digest == new
    sent(site, site.parcels("1.0"), far.host, yanked=lambda _name: frozenset({"1.1.0"}))
    assert there.resolve(place(WEB).tagged("v1")).digest == old


def test_what_others_listed_over_there_stays_listed(site: Site, far: RunningRegistry) -> None:
    there, place = client(far.host), at(far.host)
    parcel = site.parcels(parents=False)[0]
    sent(site, (parcel,), far.host)
    tag = fallback_tag(parcel.digest)
    index = json.loads(there.unparsed(place(WEB).tagged(tag)))
    kept = index["manifests"].pop()
    mine = push(there, place(WEB), tiny_image(text="scan result"))
    index["manifests"].append({**kept, "digest": mine.value})
    there.put_manifest(place(WEB), tag, spelled(index))
    sent(site, (parcel,), far.host)
    assert listed(there, place(WEB), parcel.digest) == {
        mine.value, *listed(site.registry, parcel.source, parcel.digest)
    }  # fmt: skip


@pytest.mark.parametrize("api_over_there", [True, False])
def test_what_only_the_referrers_api_tells_of_is_copied_too(
    far: RunningRegistry, *, api_over_there: bool
) -> None:
    """A registry without that API gets the list that tells of it there."""
    with memory_registry(api=True, page=1) as near, memory_registry(api=True) as other:
        source, repository = client(near.host), Repository(registry=near.host, path="os/debian/web-1")
        digest = push(source, repository, tiny_image(), "v1.0.0")
        store = Referrers(source, jitter=lambda: 0.5, pause=lambda _: None)
        subject = source.resolve(repository.at(digest))
        documents = [Evidence(kind=kind, data=kind.value.encode()) for kind in (SBOM, GATES)]
        artifacts = [artifact_of(subject, one, NOON) for one in documents]
        store.store(repository, digest, artifacts)
        assert source.tags(repository) == ("v1.0.0",)
        parcel = Parcel(name=WEB, version="1.0.0", digest=digest, source=repository)
        host = other.host if api_over_there else far.host
        there, target = client(host), at(host)(WEB)
        run((parcel,), source, there, at(host))
        found = Referrers(there, jitter=lambda: 0.5, pause=lambda _: None).entries(target, digest)
        assert {one.digest for one in found.entries} == {one.digest for one in artifacts}
        for one in artifacts:
            complete(there, target, one.digest)
        assert (fallback_tag(digest) in there.tags(target)) is not api_over_there
