"""The way onto a host: a command over OpenSSH, or on this machine.

Rules: nothing is asked at a terminal (BatchMode); the host's key must stand in the known_hosts file that was
given, and is never learned; no agent, no X11, no port is forwarded, no other connection is joined. The far
shell gets one string in which each argument is quoted. A program that is not there is an answer (127), a host
that cannot be reached is an error. Who is not root asks `sudo -n`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.adapters.process import Processes
from pipeline.domain.hostcontrol.address import Address
from pipeline.domain.text import plain
from pipeline.errors import HostError, InterruptedRunError, ToolFailedError, ToolMissingError

NOT_FOUND = 127
_LOST = 255
_GRACE = 5.0
_SHOWN = 400
_ALIVE_SECONDS, _ALIVE_COUNT = 5, 6
_MARK = "\x1e-- next answer --\x1e"
"""Between answers of one connection; a host that says it itself answers for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command on a host ended with."""

    code: int
    stdout: str
    stderr: str


class HostAccess(Protocol):
    """Runs commands on one host."""

    @property
    def name(self) -> str:
        """The host, for messages."""

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Answer:
        """Run a command and return how it ended, whatever its code.

        Raises:
            HostError: The host cannot be reached, or the command took longer than `timeout` seconds.
        """

    def ask_all(self, commands: Sequence[Sequence[str]], *, timeout: float = 60) -> tuple[Answer, ...]:
        """Run commands one after the other, whatever their codes, and return how each ended.

        Raises:
            HostError: The host cannot be reached, or all took longer than `timeout` seconds together.
        """


class SshAccess:
    """Runs commands on a host over OpenSSH.

    Args:
        processes: The door to other programs.
        address: The host.
        known_hosts: File with the keys of hosts; no other is looked at.
        identity: Private key file to log in with; without it, ssh's own agent and files.
        connect_seconds: Seconds until the connection must stand.
    """

    def __init__(
        self,
        processes: Processes,
        address: Address,
        *,
        known_hosts: Path,
        identity: Path | None = None,
        connect_seconds: int = 10,
    ) -> None:
        self._processes = processes
        self._address = address
        self._known_hosts = known_hosts
        self._identity = identity
        self._connect_seconds = connect_seconds

    @property
    def name(self) -> str:
        """The host's address."""
        return str(self._address)

    def argv(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Return the command that runs `argv` on the host."""
        options = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": self._file(self._known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "KnownHostsCommand": "none",
            "VerifyHostKeyDNS": "no",
            "UpdateHostKeys": "no",
            "ConnectTimeout": str(self._connect_seconds),
            "ServerAliveInterval": str(_ALIVE_SECONDS),
            "ServerAliveCountMax": str(_ALIVE_COUNT),
            "ClearAllForwardings": "yes",
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "PermitLocalCommand": "no",
            "ControlPath": "none",
            "LogLevel": "ERROR",
        }
        if self._identity is not None:
            options |= {"IdentityFile": self._file(self._identity), "IdentitiesOnly": "yes"}
        flags = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
        place = ("-p", str(self._address.port), "-l", self._address.user, "--", self._address.host)
        return ("ssh", "-T", *flags, *place, shlex.join(self._as_root(argv)))

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Answer:
        """Run a command on the host and return how it ended.

        Raises:
            HostError: The host cannot be reached, its key is not the known one, or time is over.
            InterruptedRunError: The run was ended.
            ToolMissingError: ssh is not installed.
        """
        if not self._known_hosts.is_file():
            raise HostError(
                f"there is no file {self._known_hosts} with the keys of hosts",
                hint="put the host's public key there, taken from the host itself, not from the network",
            )
        try:
            done = self._processes.run(self.argv(argv), check=False, timeout=timeout, grace=_GRACE)
        except ToolFailedError as error:
            raise self._late(argv, timeout) from error
        if done.code < 0:
            raise InterruptedRunError(
                f"the connection to {self.name} was ended from here",
                hint="run the same command again; it continues where the host is",
            )
        if done.code == _LOST:
            raise self._unreachable(done.stderr)
        return Answer(code=done.code, stdout=done.stdout, stderr=done.stderr)

    def ask_all(self, commands: Sequence[Sequence[str]], *, timeout: float = 60) -> tuple[Answer, ...]:
        """Run commands over one connection, one after the other, and return how each ended.

        Raises:
            HostError: As `ask`; or the host ended before the last one.
        """
        whole = self.ask(("sh", "-c", _script(commands)), timeout=timeout)
        outs, errs = whole.stdout.split(_MARK), whole.stderr.split(_MARK)
        if len(outs) != 2 * len(commands) + 1 or len(errs) != len(commands) + 1:
            raise HostError(
                f"{self.name} did not answer all it was asked: {plain(whole.stderr, _SHOWN)}",
                hint="run the same command again; look at the host's log if it stays like that",
            )
        codes = outs[1::2]
        return tuple(
            Answer(code=int(code) if code.isdecimal() else 1, stdout=out, stderr=err)
            for out, code, err in zip(outs[::2], codes, errs, strict=False)
        )

    def _as_root(self, argv: Sequence[str]) -> Sequence[str]:
        # `env` tells a program that is not there (127) from one that failed; sudo says 1 to both.
        return argv if self._address.user == "root" else ("sudo", "-n", "--", "env", *argv)

    @staticmethod
    def _file(path: Path) -> str:
        """Return a file's name as an option takes it: quoted, since ssh splits at spaces, no `%` tokens."""
        return '"' + str(path.absolute()).replace("%", "%%") + '"'

    def _unreachable(self, said: str) -> HostError:
        reason = plain(" ".join(said.split()) or "the connection was lost", _SHOWN)
        if "host key verification failed" in said.lower() or "host key is known" in said.lower():
            return HostError(
                f"the key of {self.name} is not the one in {self._known_hosts}: {reason}",
                hint="compare the key on the host itself; only then correct the file",
            )
        return HostError(
            f"{self.name} cannot be reached: {reason}",
            hint=f"try `{shlex.join(self.argv(['true']))}` by hand",
        )

    def _late(self, argv: Sequence[str], timeout: float) -> HostError:
        return HostError(
            f"{shlex.join(argv)} on {self.name} did not end within {timeout:.0f} s",
            hint="look at the host; the same command of this program continues where the host is",
        )


def _script(commands: Sequence[Sequence[str]]) -> str:
    """Return a script that runs commands in turn and puts marks between what they say, each code in two."""
    mark = shlex.quote(_MARK)
    after = f"printf '%s%s%s' {mark} $? {mark}; printf %s {mark} >&2"
    return "\n".join(f"{shlex.join(command)}; {after}" for command in commands)


class LocalAccess:
    """Runs commands on this machine.

    Args:
        processes: The door to other programs.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes

    @property
    def name(self) -> str:
        """This machine."""
        return "this machine"

    def ask(self, argv: Sequence[str], *, timeout: float = 60) -> Answer:
        """Run a command here and return how it ended.

        Raises:
            HostError: It took longer than `timeout` seconds.
        """
        try:
            done = self._processes.run(argv, check=False, timeout=timeout, grace=_GRACE)
        except ToolMissingError:
            return Answer(code=NOT_FOUND, stdout="", stderr=f"{argv[0]}: not found")
        except ToolFailedError as error:
            raise HostError(
                f"{shlex.join(argv)} did not end within {timeout:.0f} s", hint="look at what holds it up"
            ) from error
        return Answer(code=done.code, stdout=done.stdout, stderr=done.stderr)

    def ask_all(self, commands: Sequence[Sequence[str]], *, timeout: float = 60) -> tuple[Answer, ...]:
        """Run commands here, one after the other, and return how each ended.

        Raises:
            HostError: One took longer than `timeout` seconds.
        """
        return tuple(self.ask(command, timeout=timeout) for command in commands)
