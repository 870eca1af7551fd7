"""What verbs that reach hosts share: --host-access, whose keys are trusted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from pipeline.wiring import Parts
from pipeline.wiring.typed import typed_path

if TYPE_CHECKING:
    from pipeline.verbs.hosts import HostDriver


def reaching(parts: Parts) -> Callable[[str], HostDriver] | None:
    """Return what reaches a host by its name; None without --host-access.

    Raises:
        UsageError: What was given is no address.
    """
    from pipeline.adapters.hosts import reach  # noqa: PLC0415
    from pipeline.domain.hostcontrol.address import Address  # noqa: PLC0415

    options = parts.options
    template = options.host_access
    if template is None:
        return None
    Address.of_host(template, "host")  # what is no address is told before anything is asked
    known_hosts = typed_path(options.known_hosts or "~/.ssh/known_hosts")
    identity = None if options.identity is None else typed_path(options.identity)

    def driver(host: str) -> HostDriver:
        address = Address.of_host(template, host)
        return reach(parts.processes, address, known_hosts=known_hosts, identity=identity)

    return driver


def require_template(template: str | None, hosts: str) -> None:
    """Refuse one address for many hosts.

    Raises:
        UsageError: It is one.
    """
    from pipeline.domain.hostcontrol.address import PLACE  # noqa: PLC0415

    if template is not None and PLACE not in template:
        raise UsageError(
            f"{template!r} is one address for {hosts} hosts",
            hint=f"put {PLACE} where the name of each host belongs: ssh://root@{PLACE}.example.org",
        )
