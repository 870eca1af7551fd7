"""The gate on what a host may really pull, asked of the image's own skopeo.

A policy that reads well may still decide otherwise, and skopeo decides only once it has a manifest. So the
image serves one to itself: systemd-socket-activate hands each connection on its own loopback to a shell that
speaks as much of the registry's protocol as a pull needs, and a registries.conf leads every name there. The
policy sees the names that were asked for. No network is needed.

Rules: a scope that accepts anything must let a pull through; a scope that wants a signature must refuse this
unsigned image; a registry nobody named must be refused. Any other end (no connection, a broken file) is no
answer, and so no pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.domain.gate import CommandResult, Finding, Gate, Subject, Verdict
from pipeline.domain.gates.common import answer, bounded, etc, read
from pipeline.domain.image import Tier
from pipeline.domain.policy import ACCEPT, Policy, PolicyFault, parse_policy
from pipeline.domain.text import plain

_SKOPEO = "/usr/bin/skopeo"
_ACTIVATE = "/usr/bin/systemd-socket-activate"
_POLICY = "/etc/containers/policy.json"
_LARGEST = 1 << 20
_FOREIGN = "foreign.invalid/nobody/nothing"
"""A name no policy can have allowed: .invalid is never given to anybody (RFC 2606)."""
_PORT = 50505
_MOST_SCOPES = 40
_SCOPE = re.compile(r"[a-z0-9.-]+(?::[0-9]{1,5})?(?:/[a-z0-9._-]+)*")
_REJECTED = "Source image rejected"

_CONFIG = '{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'
_SERVER = r"""
IFS= read -r line
while IFS= read -r head; do
  case $head in '' | "$(printf '\r')") break ;; esac
done
set -- $line
config='CONFIG'
digest=$(printf %s "$config" | sha256sum | cut -d' ' -f1)
kind=application/vnd.oci.image
code='404 Not Found' type=application/json body='{}'
case $2 in
  */manifests/sha256-*) ;;
  */manifests/*)
    code='200 OK' type=$kind.manifest.v1+json
    body="{\"schemaVersion\":2,\"mediaType\":\"$type\",\"config\":{\"mediaType\":\"$kind.config.v1+json\","
    body="$body\"digest\":\"sha256:$digest\",\"size\":${#config}},\"layers\":[]}" ;;
  */blobs/*) code='200 OK' type=application/octet-stream body=$config ;;
  /v2/) code='200 OK' ;;
esac
printf 'HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s' \
  "$code" "$type" "${#body}" "$body"
""".replace("CONFIG", _CONFIG)
_ASK = r"""
port=$1 conf=$2 server=$3; shift 3
folder=$(mktemp -d) || exit 1
printf %s "$conf" > "$folder/registries.conf"
systemd-socket-activate -l "127.0.0.1:$port" --accept --inetd /bin/sh -c "$server" > "$folder/log" 2>&1 &
server=$!
trap 'kill $server' EXIT
tries=0
while ! grep -q '^Listening' "$folder/log"; do
  tries=$((tries + 1))
  [ $tries -lt 200 ] && kill -0 $server || { cat "$folder/log" >&2; exit 1; }
  sleep 0.02
done
pull() {
  skopeo --registries-conf "$folder/registries.conf" copy "docker://$2:probe" "dir:$folder/$1" \
    > "$folder/said.$1" 2>&1
  echo "$1 $? $(tr '\n' ' ' < "$folder/said.$1")" > "$folder/end.$1"
}
number=0 pulls=
for name; do
  number=$((number + 1))
  pull $number "$name" & pulls="$pulls $!"
done
wait $pulls
while [ $number -gt 0 ]; do
  cat "$folder/end.$number"
  number=$((number - 1))
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Question:
    """A repository to pull from, the scope it stands for, and whether the policy must let it through."""

    name: str
    scope: str
    allowed: bool


def _pulls(subject: Subject) -> Finding:
    tree = subject.tree
    if tree.entry(_SKOPEO) is None:
        return Finding(verdict=Verdict.PASS, summary=f"the image has no {_SKOPEO}")
    data = read(tree, etc(tree, _POLICY), limit=_LARGEST)
    if data is None:
        return Finding(verdict=Verdict.FAIL, summary=f"the image has no {_POLICY}")
    try:
        questions = tuple(_questions(parse_policy(data)))
    except PolicyFault as fault:
        return Finding(verdict=Verdict.FAIL, summary=f"{_POLICY} is no valid policy", details=(str(fault),))
    if tree.entry(_ACTIVATE) is None:
        return Finding(
            verdict=Verdict.UNCHECKED, summary=f"the image has no {_ACTIVATE} to serve a pull with"
        )
    names = [question.name for question in questions]
    argv = ["/bin/sh", "-c", _ASK, "sh", str(_PORT), _registries_conf(names), _SERVER, *names]
    return _judge(questions, subject.inside(argv))


def _questions(policy: Policy) -> Iterator[_Question]:
    """Yield a repository of every scope there is, and one of nobody's."""
    for scope, requirements in list(policy.transports.get("docker", {}).items())[:_MOST_SCOPES]:
        if not _SCOPE.fullmatch(scope):  # "" and wildcards; the gate `policy` has an opinion on them
            continue
        # Below the scope, so that no section of the image's own registries.conf is as narrow.
        yield _Question(
            name=f"{scope}/probe/probe", scope=scope, allowed=all(one.type == ACCEPT for one in requirements)
        )
    yield _Question(name=_FOREIGN, scope=_FOREIGN, allowed=False)


def _registries_conf(names: list[str]) -> str:
    """Return a configuration that leads every name to the image's own loopback."""
    return "unqualified-search-registries = []\n" + "".join(
        f"[[registry]]\nprefix = {json.dumps(name)}\n"
        f'location = "127.0.0.1:{_PORT}/probe/{number}"\ninsecure = true\n'
        for number, name in enumerate(names)
    )


def _judge(questions: tuple[_Question, ...], said: CommandResult) -> Finding:
    answers = [line.split(" ", 2) for line in reversed(said.stdout.splitlines())]
    if said.code != 0 or len(answers) != len(questions) or any(len(one) != 3 for one in answers):  # noqa: PLR2004
        return Finding(
            verdict=Verdict.UNCHECKED,
            summary=f"skopeo could not be asked (code {said.code})",
            details=bounded([line for line in said.stderr.splitlines() if line.strip()]),
        )
    wrong: list[str] = []
    unknown: list[str] = []
    for question, (_, code, text) in zip(questions, answers, strict=True):
        rejected = _REJECTED in text
        if code != "0" and not rejected:
            unknown.append(f"{question.scope}: {plain(text)}")
        elif question.allowed and rejected:
            wrong.append(f"{question.scope}: is named as allowed, but rejected: {plain(text)}")
        elif not question.allowed and not rejected:
            wrong.append(f"{question.scope}: an unsigned image was let through")
    if unknown and not wrong:
        return Finding(verdict=Verdict.UNCHECKED, summary="skopeo gave no verdict", details=bounded(unknown))
    allowed = sum(question.allowed for question in questions)
    return answer(
        [*wrong, *unknown],
        clean=f"skopeo lets {allowed} scopes through and rejects the other {len(questions) - allowed}",
        bad="skopeo decides otherwise than the policy reads",
    )


GATES: tuple[Gate, ...] = (
    Gate(
        name="pulls",
        asks="Does the image's own skopeo pull what the policy allows, and reject foreign images?",
        tiers=frozenset({Tier.INSTANCE}),
        rule=_pulls,
    ),
)
