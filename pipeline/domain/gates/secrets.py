"""Gates on what must be born on the host and never shipped: its identity, and secrets of any kind.

Rules: a finding names the path, the kind and the line, never the secret itself. Contents are read where
people and programs put configuration; elsewhere (libraries, public certificates, documentation) a file is
read only when its name says key, and only a private key counts. Test keys that language libraries publish in
their own test folders are known to the world and no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from pipeline.domain.gate import Finding, Gate, Subject
from pipeline.domain.gates.common import answer, matcher, read
from pipeline.domain.image import Tier
from pipeline.domain.tree import Entry, FileType

MOST_READ = 256 << 10
"""Bytes of a file that is searched; larger ones are data, and are counted in the answer."""

_ALL_TIERS = frozenset(Tier)
_MACHINE_ID = ("/etc/machine-id", "/usr/etc/machine-id")
_UNSET_IDS = (b"", b"uninitialized")
_DBUS_ID = "/var/lib/dbus/machine-id"
_DBUS_TARGETS = ("/etc/machine-id", "../../../etc/machine-id")
_IDENTITY = re.compile(
    r"(?:/usr)?/etc/ssh/(?P<hostkey>ssh_host_[^/]*key[^/]*)"
    r"|/var/lib/systemd/(?P<seed>random-seed|credential\.secret)"
    r"|/var/lib/NetworkManager/(?P<network>secret_key)"
    r"|(?:/usr)?/etc/(?P<storage>nvme/host(?:id|nqn)|iscsi/initiatorname\.iscsi)"
)
_IDENTITY_IS = {
    "hostkey": "an SSH host key every host would share",
    "seed": "a seed or secret every host would share",
    "network": "NetworkManager's secret every host would share",
    "storage": "a storage initiator's name every host would share",
}
_HOST_ID = re.compile(r"(?:/usr)?/etc/hostid")


def _no_machine_identity(subject: Subject) -> Finding:
    allowed = matcher(subject.expected.allowed_files)
    found = [line for path, line in _identities(subject) if not allowed(path)]
    return answer(
        found,
        clean="no machine-id, SSH host key, random seed or other identity",
        bad="hosts would be born with one identity; remove these files as the image's last step",
    )


def _identities(subject: Subject) -> Iterator[tuple[str, str]]:
    tree = subject.tree
    for path in _MACHINE_ID:
        entry = tree.entry(path)
        data = read(tree, path, limit=4096) if entry is not None else b""
        if data is None or data.strip() not in _UNSET_IDS:
            yield path, f"{path}: holds an id; it must be absent, empty or the word `uninitialized`"
    dbus = tree.entry(_DBUS_ID)
    if dbus is not None and dbus.target not in _DBUS_TARGETS:
        yield _DBUS_ID, f"{_DBUS_ID}: must be absent or a symlink to /etc/machine-id"
    for entry in tree.walk():
        if entry.type is FileType.DIRECTORY:
            continue
        if match := _IDENTITY.fullmatch(entry.path):
            yield entry.path, f"{entry.path}: {_IDENTITY_IS[match.lastgroup or 'seed']}"
        elif _HOST_ID.fullmatch(entry.path) and subject.tier is not Tier.INSTANCE:
            yield (
                entry.path,
                f"{entry.path}: the id by which ZFS tells hosts apart belongs to one host's image",
            )


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A kind of secret: the literal that is looked for first, because that is fast, and what proves it."""

    kind: str
    literal: bytes
    proof: re.Pattern[bytes]


_PRIVATE_KEY = _Pattern(
    "private key",
    b"PRIVATE KEY",
    # a body must follow: programs and manuals name the header alone; JSON writes line ends as \n
    re.compile(
        rb"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----(?:\\[rn]|\s){0,8}"
        rb"(?:[A-Za-z][A-Za-z0-9-]{0,40}: ?[^\n\\]{0,200}(?:\\[rn]|\s){1,8}){0,6}[A-Za-z0-9+/=]{24}"
    ),
)
_PATTERNS = (
    _PRIVATE_KEY,
    _Pattern(
        "PuTTY private key",
        b"PuTTY-User-Key-File-",
        re.compile(rb"PuTTY-User-Key-File-[0-9]: [^\n]{1,100}\n(?:[^\n]{0,200}\n){0,64}?Private-Lines: "),
    ),
    _Pattern("age secret key", b"AGE-SECRET-KEY-", re.compile(rb"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Z]{50}")),
    _Pattern(
        "WireGuard private key",
        b"PrivateKey",
        re.compile(rb"(?m)^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}="),
    ),
    _Pattern(
        "GitLab token",
        b"gl",
        re.compile(rb"\bgl(?:pat|rt|dt|ptt|cbt|oas|ft|imt|agent|soat|ffct)-[A-Za-z0-9_-]{20}"),
    ),
    _Pattern("GitHub token", b"gh", re.compile(rb"\bgh[pousr]_[A-Za-z0-9]{36}")),
    _Pattern("GitHub token", b"github_pat_", re.compile(rb"\bgithub_pat_[A-Za-z0-9_]{22}")),
    _Pattern(
        "AWS access key",
        b"IA",
        re.compile(
            rb"(?<![A-Za-z0-9+/])A(?:KIA|SIA)[0-9A-Z]{9}(?![0-9A-Z]{0,6}EXAMPLE)[0-9A-Z]{7}(?![A-Za-z0-9+/])"
        ),
    ),
    _Pattern("Slack token", b"xox", re.compile(rb"\bxox[abeoprs]-[0-9A-Za-z-]{10}")),
    _Pattern("Grafana token", b"gl", re.compile(rb"\bgl(?:sa_[A-Za-z0-9]{32}_|c_[A-Za-z0-9+/=]{32})")),
    _Pattern("npm token", b"npm_", re.compile(rb"\bnpm_[A-Za-z0-9]{36}")),
    _Pattern("PyPI token", b"pypi-", re.compile(rb"\bpypi-AgE[A-Za-z0-9_-]{50}")),
    _Pattern("Vault token", b"hvs.", re.compile(rb"\bhvs\.[A-Za-z0-9_-]{24}")),
    _Pattern(
        "JSON web token",
        b"eyJ",
        re.compile(rb"\beyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{16}"),
    ),
)

_SEARCHED = re.compile(
    r"/(?:etc|root|home|var|opt|srv|usr/etc|usr/local|usr/lib/pipeline|run|oem)/.+", re.DOTALL
)
_NOT_SEARCHED = re.compile(r"/var/lib/(?:dpkg|rpm|apt/lists)/.+", re.DOTALL)
_KEY_NAME = re.compile(
    r".*\.(?:key|pem|priv|ppk)|id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|.*_(?:rsa|ed25519)|identity\.txt|keys\.txt",
    re.DOTALL,
)
_BY_NAME = re.compile(
    r".*/(?:id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?|\.netrc|\.pgpass|\.git-credentials|\.vault-token|\.pypirc)"
    r"|.*\.(?:p12|pfx)"
    r"|/(?:var/lib/(?:dkms|shim-signed)|(?:usr/)?etc/.*|root|var/roothome)/(?:mok|MOK)\.(?:key|priv)"
    r"|/(?:root|var/roothome|(?:var/)?home/[^/]+)/\.(?:bash|zsh|python|psql|mysql)_history"
    r"|/(?:root|var/roothome|(?:var/)?home/[^/]+)/\.aws/credentials",
    re.DOTALL,
)
_PUBLISHED = re.compile(
    r"/usr/(?:lib|lib64|share)/.*/(?:tests?|testdata|testing|certdata|fixtures|examples?)/.*|/usr/share/doc/.*",
    re.DOTALL,
)
_AUTH_FILE = re.compile(
    r".*/\.docker/config\.json|.*/\.dockercfg|/(?:run|var|etc|root|home|usr/etc)/(?:.*/)?containers/(?:.*/)?auth\.json"
    r"|/(?:etc|usr/etc|run|usr/lib)/ostree/auth\.json",
    re.DOTALL,
)
_SHADOWS = ("/etc/shadow", "/etc/shadow-", "/usr/etc/shadow", "/usr/etc/shadow-", "/usr/lib/shadow")


def _no_secrets(subject: Subject) -> Finding:
    allowed = matcher(subject.expected.allowed_files)
    found: list[str] = []
    large = searched = 0
    for entry in subject.tree.walk():
        if entry.type is not FileType.FILE or allowed(entry.path):
            continue
        if _BY_NAME.fullmatch(entry.path) and not _PUBLISHED.fullmatch(entry.path) and entry.size > 0:
            found.append(f"{entry.path}: a file of this name holds secrets")
            continue
        patterns = _patterns(entry)
        if not patterns:
            continue
        if entry.size > MOST_READ:
            large += 1
            continue
        searched += 1
        found.extend(_search(subject, entry, patterns))
    found.extend(line for path in _SHADOWS if not allowed(path) for line in _passwords(subject, path))
    return answer(
        found,
        clean=f"no private key, token or password hash in {searched} files searched",
        bad="whoever can pull the image has these secrets; they belong on the host or in its store",
        notes=[f"{large} files larger than {MOST_READ >> 10} KiB were not searched"] if large else [],
    )


def _patterns(entry: Entry) -> tuple[_Pattern, ...]:
    """Return what a file is searched for: everything, private keys alone, or nothing."""
    if _SEARCHED.fullmatch(entry.path):
        return () if _NOT_SEARCHED.fullmatch(entry.path) else _PATTERNS
    named = _KEY_NAME.fullmatch(PurePosixPath(entry.path).name) or _AUTH_FILE.fullmatch(entry.path)
    return (_PRIVATE_KEY,) if named and not _PUBLISHED.fullmatch(entry.path) else ()


def _search(subject: Subject, entry: Entry, patterns: tuple[_Pattern, ...]) -> Iterator[str]:
    data = read(subject.tree, entry.path, limit=MOST_READ)
    if data is None:
        yield f"{entry.path}: could not be read, so nobody knows what is in it"
        return
    for pattern in patterns:
        if pattern.literal in data and (match := pattern.proof.search(data)):
            line = data.count(b"\n", 0, match.start()) + 1
            yield f"{entry.path}:{line}: {pattern.kind}"
    if _AUTH_FILE.fullmatch(entry.path):
        yield from _credentials(entry.path, data)


def _credentials(path: str, data: bytes) -> Iterator[str]:
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError):
        yield f"{path}: a file of registry credentials that is no JSON"
        return
    auths = (
        parsed.get("auths", parsed if path.endswith(".dockercfg") else {})
        if isinstance(parsed, dict)
        else parsed
    )
    if not isinstance(auths, dict) or any(auths.values()):
        yield f"{path}: registry credentials"


def _passwords(subject: Subject, path: str) -> Iterator[str]:
    data = read(subject.tree, path, limit=MOST_READ)
    for number, line in enumerate((data or b"").split(b"\n"), start=1):
        name, colon, rest = line.partition(b":")
        account = name.decode("utf-8", "backslashreplace")
        if not colon:
            continue
        field = rest.partition(b":")[0]
        if field == b"":
            yield f"{path}:{number}: account {account} has no password at all and is not locked"
        elif field.lstrip(b"!").startswith((b"$", b"_")) or field[:1] not in b"!*":
            yield f"{path}:{number}: account {account} has a password hash"


GATES: tuple[Gate, ...] = (
    Gate(
        name="no-machine-identity",
        asks="Is the image free of machine-id, SSH host keys, random seeds and other identity?",
        tiers=_ALL_TIERS,
        rule=_no_machine_identity,
    ),
    Gate(
        name="no-secrets",
        asks="Is the image free of private keys, tokens, registry credentials and password hashes?",
        tiers=_ALL_TIERS,
        rule=_no_secrets,
    ),
)
