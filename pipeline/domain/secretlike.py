"""Says whether a text looks like a secret, so that none is written into a definition by mistake.

Rules: what is found is named by its kind, never shown; a reference to a secret (a path, a name ending in
_FILE) is none. The gate on finished images looks again, at the bytes.
"""

from __future__ import annotations

import re

_KINDS: tuple[tuple[str, str, re.Pattern[str]], ...] = tuple(
    (kind, sign, re.compile(expression))
    for kind, sign, expression in (
        ("a private key", "PRIVATE KEY", r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----"),
        (
            "a GitLab token",
            "gl",
            r"\bgl(?:pat|dt|rt|cbt|ptt|ft|imt|agent|oas|soat|ffct)-[A-Za-z0-9_-]{20}",
        ),
        ("a GitHub token", "gh", r"\bgh[pousr]_[A-Za-z0-9]{36}"),
        ("a GitHub token", "github_pat_", r"\bgithub_pat_[A-Za-z0-9_]{22}"),
        ("an AWS access key", "IA", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
        ("a Slack token", "xox", r"\bxox[abeoprs]-[0-9A-Za-z-]{10}"),
        ("a JSON web token", "eyJ", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
        ("an age secret key", "AGE-SECRET-KEY-1", r"AGE-SECRET-KEY-1[0-9A-Z]{20}"),
        ("a password in an address", "://", r"\b[a-z][a-z0-9+.-]*://[^\s/:@]*:[^\s/@{]+@"),
    )
)
"""Kind, what every such text contains (far quicker to look for than the pattern), and the pattern."""
_WORD = r"pass(?:word|wd|phrase)?|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|credentials?"
_NAME = re.compile(rf"(?:.*[_.-])?(?:{_WORD})", re.IGNORECASE)
_REFERENCE = re.compile(
    r"/\S*|[{\[(<$].*|(?:true|false|yes|no|none|null|required|optional|[0-9]+)|[a-z_]+(?:\.[a-z_]+){2,}",
    re.IGNORECASE,
)
"""What stands where a secret could stand and is none: a path, a bracket, a switch, a name with dots."""
_ASSIGNED = re.compile(
    rf"""(?im)^[ \t"']*(?P<name>[\w.-]*?(?:{_WORD}))["']?[ \t]*[:=][ \t]*["']?(?P<value>[^\s"'#,;]+)"""
)


def secret_kind(text: str) -> str | None:
    """Return what kind of secret a text holds, or None."""
    for kind, sign, pattern in _KINDS:
        if sign in text and pattern.search(text):
            return kind
    for found in _ASSIGNED.finditer(text):
        if not _REFERENCE.fullmatch(found["value"]):
            return f"a value for {found['name']}"
    return None


def secret_variable(name: str, value: str) -> str | None:
    """Return what kind of secret a variable holds, or None."""
    if value and _NAME.fullmatch(name) and not _REFERENCE.fullmatch(value):
        return f"a value for {name}"
    return secret_kind(value)
