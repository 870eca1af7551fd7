"""Whether a module would load: every symbol it needs is there, in its version, open to its licence.

Rules: it decides as the kernel's loader does. A symbol comes from the kernel itself or from a module that
`modules.dep` loads before; its CRC is the one the module was built with; a symbol for GPL modules only is not
there for others; only the modules a listed one depends on are read, each once.
Source: kernel/module/main.c (resolve_symbol, verify_exported_symbols) and kernel/module/version.c of Linux.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.domain.kmod import ModuleFile
from pipeline.domain.ksymtab import Export
from pipeline.domain.tree import Tree
from pipeline.errors import ModuleError


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What depmod wrote.

    Attributes:
        lists: Path of each module to the paths of all modules it needs, relative to the kernel's folder.
        index: `modules.dep.bin`, the form that modprobe reads; it holds the same paths.
    """

    lists: Mapping[str, tuple[str, ...]]
    index: bytes


def read_dependencies(tree: Tree, folder: str) -> Dependencies:
    """Read `modules.dep` and `modules.dep.bin` of a kernel's folder.

    Raises:
        NotFoundError: One of them is missing: depmod was not run.
    """
    text = tree.read(f"{folder}/modules.dep", limit=1 << 26).decode("utf-8", "surrogateescape")
    parts = (line.partition(":") for line in text.splitlines())
    lists = {path: tuple(needed.split()) for path, colon, needed in parts if colon}
    return Dependencies(lists=lists, index=tree.read(f"{folder}/modules.dep.bin", limit=1 << 26))


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolCheck:
    """Checks modules against one kernel.

    Attributes:
        folder: `/usr/lib/modules/<kernel>`.
        kernel: What the kernel itself exports.
        dependencies: What depmod wrote.
        load: Reads a module by its path.
    """

    folder: str
    kernel: Mapping[str, Export]
    dependencies: Dependencies
    load: Callable[[str], ModuleFile]
    _loaded: dict[str, ModuleFile] = field(default_factory=dict)

    def problems(self, path: str) -> Iterator[str]:
        """Yield why the module at an absolute path would not load; nothing when it would.

        Raises:
            ModuleError: A module is damaged.
            NotFoundError: The module or one it depends on is missing.
        """
        relative = path.removeprefix(f"{self.folder}/")
        if relative not in self.dependencies.lists:
            yield f"{path} is not in modules.dep: depmod was not run after it was copied"
            return
        if f"{relative}:".encode("utf-8", "surrogateescape") not in self.dependencies.index:
            yield f"{path} is not in modules.dep.bin, which modprobe reads: depmod was not run"
        module = self._module(path)
        offers = self._offers(self.dependencies.lists[relative])
        yield from self._unresolved(module, offers)
        yield from self._differing(module, offers)
        for name in sorted(module.exports.keys() & self.kernel.keys()):
            yield f"{path} exports {name}, which the kernel exports already"

    def _module(self, path: str) -> ModuleFile:
        if path not in self._loaded:
            self._loaded[path] = self.load(path)
        return self._loaded[path]

    def _offers(self, needed: tuple[str, ...]) -> Mapping[str, tuple[str, Export]]:
        """Return who offers each symbol, the kernel before the modules."""
        found: dict[str, tuple[str, Export]] = {}
        for relative in needed:
            if relative.startswith("/") or ".." in relative.split("/"):
                raise ModuleError(
                    f"{self.folder}/modules.dep names {relative!r}",
                    hint="run depmod again in the final stage",
                )
            module = self._module(f"{self.folder}/{relative}")
            found.update((name, (relative, export)) for name, export in module.exports.items())
        found.update((name, ("the kernel", export)) for name, export in self.kernel.items())
        return found

    def _unresolved(self, module: ModuleFile, offers: Mapping[str, tuple[str, Export]]) -> Iterator[str]:
        for name in sorted(module.undefined):
            if name not in offers:
                yield f"{module.path} needs {name}, which neither the kernel nor a module it depends on has"
                continue
            provider, export = offers[name]
            if export.gpl_only and not module.gpl:
                licence = module.licenses[0] if module.licenses else "none"
                yield f"{module.path} (licence {licence}) needs {name}, which {provider} has for GPL only"

    def _differing(self, module: ModuleFile, offers: Mapping[str, tuple[str, Export]]) -> Iterator[str]:
        if not module.versions and any(export.crc is not None for export in self.kernel.values()):
            yield f"{module.path} has no symbol versions, though the kernel has them"
        for name, crc in sorted(module.versions.items()):
            if name not in offers:
                continue
            provider, export = offers[name]
            if export.crc is not None and export.crc != crc:
                yield f"{module.path} needs {name} with CRC {crc:#010x}, {provider} has {export.crc:#010x}"
