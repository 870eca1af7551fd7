"""What the drivers of all systems share: steps carried out, the boot's id, pools, update timers.

Rules: a step's command runs as it stands in the plan; a reboot may cut the connection, anything else that
fails is an error that keeps what the host said; texts from the host are cut and cleaned.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator, Sequence

from pipeline.adapters.hostaccess import NOT_FOUND, Answer, HostAccess
from pipeline.domain.hostcontrol.plan import Action, PlanStep
from pipeline.domain.hostcontrol.state import Timer, mark_of
from pipeline.domain.hostcontrol.zfs import Pool, parse_pools
from pipeline.domain.text import plain
from pipeline.errors import HostError, ToolFailedError

BOOT_ID = "/proc/sys/kernel/random/boot_id"
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PULL_SECONDS = 3600.0
_QUICK_SECONDS = 60.0
_TAIL = 2000
_PROPERTIES = "Id,LoadState,ActiveState,UnitFileState"


class Steps:
    """Carries out steps on one host.

    Args:
        access: The way onto it.
    """

    def __init__(self, access: HostAccess) -> None:
        self.access = access

    @property
    def name(self) -> str:
        """The host, for messages."""
        return self.access.name

    def boot_id(self) -> str:
        """Return the id of the boot that runs.

        Raises:
            HostError: The host cannot be reached or does not tell.
        """
        said = self.must(("cat", BOOT_ID)).stdout.strip()
        if not _ID.fullmatch(said):
            raise HostError(
                f"{self.name} gave {plain(said, 60)!r} as the id of its boot",
                hint=f"look at {BOOT_ID} on the host",
            )
        return said

    def carry_out(self, step: PlanStep) -> None:
        """Run a step's command.

        Raises:
            HostError: The host cannot be reached.
            ToolFailedError: The command failed.
        """
        if step.action is Action.REBOOT:
            # The connection may go down before the answer comes; the boot's id tells what happened.
            with contextlib.suppress(HostError):
                self.must(step.argv)
            return
        pulls = step.action in (Action.SWITCH, Action.MAKE_DURABLE, Action.RELEASE)
        self.must(step.argv, timeout=_PULL_SECONDS if pulls else _QUICK_SECONDS)

    def resume(self, unit: str) -> None:
        """Start a timer that was paused.

        Raises:
            HostError: The host cannot be reached.
            ToolFailedError: It cannot be started.
        """
        self.must(("systemctl", "start", unit))

    def pools(self) -> tuple[Pool, ...]:
        """Return the imported ZFS pools; none where there is no zpool.

        Raises:
            HostError: The host cannot be reached, or zpool's answer is not understood.
            ToolFailedError: zpool failed.
        """
        argv = ("zpool", "get", "-H", "-o", "name,property,value", "all")
        answer = self.access.ask(argv, timeout=_QUICK_SECONDS)
        if answer.code == NOT_FOUND or _module_absent(answer):
            return ()
        return parse_pools(self.good(argv, answer).stdout)

    def asked(self, commands: Sequence[Sequence[str]]) -> tuple[Answer, ...]:
        """Run commands over one connection and return how each ended.

        Raises:
            HostError: The host cannot be reached.
        """
        return self.access.ask_all(commands, timeout=_QUICK_SECONDS)

    def must(self, argv: Sequence[str], *, timeout: float = _QUICK_SECONDS) -> Answer:
        """Run a command that must succeed.

        Raises:
            HostError: The host cannot be reached.
            ToolFailedError: The command failed; keeps what it said.
        """
        return self.good(argv, self.access.ask(argv, timeout=timeout))

    def good(self, argv: Sequence[str], answer: Answer) -> Answer:
        """Let an answer pass that is no failure.

        Raises:
            ToolFailedError: It is one; keeps what the host said.
        """
        if answer.code == 0:
            return answer
        tail = (answer.stderr or answer.stdout).strip()[-_TAIL:]
        lines = [plain(line, 300) for line in tail.splitlines()[-10:]]
        raise ToolFailedError(
            f"on {self.name}: {shlex.join(argv)} ended with code {answer.code}\n  " + "\n  ".join(lines),
            hint="mend the cause on the host, then run this again; it continues where the host is",
            argv=tuple(argv),
            code=answer.code,
            tail=tail,
        )


def at_work(answer: Answer, what: str) -> str:
    """Return which process is changing the host's images, or "", from what `pgrep` answered.

    To be asked before the status is: a toggle that an interrupted run left under way is then either seen here
    or done and seen there, and so never pressed twice.
    """
    found = plain(" ".join(answer.stdout.split()), 60)
    return f"{what} (process {found})" if answer.code == 0 else ""


def timers_command(units: Sequence[str]) -> tuple[str, ...]:
    """Return the command that tells of update timers, the services of their names, and who masked them."""
    more = [name(unit) for name in (_service, mark_of) for unit in units]
    return ("systemctl", "show", f"--property={_PROPERTIES}", "--", *units, *more)


def parse_timers(units: Sequence[str], text: str) -> tuple[Timer, ...]:
    """Return the timers that exist, each with whether the service of its name is at work."""
    blocks = {block.get("Id", ""): block for block in _blocks(text)}
    return tuple(
        Timer(
            unit=unit,
            active=blocks[unit].get("ActiveState") == "active",
            enabled=blocks[unit].get("UnitFileState") in ("enabled", "enabled-runtime"),
            working=blocks.get(_service(unit), {}).get("ActiveState")
            in ("active", "activating", "reloading"),
            masked=blocks[unit].get("LoadState") == "masked",
            held=blocks.get(mark_of(unit), {}).get("LoadState") == "masked",
        )
        for unit in units
        if blocks.get(unit, {}).get("LoadState") in ("loaded", "masked")
    )


def _service(unit: str) -> str:
    return unit.replace(".timer", ".service")


def _module_absent(answer: Answer) -> bool:
    """Tell whether zpool only said that the module is not loaded: then no pool is imported."""
    return answer.code != 0 and "zfs modules" in answer.stderr.lower()


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """Yield the properties of each unit; `systemctl show` puts an empty line between units."""
    for block in text.split("\n\n"):
        pairs = (line.partition("=") for line in block.splitlines())
        yield {key: value for key, _, value in pairs}
