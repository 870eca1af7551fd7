"""`pipeline rollback` as people call it: real releases verified for real, a host behind a real sshd."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from commandline import run_main
from hostbench import HostBench
from hostmachine import machine_state
from ledgers import git
from records import yank
from registries import RunningRegistry, running_registry
from releaseworld import ReleaseWorld, Restorable

from pipeline.adapters.scaffold import ScaffoldFolder, installed_source
from pipeline.domain.image import Digest, Tier
from pipeline.domain.release import Deployment
from pipeline.verbs.init import init

pytestmark = pytest.mark.engine

WHY = "1.1 loses mail"
Says = Callable[..., tuple[int, str, str]]


class Made:
    """A base and three releases of a host on it; the host's channel names the last."""

    def __init__(self, folder: Path, running: RunningRegistry) -> None:
        (folder / "world").mkdir()
        self.world = ReleaseWorld(folder / "world", running.host)
        upstream = self.world.release("upstream", Tier.UPSTREAM)
        old = self.world.release("base", Tier.BASE, on=upstream)
        new = self.world.release("base", Tier.BASE, "1.1.0", on=upstream)
        self.world.release("web-1", Tier.INSTANCE, on=old)
        self.world.release("web-1", Tier.INSTANCE, "1.0.1", on=new)
        self.world.release("web-1", Tier.INSTANCE, "1.1.0", on=new)
        self._settle(running.host)
        self.kept = Restorable(folder / "kept", folder / "world", running.storage)

    def _settle(self, host: str) -> None:
        """Put definitions and settings into the checkout, as whoever rolls back has them."""
        scaffold = self.world.top.parent / "scaffold"
        init(
            ScaffoldFolder(installed_source()), scaffold, line="debian", registry=f"{host}/os", insecure=True
        )
        (self.world.images / "keys/release.pub").write_text(self.world.signer.key.pem)
        approval = (self.world.images / "pipeline.toml").read_text()
        rest = (scaffold / "images/pipeline.toml").read_text()
        (self.world.images / "pipeline.toml").write_text(rest + approval)
        for name in ("images/debian", "Containerfiles"):
            (scaffold / name).rename(self.world.top / name)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("command")
    with running_registry(folder / "registry") as running:
        yield Made(folder, running)


@pytest.fixture
def world(made: Made) -> Iterator[ReleaseWorld]:
    yield made.world
    made.kept.restore()


@pytest.fixture
def says(world: ReleaseWorld, capsys: pytest.CaptureFixture[str]) -> Says:
    def run(*words: str) -> tuple[int, str, str]:
        code = run_main("--images", str(world.images), "--quiet", *words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def channel(world: ReleaseWorld) -> Digest:
    return world.registry.resolve(world.repository("web-1").tagged("current")).digest


def steps(world: ReleaseWorld) -> list[str]:
    found = [one for one in world.ledger().read() if isinstance(one, Deployment)]
    return [f"{one.step} v{one.version}" for one in found]


def digest(world: ReleaseWorld, version: str) -> Digest:
    return world.seals[f"web-1 {version}"].digest


def test_a_rollback_without_access_moves_the_channel_and_prints_the_command(
    world: ReleaseWorld, says: Says
) -> None:
    code, out, err = says("rollback", "web-1", "v1.0", "--why", WHY)
    assert (code, channel(world)) == (0, digest(world, "1.0.1")), err
    assert f"bootc switch --enforce-container-sigpolicy {world.repository('web-1')}@{channel(world)}" in out
    assert "/var does not come back" in err
    assert steps(world) == ["wanted v1.0.1", "channel v1.0.1"]


def test_a_plan_as_json_tells_what_differs_and_moves_nothing(world: ReleaseWorld, says: Says) -> None:
    code, out, err = says("--json", "rollback", "debian/web-1", "v1.0.0", "--why", WHY, "--plan")
    found: Any = json.loads(out)
    assert code == 0, err
    assert (found["verifies"], found["problems"], found["changes_unknown"]) == (True, [], None)
    assert (found["from"]["version"], found["to"]["version"]) == ("1.1.0", "1.0.0")
    assert found["changes"]["others"], "two images of other files differ in files"
    assert (channel(world), steps(world)) == (digest(world, "1.1.0"), [])


def test_a_release_whose_signature_was_stripped_is_refused(world: ReleaseWorld, says: Says) -> None:
    stripped = world.repository("web-1").tagged(f"sha256-{digest(world, '1.0.1').hex}.sig")
    world.registry.delete_manifest(stripped.repository, world.registry.resolve(stripped).digest)
    code, _, err = says("rollback", "web-1", "v1.0.1", "--why", WHY)
    assert (code, "does not verify" in err) == (1, True)
    assert (channel(world), steps(world)) == (digest(world, "1.1.0"), [])
    code, _, err = says("rollback", "web-1", "v1.0.1", "--why", WHY, "--unsafe-unverified")
    assert (code, "DOES NOT VERIFY" in err) == (0, True)
    assert channel(world) == digest(world, "1.0.1")


def test_a_yanked_release_is_refused_and_one_on_a_yanked_base_is_warned_of(
    world: ReleaseWorld, says: Says
) -> None:
    world.write(yank(world.seals["base 1.1.0"]), yank(world.seals["web-1 1.1.0"]))
    code, _, err = says("rollback", "web-1", "v1.1", "--why", WHY)
    assert (code, "was yanked" in err) == (1, True)
    _, out, _ = says("rollback", "web-1", "v1.0.1", "--why", WHY, "--plan")
    assert "built on debian/base v1.1.0, which was yanked" in out
    code, out, err = says("rollback", "--all-hosts-on", "debian/base:v1.1", "--why", WHY)
    assert (code, channel(world)) == (0, digest(world, "1.0.0")), err


WRONG = (
    ["web-1", "--why", WHY],
    ["web-1", "v1.0", "--why", WHY, "--host-access", "ssh://-oProxyCommand=x"],
    ["--all-hosts-on", "v1.1", "--why", WHY, "--host-access", "ssh://root@one.example.org"],
    ["--all-hosts-on", "v1.1", "web-1", "v1.0", "--why", WHY],
    ["web-1", "v1.0", "--why", "two\nlines"],
    ["web-1", "1.0; reboot", "--why", WHY],
    ["debian/base", "v1.0", "--why", WHY],
)


def test_words_that_do_not_go_together_are_refused(world: ReleaseWorld, says: Says) -> None:
    for words in WRONG:
        code, _, err = says("rollback", *words)
        assert code == 2, (words, err)
    assert (channel(world), steps(world)) == (digest(world, "1.1.0"), [])


def test_a_host_behind_ssh_is_switched_waited_for_and_read_back(
    world: ReleaseWorld, says: Says, tmp_path: Path
) -> None:
    with HostBench(tmp_path) as bench:
        tag = str(world.repository("web-1").tagged("current"))
        entries = [
            {"reference": tag, "digest": str(digest(world, version)), "masked": [], "pinned": False}
            for version in ("1.1.0", "1.0.1")
        ]
        bench.become({**machine_state("bootc"), "entries": entries, "tags": {tag: entries[0]["digest"]}})
        reach = ("--host-access", f"ssh://{bench.address}", "--known-hosts", str(bench.known_hosts))
        words = ("rollback", "web-1", "v1.0", "--why", WHY, *reach, "--identity", str(bench.identity))
        code, out, err = says("--json", *words)
        assert code == 0, err
        found: Any = json.loads(out)
        assert [one["action"] for one in found["done"]] == ["pause", "rollback", "reboot"]
        booted = next(one for one in found["state"]["entries"] if one["role"] == "booted")
        assert booted["digest"] == str(digest(world, "1.0.1")) == str(channel(world))
        assert bench.machine.state["boots"] == 1
    assert steps(world) == [f"{step} v1.0.1" for step in ("wanted", "channel", "staged", "booted")]
    assert git(world.top, "log", "-1", "--format=%s", "pipeline-ledger").startswith("deployment web-1 booted")
