"""A host behind a real sshd in a network namespace of its own, for tests of the way onto hosts.

The host's programs are `hostprogram.py`; its boot id is bound over the kernel's in a mount namespace, so that
the very commands of the drivers run unchanged; so is /etc/passwd, for the shell of this machine's root may
read files that take longer than all the rest. A reboot takes sshd and every connection down and brings them
back a moment later. Needs root, OpenSSH's server and iproute2.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import hostprogram
from hostmachine import Machine, State

PROGRAMS = ("bootc", "rpm-ostree", "kairos-agent", "systemctl", "zpool", "pgrep", "reboot")
_COUNT = itertools.count()
_PASSWD = "root:x:0:0:root:{home}:/bin/sh\nsshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
_INSIDE = """
mount --bind {folder}/boot_id /proc/sys/kernel/random/boot_id
mount --bind {folder}/stat /proc/stat
mount --bind {folder}/passwd /etc/passwd
mount -t tmpfs none /run
mkdir -p /run/sshd /run/initramfs
ln -s {folder} /run/initramfs/cos-state
exec {python} -I -S -c 'import sys; sys.path.insert(0, "{tests}"); import hostprogram, pathlib
hostprogram.begin_sshd(pathlib.Path("{folder}"))'
"""


def run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done.stdout


def remove(name: str) -> None:
    """End everything in a namespace and the namespace; its link goes with it."""
    for pid in run("ip", "netns", "pids", name).split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    run("ip", "netns", "delete", name)


def remove_left_overs() -> None:
    """Remove the namespaces of test runs that were killed, known by the run's own number in their names."""
    for name in re.findall(r"^pl[0-9]+-[0-9]+", run("ip", "netns", "list"), re.MULTILINE):
        owner = name[2:].partition("-")[0]
        if not Path(f"/proc/{owner}").exists():
            remove(name)


class HostBench:
    """One host; `state` replaces what it is, `machine` tells what it is now.

    Args:
        folder: Where it keeps its state, keys and programs; an own, empty one.
    """

    def __init__(self, folder: Path) -> None:
        for program, package in (
            ("/usr/sbin/sshd", "openssh-server"),
            ("ip", "iproute2"),
            ("ssh", "openssh-client"),
        ):
            assert shutil.which(program), f"{program} is missing: apt-get install {package}"
        assert os.geteuid() == 0, "a network namespace needs root: run these tests as root"
        number = next(_COUNT)
        self.folder = folder
        self.name = f"pl{os.getpid()}-{number}"
        self._link = f"pl{os.getpid() % 100000}x{number}"
        net = f"198.18.{os.getpid() % 250}.{number % 60 * 4}"
        stem, _, last = net.rpartition(".")
        self._here, self.address = f"{stem}.{int(last) + 1}", f"{stem}.{int(last) + 2}"
        self.known_hosts = folder / "known_hosts"
        self.identity = folder / "id"

    def __enter__(self) -> Self:
        self._keys()
        self._programs()
        self._config()
        (self.folder / "boot_id").write_text("0")
        (self.folder / "stat").write_text("btime 0\n")
        (self.folder / "slow").write_text("0")
        (self.folder / "answers").mkdir()
        (self.folder / "passwd").write_text(_PASSWD.format(home=self.folder))
        remove_left_overs()
        run("ip", "netns", "add", self.name)
        try:
            self._network()
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        remove(self.name)

    def become(self, state: State) -> None:
        """Be another host from now on."""
        for kept in (self.folder / "answers").iterdir():
            kept.unlink()
        (self.folder / "state.json").write_text(json.dumps(state))
        (self.folder / "boot_id").write_text(state["boot_id"] + "\n")
        (self.folder / "stat").write_text(Machine(state).stat())
        (self.folder / "slow").write_text("0")
        if state["system"] == "kairos":
            (self.folder / "state.yaml").write_text(Machine(state).state_yaml())

    @property
    def machine(self) -> Machine:
        """What the host is now."""
        return Machine(json.loads((self.folder / "state.json").read_text()))

    def settle(self) -> None:
        """Return when nothing of the host's own is under way: no session, no reboot."""
        for _ in range(200):
            pids = run("ip", "netns", "pids", self.name).split()
            if len(pids) == 1 and pids[0] == (self.folder / "sshd.pid").read_text().strip():
                return
            time.sleep(0.05)
        raise AssertionError(
            "the host did not come to rest: " + run("ps", "-o", "pid,ppid,etime,stat,args", *pids)
        )

    def _keys(self) -> None:
        for name in ("host_key", "id"):
            run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name))
        key = (self.folder / "host_key.pub").read_text()
        self.known_hosts.write_text(f"{self.address} {key}")
        (self.folder / "authorized_keys").write_text((self.folder / "id.pub").read_text())

    def _programs(self) -> None:
        programs = self.folder / "bin"
        programs.mkdir()
        for program in PROGRAMS:
            path = programs / program
            path.write_text(hostprogram.script(self.folder, program))
            path.chmod(0o755)

    def _config(self) -> None:
        lines = {
            "ListenAddress": self.address,
            "HostKey": self.folder / "host_key",
            "AuthorizedKeysFile": self.folder / "authorized_keys",
            "PidFile": self.folder / "sshd.pid",
            "StrictModes": "no",
            "UsePAM": "no",
            "KexAlgorithms": "curve25519-sha256",  # the quickest; a run has dozens of connections
            "PasswordAuthentication": "no",
            "SetEnv": f"PATH={self.folder / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        (self.folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in lines.items()))

    def _network(self) -> None:
        inside = f"{self._link}i"
        run("ip", "link", "add", self._link, "type", "veth", "peer", "name", inside)
        run("ip", "link", "set", inside, "netns", self.name)
        run("ip", "address", "add", f"{self._here}/30", "dev", self._link)
        run("ip", "link", "set", self._link, "up")
        within = ("ip", "netns", "exec", self.name, "ip")
        run(*within, "address", "add", f"{self.address}/30", "dev", inside)
        run(*within, "link", "set", inside, "up")
        # Without delayed acknowledgements, which cost each connection more time than all it does.
        net = f"{self._here.rpartition('.')[0]}.{int(self._here.rpartition('.')[2]) - 1}/30"
        quick = ("proto", "kernel", "scope", "link", "quickack", "1")
        run("ip", "route", "replace", net, "dev", self._link, "src", self._here, *quick)
        run(*within, "route", "replace", net, "dev", inside, "src", self.address, *quick)

    def _begin(self) -> None:
        script = _INSIDE.format(
            folder=self.folder, python=sys.executable, tests=Path(hostprogram.__file__).parent
        )
        run("ip", "netns", "exec", self.name, "unshare", "-m", "sh", "-ec", script)

    def ssh(self, **changes: Any) -> dict[str, Any]:
        """How to reach it, as keyword arguments of an access."""
        return {"known_hosts": self.known_hosts, "identity": self.identity, "connect_seconds": 3, **changes}
