from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from subjects import ask
from trees import Content

from pipeline.domain.gate import Verdict
from pipeline.domain.policy import PolicyFault, covering, is_public_key, parse_policy

OWN = "registry.example.com:5000/os"
PEM = (
    b"-----BEGIN PUBLIC KEY-----\n"
    b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n"
    b"-----END PUBLIC KEY-----\n"
)
KEY = "/etc/pki/containers/os.pub"
REJECT = [{"type": "reject"}]
ACCEPT = [{"type": "insecureAcceptAnything"}]
SIGNED = {"type": "sigstoreSigned", "keyPath": KEY, "signedIdentity": {"type": "matchRepository"}}
ATTACHED = f"docker:\n  {OWN}:\n    use-sigstore-attachments: true\n"
POLICY = "/etc/containers/policy.json"


def policy(docker: dict[str, Any] | None = None, **others: Any) -> dict[str, Any]:
    return {
        "default": REJECT,
        "transports": {"docker": {OWN: [SIGNED]} if docker is None else docker, **others},
    }


def contents(value: Any, **more: Content) -> dict[str, Content]:
    text = value if isinstance(value, (str, bytes)) else json.dumps(value)
    files: dict[str, Content] = {
        POLICY: text,
        KEY: PEM,
        "/etc/containers/registries.d/os.yaml": ATTACHED,
    }
    return {**files, **{f"/etc/containers/registries.d/{name}.yaml": it for name, it in more.items()}}


GOOD: dict[str, dict[str, Any]] = {
    "own by key": policy(),
    "own by a wider scope": policy({"registry.example.com:5000": [SIGNED]}),
    "own by wildcard": policy({"*.example.com": [SIGNED]}),
    "two keys": policy(
        {OWN: [{"type": "sigstoreSigned", "keyPaths": [KEY], "signedIdentity": {"type": "matchRepository"}}]}
    ),
    "key in the file": policy(
        {
            OWN: [
                {
                    "type": "sigstoreSigned",
                    "keyData": base64.b64encode(PEM).decode(),
                    "signedIdentity": {"type": "exactRepository", "dockerRepository": OWN},
                }
            ]
        }
    ),
    "one open host": policy({OWN: [SIGNED], "mirror.example.com": ACCEPT}),
    "an open parent": policy({OWN: [SIGNED], "registry.example.com:5000": ACCEPT}),
    "own store": policy(**{"containers-storage": {"": ACCEPT}}),
    "a named folder": policy(oci={"/var/lib/images": ACCEPT}),
    "signed and anything": policy({OWN: [SIGNED, *ACCEPT]}),
}
OPEN: dict[str, dict[str, Any]] = {
    "default accepts": {**policy(), "default": ACCEPT},
    "default of two": {**policy(), "default": [*REJECT, *ACCEPT]},
    "docker accepts anything": policy({OWN: [SIGNED], "": ACCEPT}),
    "atomic accepts anything": policy(atomic={"": ACCEPT}),
    "a domain accepts anything": policy({OWN: [SIGNED], "*.com": ACCEPT}),
    "docker-daemon": policy(**{"docker-daemon": {"": ACCEPT}}),
    "oci": policy(oci={"": ACCEPT}),
    "docker-archive": policy(**{"docker-archive": {"": ACCEPT}}),
}
NO_SUCCESSOR: dict[str, dict[str, Any]] = {
    "own not covered": policy({"other.example.com/os": [SIGNED]}),
    "own accepted without a key": policy({OWN: ACCEPT}),
    "own rejected": policy({OWN: [SIGNED, *REJECT]}),
    "below own accepted": policy({OWN: [SIGNED], f"{OWN}/web-1": ACCEPT}),
    "a tag of own accepted": policy({OWN: [SIGNED], f"{OWN}:v1": ACCEPT}),
    "keyless": policy(
        {OWN: [{"type": "sigstoreSigned", "fulcio": {}, "signedIdentity": {"type": "matchRepository"}}]}
    ),
    "missing key": policy({OWN: [{**SIGNED, "keyPath": "/etc/pki/gone.pub"}]}),
    "relative key": policy({OWN: [{**SIGNED, "keyPath": "etc/pki/containers/os.pub"}]}),
    "wrong key": policy({OWN: [{**SIGNED, "keyPath": POLICY}]}),
    "identity with a tag": policy({OWN: [{"type": "sigstoreSigned", "keyPath": KEY}]}),
}
FLAWED = {**OPEN, **NO_SUCCESSOR}
INVALID: dict[str, Any] = {
    "no json": "{",
    "not utf-8": b"\xff\xfe",
    "a list": [],
    "no default": {"transports": {}},
    "null default": {"default": None},
    "empty default": {"default": []},
    "unknown key": {"default": REJECT, "comment": ""},
    "duplicate key": '{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}',
    "unknown transport": {"default": REJECT, "transports": {"dokcer": {}}},
    "unknown requirement": {"default": [{"type": "signed"}]},
    "extra field": {"default": [{"type": "reject", "why": "x"}]},
    "no type": {"default": [{}]},
    "type of a wrong type": {"default": [{"type": []}]},
    "no key": policy({OWN: [{"type": "sigstoreSigned"}]}),
    "two key sources": policy({OWN: [{**SIGNED, "keyData": "eA=="}]}),
    "empty keyPaths": policy({OWN: [{"type": "sigstoreSigned", "keyPaths": []}]}),
    "number for a path": policy({OWN: [{"type": "sigstoreSigned", "keyPath": 1}]}),
    "unknown identity": policy({OWN: [{**SIGNED, "signedIdentity": {"type": "any"}}]}),
    "identity without its field": policy({OWN: [{**SIGNED, "signedIdentity": {"type": "exactRepository"}}]}),
    "relative folder": policy(dir={"images": ACCEPT}),
    "root folder": policy(oci={"/": ACCEPT}),
    "scope of an archive": policy(**{"docker-archive": {"/x": ACCEPT}}),
    "scope that is no host": policy({"https://x": ACCEPT}),
    "NaN": '{"default": NaN}',
    "deep": "[" * 200_000,
}


@pytest.mark.parametrize("name", GOOD)
def test_a_real_default_deny_that_trusts_its_own(name: str) -> None:
    verdict, text = ask("policy", contents(GOOD[name]), registry=OWN)

    assert verdict is Verdict.PASS, text


@pytest.mark.parametrize("name", FLAWED)
def test_each_flaw_is_found_alone(name: str) -> None:
    verdict, text = ask("policy", contents(FLAWED[name]), registry=OWN)

    assert verdict is Verdict.FAIL
    assert text.startswith("1 finding") or name in ("own accepted without a key", "own not covered"), text


@pytest.mark.parametrize("name", INVALID)
def test_an_invalid_file_is_refused(name: str) -> None:
    verdict, text = ask("policy", contents(INVALID[name]), registry=OWN)

    assert verdict is Verdict.FAIL
    assert "no valid policy" in text


def test_without_an_own_registry_only_the_denial_counts() -> None:
    for name in NO_SUCCESSOR:
        assert ask("policy", contents(NO_SUCCESSOR[name]))[0] is Verdict.PASS
    for name in OPEN:
        assert ask("policy", contents(OPEN[name]))[0] is Verdict.FAIL


def test_no_policy() -> None:
    shipped: dict[str, Content] = {"/usr/share/containers/policy.json": json.dumps(policy())}

    verdict, text = ask("policy", shipped)
    assert verdict is Verdict.FAIL
    assert "nothing reads it" in text
    assert ask("policy", shipped, policy_required=False)[0] is Verdict.PASS


def test_the_factory_etc_counts_and_roots_own_policy_would_replace_it() -> None:
    moved = {f"/usr{path}": it for path, it in contents(policy()).items()}
    assert ask("policy", moved, registry=OWN)[0] is Verdict.PASS

    override: dict[str, Content] = {"/root/.config/containers/policy.json": "{}"}
    assert "replaces" in ask("policy", {**moved, **override}, registry=OWN)[1]


@pytest.mark.parametrize(
    "yaml",
    [
        "",
        "docker: {}",
        f"docker:\n  {OWN}:\n    use-sigstore-attachments: false\n",
        f"docker:\n  {OWN}:\n    lookaside: https://x.example\n",
        "docker:\n  registry.example.com:\n    use-sigstore-attachments: true\n",
        f"{ATTACHED}  {OWN}/web-1:\n    lookaside: https://x.example\n",
        "default-docker:\n  lookaside: https://x.example\n",
    ],
)
def test_signatures_must_be_looked_for(yaml: str) -> None:
    verdict, text = ask(
        "policy", {**contents(policy()), "/etc/containers/registries.d/os.yaml": yaml}, registry=OWN
    )

    assert verdict is Verdict.FAIL
    assert "use-sigstore-attachments" in text


@pytest.mark.parametrize(
    "yaml",
    [
        "default-docker:\n  use-sigstore-attachments: true\n",
        "docker:\n  registry.example.com:5000:\n    use-sigstore-attachments: true\n",
    ],
)
def test_a_wider_section_serves(yaml: str) -> None:
    verdict, text = ask(
        "policy", {**contents(policy()), "/etc/containers/registries.d/os.yaml": yaml}, registry=OWN
    )

    assert verdict is Verdict.PASS, text


@pytest.mark.parametrize("yaml", ["[1]", "a: [", "\x00", "[" * 100_000, ATTACHED])
def test_broken_or_doubled_sections_are_refused(yaml: str) -> None:
    assert ask("policy", contents(policy(), second=yaml), registry=OWN)[0] is Verdict.FAIL


@pytest.mark.parametrize(
    ("scopes", "scope"),
    [
        ({"a.example.com:5000/os", "a.example.com:5000", ""}, "a.example.com:5000/os"),
        ({"a.example.com:5000", "*.example.com"}, "a.example.com:5000"),
        ({"a.example.com", "*.com", ""}, "*.com"),
        ({"a.example.com/os"}, None),
        ({"a.example.com:5000/o"}, None),
        ({""}, ""),
    ],
)
def test_the_most_specific_scope_decides(scopes: set[str], scope: str | None) -> None:
    assert covering(scopes, "a.example.com:5000/os") == scope


def test_only_a_public_key_is_one() -> None:
    assert is_public_key(PEM)
    assert not is_public_key(PEM.replace(b"PUBLIC", b"PRIVATE"))
    assert not is_public_key(PEM.replace(b"MFkw", b"AAAA"))
    assert not is_public_key(b"-----BEGIN PUBLIC KEY-----" + b" " * 60_000)
    assert not is_public_key(b"\xff")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.sampled_from(["reject", "docker", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["default", "transports", "docker", "type", "keyPath", "signedIdentity", ""]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(_JSON)
def test_any_json_is_a_policy_or_a_fault(value: Any) -> None:
    _parse(json.dumps(value).encode())


@settings(derandomize=True, deadline=None, max_examples=600)
@given(st.integers(0, 10_000), st.binary(max_size=4), st.integers(0, 6), st.sampled_from(sorted(GOOD)))
def test_any_damage_is_a_policy_or_a_fault(at: int, patch: bytes, cut: int, name: str) -> None:
    data = json.dumps(GOOD[name]).encode()
    at %= len(data)
    _parse(data[:at] + patch + data[at + cut :])


def _parse(data: bytes) -> None:
    try:
        parsed = parse_policy(data)
    except PolicyFault:
        return
    assert parsed.default
