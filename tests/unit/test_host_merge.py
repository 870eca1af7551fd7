"""Roles and host become one definition: what wins, what conflicts, and where each value stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters import toml_source
from pipeline.domain.merge import Layer, Merged, merge
from pipeline.problem import Problem


def layer(name: str, text: str) -> Layer:
    source = toml_source.parse(text, shown=f"{name}.toml")
    assert isinstance(source, toml_source.TomlFile), source
    return Layer(name=name, file=source.file, values=source.values, lines=source.lines)


def merged(host: str, *roles: str) -> tuple[Merged, tuple[Problem, ...]]:
    return merge(layer("host", host), [layer(f"role{index}", text) for index, text in enumerate(roles)])


def origins(result: Merged, key: str) -> list[str]:
    return [str(one) for one in result.origins[key]]


def test_tables_merge_key_by_key_and_know_their_lines() -> None:
    result, problems = merged(
        "[users.a]\nuid = 1\n", "x = 1\n[users.a]\nshell = 's'\n", "\n[users.b]\nuid = 2\n"
    )
    assert problems == ()
    assert result.values == {"x": 1, "users": {"a": {"uid": 1, "shell": "s"}, "b": {"uid": 2}}}
    assert origins(result, "users.a.uid") == ["host.toml:2"]
    assert origins(result, "users.a.shell") == ["role0.toml:3"]
    assert origins(result, "users.b.uid") == ["role1.toml:3"]


def test_the_host_wins_over_its_roles() -> None:
    result, problems = merged("timezone = 'B'", "timezone = 'A'", "timezone = 'C'")
    assert problems == ()
    assert result.values["timezone"] == "B"
    assert origins(result, "timezone") == ["host.toml:1"]


def test_roles_that_agree_are_both_named() -> None:
    result, problems = merged("", "timezone = 'A'", "\ntimezone = 'A'")
    assert problems == ()
    assert origins(result, "timezone") == ["role0.toml:1", "role1.toml:2"]


@pytest.mark.parametrize(
    ("one", "two"),
    [("x = 1", "x = 2"), ("x = 1", "x = true"), ("x = [1]", "x = 1"), ("x = {a = 1}", "x = 1")],
)
def test_roles_that_differ_are_a_conflict_whichever_comes_first(one: str, two: str) -> None:
    for first, second in ((one, two), (two, one)):
        _, problems = merged("", first, second)
        assert len(problems) == 1
        assert (problems[0].file, problems[0].line, problems[0].key) == ("role1.toml", 1, "x")
        assert "role0.toml:1" in problems[0].message
        assert "host" in problems[0].hint


def test_lists_are_put_together_in_order_without_doubles() -> None:
    result, problems = merged("kargs = ['c', 'a']", "kargs = ['a', 'b']", "kargs = ['b']")
    assert problems == ()
    assert result.values["kargs"] == ("a", "b", "c")
    assert origins(result, "kargs.0") == ["role0.toml:1", "host.toml:1"]
    assert origins(result, "kargs.2") == ["host.toml:1"]


def test_a_command_line_is_one_value() -> None:
    result, problems = merged("", "exec = ['a', 'b']", "exec = ['a']")
    assert len(problems) == 1
    result, problems = merged("exec = ['c']", "exec = ['a', 'b']", "exec = ['a']")
    assert problems == ()
    assert result.values["exec"] == ("c",)


def test_drop_leaves_out_what_a_role_says() -> None:
    role = "kargs = ['a']\n[users.bob]\nuid = 1\n[users.eve]\nuid = 2\n"
    result, problems = merged("drop = ['users.bob', 'kargs']\nkargs = ['mine']", role)
    assert problems == ()
    assert result.values["users"] == {"eve": {"uid": 2}}
    assert result.values["kargs"] == ("mine",)


def test_dropping_what_is_not_there_names_the_nearest() -> None:
    _, problems = merged("drop = [\n 'users.bop',\n]", "[users.bob]\nuid = 1\n")
    assert [(one.line, one.key, one.hint) for one in problems] == [(2, "drop.0", "did you mean users.bob?")]


def test_what_a_role_says_of_itself_is_not_the_hosts() -> None:
    result, _ = merged("", "description = 'a role'")
    assert "description" not in result.values


_VALUES = st.recursive(
    st.integers(0, 2) | st.booleans() | st.sampled_from(["a", "b"]),
    lambda inner: (
        st.dictionaries(st.sampled_from("xyz"), inner, max_size=3)
        | st.lists(st.integers(0, 3), max_size=3).map(tuple)
    ),
    max_leaves=6,
)
_TABLES = st.dictionaries(st.sampled_from(["x", "y", "z", "exec"]), _VALUES, max_size=4)


def plain_layer(name: str, values: Mapping[str, Any]) -> Layer:
    return Layer(name=name, file=name, values=values, lines={})


@settings(derandomize=True, deadline=None, max_examples=300)
@given(_TABLES, _TABLES, _TABLES)
def test_conflicts_do_not_depend_on_the_order_of_roles(
    host: dict[str, Any], one: dict[str, Any], two: dict[str, Any]
) -> None:
    first, there = merge(plain_layer("h", host), [plain_layer("1", one), plain_layer("2", two)])
    second, back = merge(plain_layer("h", host), [plain_layer("2", two), plain_layer("1", one)])
    assert {problem.key for problem in there} == {problem.key for problem in back}
    if not there:
        assert _sorted(first.values) == _sorted(second.values)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(_TABLES)
def test_a_host_without_roles_stays_as_it_is(host: dict[str, Any]) -> None:
    result, problems = merge(plain_layer("h", host), [])
    assert problems == ()
    assert _sorted(result.values) == _sorted(host)


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _sorted(inner) for key, inner in sorted(value.items())}
    return tuple(sorted(set(value))) if isinstance(value, tuple) else value
