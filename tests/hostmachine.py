"""A host as its own tools show it: bootc, rpm-ostree or Kairos, with systemd's timers, ZFS and reboots.

It keeps real state (what is installed, in which order, what is staged, each deployment's own /etc) and
answers the very commands that are run on hosts: in memory for tests of rules, and as programs behind a real
sshd (`hostprogram`), each a process of its own; so what few of them need is imported where it is needed.
"""

from __future__ import annotations

import json
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

REPOSITORY = "registry.example.org:5000/os/web1"
CURRENT = f"{REPOSITORY}:current"
TIMER = "bootc-fetch-apply-updates.timer"
OSTREE_TIMER = "rpm-ostreed-automatic.timer"
BOOT_ID = "/proc/sys/kernel/random/boot_id"
STATE_FILE = "/run/initramfs/cos-state/state.yaml"

Answer = tuple[int, str, str]
State = dict[str, "Any"]


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def boot_id(number: int) -> str:
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def entry(number: int, reference: str = CURRENT, **more: Any) -> State:
    return {"reference": reference, "digest": digest(number), "masked": [], "pinned": False, **more}


def machine_state(system: str, *numbers: int, booted: int = 0, **more: Any) -> State:
    """A host with these images installed, in boot order, and its update timer waiting."""
    timer = {"bootc": TIMER, "rpm-ostree": OSTREE_TIMER}.get(system)
    return {
        "system": system,
        "boot_id": boot_id(1),
        "entries": [entry(number) for number in numbers],
        "booted": booted,
        "staged": None,
        "timers": {timer: {"active": True, "enabled": True, "working": False}} if timer else {},
        "tags": {CURRENT: digest(numbers[0] if numbers else 1)},
        "absent": [],
        "log": [],
        "boots": 0,
        "slow": 0.0,
        **more,
    }


class Machine:
    """Answers commands as the host's own programs would."""

    def __init__(self, state: State) -> None:
        self.state = state

    def run(self, argv: list[str]) -> Answer:
        if argv[:1] == ["cat"]:
            return self._cat(argv[1])
        known = {
            "bootc": self._bootc,
            "rpm-ostree": self._rpm_ostree,
            "kairos-agent": self._kairos,
            "systemctl": self._systemctl,
            "zpool": self._zpool,
            "pgrep": self._pgrep,
            "reboot": self._reboot,
        }
        program = argv[0]
        if program in {"bootc", "rpm-ostree", "kairos-agent"} and self._absent(program):
            return 127, "", f"{program}: command not found"
        if program not in known:
            return 127, "", f"{program}: command not found"
        self.state["log"].append(argv)
        return known[program](argv[1:])

    def _absent(self, program: str) -> bool:
        return bool(self.state["system"] != program.removesuffix("-agent"))

    def count(self, *argv: str) -> int:
        return sum(line[: len(argv)] == list(argv) for line in self.state["log"])

    # -- files and systemd

    def _cat(self, path: str) -> Answer:
        if path == BOOT_ID:
            return 0, self.state["boot_id"] + "\n", ""
        if path == "/proc/stat":
            return 0, self.stat(), ""
        if path == STATE_FILE and self.state["system"] == "kairos" and not self.state.get("no_record"):
            return 0, self.state_yaml(), ""
        return 1, "", f"cat: {path}: No such file or directory"

    def _systemctl(self, words: list[str]) -> Answer:
        if words == ["reboot"]:
            return self._reboot([])
        verb, units = words[0], [word for word in words[1:] if not word.startswith("-")]
        if verb == "show":
            return 0, "\n".join(self._unit(unit) for unit in units), ""
        for unit in units:
            masked, timer = self._now()["masked"], self.state["timers"].get(unit)
            if verb == "mask" and unit not in masked:
                masked.append(unit)  # also of a unit that there is not
            elif verb == "unmask" and unit in masked:
                masked.remove(unit)
            if verb in ("start", "stop") or "--now" in words:
                if timer is None or (verb == "start" and unit in masked):
                    return 5, "", f"Unit {unit} not loaded."
                timer["active"] = verb == "start"
        return 0, "", ""

    def _reboot(self, _: list[str]) -> Answer:
        if self.state.get("reboot_refused"):
            return 1, "", 'Operation inhibited by "backup" (PID 7)'
        self.boot()
        return 0, "", ""

    def _unit(self, unit: str) -> str:
        timer = self.state["timers"].get(unit.replace(".service", ".timer"))
        if timer is None and unit in self._now()["masked"]:
            return f"Id={unit}\nLoadState=masked\nActiveState=inactive\nUnitFileState=masked\n"
        if timer is None:
            return f"Id={unit}\nLoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
        if unit.endswith(".service"):
            active = "activating" if timer["working"] else "inactive"
            return f"Id={unit}\nLoadState=loaded\nActiveState={active}\nUnitFileState=static\n"
        masked = unit in self._now()["masked"]
        file = "masked" if masked else "enabled" if timer["enabled"] else "disabled"
        active = "active" if timer["active"] else "inactive"
        load = "masked" if masked else "loaded"
        return f"Id={unit}\nLoadState={load}\nActiveState={active}\nUnitFileState={file}\n"

    def _now(self) -> State:
        found: State = self.state["entries"][self.state["booted"]]
        return found

    def boot(self) -> None:
        """Shut down, which writes what is staged, and boot what is first, unless that fails."""
        state = self.state
        old, staged = self._now(), state["staged"]
        if state["system"] == "kairos":
            slot = state.pop("once", 0)
            state["booted"] = 1 if state.get("boot_fails") else slot
        else:
            if staged is not None and not staged.get("held"):
                staged["masked"] = list(old["masked"])  # /etc is merged forward
                pinned = [one for one in state["entries"] if one["pinned"] and one is not old]
                state["entries"] = [staged, old, *pinned]
            state["booted"] = state["entries"].index(old) if state.get("boot_fails") else 0
        state["staged"] = None
        state["boot_id"] = boot_id(int(state["boot_id"].replace("-", ""), 16) + 1)
        state["boots"] += 1
        for unit, timer in state["timers"].items():
            timer["active"] = timer["enabled"] and unit not in self._now()["masked"]

    def _pgrep(self, _: list[str]) -> Answer:
        return (0, "4711\n", "") if self.state.get("at_work") else (1, "", "")

    def _zpool(self, words: list[str]) -> Answer:
        if "zpool" not in self.state:
            return 127, "", "zpool: command not found"
        rows = [
            f"{pool}\tfeature@{name}\t{value}"
            for pool, features in self.state["zpool"].items()
            for name, value in features.items()
        ]
        return 0, "\n".join(rows), ""

    # -- bootc

    def _bootc(self, words: list[str]) -> Answer:
        time.sleep(self.state["slow"])
        if words == ["status", "--json"]:
            return 0, json.dumps(self.host_document()), ""
        if words[0] == "rollback":
            return self._toggle()
        if words[:2] == ["upgrade", "--from-downloaded"]:
            self.state["staged"]["held"] = False
            return 0, "", ""
        if words[0] == "upgrade":
            return self._stage(self._spec())
        if words[0] == "switch":
            return self._switch(words[-1])
        return 2, "", f"error: unrecognized subcommand '{words[0]}'"

    def _spec(self) -> str:
        found: str = (self.state["staged"] or self._now())["reference"]
        return found

    def _switch(self, reference: str) -> Answer:
        if self.state.get("switch_fails"):
            return 1, "", "error: Switching: A signature was required, but no signature exists"
        if reference == self._spec() or self.state.get("switch_ignored"):
            return 0, "Image specification is unchanged.\n", ""
        return self._stage(reference)

    def _stage(self, reference: str) -> Answer:
        _, at, named = reference.partition("@")
        wanted = named if at else self.state["tags"].get(reference)
        if wanted is None:
            return 1, "", f"error: manifest unknown: {reference}"
        self.state["staged"] = {**entry(0, reference), "digest": wanted}
        return 0, f"Queued for next boot: {reference}\n", ""

    def _toggle(self) -> Answer:
        entries = self.state["entries"]
        if len(entries) < 2:
            return 1, "", "error: Rollback: No rollback available"
        now = self._now()
        entries[0], entries[1] = entries[1], entries[0]
        self.state["staged"] = None
        self.state["booted"] = entries.index(now)
        return 0, "Next boot: rollback deployment\n", ""

    def _fallback_at(self) -> int | None:
        other = 1 if self.state["booted"] == 0 else 0
        return other if other < len(self.state["entries"]) else None

    def host_document(self) -> State:
        """The document of `bootc status --json`, without the keys this host does not know."""
        entries, booted, at = self.state["entries"], self.state["booted"], self._fallback_at()
        others = [one for number, one in enumerate(entries) if number not in (booted, at)]
        spec = {"image": None if not entries else _image(self._spec()), "bootOrder": "default"}
        spec["bootOrder"] = "rollback" if booted > 0 else "default"
        status = {
            "staged": _entry(self.state["staged"]),
            "booted": _entry(self._now()),
            "rollback": None if at is None else _entry(entries[at]),
            "rollbackQueued": booted > 0,
            "otherDeployments": [_entry(one) for one in others],
            "type": self.state.get("type", "bootcHost"),
        }
        document = {
            "apiVersion": "org.containers.bootc/v1",
            "kind": "BootcHost",
            "metadata": {"name": "host"},
            "spec": spec,
            "status": status,
        }
        for path in self.state["absent"]:
            _drop(document, path.split("."))
        return document

    # -- rpm-ostree

    def _rpm_ostree(self, words: list[str]) -> Answer:
        time.sleep(self.state["slow"])
        if words == ["status", "--json"]:
            return 0, json.dumps(self.ostree_document()), ""
        if words == ["rollback"]:
            return self._toggle()
        if words[0] == "rebase":
            return self._switch(words[1].removeprefix("ostree-image-signed:docker://"))
        return 1, "", f"error: Unknown command '{words[0]}'"

    def ostree_document(self) -> State:
        """The document of `rpm-ostree status --json`."""
        staged = self.state["staged"]
        rows = [(staged, True, False)] if staged else []
        rows += [(one, False, at == self.state["booted"]) for at, one in enumerate(self.state["entries"])]
        return {
            "deployments": [_deployment(*row) for row in rows],
            "transaction": self.state.get("transaction"),
            "cached-update": None,
        }

    # -- Kairos: entries are the slots active, passive and recovery

    def _kairos(self, words: list[str]) -> Answer:
        time.sleep(self.state["slow"])
        if words == ["state", "get", "boot"]:
            return 0, ("active_boot", "passive_boot", "recovery_boot")[self.state["booted"]], ""
        if words[:2] == ["bootentry", "--select"]:
            self.state["once"] = {"cos": 0, "fallback": 1, "recovery": 2}[words[2]]
            return 0, "", ""
        if words[:2] == ["upgrade", "--source"]:
            if self.state.get("switch_fails"):
                return 1, "", "failed to pull image"
            reference = words[2].removeprefix("oci:")
            if self.state["booted"] == 0:
                self.state["entries"][1] = self.state["entries"][0]
            self.state["entries"][0] = {**entry(0, reference), "digest": reference.partition("@")[2]}
            self.state["written"] = self._clock() + 60
            return 0, "", ""
        return 1, "", "No help topic"

    def _clock(self) -> int:
        started: int = 1_790_000_000 + self.state["boots"] * 1000
        return started

    def stat(self) -> str:
        """What the kernel tells of its start."""
        return f"cpu  1 2 3\nbtime {self._clock()}\nprocesses 9\n"

    def state_yaml(self) -> str:
        """The record on the state partition."""
        places = (("state", "active"), ("state", "passive"), ("recovery", "recovery"))
        found: dict[str, State] = {}
        for one, (part, slot) in zip(self.state["entries"], places, strict=True):
            source = f"oci://{one['reference']}"
            record = {"source": source, "source-metadata": {"digest": one["digest"]}, "fs": "ext4"}
            found.setdefault(part, {"label": f"COS_{part.upper()}"})[slot] = record
        import datetime as dt  # noqa: PLC0415

        written = dt.datetime.fromtimestamp(self.state.get("written", 1_780_000_000), dt.UTC)
        return json.dumps({"date": written.isoformat(), **found})  # JSON is YAML


def _image(reference: str) -> State:
    return {"image": reference, "transport": "registry", "signature": "containerPolicy"}


def _entry(one: State | None) -> State | None:
    if one is None:
        return None
    status = {
        "image": _image(one["reference"]),
        "imageDigest": one["digest"],
        "architecture": "amd64",
        "version": "13.20261121",
        "timestamp": None,
    }
    return {
        "image": None if one.get("unknown") else status,
        "cachedUpdate": None,
        "incompatible": bool(one.get("foreign")),
        "pinned": one["pinned"],
        "downloadOnly": bool(one.get("held")),
        "store": "ostreeContainer",
        "ostree": {"checksum": one["digest"][7:], "deploySerial": 0, "stateroot": "default"},
    }


def _deployment(one: State, staged: bool, booted: bool) -> State:  # noqa: FBT001 - a row of a table
    found = {
        "checksum": one["digest"][7:],
        "osname": "default",
        "serial": 0,
        "booted": booted,
        "staged": staged,
        "pinned": one["pinned"],
        "requested-packages": ["vim"] if one.get("foreign") else [],
    }
    if one.get("unknown"):
        return found | {"origin": "fedora:fedora/42/x86_64/silverblue"}
    return found | {
        "container-image-reference": f"ostree-image-signed:docker://{one['reference']}",
        "container-image-reference-digest": one["digest"],
    }


def _drop(document: State, path: list[str]) -> None:
    for key in path[:-1]:
        document = document[key]
    document.pop(path[-1], None)


def fresh(state: State) -> State:
    import copy  # noqa: PLC0415

    return copy.deepcopy(state)
