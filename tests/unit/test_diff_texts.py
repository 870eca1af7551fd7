"""Texts in a difference: lines of /etc as unified text, and why some are not shown."""

from __future__ import annotations

import pytest
from diffkit import SITE
from difftrees import compared
from trees import Content, File


def test_a_line_of_etc_is_shown_as_unified_text() -> None:
    old, new = "a\nb\nc\n", "a\nB\x1b[31m\u202e\nc\n"
    (text,) = compared({SITE: old}, {SITE: new}).texts
    assert text.lines == ("@@ -1,3 +1,3 @@", " a", "-b", "+B\\x1b[31m\\u202e", " c")
    assert (text.added, text.removed, text.cut) == (1, 1, 0)


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        (SITE, File(b"a\0b"), "no text"),
        (SITE, File(b"x" * (1 << 18)), "larger than 128 KiB"),
        (SITE, File(b"x\n" * 3000), "longer than 2000 lines"),
        (SITE, File(b"token", mode=0o600), "only root may read it"),
        ("/etc/shadow", File(b"x"), "may hold a secret"),
        ("/etc/ssh/ssh_host_rsa_key", File(b"x"), "may hold a secret"),
    ],
)
def test_why_a_text_is_not_shown(path: str, content: File, why: str) -> None:
    (text,) = compared({"/etc/x": ""}, {"/etc/x": "", path: content}).texts
    assert (text.path, text.lines, text.why) == (path, (), why)


@pytest.mark.parametrize(
    "line",
    [
        "SetCredential=passwd.hashed-password.ada:$y$j9T$abc$def",
        "Environment=API_TOKEN=hunter2hunter2",
        "password = hunter2hunter2",
    ],
)
def test_rules_that_only_root_may_read_are_shown_without_secrets(line: str) -> None:
    path = "/etc/systemd/system/x.service.d/a.conf"
    secret = File(f"[Service]\n{line}\n".encode(), mode=0o600)
    (text,) = compared({"/etc/x": ""}, {"/etc/x": "", path: secret}).texts
    assert text.lines[1:] == ("+[Service]", "+(a line that looks like a secret)")


def test_a_long_diff_is_cut_and_counted() -> None:
    old, new = "".join(f"{n}\n" for n in range(1000)), "".join(f"{n}x\n" for n in range(1000))
    (text,) = compared({SITE: old}, {SITE: new}).texts
    assert (len(text.lines), text.cut, text.added, text.removed) == (300, 1701, 1000, 1000)


def test_of_very_many_texts_the_last_are_only_named() -> None:
    def etc(line: str) -> dict[str, Content]:
        return {f"/etc/{number:03}": f"{line}\n" * 400 for number in range(80)}

    texts = compared(etc("a"), etc("b")).texts
    assert len(texts) == 80
    assert sum(len(text.lines) for text in texts) == 20_000
    assert texts[-1].why == "more than is shown of all files together"
