"""Seals that are killed at every moment they have, and seals at the same time from several clones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from ledgers import git
from registries import RunningRegistry, running_registry
from releaseworld import Restorable
from sealworld import Moments, SealWorld, begin, end

from pipeline.domain.image import Tier
from pipeline.domain.lineage import CHANNEL, Lineage
from pipeline.domain.record import Candidate, Record
from pipeline.domain.release import Reservation, Seal
from pipeline.errors import SealConflictError
from pipeline.verbs.signing import read_signed

pytestmark = pytest.mark.engine


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[RunningRegistry]:
    """A registry whose storage can be put back."""
    with running_registry(tmp_path / "registry", remembers=False) as registry:
        yield registry


@pytest.fixture
def world(tmp_path: Path, forgetful: RunningRegistry) -> Iterator[SealWorld]:
    folder = tmp_path / "world"
    folder.mkdir()
    made = SealWorld(folder, forgetful.host)
    yield made
    made.close()


def require_no_half_release(
    world: SealWorld, wanted: Sequence[Candidate], before: tuple[Record, ...]
) -> None:
    """What is to be seen of releases whose seal was killed: nothing, or what rests on what went before."""
    records, tags = world.records(), set(world.git_tags())
    assert records[: len(before)] == before
    for one in wanted:
        mine = [found for found in records if getattr(found, "digest", None) == one.digest]
        reserved = {found.version for found in mine if isinstance(found, Reservation)}
        sealed = {found.version for found in mine if isinstance(found, Seal)}
        named = {tag for tag, digest in world.names(one.image).items() if digest == one.digest}
        moved = {tag for tag in named if tag.count(".") != 2}
        assert {tag[1:] for tag in named - moved} <= reserved
        assert sealed <= reserved
        if moved or sealed:
            store = world.parts().signed
            found = read_signed(store, one.repository, one.digest, world.keys_trusted, {})
            assert found.key is not None
            assert {f"debian/{one.image}/v{version}" for version in reserved} <= tags
        if sealed:
            assert CHANNEL in moved


def require_released(world: SealWorld, wanted: Sequence[Candidate]) -> None:
    """Everything of each release is there, once."""
    records, tags = world.records(), world.git_tags()
    lineage, store = Lineage(records), world.parts().signed
    for one in wanted:
        [seal] = [found for found in records if isinstance(found, Seal) and found.digest == one.digest]
        found = read_signed(store, one.repository, one.digest, world.keys_trusted, seal.signatures)
        assert (found.problems, found.notes) == ((), ())
        assert lineage.tags(seal.name) == world.names(one.image)
        assert seal.git_tag in tags
        assert f"{one.repository}@{one.digest}" in world.verified(seal.git_tag)
        versions = [release.version for release in lineage.releases(seal.name)]
        assert versions == [f"1.{number}.0" for number in range(len(versions))]


class Photographer(Moments):
    """Keeps what a killed seal would leave, the shared repository, the checkout and the registry, at moments.

    Of several alike (attestations, aliases of the second image) the first is taken. A blob that nothing names
    is left out: nobody can see it.
    """

    def __init__(self, folder: Path, *seen_by_others: Path) -> None:
        super().__init__()
        self.folder, self._folders = folder, seen_by_others

    def __call__(self, what: str) -> None:
        super().__call__(what)
        if what in self.seen[:-1] or what == "blob" or what.startswith("debian/web-1:v1"):
            return
        pictures = Restorable(self.folder / str(len(self.seen)), *self._folders)
        (pictures.kept / "moment").write_text(what)

    def pictures(self) -> list[tuple[str, Restorable]]:
        """The moments and what there was, in their order; taken by this object in another process."""
        numbers = sorted(int(path.name) for path in self.folder.iterdir())
        found = [Restorable(self.folder / str(number), *self._folders) for number in numbers]
        return [((one.kept / "moment").read_text(), one) for one in found]


def require_completes(
    world: SealWorld, wanted: Sequence[Candidate], before: tuple[Record, ...], moment: str
) -> None:
    """What a killed seal left is no half release, and the same command makes a whole one of it."""
    require_no_half_release(world, wanted, before)
    process, said = begin(world, wanted)
    assert end(process, said) == ("already" if moment == "recorded" else "sealed"), moment
    require_released(world, wanted)


def test_killed_at_every_moment_the_same_command_completes(
    world: SealWorld, forgetful: RunningRegistry
) -> None:
    base = world.released(parent=world.top_down())
    wanted = [world.built(name, Tier.INSTANCE, parent=base) for name in ("db-1", "web-1")]
    world.agree(*wanted)
    before = world.records()
    folders = (world.hub, world.top, forgetful.storage)
    start = Restorable(world.folder / "start", *folders)
    photographer = Photographer(world.folder / "pictures", *folders)
    process, said = begin(world, wanted, moments=photographer)
    assert end(process, said) == "sealed"
    require_released(world, wanted)
    moments = said.with_suffix(".moments").read_text().splitlines()
    kinds = {one.split(":")[-1].split(" ")[0] for one in moments}
    assert {"reserved", "tagged", "attestation", "signed", "verified", "git", "current", "moved"} <= kinds
    for moment, pictures in photographer.pictures():
        pictures.restore()
        require_completes(world, wanted, before, moment)
    # A picture is what a kill leaves: no more comes of a process that is killed in truth.
    for moment in ("tagged", "signed 2"):
        start.restore()
        process, said = begin(world, wanted, at=moments.index(moment) + 1)
        assert end(process, said) == "killed"
        require_completes(world, wanted, before, moment)


def test_eight_seals_of_one_image_from_eight_clones(world: SealWorld) -> None:
    one = world.built("upstream", Tier.UPSTREAM)
    world.agree(one)
    clones = [world.clone(f"clone-{number}") for number in range(8)]
    running = [begin(clone, [one]) for clone in clones]
    said = sorted(end(*one) for one in running)
    assert said == ["already"] * 7 + ["sealed"]
    assert len(world.seals()) == 1
    store = world.parts().signed
    [seal] = world.seals()
    found = read_signed(store, one.repository, one.digest, world.keys_trusted, seal.signatures)
    assert found.problems == ()
    assert world.git_tags() == ["debian/upstream/v1.0.0"]
    assert world.names("upstream") == dict.fromkeys(("v1.0.0", "v1.0", "v1"), one.digest)


def test_eight_seals_of_one_version_from_eight_clones(world: SealWorld) -> None:
    found = [world.built("upstream", Tier.UPSTREAM) for _ in range(8)]
    for one in found:
        world.agree(one)
    clones = [world.clone(f"clone-{number}") for number in range(8)]
    running = [begin(clone, [one], version="1.0.0") for clone, one in zip(clones, found, strict=True)]
    said = [end(*one) for one in running]
    won = [one for one, what in zip(found, said, strict=True) if what == "sealed"]
    lost = [what for what in said if what != "sealed"]
    assert len(won) == 1
    # Who lost is told by what it met first: the reservation, the registry's tag or the git tag of another.
    refused = f"{SealConflictError.exit_code} "
    assert all(what.startswith(refused) and "v1.0.0" in what for what in lost), lost
    [seal] = world.seals()
    assert (seal.digest, seal.version) == (won[0].digest, "1.0.0")
    assert world.names("upstream") == dict.fromkeys(("v1.0.0", "v1.0", "v1"), seal.digest)
    assert git(world.hub, "tag", "--list") == "debian/upstream/v1.0.0"
