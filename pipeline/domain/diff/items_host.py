"""What a host would do differently, in words: kernel, modules, rights, accounts, units, policy, arguments.

Rules: what could lock out, break the boot or give rights away is high; critical where it surely does, or
where nobody can tell.
"""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.domain.diff.change import Change
from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.item import Item, Risk, became, item_of
from pipeline.domain.diff.kargs import Karg
from pipeline.domain.diff.kernel import Module
from pipeline.domain.diff.policy import Scope
from pipeline.domain.diff.privileges import Privilege
from pipeline.domain.diff.units import Start
from pipeline.domain.diff.users import Account


def kernel(difference: Difference) -> Iterator[Item]:
    """Yield what differs of the kernels."""
    kernel = difference.kernel
    if kernel.old != kernel.new:
        yield Item(
            name="release",
            how=became(kernel.old, kernel.new),
            before=", ".join(kernel.old),
            after=", ".join(kernel.new),
            risk=Risk.HIGH if len(kernel.new) == 1 else Risk.CRITICAL,
            why="" if len(kernel.new) == 1 else "an image has exactly one kernel",
        )
    for release in kernel.rebuilt:
        yield Item(name=release, how="changed", risk=Risk.HIGH, after="another build of the same release")
    for release in kernel.initramfs:
        yield Item(name=f"initramfs of {release}", how="changed")  # differs in any two builds
    for name in kernel.drivers_removed:
        yield Item(name=f"driver {name}", how="removed", risk=Risk.MEDIUM)
    for name in kernel.drivers_added:
        yield Item(name=f"driver {name}", how="added")


def modules(difference: Difference) -> Iterator[Item]:
    """Yield the out-of-tree modules that differ."""
    for change in difference.modules:
        why = _module_trouble(change, difference.kernel.new)
        yield item_of(change, _module, Risk.CRITICAL if why else Risk.HIGH, why)


def _module(module: Module) -> str:
    if module.fault:
        return "unreadable"
    signer = module.signer or "nobody"
    built = module.vermagic.partition(" ")[0]
    source = module.srcversion or "unknown"
    return f"{module.version or 'no version'}, for {built}, source {source}, signed by {signer}"


def _module_trouble(change: Change[Module], kernels: tuple[str, ...]) -> str:
    old, new = change.old, change.new
    if new is None:
        return ""
    if new.fault:
        return new.fault
    if new.vermagic.partition(" ")[0] not in kernels:
        return "built for a kernel this image does not have"
    return "signed by somebody else" if old is not None and old.signer != new.signer else ""


def privileges(difference: Difference) -> Iterator[Item]:
    """Yield the paths that grant other rights."""
    for change in difference.privileges:
        old, new = change.old, change.new
        gained = sorted(set(new.grants if new else ()) - set(old.grants if old else ()))
        risk = Risk.HIGH if gained or (old is not None and new is not None) else Risk.MEDIUM
        why = f"gains {', '.join(gained)}" if gained and not difference.first else ""
        yield item_of(change, _privilege, risk, why)


def _privilege(privilege: Privilege) -> str:
    return f"{', '.join(privilege.grants)}; mode {privilege.mode}, owner {privilege.owner}"


def accounts(difference: Difference) -> Iterator[Item]:
    """Yield the users, groups, members and passwords that differ."""
    for change in difference.accounts:
        account = change.new
        why = _power(account) if account is not None else ""
        newcomer = account is not None and account.what == "user"
        yield item_of(change, _account, Risk.CRITICAL if why else Risk.HIGH if newcomer else Risk.MEDIUM, why)


def _account(account: Account) -> str:
    fields = (
        ("", account.description),
        ("id ", account.number),
        ("group " if account.what == "user" else "of ", account.group),
        ("home ", account.home),
        ("shell ", account.shell),
        ("password: ", account.password),
    )
    return ", ".join(f"{word}{value}" for word, value in fields if value)


def _power(account: Account) -> str:
    if not account.powerful:
        return ""
    match account.what:
        case "member":
            return f"{account.group} is a group of administrators"
        case "password":
            return "no password is asked for"
        case "user" if account.name != "root":
            return "root under another name"
        case _:
            return ""


def units(difference: Difference) -> Iterator[Item]:
    """Yield what systemd starts differently."""
    for change in difference.units:
        start = change.new or change.old
        preset = start is not None and start.relation == "preset"
        yield item_of(change, _start, Risk.LOW if preset else Risk.HIGH)


def _start(start: Start) -> str:
    return f"{start.by} in {start.path}" if start.relation == "alias" else start.path


def policy(difference: Difference) -> Iterator[Item]:
    """Yield what the signature policy asks differently."""
    policy = difference.policy
    for fault in policy.faults:
        yield Item(name=fault, how="changed", risk=Risk.CRITICAL, why="no program can read it")
    for change in policy.scopes:
        why = "lets through more than before" if change.name in policy.weaker else ""
        if change.name in ("default", "docker:") and change.new is not None and not change.new.strictness:
            why = "accepts any image"
        yield item_of(change, _scope, Risk.CRITICAL if why else Risk.HIGH, why)


def _scope(scope: Scope) -> str:
    return "; ".join(scope.requires)


def kargs(difference: Difference) -> Iterator[Item]:
    """Yield the kernel arguments that differ."""
    for change in difference.kargs:
        why = change.new.fault if change.new is not None else ""
        yield item_of(change, _karg, Risk.CRITICAL if why else Risk.HIGH, why)


def _karg(karg: Karg) -> str:
    return f"{karg.path} ({', '.join(karg.architectures)})" if karg.architectures else karg.path
