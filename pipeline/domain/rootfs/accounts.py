"""Who there is on a host: users, groups, keys, sudo rules, homes.

Rules: systemd-sysusers makes the users on the host, on every boot, since an image cannot edit the host's
/etc/passwd; nobody has a password unless a hash is given; keys lie in /usr, where a host cannot add one;
homes lie in /var/home and are made when they are missing.
Sources: sysusers.d(5), tmpfiles.d(5), systemd-sysusers(8) for the credential that holds a hash.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.app import user_of
from pipeline.domain.catalogue import Instance
from pipeline.domain.host import HostDefinition
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.entries import file, lines, made_from

NOLOGIN = "/usr/sbin/nologin"
HOMES = "/var/home"
AUTHORIZED_KEYS = "/usr/lib/ssh/authorized_keys.d"
LINGER = "/var/lib/systemd/linger"

_EVERY_BOOT = """\
# By default users are made only when /usr looks newer than /etc, which an image-based /usr never does.
[Unit]
ConditionNeedsUpdate=
"""
_HOST_KEYS = """\
# Debian makes host keys at what systemd calls a first boot, which needs a machine-id that is absent; an image
# has an empty one. ssh-keygen -A makes only what is missing.
[Unit]
ConditionFirstBoot=
ConditionPathIsReadWrite=/etc/ssh
"""
_SSHD = f"""\
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
AuthorizedKeysFile {AUTHORIZED_KEYS}/%u"""


def accounts(host: Instance) -> Iterator[TreeEntry]:
    """Yield everything that has to do with users."""
    head, definition = made_from(host.file), host.definition
    yield file("/usr/lib/sysusers.d/50-pipeline.conf", lines(head, list(_sysusers(definition))))
    yield file("/usr/lib/systemd/system/systemd-sysusers.service.d/50-pipeline.conf", _EVERY_BOOT)
    yield file("/usr/lib/tmpfiles.d/50-pipeline.conf", lines(head, list(_tmpfiles(definition))))
    yield file("/etc/ssh/sshd_config.d/10-pipeline.conf", lines(head, [_SSHD]), mode=0o600)
    if host.package_manager == "apt":
        yield file("/usr/lib/systemd/system/sshd-keygen.service.d/50-pipeline.conf", _HOST_KEYS)
    for name, person in definition.users.items():
        if person.ssh_keys:
            yield file(f"{AUTHORIZED_KEYS}/{name}", lines(head, list(person.ssh_keys)))
    if rules := list(_sudo(definition)):
        yield file("/etc/sudoers.d/50-pipeline", lines(head, rules), mode=0o440)
    if hashes := list(_hashes(definition)):
        path = "/etc/systemd/system/systemd-sysusers.service.d/50-pipeline-passwords.conf"
        yield file(path, lines(head, ["[Service]", *hashes]), mode=0o600)
    if ids := list(_subids(definition)):
        for name in ("subuid", "subgid"):
            yield file(f"/etc/{name}", "\n".join(ids) + "\n")


def _sysusers(host: HostDefinition) -> Iterator[str]:
    for name, group in sorted(host.groups.items()):
        yield f"g {name} {'-' if group.gid is None else group.gid}"
    for name, person in sorted(host.users.items()):
        yield f'u {name} {person.uid} "{person.description}" {HOMES}/{name} {person.shell}'
        for group_name in person.groups:
            yield f"m {name} {group_name}"
    for name, app in sorted(host.apps.items()):
        if not app.rootful:
            user = user_of(name, app)
            yield f'u {user} {app.uid} "Application {name}" {HOMES}/{user} {NOLOGIN}'
    if host.alloy is not None:
        yield f'u alloy {host.alloy.uid} "Grafana Alloy" /var/lib/alloy {NOLOGIN}'
        for group_name in host.alloy.groups:
            yield f"m alloy {group_name}"


def _tmpfiles(host: HostDefinition) -> Iterator[str]:
    """Yield homes, linger marks and the applications' directories, with numbers: names may not exist yet."""
    yield f"d {HOMES} 0755 root root -"
    for name, person in sorted(host.users.items()):
        yield f"d {HOMES}/{name} 0700 {person.uid} {person.uid} -"
    rootless = [(name, app) for name, app in sorted(host.apps.items()) if not app.rootful]
    if rootless:
        yield f"d {LINGER} 0755 root root -"
    for name, app in rootless:
        user = user_of(name, app)
        yield f"d {HOMES}/{user} 0700 {app.uid} {app.uid} -"
        yield f"f {LINGER}/{user} 0644 root root -"
    for _, app in sorted(host.apps.items()):
        for path, mode in sorted(app.directories.items()):
            yield f"d {_escaped(path)} {mode.zfill(4)} {app.uid or 0} {app.uid or 0} -"


def _escaped(path: str) -> str:
    doubled = path.replace("\\", "\\\\").replace("%", "%%").replace('"', '\\"')
    return f'"{doubled}"' if " " in path or '"' in path or "\\" in path or "'" in path else doubled


def _sudo(host: HostDefinition) -> Iterator[str]:
    for name, person in sorted(host.users.items()):
        yield from (f"{name} {rule}" for rule in person.sudo)
    for name, group in sorted(host.groups.items()):
        yield from (f"%{name} {rule}" for rule in group.sudo)


def _hashes(host: HostDefinition) -> Iterator[str]:
    for name, person in sorted(host.users.items()):
        if person.password_hash is not None:
            yield f"SetCredential=passwd.hashed-password.{name}:{person.password_hash}"


def _subids(host: HostDefinition) -> Iterator[str]:
    for name, app in sorted(host.apps.items()):
        if not app.rootful:
            yield f"{user_of(name, app)}:{app.subids.start}:{len(app.subids)}"
