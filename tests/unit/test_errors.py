"""The error family, and the README's tables, which must say what the program does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from commandline import verbs

import pipeline
from pipeline.commands import VERBS
from pipeline.errors import (
    BuildFailedError,
    DefinitionError,
    PipelineError,
    ToolFailedError,
    all_errors,
)
from pipeline.problem import Problem

ROOT = Path(__file__).parents[2]
CODES = {cls.exit_code: cls.meaning for cls in all_errors()}


def table(first: str) -> dict[str, str]:
    """Return the README's table whose header starts with `first`: first cell to second, no backquotes."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows: dict[str, str] = {}
    inside = False
    for line in text.splitlines():
        cells = [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]
        if not cells:
            inside = False
        elif inside and not set(cells[0]) <= set(":- "):
            rows[cells[0].replace("\\|", "|")] = cells[1]
        elif cells[0] == first:
            inside = True
    assert rows, f"README.md has no table with the first column {first!r}"
    return rows


def test_exit_codes_are_unique_and_free_for_shells() -> None:
    codes = [cls.exit_code for cls in all_errors()]
    assert len(codes) == len(set(codes))
    # 0 is success, 64 and above are left to shells and signals but for the two that mean just that.
    assert set(codes) - {70, 130} <= set(range(1, 64))


def test_every_error_has_a_meaning_a_docstring_and_demands_a_hint() -> None:
    for cls in all_errors():
        assert cls.meaning, cls
        assert cls.__doc__, cls
    with pytest.raises(TypeError, match="hint"):
        PipelineError("broken")  # type: ignore[call-arg]


def test_no_error_is_raised_with_an_empty_hint() -> None:
    names = {cls.__name__ for cls in all_errors()}
    wrong = [
        f"{path}:{node.lineno}"
        for path in Path(pipeline.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names
        for word in node.keywords
        if word.arg == "hint" and isinstance(word.value, ast.Constant) and not word.value.value
    ]
    assert wrong == []


def test_problems_say_where_what_and_what_then() -> None:
    one = Problem(file="images/a.toml", line=3, key="kernel.name", message="is no name", hint="write x")
    other = Problem(file="images/b.toml", line=None, key="", message="is empty", hint="fill it")
    error = DefinitionError((one, other))
    assert error.message.splitlines() == [
        "2 problems in the definitions; nothing was built",
        "  images/a.toml:3 [kernel.name]: is no name (write x)",
        "  images/b.toml: is empty (fill it)",
    ]
    assert DefinitionError((one,)).message.startswith("1 problem in the definitions;")


def test_a_failed_stage_names_stage_line_and_log() -> None:
    error = BuildFailedError(stage="zfs for 6.12", first_error="no rule", log="/logs/zfs.log")
    assert error.message == "stage zfs for 6.12 failed: no rule"
    assert "/logs/zfs.log" in error.hint


def test_a_failed_tool_keeps_what_was_run() -> None:
    error = ToolFailedError("it failed", hint="look", argv=("a", "b"), code=3, tail="last")
    assert (error.argv, error.code, error.tail) == (("a", "b"), 3, "last")


def test_every_verb_is_wired_and_every_wired_verb_can_be_asked_for() -> None:
    assert set(verbs()) == set(VERBS)


def test_the_readme_lists_the_exit_codes() -> None:
    documented = table("code")
    assert documented.pop("0", None), "the README's table of exit codes starts with 0"
    assert documented == {str(code): meaning for code, meaning in CODES.items()}


def test_the_readme_lists_the_verbs() -> None:
    documented = [" ".join(re.findall(r"^[a-z-]+(?: render)?", name)) for name in table("verb")]
    assert sorted(set(documented)) == sorted(verbs())
