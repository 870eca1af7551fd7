"""The settings of all lines: what signs, what is kept, and what is refused."""

from __future__ import annotations

import json

import jsonschema
import pytest
from pydantic import ValidationError

from pipeline.domain.settings import RetentionSettings, SigningSettings
from pipeline.verbs.schema import Kind, schema


@pytest.mark.parametrize(
    ("key", "good"),
    [
        ("env://PIPELINE_RELEASE_KEY", True),
        ("keys/release.key", True),
        ("/etc/pipeline/release.key", True),
        ("awskms:///arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab", True),
        ("awskms://[::1]:4566/alias/release", True),
        ("gcpkms://projects/p/locations/global/keyRings/r/cryptoKeys/k/versions/1", True),
        ("azurekms://vault.vault.azure.net/release", True),
        ("hashivault://release", True),
        ("k8s://signing/release", True),
        ("", False),
        ("env://", False),
        ("env://1KEY", False),
        ("env://KEY\nX", False),
        ("-key", False),
        ("/-key", False),
        ("../release.key", False),
        ("keys/../../release.key", False),
        ("/etc//key", False),
        ("keys/", False),
        ("pkcs11:token=x", False),
        ("https://example.org/key", False),
        ("awskms://", False),
        ("hashivault://a b", False),
        ("hashivault://-k", False),
        ("release key", False),
    ],
)
def test_loader_and_schema_agree_on_what_signs(key: str, *, good: bool) -> None:
    document = {"registry": {"url": "localhost/os"}, "signing": {"key": key}}
    assert jsonschema.Draft202012Validator(schema(Kind.SETTINGS)).is_valid(document) is good
    if good:
        assert SigningSettings(key=key).key == key
        return
    with pytest.raises(ValidationError, match="is no signing key"):
        SigningSettings(key=key)


def test_releases_are_signed_with_a_key_unless_somebody_says_otherwise() -> None:
    plain = SigningSettings()
    assert (plain.key, plain.keyless, plain.unsafe_none) == ("env://PIPELINE_RELEASE_KEY", "off", False)
    with pytest.raises(ValidationError):
        SigningSettings.model_validate_json(json.dumps({"keyless": "maybe"}))


@pytest.mark.parametrize("key", ["releases", "candidate_days"])
def test_something_is_always_kept(key: str) -> None:
    plain = RetentionSettings()
    assert (plain.releases, plain.candidate_days) == (5, 30)
    assert getattr(RetentionSettings.model_validate({key: 1}), key) == 1
    for wrong in (0, -1, 10**6, "5", 1.5, True):
        with pytest.raises(ValidationError):
            RetentionSettings.model_validate({key: wrong})
