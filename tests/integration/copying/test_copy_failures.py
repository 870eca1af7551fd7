"""A copy that is killed or whose registries fail: what a release tag over there names is whole."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal

import pytest
from copyworld import Site, at, client, complete, listed, run, same, sent
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from registries import RunningRegistry

from pipeline.adapters.registry import Registry
from pipeline.domain.image import Repository
from pipeline.domain.parcel import Parcel
from pipeline.errors import NotFoundError, RegistryError

pytestmark = pytest.mark.engine


def mortal(site: Site, host: str, at_step: int) -> None:
    steps = iter(range(1, 1 << 30))

    def step(_name: str) -> None:
        if next(steps) == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    run(site.parcels("1.1"), client(site.host), client(host), at(host), on_step=step)


def released(there: Registry, target: Repository, parcel: Parcel) -> bool:
    try:
        there.resolve(target.tagged(parcel.tag))
    except NotFoundError:
        return False
    return True


def test_killed_before_any_step_what_has_a_release_tag_is_whole_and_run_again_all_is_there(
    site: Site, far: RunningRegistry
) -> None:
    """One far side for all: what each killed run left is where the next one begins."""
    there, place = client(far.host), at(far.host)
    killed, step = True, 0
    while killed:
        step += 1
        process = multiprocessing.get_context("fork").Process(target=mortal, args=(site, far.host, step))
        process.start()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed = process.exitcode != 0
        for parcel in site.parcels("1.1"):
            if released(there, place(parcel.name), parcel):
                complete(there, place(parcel.name), parcel.digest)
                assert listed(there, place(parcel.name), parcel.digest)
                assert there.resolve(place(parcel.name).tagged(f"sha256-{parcel.digest.hex}.sig"))
    assert step > 20
    same(site, there, place, ("1.1.0",))


@pytest.mark.parametrize("side", ["near", "far"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(path="/blobs/", status=401),
        Fault(path="/blobs/", status=503),
        Fault(path="/blobs/", status=429, headers={"Retry-After": "0"}),
        Fault(path="/blobs/", drop="before"),
        Fault(path="^(GET|PUT) .*/manifests/", status=500),
    ],
    ids=["401", "503", "429", "dropped", "500"],
)
def test_a_registry_that_fails_ends_the_run_without_a_release_tag(
    site: Site, proxy: FaultyRegistry, far: RunningRegistry, side: str, fault: Fault
) -> None:
    with faulty_registry(far.host) as gate:
        broken = proxy if side == "near" else gate
        parcels = site.parcels()
        broken.faults.append(
            Fault(**{name: getattr(fault, name) for name in ("path", "status", "headers", "drop")})
        )
        with pytest.raises(RegistryError):
            sent(site, parcels, gate.host)
        broken.faults.clear()
        there, place = client(gate.host), at(gate.host)
        for parcel in parcels:
            with pytest.raises(NotFoundError):
                there.resolve(place(parcel.name).tagged(parcel.tag))
        sent(site, parcels, gate.host)
        same(site, there, place, ("1.1.0",))


@pytest.mark.parametrize("path", ["^GET .*/blobs/", "^GET .*/manifests/sha256:"])
def test_a_source_that_hands_out_other_bytes_is_noticed(
    site: Site, proxy: FaultyRegistry, far: RunningRegistry, path: str
) -> None:
    proxy.faults.append(Fault(path=path, flip=True))
    with pytest.raises(RegistryError):
        run(site.parcels(), client(proxy.host), client(far.host), at(far.host))


def test_a_platform_that_the_source_has_lost_stops_the_copy(
    site: Site, proxy: FaultyRegistry, far: RunningRegistry
) -> None:
    base = site.parcels()[0]
    child = json.loads(site.registry.manifest(base.source.at(base.digest)))["manifests"][0]["digest"]
    proxy.faults.append(Fault(path=f"/manifests/{child}", status=404))
    with pytest.raises(NotFoundError, match="which is not there"):
        sent(site, site.parcels(), far.host)
