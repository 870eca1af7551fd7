"""Who may do what, in a difference: rights of files, accounts, passwords, and whose images a host takes."""

from __future__ import annotations

import pytest
from diffkit import DENIED, GROUP, PASSWD, POLICY, SIGNED, group, items, loud, one
from difftrees import MemorySnapshot, compared
from hypothesis import given
from hypothesis import strategies as st
from trees import Content, Dir, File, Node

from pipeline.domain.diff.item import Risk
from pipeline.domain.diff.privileges import capabilities
from pipeline.domain.tree import FileType


@pytest.mark.parametrize(
    ("content", "grants"),
    [
        (File(mode=0o4755), "setuid"),
        (File(mode=0o2755), "setgid"),
        (File(mode=0o666), "writable by all"),
        (Dir(mode=0o777), "writable by all"),
        (Node(FileType.CHARACTER), "character device 0:0"),
    ],
)
def test_what_gives_rights_is_told(content: Content, grants: str) -> None:
    item = one(compared({"/usr/x": "x"}, {"/usr/x": "x", "/usr/bin/tool": content}), "privileges")
    assert (item.how, item.name, item.why) == ("added", "/usr/bin/tool", f"gains {grants}")
    assert item.risk is Risk.HIGH


def test_a_sticky_directory_and_a_setgid_directory_give_none() -> None:
    new = {"/tmp": Dir(mode=0o1777), "/var/mail": Dir(mode=0o2775)}
    assert items(compared({"/etc/x": ""}, {"/etc/x": "", **new}), "privileges") == []


def test_a_setuid_file_with_other_content_is_a_files_change_alone() -> None:
    old, new = ({"/usr/bin/su": File(data, mode=0o4755)} for data in (b"1", b"2"))
    assert loud(compared(old, new)) == {"files"}


def test_capabilities_are_named() -> None:
    raw = "0100000200200000" + "00" * 12
    assert capabilities(raw) == ("cap_net_raw", "effective")
    old = MemorySnapshot({"/usr/bin/ping": "x"})
    new = MemorySnapshot({"/usr/bin/ping": "x"}, xattrs={"/usr/bin/ping": {"security.capability": raw}})
    assert "cap_net_raw" in one(compared(old, new), "privileges").after


@given(st.text(alphabet="0123456789abcdefxyz", max_size=60))
def test_any_capability_attribute_gives_words(value: str) -> None:
    assert all(isinstance(word, str) for word in capabilities(value))


def test_users_groups_and_members() -> None:
    old = {"/etc/passwd": PASSWD, "/etc/group": GROUP}
    new = {
        "/etc/passwd": PASSWD.replace("/home/ada", "/srv/ada") + "eve:x:0:0::/:/bin/sh\n",
        "/etc/group": GROUP.replace("27:ada", "27:ada,eve"),
    }
    found = group(compared(old, new), "accounts")
    assert {(item.how, item.name, item.why) for item in found.items} == {
        ("changed", "user ada", ""),
        ("added", "user eve", "root under another name"),
        ("added", "member eve of sudo", "sudo is a group of administrators"),
    }


def test_sysusers_make_users_too() -> None:
    old = {"/usr/lib/sysusers.d/a.conf": "g web 900\n"}
    more = 'u! caddy 901:web "The \\"web\\" server" /srv -\nm caddy wheel\n'
    new = {"/usr/lib/sysusers.d/a.conf": f"g web 900\n{more}"}
    assert set(items(compared(old, new), "accounts")) == {
        ("added", "user caddy (sysusers)"),
        ("added", "member caddy of wheel (sysusers)"),
    }


def test_a_user_that_moves_to_another_file_is_no_change() -> None:
    line = "u caddy 901\n"
    old, new = {"/usr/lib/sysusers.d/a.conf": line}, {"/usr/lib/sysusers.d/b.conf": line}
    assert items(compared(old, new), "accounts") == []


@pytest.mark.parametrize(
    ("before", "after", "told", "why"),
    [
        ("!", "", "password: none", "no password is asked for"),
        ("!", "$y$j9T$aaaaaaaa$bbbbbbbbbbbbbbbb", "password: hash", ""),
        ("$6$old$aaaaaaaaaaaaaa", "$6$new$bbbbbbbbbbbbbb", "password: hash", ""),
        ("$6$old$aaaaaaaaaaaaaa", "!$6$old$aaaaaaaaaaaaaa", "password: locked", ""),
    ],
)
def test_passwords_are_told_by_their_state_and_never_shown(
    before: str, after: str, told: str, why: str
) -> None:
    def shadow(password: str) -> dict[str, Content]:
        return {"/etc/shadow": File(f"ada:{password}:20000:0:99999:7:::\n".encode(), mode=0o640)}

    found = compared(shadow(before), shadow(after))
    item = one(found, "accounts")
    assert (told in item.after, item.why) == (True, why)
    assert "aaaa" not in repr(found) and "bbbb" not in repr(found)  # noqa: PT018


@pytest.mark.parametrize(
    ("new", "weaker"),
    [
        (DENIED.replace("reject", "insecureAcceptAnything") % SIGNED, ("default",)),
        (DENIED % '[{"type":"insecureAcceptAnything"}]', ("docker:reg.example",)),
        ('{"default":[{"type":"reject"}]}', ()),
        (
            '{"default":[{"type":"reject"}],"transports":{"docker":{"":[{"type":"insecureAcceptAnything"}]}}}',
            ("docker:", "docker:reg.example"),
        ),
        (DENIED % SIGNED.replace("os.pub", "other.pub"), ()),
    ],
)
def test_a_policy_that_lets_through_more_is_weaker(new: str, weaker: tuple[str, ...]) -> None:
    found = compared({POLICY: DENIED % SIGNED}, {POLICY: new})
    assert found.policy.scopes
    assert found.policy.weaker == weaker


def test_a_key_swapped_under_its_path_changes_the_policy() -> None:
    policy = {POLICY: DENIED % SIGNED}
    old, new = ({**policy, "/etc/pki/containers/os.pub": key} for key in ("one", "two"))
    assert items(compared(old, new), "policy") == [("changed", "docker:reg.example")]


def test_a_policy_nobody_can_read_is_told() -> None:
    found = group(compared({POLICY: DENIED % SIGNED}, {POLICY: "{"}), "policy")
    assert found.risk is Risk.CRITICAL
    assert any(item.why == "no program can read it" for item in found.items)
