from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.text import plain, without_ansi

HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/usr/lib/zfs.ko", "/usr/lib/zfs.ko"),
        ("Zeichen äöü 漢字 🙂", "Zeichen äöü 漢字 🙂"),
        ("a\tb\u00a0c", "a b c"),
        ("one\ntwo\r", "one\\ntwo\\r"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x9b31m", "\\x9b31m"),
        ("safe\u202egpj.exe", "safe\\u202egpj.exe"),
        ("\u2066\u200b\ufeff", "\\u2066\\u200b\\ufeff"),
        ("\u2028", "\\u2028"),
        ("\U000e0041", "\\U000e0041"),
        (b"bad\xff".decode("utf-8", "surrogateescape"), "bad\\xff"),
        ("\0", "\\x00"),
        ("[bold]kept[/bold]", "[bold]kept[/bold]"),
        ("", ""),
    ],
)
def test_hidden_characters_are_shown(text: str, shown: str) -> None:
    assert plain(text) == shown


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdefg", 6, "abcde…"),
        ("\x1b\x1b", 6, "\\x1b\\…"),
        ("abc", 1, "…"),
        ("", 1, ""),
    ],
)
def test_the_limit_counts_what_is_shown(text: str, limit: int, shown: str) -> None:
    assert plain(text, limit) == shown


@given(st.text(st.characters(), max_size=200), st.integers(1, 100))
@settings(derandomize=True, deadline=None, max_examples=500)
def test_nothing_hidden_survives(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert not {unicodedata.category(char) for char in shown} & HIDDEN
    shown.encode("utf-8")


@given(st.text(st.characters(), max_size=200))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_what_is_plain_stays_as_it_is(text: str) -> None:
    once = plain(text, 100_000)
    assert plain(once, 100_000) == once


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("\x1b[1;31merror:\x1b[0m bad", "error: bad"),
        ("\x1b]8;;file:///etc\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b(Bplain\x1bM", "plain"),
        ("\x1b[2K\rline", "\rline"),
        ("broken \x1b[", "broken \x1b["),
        ("no escape", "no escape"),
    ],
)
def test_ansi_sequences_are_dropped_from_logs(text: str, rest: str) -> None:
    assert without_ansi(text) == rest
