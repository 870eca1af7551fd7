"""Seals and their signatures: the key that signs, hosts that trust it, and the tag in git."""

from __future__ import annotations

from pathlib import Path

import pytest
from ledgers import git
from registries import RunningRegistry
from sealagain import SealAgain
from sealworld import BlindPull, KeysPull, SealWorld, Silent
from signingkit import FastSigner

from pipeline.domain.image import Tier
from pipeline.domain.record import SourceState
from pipeline.domain.release import Reservation
from pipeline.errors import (
    GateRefusedError,
    NotFoundError,
    SealConflictError,
    SignatureError,
    UsageError,
)
from pipeline.verbs.seal import seal
from pipeline.verbs.seal_plan import Words, plan_seal
from pipeline.verbs.signing import UnsafeUnsigned

pytestmark = pytest.mark.engine
UNSIGNED = UnsafeUnsigned()
NOBODY = "[approval.rules.upstream]\nunsafe_no_approval = true\n"


@pytest.fixture
def running(seals: SealAgain) -> RunningRegistry:
    return seals.running


@pytest.fixture
def world(seals: SealAgain) -> SealWorld:
    return seals.again()


class TestSigning:
    """Who signs, and who trusts it."""

    def test_a_key_that_nobody_trusts(self, world: SealWorld) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)
        with pytest.raises(SignatureError, match="is none of the release keys"):
            world.seal(one, signer=FastSigner("new.pub"))
        assert world.names("upstream") == {}
        assert not any(isinstance(record, Reservation) for record in world.records())

    def test_a_key_that_the_release_before_does_not_trust(self, world: SealWorld) -> None:
        upstream = world.top_down()
        first = world.released(parent=upstream)
        second = world.built(parent=upstream)
        world.agree(second)
        new = FastSigner("new.pub")
        world.keys_trusted = (world.signer.key, new.key)
        parts = world.parts()
        assert isinstance(parts.host_pull, KeysPull)
        parts.host_pull.trusts[first.digest] = (world.signer.key,)
        with pytest.raises(GateRefusedError, match=r"does not trust the key new\.pub"):
            world.seal(second, host_pull=parts.host_pull, signer=new)
        assert "v1.1.0" not in world.names()
        assert not [one for one in world.records() if isinstance(one, Reservation) and one.version == "1.1.0"]
        [made] = world.seal(second)
        assert made.seal.version == "1.1.0"

    def test_a_release_that_hosts_refuse_when_they_pull_it(self, world: SealWorld) -> None:
        upstream = world.top_down()
        first = world.released(parent=upstream)
        second = world.built(parent=upstream)
        world.agree(second)
        new = FastSigner("new.pub")
        world.keys_trusted = (world.signer.key, new.key)
        parts = world.parts()
        pull = BlindPull(parts.signed, world.keys_trusted)
        pull.trusts[first.digest] = (world.signer.key,)
        with pytest.raises(
            GateRefusedError, match=rf"a host of {first.repository}@{first.digest} cannot pull"
        ):
            world.seal(second, host_pull=pull, signer=new)
        assert world.names()["v1"] == first.digest
        assert "debian/base/v1.1.0" not in world.git_tags()
        [made] = world.seal(second)
        assert made.seal.version == "1.1.0"

    def test_unsigned_is_loud_at_every_step(self, world: SealWorld) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)
        world.reporter = Silent()
        plan = plan_seal([one], Words(), world.parts(signer=UNSIGNED))
        assert UNSIGNED.warning in plan.warnings
        [made] = world.seal(one, signer=UNSIGNED)
        assert world.reporter.notes == [UNSIGNED.warning] * 8
        assert made.seal.signatures == {}
        assert "Signed: no" in world.verified("debian/upstream/v1.0.0")
        two = world.built("upstream", Tier.UPSTREAM)
        world.agree(two)
        with pytest.raises(GateRefusedError, match="released without a signature; yank it first"):
            world.seal(two)
        [made] = world.seal(two, signer=UNSIGNED)
        assert made.seal.version == "1.1.0"

    def test_a_rule_that_asks_nobody_needs_words(self, tmp_path: Path, running: RunningRegistry) -> None:
        world = SealWorld(tmp_path, running.host, path="nobody", tables=NOBODY)
        one = world.built("upstream", Tier.UPSTREAM)
        with pytest.raises(UsageError, match="nobody has to approve debian/upstream"):
            world.seal(one)
        plan = plan_seal([one], Words(what="first", why="to try it"), world.parts())
        assert any("unsafe_no_approval" in text for text in plan.warnings)
        assert (plan.sealings[0].what, plan.sealings[0].why) == ("first", "to try it")
        world.close()


class TestGitTags:
    """The tag in git."""

    def test_without_a_key_nothing_is_written(self, world: SealWorld) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)
        before = world.records()
        for tags in (world.tags(None), world.tags("nobody")):
            with pytest.raises(UsageError, match="to sign git tags with"):
                world.seal(one, tags=tags)
        assert (world.records(), world.names("upstream")) == (before, {})

    def test_gits_own_key_is_used(self, world: SealWorld) -> None:
        git(world.top, "config", "gpg.format", "ssh")
        git(world.top, "config", "user.signingkey", str(world.keys / "dan.pub"))
        with pytest.raises(SignatureError, match="ssh-keygen did not sign"):
            world.top_down_with(world.tags(None))
        git(world.top, "config", "user.signingkey", str(world.keys / "dan"))
        world.top_down_with(world.tags(None))
        assert "debian/upstream v1.0.0" in world.verified("debian/upstream/v1.0.0")

    def test_an_unsigned_tag_is_only_written_when_told(self, world: SealWorld) -> None:
        world.top_down_with(world.tags(None, unsigned=True))
        text = git(world.hub, "cat-file", "tag", "debian/upstream/v1.0.0")
        assert "SSH SIGNATURE" not in text

    @pytest.mark.parametrize("where", ["here", "on the remote"])
    def test_a_tag_of_something_else_is_refused_first(self, world: SealWorld, where: str) -> None:
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)
        git(world.top, "tag", "-a", "-m", "mine", "debian/upstream/v1.0.0")
        if where != "here":
            git(world.top, "push", "-q", "origin", "debian/upstream/v1.0.0")
            git(world.top, "tag", "-d", "debian/upstream/v1.0.0")
        before = world.records()
        with pytest.raises(SealConflictError, match=r"git tag debian/upstream/v1\.0\.0 (here|on origin)"):
            world.seal(one)
        assert (world.records(), world.names("upstream")) == (before, {})

    def test_a_commit_this_clone_lacks(self, tmp_path: Path, running: RunningRegistry) -> None:
        world = SealWorld(tmp_path, running.host, path="lost", tables=NOBODY)
        one = world.built("upstream", Tier.UPSTREAM, source=SourceState(commit="1" * 40, clean=True))
        with pytest.raises(NotFoundError, match="this clone does not have the commit 1111"):
            seal([one], Words(why="to try it"), world.parts())
        assert world.names("upstream") == {}
        world.close()

    def test_an_image_of_no_commit_gets_no_tag(self, tmp_path: Path, running: RunningRegistry) -> None:
        world = SealWorld(tmp_path, running.host, path="commitless", tables=NOBODY)
        one = world.built("upstream", Tier.UPSTREAM, source=SourceState())
        [made] = seal([one], Words(why="to try it"), world.parts())
        assert made.seal.git_tag == ""
        assert world.git_tags() == []
        world.close()

    def test_without_a_remote_the_tag_is_here(self, world: SealWorld) -> None:
        git(world.top, "remote", "remove", "origin")
        one = world.built("upstream", Tier.UPSTREAM)
        world.agree(one)
        world.seal(one)
        assert git(world.top, "tag", "--list") == "debian/upstream/v1.0.0"
