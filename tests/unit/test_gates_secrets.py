from __future__ import annotations

import base64

import pytest
from subjects import ask
from trees import Content, Dir, File, Link, Node

from pipeline.domain.gate import Verdict
from pipeline.domain.gates.secrets import MOST_READ
from pipeline.domain.image import Tier
from pipeline.domain.tree import FileType

BODY = base64.b64encode(b"no key at all, only its shape, repeated. " * 8).decode()
WRAPPED = "\n".join(BODY[at : at + 64] for at in range(0, len(BODY), 64))


def pem(kind: str, *, headers: str = "") -> str:
    """A block that looks like a private key; put together here so that no scanner takes this file for one."""
    return f"-----BEGIN {kind}PRIVATE" + f" KEY-----\n{headers}{WRAPPED}\n-----END {kind}PRIVATE KEY-----\n"


SECRET_TEXTS = {
    "pkcs8": pem(""),
    "rsa": pem("RSA "),
    "old encrypted rsa": pem("RSA ", headers="Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n"),
    "openssh": pem("OPENSSH "),
    "cosign": pem("ENCRYPTED SIGSTORE "),
    "json": '{"private_key": "' + pem("").replace("\n", "\\n") + '"}',
    "pgp": "-----BEGIN PGP PRIVATE" + f" KEY BLOCK-----\n\n{WRAPPED}\n",
    "age": "AGE-SECRET-" + "KEY-1" + "Q" * 58,
    "putty": "PuTTY-User-Key-" + "File-3: ssh-ed25519\nEncryption: none\nPrivate-Lines: 1\nAAAA\n",
    "wireguard": "[Interface]\nPrivate" + "Key = " + "a" * 43 + "=\n",
    "gitlab": "token: gl" + "pat-" + "x" * 20,
    "gitlab runner": "gl" + "rt-" + "x" * 20,
    "github": "gh" + "p_" + "a" * 36,
    "github fine": "github" + "_pat_" + "a" * 40,
    "aws": "aws_access_key_id = AK" + "IA" + "A1B2C3D4E5F6G7H8",
    "slack": "xox" + "b-123456789012-abcdef",
    "grafana": "gl" + "c_" + "a" * 40,
    "jwt": "ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0In0." + "a" * 43,
}
HARMLESS_TEXTS = {
    "header alone": "grep -q -- '-----BEGIN PRIVATE" + ' KEY-----\' "$1" && exit 1',
    "public key": f"-----BEGIN PUBLIC KEY-----\n{WRAPPED}\n-----END PUBLIC KEY-----",
    "certificate": f"-----BEGIN CERTIFICATE-----\n{WRAPPED}\n-----END CERTIFICATE-----",
    "documented aws key": "AK" + "IAIOSFODNN7EXAMPLE",
    "wireguard template": "PrivateKey = %i",
    "words": "glpat- is the prefix, ghp_ as well; eyJ starts a token",
}


@pytest.mark.parametrize("kind", SECRET_TEXTS)
@pytest.mark.parametrize("folder", ["/etc/app", "/var/roothome", "/opt/app", "/usr/local/share"])
def test_each_secret_is_found_and_never_repeated(kind: str, folder: str) -> None:
    verdict, text = ask("no-secrets", {f"{folder}/conf": "one\n" + SECRET_TEXTS[kind]})

    assert verdict is Verdict.FAIL
    assert f"{folder}/conf:" in text
    assert SECRET_TEXTS[kind][20:60] not in text


@pytest.mark.parametrize("kind", HARMLESS_TEXTS)
def test_what_only_looks_like_a_secret_passes(kind: str) -> None:
    verdict, text = ask("no-secrets", {"/etc/app/conf": HARMLESS_TEXTS[kind]})

    assert verdict is Verdict.PASS, text


def test_the_line_of_a_secret_is_named() -> None:
    assert "/etc/x:3: private key" in ask("no-secrets", {"/etc/x": "a\nb\n" + pem("")})[1]


@pytest.mark.parametrize(
    "path",
    [
        "/root/.ssh/id_ed25519",
        "/var/home/joe/.netrc",
        "/usr/lib/app/server.p12",
        "/var/lib/dkms/mok.key",
        "/root/.bash_history",
        "/var/roothome/.bash_history",
        "/root/.aws/credentials",
    ],
)
def test_files_whose_name_alone_says_secret(path: str) -> None:
    assert path in ask("no-secrets", {path: b"anything"})[1]
    assert ask("no-secrets", {path: b""})[0] is Verdict.PASS


def test_keys_are_found_by_name_in_libraries_but_not_where_tests_are_published() -> None:
    assert "/usr/lib/app/tls.key:1" in ask("no-secrets", {"/usr/lib/app/tls.key": pem("")})[1]
    published: dict[str, Content] = {
        "/usr/lib/python3/dist-packages/x/tests/server.key": pem(""),
        "/usr/share/doc/stunnel/examples/stunnel.pem": pem(""),
        "/usr/lib/ssl/cert.pem": HARMLESS_TEXTS["certificate"],
        "/usr/share/ca-certificates/root.pem": HARMLESS_TEXTS["certificate"],
    }
    verdict, text = ask("no-secrets", published)
    assert verdict is Verdict.PASS, text


def test_large_files_are_counted_and_links_are_not_followed() -> None:
    verdict, text = ask(
        "no-secrets",
        {
            "/etc/large": b" " * (MOST_READ + 1),
            "/etc/link": Link("/usr/share/x"),
            "/usr/share/x": pem(""),
            "/etc/fifo": Node(FileType.FIFO),
        },
    )

    assert verdict is Verdict.PASS
    assert "1 files larger" in text


@pytest.mark.parametrize(
    ("path", "text", "good"),
    [
        ("/root/.docker/config.json", '{"auths": {"r.example": {"auth": "eDp5"}}}', False),
        ("/etc/ostree/auth.json", '{"auths": {"r.example": {"auth": "eDp5"}}}', False),
        ("/run/containers/0/auth.json", '{"auths": {"r.example": {"auth": "eDp5"}}}', False),
        ("/usr/lib/ostree/auth.json", '{"auths": {"r.example": {"auth": "eDp5"}}}', False),
        ("/root/.docker/config.json", "not json", False),
        ("/root/.docker/config.json", "[" * 100_000, False),
        ("/root/.docker/config.json", '{"auths": {"r.example": {}}, "credsStore": "x"}', True),
        ("/etc/ostree/auth.json", "{}", True),
    ],
)
def test_registry_credentials(path: str, text: str, good: bool) -> None:  # noqa: FBT001
    assert (ask("no-secrets", {path: text})[0] is Verdict.PASS) is good


@pytest.mark.parametrize(
    ("line", "good"),
    [
        ("root:*:1::::::", True),
        ("root:!:1::::::", True),
        ("root:!!:1::::::", True),
        ("root:!unprovisioned:1::::::", True),
        ("root:!*:1::::::", True),
        ("root:$y$j9T$abc$def:1::::::", False),
        ("root:!$6$abc$def:1::::::", False),
        ("root::1::::::", False),
        ("root:abcdefghijklm:1::::::", False),
    ],
)
def test_password_hashes(line: str, good: bool) -> None:  # noqa: FBT001
    assert (ask("no-secrets", {"/etc/shadow": f"bin:*:1::::::\n{line}\n"})[0] is Verdict.PASS) is good


def test_an_allowed_secret_is_left_alone() -> None:
    contents: dict[str, Content] = {"/etc/ssl/private/snakeoil.key": pem("")}

    assert ask("no-secrets", contents)[0] is Verdict.FAIL
    allowed = ask("no-secrets", contents, allowed_files={"/etc/ssl/private/snakeoil.key": "made for tests"})
    assert allowed[0] is Verdict.PASS


@pytest.mark.parametrize("content", [b"", b"uninitialized\n", None])
def test_an_unset_machine_id_passes(content: bytes | None) -> None:
    contents: dict[str, Content] = {"/var/lib/dbus/machine-id": Link("/etc/machine-id")}
    if content is not None:
        contents["/etc/machine-id"] = content
    verdict, text = ask("no-machine-identity", contents)

    assert verdict is Verdict.PASS, text


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        ("/usr/etc/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        ("/etc/machine-id", Dir()),
        ("/etc/machine-id", File(b" " * 5000)),
        ("/var/lib/dbus/machine-id", b"0123456789abcdef0123456789abcdef\n"),
        ("/var/lib/dbus/machine-id", Link("/var/lib/other")),
        ("/etc/ssh/ssh_host_ed25519_key", b"x"),
        ("/etc/ssh/ssh_host_rsa_key.pub", b"x"),
        ("/var/lib/systemd/random-seed", b"x"),
        ("/var/lib/systemd/credential.secret", b"x"),
        ("/var/lib/NetworkManager/secret_key", b"x"),
        ("/etc/hostid", b"abcd"),
    ],
)
def test_each_identity_is_found(path: str, content: Content) -> None:
    verdict, text = ask("no-machine-identity", {path: content})

    assert verdict is Verdict.FAIL
    assert path in text


def test_one_hosts_own_image_may_carry_its_zfs_hostid() -> None:
    assert ask("no-machine-identity", {"/etc/hostid": b"abcd"}, tier=Tier.INSTANCE)[0] is Verdict.PASS
