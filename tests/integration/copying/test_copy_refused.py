"""What `pipeline copy` refuses: what differs over there, and releases that are not to be had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from copyworld import WEB, Site, at, client, sent, verified
from cosigntool import key_pair, sign
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from records import NOON, yank
from registries import RunningRegistry

from images import push, spelled, tiny_image
from pipeline.domain.lineage import Lineage
from pipeline.domain.parcel import parcels_of
from pipeline.domain.release import Removed, Retention
from pipeline.errors import GateRefusedError, NotFoundError, UsageError

pytestmark = pytest.mark.engine


def test_a_release_tag_that_names_something_else_over_there_is_refused_before_anything_is_sent(
    site: Site, far: RunningRegistry
) -> None:
    there, place = client(far.host), at(far.host)
    other = push(there, place(WEB), tiny_image(text="another"), "v1.1.0")
    with faulty_registry(far.host) as proxy:
        with pytest.raises(GateRefusedError, match="a release tag never changes"):
            sent(site, site.parcels(), proxy.host)
        assert not proxy.count("^(PUT|POST|PATCH|DELETE)")
    assert there.resolve(place(WEB).tagged("v1.1.0")).digest == other


def test_a_release_tag_that_appears_meanwhile_is_refused_at_the_end(site: Site, far: RunningRegistry) -> None:
    there, place = client(far.host), at(far.host)

    def step(name: str) -> None:
        if name == "release v1.1.0":
            push(there, place(WEB), tiny_image(text="another"), "v1.1.0")

    with pytest.raises(GateRefusedError, match="a release tag never changes"):
        sent(site, site.parcels(), far.host, on_step=step)


def test_signatures_over_there_are_never_lost(site: Site, far: RunningRegistry, tmp_path: Path) -> None:
    there, place = client(far.host), at(far.host)
    sent(site, site.parcels(), far.host)
    parcel = site.parcels()[-1]
    tag = f"sha256-{parcel.digest.hex}.sig"
    key, _ = key_pair(tmp_path, "theirs")
    sign(key, f"{place(WEB)}@{parcel.digest}")
    both = there.resolve(place(WEB).tagged(tag)).digest
    assert both != site.registry.resolve(parcel.source.tagged(tag)).digest
    sent(site, site.parcels(), far.host)
    assert there.resolve(place(WEB).tagged(tag)).digest == both
    verified(site, f"{place(WEB)}@{parcel.digest}")
    theirs = json.loads(there.manifest(place(WEB).tagged(tag)))
    theirs["layers"] = theirs["layers"][-1:]
    there.put_manifest(place(WEB), tag, spelled(theirs))
    with pytest.raises(GateRefusedError, match="neither has all"):
        sent(site, site.parcels(), far.host)


def test_yanked_releases_are_not_copied(site: Site) -> None:
    records = site.ledger().read()
    seal = Lineage(records).find(WEB, "1.1.0")
    left = parcels_of([*records, yank(seal)], WEB, (), every=True, parents=False)
    assert [one.version for one in left] == ["1.0.0"]
    with pytest.raises(GateRefusedError, match="was yanked"):
        parcels_of([*records, yank(seal)], WEB, ["1.1.0"], every=False, parents=False)
    with pytest.raises(UsageError):
        parcels_of(records, WEB, ["1.1.0"], every=True, parents=False)
    with pytest.raises(NotFoundError):
        parcels_of(records, "debian/web-9", (), every=False, parents=False)


def test_releases_that_were_pruned_are_left_out_or_told_of(site: Site) -> None:
    records = site.ledger().read()
    seal = Lineage(records).find(WEB, "1.0.0")
    gone = Removed(repository=seal.repository, digest=seal.digest, reason="old")
    records = (*records, Retention(time=NOON, author="Ben", removed=(gone,)))
    left = parcels_of(records, WEB, (), every=True, parents=False)
    assert [one.version for one in left] == ["1.1.0"]
    with pytest.raises(NotFoundError, match="was deleted by `pipeline prune`"):
        parcels_of(records, WEB, ["v1.0.0"], every=False, parents=False)


@pytest.mark.parametrize("lost", ["signature", "tag"])
def test_a_release_that_has_lost_a_signature_is_not_copied(
    site: Site, proxy: FaultyRegistry, far: RunningRegistry, lost: str
) -> None:
    parcel = site.parcels(parents=False)[0]
    signature = f"sha256-{parcel.digest.hex}.sig"
    sealed = site.registry.resolve(parcel.source.tagged(signature)).digest
    parcel = replace(parcel, signatures=(sealed,))
    proxy.faults.append(Fault(path=f"manifests/{sealed if lost == 'signature' else signature}", status=404))
    if lost == "signature":  # what is under the tag is another one then
        proxy.faults.append(Fault(path=f"manifests/{signature}", status=404))
    with pytest.raises(NotFoundError, match=r"belongs to debian/web-1 v1\.1\.0 and is not there"):
        sent(site, (parcel,), far.host)
