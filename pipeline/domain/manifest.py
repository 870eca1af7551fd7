"""The module manifest: exactly which kernel modules a builder stage offers, and what each one is.

Rules:
1. It is made from the `.ko` files, not from what DKMS or a package says of them.
2. A stage with anything but the expected modules, for that kernel, in `extra` or `updates`, is refused.
3. Everything the final image takes from the stage is written in it; the `COPY` lines are generated from it.
4. Paths in it have no character that a Containerfile, a shell or a glob gives a meaning to.
5. Reading is strict: an unknown key, version or type is refused. Same manifest, same bytes.
"""

from __future__ import annotations

import itertools
import json
import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from pipeline.domain.image import NAME
from pipeline.domain.kmod import ModuleFile, is_module, module_name, parse_module
from pipeline.domain.tree import Entry, FileType, Tree
from pipeline.errors import ModuleError

SCHEMA = 1
"""Version of the manifest's form; raised when the form changes."""

FOLDER = "/usr/lib/pipeline/modules"
"""Where an image keeps the manifests of its module sets."""

MODULES = "/usr/lib/modules"
KERNEL = re.compile(r"[0-9][A-Za-z0-9._+~-]{0,127}")
"""What a kernel release looks like."""

_LARGEST = 1 << 20
_LARGEST_MODULE = 512 << 20
_PATH = re.compile(r"(?:/[A-Za-z0-9_+~-][A-Za-z0-9._+~-]*)+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """One module, as shipped: absolute path in the image, digest, size in bytes, and its own words."""

    path: str
    sha256: str
    size: int
    module: str
    version: str
    vermagic: str
    licence: str
    srcversion: str
    signer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What one module set brings into an image.

    Attributes:
        set_name: Name of the set, such as `zfs`.
        kernel: The kernel release all files were built for.
        module_version: The version the files agree on, or "" when none has one.
        files: The files, in order of their paths.
    """

    set_name: str
    kernel: str
    module_version: str
    files: tuple[ManifestFile, ...]

    @property
    def path(self) -> str:
        """Where an image keeps this manifest."""
        return f"{FOLDER}/{self.set_name}.json"


def build_manifest(
    set_name: str, kernel: str, tree: Tree, top: str, expected_modules: Iterable[str]
) -> Manifest:
    """Make the manifest of what lies under `top` in a builder stage.

    Args:
        set_name: Name of the set.
        kernel: Kernel release the modules must be built for.
        tree: The stage's files.
        top: Folder whose every file is offered: one that stands for the image's root (`/out`), or one below
            it (`/out/usr/lib/modules/<kernel>/extra`); what comes before `/usr/lib/modules` is stripped.
        expected_modules: Names of the modules that must be there, and no others.

    Raises:
        ModuleError: Something else is there, something is missing, or a file is not a module for this kernel.
    """
    _check_names(set_name, kernel, "the build")
    prefix = stage_prefix(top)
    modules = [
        _read(tree, entry, entry.path.removeprefix(prefix), kernel)
        for entry in tree.walk(top)
        if entry.type is not FileType.DIRECTORY
    ]
    _check_expected(set_name, top, modules, {name.replace("-", "_") for name in expected_modules})
    return Manifest(
        set_name=set_name,
        kernel=kernel,
        module_version=_common_version(set_name, modules),
        files=tuple(sorted((_file(module) for module in modules), key=lambda file: file.path)),
    )


def stage_prefix(top: str) -> str:
    """Return what comes before `/usr/lib/modules` in a stage's output folder; "" for the root."""
    before = top.partition(MODULES)[0].strip("/")
    return f"/{before}" if before else ""


def copy_lines(manifest: Manifest, stage: str, *, top: str = "") -> tuple[str, ...]:
    """Return the Containerfile lines that copy the manifest's files, one line for each folder.

    Args:
        manifest: What to copy.
        stage: Name of the builder stage.
        top: The folder that was given to `build_manifest`.

    Raises:
        ModuleError: The stage's name or folder has characters a Containerfile would interpret.
    """
    prefix = stage_prefix(top)
    if not _STAGE.fullmatch(stage) or (prefix and not _PATH.fullmatch(prefix)):
        raise ModuleError(
            f"stage {stage!r} with folder {top!r} cannot be written into a Containerfile",
            hint="use letters, digits, '.', '_' and '-' only",
        )
    folders = itertools.groupby(manifest.files, key=lambda file: posixpath.dirname(file.path))
    return tuple(
        f"COPY --from={stage} {json.dumps([*(prefix + file.path for file in files), folder + '/'])}"
        for folder, files in folders
    )


def to_json(manifest: Manifest) -> bytes:
    """Return the manifest's canonical bytes."""
    document = {"schema": SCHEMA, **asdict(manifest)}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def from_json(data: bytes, where: str) -> Manifest:
    """Read a manifest.

    Args:
        data: The file.
        where: Its name, for messages.

    Raises:
        ModuleError: It is not exactly a manifest of this version.
    """
    if len(data) > _LARGEST:
        raise _refused(where, "is larger than a megabyte")
    try:
        document = json.loads(data, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise _refused(where, f"is no JSON: {error}") from error
    if not isinstance(document, dict) or type(document.get("schema")) is not int:
        raise _refused(where, "is no manifest")
    if document["schema"] != SCHEMA:
        raise _refused(where, f"is not in form {SCHEMA}, the only one known")
    manifest = _manifest({key: value for key, value in document.items() if key != "schema"}, where)
    _check_names(manifest.set_name, manifest.kernel, where)
    _check_files(manifest, where)
    return manifest


def _manifest(document: dict[str, Any], where: str) -> Manifest:
    files = document.get("files")
    if not isinstance(files, list):
        raise _refused(where, "has no list of files")
    names = {field.name for field in fields(Manifest)}
    _check_object(document, names, where, also="files")
    for item in files:
        _check_object(item, {field.name for field in fields(ManifestFile)}, where, also="size")
        if type(item["size"]) is not int or item["size"] < 0:
            raise _refused(where, "gives a size that is no number of bytes")
    return Manifest(**{**document, "files": tuple(ManifestFile(**item) for item in files)})


def _check_object(item: Any, names: set[str], where: str, *, also: str) -> None:
    """Refuse anything but an object with exactly these keys, all of them text but `also`."""
    if not isinstance(item, dict) or set(item) != names:
        raise _refused(where, f"must have exactly the keys {', '.join(sorted(names))}")
    wrong = sorted(key for key in names - {also} if not isinstance(item[key], str))
    if wrong:
        raise _refused(where, f"gives no text for {', '.join(wrong)}")


def _check_files(manifest: Manifest, where: str) -> None:
    for file in manifest.files:
        check_path(file.path, manifest.kernel, where)
        if not _SHA256.fullmatch(file.sha256):
            raise _refused(where, f"gives {file.sha256!r} as the sha256 of {file.path}")
        if file.vermagic.partition(" ")[0] != manifest.kernel:
            raise _refused(where, f"lists {file.path}, built for {file.vermagic!r}")
        if module_name(file.path) != file.module.replace("-", "_"):
            raise _refused(where, f"calls {file.path} {file.module!r}")
    paths = [file.path for file in manifest.files]
    if not paths or paths != sorted(set(paths)):
        raise _refused(where, "lists no files, or not each once and in order")


def check_path(path: str, kernel: str, where: str) -> None:
    """Refuse a path that is no module file in this kernel's `extra` or `updates`.

    Raises:
        ModuleError: It is elsewhere or has characters that something would interpret.
    """
    inside = any(path.startswith(f"{MODULES}/{kernel}/{folder}/") for folder in ("extra", "updates"))
    if not inside or not _PATH.fullmatch(path) or not is_module(path):
        raise ModuleError(
            f"{where}: {path!r} is no module in {MODULES}/{kernel}/extra or updates",
            hint="a module stage may offer .ko files there and nothing else",
        )


def _check_names(set_name: str, kernel: str, where: str) -> None:
    if not NAME.fullmatch(set_name):
        raise _refused(where, f"names the module set {set_name!r}")
    if not KERNEL.fullmatch(kernel):
        raise _refused(where, f"names the kernel {kernel!r}")


def _read(tree: Tree, entry: Entry, path: str, kernel: str) -> ModuleFile:
    check_path(path, kernel, "the module stage")
    if entry.type is not FileType.FILE:
        raise _refused(path, f"is a {entry.type}, and only files are copied")
    module = parse_module(path, tree.read(entry.path, limit=_LARGEST_MODULE))
    if module.kernel != kernel:
        raise _refused(path, f"is built for kernel {module.kernel!r}, not for {kernel}")
    if module_name(path) != module.name.replace("-", "_"):
        raise _refused(path, f"calls itself {module.name!r}")
    return module


def _check_expected(set_name: str, top: str, modules: Sequence[ModuleFile], expected: set[str]) -> None:
    names = [module_name(module.path) for module in modules]
    for what, wrong in (
        ("misses", expected.difference(names)),
        ("brings unexpected", set(names) - expected),
        ("brings more than once", {name for name in names if names.count(name) > 1}),
    ):
        if wrong:
            raise ModuleError(
                f"module set {set_name} {what} {', '.join(sorted(wrong))} in {top}",
                hint="make the stage's output and the definition's kernel_modules agree",
            )
    if not names:
        raise _refused(top, f"holds no module for the set {set_name}")


def _common_version(set_name: str, modules: Sequence[ModuleFile]) -> str:
    versions = sorted({module.version for module in modules} - {""})
    if len(versions) > 1:
        raise _refused(f"module set {set_name}", f"mixes versions {', '.join(map(repr, versions))}")
    return versions[0] if versions else ""


def _file(module: ModuleFile) -> ManifestFile:
    return ManifestFile(
        path=module.path,
        sha256=module.sha256,
        size=module.size,
        module=module_name(module.path),
        version=module.version,
        vermagic=module.vermagic,
        licence="; ".join(module.licenses),
        srcversion=module.srcversion,
        signer=module.signer,
    )


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is given twice")
    return dict(pairs)


def _refused(where: str, what: str) -> ModuleError:
    return ModuleError(
        f"{where}: {what}", hint="build the module set again; its manifest is made from its files"
    )
