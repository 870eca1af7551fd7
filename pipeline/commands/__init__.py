"""One function a verb: reads its options, calls the verb with its parts, renders the result on stdout."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.commands import (
    auditing,
    building,
    deciding,
    keeping,
    proving,
    retaining,
    rolling,
    sealing,
    seeing,
)
from pipeline.wiring import Parts

VERBS: dict[str, Callable[[Parts], int]] = {
    "plan": building.plan,
    "pin": building.pin,
    "build": building.build,
    "render": building.render,
    "check": proving.check,
    "boot-test": proving.boot_test,
    "diff": proving.diff,
    "evidence": proving.evidence,
    "review": proving.review,
    "sbom": proving.sbom,
    "approve": deciding.approve,
    "reject": deciding.reject,
    "withdraw": deciding.withdraw,
    "seal": sealing.seal,
    "verify": auditing.verify,
    "audit": auditing.audit,
    "rollback": rolling.rollback,
    "yank": seeing.yank,
    "releases": seeing.releases,
    "status": seeing.status,
    "prune": retaining.prune,
    "copy": retaining.copy,
    "log": keeping.log,
    "schema": keeping.schema,
    "doctor": keeping.doctor,
    "init": keeping.init,
    "ci render": keeping.ci_render,
}
