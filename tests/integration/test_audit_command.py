"""`pipeline verify` and `pipeline audit` as people and CI call them: what they print, and how they end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import run_main
from ledgers import REF, git
from registries import running_registry
from releaseworld import ReleaseWorld, Restorable

from images import push, tiny_image
from pipeline.domain.image import Tier

pytestmark = pytest.mark.engine
Says = Callable[..., tuple[int, str, str]]


class Made:
    """A host's release and all it is built on."""

    def __init__(self, folder: Path, host: str, storage: Path) -> None:
        (folder / "world").mkdir()
        self.world = ReleaseWorld(folder / "world", host)
        upstream = self.world.release("upstream", Tier.UPSTREAM)
        base = self.world.release("base", Tier.BASE, on=upstream)
        self.world.release("web-1", Tier.INSTANCE, on=base)
        self.world.settle()
        self.kept = Restorable(folder / "kept", folder / "world", storage)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("audit-command")
    with running_registry(folder / "registry") as running:
        yield Made(folder, running.host, running.storage)


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


def implant(world: ReleaseWorld, image: str, tag: str) -> None:
    push(world.registry, world.repository(image), tiny_image(text=f"an implant for {image}:{tag}"), tag)


def test_a_good_release_is_shown_check_by_check_and_tier_by_tier(says: Says) -> None:
    code, shown, _ = says("verify", "debian/web-1:v1.0")
    assert code == 0
    for expected in ("debian/web-1 v1.0.0", "debian/base v1.0.0", "debian/upstream v1.0.0", "signature", "✓"):
        assert expected in shown
    assert "✗" not in shown
    assert "debian/web-1 v1.0.0 and the 2 it is built on verify" in shown


def test_whatever_is_wrong_anywhere_below_ends_verify_with_1(world: ReleaseWorld, says: Says) -> None:
    implant(world, "upstream", "v1.0.0")
    code, shown, _ = says("--json", "verify", "debian/web-1")
    document = json.loads(shown)
    assert (code, document["ok"]) == (1, False)
    assert document["problems"][0].startswith("debian/upstream v1.0.0: tag: v1.0.0 names sha256:")
    assert [tier["image"] for tier in document["tiers"]] == ["debian/web-1", "debian/base", "debian/upstream"]
    assert "✗ debian/upstream v1.0.0: tag" in says("verify", "debian/web-1")[1]


def test_an_image_that_was_never_released_and_one_that_is_none(says: Says) -> None:
    assert says("verify", "debian/db-1")[0] == 9
    assert says("verify", "what is this?")[0] == 2
    assert says("verify")[0] == 2


@pytest.mark.parametrize("deep", [(), ("--deep",)])
def test_a_registry_as_the_ledger_says_ends_audit_with_0(says: Says, deep: tuple[str, ...]) -> None:
    code, shown, _ = says("audit", *deep)
    assert (code, "3 releases of" in shown) == (0, True)
    code, shown, _ = says("--json", "audit", "web-1", *deep)
    document = json.loads(shown)
    assert (code, document["ok"], document["releases"], document["findings"]) == (0, True, 1, [])
    assert document["deep"] is bool(deep)


def test_a_forgery_ends_audit_with_1_and_only_where_it_was_looked_for(
    world: ReleaseWorld, says: Says
) -> None:
    implant(world, "web-1", "current")
    code, shown, _ = says("--json", "audit")
    found = json.loads(shown)["findings"]
    assert (code, [(one["what"], one["image"], one["release"]) for one in found]) == (
        1,
        [("channel-moved", "debian/web-1", "current")],
    )
    assert "✗ channel-moved" in says("audit")[1]
    assert says("audit", "base")[0] == 0
    assert says("audit", "nobody")[0] == 2


def test_a_rewritten_ledger_ends_both_with_its_own_code(world: ReleaseWorld, says: Says) -> None:
    assert says("audit")[0] == 0
    git(world.hub, "update-ref", REF, f"{REF}~1")
    for words in (("audit",), ("verify", "debian/web-1")):
        code, shown, told = says(*words)
        assert (code, shown) == (12, "")
        assert "rewritten or truncated" in told
