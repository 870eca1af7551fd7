"""The rules of the layout, held on the parsed source: who may import whom, and who may touch the world."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

import pipeline

PACKAGE = Path(pipeline.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py") if "scaffold/" not in str(path.relative_to(PACKAGE)))
ENTRY = frozenset({"cli", "wiring", "commands", "__main__"})

MAY_IMPORT = {
    "problem": set[str](),
    "errors": {"problem"},
    "arguments": {"arguments", "errors"},
    "domain": {"domain", "errors", "problem"},
    "adapters": {"adapters", "domain", "errors", "problem"},
    "verbs": {"verbs", "domain", "errors", "problem"},
    "render": {"render", "domain", "errors", "problem"},
}
"""Layer to the layers it may import; what is not listed here sees everything."""

DOORS = {"pipeline.adapters.process", "pipeline.adapters.supervisor"}
READERS = {"cli", "wiring", "commands"}
"""Layers that may read the clock, the environment and randomness."""
WORLD = {
    "os.environ", "os.environb", "os.getenv", "os.urandom", "os.getlogin",
    "datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today",
    "time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.strftime", "time.ctime",
    "uuid.uuid1", "uuid.uuid4", "getpass.getuser", "socket.gethostname", "tempfile.gettempdir",
}  # fmt: skip
WORLD_MODULES = {"random", "secrets"}
EXITS = {"sys.exit", "os._exit", "os.abort", "SystemExit", "exit", "quit"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in FILES}


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield every imported module, also inside functions, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield (inner if inner in TREES else str(node.module)), node.lineno


def run_time(tree: ast.Module) -> ast.Module:
    """Return the tree without what stands below `if TYPE_CHECKING`."""
    body = [
        node
        for node in tree.body
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(body=body, type_ignores=[])


def uses(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield dotted names as they are used, aliases of imports resolved."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name) and (words := dotted(node)):
            yield ".".join([known.get(words[0], words[0]), *words[1:]]), node.lineno


def dotted(node: ast.expr) -> list[str]:
    """Return the words of `a.b.c`; nothing where a part is no plain name."""
    words: list[str] = []
    while isinstance(node, ast.Attribute):
        words.insert(0, node.attr)
        node = node.value
    return [node.id, *words] if isinstance(node, ast.Name) else []


def own_words(tree: ast.Module) -> set[str]:
    """Return names that the module itself defines, which hide built-ins of that name."""
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}


def test_there_is_something_to_look_at() -> None:
    assert {"pipeline.cli", "pipeline.verbs.pin", "pipeline.domain.image"} <= set(TREES)
    assert {layer_of(module) for module in TREES} >= {"domain", "verbs", "adapters", "render"}


def test_every_layer_is_known() -> None:
    assert {layer_of(module) for module in TREES} == {"", *ENTRY, *MAY_IMPORT}


def test_imports_point_one_way() -> None:
    wrong = [
        f"{module} line {line}: {name}"
        for module, tree in TREES.items()
        if (allowed := MAY_IMPORT.get(layer_of(module))) is not None
        for name, line in imports(tree)
        if name.split(".")[0] == "pipeline" and layer_of(name) not in allowed | {""}
    ]
    assert not wrong, "see MAY_IMPORT"


def test_the_package_itself_is_light() -> None:
    assert list(imports(TREES["pipeline"])) == []


def test_there_is_no_cycle() -> None:
    graph = {
        module: {name for name, _ in imports(run_time(tree)) if name in TREES and name != module}
        for module, tree in TREES.items()
    }
    # `wiring.run_verb` hands over to `commands` when it is called; neither needs the other to be loaded.
    graph["pipeline.wiring"].discard("pipeline.commands")
    while leaves := {module for module, names in graph.items() if not names & graph.keys()}:
        for module in leaves:
            del graph[module]
    assert not graph, f"these import each other: {sorted(graph)}"


def test_one_door_to_other_programs() -> None:
    doors = {
        module
        for module, tree in TREES.items()
        if any(name.split(".")[0] in {"subprocess", "pty", "popen2"} for name, _ in imports(tree))
        or any(
            name.startswith(("os.exec", "os.spawn", "os.posix_spawn", "os.fork"))
            or name in {"os.system", "os.popen"}
            for name, _ in uses(tree)
        )
        or any(name.startswith("asyncio.create_subprocess") for name, _ in uses(tree))
    }
    assert doors == DOORS


def test_only_the_entry_exits() -> None:
    # The supervisor is a program of its own, started by its path.
    exits = {
        f"{module} line {line}: {name}"
        for module, tree in TREES.items()
        if module not in {"pipeline.cli", "pipeline.__main__", "pipeline.adapters.supervisor"}
        for own in [own_words(tree)]
        for name, line in uses(tree)
        if name in EXITS - own
    }
    assert not exits


def test_only_the_entry_reads_clock_environment_and_randomness() -> None:
    read = {
        f"{module} line {line}: {name}"
        for module, tree in TREES.items()
        if layer_of(module) not in READERS
        for name, line in itertools.chain(uses(tree), imports(tree))
        if name in WORLD
    } | {
        f"{module} line {line}: imports {name}"
        for module, tree in TREES.items()
        if layer_of(module) not in READERS
        for name, line in imports(tree)
        if name in WORLD_MODULES
    }
    assert not read


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import datetime as dt\ndt.datetime.now(dt.UTC)", "datetime.datetime.now"),
        ("from datetime import datetime\ndatetime.now()", "datetime.datetime.now"),
        ("from os import environ as e\ne['x']", "os.environ"),
        ("import os\nos.environ.get('x')", "os.environ"),
    ],
)
def test_aliases_do_not_hide_a_use(source: str, expected: str) -> None:
    assert expected in {name for name, _ in uses(ast.parse(source))}


def test_every_module_states_its_job() -> None:
    assert [module for module, tree in TREES.items() if not ast.get_docstring(tree)] == []
