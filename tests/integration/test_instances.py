"""Hosts on a real Debian: each gate's no is said by the program itself, and a fleet is built by the command.

The base comes from one fixture: PIPELINE_TEST_BASE names a local image, otherwise a small one is
bootstrapped from packages and removed afterwards.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import records
from debiantree import bootstrap
from hosttrees import BASE, ROLE, UPSTREAM, write
from registries import RunningRegistry, running_registry
from subjects import subject

from pipeline.adapters.engine import Engine, detect_profile
from pipeline.adapters.ledger import Ledger
from pipeline.adapters.overlaid import OverlaidContainers
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.tree import MountedTree
from pipeline.domain.gate import Finding, Subject, Verdict
from pipeline.domain.gates import instance
from pipeline.domain.gates.registry import all_gates
from pipeline.domain.image import Digest, Repository, Tier
from pipeline.domain.layer import layer_of
from pipeline.domain.overlaid import OverlaidTree
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.tree import FileType
from pipeline.domain.trust import Trust, trust_files
from pipeline.domain.walked import WalkedTree
from pipeline.errors import InterruptedRunError, ToolFailedError

pytestmark = pytest.mark.engine

PACKAGES = ("systemd", "systemd-sysv", "podman", "skopeo", "sudo", "openssh-server", "passwd")
LARGE = 4096
LIMITS = ("nofile=20000:20000", "nproc=30000:30000")
KEY = """\
-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEHd9hl0vBwz0wqpQ3CZ4yCC6NyGVq
yFVMzVfGjBCqdzcZ4VYv8qQbSWVLmTJOaqX7E5sbSXvdv0EIPCPpSVCG+g==
-----END PUBLIC KEY-----
"""
POLICY = trust_files(Trust(registry="own.example/os", keys={"k.pub": KEY}, allow=("quay.io", "ghcr.io/a/b")))


@pytest.fixture(scope="module")
def processes() -> Processes:
    return Processes(environment=os.environ)


@pytest.fixture(scope="module")
def engine(processes: Processes) -> Engine:
    return Engine(
        processes,
        detect_profile(
            processes, program="podman", runtime="auto", network="host", limits=LIMITS, registries_conf=None
        ),
    )


@pytest.fixture(scope="module")
def debian_base(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[str]:
    """Name of a local Debian image with systemd, Podman, skopeo, sudo and sshd."""
    if named := os.environ.get("PIPELINE_TEST_BASE"):
        yield named
        return
    archive = tmp_path_factory.mktemp("bootstrap") / "rootfs.tar"
    customize = 'rm -f "$1"/etc/ssh/ssh_host_*_key* "$1"/etc/machine-id'
    bootstrap(archive, PACKAGES, variant="apt", hooks=[customize])
    name = f"localhost/pipeline-test/hosts:{os.getpid()}"
    command("podman", "import", "--quiet", str(archive), name)
    archive.unlink()
    identity = engine.id_of(name)
    assert identity is not None
    yield name
    # By its id: a build has given it the registry's name as well.
    command("podman", "image", "rm", "--force", identity)


def command(*words: str) -> str:
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


def file(path: str, text: str | bytes, mode: int = 0o644) -> TreeEntry:
    data = text if isinstance(text, bytes) else text.encode()
    return TreeEntry(path=path, type=FileType.FILE, mode=mode, content=data)


@dataclass(frozen=True, kw_only=True)
class Host:
    """Lays entries over the base and asks a gate."""

    engine: Engine
    base: str
    tree: WalkedTree

    def ask(self, gate: str, *entries: TreeEntry) -> Finding:
        policy = [file(path, content) for path, content in POLICY.items()]
        taken = {entry.path for entry in entries}
        placed = place([*entries, *(one for one in policy if one.path not in taken)], self.tree).entries
        layer = layer_of(placed, timestamp=0)
        with OverlaidContainers(self.engine).opened(self.base, layer.data) as inside:
            return rule(gate)(self.subject(placed, inside))

    def subject(self, placed: Sequence[TreeEntry], inside: Any) -> Subject:
        made = subject(tier=Tier.INSTANCE, inside=inside)
        return Subject(
            tier=made.tier,
            tree=OverlaidTree(self.tree, placed),
            inside=inside,
            packages=made.packages,
            expected=made.expected,
            now=made.now,
            own=frozenset(one.path for one in placed if one.type is not FileType.DIRECTORY),
        )


def rule(gate: str) -> Callable[[Subject], Finding]:
    return next(one.rule for one in instance.GATES if one.name == gate)


@pytest.fixture(scope="module")
def host(engine: Engine, debian_base: str) -> Iterator[Host]:
    with engine.mounted(debian_base) as root:
        yield Host(engine=engine, base=debian_base, tree=WalkedTree(MountedTree(root)))


QUADLETS = "/etc/containers/systemd/users/2001"
UNITS = "/usr/lib/systemd/system"
GOOD = {
    "quadlets": [file(f"{QUADLETS}/web.container", "[Container]\nImage=quay.io/x/y@sha256:1\n")],
    "units": [
        file(f"{UNITS}/good.service", "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/bin/true\n"),
        file(f"{UNITS}/systemd-sysusers.service.d/50.conf", "[Unit]\nConditionNeedsUpdate=\n"),
        file("/usr/lib/systemd/user/mine.service", "[Service]\nExecStart=/usr/bin/true\n"),
        TreeEntry(path="/etc/systemd/system/apt-daily.timer", type=FileType.SYMLINK, target="/dev/null"),
    ],
    "sysusers": [file("/usr/lib/sysusers.d/50.conf", 'u robin 1000 "R" /var/home/robin /bin/bash\n')],
    "tmpfiles": [
        file("/usr/lib/sysusers.d/50.conf", "u robin 1000\n"),
        file("/usr/lib/tmpfiles.d/50.conf", "d /var/home/robin 0700 robin robin -\n"),
    ],
    "sudoers": [file("/etc/sudoers.d/50", "robin ALL=(ALL:ALL) ALL\n", 0o440)],
    "sshd-config": [file("/etc/ssh/sshd_config.d/50.conf", "PermitRootLogin no\n", 0o600)],
    "pulls": [],
}
OPEN = json.dumps(
    {
        "default": [{"type": "reject"}],
        "transports": {"docker": {"": [{"type": "insecureAcceptAnything"}]}},
    }
)
BAD = [
    ("quadlets", f"{QUADLETS}/web.container", "[Container]\nImag=x\n", "unsupported key 'Imag'"),
    (
        "quadlets",
        "/usr/share/containers/systemd/a.container",
        "[Container]\nImage=x/y\nPod=no.pod\n",
        "no.pod",
    ),
    ("units", f"{UNITS}/bad.service", "[Service]\nExecStart=/usr/bin/nothere\n", "/usr/bin/nothere"),
    ("units", f"{UNITS}/bad.service", "[Unit]\nFoo=x\n[Service]\nExecStart=/usr/bin/true\n", "Foo"),
    ("units", f"{UNITS}/nobody.service.d/50.conf", "[Service]\nUser=x\n", "nobody.service"),
    (
        "units",
        "/usr/lib/systemd/user/bad.service",
        "[Service]\nExecStart=/usr/bin/nothere\n",
        "/usr/bin/nothere",
    ),
    ("sysusers", "/usr/lib/sysusers.d/50.conf", "u robin notanid\n", "notanid"),
    ("tmpfiles", "/usr/lib/tmpfiles.d/50.conf", "d /var/x 0755 nobody-knows root -\n", "nobody-knows"),
    ("sudoers", "/etc/sudoers.d/50", "robin ALL=(ALL\n", "syntax error"),
    ("sshd-config", "/etc/ssh/sshd_config.d/50.conf", "Fooo yes\n", "Bad configuration option"),
    ("pulls", "/etc/containers/policy.json", OPEN, "foreign.invalid"),
]


@pytest.mark.parametrize("gate", GOOD)
def test_the_image_s_own_program_accepts_what_is_sound(host: Host, gate: str) -> None:
    found = host.ask(gate, *GOOD[gate])
    assert found.verdict is Verdict.PASS, found
    assert "has no" not in found.summary


@pytest.mark.parametrize(("gate", "path", "text", "said"), BAD)
def test_the_image_s_own_program_refuses_what_is_not(
    host: Host, gate: str, path: str, text: str, said: str
) -> None:
    found = host.ask(gate, file(path, text, 0o440 if gate == "sudoers" else 0o644))
    assert found.verdict is Verdict.FAIL, found
    assert said in "\n".join((found.summary, *found.details))


def test_a_cycle_of_units_is_found(host: Host) -> None:
    one = "[Unit]\nAfter=b.service\nRequires=b.service\n[Service]\nExecStart=/usr/bin/true\n"
    other = one.replace("b.service", "a.service")
    found = host.ask("units", file(f"{UNITS}/a.service", one), file(f"{UNITS}/b.service", other))
    assert found.verdict is Verdict.FAIL
    assert "cycl" in "\n".join(found.details)


def test_sudo_rules_that_others_may_write_are_refused(host: Host) -> None:
    found = host.ask("sudoers", file("/etc/sudoers.d/50", "robin ALL=(ALL:ALL) ALL\n", 0o666))
    assert found.verdict is Verdict.FAIL


def test_a_broken_registries_d_is_no_pass(host: Host) -> None:
    found = host.ask("pulls", file("/etc/containers/registries.d/90.yaml", "docker: [\n"))
    assert found.verdict is not Verdict.PASS


def test_words_reach_programs_as_they_are(host: Host) -> None:
    words = ["a b", "$(id)", "new\nline", "back\\slash\\n", "'\"", "", "é", "%s", "end\n"]
    layer = layer_of([], timestamp=0)
    with OverlaidContainers(host.engine).opened(host.base, layer.data) as inside:
        said = inside(["/usr/bin/printf", "<%s>", *words])
        assert said.stdout == "".join(f"<{word}>" for word in words)
        assert inside(["/bin/cat"], stdin="in\nput").stdout == "in\nput"
        assert inside(["/bin/sh", "-c", "echo out; echo err >&2; exit 3"]).code == 3
        assert inside(["/nowhere"]).code == 127
        with pytest.raises(ToolFailedError, match="did not end"):
            inside(["/bin/sleep", "60"], timeout=1)
        assert inside(["/bin/echo", "still there"]).stdout == "still there\n"


def test_a_layer_that_cannot_be_laid_is_an_error(host: Host) -> None:
    broken = layer_of([file("/proc/nothing/here", "x")], timestamp=0)
    with (
        pytest.raises(ToolFailedError, match="cannot be laid"),
        OverlaidContainers(host.engine).opened(host.base, broken.data),
    ):
        pass


def test_an_image_that_is_not_there_is_an_error(engine: Engine) -> None:
    with (
        pytest.raises(ToolFailedError, match="ended early"),
        OverlaidContainers(engine).opened("localhost/nobody/nothing:1", layer_of([], timestamp=0).data),
    ):
        pass


# --- the command


@dataclass(frozen=True, kw_only=True)
class Project:
    """An image repository with a base that is a candidate."""

    folder: Path
    registry: RunningRegistry

    def define(self, name: str, more: str = "", *, containerfile: str | None = None) -> None:
        own = f'containerfile = "{containerfile}"\n' if containerfile else ""
        text = f'from = "base"\nhostname = "{name}"\nroles = ["server"]\n{own}{more}'
        write(self.folder / f"images/debian/hosts/{name}.toml", text)

    def build(self, *words: str, code: int = 0) -> Any:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", "--json", "build", "--tier", "instance", *words],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def pushed(self, name: str) -> list[str]:
        """The candidates of a host that lie in the registry."""
        repositories = self.registry.storage / "docker/registry/v2/repositories"
        tags = (repositories / f"os/debian/{name}/_manifests/tags").glob("candidate-*/current/link")
        return [f"{self.registry.host}/os/debian/{name}:{link.parts[-3]}" for link in tags]

    def commits(self) -> list[str]:
        return command("git", "-C", str(self.folder), "log", "--format=%s", "pipeline-ledger").splitlines()


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, debian_base: str) -> Iterator[Project]:
    top = tmp_path_factory.mktemp("project")
    with running_registry(top / "registry") as registry:
        made = Project(folder=top / "os", registry=registry)
        base = f"{registry.host}/os/debian/base"
        digest = top / "digest"
        command(
            "podman", "push", "--quiet", "--tls-verify=false", f"--digestfile={digest}", debian_base,
            f"docker://{base}:candidate-test",
        )  # fmt: skip
        _write_definitions(made)
        _record_base(made, Digest(digest.read_text().strip()))
        yield made


def _write_definitions(project: Project) -> None:
    waivers = "".join(
        f'[gates.waivers.{gate.name}]\nreason = "the base of a test"\nexpires = 9999-12-31\n'
        for gate in all_gates()
        if Tier.BASE in gate.tiers
    )
    settings = f'[registry]\nurl = "{project.registry.host}/os"\ninsecure = true\n'
    files = {
        "images/pipeline.toml": settings,
        "images/keys/release.pub": KEY,
        "images/debian/upstream/debian-13.toml": UPSTREAM,
        "images/debian/base/base.toml": BASE + waivers,
        "images/debian/roles/server.toml": ROLE,
        "Containerfiles/debian/upstream.Containerfile": "FROM scratch\n",
        "Containerfiles/debian/base.Containerfile": "FROM scratch\n",
        "Containerfiles/debian/own.Containerfile": "ARG BASE\nFROM ${BASE}\n# pipeline:files\nRUN true\n",
    }
    for name, text in files.items():
        write(project.folder / name, text)
    git = ("git", "-C", str(project.folder), "-c", "user.name=T", "-c", "user.email=t@example.org")
    command("git", "init", "--quiet", str(project.folder))
    command(*git, "add", ".")
    command(*git, "commit", "--quiet", "--message=start")


def _record_base(project: Project, digest: Digest) -> None:
    ledger = Ledger(
        project.folder,
        branch="pipeline-ledger",
        remote="origin",
        identity=("T", "t@example.org"),
        clock=lambda: records.NOON,
        jitter=lambda: 0.0,
    )
    repository = Repository(registry=project.registry.host, path="os/debian/base")
    sbom = subprocess.run(
        [sys.executable, "-m", "pipeline", "-q", "sbom", f"{repository}@{digest}"],
        cwd=project.folder,
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert sbom.returncode == 0, sbom.stderr
    # Its hosts inherit it.
    kept = Registry(project.registry.host, insecure=True).put_blob(repository, sbom.stdout)
    base = records.candidate(repository=repository, digest=digest, pins=None, evidence={"sbom": kept})
    ledger.append([base])


def outcomes(document: Any) -> dict[str, str]:
    return {one["host"]: one["outcome"] for one in document["hosts"]}


def test_a_fleet_is_built_refused_mended_and_left_alone(project: Project) -> None:
    for name in ("a-1", "b-1", "c-1"):
        project.define(name)
    project.define("b-1", '[files."/etc/sudoers.d/90"]\ncontent = "robin ALL=(ALL\\n"\nmode = "0440"\n')
    first = project.build("--all", code=1)
    assert outcomes(first) == {"a-1": "built", "b-1": "failed", "c-1": "built"}
    assert "syntax error" in first["hosts"][1]["error"]["message"]
    assert len(project.commits()) == 2
    manifests = project.registry.storage / "docker/registry/v2/repositories/os/debian/b-1"
    assert not manifests.exists()
    project.define("b-1")
    second = project.build("--all", "--jobs", "1")
    assert outcomes(second) == {"a-1": "unchanged", "b-1": "built", "c-1": "unchanged"}
    third = project.build("--host", "b-1")
    assert outcomes(third) == {"b-1": "unchanged"}
    assert len(project.commits()) == 3
    verdicts = {gate["gate"]: gate["verdict"] for gate in second["hosts"][1]["gates"]}
    assert {verdicts[gate.name] for gate in instance.GATES} == {"pass"}


def test_ctrl_c_leaves_no_half_image_no_container_and_no_record(
    project: Project, debian_base: str, tmp_path: Path
) -> None:
    for number in range(4):
        project.define(f"cut-{number}")
    before = project.commits()
    with subprocess.Popen(
        [sys.executable, "-m", "pipeline", "build", "--tier", "instance", "--all"],
        cwd=project.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    ) as child:
        assert child.stderr is not None
        said = []
        for line in child.stderr:
            said.append(line)
            if "gates" in line:
                child.send_signal(signal.SIGINT)
                break
        said += child.stderr.readlines()
        assert child.wait(120) == InterruptedRunError.exit_code, "".join(said)
    assert project.commits() == before
    # A host that was past its gates when the signal came may be in the registry: whole then.
    for number in range(4):
        for name in project.pushed(f"cut-{number}"):
            source, copy = f"docker://{name}", f"dir:{tmp_path}/{number}"
            command("skopeo", "copy", "-q", "--src-tls-verify=false", source, copy)
    assert command("podman", "ps", "--all", "--quiet", f"--filter=ancestor={debian_base}") == ""
    for number in range(4):
        (project.folder / f"images/debian/hosts/cut-{number}.toml").unlink()


def test_the_engine_makes_the_same_tree_of_the_same_files(project: Project, engine: Engine) -> None:
    project.define("twin-1")
    first = project.build("--host", "twin-1")["candidates"][0]
    project.define("twin-1", containerfile="own.Containerfile")
    other = project.build("--host", "twin-1")["candidates"][0]
    assert first["digest"] != other["digest"]
    trees = []
    for one in (first, other):
        name = f"{one['repository']}@{one['digest']}"
        command("podman", "pull", "--quiet", "--tls-verify=false", name)
        with engine.mounted(name) as root:
            tree = MountedTree(root)
            entries = {entry.path: entry for entry in tree.walk()}
            small = [path for path, it in entries.items() if it.type is FileType.FILE and it.size < LARGE]
            content = {path: tree.read(path) for path in small}
            trees.append((entries, content))
        engine.remove(name)
    (entries, content), (others, contents) = trees
    assert sorted(entries) == sorted(others)
    assert [path for path in entries if entries[path] != others[path]] == []
    assert content == contents
