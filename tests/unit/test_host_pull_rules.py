"""What an image's files say of a pull, what skopeo's words mean, and which pulls a release must pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signingkit import FastSigner
from trees import Content, Link, MemoryTree

from pipeline.domain.host_pull import (
    Carried,
    PullAnswer,
    Word,
    carried,
    heard,
    named_files,
    placeable,
    same_file,
    swaying,
)
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.signature import VerifyKey
from pipeline.domain.trust import POLICY, REGISTRIES_D, Trust, trust_files
from pipeline.verbs.host_pull import distrust_problems, pull_problems

TRUST = Trust(registry="registry.example.org/os", keys={"one.pub": "key 1", "two.pub": "key 2"})
CONF = "/etc/containers/registries.conf"


def tree(**more: Content) -> MemoryTree:
    return MemoryTree({**trust_files(TRUST), CONF: "conf", f"{CONF}.d/a.conf": "drop-in", **more})


def with_file(path: str, content: Content) -> MemoryTree:
    return tree(**{path: content})


def test_what_decides_is_carried() -> None:
    found = carried(tree())
    assert found is not None
    assert found.policy == trust_files(TRUST)[POLICY]
    assert list(found.sections) == ["pipeline.yaml"]
    assert found.registries == {"registries.conf": b"conf", "a.conf": b"drop-in"}
    assert found.keys == {"/etc/pki/containers/one.pub": b"key 1", "/etc/pki/containers/two.pub": b"key 2"}


def test_what_is_missing_is_carried_as_missing() -> None:
    files = dict(trust_files(TRUST))
    del files["/etc/pki/containers/two.pub"]
    found = carried(MemoryTree(files))
    assert found is not None
    assert found.keys["/etc/pki/containers/two.pub"] is None
    assert found.registries == {"registries.conf": b""}
    nothing = carried(MemoryTree({}))
    assert nothing == Carried(policy=None, sections={}, registries={"registries.conf": b""}, keys={})


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (POLICY, "{"),
        (POLICY, b"\xff\xfe"),
        (POLICY, " " * ((1 << 20) + 1)),
        (POLICY, Link("/usr/share/containers/policy.json")),
        (POLICY, '{"keyPath": "one.pub"}'),
        (POLICY, '{"keyPath": "/a\\u0000b"}'),
        (POLICY, '{"a":' * 3000 + "1" + "}" * 3000),
        (POLICY, json.dumps({"keyPaths": [f"/{number}" for number in range(101)]})),
        (f"{POLICY}/inner", "a folder"),
        ("/etc/pki/containers/one.pub", "k" * ((64 << 10) + 1)),
        ("/etc/pki/containers/one.pub", Link("/etc/pki")),
        (f"{REGISTRIES_D}/x.yaml", "docker: {lookaside: 'file:///srv'}"),
        (f"{REGISTRIES_D}/x;rm.yaml", ""),
        (f"{REGISTRIES_D}/.yaml", ""),
        (f"{REGISTRIES_D}/folder/x.yaml", ""),
        (f"{REGISTRIES_D}/x.yaml", Link("pipeline.yaml")),
        (f"{CONF}.d/\nx.conf", ""),
        ("/root/.config/containers/policy.json", "{}"),
        ("/var/roothome/.config/containers/registries.conf", ""),
    ],
)
def test_what_cannot_be_carried_is_left_to_the_image_itself(path: str, content: Content) -> None:
    files: dict[str, Content] = {**trust_files(TRUST), CONF: "conf"}
    if path.startswith(f"{POLICY}/"):
        del files[POLICY]
    assert carried(MemoryTree({**files, path: content})) is None


def test_quadlets_may_be_links() -> None:
    assert carried(with_file("/etc/containers/systemd/users/1000", Link("/srv/units"))) is not None


@settings(max_examples=50)
@given(st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_named_files_are_absolute_or_unknown(value: object) -> None:
    found = named_files(json.dumps(value).encode())
    assert found is None or all(path.startswith("/") for path in found)


def test_every_path_of_a_policy_is_found() -> None:
    requirement = {
        "type": "sigstoreSigned",
        "keyPath": "/k",
        "fulcio": {"caPath": "/ca"},
        "rekorPublicKeyPaths": ["/r1", "/r2"],
        "keyData": "/no/path",
    }
    policy = {"default": [], "transports": {"docker": {"/scope": [requirement]}}}
    assert named_files(json.dumps(policy).encode()) == ("/ca", "/k", "/r1", "/r2")


def test_a_key_is_compared_as_it_is_read() -> None:
    image = MemoryTree({"/key": Link("/real"), "/real": "pem", "/large": "x" * (1 << 17)})
    assert same_file(image, "/key", b"pem")
    assert same_file(image, "/none", None)
    assert not same_file(image, "/key", None)
    assert not same_file(image, "/none", b"pem")
    assert not same_file(image, "/large", None)


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/skopeo",
        "/usr/bin/tar",
        "/bin",
        "/bin/sh",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/etc/ld.so.preload",
        "/etc/pki/containers/one.pub",
        "/etc/ssl/certs/x.pem",
        "/etc/containers/certs.d/host/ca.crt",
        "/root/.docker/config.json",
        "/root",
        "/usr/local/share/ca-certificates/x.crt",
        "/usr/share/containers/registries.conf.d/x",
        "/usr/lib/\nlib.so",
    ],
)
def test_what_sways_a_pull_keeps_images_apart(path: str) -> None:
    assert list(swaying(["/etc/hostname", path])) == [path]


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname",
        "/etc/containers",
        POLICY,
        REGISTRIES_D,
        f"{REGISTRIES_D}/x.yaml",
        CONF,
        f"{CONF}.d/50-pipeline.conf",
        "/etc/containers/systemd/app.container",
        "/usr/share/containers/systemd/envoy.container",
        "/usr/bin/skopeo-report",
        "/usr/lib/systemd/system/x.socket",
    ],
)
def test_what_is_carried_or_not_read_does_not(path: str) -> None:
    assert list(swaying([path])) == []


def test_files_for_a_stand_in_are_those_of_the_image_and_nothing_outside_of_two_folders() -> None:
    files = carried(tree())
    assert files is not None
    placed = placeable(tree(), files)
    assert placed is not None
    assert set(placed) == {*trust_files(TRUST), CONF, f"{CONF}.d/a.conf"}
    policy = json.dumps({"keyPath": "/usr/bin/skopeo"})
    image = MemoryTree({POLICY: policy, "/usr/bin/skopeo": "hostile"})
    files = carried(image)
    assert files is not None
    assert placeable(image, files) is None


@pytest.mark.parametrize(
    "path", ["/etc/pki/../cron.d/x", "/etc/pki/./x", "/etc/pki", "/etc/pki/a b", "/etc/pkix/x"]
)
def test_a_key_with_a_strange_path_is_not_placed(path: str) -> None:
    files = Carried(policy=b"", sections={}, registries={}, keys={path: b"x"})
    assert placeable(MemoryTree({}), files) is None


FATAL = 'time="2026-11-21T18:07:51Z" level=fatal msg="{}" '
REJECTED = "Source image rejected: "


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (REJECTED + "A signature was required, but no signature exists", Word.REFUSED),
        (REJECTED + "cryptographic signature verification failed: invalid signature", Word.REFUSED),
        (REJECTED + r"Signature for identity \"127.0.0.1:36701/os/b\" is not accepted", Word.REFUSED),
        (REJECTED + "Running image docker://127.0.0.1:5000/os/b is rejected by policy.", Word.REFUSED),
        (REJECTED + "open /nokey: no such file or directory", Word.REFUSED),
        (REJECTED + "parsing public key 1: PEM decoding failed", Word.REFUSED),
        (r"Error loading trust policy: invalid policy in \"/p\": unexpected end of JSON input", Word.REFUSED),
        (r"Error loading trust policy: no policy.json file found at any of the following", Word.REFUSED),
        (
            r"initializing source docker://x/y: parsing /etc/containers/registries.d/x.yaml: yaml: line 1",
            Word.REFUSED,
        ),
        (
            r"initializing source docker://x/y: registry x is blocked in /etc/containers/registries.conf",
            Word.REFUSED,
        ),
        (
            r"initializing source docker://x/y: loading registries configuration \"/rc\": toml: EOF",
            Word.REFUSED,
        ),
        (r"reading blob sha256:00: fetching blob: blob unknown to registry", Word.REFUSED),
        (r"reading blob sha256:00: fetching blob: StatusCode: 404, \"\"", Word.REFUSED),
        (
            r"pinging container registry x: tls: failed to verify certificate: x509: signed by unknown",
            Word.REFUSED,
        ),
        (REJECTED + "Debian-local change: sigstore disabled", Word.UNABLE),
        (r"Error loading trust policy: invalid policy in \"/p\": Unknown key \"keyPaths\"", Word.UNABLE),
        (REJECTED + r"reading manifest sha256-00.sig: StatusCode: 503, \"\"", Word.UNKNOWN),
        (REJECTED + "unauthorized: authentication required", Word.UNKNOWN),
        (REJECTED + r"Get \"http://x/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", Word.UNKNOWN),
        (REJECTED + r"Get \"http://x/v2/\": EOF", Word.UNKNOWN),
        (REJECTED + "too many requests to registry", Word.UNKNOWN),
        (r"reading manifest sha256:00 in x/y: manifest unknown", Word.UNKNOWN),
        (
            r"pinging container registry x: http: server gave HTTP response to HTTPS client",
            Word.UNKNOWN,
        ),
        ("something nobody thought of", Word.UNKNOWN),
        ("", Word.UNKNOWN),
    ],
)
def test_only_a_hosts_own_refusal_is_a_no(words: str, word: Word) -> None:
    text = FATAL.format(words)
    assert heard(1, text)[0] is word
    assert heard(0, text)[0] is Word.ACCEPTED


def test_what_skopeo_said_is_shown_as_text() -> None:
    text = FATAL.format(r"first") + FATAL.format(REJECTED + r"\"x\" is \\ not")
    assert heard(1, text)[1] == REJECTED + r'"x" is \ not'
    assert heard(124, "\x1b[2J \u202e")[1] == "\\x1b[2J \\u202e"
    assert heard(137, "") == (Word.UNKNOWN, "it ended with code 137 and said nothing")
    assert "too old" in heard(1, FATAL.format(r"invalid policy: Unknown key \"keyPaths\""))[1]


def ref(number: int) -> ImageRef:
    return Repository(registry="registry.example.org", path="os/web").at(Digest(f"sha256:{number:064x}"))


@dataclass
class Remembering:
    """Says no to what it is told to, and remembers what it was asked."""

    refused: set[tuple[ImageRef, ImageRef]] = field(default_factory=set)
    asked: list[tuple[ImageRef, ImageRef]] = field(default_factory=list)

    def pulls(self, consumer: ImageRef, wanted: ImageRef) -> PullAnswer:
        [answer] = self.pulls_many([(consumer, wanted)])
        return answer

    def pulls_many(self, pairs: Sequence[tuple[ImageRef, ImageRef]]) -> tuple[PullAnswer, ...]:
        self.asked += pairs
        return tuple(PullAnswer(ok=pair not in self.refused, said="because") for pair in pairs)

    def distrusts(self, pairs: Sequence[tuple[ImageRef, ImageRef]], key: VerifyKey) -> tuple[str, ...]:
        assert key is KEY
        self.asked += pairs
        return tuple("other keys" if pair in self.refused else "" for pair in pairs)


KEY = FastSigner("release.pub").key


def test_a_release_is_asked_for_by_its_predecessor_and_by_itself() -> None:
    asker = Remembering()
    assert pull_problems(asker, [(ref(1), ref(2)), (None, ref(3)), (ref(4), ref(4))]) == ((), (), ())
    assert asker.asked == [(ref(1), ref(2)), (ref(2), ref(2)), (ref(3), ref(3)), (ref(4), ref(4))]


def test_each_refusal_is_told_for_its_own_release() -> None:
    asker = Remembering(refused={(ref(1), ref(2)), (ref(3), ref(3))})
    first, second, third = pull_problems(asker, [(ref(1), ref(2)), (None, ref(3)), (ref(4), ref(5))])
    assert first == (f"a host of {ref(1)} cannot pull {ref(2)}: because",)
    assert second == (f"a host of {ref(3)} cannot pull {ref(3)}: because",)
    assert third == ()


def test_who_does_not_trust_a_key_is_told_for_the_release_it_is_about() -> None:
    asker = Remembering(refused={(ref(1), ref(2))})
    first, second = distrust_problems(asker, [(ref(1), ref(2)), (None, ref(3))], KEY)
    assert first == (f"{ref(1)} does not trust the key {KEY} that is to sign: other keys",)
    assert second == ()
    assert asker.asked == [(ref(1), ref(2)), (ref(2), ref(2)), (ref(3), ref(3))]
