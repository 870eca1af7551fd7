"""Which driver a host needs, found by asking it.

Rules: bootc first, but only where it manages what runs; a host whose image was changed with rpm-ostree is
rpm-ostree's. A program that is there but fails is an error, never a reason to try the next.
"""

from __future__ import annotations

from pipeline.adapters.host_bootc import STATUS as BOOTC_STATUS
from pipeline.adapters.host_bootc import BootcHost
from pipeline.adapters.host_common import Steps
from pipeline.adapters.host_kairos import BOOT, KairosHost
from pipeline.adapters.host_ostree import STATUS as RPM_OSTREE_STATUS
from pipeline.adapters.host_ostree import RpmOstreeHost
from pipeline.adapters.hostaccess import NOT_FOUND, HostAccess
from pipeline.domain.hostcontrol.bootc import parse_bootc
from pipeline.errors import HostError

Driver = BootcHost | RpmOstreeHost | KairosHost


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
