"""One function a verb: reads its options, calls the verb with its parts, renders the result on stdout."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.commands import building, deciding, keeping, proving
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
    "log": keeping.log,
    "schema": keeping.schema,
    "doctor": keeping.doctor,
    "init": keeping.init,
    "ci render": keeping.ci_render,
}
