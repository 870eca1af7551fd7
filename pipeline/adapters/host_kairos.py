"""A Kairos host, reached through an access. It has no timer that updates it by itself."""

from __future__ import annotations

import re

from pipeline.adapters.host_common import Steps, at_work
from pipeline.adapters.hostaccess import HostAccess
from pipeline.domain.hostcontrol.kairos import STATE_FILE, parse_kairos
from pipeline.domain.hostcontrol.state import HostState, System

_KERNEL = ("cat", "/proc/stat")
_UPGRADING = ("pgrep", "-f", "[k]airos-agent upgrade")
"""In brackets, so that it does not find the shell that this very command runs in."""
_BTIME = re.compile(r"^btime ([0-9]{1,12})$", re.MULTILINE)
BOOT = ("kairos-agent", "state", "get", "boot")


class KairosHost(Steps):
    """Drives kairos-agent on one host.

    Args:
        access: The way onto it.
    """

    system = System.KAIROS

    def __init__(self, access: HostAccess) -> None:
        super().__init__(access)

    def state(self) -> HostState:
        """Return which slot runs and what each holds.

        Raises:
            HostError: The host cannot be reached or its answer is not understood.
            ToolFailedError: kairos-agent failed.
        """
        working, boot, record, kernel = self.asked((_UPGRADING, BOOT, ("cat", STATE_FILE), _KERNEL))
        started = _BTIME.search(kernel.stdout)
        return parse_kairos(
            self.good(BOOT, boot).stdout,
            record.stdout if record.code == 0 else None,
            int(started[1]) if started else None,
            at_work(working, "kairos-agent upgrade"),
        )
