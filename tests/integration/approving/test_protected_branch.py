"""Where the list of who may approve is read: on the protected branch of the remote, as it is now."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from approvalworld import SETTINGS, World
from ledgers import git
from sshkeys import listed

from pipeline.adapters.protected import ProtectedBranch
from pipeline.errors import DefinitionError, GateRefusedError, NotFoundError, PipelineError, UsageError


def protecting(branch: str) -> str:
    """Settings that name a branch as the protected one."""
    return SETTINGS.format(rule="", more="").replace('branch = "main"', f'branch = "{branch}"')


class TestProtectedBranch:
    """The list of who may approve is never the checkout's."""

    def with_eve(self, world: World) -> None:
        names = ("ada", "ben", "cleo", "dan", "eve")
        world.signers(*(listed(world.keys / name) for name in names))
        text = SETTINGS.format(rule="", more="").replace(
            'robot = ["robot@example.org"]', 'robot = ["robot@example.org"]\neve = ["eve@example.org"]'
        ).replace('"dan", "robot"]', '"dan", "eve"]')  # fmt: skip
        world.settings(text)

    @pytest.mark.parametrize("how", ["work tree", "local branch", "feature branch", "other protected branch"])
    def test_a_list_that_was_not_merged_does_not_count(self, world: World, how: str) -> None:
        if how in ("feature branch", "other protected branch"):
            git(world.top, "checkout", "-q", "-b", "feature")
        self.with_eve(world)
        if how == "other protected branch":
            text = (world.images / "pipeline.toml").read_text()
            world.settings(text.replace('branch = "main"', 'branch = "feature"'))
        if how != "work tree":
            world.commit("let eve in", "eve")
        if how in ("feature branch", "other protected branch"):
            git(world.top, "push", "-q", "origin", "feature")
        one = world.candidate()
        with pytest.raises(UsageError, match="is not on the list of signers of origin/main"):
            world.approve("eve", world.proposal(one))
        found = world.rules().read()
        assert "eve" not in found.settings.people
        assert any("allowed_signers differs in this checkout" in notice for notice in found.notices)
        assert any("pipeline.toml differs in this checkout" in notice for notice in found.notices)

    def test_a_key_that_came_in_the_same_merge_does_not_count(self, world: World) -> None:
        self.with_eve(world)
        world.commit("let eve in", "ada")
        world.push()
        one = world.candidate()
        with pytest.raises(GateRefusedError, match="signed with a key that came with this very change"):
            world.approve("eve", world.proposal(one, since=world.first))
        next_one = world.candidate(2)
        world.approve("eve", world.proposal(next_one, since=next_one.source.commit))
        unknown = dataclasses.replace(one.source, commit=None, clean=None)
        lost = dataclasses.replace(one, source=unknown)
        assert world.known(lost, since=world.first).newcomers == world.known(one, since=world.first).newcomers

    def test_the_newest_list_of_the_remote_counts_without_a_pull(self, world: World, tmp_path: Path) -> None:
        one = world.candidate()
        git(tmp_path, "clone", "-q", str(world.hub), "elsewhere")
        (tmp_path / "elsewhere/images/keys/allowed_signers").write_text(listed(world.keys / "dan"))
        git(tmp_path / "elsewhere", "commit", "-qam", "only dan")
        git(tmp_path / "elsewhere", "push", "-q", "origin", "main")
        with pytest.raises(UsageError, match="is not on the list"):
            world.approve("ben", world.proposal(one))
        before = git(world.top, "rev-parse", "refs/remotes/origin/main")
        assert before == world.first

    def test_the_remote_says_which_branch_is_its_default(self, world: World) -> None:
        git(world.top, "push", "-q", "origin", "main:trunk")
        git(world.hub, "symbolic-ref", "HEAD", "refs/heads/trunk")
        with pytest.raises(NotFoundError, match="there is no branch origin/gone"):
            ProtectedBranch(world.images, remote="origin", branch="gone").read()
        assert world.rules().read().source.startswith("origin/main at")
        git(world.top, "checkout", "-q", "-b", "trunk")
        world.settings(protecting("trunk"))
        world.commit("trunk protects itself", "ada")
        git(world.top, "push", "-q", "origin", "trunk")
        assert world.rules().read().source.startswith("origin/trunk at")
        git(world.top, "push", "-q", "origin", "trunk:main")
        with pytest.raises(DefinitionError, match="names the branch 'trunk' as the protected one"):
            ProtectedBranch(world.images, remote="origin", branch="main").read()

    def test_the_default_branch_may_name_another_one_that_names_itself(self, world: World) -> None:
        git(world.top, "checkout", "-q", "-b", "release")
        world.settings(protecting("release"))
        world.signers(listed(world.keys / "dan"))
        world.commit("rules of releases", "ada")
        git(world.top, "push", "-q", "origin", "release")
        assert world.rules().read().source.startswith("origin/main at")
        git(world.top, "checkout", "-q", "main")
        world.settings(protecting("release"))
        world.commit("releases have rules of their own", "ada")
        world.push()
        found = world.rules().read()
        assert found.source.startswith("origin/release at")
        assert len(found.signers.keys) == 1

    def test_a_branch_that_names_a_third_one_is_refused(self, world: World) -> None:
        for branch, named in (("release", "third"), ("main", "release")):
            git(world.top, "checkout", "-q", "-B", branch)
            world.settings(protecting(named))
            world.commit("x", "ada")
            git(world.top, "push", "-q", "origin", branch)
        with pytest.raises(DefinitionError, match="names the branch 'third' as the protected one"):
            world.rules().read()

    def test_without_a_remote_the_local_branch_is_read_and_that_is_loud(self, world: World) -> None:
        git(world.top, "remote", "remove", "origin")
        one = world.candidate()
        world.approve("ben", world.proposal(one))
        assert any(text.startswith("UNPROTECTED") for text in world.shown[0][1])
        self.with_eve(world)
        with pytest.raises(UsageError, match="is not on the list of signers of main"):
            world.approve("eve", world.proposal(one))

    @pytest.mark.parametrize(
        ("file", "content", "error"),
        [
            ("keys/allowed_signers", None, "has no file images/keys/allowed_signers"),
            ("keys/allowed_signers", Path("/etc/passwd"), "has no file images/keys/allowed_signers"),
            ("keys/allowed_signers", b"* ssh-ed25519 AAAA\n", "is a pattern"),
            ("pipeline.toml", b"[approval\n", r"pipeline\.toml"),
            ("pipeline.toml", b"[approval]\nbranhc = 'x'\n", "unknown key"),
            ("pipeline.toml", b"\xff\xfe", r"pipeline\.toml"),
        ],
    )
    def test_broken_files_on_the_branch_end_in_one_message(
        self, world: World, file: str, content: bytes | Path | None, error: str
    ) -> None:
        path = world.images / file
        path.unlink()
        if isinstance(content, Path):
            path.symlink_to(content)
        elif content is not None:
            path.write_bytes(content)
        world.commit("broken", "ada")
        world.push()
        with pytest.raises(PipelineError, match=error):
            world.rules().read()

    def test_a_remote_that_is_gone_is_told(self, world: World) -> None:
        world.hub.rename(world.hub.with_name("moved.git"))
        with pytest.raises(PipelineError, match="for who may approve"):
            world.rules().read()
