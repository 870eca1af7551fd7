"""`pipeline prune` and `pipeline copy` as they are typed, on a scaffolded project with a real registry."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import git
from registries import RunningRegistry, running_registry
from retentionworld import World

from pipeline.cli import main
from pipeline.domain.release import Retention


class Typed:
    """A project, and what its user sees."""

    def __init__(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        self.world = world
        self._capsys = capsys

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run a command; return its exit code, what it printed, and what it told."""
        self._capsys.readouterr()
        code = main(list(words))
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("project")
    with running_registry(folder / "registry") as real:
        world = World(folder, real.host)
        world.begin()
        world.fill()
        scaffold = str(folder / "scaffold")
        assert (
            main(["-q", "init", scaffold, "--lines", "debian", "--registry", f"{real.host}/os", "--insecure"])
            == 0
        )
        shutil.copytree(scaffold, world.clone, dirs_exist_ok=True)
        git(world.clone, "config", "user.name", "Ben")
        yield world


@pytest.fixture
def typed(project: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Typed:
    monkeypatch.chdir(project.clone)
    return Typed(project, capsys)


@pytest.fixture
def far(tmp_path: Path) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path / "far") as real:
        yield real


def test_into_a_folder_and_out_of_it_where_no_definitions_are(
    typed: Typed, far: RunningRegistry, tmp_path: Path
) -> None:
    stick = f"oci:{tmp_path}/stick"
    code, out, _ = typed("-q", "copy", "web-1", "v1.2", stick)
    assert code == 0
    assert "debian/base v1.2.0" in out
    assert "2 releases" in out
    nowhere = ("-q", "--images", str(tmp_path / "nothing"), "--json", "copy", "debian/web-1")
    code, out, _ = typed(*nowhere, f"{far.host}/site", "--insecure", "--from", stick)
    assert code == 0
    told = json.loads(out)
    assert [(one["image"], one["version"]) for one in told["releases"]] == [
        ("debian/base", "1.2.0"), ("debian/web-1", "1.2.0"),
    ]  # fmt: skip
    assert "exactRepository" in told["notes"][0]
    assert len(told["notes"]) == 1


def test_straight_to_another_registry_dry_first(typed: Typed, far: RunningRegistry) -> None:
    to = (f"{far.host}/site", "--insecure")
    code, out, err = typed("copy", "debian/web-1", *to, "--dry-run")
    assert code == 0
    assert "to send" in out
    assert "copy debian/web-1 v1.3.0" in err
    assert typed("-q", "copy", "debian/web-1", *to)[0] == 0
    code, out, _ = typed("-q", "copy", "debian/web-1", *to)
    assert "0 sent" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("debian/web-1", "v1.2"), 2, "no place to copy to"),
        (("debian/web-1", "v1.9", "localhost:1/x"), 9, "no release v1.9"),
        (("debian/web-1", "{near}/os"), 2, "lie in"),
        (("--all", "debian/web-1", "v1.2.0", "localhost:1/x"), 2, "contradict"),
        (("debian/web-1", "oci:"), 2, "names no folder"),
        (("debian/web-1", "--from", "/stick", "localhost:1/x"), 2, "names no folder"),
        (("debian/web-1", "--from", "oci:/nowhere/at/all", "localhost:1/x"), 15, "/nowhere/at/all"),
        (("debian/web-9", "localhost:1/x"), 9, "no release to copy"),
    ],
)
def test_what_cannot_be_copied_is_told_in_one_message(
    typed: Typed, words: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = typed("-q", "copy", *(word.replace("{near}", typed.world.host) for word in words))
    assert (found, out) == (code, "")
    assert said in err
    assert len(err.splitlines()) == 2


def test_prune_lists_first_and_deletes_when_told(typed: Typed) -> None:
    code, out, _ = typed("-q", "prune", "web-1", "--keep", "1")
    assert code == 0
    assert "manifests would go" in out
    assert "delete with --apply" in out
    assert not [one for one in typed.world.ledger().read() if isinstance(one, Retention)]
    code, out, err = typed(
        "--json", "prune", "debian/web-1", "--keep", "1", "--candidates-days", "2", "--apply"
    )
    assert code == 0
    told = json.loads(out)
    assert told["going"] == told["deleted"] > 0
    assert all(json.loads(line) for line in err.splitlines())
    [record] = [one for one in typed.world.ledger().read() if isinstance(one, Retention)]
    assert len(record.removed) == told["deleted"]
    code, out, _ = typed("-q", "prune", "debian/web-1", "--keep", "1")
    assert "nothing to delete" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("web-9",), 9, "knows no image debian/web-9"),
        (("--keep", "0"), 2, "--keep"),
        (("--candidates-days", "10001"), 2, "from 1 to 10000"),
        (("--candidates-days", "9" * 30), 2, "from 1 to 10000"),
        (("--host-access", "nonsense"), 2, "no address"),
    ],
)
def test_what_cannot_be_pruned_is_told_in_one_message(
    typed: Typed, words: tuple[str, ...], code: int, said: str
) -> None:
    found, out, err = typed("-q", "prune", *words)
    assert (found, out) == (code, "")
    assert said in err


def test_hosts_that_cannot_be_asked_keep_what_they_may_run(typed: Typed) -> None:
    silent = ("--host-access", "ssh://root@127.0.0.1:1", "--known-hosts", "/dev/null")
    code, out, err = typed("prune", "debian/web-1", "--keep", "1", *silent)
    assert code == 0
    assert "debian/web-1 does not tell what it runs" in err
    assert "the host web-1 has run it and may fall back to it" in " ".join(out.split())
