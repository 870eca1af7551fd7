"""The command line's words: options and verbs, nothing else, so that `--help` answers at once.

Rules: this package imports the standard library only; each verb's parser names what `commands` does for it,
as text, so that nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import argparse

from pipeline import __version__
from pipeline.arguments import (
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
from pipeline.arguments.common import Parser

_DESCRIPTION = """\
Builds, proves, releases and rolls back bootc operating-system images.

The definitions are TOML files under images/<line>/; `pipeline plan` shows what they would build."""

_EPILOG = """\
exit codes: 0 done, 1 a gate or a check said no, 2 usage, others by kind (see the README).
logs of every stage are kept below the state folder (--state, default .pipeline beside the images folder)."""


def parser() -> Parser:
    """Return the whole command line."""
    top = Parser(
        prog="pipeline",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"pipeline {__version__}")
    top.add_argument("--images", metavar="DIR", default="images", help="folder of the definitions (images)")
    top.add_argument("--state", metavar="DIR", help="folder for logs and work (.pipeline beside the images)")
    top.add_argument("--line", metavar="LINE", help="line of images, a folder below the images folder")
    top.add_argument("--json", action="store_true", help="print one JSON document on stdout")
    loud = top.add_mutually_exclusive_group()
    loud.add_argument("-v", "--verbose", action="store_true", help="show the output of every stage")
    loud.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    verbs = top.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    for add in (
        building.add_plan, building.add_pin, building.add_build, building.add_render,
        proving.add_check, proving.add_boot_test, proving.add_sbom, proving.add_diff, proving.add_evidence,
        proving.add_review,
        deciding.add_approve, deciding.add_reject, deciding.add_withdraw, sealing.add_seal,
        auditing.add_verify, auditing.add_audit, rolling.add_rollback, seeing.add_yank,
        seeing.add_releases, seeing.add_status, retaining.add_prune, retaining.add_copy,
        keeping.add_log, keeping.add_schema, keeping.add_init, keeping.add_doctor, keeping.add_ci,
    ):  # fmt: skip
        add(verbs)
    return top
