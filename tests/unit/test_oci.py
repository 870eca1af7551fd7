from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import index_of, tiny_image
from pipeline.domain.oci import (
    DOCKER_LIST,
    DOCUMENT_LIMIT,
    Index,
    Manifest,
    Platform,
    digest_of,
    load,
    parse,
    parse_config,
    select,
)
from pipeline.errors import NotFoundError, PipelineError, RegistryError

IMAGES = (tiny_image("amd64"), tiny_image("arm64"))
INDEX = index_of(*IMAGES)
AMD64 = Platform(os="linux", architecture="amd64")


def changed(data: bytes, path: str, value: object) -> bytes:
    """Return the document with one value replaced; `path` is dotted, numbers index lists."""
    document = json.loads(data)
    *parents, last = path.split(".")
    place: Any = document
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[int(last) if isinstance(place, list) else last] = value
    return json.dumps(document).encode()


def test_a_manifest_and_an_index_are_read() -> None:
    manifest = parse(IMAGES[0].manifest)
    assert isinstance(manifest, Manifest)
    assert manifest.config.digest == digest_of(IMAGES[0].blobs[0])
    assert [layer.digest for layer in manifest.layers] == [digest_of(IMAGES[0].blobs[1])]
    index = parse(INDEX)
    assert isinstance(index, Index)
    assert [str(child.platform) for child in index.manifests] == ["linux/amd64", "linux/arm64"]
    assert parse_config(IMAGES[1].blobs[0]).platform.architecture == "arm64"


def test_dockers_words_are_read_too() -> None:
    assert parse(changed(INDEX, "mediaType", DOCKER_LIST)).media_type == DOCKER_LIST


def test_a_platform_is_selected() -> None:
    index = parse(INDEX)
    assert isinstance(index, Index)
    assert select(index, AMD64).digest == IMAGES[0].digest
    with pytest.raises(NotFoundError) as caught:
        select(index, Platform(os="linux", architecture="riscv64"))
    assert "linux/amd64, linux/arm64" in caught.value.hint
    twice = parse(changed(INDEX, "manifests.1.platform.architecture", "amd64"))
    assert isinstance(twice, Index)
    with pytest.raises(RegistryError, match="several"):
        select(twice, AMD64)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("schemaVersion", 1),
        ("schemaVersion", "2"),
        ("schemaVersion", True),
        ("mediaType", "text/html"),
        ("mediaType", 7),
        ("manifests", {}),
        ("manifests", [7]),
        ("manifests.0.digest", "sha256:abc"),
        ("manifests.0.digest", None),
        ("manifests.0.size", -1),
        ("manifests.0.size", 1.5),
        ("manifests.0.size", 1 << 70),
        ("manifests.0.mediaType", []),
        ("manifests.0.platform", "linux"),
        ("manifests.0.platform.os", 7),
        ("annotations", {"a": 7}),
        ("annotations", [1]),
        ("layers", []),
        ("config", {}),
    ],
)
def test_what_is_no_index_is_refused(path: str, value: object) -> None:
    with pytest.raises(RegistryError):
        parse(changed(INDEX, path, value))


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no valid JSON"),
        (b"\xff", "no valid JSON"),
        (b"[]", "no JSON object"),
        (b'{"a":1,"a":2}', "stands twice"),
        (b'{"b":{"a":1,"a":2}}', "stands twice"),
        (b'{"a":NaN}', "no JSON number"),
        (b'{"a":"\\ud800"}', "surrogates not allowed"),
        (b"[" * 100_000, "no valid JSON"),
        (b" " * (DOCUMENT_LIMIT + 1), "larger"),
        (b"{}" + b"x", "no valid JSON"),
    ],
)
def test_what_is_no_strict_json_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(RegistryError, match=says):
        load(data, "it")


def test_too_many_children_are_refused() -> None:
    document = json.loads(INDEX)
    document["manifests"] *= 3000
    with pytest.raises(RegistryError, match="at most"):
        parse(json.dumps(document).encode())


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.data())
def test_any_damage_ends_in_a_message(data: st.DataObject) -> None:
    source = bytearray(data.draw(st.sampled_from([INDEX, IMAGES[0].manifest, IMAGES[0].blobs[0]])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(source) - 1))
        length = data.draw(st.integers(0, 8))
        source[at : at + length] = data.draw(st.binary(max_size=8))
        if not source:
            break
    for read in (parse, parse_config):
        try:
            read(bytes(source))
        except PipelineError as error:
            error.message.encode()
