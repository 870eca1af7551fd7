"""Templates and the look for secrets: what is filled, what is refused, what looks like a secret."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.secretlike import secret_kind, secret_variable
from pipeline.domain.template import fill

VALUES: dict[str, str | int | bool] = {"hostname": "web-1", "port": 8080, "debug": True}


def test_values_are_put_in() -> None:
    text, problems = fill("a {{ hostname }}:{{port}} {{\tdebug }}\n", VALUES, file="t")
    assert (text, problems) == ("a web-1:8080 true\n", ())


def test_escaped_braces_stay() -> None:
    assert fill(r"\{{ hostname }}", VALUES, file="t") == ("{{ hostname }}", ())


def test_values_are_not_filled_again() -> None:
    assert fill("{{ a }}", {"a": "{{ b }}", "b": "x"}, file="t") == ("{{ b }}", ())


@pytest.mark.parametrize(
    ("text", "line", "message", "hint"),
    [
        ("\n\n{{ hostnam }}", 3, "'hostnam' is not defined", "did you mean hostname?"),
        ("{{ port", 1, "no place for a value", "{{ name }}"),
        ("{{ }}", 1, "no place for a value", "{{ name }}"),
        ("{{ a.b }}", 1, "no place for a value", "{{ name }}"),
        ("{{ hostname | upper }}", 1, "no place for a value", "{{ name }}"),
    ],
)
def test_a_place_that_cannot_be_filled_has_file_and_line(
    text: str, line: int, message: str, hint: str
) -> None:
    _, problems = fill(text, VALUES, file="templates/x")
    assert len(problems) == 1
    assert (problems[0].file, problems[0].line) == ("templates/x", line)
    assert message in problems[0].message
    assert hint in problems[0].hint


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text())
def test_any_text_is_filled_or_refused(text: str) -> None:
    filled, problems = fill(text, VALUES, file="t")
    if "{{" not in text:
        assert (filled, problems) == (text, ())


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "x: glpat-" + "a" * 20,
        "token ghp_" + "A" * 36,
        "AKIA" + "A" * 16,
        "https://user:hunter2@registry.example.org/",
        "postgres://db:hunter2@127.0.0.1/db",
        "password = hunter2",
        '  "api_key": "abc123def"',
        "DB_PASSWORD=hunter2",
    ],
)
def test_secrets_are_seen(text: str) -> None:
    assert secret_kind(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PUBLIC KEY-----",
        "password_file = /run/secrets/db",
        "password = /run/secrets/db",
        "PasswordAuthentication no",
        "private_key: { filename: /run/secrets/tls-key }",
        "bearer_token = local.file.token.content",
        "https://registry.example.org:5000/path",
        "tokens: 4096",
        "",
    ],
)
def test_references_are_no_secrets(text: str) -> None:
    assert secret_kind(text) is None


def test_variables_are_judged_by_their_name() -> None:
    assert secret_variable("POSTGRES_PASSWORD", "hunter2") == "a value for POSTGRES_PASSWORD"
    assert secret_variable("POSTGRES_PASSWORD_FILE", "/run/secrets/x") is None
    assert secret_variable("TOKEN", "") is None
    assert secret_variable("LOG_LEVEL", "info") is None
