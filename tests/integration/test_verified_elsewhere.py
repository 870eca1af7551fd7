"""`pipeline verify` without a network: copies in a folder, ledger and signers as this clone has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commandline import run_main
from ledgers import git
from registries import RunningRegistry, free_port, running_registry
from releaseworld import ReleaseWorld, Restorable

from pipeline.domain.image import Tier
from pipeline.domain.release import Seal

pytestmark = pytest.mark.engine
NAME = "debian/web-1"
Says = Callable[..., tuple[int, str, str]]


class Site:
    """A host's release with all it is built on, its copies in a folder, and no network any more."""

    def __init__(self, folder: Path, running: RunningRegistry) -> None:
        (folder / "world").mkdir()
        self.world = ReleaseWorld(folder / "world", running.host)
        upstream = self.world.release("upstream", Tier.UPSTREAM)
        base = self.world.release("base", Tier.BASE, on=upstream)
        self.seal = self.world.release("web-1", Tier.INSTANCE, on=base)
        self.world.settle()
        self.copies = folder / "world" / "copies"
        self.away = folder / "world" / "away.git"
        assert run_main("--images", str(self.world.images), "-q", "copy", NAME, f"oci:{self.copies}") == 0
        git(self.world.top, "fetch", "-q", "origin")
        self.kept = Restorable(folder / "kept", folder / "world", running.storage)

    def cut_off(self) -> None:
        """Take the shared repository away, and let the registry be where nobody listens."""
        self.world.hub.rename(self.away)
        settings = self.world.images / "pipeline.toml"
        settings.write_text(settings.read_text().replace(self.world.host, f"127.0.0.1:{free_port()}"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("offline")
    with running_registry(folder / "registry") as running:
        yield Site(folder, running)


@pytest.fixture
def site(made: Site) -> Iterator[Site]:
    made.cut_off()
    yield made
    made.kept.restore()


@pytest.fixture
def says(site: Site, capsys: pytest.CaptureFixture[str]) -> Says:
    def run(*words: str) -> tuple[int, str, str]:
        code = run_main("--images", str(site.world.images), "--quiet", *words)
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def offline(site: Site) -> tuple[str, ...]:
    return ("--from", f"oci:{site.copies}", "--offline")


def test_a_release_in_a_folder_verifies_without_a_network(site: Site, says: Says) -> None:
    code, shown, err = says("verify", f"{NAME}:v1", *offline(site))
    assert (code, err) == (0, "")
    assert "debian/web-1 v1.0.0 and the 2 it is built on verify" in shown
    assert "no remote was asked: who may approve is read from origin/main at" in " ".join(shown.split())


def test_without_the_words_what_is_away_is_an_error(site: Site, says: Says) -> None:
    assert says("verify", NAME)[0] == 18
    assert says("verify", NAME, "--from", f"oci:{site.copies}")[0] == 18
    code, _, err = says("verify", NAME, "--offline")
    assert code == 8, err


def damaged(site: Site, digest: str) -> None:
    (site.copies / "blobs/sha256" / digest.removeprefix("sha256:")).write_bytes(b"something else")


def test_a_document_that_was_changed_in_the_folder_is_a_problem(site: Site, says: Says) -> None:
    damaged(site, str(site.seal.signatures["sbom"]))
    code, shown, _ = says("--json", "verify", NAME, *offline(site))
    assert code == 1
    assert any(one.startswith("debian/web-1 v1.0.0: signature: ") for one in json.loads(shown)["problems"])


def named(site: Site, change: Callable[[list[dict[str, object]], Seal], object]) -> None:
    """Change the list of what the folder holds."""
    index = site.copies / "index.json"
    document = json.loads(index.read_text())
    change(document["manifests"], site.seal)
    index.write_text(json.dumps(document))


def moved_tag(entries: list[dict[str, object]], seal: Seal) -> None:
    base = next(one for one in entries if "debian/base:v1.0.0" in str(one["annotations"]))
    for one in entries:
        if one["digest"] == str(seal.digest):
            one.update(digest=base["digest"], size=base["size"])


def stripped(entries: list[dict[str, object]], seal: Seal) -> None:
    entries[:] = [one for one in entries if f"{seal.digest.hex}.sig" not in str(one["annotations"])]


def alone(entries: list[dict[str, object]], seal: Seal) -> None:
    del seal
    entries[:] = [one for one in entries if "debian/base:" not in str(one["annotations"])]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (moved_tag, "debian/web-1 v1.0.0: tag: v1.0.0 names sha256:"),
        (stripped, "debian/web-1 v1.0.0: signature: "),
        (alone, "debian/base v1.0.0: tag: "),
    ],
)
def test_a_folder_that_somebody_changed_does_not_verify(
    site: Site, says: Says, change: Callable[[list[dict[str, object]], Seal], object], problem: str
) -> None:
    named(site, change)
    code, shown, _ = says("--json", "verify", NAME, *offline(site))
    assert code == 1
    assert any(one.startswith(problem) for one in json.loads(shown)["problems"])


def test_places_that_are_none_are_refused(site: Site, says: Says, tmp_path: Path) -> None:
    assert says("verify", NAME, "--offline", "--from", "nowhere")[0] == 2
    assert says("verify", NAME, "--offline", "--from", "oci:")[0] == 2
    assert says("verify", NAME, "--offline", "--from", f"oci:{tmp_path}")[0] != 0


def test_copies_in_another_registry_are_what_is_verified(site: Site, says: Says, tmp_path: Path) -> None:
    with running_registry(tmp_path / "far") as far:
        place = f"{far.host}/mirror"
        code, _, err = says("copy", NAME, place, "--from", f"oci:{site.copies}", "--insecure")
        assert code == 0, err
        words = ("--offline", "--insecure", "--from", place)
        assert says("verify", f"{NAME}:v1.0.0", *words)[0] == 0
        far.blob_file(str(site.seal.signatures["approval"])).unlink()
        assert says("verify", f"{NAME}:v1.0.0", *words)[0] == 1
