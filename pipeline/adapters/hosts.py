"""Which driver a host needs, found by asking it.

Rules: bootc first, but only where it manages what runs; a host whose image was changed with rpm-ostree is
rpm-ostree's. A program that is there but fails is an error, never a reason to try the next.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.adapters.host_bootc import STATUS as BOOTC_STATUS
from pipeline.adapters.host_bootc import BootcHost
from pipeline.adapters.host_common import Steps
from pipeline.adapters.host_kairos import BOOT, KairosHost
from pipeline.adapters.host_ostree import STATUS as RPM_OSTREE_STATUS
from pipeline.adapters.host_ostree import RpmOstreeHost
from pipeline.adapters.hostaccess import NOT_FOUND, HostAccess, LocalAccess, SshAccess
from pipeline.adapters.process import Processes
from pipeline.domain.hostcontrol.address import Address
from pipeline.domain.hostcontrol.bootc import parse_bootc
from pipeline.errors import HostError

Driver = BootcHost | RpmOstreeHost | KairosHost


def reach(
    processes: Processes, address: Address | None, *, known_hosts: Path, identity: Path | None = None
) -> Driver:
    """Return the driver of a host that is reached at an address.

    Args:
        processes: The door to other programs.
        address: As `Address.parse` gave it; None for this machine.
        known_hosts: File with the keys of hosts.
        identity: Private key file to log in with; without it, ssh's own agent and files.

    Raises:
        HostError: The host cannot be reached, its key is not known, or none of the known systems manages it.
        ToolFailedError: What seems to manage it failed.
    """
    if address is None:
        return driver_for(LocalAccess(processes))
    return driver_for(SshAccess(processes, address, known_hosts=known_hosts, identity=identity))


def driver_for(access: HostAccess) -> Driver:
    """Return the driver of what manages a host.

    Raises:
        HostError: The host cannot be reached, or none of the known systems manages it.
        ToolFailedError: What seems to manage it failed.
    """
    steps = Steps(access)
    kairos, answer = access.ask_all((BOOT, BOOTC_STATUS))
    if kairos.code != NOT_FOUND:
        return KairosHost(access)
    if answer.code != NOT_FOUND:
        booted = parse_bootc(steps.good(BOOTC_STATUS, answer).stdout).booted
        if booted is not None and not booted.foreign:
            return BootcHost(access)
    if access.ask(RPM_OSTREE_STATUS).code != NOT_FOUND:
        return RpmOstreeHost(access)
    raise HostError(
        f"{access.name} is managed neither by bootc nor by rpm-ostree nor by Kairos",
        hint="install it from an image first; an ordinary installation cannot be switched",
    )
