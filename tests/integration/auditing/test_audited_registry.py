"""`verify` and `audit` of what nobody forged, by every name, and of registries that do not answer."""

from __future__ import annotations

import dataclasses

import pytest
from auditworld import BASE, UPSTREAM, WEB, another, found, looked, new_host, problems, retag, seal
from faultyregistry import Fault, faulty_registry
from registries import free_port
from releaseworld import Quiet, ReleaseWorld
from sealworld import KeysPull
from sshkeys import PROCESSES

from pipeline.adapters.authors import GitAuthors
from pipeline.adapters.gittags import GitTags, Tagging
from pipeline.adapters.referrers import Referrers, SignedStore
from pipeline.adapters.registries import Registries
from pipeline.adapters.registry import Registry
from pipeline.adapters.sshsig import SshSignatures
from pipeline.adapters.transport import Patience
from pipeline.domain.audit import What
from pipeline.domain.image import Repository, Tier
from pipeline.domain.record import Record
from pipeline.errors import NotFoundError, RegistryError, UsageError
from pipeline.verbs.audit import audit
from pipeline.verbs.knowing import Knowing
from pipeline.verbs.seal import seal as release
from pipeline.verbs.seal_parts import SealParts
from pipeline.verbs.seal_plan import Words
from pipeline.verbs.verify import verify, verify_release

pytestmark = pytest.mark.engine


def test_what_was_sealed_as_it_should_verifies_whole(world: ReleaseWorld) -> None:
    verified = verify(f"{WEB}:v1", world.verify_parts())
    assert verified.problems == ()
    assert [one.title for one in verified.tiers] == [f"{WEB} v1.1.0", f"{BASE} v1.0.0", f"{UPSTREAM} v1.0.0"]
    assert looked(world).findings == ()
    report = looked(world, deep=True)
    assert (report.findings, report.images, report.releases, report.deep) == ((), 3, 4, True)


def test_what_the_seal_itself_makes_verifies(world: ReleaseWorld) -> None:
    """The other releases here are made by hand; this one by the verb that makes real ones."""
    one, _ = new_host(world, "web-1")
    world.approved(one, "1.2.0")
    store = SignedStore(world.registry, world.referrers)
    tagging = Tagging(
        key=world.keys / "dan", unsigned=False, identity=("Dan", "dan@example.org"), clock=lambda: world.now
    )
    parts = SealParts(
        ledger=world.ledger(),
        rules=world.rules(),
        signatures=SshSignatures(PROCESSES),
        knowing=Knowing(store=world.referrers, authors=GitAuthors(world.images), branch=world.rules()),
        registry=world.registry,
        keys=(world.signer.key,),
        signer=world.signer,
        signed=store,
        host_pull=KeysPull(store, (world.signer.key,)),
        tags=GitTags(world.images, remote="origin", tagging=tagging, processes=PROCESSES),
        author="Cleo <cleo@example.org>",
        clock=lambda: world.now,
        reporter=Quiet(),
    )
    made = release([one], Words(), parts)
    assert [f"{sealed.seal.name} v{sealed.seal.version}" for sealed in made] == [f"{WEB} v1.2.0"]
    assert verify(WEB, world.verify_parts()).tiers[0].title == f"{WEB} v1.2.0"
    assert problems(world, WEB) == ""
    assert looked(world, deep=True).findings == ()


@pytest.mark.parametrize(
    "form", ["{name}", "{name}:1.1.0", "{repository}:v1", "{repository}:current", "{ref}"]
)
def test_a_release_is_named_in_every_form(world: ReleaseWorld, form: str) -> None:
    newest = seal(world, "web-1 1.1.0")
    ref = form.format(name=WEB, repository=newest.repository, ref=newest.repository.at(newest.digest))
    assert verify(ref, world.verify_parts()).tiers[0].title == f"{WEB} v1.1.0"


def test_what_is_no_release_is_refused_or_said(world: ReleaseWorld) -> None:
    with pytest.raises(NotFoundError):
        verify("debian/web-9", world.verify_parts())
    with pytest.raises(NotFoundError):
        verify(f"{world.repository('web-1')}:v7", world.verify_parts())
    with pytest.raises(UsageError):
        verify("web-1", world.verify_parts())
    stray = another(world, "web-1")
    assert f"the ledger has no release {stray}" in problems(world, str(world.repository("web-1").at(stray)))


def test_images_are_chosen_by_name(world: ReleaseWorld) -> None:
    retag(world, "base", "v1", another(world, "base"))
    assert found(looked(world, WEB)) == []
    assert found(looked(world, BASE)) == [(What.REPUSHED, BASE, "v1")]
    with pytest.raises(UsageError, match="debian/web-9"):
        looked(world, "debian/web-9")


def test_a_ledger_that_grew_meanwhile_is_read_again(world: ReleaseWorld) -> None:
    """The tags of a release are there before its record: nobody forged it who read the ledger too early."""
    world.release("web-1", Tier.INSTANCE, "1.2.0", on=seal(world, "base 1.0.0"))
    newest = world.look().records

    class Growing:
        """Tells at first what was there before the last release."""

        reads = 0

        def read(self, *, offline: bool = False) -> tuple[Record, ...]:
            del offline
            self.reads += 1
            early = next(at for at, one in enumerate(newest) if "1.2.0" in one.title)
            return newest[: early - 3] if self.reads == 1 else newest

    assert found(audit(world.audit_parts(ledger=Growing()))) == []


@pytest.mark.parametrize("status", [401, 429, 503])
def test_a_registry_that_refuses_or_fails_is_an_error_and_never_a_good_end(
    world: ReleaseWorld, status: int
) -> None:
    with faulty_registry(world.host, Fault(path="tags/list", status=status)) as faulty:
        far = Repository(registry=faulty.host, path="os/debian/base")
        with pytest.raises(RegistryError):
            audit(world.audit_parts(defined={"debian/far": far}, store=beside(world)))


def test_a_registry_that_is_away_is_an_error(world: ReleaseWorld) -> None:
    away = Repository(registry=f"127.0.0.1:{free_port()}", path="os/debian/base")
    with pytest.raises(RegistryError):
        audit(world.audit_parts(defined={"debian/far": away}, store=beside(world)))


def test_a_registry_that_goes_away_while_a_release_is_verified_is_an_error(world: ReleaseWorld) -> None:
    """Its own words count: a release is not bad because nobody answers."""
    with faulty_registry(world.host, Fault(path="manifests", status=503)) as faulty:
        one = seal(world, "upstream 1.0.0")
        far = dataclasses.replace(one, repository=dataclasses.replace(one.repository, registry=faulty.host))
        parts = dataclasses.replace(world.verify_parts(), registry=beside(world), signed=beside(world))
        with pytest.raises(RegistryError):
            verify_release(far, parts)


def beside(world: ReleaseWorld) -> Registries:
    """The world's registry, and any other, asked once."""
    hurried = Patience(attempts=1, connect=5, read=5)

    def opened(host: str) -> tuple[Registry, Referrers]:
        if host == world.host:
            return world.registry, world.referrers
        return Registry(host, insecure=True, patience=hurried), world.referrers

    return Registries(opened)
