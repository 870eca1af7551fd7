"""One container that asks its skopeo for pulls: what goes in, what runs, what comes out.

Rules: everything goes in as one archive on standard input, so nothing is mounted and a login is in no file of
this machine; what varies is data of that archive, the script is always the same text; pulls end up in the
container's own root, which goes with it.
"""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.adapters.tokens import Credentials
from pipeline.domain.gate import CommandResult
from pipeline.domain.host_pull import Carried
from pipeline.domain.image import ImageRef
from pipeline.domain.oci import Descriptor
from pipeline.domain.text import plain
from pipeline.errors import ToolFailedError

_AT_ONCE = 8
_START_SECONDS = 120.0
_PULL_SECONDS = 1800
_LONGEST = 4000
_CARRIED = ".config/containers"
"""Where files of a person's own lie below a home: registries.conf can be handed over in no other way."""
_SCRIPT = r"""
export HOME=/root PATH=/usr/bin:/bin
unset CONTAINERS_REGISTRIES_CONF REGISTRY_AUTH_FILE DOCKER_CONFIG XDG_CONFIG_HOME XDG_RUNTIME_DIR
at_once=$1 seconds=$2 longest=$3
folder=$(mktemp -d) && base64 -d > "$folder/in.tar" && tar -xf "$folder/in.tar" -C "$folder" || exit 1
if [ -f "$folder/replaced" ]; then
  mkdir -p "$folder/root"
  rm -rf /etc/containers /root/.config/containers || exit 1
  while read -r path; do rm -f "$path" || exit 1; done < "$folder/replaced"
  cp -R "$folder/root/." / || exit 1
fi
mkdir -p "$folder/blobs/sha256"
while read -r hex size; do
  truncate -s "$size" "$folder/blobs/sha256/$hex" || rm -f "$folder/blobs/sha256/$hex"
done < "$folder/layers"
pull() {
  number=$1 given=$2 login=$3 verify=$4 name=$5
  set -- copy --quiet --remove-signatures --retry-times 2 "--src-tls-verify=$verify" \
    --dest-shared-blob-dir "$folder/blobs" "docker://$name" "oci:$folder/out.$number"
  [ "$login" = - ] || set -- "$@" --src-authfile "$folder/auth.json"
  if [ "$given" != - ]; then
    HOME="$folder/homes/$given" given="$folder/homes/$given/.config/containers"
    set -- "$@" --policy "$given/policy.json" --registries.d "$given/registries.d"
  fi
  timeout "$seconds" skopeo "$@" > "$folder/said.$number" 2>&1
  echo "$number $? $(head -c "$longest" "$folder/said.$number" | tr '\n' ' ')" > "$folder/end.$number"
}
pulls() {
  running=0
  while read -r number given login verify name; do
    pull "$number" "$given" "$login" "$verify" "$name" &
    running=$((running + 1))
    [ $((running % at_once)) -ne 0 ] || wait
  done < "$1"
  wait
}
skopeo --version || exit 1
pulls "$folder/own"
rm -rf /etc/containers/registries.conf /etc/containers/registries.conf.d || exit 1
pulls "$folder/others"
cat "$folder"/end.*
"""


class Containers(Protocol):
    """The part of a container engine that is used here."""

    def id_of(self, name: str) -> str | None:
        """Return the id of a local image, or None."""

    def pull(self, ref: ImageRef) -> str:
        """Pull an image by digest; return its local id."""

    def run(
        self, name: str, argv: Sequence[str], *, stdin: str = "", timeout: float = 120.0, online: bool = False
    ) -> CommandResult:
        """Run a program in a throw-away container that can reach the network and write to its root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One pull to try.

    Attributes:
        wanted: The image, by digest.
        given: Files that go before the container's own; None to use those.
        verify: Whether the registry must speak TLS that verifies.
    """

    wanted: ImageRef
    given: Carried | None
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Asks:
    """What one container is asked.

    Attributes:
        asks: The pulls, answered in this order.
        skipped: Layers that are taken for copied.
        logins: Registry to login.
        placed: Absolute paths to contents (None: no file) that replace all of its /etc/containers.
    """

    asks: Sequence[Ask]
    skipped: Sequence[Descriptor] = ()
    logins: Mapping[str, Credentials] = field(default_factory=dict)
    placed: Mapping[str, bytes | None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What skopeo did: its version as it prints it, and code and words for each pull."""

    version: str
    ends: tuple[tuple[int, str], ...]


def ask_in_container(engine: Containers, image: str, asks: Asks) -> Told:
    """Try pulls in one throw-away container of a local image.

    Raises:
        ToolFailedError: The container could not be started, or did not answer.
    """
    argv = ["/bin/sh", "-c", _SCRIPT, "sh", str(_AT_ONCE), str(_PULL_SECONDS), str(_LONGEST)]
    seconds = _START_SECONDS + _PULL_SECONDS * (1 + len(asks.asks) / _AT_ONCE)
    stdin = base64.encodebytes(_archive(asks)).decode("ascii")
    said = engine.run(image, argv, stdin=stdin, timeout=seconds, online=True)
    version, *lines = said.stdout.splitlines() or [""]
    ends = dict(filter(None, map(_end, lines)))
    if said.code != 0 or ends.keys() != set(range(len(asks.asks))):
        raise ToolFailedError(
            f"skopeo could not be asked in a container of {image}: {plain(said.stderr.strip(), 300)}",
            hint="the image needs skopeo, a shell, tar and coreutils; `pipeline doctor` looks at the engine",
            argv=(),
            code=said.code,
            tail=said.stderr[-2000:],
        )
    return Told(version=plain(version, 80), ends=tuple(ends[number] for number in range(len(asks.asks))))


def _end(line: str) -> tuple[int, tuple[int, str]] | None:
    number, _, rest = line.partition(" ")
    code, _, text = rest.partition(" ")
    if not (number.isascii() and number.isdigit() and code.isascii() and code.isdigit()):
        return None
    return int(number[:9]), (int(code[:9]), text)


def _archive(asks: Asks) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in _members(asks):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o600 if name == "auth.json" else 0o644
            tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


def _members(asks: Asks) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents; every name is made here or was checked by `carried`."""
    layers = {layer.digest: layer.size for layer in asks.skipped}
    yield "layers", "".join(f"{digest.hex} {size}\n" for digest, size in layers.items()).encode()
    if asks.logins:
        yield "auth.json", _auth(asks.logins)
    known: list[Carried] = []
    lines: dict[str, list[str]] = {"own": [], "others": []}
    for number, ask in enumerate(asks.asks):
        if ask.given is not None and ask.given not in known:
            yield from _given(f"homes/{len(known)}/{_CARRIED}", ask.given)
            known.append(ask.given)
        given = str(known.index(ask.given)) if ask.given is not None else "-"
        ref = ask.wanted
        login = "login" if ref.repository.registry in asks.logins else "-"
        verify = "true" if ask.verify else "false"
        line = f"{number} {given} {login} {verify} {ref.repository.at(ref.pinned)}\n"
        lines["own" if ask.given is None else "others"].append(line)
    for name, those in lines.items():
        yield name, "".join(those).encode()
    if asks.placed is not None:
        yield "replaced", "".join(f"{path}\n" for path in asks.placed).encode()
        yield from ((f"root{path}", data) for path, data in asks.placed.items() if data is not None)


def _given(folder: str, given: Carried) -> Iterator[tuple[str, bytes]]:
    if given.policy is not None:
        yield f"{folder}/policy.json", given.policy
    yield f"{folder}/registries.d/.keep", b""
    for name, data in given.sections.items():
        yield f"{folder}/registries.d/{name}", data
    for name, data in given.registries.items():
        yield f"{folder}/{'' if name == 'registries.conf' else 'registries.conf.d/'}{name}", data


def _auth(logins: Mapping[str, Credentials]) -> bytes:
    def entry(login: Credentials) -> dict[str, str]:
        # Without a user name skopeo overlooks the token, so it gets the one Docker writes.
        user = login.username or ("00000000-0000-0000-0000-000000000000" if login.identity_token else "")
        auth = base64.b64encode(f"{user}:{login.password}".encode()).decode()
        return {"auth": auth} | ({"identitytoken": login.identity_token} if login.identity_token else {})

    return json.dumps({"auths": {host: entry(login) for host, login in logins.items()}}).encode()
