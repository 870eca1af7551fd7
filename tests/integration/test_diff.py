"""Two images built by the engine that differ in six things: the diff tells those six and nothing else."""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import elfkit
import elkit
import pytest
from difftrees import MemorySnapshot, compared, dpkg
from registries import running_registry
from rich.console import Console

from pipeline.adapters.engine import Engine, EngineProfile, detect_profile, registries_conf
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.snapshots import Snapshots
from pipeline.adapters.toc import TocStore
from pipeline.domain.diff.bump import Bump, propose
from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.document import document
from pipeline.domain.diff.groups import groups
from pipeline.domain.diff.packages import Direction, direction, licence_changed
from pipeline.domain.gate import CommandResult, Inside
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.manifest import build_manifest, to_json
from pipeline.render.diff import show_diff
from pipeline.verbs.assemble import load_base
from pipeline.verbs.diff import Opened, diff
from pipeline.wiring import container_limits

pytestmark = pytest.mark.engine

SPEC = """\
Name: tiny
Epoch: 2
Version: {version}
Release: 1
Summary: Nothing
License: {licence}
BuildArch: noarch
%description
Nothing.
%files
"""
KERNEL = "6.12.94-test"
STATUS = "var/lib/dpkg/status"
UNIT = "usr/lib/systemd/system/beacon.service"
LINK = "usr/lib/systemd/system/multi-user.target.wants/beacon.service"
KO = f"usr/lib/modules/{KERNEL}/updates/dkms/zfs.ko"
MANIFEST = "usr/lib/pipeline/modules/zfs.json"
PASSWD = "root:x:0:0:root:/root:/bin/sh\n"


class Source:
    """Opens images of a test's registry."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry = registry
        self._snapshots = Snapshots(TocStore(folder), registry)

    @contextlib.contextmanager
    def open_snapshots(self, *refs: str) -> Iterator[tuple[Opened, ...]]:
        images = [load_base(ImageRef.parse(ref), self._registry) for ref in refs]
        opened = zip(images, self._snapshots.open(*images), strict=True)
        yield tuple(
            Opened(name=str(image.ref.repository), digest=image.ref.pinned, snapshot=snapshot)
            for image, snapshot in opened
        )


def write(root: Path, path: str, content: str | bytes, mode: int = 0o644) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    file.chmod(mode)


def write_module(root: Path, version: str) -> None:
    module = elfkit.module("zfs", kernel=KERNEL, version=version)
    folder = f"/usr/lib/modules/{KERNEL}/updates"
    manifest = build_manifest("zfs", KERNEL, MemorySnapshot({f"/{KO}": module}), folder, ["zfs"])
    write(root, KO, module)
    write(root, MANIFEST, to_json(manifest))


def write_common(root: Path) -> None:
    """Write what both images have, in a layer that both share."""
    write(root, f"usr/lib/modules/{KERNEL}/vmlinuz", "kernel")
    write(root, "usr/lib/os-release", 'ID=tiny\nVERSION_ID="1"\n')
    write(root, "usr/bin/su", "su", 0o4755)
    for number in range(200):
        write(root, f"usr/share/doc/{number}", str(number))


def write_old(root: Path) -> None:
    write(root, STATUS, dpkg(("libc6", "2.41-12"), ("curl", "8.14.1-2")))
    write(root, "etc/passwd", PASSWD)
    write(root, "etc/site.conf", "colour = red\nshape = round\n")
    write(root, "usr/bin/tool", "tool", 0o755)
    write_module(root, "2.3.2-1")


def write_new(root: Path) -> None:
    write(root, STATUS, dpkg(("libc6", "2.41-12"), ("curl", "8.15.0-1")))  # one package
    write(root, UNIT, "[Service]\nExecStart=/usr/bin/tool\n")  # one unit, enabled
    (root / LINK).parent.mkdir(parents=True)
    (root / LINK).symlink_to("../beacon.service")
    write(
        root, "etc/passwd", PASSWD + "beacon:x:990:990:Beacon:/var/lib/beacon:/usr/sbin/nologin\n"
    )  # one user
    write(root, "usr/bin/tool", "tool", 0o4755)  # one setuid bit
    write_module(root, "2.3.9-1")  # one module's version
    write(root, "etc/site.conf", "colour = blue\nshape = round\n")  # one line of /etc


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Registry, str, str]]:
    """Return a registry with both images, by digest."""
    folder = tmp_path_factory.mktemp("images")
    with running_registry(folder / "registry") as server:
        engine = _engine(folder, server.host)
        repository = Repository(registry=server.host, path="os/tiny")
        digests = []
        for name, own in (("old", write_old), ("new", write_new)):
            for part, writer in (("common", write_common), ("own", own)):
                writer(folder / name / part)
                with tarfile.open(folder / name / f"{part}.tar", "w") as tar:
                    tar.add(folder / name / part, ".")
            digests.append(_build(engine, folder / name, repository.tagged(f"candidate-{name}")))
        old, new = (str(repository.at(digest)) for digest in digests)
        yield Registry(server.host, insecure=True), old, new


def _engine(folder: Path, host: str) -> Engine:
    processes = Processes(environment=os.environ)
    conf = folder / "registries.conf"
    conf.write_text(registries_conf(f"{host}/os"))
    found = detect_profile(
        processes,
        program="podman",
        runtime="auto",
        network="host",
        limits=container_limits(),
        registries_conf=None,
    )
    return Engine(processes, EngineProfile(runtime=found.runtime, limits=found.limits, registries_conf=conf))


def _build(engine: Engine, folder: Path, ref: ImageRef) -> Digest:
    tag = f"localhost/pipeline-test/diff:{secrets.token_hex(4)}"
    # ADD of an archive, since COPY takes the setuid bit away.
    (folder / "Containerfile").write_text("FROM scratch\nADD common.tar /\nADD own.tar /\n")
    code = engine.build(
        context=folder,
        file=folder / "Containerfile",
        arguments={},
        tag=tag,
        timestamp=1_700_000_000,
        log=folder / "log",
        on_line=lambda line: None,
    )
    assert code == 0, (folder / "log").read_text()
    try:
        return engine.push(tag, ref, digest_file=folder / "digest")
    finally:
        engine.remove(tag)


@pytest.fixture(scope="module")
def found(images: tuple[Registry, str, str], tmp_path_factory: pytest.TempPathFactory) -> Difference:
    registry, old, new = images
    return diff(old, new, Source(registry, tmp_path_factory.mktemp("toc")), because="for a test")


def test_six_changes_are_told_and_nothing_else(found: Difference) -> None:
    (package,) = found.packages
    assert (package.name, direction(package)) == ("curl:amd64", Direction.UP)
    assert [(one.kind.value, one.name) for one in found.units] == [
        ("added", "multi-user.target wants beacon.service")
    ]
    assert [(one.kind.value, one.name) for one in found.accounts] == [("added", "user beacon")]
    (right,) = found.privileges
    assert (right.name, right.new.grants if right.new else ()) == ("/usr/bin/tool", ("setuid",))
    (module,) = found.modules
    assert module.name == "zfs"
    assert module.old is not None
    assert module.new is not None
    assert (module.old.version, module.new.version) == ("2.3.2-1", "2.3.9-1")
    texts = {text.path: text.lines[1:] for text in found.texts}
    assert texts["/etc/site.conf"] == ("-colour = red", "+colour = blue", " shape = round")
    assert set(texts) == {"/etc/site.conf", "/etc/passwd", f"/{UNIT}"}
    assert {one.kind for one in groups(found) if one.items} == {
        "packages",
        "units",
        "accounts",
        "privileges",
        "modules",
        "texts",
        "files",
        "noise",
    }


def test_the_files_are_those_that_were_written_otherwise(found: Difference) -> None:
    assert {change.path: sorted(change.what) for change in found.files} == {
        "/etc/passwd": ["content"],
        "/etc/site.conf": ["content"],
        "/usr/bin/tool": ["mode", "setuid"],
        f"/{KO}": ["content"],
        f"/{MANIFEST}": ["content"],
        f"/{UNIT}": [],
        "/usr/lib/systemd": [],
        "/usr/lib/systemd/system": [],
        "/usr/lib/systemd/system/multi-user.target.wants": [],
        f"/{LINK}": [],
    }
    noise = {one.why: one.paths for one in found.noise}
    assert noise.pop("package database") == (f"/{STATUS}",)
    assert set(noise) <= {"time alone"}
    assert found.unread == ()


def test_the_shared_layer_is_fetched_once_and_told_to_be_shared(found: Difference) -> None:
    assert [layer.shared for layer in found.size.new_layers] == [True, False]
    assert found.size.fetched == found.size.new_layers[1].size


def test_the_bump_and_the_document(
    images: tuple[Registry, str, str], found: Difference, tmp_path: Path
) -> None:
    assert propose(found).bump is Bump.MINOR
    registry, old, new = images
    again = diff(old, new, Source(registry, tmp_path), because="for a test")
    assert document(again) == document(found)
    told = json.loads(document(found))
    assert (told["old"]["digest"], told["new"]["digest"]) == (old.partition("@")[2], new.partition("@")[2])


def test_what_is_printed_has_the_risky_parts_first(found: Difference) -> None:
    sink = io.StringIO()
    show_diff(found, console=Console(file=sink, width=160), as_json=False)
    text = sink.getvalue()
    places = [
        text.index(words) for words in ("2.3.2-1", "gains setuid", "user beacon", "-colour = red", "8.15.0-1")
    ]
    assert places == sorted(places)


def test_an_image_and_itself_do_not_differ(images: tuple[Registry, str, str], tmp_path: Path) -> None:
    registry, old, _ = images
    same = diff(old, old, Source(registry, tmp_path))
    assert [one.kind for one in groups(same) if one.items] == []


def test_without_a_predecessor_all_is_new(images: tuple[Registry, str, str], tmp_path: Path) -> None:
    registry, _, new = images
    first = diff(None, new, Source(registry, tmp_path), because="no release of os/tiny yet")
    assert first.first
    assert first.files == ()
    assert {change.name for change in first.packages} == {"curl:amd64", "libc6:amd64"}
    assert {change.name for change in first.privileges} == {"/usr/bin/su", "/usr/bin/tool"}


def test_packages_are_read_from_a_real_rpm_database(tmp_path: Path) -> None:
    old, new = rpm_image(tmp_path / "old", "1.9", "MIT"), rpm_image(tmp_path / "new", "1.10", "GPL-2.0-only")
    database = "/usr/lib/sysimage/rpm/rpmdb.sqlite"
    found = compared({database: "old"}, {database: "new"}, (old, new))
    (package,) = found.packages
    assert package.old is not None
    assert package.new is not None
    assert (package.name, direction(package)) == ("tiny:noarch", Direction.UP)
    assert (package.old.version, package.new.version) == ("2:1.9-1", "2:1.10-1")
    assert licence_changed(package)
    assert found.unread == ()


def rpm_image(folder: Path, version: str, licence: str) -> Inside:
    """Return what runs rpm on a database that has one package."""
    folder.mkdir()
    (folder / "tiny.spec").write_text(SPEC.format(version=version, licence=licence))
    define = ["--define", f"_topdir {folder}", "--define", f"_dbpath {folder}/db"]
    elkit.run(elkit.tool("rpmbuild", "rpm"), "-bb", "--quiet", *define, str(folder / "tiny.spec"))
    (package,) = folder.glob("RPMS/noarch/*.rpm")
    rpm = elkit.tool("rpm")
    elkit.run(rpm, "--dbpath", f"{folder}/db", "--justdb", "--nodeps", "-i", str(package))

    def inside(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        said = elkit.run(rpm, "--dbpath", f"{folder}/db", *argv[1:])
        return CommandResult(code=0, stdout=said, stderr="")

    return inside
