"""The words of the verbs of the house."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import Parser, make_verb


def add_log(verbs: Any) -> None:
    """Add `log`."""
    verb = make_verb(verbs, "log", "show what the ledger recorded, newest last")
    verb.add_argument("image", metavar="IMAGE", nargs="?", help="only this image: NAME or LINE/NAME")


def add_schema(verbs: Any) -> None:
    """Add `schema`."""
    verb = make_verb(verbs, "schema", "print the JSON Schema of the definition files, for editors")
    verb.add_argument(
        "kind", metavar="KIND", nargs="?", help="settings, upstream, base or host; all when left out"
    )


def add_init(verbs: Any) -> None:
    """Add `init`."""
    verb = make_verb(verbs, "init", "scaffold a new image repository that builds")
    verb.add_argument("folder", metavar="DIR", help="folder to make; it must not hold anything yet")
    verb.add_argument("--lines", metavar="LINE", default="all", help="only this line of the scaffold (all)")
    verb.add_argument("--registry", metavar="HOST[:PORT]/PREFIX", help="where the images will live")
    verb.add_argument("--insecure", action="store_true", help="speak plain HTTP to that registry")
    verb.add_argument("--key", metavar="FILE", help="public key (PEM) that releases are signed with")
    verb.add_argument("--dry-run", action="store_true", help="list the files and write none")


def add_doctor(verbs: Any) -> None:
    """Add `doctor`."""
    make_verb(verbs, "doctor", "show every tool, its version, and how to install what is missing")


def add_ci(verbs: Any) -> None:
    """Add `ci`."""
    group = make_verb(verbs, "ci", "pipelines of CI systems")
    inner = group.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    render = inner.add_parser("render", help="print the GitLab pipeline for the lines in images/")
    render.set_defaults(verb="ci render")
