"""A host that bootc manages, reached through an access."""

from __future__ import annotations

from pipeline.adapters.host_common import Steps, at_work, parse_timers, timers_command
from pipeline.adapters.hostaccess import HostAccess
from pipeline.domain.hostcontrol.bootc import parse_bootc
from pipeline.domain.hostcontrol.state import HostState, System

STATUS = ("bootc", "status", "--json")
TIMERS = ("bootc-fetch-apply-updates.timer", "rpm-ostreed-automatic.timer", "uupd.timer")
"""What is known to update such hosts by itself."""


class BootcHost(Steps):
    """Drives bootc on one host.

    Args:
        access: The way onto it.
    """

    system = System.BOOTC

    def __init__(self, access: HostAccess) -> None:
        super().__init__(access)

    def state(self) -> HostState:
        """Return what the host runs, has staged and could fall back to.

        Raises:
            HostError: The host cannot be reached or its answer is not understood.
            ToolFailedError: bootc failed.
        """
        ask = timers_command(TIMERS)
        working, status, timers = self.asked((("pgrep", "-x", "bootc"), STATUS, ask))
        return parse_bootc(
            self.good(STATUS, status).stdout,
            parse_timers(TIMERS, self.good(ask, timers).stdout),
            at_work(working, "bootc"),
        )
