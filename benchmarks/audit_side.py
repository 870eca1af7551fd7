"""One side of `audit.py`, in a process of its own: `audit`, `audit --deep` or `releases`, and what it asked.

It imports what the command would, and nothing of the tests, so that its start costs what the command's costs.
"""

from __future__ import annotations

import collections
import contextlib
import datetime as dt
import json
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TOP)]

from pipeline.adapters.authors import GitAuthors  # noqa: E402
from pipeline.adapters.ledger import Ledger  # noqa: E402
from pipeline.adapters.process import Processes  # noqa: E402
from pipeline.adapters.protected import ProtectedBranch  # noqa: E402
from pipeline.adapters.protected_history import ProtectedHistory  # noqa: E402
from pipeline.adapters.referrers import Referrers  # noqa: E402
from pipeline.adapters.registries import Registries  # noqa: E402
from pipeline.adapters.registry import Registry  # noqa: E402
from pipeline.adapters.sshsig import SshSignatures  # noqa: E402
from pipeline.adapters.transport import Answer, Response  # noqa: E402
from pipeline.domain.image import Digest, Repository  # noqa: E402
from pipeline.domain.lookback import LookBack  # noqa: E402
from pipeline.domain.release import Seal  # noqa: E402
from pipeline.domain.signature import VerifyKey  # noqa: E402
from pipeline.verbs.audit import AuditParts, audit  # noqa: E402
from pipeline.verbs.audit_keys import KeyParts  # noqa: E402
from pipeline.verbs.releases import releases  # noqa: E402
from pipeline.verbs.verify import verify_release  # noqa: E402
from pipeline.verbs.verify_parts import VerifyParts  # noqa: E402


class Counting(Registry):
    """A client that counts its requests by what they ask for."""

    def __init__(self, host: str) -> None:
        super().__init__(host, insecure=True)
        self.asked: collections.Counter[str] = collections.Counter()
        self._counted = threading.Lock()

    def _send(self, method: str, path: str, *arguments: Any, **options: Any) -> Answer:
        kind = re.sub(r"^/v2/.*/(?=manifests/|blobs/|tags/|referrers/)", "", path)
        kind = re.sub(r"sha256-[0-9a-f]{64}", "<image>", re.sub(r"sha256:[0-9a-f]{64}", "<digest>", kind))
        kind = re.sub(r"manifests/(?:v[0-9.]+|current)$", "manifests/<release tag>", kind)
        self._count(f"{method} {kind.partition('?')[0]}")
        return super()._send(method, path, *arguments, **options)

    def _opened(self, repository: Repository, digest: Digest, at: int) -> tuple[Response, int]:
        self._count("GET blobs/<digest>")
        return super()._opened(repository, digest, at)

    def _count(self, what: str) -> None:
        with self._counted:
            self.asked[what] += 1


class Silent:
    """A reporter that says nothing."""

    @contextlib.contextmanager
    def stage(self, name: str, *, log: str | None = None) -> Iterator[Silent]:
        """Open a stage."""
        del name, log
        yield self

    def line(self, text: str) -> None:
        """Say nothing."""

    note = line


def side(words: dict[str, Any]) -> dict[str, Any]:
    """Run one side; return what it looked at and asked."""
    top = Path(words["top"])
    ledger = Ledger(
        top,
        branch="pipeline-ledger",
        remote="origin",
        identity=("Ada", "ada@example.org"),
        clock=lambda: dt.datetime.now(dt.UTC),
        jitter=random.random,
    )
    if words["side"] == "releases":
        found = releases(ledger)
        return {"releases": sum(len(one) for one in found.images.values()), "asked": {}}
    registry = Counting(words["host"])
    referrers = Referrers(registry, jitter=random.random, pause=time.sleep)
    parts = _parts(top, ledger, Registries(lambda _: (registry, referrers)), words["pem"])
    report = audit(parts, deep=partial(_deep, top, parts) if words["side"] == "audit --deep" else None)
    for finding in report.findings:
        print(finding, file=sys.stderr)
    return {"releases": report.releases, "ok": report.ok, "asked": dict(registry.asked)}


def _parts(top: Path, ledger: Ledger, store: Registries, pem: str) -> AuditParts:
    branch = ProtectedBranch(top / "images", remote="origin")
    signatures = SshSignatures(Processes(environment=os.environ))
    return AuditParts(
        ledger=ledger,
        store=store,
        defined={},
        keys=(VerifyKey.parse("release.pub", pem),),
        people=KeyParts(rules=branch, signatures=signatures),
        reporter=Silent(),
    )


def _deep(top: Path, parts: AuditParts, look: LookBack) -> Callable[[Seal], Any]:
    history, store = ProtectedHistory(top / "images", remote="origin"), parts.store
    assert isinstance(store, Registries)
    checks = VerifyParts(
        look=look,
        registry=store,
        evidence=store,
        signed=store,
        keys=parts.keys,
        rules=history,
        signatures=parts.people.signatures,
        authors=GitAuthors(top / "images"),
        newcomers=history,
    )
    return partial(verify_release, parts=checks)


if __name__ == "__main__":
    print(json.dumps(side(json.loads(sys.argv[1]))))
