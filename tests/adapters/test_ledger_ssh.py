"""The ledger shared through a git remote behind a real sshd, in a network namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hostbench import HostBench
from ledgers import BRANCH, REF, checkout, git, ledger
from records import candidate

from pipeline.errors import LedgerRemoteError

pytestmark = pytest.mark.engine


class Site:
    """A bare repository on the host, and clones here that reach it by ssh."""

    def __init__(self, folder: Path, bench: HostBench) -> None:
        self.folder, self.bench = folder, bench
        self.hub = folder / "hub.git"
        git(folder, "init", "-q", "--bare", "-b", "main", str(self.hub))

    def clone(self, name: str) -> Path:
        path = checkout(self.folder / name)
        git(path, "remote", "add", "origin", f"ssh://root@{self.bench.address}{self.hub}")
        options = (
            f"-i {self.bench.identity}",
            "-o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=yes",
            f"-o UserKnownHostsFile={self.bench.known_hosts}",
        )
        git(path, "config", "core.sshCommand", " ".join(("ssh -F none", *options)))
        return path


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "bench").mkdir()
    with HostBench(folder / "bench") as bench:
        yield Site(folder, bench)


def test_writers_at_once_over_ssh_lose_and_double_nothing(site: Site) -> None:
    clones = [site.clone(f"clone-{number}") for number in range(4)]

    def write(number: int) -> None:
        ledger(clones[number % 4], "origin", attempts=40).append([candidate(number)])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    found = ledger(site.clone("reader"), "origin").read()
    assert sorted(one.id for one in found) == sorted(candidate(number).id for number in range(8))
    assert git(site.hub, "rev-list", "--count", REF) == "8"


def test_a_host_that_nobody_knows_gets_nothing_and_what_was_to_go_is_kept(site: Site) -> None:
    path = site.clone("stranger")
    before = git(site.hub, "for-each-ref")
    known = site.bench.known_hosts.read_text()
    site.bench.known_hosts.write_text("")
    try:
        with pytest.raises(LedgerRemoteError, match="kept in this clone"):
            ledger(path, "origin").append([candidate(100)])
    finally:
        site.bench.known_hosts.write_text(known)
    assert git(site.hub, "for-each-ref") == before
    ledger(path, "origin").append([candidate(100)])
    assert candidate(100) in ledger(path, "origin").read()
    assert BRANCH in git(site.hub, "for-each-ref")
