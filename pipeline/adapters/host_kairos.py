"""A Kairos host, reached through an access. It has no timer that updates it by itself."""

from __future__ import annotations

from pipeline.adapters.host_common import Steps
from pipeline.adapters.hostaccess import HostAccess
from pipeline.domain.hostcontrol.kairos import STATE_FILE, parse_kairos
from pipeline.domain.hostcontrol.state import HostState, System

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
        boot = self.must(BOOT).stdout
        record = self.access.ask(("cat", STATE_FILE))
        return parse_kairos(boot, record.stdout if record.code == 0 else None)
