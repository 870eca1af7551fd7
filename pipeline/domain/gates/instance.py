"""Gates on what a host's definition brought: its programs read it themselves, inside the image.

Rules:
1. Each program judges its own files, in the image it will run in: Podman's generator the quadlets, systemd
   the units, users and temporary files, sudo and sshd theirs. They only check; nothing is changed.
2. What the image's own layer brought is `Subject.own`. A complaint that names none of it is the base's and
   is kept as a note; where the layer is unknown, every complaint counts.
3. A program that the image lacks has nothing to judge: a pass that says so. Quadlets without Podman are
   no such case, for they would silently not run.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.gate import CommandResult, Finding, Gate, Subject, Verdict
from pipeline.domain.gates import pulls
from pipeline.domain.gates.common import answer, bounded
from pipeline.domain.image import Tier
from pipeline.domain.text import without_ansi
from pipeline.domain.tree import FileType, Tree

GENERATOR = "/usr/lib/systemd/system-generators/podman-system-generator"
_ANALYZE = "/usr/bin/systemd-analyze"
_SYSUSERS = "/usr/bin/systemd-sysusers"
_TMPFILES = "/usr/bin/systemd-tmpfiles"
_VISUDO = "/usr/sbin/visudo"
_SSHD = "/usr/sbin/sshd"
_MISSING = frozenset({126, 127})

_ROOTFUL = ("/etc/containers/systemd", "/usr/share/containers/systemd")
_USERS = "/etc/containers/systemd/users"
_QUADLET = re.compile(r".+\.(?:container|pod|kube|volume|network|image|build)")
_SOURCE = re.compile(r"^SourcePath=(.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manager:
    """A systemd manager: its unit folders, the one that wins last, and how units are verified for it."""

    folders: tuple[str, ...]
    verify: tuple[str, ...]
    user: bool = False


_MANAGERS = (
    _Manager(folders=("/usr/lib/systemd/system", "/etc/systemd/system"), verify=(_ANALYZE, "verify")),
    _Manager(
        folders=("/usr/lib/systemd/user", "/etc/systemd/user"),
        verify=("/usr/bin/env", "XDG_RUNTIME_DIR=/run", _ANALYZE, "--user", "verify"),
        user=True,
    ),
)
_UNIT = re.compile(r"[A-Za-z0-9:_.@\\-]+\.(?:service|socket|timer|path|mount|automount|target|slice|swap)")
_UNITS_AT_ONCE = 200

_PLACED = re.compile(r"/\S+:\d+: ")
_LATER_USER = re.compile(r"Failed to resolve (user|group) '([^']+)'")
_MADE_USER = re.compile(r"^Creating (user|group) '([^']+)'", re.MULTILINE)
_HARMLESS = ("Duplicate line for path", "Failed to resolve specifier: uninitialized")

_SSHD_TEST = """\
set -e
mkdir -p /run/sshd
key=$(mktemp -d)/key
ssh-keygen -q -t ed25519 -N '' -f "$key"
exec /usr/sbin/sshd -t -h "$key"
"""
"""sshd refuses to look at its configuration without a host key, and an image must have none."""


def _quadlets(subject: Subject) -> Finding:
    tree = subject.tree
    rootful = [path for folder in _ROOTFUL for path in _quadlet_files(tree, folder)]
    users = _quadlets_of_users(tree)
    paths = [*rootful, *(path for mine in users.values() for path in mine)]
    if tree.entry(GENERATOR) is None:
        if not paths:
            return _pass("the image has no Podman and no quadlets")
        return Finding(
            verdict=Verdict.FAIL,
            summary=f"{len(paths)} quadlets, but the image has no {GENERATOR}",
            details=bounded(paths),
        )
    said = [(rootful, subject.inside([GENERATOR, "--dryrun"]))] if rootful else []
    found: list[str] = []
    for folder, mine in users.items():
        if folder != _USERS and not posixpath.basename(folder).isdecimal():
            found.append(f"{folder}: no user id, so that Podman reads it for nobody")
            continue
        argv = ["/usr/bin/env", f"QUADLET_UNIT_DIRS={folder}", GENERATOR, "--user", "--dryrun"]
        said.append((mine, subject.inside(argv)))
    for wanted, result in said:
        if result.code in _MISSING:
            return _unchecked(GENERATOR, result)
        found.extend(_refused_quadlets(wanted, result))
    return answer(
        found,
        clean=f"Podman's generator accepts all {len(paths)} quadlets",
        bad="Podman's generator refuses quadlets",
    )


def _quadlets_of_users(tree: Tree) -> dict[str, list[str]]:
    """Return folder to quadlets: those of one user in a folder of their number, those of all beside them."""
    found: dict[str, list[str]] = {}
    for path in _quadlet_files(tree, _USERS):
        below = path.removeprefix(f"{_USERS}/")
        folder = f"{_USERS}/{below.split('/')[0]}" if "/" in below else _USERS
        found.setdefault(folder, []).append(path)
    return found


def _quadlet_files(tree: Tree, folder: str) -> Iterator[str]:
    for entry in tree.walk(folder):
        if entry.path.startswith(f"{_USERS}/") and not folder.startswith(_USERS):
            continue
        if entry.type is not FileType.DIRECTORY and _QUADLET.fullmatch(posixpath.basename(entry.path)):
            yield entry.path


def _refused_quadlets(wanted: Sequence[str], said: CommandResult) -> Iterator[str]:
    made = set(_SOURCE.findall(said.stdout))
    missed = [path for path in wanted if path not in made]
    told = [line for line in _lines(said.stderr) if "Loading source unit file" not in line]
    if said.code != 0 and not missed:
        yield f"the generator ended with code {said.code}"
    yield from (f"{path}: the generator makes no service of it" for path in missed)
    if said.code != 0 or missed:
        yield from told


def _units(subject: Subject) -> Finding:
    if subject.tree.entry(_ANALYZE) is None:
        return _pass(f"the image has no {_ANALYZE}")
    count, found, lines = 0, list[str](), list[str]()
    for manager in _MANAGERS:
        units = sorted(_own_units(subject, manager))[:_UNITS_AT_ONCE]
        if not units and (subject.own is not None or manager.user):
            continue
        # default.target last: with it the whole start is ordered, which shows cycles through the base's.
        said = subject.inside([*manager.verify, "--man=no", "--", *units, "default.target"])
        if said.code in _MISSING:
            return _unchecked(_ANALYZE, said)
        told = _lines(f"{said.stdout}\n{said.stderr}")
        lines += told
        found += _about(units, told) if subject.own is not None else told if said.code != 0 else []
        count += len(units)
    if not count:
        return _judged(
            found, lines, clean="the image brings no units of its own", bad="systemd refuses units"
        )
    return _judged(found, lines, clean=f"systemd accepts {count} units", bad="systemd refuses units")


def _about(units: Sequence[str], lines: Sequence[str]) -> list[str]:
    """Return the lines that name one of the units."""
    if not units:
        return []
    named = re.compile(rf"(?<![\w@.-])(?:{'|'.join(re.escape(unit) for unit in units)})(?![\w-])")
    return [line for line in lines if named.search(line)]


def _own_units(subject: Subject, manager: _Manager) -> set[str]:
    """Return the names of units that the layer brings, changes by a drop-in, or enables."""
    paths = subject.own
    if paths is None:
        paths = frozenset(entry.path for entry in subject.tree.walk(manager.folders[-1]))
    found: set[str] = set()
    for path in paths:
        folder = next((one for one in manager.folders if path.startswith(f"{one}/")), None)
        entry = subject.tree.entry(path)
        if folder is None or entry is None or entry.type is FileType.DIRECTORY:
            continue
        first, *rest = path.removeprefix(f"{folder}/").split("/")
        if rest:
            link = first.endswith((".wants", ".requires", ".upholds"))
            name = rest[0] if link else first.removesuffix(".d")
        else:
            name = first if entry.type is FileType.FILE else ""  # a link masks a unit or names another
        if _UNIT.fullmatch(name) and not _is_masked(subject.tree, f"{manager.folders[-1]}/{name}"):
            found.add(name)
    return found


def _is_masked(tree: Tree, path: str) -> bool:
    entry = tree.entry(path)
    return entry is not None and entry.target == "/dev/null"


def _sysusers(subject: Subject) -> Finding:
    if subject.tree.entry(_SYSUSERS) is None:
        return _pass(f"the image has no {_SYSUSERS}")
    said = subject.inside([_SYSUSERS, "--dry-run"])
    if _cannot(said):
        return _no_dry_run(_SYSUSERS, said)
    # It ends with code 0 even where it could not parse a line and left the user out.
    lines = [line for line in _lines(said.stderr) if _PLACED.match(line)]
    if said.code != 0 and not lines:
        lines = _lines(said.stderr) or [f"ended with code {said.code}"]
        return answer(lines, clean="", bad="systemd-sysusers fails")
    return _judged(
        _of_own(subject, lines), lines, clean="systemd-sysusers reads every line", bad="refused by sysusers"
    )


def _tmpfiles(subject: Subject) -> Finding:
    if subject.tree.entry(_TMPFILES) is None:
        return _pass(f"the image has no {_TMPFILES}")
    argv = [_TMPFILES, "--create", "--remove", "--boot", "--exclude-prefix=/dev", "--dry-run"]
    said = subject.inside(argv)
    if _cannot(said):
        return _no_dry_run(_TMPFILES, said)
    lines = [line for line in _lines(said.stderr) if not any(text in line for text in _HARMLESS)]
    if said.code == 0:
        return _pass("systemd-tmpfiles reads every line")
    placed = [line for line in lines if _PLACED.match(line)]
    if not placed:
        return answer(lines or [f"ended with code {said.code}"], clean="", bad="systemd-tmpfiles fails")
    coming = _coming_users(subject)
    placed = [line for line in placed if not _LATER_USER.search(line) or not _is_coming(line, coming)]
    return _judged(
        _of_own(subject, placed), placed, clean="systemd-tmpfiles reads every line", bad="refused by tmpfiles"
    )


def _coming_users(subject: Subject) -> set[tuple[str, str]]:
    """Return the users and groups that systemd-sysusers makes before systemd-tmpfiles runs."""
    said = subject.inside([_SYSUSERS, "--dry-run"])
    return set(_MADE_USER.findall(f"{said.stdout}\n{said.stderr}"))


def _is_coming(line: str, coming: set[tuple[str, str]]) -> bool:
    return all(found in coming for found in _LATER_USER.findall(line))


def _sudoers(subject: Subject) -> Finding:
    if subject.tree.entry(_VISUDO) is None:
        return _pass(f"the image has no {_VISUDO}")
    said = subject.inside([_VISUDO, "-c"])
    return _by_code(_VISUDO, said, clean="visudo accepts the sudo rules", bad="visudo refuses the sudo rules")


def _sshd(subject: Subject) -> Finding:
    if subject.tree.entry(_SSHD) is None:
        return _pass(f"the image has no {_SSHD}")
    said = subject.inside(["/bin/sh", "-c", _SSHD_TEST])
    return _by_code(_SSHD, said, clean="sshd accepts its configuration", bad="sshd refuses its configuration")


def _by_code(program: str, said: CommandResult, *, clean: str, bad: str) -> Finding:
    if said.code in _MISSING:
        return _unchecked(program, said)
    lines = _lines(f"{said.stderr}\n{said.stdout}")
    return answer((lines or [f"ended with code {said.code}"]) if said.code != 0 else [], clean=clean, bad=bad)


def _of_own(subject: Subject, lines: Sequence[str]) -> list[str]:
    """Return the complaints that name a file of the image's own layer; all where the layer is unknown."""
    if subject.own is None:
        return list(lines)
    return [line for line in lines if any(path in line for path in subject.own)]


def _judged(found: Sequence[str], lines: Sequence[str], *, clean: str, bad: str) -> Finding:
    notes = [f"note, of the base: {line}" for line in lines if line not in found]
    return answer(found, clean=clean, bad=bad, notes=notes)


def _lines(text: str) -> list[str]:
    return [line.strip() for line in without_ansi(text).splitlines() if line.strip()]


def _cannot(said: CommandResult) -> bool:
    return said.code in _MISSING or "option '--dry-run'" in said.stderr


def _no_dry_run(program: str, said: CommandResult) -> Finding:
    if said.code in _MISSING:
        return _unchecked(program, said)
    return _pass(f"the image's {program} is too old for a dry run")


def _pass(summary: str) -> Finding:
    return Finding(verdict=Verdict.PASS, summary=summary)


def _unchecked(program: str, said: CommandResult) -> Finding:
    return Finding(
        verdict=Verdict.UNCHECKED,
        summary=f"{program} could not be run (code {said.code})",
        details=bounded(_lines(said.stderr)),
    )


_INSTANCE = frozenset({Tier.INSTANCE})

GATES: tuple[Gate, ...] = (
    Gate(
        name="quadlets",
        asks="Does Podman's own generator make a service of every quadlet, root's and each user's?",
        tiers=_INSTANCE,
        rule=_quadlets,
    ),
    Gate(
        name="units",
        asks="Does systemd accept every unit the host brings, changes or enables, and the boot they make?",
        tiers=_INSTANCE,
        rule=_units,
    ),
    Gate(
        name="sysusers",
        asks="Does systemd-sysusers read every line about users in a dry run?",
        tiers=_INSTANCE,
        rule=_sysusers,
    ),
    Gate(
        name="tmpfiles",
        asks="Does systemd-tmpfiles read every line in a dry run of the boot?",
        tiers=_INSTANCE,
        rule=_tmpfiles,
    ),
    Gate(
        name="sudoers",
        asks="Does visudo accept the sudo rules, their owners and their modes?",
        tiers=_INSTANCE,
        rule=_sudoers,
    ),
    Gate(
        name="sshd-config",
        asks="Does sshd accept its whole configuration?",
        tiers=_INSTANCE,
        rule=_sshd,
    ),
    *pulls.GATES,
)
