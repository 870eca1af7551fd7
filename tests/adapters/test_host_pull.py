"""What a container is asked, and by which files it answers: tiny images whose skopeo tells what it was given.

Real skopeo and real signatures are in the tests of the Debian line; here it is a script, so that every file,
option and variable it gets can be looked at.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from registries import RunningRegistry, free_port, running_registry

from images import TinyImage, descriptor, index_of, push, spelled, tiny_image
from pipeline.adapters.engine import Engine, EngineProfile, detect_profile, registries_conf
from pipeline.adapters.host_pull import SkopeoHostPull
from pipeline.adapters.host_pull_container import Containers
from pipeline.adapters.process import Processes
from pipeline.adapters.registry import Registry
from pipeline.adapters.snapshots import Snapshots
from pipeline.adapters.toc import TocStore
from pipeline.adapters.tokens import Credentials
from pipeline.adapters.transport import Patience
from pipeline.domain.diff.layered import LayeredSnapshot
from pipeline.domain.gate import CommandResult
from pipeline.domain.image import Digest, ImageRef, Repository
from pipeline.domain.layer import Layer, layer_of
from pipeline.domain.oci import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST, Manifest, parse
from pipeline.domain.placement import TreeEntry
from pipeline.domain.tree import FileType
from pipeline.domain.trust import POLICY
from pipeline.errors import NotFoundError, RegistryError, ToolFailedError, ToolMissingError
from pipeline.verbs.assemble import load_base
from pipeline.wiring import container_limits

pytestmark = pytest.mark.engine

APPLETS = (
    "sh",
    "env",
    "base64",
    "cat",
    "cp",
    "head",
    "ls",
    "mkdir",
    "mktemp",
    "rm",
    "tar",
    "timeout",
    "tr",
    "truncate",
)
CONF = "/etc/containers/registries.conf"
SKOPEO = r"""#!/bin/sh
[ "$1" != --version ] || { echo "skopeo version 9.9"; exit 0; }
for name; do :; done
policy=/etc/containers/policy.json blobs=
args=" $* "
while [ $# -gt 0 ]; do
  case $1 in
    --policy) policy=$2 ;;
    --dest-shared-blob-dir) blobs=$2/sha256 ;;
  esac
  shift
done
case $args in *" --src-tls-verify=false "*" docker://"*) ;; *) echo "strange: $args"; exit 1 ;; esac
text=$(cat "$policy" 2>&1)
case $text in
  *accept*) exit 0 ;;
  *loud*) printf 'Source image rejected: \033[2J\n'; head -c 100000 /dev/zero | tr '\0' x; exit 1 ;;
esac
cd "$blobs"
keys=$(cd /etc/pki/containers 2> /dev/null && for key in *; do echo "$key:$(cat "$key")"; done)
conf=$(cat "$HOME/.config/containers/registries.conf" /etc/containers/registries.conf 2> /dev/null)
more=$(ls "$HOME/.config/containers/registries.conf.d" /etc/containers 2> /dev/null)
echo "Source image rejected: policy $text, conf $conf, more $more, layers $(ls -s | cut -c1-80), keys $keys."
exit 1
"""


def entries(files: Mapping[str, str | bytes]) -> list[TreeEntry]:
    return [
        TreeEntry(
            path=path,
            type=FileType.FILE,
            mode=0o755,
            content=text if isinstance(text, bytes) else text.encode(),
        )
        for path, text in files.items()
    ]


def base_layer(skopeo: str = SKOPEO) -> Layer:
    found = shutil.which("busybox")
    if found is None:
        pytest.fail("busybox is not installed; install it: apt-get install busybox-static (Fedora: busybox)")
    links = [
        TreeEntry(path=f"/usr/bin/{name}", type=FileType.SYMLINK, target="busybox")
        for name in (*APPLETS, "cut")
    ]
    folders = [
        TreeEntry(path=f"/{name}", type=FileType.DIRECTORY, mode=0o755) for name in ("tmp", "etc", "run")
    ]
    programs = entries({"/usr/bin/busybox": Path(found).read_bytes()})
    if skopeo:
        programs += entries({"/usr/bin/skopeo": skopeo})
    slash_bin = TreeEntry(path="/bin", type=FileType.SYMLINK, target="usr/bin")
    return layer_of([*folders, slash_bin, *programs, *links], timestamp=1)


BASE = base_layer()


def image(files: Mapping[str, str | bytes], *, base: Layer = BASE, env: Sequence[str] = ()) -> TinyImage:
    """Return an image of two layers."""
    layers = (base, layer_of(entries(files), timestamp=1))
    config = spelled(
        {
            "os": "linux",
            "architecture": "amd64",
            "config": {"Env": list(env)},
            "rootfs": {"type": "layers", "diff_ids": [one.diff_id.value for one in layers]},
        }
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(OCI_CONFIG, config),
        "layers": [descriptor(OCI_LAYER_GZIP, one.data) for one in layers],
    }
    return TinyImage(
        manifest=spelled(manifest), blobs=(config, *(one.data for one in layers)), architecture="amd64"
    )


class Noting(Engine):
    """An engine that notes what it pulled and how often it ran something."""

    def __init__(self, processes: Processes, profile: EngineProfile) -> None:
        super().__init__(processes, profile)
        self.pulled: list[ImageRef] = []
        self.said: list[CommandResult] = []

    def pull(self, ref: ImageRef) -> str:
        self.pulled.append(ref)
        return super().pull(ref)

    def run(self, name: str, argv: Sequence[str], **how: Any) -> CommandResult:
        self.said.append(super().run(name, argv, **how))
        return self.said[-1]


class Place:
    """A registry, an engine that knows it, and who asks."""

    def __init__(self, running: RunningRegistry, profile: EngineProfile, folder: Path) -> None:
        self.host = running.host
        self.engine = Noting(Processes(environment=os.environ), profile)
        self.registry = Registry(running.host, insecure=True, patience=Patience(attempts=1))
        self.snapshots = Snapshots(TocStore(folder / "layers"), self.registry)
        self.repository = Repository(registry=running.host, path=f"os/{secrets.token_hex(4)}")

    def push(self, files: Mapping[str, str | bytes], **how: Any) -> ImageRef:
        return self.repository.at(push(self.registry, self.repository, image(files, **how)))

    def host_pull(
        self,
        containers: Containers | None = None,
        *,
        stand_in: ImageRef | None = None,
        login: Credentials | None = None,
    ) -> SkopeoHostPull:
        def opened(refs: Sequence[ImageRef]) -> Sequence[LayeredSnapshot]:
            return self.snapshots.open(*(load_base(ref, self.registry) for ref in refs))

        return SkopeoHostPull(
            containers or self.engine,
            self.registry,
            opened,
            insecure=frozenset({self.host}),
            login=lambda host: login if host == self.host else None,
            stand_in=stand_in,
        )

    def close(self) -> None:
        self.registry.close()
        for ref in self.engine.pulled:
            self.engine.remove(str(ref))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRegistry]:
    with running_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


@pytest.fixture(scope="module")
def profile(running: RunningRegistry, tmp_path_factory: pytest.TempPathFactory) -> EngineProfile:
    conf = tmp_path_factory.mktemp("engine") / "registries.conf"
    conf.write_text(registries_conf(running.host))
    return detect_profile(
        Processes(environment=os.environ),
        program="podman",
        runtime="auto",
        network="host",
        limits=container_limits(),
        registries_conf=conf,
    )


@pytest.fixture
def place(running: RunningRegistry, profile: EngineProfile, tmp_path: Path) -> Iterator[Place]:
    made = Place(running, profile, tmp_path)
    yield made
    made.close()


def parse_top(place: Place, ref: ImageRef) -> Digest:
    found = parse(place.registry.manifest(ref))
    assert isinstance(found, Manifest)
    return found.layers[-1].digest


def test_an_image_answers_for_itself_with_its_own_files(place: Place) -> None:
    consumer = place.push({POLICY: "{}", CONF: "own"})
    wanted = place.push({"/etc/wanted": "x"})
    answer = place.host_pull().pulls(consumer, wanted)
    assert not answer.ok
    assert answer.said.startswith(
        f"skopeo 9.9 of {consumer} refuses it: Source image rejected: policy {{}}, conf own,"
    )
    assert "layers total 0 " in answer.said, "the files that stand for layers take no room"
    assert BASE.digest.hex in answer.said
    assert parse_top(place, wanted).hex not in answer.said


def test_one_container_answers_for_hosts_that_differ_in_what_is_carried(place: Place) -> None:
    hosts = [
        place.push(
            {
                POLICY: f'{{"p": {number}}}',
                CONF: f"conf-{number}",
                f"{CONF}.d/a{number}.conf": "",
                "/etc/hostname": str(number),
            }
        )
        for number in range(3)
    ]
    wanted = place.push({"/etc/wanted": "x"})
    pairs = [(hosts[2], wanted), (hosts[0], wanted), (hosts[1], hosts[0]), (hosts[2], wanted)]
    said = place.host_pull().pulls_many(pairs)
    assert len(place.engine.said) == 1
    assert place.engine.pulled == [hosts[2]]
    assert said[0] == said[3]
    for number, answer in zip((2, 0, 1), said, strict=False):
        assert f"skopeo 9.9 of {hosts[number]} refuses it" in answer.said
        assert f'policy {{"p": {number}}}, conf conf-{number},' in answer.said
        others = {f"a{other}.conf" for other in range(3)} - {f"a{number}.conf"}
        assert not [name for name in others if name in answer.said]
    assert "a0.conf" in said[1].said


def test_a_stand_in_has_the_files_of_the_image_and_none_of_its_own(place: Place) -> None:
    """Not even a key that the image's policy names and the image lacks."""
    keys = ("/etc/pki/containers/one.pub", "/etc/pki/containers/two.pub")
    policy = json.dumps({"keyPaths": keys})
    bare = place.push({POLICY: policy, CONF: "bare", keys[0]: "its key"}, base=base_layer(""))
    own = {POLICY: '{"accept": 1}', "/etc/containers/containers.conf": "", keys[0]: "x", keys[1]: "x"}
    stand_in = place.push(own)
    with pytest.raises(ToolMissingError, match="has no skopeo"):
        place.host_pull().pulls(bare, bare)
    answer = place.host_pull(stand_in=stand_in).pulls(bare, stand_in)
    assert not answer.ok
    assert answer.said.startswith(f"skopeo 9.9 of {stand_in}, which stands in for {bare}, refuses it")
    assert f"policy {policy}, conf bare" in answer.said
    assert "containers.conf" not in answer.said
    assert "keys one.pub:its key." in answer.said


def test_a_skopeo_that_does_not_run_is_an_error(place: Place) -> None:
    consumer = place.push({POLICY: "{}"}, base=base_layer("#!/bin/nothing\n"))
    with pytest.raises(ToolFailedError, match="could not be asked"):
        place.host_pull().pulls(consumer, consumer)


def test_loud_words_are_cut_and_made_harmless(place: Place) -> None:
    consumer = place.push({POLICY: '"loud"'})
    answer = place.host_pull().pulls(consumer, consumer)
    assert not answer.ok
    assert "\\x1b[2J" in answer.said
    assert "\x1b" not in answer.said
    assert len(answer.said) < 1000


# --- without a container: who is asked what


class Paper:
    """Containers on paper: notes what each is given, and accepts everything."""

    def __init__(self) -> None:
        self.pulled: list[ImageRef] = []
        self.given: list[dict[str, bytes]] = []
        self.words: list[str] = []

    def id_of(self, name: str) -> str | None:
        return None

    def pull(self, ref: ImageRef) -> str:
        self.pulled.append(ref)
        return "local"

    def run(
        self, name: str, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0, online: bool = False
    ) -> CommandResult:
        assert online
        self.words += argv
        with tarfile.open(fileobj=io.BytesIO(base64.b64decode(stdin))) as tar:
            files = {one.name: tar.extractfile(one) for one in tar.getmembers()}
            self.given.append({name: file.read() for name, file in files.items() if file is not None})
        count = sum(self.given[-1][name].count(b"\n") for name in ("own", "others"))
        ends = [f"{number} 0 " for number in range(count)]
        return CommandResult(code=0, stdout="\n".join(["skopeo version 9.9", *ends]), stderr="")


@pytest.fixture
def paper() -> Paper:
    return Paper()


NOTHING = layer_of(entries({"/etc/os-release": ""}), timestamp=1)
PLAIN = layer_of(entries({"/usr/bin/skopeo": "a program"}), timestamp=1)


@pytest.mark.parametrize(
    ("files", "env"),
    [
        ({"/etc/pki/containers/one.pub": "another key"}, ()),
        ({"/usr/share/keys/two.pub": "another key"}, ()),
        ({"/usr/lib/libgpgme.so.11": "another library"}, ()),
        ({"/usr/bin/timeout": "another program"}, ()),
        ({POLICY: "no policy"}, ()),
        ({"/root/.config/containers/policy.json": "{}"}, ()),
        ({}, ("LD_PRELOAD=/evil",)),
    ],
)
def test_hosts_that_differ_in_more_answer_themselves(
    place: Place, paper: Paper, files: dict[str, str], env: Sequence[str]
) -> None:
    policy = '{"keyPaths": ["/usr/share/keys/two.pub", "/etc/pki/containers/one.pub"]}'
    common = {POLICY: policy, "/usr/share/keys/two.pub": "key", "/etc/pki/containers/one.pub": "key"}
    first, alike = (place.push({**common, "/etc/hostname": name}, base=PLAIN) for name in "ab")
    other = place.push({**common, **files}, base=PLAIN, env=env)
    said = place.host_pull(paper).pulls_many([(first, first), (alike, first), (other, first)])
    assert [one.said for one in said] == [f"skopeo 9.9 of {one} accepts it" for one in (first, alike, other)]
    assert paper.pulled == [first, other]


def test_all_layers_but_the_topmost_are_taken_for_copied(place: Place, paper: Paper) -> None:
    files = {POLICY: "{}"}
    consumer = place.push(files, base=PLAIN)
    wanted = place.push({"/etc/wanted": "x"}, base=PLAIN)
    assert place.host_pull(paper).pulls(consumer, wanted).ok
    [given] = paper.given
    assert given["layers"].decode() == f"{PLAIN.digest.hex} {len(PLAIN.data)}\n"
    assert given["own"].decode() == f"0 - - false {wanted}\n"
    assert given["others"] == b""
    assert str(wanted) not in " ".join(paper.words), "names are data, not words of a command"


def test_what_is_topmost_somewhere_is_fetched(place: Place, paper: Paper) -> None:
    """A base is asked for beside the host on it: its own topmost layer must be fetched for real."""
    consumer = place.push({POLICY: "{}"}, base=PLAIN)
    alone = tiny_image("amd64", "base", PLAIN.data)
    base = place.repository.at(push(place.registry, place.repository, alone))
    assert all(one.ok for one in place.host_pull(paper).pulls_many([(consumer, consumer), (consumer, base)]))
    assert paper.given[0]["layers"] == b""


def test_of_an_index_nothing_is_taken_for_copied(place: Place, paper: Paper) -> None:
    tiny = image({"/etc/wanted": "x"}, base=PLAIN)
    push(place.registry, place.repository, tiny)
    digest = place.registry.put_manifest(place.repository, "index", index_of(tiny))
    consumer = place.push({POLICY: "{}"}, base=PLAIN)
    assert place.host_pull(paper).pulls(consumer, place.repository.at(digest)).ok
    assert paper.given[0]["layers"] == b""


def test_a_login_goes_in_for_its_registry_alone(place: Place, paper: Paper) -> None:
    consumer = place.push({POLICY: "{}"}, base=PLAIN)
    asker = place.host_pull(paper, login=Credentials(username="ada", password="open sesame"))
    assert asker.pulls(consumer, consumer).ok
    word = base64.b64encode(b"ada:open sesame").decode()
    assert json.loads(paper.given[0]["auth.json"]) == {"auths": {place.host: {"auth": word}}}
    assert paper.given[0]["own"].decode() == f"0 - login false {consumer}\n"
    assert not {word, "open sesame"} & set(paper.words)
    token = place.host_pull(paper, login=Credentials(identity_token="t"))
    assert token.pulls(consumer, consumer).ok
    entry = json.loads(paper.given[1]["auth.json"])["auths"][place.host]
    assert entry["identitytoken"] == "t"
    assert base64.b64decode(entry["auth"]).endswith(b":")


def test_a_stand_in_takes_no_file_from_elsewhere(place: Place, paper: Paper) -> None:
    bare = place.push({POLICY: '{"keyPath": "/usr/bin/tar"}'}, base=NOTHING)
    stand_in = place.push({POLICY: "{}"}, base=PLAIN)
    with pytest.raises(ToolMissingError, match="cannot be tried"):
        place.host_pull(paper, stand_in=stand_in).pulls(bare, stand_in)


def test_what_is_missing_in_the_registry_is_a_no_and_a_missing_consumer_an_error(
    place: Place, paper: Paper
) -> None:
    consumer = place.push({POLICY: "{}"}, base=PLAIN)
    nothing = place.repository.at(Digest(f"sha256:{'0' * 64}"))
    answer = place.host_pull(paper).pulls(consumer, nothing)
    assert not answer.ok
    assert answer.said.startswith("no host can fetch it: ")
    assert paper.given == []
    with pytest.raises(NotFoundError):
        place.host_pull(paper).pulls(nothing, consumer)


def test_a_registry_that_is_down_is_an_error(place: Place, paper: Paper) -> None:
    consumer = place.push({POLICY: "{}"}, base=PLAIN)
    down = Repository(registry=f"127.0.0.1:{free_port()}", path="os/x").at(consumer.pinned)
    gone = Registry(down.repository.registry, insecure=True, patience=Patience(attempts=1))
    asker = SkopeoHostPull(paper, gone, place.host_pull(paper)._opened)
    with pytest.raises(RegistryError):
        asker.pulls(consumer, down)
    gone.close()
