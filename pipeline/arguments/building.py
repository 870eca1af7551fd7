"""The words of the verbs that plan and build."""

from __future__ import annotations

from typing import Any

from pipeline.arguments.common import Parser, count, make_verb


def _selection(verb: Parser) -> None:
    verb.add_argument("--tier", choices=("upstream", "base", "instance"), help="only images of this tier")
    verb.add_argument("--image", metavar="NAME", action="append", default=[], help="only this image")


def add_plan(verbs: Any) -> None:
    """Add `plan`."""
    verb = make_verb(verbs, "plan", "show what would be built, from which digest, with which pins")
    _selection(verb)


def add_pin(verbs: Any) -> None:
    """Add `pin`."""
    verb = make_verb(
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


def add_build(verbs: Any) -> None:
    """Add `build`."""
    verb = make_verb(
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
        "--jobs", metavar="N", type=count, help="hosts examined at once (default: one a processor)"
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


def add_render(verbs: Any) -> None:
    """Add `render`."""
    verb = make_verb(
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
