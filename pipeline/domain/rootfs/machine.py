"""The machine itself: name, time, kernel, units, and Alloy.

Rules: what boots is in the image, so kernel arguments, modules, settings and units lie in /usr; a unit is
enabled by a link in its target's .wants in /usr, where a host cannot lose it; a credential is named, its
value lies encrypted on the host.
Sources: bootc's kargs.d, systemd.exec(5) for LoadCredentialEncrypted=, systemd.unit(5).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from pipeline.domain.catalogue import Instance
from pipeline.domain.host import Alloy, HostDefinition, UnitTable
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.entries import file, lines, link, made_from, quoted

UNITS = "/usr/lib/systemd/system"
ALLOY_CONFIG = "/etc/alloy/config.alloy"


def machine(host: Instance) -> Iterator[TreeEntry]:
    """Yield everything that is neither account, container nor policy."""
    head, definition = made_from(host.file), host.definition
    yield file("/etc/hostname", f"{definition.hostname}\n")
    if definition.hostid is not None:
        yield file("/etc/hostid", int(definition.hostid, 16).to_bytes(4, "little"))
    if definition.timezone is not None:
        yield link("/etc/localtime", f"../usr/share/zoneinfo/{definition.timezone}")
    if definition.locale is not None:
        yield file("/etc/locale.conf", lines(head, [f"LANG={definition.locale}"]))
    yield from _kernel(definition, head)
    for name, unit in sorted(definition.units.items()):
        yield from _unit(host, name, unit, head)
    if definition.alloy is not None:
        yield from _alloy(host, definition.alloy, head)


def _kernel(host: HostDefinition, head: str) -> Iterator[TreeEntry]:
    if host.kargs:
        body = [f"kargs = {json.dumps(list(host.kargs))}"]
        yield file("/usr/lib/bootc/kargs.d/50-pipeline.toml", lines(head, body))
    if host.kernel_modules:
        yield file("/usr/lib/modules-load.d/50-pipeline.conf", lines(head, list(host.kernel_modules)))
    if host.sysctl:
        settings = [f"{key} = {value}" for key, value in sorted(host.sysctl.items())]
        yield file("/usr/lib/sysctl.d/90-pipeline.conf", lines(head, settings))


def _unit(host: Instance, name: str, unit: UnitTable, head: str) -> Iterator[TreeEntry]:
    if unit.mask:
        yield link(f"/etc/systemd/system/{name}", "/dev/null")
        return
    text = host.texts.get(f"units.{name}")
    if text is not None:
        yield file(f"{UNITS}/{name}", text)
    if unit.credentials:
        body = ["[Service]", *_credentials(unit.credentials)]
        yield file(f"{UNITS}/{name}.d/50-pipeline.conf", lines(head, body))
    if unit.enable:
        yield link(f"{UNITS}/{unit.wanted_by}.wants/{name}", f"../{name}")


def _credentials(credentials: Mapping[str, str]) -> Iterator[str]:
    for name, stored in sorted(credentials.items()):
        yield f"LoadCredentialEncrypted={name}:{stored}"


def _alloy(host: Instance, alloy: Alloy, head: str) -> Iterator[TreeEntry]:
    yield file(ALLOY_CONFIG, host.texts["alloy"])
    yield file(f"{UNITS}/alloy.service", lines(head, list(_alloy_unit(alloy))))
    yield link(f"{UNITS}/multi-user.target.wants/alloy.service", "../alloy.service")


def _alloy_unit(alloy: Alloy) -> Iterator[str]:
    program = quoted(alloy.program)
    arguments = [quoted(one) for one in alloy.arguments]
    command = [program, "run", "--storage.path=/var/lib/alloy", *arguments, ALLOY_CONFIG]
    yield from (
        "[Unit]",
        "Description=Grafana Alloy: logs and metrics of this host",
        f"ConditionFileIsExecutable={program}",
        "Wants=network-online.target",
        "After=network-online.target",
        "",
        "[Service]",
        "User=alloy",
        "Group=alloy",
        "StateDirectory=alloy",
        *_credentials(alloy.credentials),
        # through env, so that the unit is sound in an image that has no Alloy (the condition keeps it down)
        f"ExecStart=/usr/bin/env {' '.join(command)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "NoNewPrivileges=true",
        "ProtectSystem=strict",
        "ProtectHome=true",
        "PrivateTmp=true",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    )
