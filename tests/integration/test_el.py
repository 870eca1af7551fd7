"""The EL way for real: the shipped Containerfiles of `centos-stream10` with the real dnf, rpm and dkms.

Stood in for are the image (Debian's tree with dnf and rpm) and the repositories (RPMs made here); not run
are CentOS's own packages, OpenZFS and NVIDIA.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from elkit import ARCH, BROKEN, GOOD, OWN, TOO_NEW, Packager, bootstrap, index, repo_file, run, served

from pipeline.adapters.engine import Engine, detect_profile
from pipeline.adapters.packages_dnf import DnfSource
from pipeline.adapters.process import Processes
from pipeline.adapters.tree import MountedTree
from pipeline.domain.containerfile import copy_from_context, with_generated
from pipeline.domain.gate import CommandResult
from pipeline.domain.kernel import Workshop, exclude
from pipeline.domain.manifest import Manifest, build_manifest, copy_lines, to_json

pytestmark = pytest.mark.engine

SHIPPED = Path(__file__).parents[2] / "Containerfiles/centos-stream10"
PREFIX = f"localhost/pipeline-test-el-{os.getpid()}"


@dataclass
class Site:
    """The stand-in image, its repositories' addresses, and the engine."""

    engine: Engine
    folder: Path
    now: str
    later: str
    tags: list[str]

    @property
    def upstream(self) -> str:
        return f"{PREFIX}:upstream"

    def inside(self) -> Workshop:
        def workshop(argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
            return self.engine.run(self.upstream, argv, stdin=stdin, timeout=timeout, online=True)

        return workshop

    def context(self, name: str) -> Path:
        """The shipped folder, with the stand-in's repositories in place of the vendors'."""
        target = self.folder / name
        shutil.copytree(SHIPPED, target)
        for path in (target / "repos").iterdir():
            path.unlink()
        (target / "repos/standin.repo").write_text(repo_file(self.now))
        return target

    def build(self, context: Path, file: str, name: str, arguments: Mapping[str, str]) -> tuple[int, str]:
        """Build one of the Containerfiles; returns the exit code and the log."""
        log = self.folder / f"{name}.log"
        tag = f"{PREFIX}:{name}"
        self.tags.append(tag)
        code = self.engine.build(
            context=context,
            file=context / file,
            arguments={"UPSTREAM": self.upstream, **arguments},
            tag=tag,
            timestamp=1_700_000_000,
            log=log,
            on_line=lambda line: None,
            squash=True,
        )
        return code, log.read_text()

    def modules(self, version: str) -> tuple[int, str]:
        tools = f"toolchain-{version}"
        code, log = self.build(self.context(tools), "toolchain.Containerfile", tools, {})
        assert code == 0, log
        return self.build(
            self.context(f"modules-{version}"),
            "modules-zfs.Containerfile",
            f"modules-{version}",
            {
                "UPSTREAM": f"{PREFIX}:{tools}",
                "KERNEL": f"{version}.{ARCH}",
                "KERNEL_DEVEL": f"kernel-devel={version}",
                "PACKAGE": "hello-dkms=1.2.3-1.el10",
                "MODULE": "hello",
                "MODULE_SET": "hello",
            },
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("el")
    archive = folder / "tree.tar"
    bootstrap(archive)
    (folder / "web/now").mkdir(parents=True)
    packager = Packager(work=folder, target=folder / "web/now")
    for version in (OWN, GOOD, BROKEN, TOO_NEW):
        packager.kernel(version)
    for version in (GOOD, BROKEN):
        packager.devel(version, archive)
    packager.build("kernel-devel", TOO_NEW)
    packager.system()
    packager.hello()
    for name in ("dkms", "gcc", "make"):
        packager.build(name, "1-1")
    index(folder / "web/now")
    # The day after: the repositories keep the kernel and have dropped its kernel-devel.
    shutil.copytree(folder / "web/now", folder / "web/later", ignore=shutil.ignore_patterns("repodata"))
    (folder / f"web/later/kernel-devel-{GOOD}.{ARCH}.rpm").unlink()
    index(folder / "web/later")
    processes = Processes(environment=os.environ)
    profile = detect_profile(
        processes,
        program="podman",
        runtime="auto",
        network="host",
        limits=("nofile=20000:20000", "nproc=30000:30000"),
        registries_conf=None,
    )
    with served(folder / "web") as address:
        made = Site(
            engine=Engine(processes, profile),
            folder=folder,
            now=f"{address}/now",
            later=f"{address}/later",
            tags=[],
        )
        try:
            _upstream(made, archive)
            yield made
        finally:
            for tag in reversed(made.tags):
                made.engine.remove(tag)


def _upstream(site: Site, archive: Path) -> None:
    """Import the tree and give it its own kernel by RPM, as a vendor's image has one."""
    bare = f"{PREFIX}:bare"
    site.tags.append(bare)
    run("podman", "import", "--quiet", str(archive), bare)
    context = site.folder / "upstream"
    context.mkdir()
    (context / "standin.repo").write_text(repo_file(site.now))
    (context / "Containerfile").write_text(
        f"FROM {bare}\nRUN --mount=type=bind,source=standin.repo,target=/run/repos/standin.repo "
        f"dnf -y -q --setopt=reposdir=/run/repos install standin-release kernel-{OWN} && rm -f /scriptlets\n"
    )
    code, log = site.build(context, "Containerfile", "upstream", {})
    assert code == 0, log[-3000:]


@pytest.fixture(scope="module")
def modules(site: Site) -> Manifest:
    """The module set compiled for the kernel that serves."""
    code, log = site.modules(GOOD)
    assert code == 0, log[-3000:]
    assert re.search(r"^pipeline: source of hello \S+ is sha256:[0-9a-f]{64}$", log, re.MULTILINE)
    with site.engine.mounted(f"{PREFIX}:modules-{GOOD}") as root:
        return build_manifest("hello", f"{GOOD}.{ARCH}", MountedTree(root), "/out", ["hello"])


@pytest.fixture(scope="module")
def base(site: Site, modules: Manifest) -> Iterator[Path]:
    """The mounted base image, built on an upstream whose kernel is another one."""
    context = site.context("base")
    (context / "manifest.json").write_bytes(to_json(modules))
    lines = copy_lines(modules, f"stage-{GOOD}", top="/out")
    shipped = (context / "base.Containerfile").read_text()
    generated = with_generated(
        shipped, [*lines, *copy_from_context({modules.path: "manifest.json"})], file="base.Containerfile"
    )
    identity = site.engine.id_of(f"{PREFIX}:modules-{GOOD}") or ""
    generated = generated.replace(f"--from=stage-{GOOD}", f"--from={identity.removeprefix('sha256:')}")
    (context / "generated.Containerfile").write_text(generated)
    names = ("kernel", "kernel-core", "kernel-modules-core", "kernel-modules")
    code, log = site.build(
        context,
        "generated.Containerfile",
        "base",
        {
            "KERNEL": f"{GOOD}.{ARCH}",
            "KERNEL_PACKAGES": " ".join(f"{name}={GOOD}" for name in names),
            "PACKAGES": "hello-tools=1.2.3-1.el10",
            "STAND_INS": "hello-dkms",
        },
    )
    assert code == 0, log[-3000:]
    with site.engine.mounted(f"{PREFIX}:base") as root:
        yield root


def _source(address: str) -> DnfSource:
    return DnfSource({"standin.repo": repo_file(address)})


def test_dnf_is_asked_for_candidates_versions_and_ranges(site: Site) -> None:
    inside, source = site.inside(), _source(site.now)
    found = source.candidates(inside)
    assert [(one.package_version, one.in_image, one.devel) for one in found] == [
        (TOO_NEW, False, True),
        (OWN, True, False),
        (BROKEN, False, True),
        (GOOD, False, True),
    ]
    assert found[-1].release == f"{GOOD}.{ARCH}"
    assert found[-1].devel_package == f"kernel-devel={GOOD}"
    assert set(found[-1].image_packages) == {
        f"{name}={GOOD}" for name in ("kernel", "kernel-core", "kernel-modules-core", "kernel-modules")
    }
    assert source.module_version(inside, "hello-tools") == "1.2.3-1.el10"
    assert source.module_version(inside, "no-such-package") is None
    ranges = source.declared(inside, "hello-dkms", "hello")
    kept, dropped = exclude(found, ranges, arch=ARCH)
    assert [one.package_version for one in kept] == [BROKEN, GOOD]
    assert {one.release: one.reason for one in dropped} == {
        f"{TOO_NEW}.{ARCH}": "hello META: the newest kernel it declares is 6.15",
        f"{OWN}.{ARCH}": "its kernel-devel is not in the repositories",
    }


def test_a_kernel_whose_kernel_devel_is_gone_is_no_candidate_any_more(site: Site) -> None:
    found = _source(site.later).candidates(site.inside())
    assert [one.package_version for one in found] == [TOO_NEW, OWN, BROKEN]


def test_a_builder_stage_leaves_modules_for_the_kernel_that_was_asked_for(modules: Manifest) -> None:
    (file,) = modules.files
    assert file.path.startswith(f"/usr/lib/modules/{GOOD}.{ARCH}/extra/hello/hello.ko")
    assert file.vermagic.startswith(f"{GOOD}.{ARCH} ")
    assert (file.version, file.signer) == ("1.2.3", "")


def test_a_module_that_does_not_compile_fails_the_stage_and_shows_the_compilers_word(site: Site) -> None:
    code, log = site.modules(BROKEN)
    assert code != 0
    assert "the interface of this kernel is another one" in log


def test_the_base_has_the_pinned_kernel_and_no_other(base: Path) -> None:
    assert [path.name for path in (base / "usr/lib/modules").iterdir()] == [f"{GOOD}.{ARCH}"]
    folder = base / f"usr/lib/modules/{GOOD}.{ARCH}"
    assert (folder / "vmlinuz").is_file()
    assert (folder / "initramfs.img").stat().st_size > 1_000_000
    assert list((base / "boot").iterdir()) == []


def test_the_initramfs_is_the_pinned_kernels_and_finds_an_ostree_root(site: Site, base: Path) -> None:
    image = f"/usr/lib/modules/{GOOD}.{ARCH}/initramfs.img"
    said = site.engine.run(f"{PREFIX}:base", ["lsinitrd", image])
    assert "ostree-prepare-root" in said.stdout
    assert f"usr/lib/modules/{GOOD}.{ARCH}" in said.stdout
    assert OWN not in said.stdout


def test_the_package_database_knows_the_pinned_kernel_alone(site: Site, base: Path) -> None:
    said = site.engine.run(f"{PREFIX}:base", ["rpm", "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"])
    packages = dict(line.split() for line in said.stdout.splitlines())
    kernel = ("kernel", "kernel-core", "kernel-modules-core", "kernel-modules")
    others = {"hello-tools": "1.2.3-1.el10", "standin-release": "10-1"}
    assert packages == {**dict.fromkeys(kernel, GOOD), **others}
    assert not (base / "scriptlets").exists(), "a kernel package's scripts were run"


def test_the_module_is_listed_in_the_tables_of_the_pinned_kernel(base: Path, modules: Manifest) -> None:
    folder = base / f"usr/lib/modules/{GOOD}.{ARCH}"
    assert "extra/hello/hello.ko" in (folder / "modules.dep").read_text()
    assert (base / modules.path.lstrip("/")).read_bytes() == to_json(modules)


@pytest.mark.parametrize(
    "path",
    ["usr/src/hello-1.2.3", "var/cache/dnf", "var/lib/dnf", "usr/src/kernels", "run/repos/standin.repo"],
)
def test_nothing_of_the_build_is_left(base: Path, path: str) -> None:
    assert not (base / path).exists()


def test_userspace_came_with_its_module_and_machine_identity_did_not(base: Path) -> None:
    assert (base / "usr/bin/hello").is_file()
    assert (base / "etc/machine-id").read_bytes() == b""


def test_a_swap_to_a_kernel_that_is_not_offered_fails_with_its_name(site: Site) -> None:
    context = site.context("gone")
    code, log = site.build(
        context,
        "base.Containerfile",
        "gone",
        {"KERNEL": f"6.12.0-99.el10.{ARCH}", "KERNEL_PACKAGES": "kernel-core=6.12.0-99.el10", "PACKAGES": ""},
    )
    assert code != 0
    assert "kernel-core-6.12.0-99.el10" in log
