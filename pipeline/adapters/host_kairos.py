"""A Kairos host, reached through an access. It has no timer that updates it by itself."""

from __future__ import annotations

import re

from pipeline.adapters.host_common import Steps
from pipeline.adapters.hostaccess import HostAccess
from pipeline.domain.hostcontrol.kairos import STATE_FILE, parse_kairos
from pipeline.domain.hostcontrol.state import HostState, System

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
        # In brackets, so that it does not find the shell that this very command runs in.
        busy = self.at_work("-f", "[k]airos-agent upgrade")
        boot = self.must(BOOT).stdout
        record = self.access.ask(("cat", STATE_FILE))
        known = record.stdout if record.code == 0 else None
        return parse_kairos(boot, known, self._started(), busy)

    def _started(self) -> int | None:
        found = _BTIME.search(self.must(("cat", "/proc/stat")).stdout)
        return int(found[1]) if found else None
