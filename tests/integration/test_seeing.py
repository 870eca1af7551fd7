"""yank, releases, status and log on the command line, with a real shared ledger, real keys and a registry."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from approvalkit import EVIDENCE, decided
from commandline import run_main
from hostbench import HostBench
from hostmachine import machine_state
from ledgers import git
from memoryregistry import MemoryRegistry, memory_registry
from records import candidate, deployment, seal, yank
from sshkeys import PROCESSES, listed, ssh_key

from pipeline.adapters.ledger import Ledger
from pipeline.adapters.scaffold import ScaffoldFolder, installed_source
from pipeline.adapters.sshsig import SshKey
from pipeline.domain.decision import Approval, Release
from pipeline.domain.image import Repository, Tier
from pipeline.domain.oci import digest_of
from pipeline.domain.record import Candidate, Parent, Record
from pipeline.domain.release import Removed, Retention, Seal, Step, Yank
from pipeline.verbs.init import init
from pipeline.verbs.yank import yank as yank_verb

APPROVAL = """
[approval]
branch = "main"
outsiders = ["ada@laptop", "ada@example.org", "ada"]
[approval.people]
ben = ["ben@example.org"]
cleo = ["cleo@example.org"]
[approval.roles]
managers = ["ben", "cleo"]
[approval.rules.base]
people = [{ at_least = 2, role = "managers" }]
"""
WEB_MANIFEST = b'{"schemaVersion":2,"web":1}'


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def words(self) -> str:
        return " ".join(self.out.split())


class Project:
    """A scaffolded image repository with a shared one behind it, people with keys, and a registry."""

    def __init__(self, folder: Path, registry: MemoryRegistry, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.registry, self._capsys = folder, registry, capsys
        self.keys = folder / "keys"
        self.keys.mkdir()
        for name in ("ben", "cleo", "eve"):
            ssh_key(self.keys, name)
        self.hub, self.top = folder / "hub.git", folder / "os"
        git(folder, "init", "-q", "--bare", "-b", "main", str(self.hub))
        init(
            ScaffoldFolder(installed_source()),
            self.top,
            line="debian",
            registry=f"{registry.host}/os",
            insecure=True,
        )
        self.images = self.top / "images"
        with (self.images / "pipeline.toml").open("a") as file:
            file.write(APPROVAL)
        lines = "".join(listed(self.keys / name) for name in ("ben", "cleo"))
        (self.images / "keys/allowed_signers").write_text(lines)
        git(self.top, "init", "-q", "-b", "main")
        git(self.top, "remote", "add", "origin", str(self.hub))
        git(self.top, "add", "-A")
        git(self.top, "commit", "-q", "-m", "start", "--author=ada <ada@example.org>")
        git(self.top, "push", "-q", "origin", "main")
        self.commit = git(self.top, "rev-parse", "HEAD")
        self.now = dt.datetime.now(dt.UTC).replace(microsecond=0)

    def ledger(self, top: Path | None = None) -> Ledger:
        return Ledger(
            top or self.top, branch="pipeline-ledger", remote="origin", identity=("Ada", "ada@example.org"),
            clock=lambda: self.now, jitter=random.Random(1).random,
        )  # fmt: skip

    def record(self, *records: Record) -> None:
        self.ledger().append(records)

    def tip(self) -> str:
        return git(self.hub, "rev-parse", "refs/heads/pipeline-ledger")

    def says(self, *words: str) -> Said:
        code = run_main("--images", str(self.images), *words)
        said = self._capsys.readouterr()
        return Said(code, said.out, said.err)

    # -- records

    def built(self, image: str, number: int, *, hours: float = 48, **changes: object) -> Candidate:
        """A candidate that Ada built from the commit that is checked out, some hours ago."""
        fresh: dict[str, object] = {
            "time": self.now - dt.timedelta(hours=hours),
            "image": image,
            "parent": None,
            "repository": Repository(registry=self.registry.host, path=f"os/debian/{image}"),
            "source": dataclasses.replace(candidate().source, commit=self.commit),
            "evidence": EVIDENCE,
        }
        return candidate(number, **{**fresh, **changes})

    def host(self, version: str, number: int, on: Seal, hours: float, **changes: object) -> Seal:
        below = Parent(image=on.name, digest=on.digest)
        one = self.built("web-1", number, hours=hours, tier=Tier.INSTANCE, parent=below, **changes)
        self.record(one)
        return seal(version, of=one, parent=Release(version=on.version, digest=on.digest))

    def approved(self, one: Candidate, name: str) -> Approval:
        draft = Approval(
            time=self.now - dt.timedelta(hours=1),
            author=f"{name} <{name}@example.org>",
            decided=(decided(one, version="1.0.0"),),
            what="the first release",
            why="it boots",
            expires=self.now + dt.timedelta(days=7),
        )
        proof = SshKey(PROCESSES, self.keys / name).sign(draft.statement(), f"{name}@example.org")
        return dataclasses.replace(draft, proof=proof)


@pytest.fixture
def project(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Project]:
    with memory_registry() as registry:
        yield Project(tmp_path, registry, capsys)


@pytest.fixture
def released(project: Project) -> tuple[Seal, Seal, Seal]:
    """A base, and two releases of a host on it; the host runs the second."""
    one = project.built("base", 1)
    below = seal("1.0.0", of=one)
    project.record(one, below)
    first = project.host("1.0.0", 11, below, hours=40)
    second = project.host("1.1.0", 12, below, hours=30, digest=digest_of(WEB_MANIFEST))
    project.record(first, second, deployment(first), deployment(second))
    project.registry.plant(
        "os/debian/web-1", WEB_MANIFEST, tag="current",
        media_type="application/vnd.oci.image.manifest.v1+json",
    )  # fmt: skip
    return below, first, second


def waiting_of(project: Project, name: str) -> Any:
    found = project.says("--json", "status").json
    return next(one for one in found["images"] if one["name"] == name)["waits"]


def test_a_candidate_waits_for_people_with_keys_of_their_own(project: Project) -> None:
    one = project.built("base", 1, hours=3)
    project.record(one)
    assert waiting_of(project, "debian/base")["needs"] == ["approval by 2 of managers"]
    project.record(project.approved(one, "ben"), project.approved(one, "eve"))
    half = waiting_of(project, "debian/base")
    assert half["needs"] == ["approval by 1 more of managers (approved: ben@example.org)"]
    assert any("eve@example.org does not count" in note for note in half["notes"])
    text = project.says("status")
    assert (text.code, "approval by 1 more of managers" in text.words) == (0, True)
    assert "3 h" in text.words
    project.record(project.approved(one, "cleo"))
    assert waiting_of(project, "debian/base") == {
        "stage": "seal",
        "since": (project.now - dt.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "needs": ["its seal"],
        "notes": [],
    }


def test_images_of_the_definitions_are_shown_before_anything_was_built(project: Project) -> None:
    said = project.says("status")
    assert said.code == 0
    assert "no trouble, nothing waits" in said.out
    assert "debian/base" in said.out
    assert "its first build" in said.words


def test_a_yank_is_in_the_shared_ledger_and_everywhere_to_be_seen(
    project: Project, released: tuple[Seal, Seal, Seal]
) -> None:
    _, _, second = released
    before = project.tip()
    dry = project.says("yank", "web-1", "v1.1.0", "--why", "it loses mail", "--dry-run")
    assert (dry.code, project.tip()) == (0, before)
    assert "would be yanked" in dry.out
    said = project.says("yank", "web-1", "v1.1.0", "--why", "it loses mail")
    assert said.code == 0
    assert "1 host running it or what is built on it: web-1 (v1.1.0)" in said.out
    assert "pipeline rollback debian/web-1 v1.0.0 --why" in said.out
    assert git(project.hub, "log", "--format=%s", f"{before}..pipeline-ledger") == (
        f"yank debian/web-1 v1.1.0 sha256:{second.digest.short}"
    )
    after = project.tip()
    again = project.says("--json", "yank", "debian/web-1", "1.1.0", "--why", "another reason")
    assert (again.code, project.tip(), again.json["already"]) == (0, after, True)
    assert again.json["yank"]["why"] == "it loses mail"
    assert "YANKED: it loses mail" in project.says("releases", "web-1").words
    status = project.says("status")
    assert status.code == 0
    assert "web-1: runs, and its channel names, v1.1.0, which was yanked: it loses mail" in status.words
    assert project.registry.tags["os/debian/web-1", "current"] == str(second.digest)


BAD_WORDS = (
    (("yank", "web-1", "v1.1", "--why", "x"), 2, "write v2.0.3"),
    (("yank", "web-1", "v9.0.0", "--why", "x"), 9, "did you mean"),
    (("yank", "nothing", "v1.0.0", "--why", "x"), 9, "debian/web-1"),
    (("yank", "web-1", "v1.1.0", "--why", "two\nlines"), 2, "one line"),
    (("yank", "web-1", "v1.1.0"), 2, "yank --help"),
    (("releases", "nothing"), 9, "debian/web-1"),
    (("status", "nothing"), 9, "debian/web-1"),
    (("status", "--host-access", "ssh://web-1"), 2, "name the host"),
    (("status", "web-1", "--host-access", "web-1; true"), 2, "write ssh://"),
)


@pytest.mark.usefixtures("released")
def test_bad_words_end_in_one_message_and_nothing_is_written(project: Project) -> None:
    before = project.tip()
    for words, code, hint in BAD_WORDS:
        said = project.says(*words)
        assert (said.code, said.out, project.tip()) == (code, "", before), words
        assert hint in said.err


@pytest.mark.usefixtures("released")
def test_releases_are_listed_and_make_a_changelog(project: Project) -> None:
    data = project.says("--json", "releases").json
    assert [(one["name"], [it["version"] for it in one["releases"]]) for one in data["images"]] == [
        ("debian/base", ["1.0.0"]),
        ("debian/web-1", ["1.1.0", "1.0.0"]),
    ]
    assert data["images"][1]["releases"][0]["channel"] is True
    text = project.says("releases", "debian/web-1", "--changelog").out
    assert text.startswith("# Releases\n\n## debian/web-1\n\n### v1.1.0")
    assert "debian/base" in project.says("--line", "debian", "releases").out


@pytest.mark.usefixtures("released")
def test_without_the_shared_repository_what_was_seen_last_is_shown(project: Project) -> None:
    assert project.says("status").code == 0
    project.hub.rename(project.folder / "gone.git")
    for words in (("status",), ("releases",), ("status", "web-1")):
        said = project.says(*words)
        assert said.code == 0
        assert "shown is what this clone saw last" in said.words
        assert "v1.1.0" in said.out
    assert project.says("yank", "web-1", "v1.1.0", "--why", "x").code == 18


@pytest.mark.usefixtures("released")
def test_a_wrong_definition_hides_no_release_and_no_host(project: Project) -> None:
    (project.images / "debian/hosts/db-1.toml").write_text("nonsense = 3\n")
    for words in (("status",), ("status", "web-1"), ("releases",)):
        said = project.says(*words)
        assert said.code == 0, said.err
        assert "v1.0.0" in said.out
    assert "the definitions are not looked at" in project.says("status", "web-1").err


def test_a_host_by_ledger_and_registry(project: Project, released: tuple[Seal, Seal, Seal]) -> None:
    said = project.says("--json", "status", "web-1")
    lines = {one["role"]: (one["version"], one["source"]) for one in said.json["lines"]}
    assert said.code == 0
    assert lines == {
        "wanted": ("1.1.0", "the ledger"), "channel": ("1.1.0", "the ledger"),
        "tag": ("1.1.0", "the registry"), "booted": ("1.1.0", "the ledger"),
        "fallback": ("1.0.0", "the ledger"),
    }  # fmt: skip
    project.registry.plant("os/debian/web-1", b'{"schemaVersion":2,"web":9}', tag="current")
    assert "NOT what the ledger says" in project.says("status", "web-1").words
    del project.registry.tags["os/debian/web-1", "current"]
    gone = project.says("status", "web-1")
    assert (gone.code, "not known: " in gone.words) == (0, True)
    assert released[2].version in gone.out


@pytest.mark.engine
def test_a_host_is_asked_itself_over_ssh(
    project: Project, released: tuple[Seal, Seal, Seal], tmp_path: Path
) -> None:
    folder = tmp_path / "bench"
    folder.mkdir()
    with HostBench(folder) as bench:
        state = machine_state("bootc", 11, 12)
        state["entries"][1]["digest"] = str(released[2].digest)
        bench.become(state)
        access = (
            "--host-access", f"ssh://root@{bench.address}",
            "--known-hosts", str(bench.known_hosts), "--identity", str(bench.identity),
        )  # fmt: skip
        found = project.says("--json", "status", "web-1", *access)
        lines = {one["role"]: (one["version"], one["source"]) for one in found.json["lines"]}
        assert found.code == 0
        assert lines["booted"] == ("1.0.0", "the host")
        assert lines["fallback"] == ("1.1.0", "the host")
        assert found.json["system"] == "bootc"
        assert any("moved without a record" in notice for notice in found.json["notices"])
        bench.known_hosts.write_text("")
        refused = project.says("status", "web-1", *access)
    assert refused.code == 24
    assert "the host could not be asked" in refused.out
    assert "v1.1.0" in refused.out
    assert refused.err.startswith("pipeline: ")


def test_the_log_shows_every_kind(project: Project, released: tuple[Seal, Seal, Seal]) -> None:
    below, _, second = released
    one = project.built("base", 3)
    gone = Removed(repository=below.repository, digest=one.digest, reason="older than 30 d")
    project.record(
        one, project.approved(one, "ben"), yank(second), deployment(second, Step.FAILED, why="no route"),
        Retention(time=project.now, author="cron", removed=(gone,)),
    )  # fmt: skip
    text = project.says("log").words
    for words in (
        "by ben@example.org; the first release; it boots", "approved by ben@example.org, cleo@example.org",
        "zfs.ko does not load; by Cleo", "web-1 failed; no route", "1 manifest deleted; older than 30 d",
    ):  # fmt: skip
        assert words in text
    kinds = {record["kind"] for record in project.says("--json", "log").json["records"]}
    assert kinds == {"candidate", "approval", "seal", "yank", "deployment", "retention"}
    assert {one["kind"] for one in project.says("--json", "log", "web-1").json["records"]} == {
        "candidate", "seal", "yank", "deployment",
    }  # fmt: skip


def test_of_two_who_yank_at_once_one_writes_and_both_succeed(
    project: Project, released: tuple[Seal, Seal, Seal]
) -> None:
    tops = []
    for name in ("a", "b", "c", "d"):
        tops.append(project.folder / name)
        git(project.folder, "clone", "-q", str(project.hub), str(tops[-1]))

    def run(top: Path) -> bool:
        done = yank_verb(
            project.ledger(top), "debian/web-1", "1.1.0", why=f"seen by {top.name}", author=top.name,
            clock=lambda: project.now,
        )  # fmt: skip
        assert done.written is not done.already
        return done.written

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert sorted(pool.map(run, tops)) == [False, False, False, True]
    yanks = [one for one in project.ledger().read() if isinstance(one, Yank)]
    assert [one.version for one in yanks] == [released[2].version]
