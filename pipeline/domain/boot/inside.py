r"""What runs inside the machine: a few files that are laid behind the image's own initramfs.

Rules: the image and its disk stay as they are; what is added lives in the initramfs and in /run. The image's
own initramfs finds and mounts the root, read-only. Then one of three parts runs:

- `modules`: the modules are loaded with the image's own programs, in its root, before its systemd starts;
- `system`: /etc and /var are mounted from disks of their own, as on a host, and the whole system comes up;
- `again`: the same disks once more, as far as mounts and temporary files, to see what was kept.

Answers leave through the second serial port, one a line: a word, then what belongs to it (`report.py` reads
them). Names from the image are quoted for the shell wherever they are pasted.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from enum import StrEnum

from pipeline.domain.boot.cpio import Added
from pipeline.domain.boot.plan import BootPlan, Keeping, PlannedModule

MARK = "pipeline-boot-test"
"""Begins the lines on the console that tell which phase begins; names files and the pool."""


class Part(StrEnum):
    """One boot of the machine."""

    MODULES = "modules"
    SYSTEM = "system"
    AGAIN = "again"


class DiskName(StrEnum):
    """The machine's disks, by the serial number they have in it."""

    ROOT = "boot-test-root"
    ETC = "boot-test-etc"
    VAR = "boot-test-var"
    SCRATCH = "boot-test-zfs"


def arguments(plan: BootPlan) -> str:
    """Return the kernel's command line: the image's own arguments first, so that ours have the last word."""
    return " ".join([*plan.arguments, *_ARGUMENTS])


_ARGUMENTS = (
    f"root=LABEL={DiskName.ROOT}", "rootfstype=ext4", "ro", "console=ttyS0", "loglevel=5",
    "panic=-1", "oops=panic", "rd.shell=0", "rd.emergency=poweroff", "rd.retry=30",
    # No question on the console; no labels, which are set when an image is installed; no indexes made anew,
    # which takes an emulated machine longer than all the rest.
    "systemd.firstboot=off", "enforcing=0", "systemd.condition_needs_update=0",
)  # fmt: skip


def added_files(plan: BootPlan, part: Part, *, patient: bool = False) -> tuple[Added, ...]:
    """Return what is laid behind the image's initramfs for one boot.

    Args:
        plan: What is asked.
        part: Which boot.
        patient: Whether the machine is so slow that units need more time to start than they give themselves.
    """
    files = tuple(_files(plan, part, _WAIT[patient]))
    if not patient or part is Part.MODULES:
        return files
    units = {"service.d": _PATIENCE, "systemd-udev-settle.service.d": _SETTLE_PATIENCE}
    longer = (_text(f"{_SYSTEM_UNITS}/{unit}/{MARK}.conf", text) for unit, text in units.items())
    return (*files, *longer)


def _files(plan: BootPlan, part: Part, wait: int) -> Iterator[Added]:
    later = "" if part is Part.MODULES else "mounted etc && mounted var || exit 1\n"
    yield _text(f"/{MARK}/root.sh", _ROOT + later)
    yield _text(f"{_RUN}/lib.sh", _LIBRARY)
    yield from _unit(
        f"{MARK}-root.service", "initrd-root-fs.target.requires", "/etc/systemd/system", _ROOT_UNIT
    )
    match part:
        case Part.MODULES:
            yield _text(f"{_RUN}/modules.sh", _HEAD + _modules(plan))
            yield from _unit(f"{MARK}-modules.service", _INITRD_TARGET, _INITRD_UNITS, _MODULES_UNIT)
        case Part.SYSTEM:
            yield _text(f"{_RUN}/system.sh", f"{_HEAD}wait={wait}\n" + _system(plan))
            yield from _unit(f"{MARK}.service", "sysinit.target.wants", _SYSTEM_UNITS, _SYSTEM_UNIT)
            for one in plan.left_out:
                kind = "user" if one.user else "system"
                yield Added(path=f"{_RUN_TOP}/systemd/{kind}/{one.unit}", target="/dev/null")
        case Part.AGAIN:
            yield _text(f"{_RUN}/again.sh", _HEAD + _again(plan))
            yield from _unit(f"{MARK}.service", "sysinit.target.wants", _SYSTEM_UNITS, _AGAIN_UNIT)


_RUN_TOP = f"/{MARK}/run"
"""Copied to /run, which is the one folder that goes from the initramfs into the system."""
_RUN = f"{_RUN_TOP}/{MARK}"
_INITRD_UNITS = "/etc/systemd/system"
_INITRD_TARGET = "initrd-root-fs.target.requires"
_SYSTEM_UNITS = f"{_RUN_TOP}/systemd/system"


def _text(path: str, content: str) -> Added:
    return Added(path=path, data=content.encode())


def _unit(name: str, target: str, folder: str, content: str) -> Iterator[Added]:
    yield _text(f"{folder}/{name}", content)
    yield Added(path=f"{folder}/{target}/{name}", target=f"../{name}")


def _modules(plan: BootPlan) -> str:
    lines = [_MODULES, *(_load(one) for one in plan.modules)]
    if plan.zfs:
        lines.append(_POOL)
    return "\n".join([*lines, "say done modules", ""])


def _load(one: PlannedModule) -> str:
    words = (one.name, one.file.path, " ".join(one.listed), " ".join(one.others))
    return "load " + " ".join(map(shlex.quote, words))


def _system(plan: BootPlan) -> str:
    made = [one for one in plan.left_out if one.made]
    quadlets = [f"made {'user' if one.user else 'system'} {shlex.quote(one.unit)}" for one in made]
    places = [f"mark {one.keeping} {shlex.quote(one.path)}" for one in plan.places]
    owners = [f"owner {shlex.quote(one.path)}" for one in plan.places if one.owner]
    return "\n".join([_SYSTEM, *quadlets, *places, *owners, _modules(plan), _END])


def _again(plan: BootPlan) -> str:
    wanted = [one for one in plan.places if one.keeping is not Keeping.REFUSED]
    return "\n".join([_AGAIN, *(f"kept {shlex.quote(one.path)}" for one in wanted), "say done again", _OFF])


_ROOT_UNIT = f"""\
[Unit]
Description=Boot test: takes over the mounted root
DefaultDependencies=no
ConditionPathExists=/etc/initrd-release
Requires=sysroot.mount
After=sysroot.mount
Before=initrd-root-fs.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /{MARK}/root.sh
"""
_MODULES_UNIT = f"""\
[Unit]
Description=Boot test: loads the modules
DefaultDependencies=no
ConditionPathExists=/etc/initrd-release
Requires={MARK}-root.service
After={MARK}-root.service
Before=initrd-root-fs.target

[Service]
Type=oneshot
RootDirectory=/sysroot
MountAPIVFS=yes
BindPaths=/dev /run
# systemctl does nothing in a changed root: what ends the machine runs in the initramfs.
RootDirectoryStartOnly=yes
ExecStart=/bin/sh /run/{MARK}/modules.sh
ExecStopPost=/usr/bin/systemctl poweroff --force --force
TimeoutStartSec=infinity
"""
_SYSTEM_UNIT = f"""\
[Unit]
Description=Boot test: watches the system come up
DefaultDependencies=no
IgnoreOnIsolate=yes
ConditionPathExists=!/etc/initrd-release

[Service]
ExecStart=/bin/sh /run/{MARK}/system.sh
"""
_AGAIN_UNIT = f"""\
[Unit]
Description=Boot test: looks what was kept
DefaultDependencies=no
IgnoreOnIsolate=yes
ConditionPathExists=!/etc/initrd-release
After=local-fs.target systemd-tmpfiles-setup.service

[Service]
ExecStart=/bin/sh /run/{MARK}/again.sh
"""

_WAIT = {False: 80, True: 360}
"""Seconds, by patience, until the script no longer waits for the system: less than `start.limit` gives it."""
_PATIENCE = """\
# The machine is emulated, and what runs beside it takes its share.
[Service]
TimeoutStartSec=600
"""
_SETTLE_PATIENCE = """\
[Service]
ExecStart=
ExecStart=udevadm settle --timeout=600
"""

_LIBRARY = f"""\
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
here=/run/{MARK}
say() {{ printf '%s\\n' "$*" >/dev/ttyS1; }}
now() {{ read -r up _ </proc/uptime; echo "$up"; }}
phase() {{ say phase "$1" "$(now)"; printf '\\n%s\\n' "{MARK}: phase $1" >/dev/console; }}
each() {{ while IFS= read -r line; do say "$1 $line"; done; }}
disk() {{
    tries=50
    while [ "$tries" -gt 0 ]; do
        for found in /sys/block/vd*; do
            [ "$(cat "$found/serial")" != "$1" ] || {{ echo "/dev/${{found##*/}}"; return 0; }}
        done
        tries=$((tries - 1))
        sleep 0.2
    done
    return 1
}}
"""
_HEAD = f". /run/{MARK}/lib.sh\n"
_OFF = "systemctl poweroff --force --force\n"
_END = f"""\
say done system
phase shutdown
# There is nothing more to see of a system that did not come up.
[ "$state" = running ] || {_OFF}
systemctl reboot
"""
_ROOT = f"""\
cp -a {_RUN_TOP}/. /run/
{_HEAD}
phase root
say kernel "$(uname -r)"
mounted() {{ mount -t ext4 -o rw "$(disk boot-test-"$1")" "/sysroot/$1"; }}
"""
_MODULES = """\
phase modules
absent=' '
live() { [ -d "/sys/module/$1" ]; }
insert() { insmod "$1" 2>&1; }
load() { # name, path, listed modules it needs, others it needs
    name=$1 from=$(now) blocked=
    say vermagic "$name" "$(modinfo -F vermagic "$2" 2>&1)"
    live "$name" && say loaded "$name"
    for need in $3; do
        case $absent in *" $need "*) blocked="$blocked $need" ;; esac
    done
    if [ -z "$blocked" ]; then
        dmesg --clear
        said=$(modprobe "$name" 2>&1)
        code=$?
    else
        # What it needs has no device to drive: all else is loaded, then it alone.
        say blocked "$name$blocked"
        for need in $4; do modprobe "$need" 2>/dev/null; done
        dmesg --clear
        said=$(insert "$2")
        code=$?
    fi
    # A module that was refused offers no symbols to those that need it.
    case $blocked$said in " "* | *": No such device") [ "$code" = 0 ] || absent="$absent$name " ;; esac
    say module "$name" "$code" "$from" "$(now)"
    printf '%s\\n' "$said" | each "said $name"
    dmesg | tail -n 400 | each "dmesg $name"
    for word in version srcversion initstate; do
        if [ -r "/sys/module/$name/$word" ]; then say $word "$name" "$(cat "/sys/module/$name/$word")"; fi
    done
}"""
_POOL = f"""\
phase zfs
pool=boot-test
try() {{
    step=$1 from=$(now)
    shift
    said=$("$@" 2>&1)
    code=$?
    say pool "$step" "$code" "$from" "$(now)"
    printf '%s\\n' "$said" | each "saidpool $step"
    return $code
}}
written() {{
    head -c 4194304 /dev/urandom >$here/sample && cp $here/sample $here/pool/sample && sync
}}
same() {{
    [ "$(sha256sum <$here/sample)" = "$(sha256sum <$here/pool/sample)" ] || {{ echo 'it differs'; return 1; }}
}}
mkdir -p $here/pool
device=$(disk {DiskName.SCRATCH})
try create zpool create -f -o cachefile=none -O mountpoint=$here/pool $pool "$device" &&
    try write written &&
    try export zpool export $pool &&
    try import zpool import -o cachefile=none -d /dev $pool &&
    try read same &&
    try destroy zpool destroy $pool"""
_SYSTEM = """\
phase system
state=$(timeout "$wait" systemctl is-system-running --wait)
say state "${state:-starting}" "$(now)"
systemctl list-jobs --no-legend --plain | each job
systemctl list-units --failed --no-legend --plain | while read -r unit _; do
    say failed "$unit"
    journalctl --boot --unit="$unit" --lines=40 --no-pager --output=short-monotonic | each "journal $unit"
    case $unit in user@*)
        id=${unit#user@}
        journalctl --boot _UID="${id%.service}" --lines=40 --no-pager --output=short-monotonic |
            each "journal $unit" ;;
    esac
done
made() {
    there=no
    for file in /run/systemd/generator*/"$2" /run/user/*/systemd/generator*/"$2"; do
        if [ -e "$file" ]; then there=yes; fi
    done
    say made $there "$2"
}
mark() {
    if said=$( (: >"$2/.boot-test") 2>&1); then
        say mark written "$2"
        if [ "$1" = refused ]; then rm "$2/.boot-test"; fi
    else
        say mark refused "$2"
        say saidmark "$2" "$said"
    fi
}
owner() { say owner "$(stat -c %U "$1")" "$1"; }
phase files"""
_AGAIN = """\
phase again
kept() { if [ -e "$1/.boot-test" ]; then say kept yes "$1"; else say kept no "$1"; fi; }"""
