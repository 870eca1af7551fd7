"""What a host may pull: its containers policy, and how the registries are spoken to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

from pipeline.domain.catalogue import Instance
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.entries import file, lines, made_from
from pipeline.domain.trust import Trust, trust_files

_REGISTRIES_CONF = "/etc/containers/registries.conf.d/50-pipeline.conf"


def pulls(host: Instance, trust: Trust, *, insecure: bool) -> Iterator[TreeEntry]:
    """Yield policy, keys and registry settings; `trust` is what all hosts have, the host's own is added."""
    own = host.definition.trust
    signed = {scope: _key(host, path) for scope, path in own.signed.items()}
    whole = replace(trust, allow=tuple(dict.fromkeys([*trust.allow, *own.allow])), signed=signed)
    for path, content in trust_files(whole).items():
        yield file(path, content)
    body = ["# A short name could be anybody's image.", "unqualified-search-registries = []"]
    if insecure:
        body += ["", "[[registry]]", f"location = {json.dumps(trust.registry)}", "insecure = true"]
    yield file(_REGISTRIES_CONF, lines(made_from(host.file), body))


def _key(host: Instance, path: str) -> tuple[str, str]:
    """Return a key's file name in the image and its text; the name says where it comes from."""
    return f"{host.line}-{PurePosixPath(path).name}", host.materials[path].decode("utf-8", "replace")
