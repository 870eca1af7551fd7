from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from faultyregistry import Fault, FaultyRegistry, faulty_registry
from registries import PASSWORD, USER, RunningRegistry, free_port, running_registry

from images import index_of, push, tiny_image
from pipeline.adapters.registry import Registry
from pipeline.adapters.tokens import Credentials, parse_challenges
from pipeline.adapters.transport import Patience
from pipeline.domain.image import Digest, Repository
from pipeline.domain.oci import OCI_INDEX, OCI_MANIFEST, digest_of
from pipeline.errors import NotFoundError, RegistryError, UsageError

pytestmark = pytest.mark.engine
MISSING = Digest("sha256:" + "0" * 64)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture
def faulty(real: RunningRegistry) -> Iterator[FaultyRegistry]:
    with faulty_registry(real.host) as proxy:
        yield proxy


class Clock:
    def __init__(self) -> None:
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)


@contextlib.contextmanager
def client(
    host: str, *, credentials: Credentials | None = None, clock: Clock | None = None
) -> Iterator[Registry]:
    patience = Patience(attempts=4, sleep=(clock or Clock()).sleep, connect=5, read=5)
    registry = Registry(host, insecure=True, credentials=credentials, patience=patience)
    try:
        yield registry
    finally:
        registry.close()


_names = itertools.count()


def fresh(host: str) -> Repository:
    return Repository(registry=host, path=f"test/repository-{next(_names)}")


def test_an_image_comes_back_as_it_went(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    image = tiny_image()
    index = index_of(image, tiny_image("arm64"))
    with client(real.host) as registry:
        push(registry, repository, image)
        push(registry, repository, tiny_image("arm64"))
        assert registry.put_manifest(repository, "multi", index) == digest_of(index)
        found = registry.resolve(repository.tagged("multi"))
        assert (found.digest, found.media_type, found.size) == (digest_of(index), OCI_INDEX, len(index))
        assert registry.resolve(repository.at(image.digest)).media_type == OCI_MANIFEST
        assert registry.manifest(repository.tagged("multi")) == index
        assert registry.manifest(repository.at(image.digest)) == image.manifest
        assert registry.blob(repository, digest_of(image.blobs[1])) == image.blobs[1]
        assert registry.has_blob(repository, digest_of(image.blobs[0]))
        assert not registry.has_blob(repository, MISSING)
        assert registry.tags(repository) == ("multi",)


def test_a_blob_is_mounted_from_another_repository(real: RunningRegistry) -> None:
    source, target = fresh(real.host), fresh(real.host)
    with client(real.host) as registry:
        digest = registry.put_blob(source, b"shared")
        assert registry.mount_blob(target, digest, source)
        assert registry.blob(target, digest) == b"shared"
        assert not registry.mount_blob(target, MISSING, source)


def test_a_refused_mount_is_no_error(faulty: FaultyRegistry) -> None:
    source, target = fresh(faulty.host), fresh(faulty.host)
    with client(faulty.host) as registry:
        digest = registry.put_blob(source, b"shared, but not by this registry")
        for status in (202, 400, 403, 404, 405):
            faulty.faults = [Fault(path="POST .*mount=", times=1, status=status)]
            assert not registry.mount_blob(target, digest, source)


def test_a_large_blob_goes_up_and_comes_down_in_pieces(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    piece = bytes(range(256)) * 4096
    whole = digest_of(piece * 5)
    with client(real.host) as registry:
        registry.put_stream(repository, whole, len(piece) * 5, lambda: (piece for _ in range(5)))
        assert b"".join(registry.stream_blob(repository, whole)) == piece * 5
        with pytest.raises(RegistryError, match="larger than 1000 bytes"):
            registry.blob(repository, whole, limit=1000)


def test_an_upload_that_is_not_its_digest_is_refused_by_the_registry(real: RunningRegistry) -> None:
    with client(real.host) as registry, pytest.raises(RegistryError, match="400"):
        registry.put_stream(fresh(real.host), MISSING, 4, lambda: (b"else",))


def test_deleting_a_manifest_takes_its_tags(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    with client(real.host) as registry:
        digest = push(registry, repository, tiny_image(), "once")
        registry.delete_manifest(repository, digest)
        with pytest.raises(NotFoundError, match="has no manifest"):
            registry.resolve(repository.tagged("once"))
        with pytest.raises(NotFoundError):
            registry.delete_manifest(repository, digest)


def test_what_does_not_exist_is_not_found(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    with client(real.host) as registry:
        for call in (
            lambda: registry.resolve(repository.tagged("none")),
            lambda: registry.manifest(repository.at(MISSING)),
            lambda: registry.blob(repository, MISSING),
            lambda: registry.tags(repository),
        ):
            with pytest.raises(NotFoundError, match=real.host):
                call()


def test_a_client_answers_for_its_own_registry_only(real: RunningRegistry) -> None:
    with client(real.host) as registry, pytest.raises(UsageError, match="was asked of the registry"):
        registry.tags(Repository(registry="other.example", path="a"))


def test_head_without_a_digest_falls_back_to_the_bytes(faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    with client(faulty.host) as registry:
        digest = push(registry, repository, tiny_image(), "here")
        for fault in (
            Fault(path="HEAD|GET", remove=("Docker-Content-Digest",)),
            Fault(path="HEAD", status=405),
            Fault(path="HEAD", headers={"Docker-Content-Digest": "sha512:abc"}),
        ):
            faulty.faults = [fault]
            assert registry.resolve(repository.tagged("here")).digest == digest


@pytest.mark.parametrize("call", ["resolve", "manifest"])
def test_another_digest_than_asked_for_is_refused(faulty: FaultyRegistry, call: str) -> None:
    repository = fresh(faulty.host)
    with client(faulty.host) as registry:
        digest = push(registry, repository, tiny_image())
        faulty.faults = [Fault(path="manifests", flip=True, headers={"Docker-Content-Digest": MISSING.value})]
        with pytest.raises(RegistryError, match="in truth"):
            getattr(registry, call)(repository.at(digest))


def test_wrong_bytes_are_refused(faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    with client(faulty.host) as registry:
        digest = push(registry, repository, tiny_image(), "here")
        blob = registry.put_blob(repository, b"content")
        faulty.faults = [Fault(path="GET", flip=True)]
        with pytest.raises(RegistryError, match="in truth"):
            registry.manifest(repository.at(digest))
        with pytest.raises(RegistryError, match="in truth"):
            registry.manifest(repository.tagged("here"))
        with pytest.raises(RegistryError, match="in truth"):
            registry.blob(repository, blob)


def test_a_tag_that_another_writer_took_is_noticed(faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    faulty.faults = [Fault(path="HEAD .*manifests/mine", headers={"Docker-Content-Digest": MISSING.value})]
    with client(faulty.host) as registry, pytest.raises(RegistryError, match="written as"):
        push(registry, repository, tiny_image(), "mine")


@pytest.mark.parametrize("drop", ["before", "after", "middle"])
def test_dropped_connections_are_tried_again(faulty: FaultyRegistry, drop: str) -> None:
    repository = fresh(faulty.host)
    faulty.faults = [Fault(path=".", every=3, drop=drop)]
    clock = Clock()
    with client(faulty.host, clock=clock) as registry:
        digest = push(registry, repository, tiny_image(), "here")
        assert registry.manifest(repository.tagged("here")) == tiny_image().manifest
        assert registry.resolve(repository.tagged("here")).digest == digest
    assert any(fault.seen > 1 for fault in faulty.faults)


def test_a_broken_blob_is_resumed_where_it_broke(faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    content = bytes(range(256)) * 20_000
    with client(faulty.host) as registry:
        digest = registry.put_blob(repository, content)
        faulty.faults = [Fault(path="GET .*blobs", times=1, drop="middle")]
        assert b"".join(registry.stream_blob(repository, digest)) == content
        ranges = [headers["Range"] for headers in faulty.headers if "Range" in headers]
        assert len(ranges) == 1
        assert ranges[0] != "bytes=0-"
        faulty.faults = [Fault(path="GET .*blobs", drop="middle")]
        with pytest.raises(RegistryError, match="4 times"):
            list(registry.stream_blob(repository, digest))


def test_patience_ends_and_says_so(faulty: FaultyRegistry) -> None:
    faulty.faults = [Fault(path=".", status=503)]
    clock = Clock()
    match = r"answered 503 .*\(4 attempts\)"
    with client(faulty.host, clock=clock) as registry, pytest.raises(RegistryError, match=match):
        registry.tags(fresh(faulty.host))
    assert clock.pauses == [0.25, 0.5, 1.0]


def test_a_digest_that_the_registry_mixed_up_is_sent_again(faulty: FaultyRegistry) -> None:
    said = b'{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}'
    faulty.faults = [Fault(path="^PUT .*/blobs/", status=400, body=said, times=1)]
    with client(faulty.host, clock=Clock()) as registry:
        repository = fresh(faulty.host)
        digest = registry.put_blob(repository, b"as it was hashed")
        assert registry.blob(repository, digest) == b"as it was hashed"
    assert faulty.count("^PUT .*/blobs/") == 2


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "999999999"}, 30.0),
        (
            {
                "Date": "Sat, 21 Nov 2026 10:00:00 GMT",
                "Retry-After": "Sat, 21 Nov 2026 10:00:12 GMT",
            },
            12.0,
        ),
        ({"Retry-After": "Sat, 21 Nov 1926 10:00:12 GMT", "Date": "Sat, 21 Nov 2026 10:00:00 GMT"}, 0.0),
        ({"Retry-After": "soon"}, 0.25),
    ],
)
def test_too_many_requests_waits_as_asked(
    faulty: FaultyRegistry, headers: dict[str, str], pause: float
) -> None:
    repository = fresh(faulty.host)
    clock = Clock()
    with client(faulty.host, clock=clock) as registry:
        push(registry, repository, tiny_image(), "here")
        faulty.faults = [Fault(path="GET", times=1, status=429, headers=headers)]
        registry.manifest(repository.tagged("here"))
    assert clock.pauses == [pause]


@pytest.mark.parametrize(
    ("status", "hint"),
    [(401, "log in"), (403, "right"), (405, "enabled"), (413, "size"), (507, "full"), (418, "log")],
)
def test_refusals_are_not_repeated_and_say_what_to_do(faulty: FaultyRegistry, status: int, hint: str) -> None:
    body = b'{"errors":[{"code":"DENIED","message":"not \\u001b[31mfor\\nyou"}]}'
    faulty.faults = [Fault(path=".", status=status, body=body)]
    with client(faulty.host) as registry, pytest.raises(RegistryError) as caught:
        registry.put_blob(fresh(faulty.host), b"x")
    assert f"answered {status}" in caught.value.message
    assert "DENIED not [31mfor you" in caught.value.message
    assert hint in caught.value.hint
    assert len(faulty.requests) == 1


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"errors":[1]}', b'{"errors":{}}', b"\xff\xfe", b"[" * 9000])
def test_any_error_body_ends_in_a_message(faulty: FaultyRegistry, body: bytes) -> None:
    faulty.faults = [Fault(path=".", status=403, body=body)]
    with client(faulty.host) as registry, pytest.raises(RegistryError, match="answered 403"):
        registry.tags(fresh(faulty.host))


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"tags":["a b"]}', b'{"tags":[7]}', b"x" * (5 << 20)])
def test_any_answer_ends_in_a_message(faulty: FaultyRegistry, body: bytes) -> None:
    faulty.faults = [Fault(path=".", status=200, body=body)]
    with client(faulty.host) as registry, pytest.raises(RegistryError):
        registry.tags(fresh(faulty.host))


def test_nobody_listens() -> None:
    host = f"127.0.0.1:{free_port()}"
    with client(host) as registry, pytest.raises(RegistryError, match=r"no connection to .*refused"):
        registry.tags(fresh(host))


def test_plain_http_is_not_taken_for_tls(real: RunningRegistry) -> None:
    registry = Registry(real.host, patience=Patience(attempts=1))
    with pytest.raises(RegistryError, match="TLS") as caught:
        registry.tags(fresh(real.host))
    assert "insecure" in caught.value.hint
    registry.close()


def test_tags_are_read_to_the_last_page(faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    link = f'</v2/{repository.path}/tags/list?page=2>; rel="next"'
    faulty.faults = [
        Fault(path=r"page=2", status=200, body=b'{"tags":["c","a"]}'),
        Fault(path=r"tags/list", status=200, body=b'{"tags":["b"]}', headers={"Link": link}),
    ]
    with client(faulty.host) as registry:
        assert registry.tags(repository) == ("a", "b", "c")
        faulty.faults = [Fault(path=".", status=200, body=b'{"tags":null}', headers={"Link": link})]
        with pytest.raises(RegistryError, match="do not end"):
            registry.tags(repository)


def test_basic_login(tmp_path: Path) -> None:
    with running_registry(tmp_path, auth=True) as locked:
        repository = fresh(locked.host)
        with client(locked.host, credentials=Credentials(username=USER, password=PASSWORD)) as registry:
            push(registry, repository, tiny_image(), "here")
            assert registry.tags(repository) == ("here",)
        for credentials in (None, Credentials(username=USER, password="wrong")):
            with client(locked.host, credentials=credentials) as registry:
                with pytest.raises(RegistryError, match="401") as caught:
                    registry.tags(repository)
                assert "log in" in caught.value.hint
                assert "wrong" not in str(caught.value)


def test_tokens_are_fetched_by_scope_and_kept(real: RunningRegistry, faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    guard = (
        f'Bearer realm="http://{faulty.host}/token?x=1",service="reg, istry",scope="repository:other:pull"'
    )
    with client(faulty.host) as registry:
        push(registry, repository, tiny_image(), "here")
    faulty.requests.clear()
    faulty.headers.clear()
    faulty.faults = [
        Fault(path="/token", status=200, body=b'{"token":"abc"}'),
        Fault(path="/v2/", times=1, status=401, headers={"WWW-Authenticate": guard}),
    ]
    login = Credentials(username=USER, password=PASSWORD)
    with client(faulty.host, credentials=login) as registry:
        registry.manifest(repository.tagged("here"))
        registry.resolve(repository.tagged("here"))
        registry.put_blob(repository, b"more")
    tokens = [request for request in faulty.requests if "/token" in request]
    asked = f"GET /token?x=1&service=reg%2C+istry&scope=repository%3A{quote(repository.path, safe='')}%3Apull"
    assert tokens == [asked, asked + "%2Cpush"]
    sent = [
        headers.get("Authorization")
        for request, headers in zip(faulty.requests, faulty.headers, strict=True)
        if "/v2/" in request
    ]
    assert sent == [None, *["Bearer abc"] * (len(sent) - 1)]


def test_a_token_that_expired_is_renewed_and_an_identity_token_is_posted(faulty: FaultyRegistry) -> None:
    repository = fresh(faulty.host)
    with client(faulty.host) as registry:
        push(registry, repository, tiny_image(), "here")
    faulty.requests.clear()
    guard = {"WWW-Authenticate": f'Bearer realm="http://{faulty.host}/token"'}
    faulty.faults = [
        Fault(path="/token", status=200, body=b'{"access_token":"abc"}'),
        Fault(path="/v2/", every=3, status=401, headers=guard),
        Fault(path="/v2/", times=1, status=401, headers=guard),
    ]
    with client(faulty.host, credentials=Credentials(identity_token="secret")) as registry:
        for _ in range(3):
            registry.manifest(repository.tagged("here"))
    assert faulty.count("POST /token") >= 2


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x", b'{"token":1}', b'{"token":"a\\nb"}'])
def test_a_token_service_that_talks_nonsense(faulty: FaultyRegistry, body: bytes) -> None:
    guard = {"WWW-Authenticate": f'Bearer realm="http://{faulty.host}/token"'}
    faulty.faults = [
        Fault(path="/token", status=200, body=body),
        Fault(path="/v2/", status=401, headers=guard),
    ]
    with client(faulty.host) as registry, pytest.raises(RegistryError, match="without a token"):
        registry.tags(fresh(faulty.host))
    faulty.faults[0] = Fault(path="/token", status=403)
    with client(faulty.host) as registry, pytest.raises(RegistryError, match="answered 403"):
        registry.tags(fresh(faulty.host))


def test_a_redirect_carries_no_login_to_another_host(real: RunningRegistry, faulty: FaultyRegistry) -> None:
    with faulty_registry(real.host) as elsewhere:
        repository = fresh(faulty.host)
        login = Credentials(username=USER, password=PASSWORD)
        with client(faulty.host, credentials=login) as registry:
            digest = registry.put_blob(repository, b"far away")
            target = f"http://{elsewhere.host}/v2/{repository.path}/blobs/{digest}"
            faulty.faults = [
                Fault(path="GET", times=1, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
                Fault(path="GET", status=307, headers={"Location": target}),
            ]
            assert registry.blob(repository, digest) == b"far away"
        assert any("Authorization" in headers for headers in faulty.headers)
        assert elsewhere.headers
        assert not any("Authorization" in headers for headers in elsewhere.headers)


def test_endless_redirects_end(faulty: FaultyRegistry) -> None:
    faulty.faults = [Fault(path=".", status=302, headers={"Location": "/v2/again"})]
    with client(faulty.host) as registry, pytest.raises(RegistryError, match="302"):
        registry.tags(fresh(faulty.host))
    assert len(faulty.requests) == 6


def test_an_upload_without_a_place_is_refused(faulty: FaultyRegistry) -> None:
    faulty.faults = [Fault(path="POST", remove=("Location",))]
    with client(faulty.host) as registry, pytest.raises(RegistryError, match="did not say where"):
        registry.put_blob(fresh(faulty.host), b"x")


def test_threads_share_one_client(real: RunningRegistry) -> None:
    repository = fresh(real.host)
    wrong: list[BaseException] = []
    with client(real.host) as registry:

        def work(number: int) -> None:
            try:
                content = f"blob {number}".encode()
                assert registry.blob(repository, registry.put_blob(repository, content)) == content
            except BaseException as error:  # noqa: BLE001 - told by the main thread
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_challenges_are_parsed_as_registries_write_them() -> None:
    found = parse_challenges(
        ['Bearer realm="https://a.example/t",service="a, b",scope="repository:x:pull,push", Basic realm=x']
    )
    assert [challenge.scheme for challenge in found] == ["bearer", "basic"]
    assert found[0].parameters["scope"] == "repository:x:pull,push"
    assert found[1].parameters == {"realm": "x"}
    assert parse_challenges(["", "=", ",,,", '"']) == ()


def test_secrets_are_not_in_a_repr() -> None:
    assert "hidden" not in repr(Credentials(username="me", password="hidden", identity_token="hidden"))
