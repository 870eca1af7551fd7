"""The command line's words: options and verbs, nothing else, so that `--help` answers at once.

Rules: this module imports the standard library only; each verb's parser names the function of `wiring` that
does it, as text, so that nothing heavy is imported before it is needed.
"""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from pipeline import __version__
from pipeline.errors import UsageError

_DESCRIPTION = """\
Builds, proves, releases and rolls back bootc operating-system images.

The definitions are TOML files under images/<line>/; `pipeline plan` shows what they would build."""

_MOST_JOBS = 256

_EPILOG = """\
exit codes: 0 done, 1 a gate or a check said no, 2 usage, others by kind (see the README).
logs of every stage are kept below the state folder (--state, default .pipeline beside the images folder)."""


class Parser(argparse.ArgumentParser):
    """Raises instead of exiting: only `cli` turns errors into exit codes."""

    def error(self, message: str) -> NoReturn:
        """Raise the usage error.

        Raises:
            UsageError: Always.
        """
        raise UsageError(message, hint=f"see `{self.prog} --help`")


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
        _plan, _pin, _build, _render, _check, _boot_test, _sbom, _diff, _evidence, _review,
        _approve, _reject, _withdraw,
        _log, _schema, _init, _doctor, _ci,
    ):  # fmt: skip
        add(verbs)
    return top


def _verb(verbs: Any, name: str, does: str, *, text: str = "") -> Parser:
    made: Parser = verbs.add_parser(
        name,
        help=does,
        description=f"{does[0].upper()}{does[1:]}.\n\n{text}".strip(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(verb=name)
    return made


def _selection(verb: Parser) -> None:
    verb.add_argument("--tier", choices=("upstream", "base", "instance"), help="only images of this tier")
    verb.add_argument("--image", metavar="NAME", action="append", default=[], help="only this image")


def _plan(verbs: Any) -> None:
    verb = _verb(verbs, "plan", "show what would be built, from which digest, with which pins")
    _selection(verb)


def _pin(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "pin",
        "find the newest kernel for which every module compiles, and write it to pins.toml",
        text="""\
Asks the upstream image's own repositories which kernels have a kernel-devel, drops those outside a module's
declared range, and proves the newest that is left by compiling. Failures are kept and not tried again.""",
    )
    verb.add_argument("--image", metavar="BASE", action="append", default=[], help="only this base")
    verb.add_argument(
        "--check", action="store_true", help="only say whether the pins still hold; build nothing"
    )
    verb.add_argument("--reprove", action="store_true", help="compile again even when nothing changed")
    verb.add_argument(
        "--kernel", metavar="RELEASE", help="pin this kernel by hand (needs --why and --expires)"
    )
    verb.add_argument("--why", metavar="TEXT", help="reason of a pin by hand")
    verb.add_argument("--expires", metavar="YYYY-MM-DD", help="last day of a pin by hand")
    verb.add_argument("--dry-run", action="store_true", help="show the candidates and what would be compiled")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to {_MOST_JOBS}")
    return int(text)


def _build(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "build",
        "build candidates: never from a cache, through every gate, pushed by digest, recorded",
    )
    verb.add_argument(
        "--tier", choices=("upstream", "base", "instance"), required=True, help="the tier to build"
    )
    verb.add_argument(
        "--image", metavar="NAME", action="append", default=[], help="only this image of the tier"
    )
    verb.add_argument(
        "--host", metavar="HOST", action="append", default=[], help="only this host's image (tier instance)"
    )
    verb.add_argument("--all", action="store_true", help="every image of the tier")
    verb.add_argument(
        "--jobs", metavar="N", type=_count, help="hosts examined at once (default: one a processor)"
    )
    verb.add_argument(
        "--boot-test", action="store_true", help="boot every host's image in QEMU, too; bases always are"
    )
    verb.add_argument(
        "--verify-reproducible",
        action="store_true",
        help="build everything twice, apart in time and folder, and say whether it is the same",
    )
    verb.add_argument("--dry-run", action="store_true", help="show the plan and build nothing")


def _render(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "render",
        "write a host's file tree as plain files, to be looked at",
        text="""\
Run as root the files get the owners they have in the image; otherwise the table alone tells them. Users of
the image itself are named by number.""",
    )
    verb.add_argument("host", metavar="HOST", help="the instance")
    verb.add_argument(
        "folder", metavar="DIR", nargs="?", help="folder to make; without it only the table is shown"
    )
    verb.add_argument(
        "--explain", action="store_true", help="show which line of which file each value comes from"
    )


def _check(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "check",
        "run the image gates alone",
        text="""\
REF is a candidate in the registry (registry/path@sha256:… or registry/path:tag) or LINE/NAME for the newest
candidate of an image.""",
    )
    verb.add_argument("ref", metavar="REF", nargs="?", help="the image")
    verb.add_argument("--list", action="store_true", help="list the gates and what each asks")
    verb.add_argument(
        "--image", metavar="NAME", help="the definition REF is measured by, when it is no candidate"
    )


_REF = """\
REF is an image in a registry (registry/path@sha256:… or registry/path:tag) or LINE/NAME for the newest
candidate of an image."""


def _boot_test(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "boot-test",
        "boot an image in QEMU and load its kernel modules",
        text=f"""\
{_REF}

Its own kernel and initramfs are started, with KVM where there is, else emulated. Without --full the modules
of its manifests are loaded and used; nothing of the image is changed.""",
    )
    verb.add_argument("ref", metavar="REF", help="the image")
    verb.add_argument(
        "--full",
        action="store_true",
        help="bring the whole system up, look for failed units, and reboot to see what persists",
    )
    verb.add_argument("--console", metavar="FILE", help="write the machine's console to a file")


def _sbom(verbs: Any) -> None:
    verb = _verb(verbs, "sbom", "print the enriched, validated CycloneDX SBOM of an image", text=_REF)
    verb.add_argument("ref", metavar="REF", help="the image")
    verb.add_argument("-o", "--output", metavar="FILE", help="write it to a file")
    verb.add_argument(
        "--score",
        action="store_true",
        help="hold it against NTIA, BSI TR-03183-2 and sbomqs, item by item, beside syft's own output",
    )


def _diff(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "diff",
        "show what differs between two images: packages, kernel, modules, files, /etc, units, users, size",
        text=f"""\
{_REF}
local:NAME is an image in the engine's store. Layers that both share are not read.""",
    )
    verb.add_argument("old", metavar="OLD", help="the image before")
    verb.add_argument("new", metavar="NEW", help="the image now")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the JSON document to a file")


def _evidence(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "evidence",
        "list a candidate's evidence and recompute every hash, or fetch one document",
        text="CANDIDATE is LINE/NAME for the newest candidate of an image, or a reference with its digest.",
    )
    verb.add_argument("candidate", metavar="CANDIDATE", help="the candidate")
    verb.add_argument("--get", metavar="NAME", help="print one document: sbom, diff, gates, provenance, …")
    verb.add_argument("-o", "--output", metavar="FILE", help="write the document to a file")


def _review(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "review",
        "show the dossier a release manager decides from",
        text="CANDIDATE is LINE/NAME for the newest candidate of an image, or a reference with its digest.",
    )
    verb.add_argument("candidate", metavar="CANDIDATE", help="the candidate")
    verb.add_argument("--html", metavar="FILE", help="write it as one page that needs nothing else")
    verb.add_argument(
        "--vulnerabilities", metavar="FILE", help="a scanner's report on it: CycloneDX, grype or trivy JSON"
    )
    verb.add_argument(
        "--before", metavar="FILE", help="the same scanner's report on its predecessor: what came and went"
    )


def _signing(verb: Parser) -> None:
    verb.add_argument("--why", metavar="TEXT", required=True, help="the reason, one line")
    verb.add_argument(
        "--key", metavar="FILE", help="SSH key to sign with, or the public half of one in an agent"
    )
    verb.add_argument(
        "--as", metavar="PRINCIPAL", dest="identity", help="whom the key speaks for, where it is several"
    )


def _decided(verb: Parser) -> None:
    verb.add_argument("candidates", metavar="CANDIDATE", nargs="*", help="the candidate")
    verb.add_argument(
        "--run", metavar="RUN", help="every candidate of one run, such as all hosts on one base"
    )


def _approve(verbs: Any) -> None:
    verb = _verb(
        verbs,
        "approve",
        "sign a decision that exactly these images, with exactly this evidence, may be released",
        text="""\
Shows the dossier's summary and asks. Who may approve, and how many must, stands in [approval] of
images/pipeline.toml on the protected branch. All candidates of one act are one record.""",
    )
    _decided(verb)
    _signing(verb)
    verb.add_argument("--what", metavar="TEXT", help="what changes, one line (the reason, when left out)")
    verb.add_argument("--version", metavar="X.Y.Z", help="the version to propose (the diff's proposal)")
    verb.add_argument(
        "--expires", metavar="DAYS", type=_count, default=7, help="days until it stops counting (7)"
    )


def _reject(verbs: Any) -> None:
    verb = _verb(verbs, "reject", "sign a decision that these images may not be released; it counts at once")
    _decided(verb)
    _signing(verb)


def _withdraw(verbs: Any) -> None:
    verb = _verb(verbs, "withdraw", "take an approval or a rejection back; it counts at once")
    verb.add_argument("decision", metavar="DECISION", help="id of its record, or the beginning of it")
    _signing(verb)


def _log(verbs: Any) -> None:
    verb = _verb(verbs, "log", "show what the ledger recorded, newest last")
    verb.add_argument("image", metavar="IMAGE", nargs="?", help="only this image: NAME or LINE/NAME")


def _schema(verbs: Any) -> None:
    verb = _verb(verbs, "schema", "print the JSON Schema of the definition files, for editors")
    verb.add_argument(
        "kind", metavar="KIND", nargs="?", help="settings, upstream, base or host; all when left out"
    )


def _init(verbs: Any) -> None:
    verb = _verb(verbs, "init", "scaffold a new image repository that builds")
    verb.add_argument("folder", metavar="DIR", help="folder to make; it must not hold anything yet")
    verb.add_argument("--lines", metavar="LINE", default="all", help="only this line of the scaffold (all)")
    verb.add_argument("--registry", metavar="HOST[:PORT]/PREFIX", help="where the images will live")
    verb.add_argument("--insecure", action="store_true", help="speak plain HTTP to that registry")
    verb.add_argument("--key", metavar="FILE", help="public key (PEM) that releases are signed with")
    verb.add_argument("--dry-run", action="store_true", help="list the files and write none")


def _doctor(verbs: Any) -> None:
    _verb(verbs, "doctor", "show every tool, its version, and how to install what is missing")


def _ci(verbs: Any) -> None:
    group = _verb(verbs, "ci", "pipelines of CI systems")
    inner = group.add_subparsers(metavar="ACTION", required=True, parser_class=Parser)
    render = inner.add_parser("render", help="print the GitLab pipeline for the lines in images/")
    render.set_defaults(verb="ci render")
