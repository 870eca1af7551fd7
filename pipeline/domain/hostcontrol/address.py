"""Where a host is reached: `ssh://[user@]host[:port]`, or `local:` for the machine this runs on.

Rules: nothing in an address can be taken for an option or for shell syntax; no password, no path, no query.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.errors import UsageError

LOCAL = "local:"
PLACE = "{host}"
"""In a template, stands for the name of a host."""

_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[a-z_][a-z0-9_-]{0,31})@)?"
    r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)
_PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host to reach over SSH.

    Attributes:
        host: Name or number, without brackets.
        user: Who logs in; not root means that commands run through `sudo -n`.
        port: TCP port.
    """

    host: str
    user: str = "root"
    port: int = 22

    @classmethod
    def parse(cls, text: str) -> Address | None:
        """Return the address a text names; None for this machine.

        Raises:
            UsageError: It is neither `local:` nor an ssh address.
        """
        if text == LOCAL:
            return None
        found = _ADDRESS.fullmatch(text)
        if found is None or int(found["port"] or 22) not in _PORTS:
            raise UsageError(
                f"{text!r} is no address of a host", hint="write ssh://user@host, ssh://host:port or local:"
            )
        return cls(
            host=found["host"].strip("[]"), user=found["user"] or "root", port=int(found["port"] or 22)
        )

    @classmethod
    def of_host(cls, template: str, host: str) -> Address | None:
        """Return the address of one host of many: `{host}` in a template stands for its name.

        Raises:
            UsageError: What comes out is no address.
        """
        return cls.parse(template.replace(PLACE, host))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{self.user}@{host}:{self.port}"
