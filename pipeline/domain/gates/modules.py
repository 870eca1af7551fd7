"""Gates on the kernel and its out-of-tree modules: one kernel, and only modules that are listed and load.

Rules: what a module is comes from its file, never from DKMS, a package or the manifest alone; a damaged
file is a no, a kernel that cannot be read is *unchecked*, and neither is a pass.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from functools import wraps

from pipeline.domain.gate import Finding, Gate, ModuleExpectation, Package, Subject, Verdict
from pipeline.domain.gates.symbols import SymbolCheck, read_dependencies
from pipeline.domain.image import Tier
from pipeline.domain.kmod import ModuleFile, is_module, parse_module
from pipeline.domain.manifest import FOLDER, MODULES, Manifest, from_json
from pipeline.domain.tree import Entry, FileType, Tree
from pipeline.domain.vmlinuz import kernel_release, read_kernel
from pipeline.errors import ModuleError, NotFoundError

Rule = Callable[[Subject], Finding]

_KERNEL_FILE = re.compile(r"(?:vmlinu[xz]|initrd|initramfs|bzImage|zImage)(?:[-._].*)?", re.DOTALL)
_BOOT_FOLDERS = ("/boot", "/usr/lib/ostree-boot")
_REPACKED = re.compile(r"[+~.](?:dfsg|ds|repack)[0-9.]*$")


def _refusing(rule: Rule) -> Rule:
    """Turn a damaged or missing file that a rule meets into a no."""

    @wraps(rule)
    def wrapped(subject: Subject) -> Finding:
        try:
            return rule(subject)
        except (ModuleError, NotFoundError) as error:
            return Finding(verdict=Verdict.FAIL, summary=error.message, details=(error.hint,))

    return wrapped


def _answer(problems: Iterable[str], *, good: str, bad: str) -> Finding:
    details = tuple(problems)
    if details:
        return Finding(verdict=Verdict.FAIL, summary=bad, details=details)
    return Finding(verdict=Verdict.PASS, summary=good)


@_refusing
def one_kernel(subject: Subject) -> Finding:
    """Exactly one kernel, complete, the expected one, and nothing left of another."""
    tree, expected = subject.tree, subject.expected.kernel
    problems = [*_kernel_problems(tree, expected), *_strays(tree)]
    good = f"the only kernel is {''.join(tree.list(MODULES))}"
    finding = _answer(problems, good=good, bad="the image has not exactly one complete kernel")
    if finding.verdict is Verdict.FAIL:
        return finding
    kernel = _kernel(subject)
    path = f"{MODULES}/{kernel}/vmlinuz"
    try:
        release = kernel_release(tree.read(path), path)
    except ModuleError as error:
        summary = f"which kernel {path} is could not be read: {error.message}"
        return Finding(verdict=Verdict.UNCHECKED, summary=summary)
    problems = [] if release == kernel else [f"{path} says that it is {release!r}"]
    return _answer(problems, good=good, bad="the kernel is not the one its folder is named for")


def _kernel_problems(tree: Tree, expected: str | None) -> Iterator[str]:
    names = tree.list(MODULES)
    if not names:
        yield f"{MODULES} has no kernel"
    if len(names) > 1:
        yield from (f"{MODULES}/{name}: one of {len(names)} entries where one may be" for name in names)
    for name in names:
        folder = f"{MODULES}/{name}"
        if _type(tree, folder) is not FileType.DIRECTORY:
            yield f"{folder} is no directory"
            continue
        if expected not in (None, name):
            yield f"{folder}: the kernel must be {expected}"
        for file in ("vmlinuz", "initramfs.img"):
            entry = tree.entry(f"{folder}/{file}")
            if entry is None or entry.type is not FileType.FILE or entry.size == 0:
                yield f"{folder}/{file} is missing, empty or no regular file"


def _strays(tree: Tree) -> Iterator[str]:
    """Yield kernels that lie where bootc does not look, and which therefore belong to no one."""
    for folder in _BOOT_FOLDERS:
        for entry in tree.walk(folder):
            name = entry.path.rpartition("/")[2]
            if entry.type is not FileType.DIRECTORY and _KERNEL_FILE.fullmatch(name):
                yield f"{entry.path}: a kernel outside {MODULES}"
    if _type(tree, "/lib") is FileType.DIRECTORY:
        yield from (f"/lib/modules/{name}: modules outside {MODULES}" for name in tree.list("/lib/modules"))


@_refusing
def modules_present(subject: Subject) -> Finding:
    """Every expected set has a manifest, lists its modules, and each listed file is there, unchanged."""
    kernel = _kernel(subject)
    manifests = _manifests(subject.tree)
    expected = {item.name: item for item in subject.expected.modules}
    problems = [f"{FOLDER}/{name}.json is missing" for name in sorted(expected.keys() - manifests)]
    for name, manifest in sorted(manifests.items()):
        if name in expected:
            problems += _missing_modules(manifest, expected[name])
        else:
            problems.append(f"{manifest.path}: no module set {name!r} is expected")
        if manifest.kernel != kernel:
            problems.append(f"{manifest.path} is for kernel {manifest.kernel}, the image has {kernel}")
        problems += _changed_files(subject.tree, manifest)
    return _answer(
        problems,
        good=f"all modules of {len(manifests)} sets are there as their manifests say",
        bad="the modules are not those of the manifests and the definition",
    )


def _missing_modules(manifest: Manifest, expected: ModuleExpectation) -> Iterator[str]:
    listed = {file.module for file in manifest.files}
    for name in sorted({name.replace("-", "_") for name in expected.kernel_modules} - listed):
        yield f"{manifest.path} does not list {name}"


def _changed_files(tree: Tree, manifest: Manifest) -> Iterator[str]:
    for file in manifest.files:
        entry = tree.entry(file.path)
        if entry is None or entry.type is not FileType.FILE:
            yield f"{file.path}, listed in {manifest.path}, is missing"
        elif entry.size != file.size or _sha256(tree, entry) != file.sha256:
            yield f"{file.path} is not the file that {manifest.path} lists"


def _sha256(tree: Tree, entry: Entry) -> str:
    return hashlib.sha256(tree.read(entry.path, limit=entry.size)).hexdigest()


@_refusing
def modules_vermagic(subject: Subject) -> Finding:
    """Every out-of-tree module was built for this kernel with this kernel's options."""
    tree = subject.tree
    kernel = _kernel(subject)
    modules = [_module(tree, path) for path in _out_of_tree(tree, kernel)]
    if not modules:
        return Finding(verdict=Verdict.PASS, summary="there is no out-of-tree module")
    inside = _an_in_tree_module(tree, kernel)
    if inside is None:
        summary = f"{MODULES}/{kernel}/kernel holds no module to compare with"
        return Finding(verdict=Verdict.UNCHECKED, summary=summary)
    wanted = inside.vermagic
    problems = [
        f"{module.path} has vermagic {module.vermagic!r}, {inside.path} has {wanted!r}"
        for module in modules
        if module.kernel != kernel or module.vermagic != wanted
    ]
    if inside.kernel != kernel:
        problems.append(f"{inside.path} is for kernel {inside.kernel!r}, in the folder of {kernel}")
    good = f"{len(modules)} out-of-tree modules have the vermagic {wanted!r}"
    return _answer(problems, good=good, bad="modules were built for another kernel")


def _out_of_tree(tree: Tree, kernel: str) -> list[str]:
    """Return the paths of all module files in `extra` and `updates`; links are followed to what they name."""
    return [
        entry.path
        for folder in ("extra", "updates")
        for entry in tree.walk(f"{MODULES}/{kernel}/{folder}")
        if entry.type is not FileType.DIRECTORY and is_module(entry.path)
    ]


def _an_in_tree_module(tree: Tree, kernel: str) -> ModuleFile | None:
    for entry in tree.walk(f"{MODULES}/{kernel}/kernel"):
        if entry.type is FileType.FILE and is_module(entry.path):
            return _module(tree, entry.path)
    return None


@_refusing
def modules_symbols(subject: Subject) -> Finding:
    """Every listed module finds each symbol it needs, in the right version, and depmod knows it."""
    tree = subject.tree
    kernel = _kernel(subject)
    paths = [file.path for manifest in _manifests(tree).values() for file in manifest.files]
    if not paths:
        return Finding(verdict=Verdict.PASS, summary="no manifest lists a module")
    folder = f"{MODULES}/{kernel}"
    try:
        exports = read_kernel(tree.read(f"{folder}/vmlinuz"), f"{folder}/vmlinuz").exports
    except ModuleError as error:
        return Finding(verdict=Verdict.UNCHECKED, summary=f"the kernel's symbols: {error.message}")
    check = SymbolCheck(
        folder=folder,
        kernel=exports,
        dependencies=read_dependencies(tree, folder),
        load=lambda path: _module(tree, path),
    )
    problems = [problem for path in paths for problem in check.problems(path)]
    return _answer(
        problems,
        good=f"{len(paths)} modules find all their symbols",
        bad="modules could not be loaded",
    )


@_refusing
def modules_only_manifest(subject: Subject) -> Finding:
    """No kernel module but the kernel's own and those of the manifests, anywhere in the image."""
    tree = subject.tree
    kernel = _kernel(subject)
    listed = {file.path for manifest in _manifests(tree).values() for file in manifest.files}
    own = _own_modules(tree, kernel)
    if own is None:
        summary = f"{MODULES}/{kernel}/modules.order, the list of the kernel's own modules, is missing"
        return Finding(verdict=Verdict.UNCHECKED, summary=summary)
    problems = [
        f"{entry.path}: in no manifest and not the kernel's own"
        for entry in tree.walk("/")
        if entry.type is not FileType.DIRECTORY
        and is_module(entry.path)
        and entry.path not in listed
        and _plain(entry.path) not in own
        and _counts(tree, entry)
    ]
    good = f"only the kernel's own and {len(listed)} listed modules are there"
    return _answer(problems, good=good, bad="modules of unknown origin are there")


def _own_modules(tree: Tree, kernel: str) -> frozenset[str] | None:
    folder = f"{MODULES}/{kernel}"
    if tree.entry(f"{folder}/modules.order") is None:
        return None
    lines = (
        tree.read(f"{folder}/modules.order", limit=1 << 24).decode("utf-8", "surrogateescape").splitlines()
    )
    return frozenset(f"{folder}/{line}" for line in lines if line.startswith("kernel/"))


def _plain(path: str) -> str:
    """Return a module file's path without its packing suffix, as modules.order names it."""
    head, dot, _packing = path.rpartition(".ko")
    return head + dot


def _counts(tree: Tree, entry: Entry) -> bool:
    """Whether a file named like a module is one: elsewhere, `README.ko` is a text in Korean."""
    if entry.path.startswith((f"{MODULES}/", "/lib/modules/")):
        return True
    try:
        _module(tree, entry.path)
    except (ModuleError, NotFoundError):
        return False
    return True


@_refusing
def userspace_matches(subject: Subject) -> Finding:
    """Each module set's userspace packages are there in the modules' own version."""
    if subject.packages is None:
        return Finding(verdict=Verdict.UNCHECKED, summary="no package database could be read")
    manifests = _manifests(subject.tree)
    problems: list[str] = []
    for expected in subject.expected.modules:
        manifest = manifests.get(expected.name)
        if manifest is None:
            problems.append(f"{FOLDER}/{expected.name}.json is missing, so the module's version is unknown")
        elif expected.userspace:
            problems += _differing(manifest, expected, subject.packages)
    good = "userspace has the versions of its modules"
    return _answer(problems, good=good, bad="userspace and modules differ")


def _differing(
    manifest: Manifest, expected: ModuleExpectation, packages: tuple[Package, ...]
) -> Iterator[str]:
    wanted = upstream_version(manifest.module_version)
    if not wanted:
        yield f"{manifest.path}: its modules name no version to compare with"
        return
    for name in expected.userspace:
        found = [package for package in packages if package.name == name]
        if not found:
            yield f"{name} is not installed; the {expected.name} modules are {wanted}"
        for package in found:
            if upstream_version(package.version) != wanted:
                yield f"{name} is {package.version}; the {expected.name} modules are {wanted}"


def upstream_version(version: str) -> str:
    """Return a version without epoch, without Debian or RPM revision, and without a repacking mark."""
    without_epoch = re.sub(r"^[0-9]+:", "", version)
    return _REPACKED.sub("", without_epoch.rpartition("-")[0] or without_epoch)


def _kernel(subject: Subject) -> str:
    """Return the kernel that the module gates ask about: the expected one, else the only one there is."""
    names = subject.tree.list(MODULES)
    if subject.expected.kernel in names:
        return str(subject.expected.kernel)
    if len(names) != 1:
        raise ModuleError(
            f"{MODULES} has {len(names)} entries ({', '.join(names) or 'none'}), not one kernel",
            hint="leave exactly one kernel in the image",
        )
    return names[0]


def _manifests(tree: Tree) -> dict[str, Manifest]:
    found: dict[str, Manifest] = {}
    for name in tree.list(FOLDER):
        path = f"{FOLDER}/{name}"
        manifest = from_json(tree.read(path, limit=1 << 20), path)
        if manifest.path != path:
            raise ModuleError(
                f"{path} is the manifest of {manifest.set_name!r}",
                hint=f"it belongs at {manifest.path}, and nothing else lies there",
            )
        found[manifest.set_name] = manifest
    return found


def _module(tree: Tree, path: str) -> ModuleFile:
    return parse_module(path, tree.read(path, limit=1 << 29))


def _type(tree: Tree, path: str) -> FileType | None:
    entry = tree.entry(path)
    return None if entry is None else entry.type


_ALL = frozenset(Tier)
_WITH_MODULES = frozenset((Tier.BASE, Tier.INSTANCE))

GATES: tuple[Gate, ...] = (
    Gate(
        name="one-kernel",
        asks="Is there exactly one kernel, complete, the pinned one, and nothing left of another?",
        tiers=_ALL,
        rule=one_kernel,
    ),
    Gate(
        name="modules-present",
        asks="Does every expected module set have a manifest, and is every listed file there unchanged?",
        tiers=_WITH_MODULES,
        rule=modules_present,
    ),
    Gate(
        name="modules-vermagic",
        asks="Was every out-of-tree module built for this kernel, with this kernel's options?",
        tiers=_WITH_MODULES,
        rule=modules_vermagic,
    ),
    Gate(
        name="modules-symbols",
        asks="Does every listed module find each symbol it needs, in the version it was built with?",
        tiers=_WITH_MODULES,
        rule=modules_symbols,
    ),
    Gate(
        name="modules-only-manifest",
        asks="Is every kernel module in the image the kernel's own or listed in a manifest?",
        tiers=_WITH_MODULES,
        rule=modules_only_manifest,
    ),
    Gate(
        name="userspace-matches",
        asks="Has each module set's userspace the version of its modules?",
        tiers=_WITH_MODULES,
        rule=userspace_matches,
    ),
)
"""The gates of this file, in the order in which they are run and listed."""
