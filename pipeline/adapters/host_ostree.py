"""A host that rpm-ostree manages, reached through an access."""

from __future__ import annotations

from pipeline.adapters.host_common import Steps, parse_timers, timers_command
from pipeline.adapters.hostaccess import HostAccess
from pipeline.domain.hostcontrol.ostree import parse_rpm_ostree
from pipeline.domain.hostcontrol.state import HostState, System

STATUS = ("rpm-ostree", "status", "--json")
TIMERS = ("rpm-ostreed-automatic.timer", "uupd.timer")
"""What is known to update such hosts by itself."""


class RpmOstreeHost(Steps):
    """Drives rpm-ostree on one host.

    Args:
        access: The way onto it.
    """

    system = System.RPM_OSTREE

    def __init__(self, access: HostAccess) -> None:
        super().__init__(access)

    def state(self) -> HostState:
        """Return what the host runs, has staged and could fall back to.

        Raises:
            HostError: The host cannot be reached or its answer is not understood.
            ToolFailedError: rpm-ostree failed.
        """
        ask = timers_command(TIMERS)
        status, timers = self.asked((STATUS, ask))
        return parse_rpm_ostree(
            self.good(STATUS, status).stdout, parse_timers(TIMERS, self.good(ask, timers).stdout)
        )
