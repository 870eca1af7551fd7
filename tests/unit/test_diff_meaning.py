from __future__ import annotations

import elfkit
import pytest
from difftrees import STATUS, MemorySnapshot, compared, dpkg
from hypothesis import given
from hypothesis import strategies as st
from trees import Content, Dir, File, Link, Node

from pipeline.domain.diff.difference import Difference
from pipeline.domain.diff.groups import KINDS, Group, groups
from pipeline.domain.diff.item import Item, Risk
from pipeline.domain.diff.packages import Direction, direction, licence_changed, machine_readable_licences
from pipeline.domain.diff.privileges import capabilities
from pipeline.domain.gate import CommandResult
from pipeline.domain.manifest import build_manifest, to_json
from pipeline.domain.tree import FileType

KERNEL = "6.12.94-test"
KO = f"/usr/lib/modules/{KERNEL}/updates/dkms/zfs.ko"
SITE = "/etc/site.conf"


def group(difference: Difference, kind: str) -> Group:
    return {one.kind: one for one in groups(difference)}[kind]


def items(difference: Difference, kind: str) -> list[tuple[str, str]]:
    return [(item.how, item.name) for item in group(difference, kind).items]


def one(difference: Difference, kind: str) -> Item:
    (item,) = group(difference, kind).items
    return item


def loud(difference: Difference) -> set[str]:
    """Return the kinds in which something changed."""
    return {one.kind for one in groups(difference) if one.items}


def test_equal_images_have_no_difference() -> None:
    tree = base()
    found = compared(tree, dict(tree))
    assert loud(found) == set()
    assert (found.files, found.areas, found.unread, found.size.grown) == ((), (), (), 0)


def test_every_kind_is_there_even_if_silent() -> None:
    assert {one.kind for one in groups(compared(base(), base()))} == set(KINDS)


# --- packages ---------------------------------------------------------------------------------------------


def test_packages_come_go_and_move_in_their_managers_order() -> None:
    old = dpkg(("a", "1:1.0-1"), ("b", "2.0~rc1-1"), ("c", "3.0-1"), ("d", "1.0-1"), ("same", "1"))
    new = dpkg(("a", "2.0-1"), ("b", "2.0-1"), ("d", "1.0-1"), ("e", "5"), ("same", "1"))
    found = compared({STATUS: old}, {STATUS: new})
    assert {change.name: direction(change) for change in found.packages} == {
        "a:amd64": Direction.DOWN,
        "b:amd64": Direction.UP,
        "c:amd64": Direction.REMOVED,
        "e:amd64": Direction.ADDED,
    }
    assert group(found, "packages").risk is Risk.HIGH


def test_a_package_whose_files_are_gone_counts_as_removed() -> None:
    old, new = dpkg(("a", "1")), dpkg(("a", "1"), state="deinstall ok config-files") + "\n" + dpkg(("b", "1"))
    found = compared({STATUS: old}, {STATUS: new})
    assert items(found, "packages") == [("removed", "a:amd64"), ("added", "b:amd64")]


def test_licences_of_changed_packages_are_compared() -> None:
    head = "Format: https://example.org/copyright-format/1.0/\n\nFiles: *\n"
    path = "/usr/share/doc/redis/copyright"
    old = {STATUS: dpkg(("redis", "7.2-1")), path: f"{head}License: BSD-3-Clause\n text\n"}
    new = {STATUS: dpkg(("redis", "8.0-1")), path: f"{head}License: AGPL-3\n\nFiles: x\nLicense: MIT\n"}
    (change,) = compared(old, new).packages
    assert licence_changed(change)
    assert change.new is not None
    assert change.new.licence == "AGPL-3, MIT"
    assert "another licence" in one(compared(old, new), "packages").why


def test_a_copyright_file_in_free_form_tells_no_licence() -> None:
    assert machine_readable_licences("License: this is prose\n") == ""


@pytest.mark.parametrize(
    ("answer", "known"),
    [
        (CommandResult(code=0, stdout="zlib\t2:1.2-3\tx86_64\t99\tZlib\n", stderr=""), True),
        (CommandResult(code=1, stdout="", stderr="broken"), False),
        (CommandResult(code=0, stdout="only one field\n", stderr=""), False),
        (None, False),
    ],
)
def test_an_rpm_database_that_cannot_be_read_is_told(answer: CommandResult | None, known: bool) -> None:  # noqa: FBT001
    def new_inside(argv: object, *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        assert answer is not None
        return answer

    def old_inside(argv: object, *, stdin: str = "", timeout: float = 120.0) -> CommandResult:
        return CommandResult(code=0, stdout="zlib\t2:1.2-1\tx86_64\t90\tZlib\n", stderr="")

    database = "/usr/lib/sysimage/rpm/rpmdb.sqlite"
    inside = (old_inside, None if answer is None else new_inside)
    found = compared({database: "1"}, {database: "2"}, inside)
    assert bool(found.unread) is not known
    assert [direction(change) for change in found.packages] == ([Direction.UP] if known else [])
    assert (group(found, "unread").risk is Risk.CRITICAL) is not known


def test_several_kernels_of_one_package_are_told_apart() -> None:
    def rpm(*versions: str) -> CommandResult:
        rows = "".join(f"kernel-core\t{version}\tx86_64\t1\tGPL\n" for version in versions)
        return CommandResult(code=0, stdout=rows, stderr="")

    database = "/usr/share/rpm/rpmdb.sqlite"
    found = compared(
        {database: "1"},
        {database: "2"},
        (lambda *_, **__: rpm("6.12-1", "6.12-2"), lambda *_, **__: rpm("6.12-2", "6.12-3", "6.12-4")),
    )
    assert [(direction(change).value, (change.new or change.old).version) for change in found.packages] == [  # type: ignore[union-attr]
        ("removed", "6.12-1"),
        ("added", "6.12-3"),
        ("added", "6.12-4"),
    ]


# --- kernel and modules -----------------------------------------------------------------------------------


def kernel(
    release: str, *, version: str = "2.3.9-1", signer: str = "", listed: bool = True
) -> dict[str, Content]:
    folder = f"/usr/lib/modules/{release}"
    ko = elfkit.module(
        "zfs", kernel=release, version=version, signature=elfkit.issuer(signer) if signer else None
    )
    tree: dict[str, Content] = {
        f"{folder}/vmlinuz": release,
        f"{folder}/kernel/fs/ext4/ext4.ko": elfkit.module("ext4", kernel=release),
        f"{folder}/updates/dkms/zfs.ko": ko,
    }
    if listed:
        manifest = build_manifest("zfs", release, MemorySnapshot(tree), f"{folder}/updates", ["zfs"])
        tree[manifest.path] = to_json(manifest)
    return tree


def test_a_new_kernel_does_not_make_every_driver_new() -> None:
    found = compared(kernel(KERNEL), kernel("6.12.117-test"))
    assert (found.kernel.old, found.kernel.new) == ((KERNEL,), ("6.12.117-test",))
    assert (found.kernel.drivers_added, found.kernel.drivers_removed) == ((), ())
    assert [(change.kind.value, change.name) for change in found.modules] == [("changed", "zfs")]


def test_a_driver_the_kernel_dropped_is_told() -> None:
    new = kernel("6.12.117-test")
    new["/usr/lib/modules/6.12.117-test/kernel/fs/xfs/xfs.ko"] = new.pop(
        "/usr/lib/modules/6.12.117-test/kernel/fs/ext4/ext4.ko"
    )
    found = compared(kernel(KERNEL), new).kernel
    assert (found.drivers_added, found.drivers_removed) == (("xfs",), ("ext4",))


@pytest.mark.parametrize("listed", [True, False])
def test_a_module_is_told_by_its_own_words(listed: bool) -> None:  # noqa: FBT001
    old, new = kernel(KERNEL, listed=listed), kernel(KERNEL, version="2.4.0-1", signer="Ada", listed=listed)
    (change,) = compared(old, new).modules
    assert change.old is not None
    assert change.new is not None
    assert (change.old.version, change.new.version) == ("2.3.9-1", "2.4.0-1")
    assert (change.old.signer, change.new.signer) == ("", "Ada")
    assert change.new.srcversion == "ABCDEF0123456789"
    assert change.new.module_set == ("zfs" if listed else "")


def test_a_manifest_that_lies_is_not_believed() -> None:
    old, new = kernel(KERNEL), kernel(KERNEL, version="2.4.0-1")
    new["/usr/lib/pipeline/modules/zfs.json"] = old["/usr/lib/pipeline/modules/zfs.json"]
    (change,) = compared(old, new).modules
    assert change.new is not None
    assert (change.new.version, change.new.module_set) == ("2.4.0-1", "")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (elfkit.module("zfs", kernel="6.99-other"), "built for a kernel this image does not have"),
        (b"no ELF", "zfs.ko"),
    ],
)
def test_a_module_that_cannot_load_stands_out(content: bytes, why: str) -> None:
    item = one(
        compared(kernel(KERNEL, listed=False), kernel(KERNEL, listed=False) | {KO: content}), "modules"
    )
    assert item.risk is Risk.CRITICAL
    assert why in item.why


def test_another_build_of_one_release_is_told() -> None:
    new = kernel(KERNEL) | {f"/usr/lib/modules/{KERNEL}/vmlinuz": "another"}
    found = compared(kernel(KERNEL), new)
    assert found.kernel.rebuilt == (KERNEL,)
    assert (one(found, "kernel").risk, one(found, "kernel").name) == (Risk.HIGH, KERNEL)


def test_another_initramfs_is_told_though_every_build_has_one() -> None:
    path = f"/usr/lib/modules/{KERNEL}/initramfs.img"
    found = compared(kernel(KERNEL) | {path: "1"}, kernel(KERNEL) | {path: "2"})
    assert one(found, "kernel").risk is Risk.LOW
    assert [noise.why for noise in found.noise] == ["rebuilt initramfs"]


@pytest.mark.parametrize("kernels", [(), (KERNEL, "6.13-other")])
def test_an_image_without_exactly_one_kernel_stands_out(kernels: tuple[str, ...]) -> None:
    new = {path: content for release in kernels for path, content in kernel(release, listed=False).items()}
    found = group(compared(kernel(KERNEL, listed=False), {SITE: "", **new}), "kernel")
    assert found.risk is Risk.CRITICAL
    assert "release: an image has exactly one kernel" in found.reasons


def test_a_release_of_the_system_is_read_as_shells_would() -> None:
    old = {"/usr/lib/os-release": "# no\nID=debian\nVERSION_ID=13\nPRETTY_NAME='Debian 13'\nbroken\n"}
    new = {"/usr/lib/os-release": 'ID=debian\nVERSION_ID=14\nPRETTY_NAME="half\n'}
    item = one(compared(old, new), "system")
    assert (item.before, item.after, item.risk) == ("Debian 13", '"half', Risk.HIGH)


# --- rights -----------------------------------------------------------------------------------------------


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


# --- accounts ---------------------------------------------------------------------------------------------

PASSWD = "root:x:0:0:root:/root:/bin/bash\nada:x:1000:1000:Ada:/home/ada:/bin/bash\n"
GROUP = "root:x:0:\nsudo:x:27:ada\n"


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


# --- units, kernel arguments, containers, policy ----------------------------------------------------------


def test_enabled_masked_and_preset_units() -> None:
    wants = "/etc/systemd/system/multi-user.target.wants"
    old: dict[str, Content] = {
        f"{wants}/old.service": Link("/usr/lib/systemd/system/old.service"),
        f"{wants}/kept.service": Link("/usr/lib/systemd/system/kept.service"),
        "/usr/lib/systemd/system/default.target": Link("graphical.target"),
    }
    new: dict[str, Content] = {
        # moved from /etc to /usr and spelled otherwise: still the same thing
        "/usr/lib/systemd/system/multi-user.target.wants/kept.service": Link("../kept.service"),
        "/usr/lib/systemd/user/default.target.wants/agent.service": Link("../agent.service"),
        "/usr/lib/systemd/system/dracut.service": Link("../../dracut/dracut.service"),
        "/etc/systemd/system/bad.service": Link("/dev/null"),
        "/usr/lib/systemd/system/default.target": Link("multi-user.target"),
        "/usr/lib/systemd/system-preset/50.preset": "# no\nenable new.service\n\ndisable *\n",
    }
    assert set(items(compared(old, new), "units")) == {
        ("removed", "multi-user.target wants old.service"),
        ("added", "user default.target wants agent.service"),
        ("added", "mask bad.service"),
        ("added", "link dracut.service"),
        ("changed", "alias default.target"),
        ("added", "preset enable new.service"),
        ("added", "preset disable *"),
    }


def test_kernel_arguments() -> None:
    path = "/usr/lib/bootc/kargs.d/10.toml"
    old = {path: 'kargs = ["quiet", "mitigations=auto"]'}
    new = {path: 'kargs = ["mitigations=auto", "console=ttyS0"]\nmatch-architectures = ["x86_64"]'}
    assert set(items(compared(old, new), "kargs")) == {
        ("removed", "quiet"),
        ("changed", "mitigations=auto"),
        ("added", "console=ttyS0"),
    }


def test_kernel_arguments_of_boot_loader_entries_and_the_command_line() -> None:
    new = {
        "/boot/loader/entries/1.conf": "title x\noptions root=/dev/vda ro\n",
        "/etc/kernel/cmdline": "quiet\n",
    }
    found = compared({SITE: ""}, {SITE: "", **new}).kargs
    assert [change.name for change in found] == ["quiet", "ro", "root=/dev/vda"]


def test_bound_images() -> None:
    path = "/usr/lib/bootc/bound-images.d/web.container"
    found = compared({path: Link("../web.container")}, {path: Link("../other.container")})
    assert items(found, "bound") == [("changed", "web.container")]


@pytest.mark.parametrize("text", ["kargs = [", 'kargs = "quiet"', "kargs = [1]", "x = " + "[" * 3000])
def test_kernel_arguments_that_bootc_would_refuse_are_told(text: str) -> None:
    item = one(compared({SITE: ""}, {SITE: "", "/usr/lib/bootc/kargs.d/1.toml": text}), "kargs")
    assert item.risk is Risk.CRITICAL
    assert "Error" in item.why


def test_container_images() -> None:
    pinned = f"reg.example/web@sha256:{1:064x}"
    path = "/etc/containers/systemd/users/1001/web.container"
    old = {path: f"[Container]\nImage={pinned}\n"}
    new = {
        path: "[Container]\nImage=reg.example/web:latest\n",
        "/usr/share/containers/systemd/envoy.container": f"Image = {pinned}\n",
    }
    found = group(compared(old, new), "containers")
    assert {(item.how, item.name, item.why) for item in found.items} == {
        ("changed", "web.container (user 1001)", "not pinned to a digest"),
        ("added", "envoy.container", ""),
    }


KUBE = "/etc/containers/systemd/users/1001/app.kube"
PODS = "/etc/containers/systemd/users/1001/pods.yaml"


def test_container_images_of_kubernetes_files() -> None:
    def pod(*images: str) -> str:
        return f"spec: {{containers: [{', '.join(f'{{name: web, image: {one}}}' for one in images)}]}}\n"

    unit = {KUBE: "[Kube]\nYaml=pods.yaml\n", "/usr/share/containers/systemd/same.kube": "Yaml=x.yaml\n"}
    new = f"reg.example/web@sha256:{1:064x}"
    found = compared({**unit, PODS: pod("a:1", "b:1")}, {**unit, PODS: pod(new, "b:1", "c:1")})
    assert {(item.how, item.name, item.why) for item in group(found, "containers").items} == {
        ("changed", "app.kube (user 1001), web", ""),
        ("added", "app.kube (user 1001), web 3", "not pinned to a digest"),
    }
    assert [one.new.path for one in found.containers if one.new is not None] == [PODS, PODS]


def test_a_kubernetes_file_that_is_gone_is_told() -> None:
    unit = {KUBE: "[Kube]\nYaml=pods.yaml\n"}
    found = compared({**unit, PODS: "containers: [{name: web, image: a}]"}, unit)
    assert {(item.how, item.name, item.why) for item in group(found, "containers").items} == {
        ("removed", "app.kube (user 1001), web", ""),
        ("added", "app.kube (user 1001), container", "no image can be read"),
    }


def test_a_drop_in_that_names_an_image_counts() -> None:
    path = "/etc/containers/systemd/web.container.d/10.conf"
    kube = f"{KUBE}.d/10.conf"
    found = compared({SITE: ""}, {SITE: "", path: "Image=a\n", kube: "Yaml=/srv/x.yaml\n"})
    assert [change.name for change in found.containers] == [
        "app.kube.d/10.conf (user 1001), container",
        "web.container.d/10.conf",
    ]


POLICY = "/etc/containers/policy.json"
SIGNED = '[{"type":"sigstoreSigned","keyPath":"/etc/pki/containers/os.pub"}]'
DENIED = '{"default":[{"type":"reject"}],"transports":{"docker":{"reg.example":%s}}}'


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


# --- texts ------------------------------------------------------------------------------------------------


def test_a_line_of_etc_is_shown_as_unified_text() -> None:
    old, new = "a\nb\nc\n", "a\nB\x1b[31m\u202e\nc\n"
    (text,) = compared({SITE: old}, {SITE: new}).texts
    assert text.lines == ("@@ -1,3 +1,3 @@", " a", "-b", "+B\\x1b[31m\\u202e", " c")
    assert (text.added, text.removed, text.cut) == (1, 1, 0)


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        (SITE, File(b"a\0b"), "no text"),
        (SITE, File(b"x" * (1 << 18)), "larger than 128 KiB"),
        (SITE, File(b"x\n" * 3000), "longer than 2000 lines"),
        (SITE, File(b"token", mode=0o600), "only root may read it"),
        ("/etc/shadow", File(b"x"), "may hold a secret"),
        ("/etc/ssh/ssh_host_rsa_key", File(b"x"), "may hold a secret"),
    ],
)
def test_why_a_text_is_not_shown(path: str, content: File, why: str) -> None:
    (text,) = compared({"/etc/x": ""}, {"/etc/x": "", path: content}).texts
    assert (text.path, text.lines, text.why) == (path, (), why)


@pytest.mark.parametrize(
    "line",
    [
        "SetCredential=passwd.hashed-password.ada:$y$j9T$abc$def",
        "Environment=API_TOKEN=hunter2hunter2",
        "password = hunter2hunter2",
    ],
)
def test_rules_that_only_root_may_read_are_shown_without_secrets(line: str) -> None:
    path = "/etc/systemd/system/x.service.d/a.conf"
    secret = File(f"[Service]\n{line}\n".encode(), mode=0o600)
    (text,) = compared({"/etc/x": ""}, {"/etc/x": "", path: secret}).texts
    assert text.lines[1:] == ("+[Service]", "+(a line that looks like a secret)")


def test_a_long_diff_is_cut_and_counted() -> None:
    old, new = "".join(f"{n}\n" for n in range(1000)), "".join(f"{n}x\n" for n in range(1000))
    (text,) = compared({SITE: old}, {SITE: new}).texts
    assert (len(text.lines), text.cut, text.added, text.removed) == (300, 1701, 1000, 1000)


def test_of_very_many_texts_the_last_are_only_named() -> None:
    def etc(line: str) -> dict[str, Content]:
        return {f"/etc/{number:03}": f"{line}\n" * 400 for number in range(80)}

    texts = compared(etc("a"), etc("b")).texts
    assert len(texts) == 80
    assert sum(len(text.lines) for text in texts) == 20_000
    assert texts[-1].why == "more than is shown of all files together"


def test_what_could_not_be_read_is_the_loudest() -> None:
    old = MemorySnapshot({SITE: "a", "/etc/passwd": PASSWD}, unreadable=frozenset({"/etc/passwd"}))
    found = compared(old, {SITE: "a", "/etc/passwd": PASSWD + "eve:x:5:5::/:/bin/sh\n"})
    assert found.unread == ("old: /etc/passwd",)
    assert groups(found)[0].kind == "unread"


def test_only_what_differs_is_read() -> None:
    old, new = MemorySnapshot(base()), MemorySnapshot(base() | {SITE: "changed"})
    compared(old, new)
    # os-release of the new image is always told
    assert (set(old.reads), set(new.reads)) == ({SITE}, {SITE, "/usr/lib/os-release"})


# --- files ------------------------------------------------------------------------------------------------


def test_a_program_that_changed_without_its_package_is_told() -> None:
    info = "/var/lib/dpkg/info"
    old: dict[str, Content] = {
        STATUS: dpkg(("tool", "1"), ("lib", "1")),
        f"{info}/tool.list": "/.\n/bin/tool\n/usr/share/doc/tool\n/usr/lib/python3/tool.py\n",
        f"{info}/lib:amd64.list": "/usr/lib/lib.so\n",
        "/usr/bin/tool": "1",
        "/usr/lib/lib.so": "1",
        "/usr/share/doc/tool": "1",
    }
    new = old | {
        STATUS: dpkg(("tool", "2"), ("lib", "1")),
        "/usr/bin/tool": "2",
        "/usr/lib/lib.so": "2",
        "/usr/share/doc/tool": "2",
        "/usr/lib/firmware/new.bin": "2",
        "/usr/lib/sysctl.d/x.conf": "shown as text",
        "/usr/lib/python3/tool.py": "",
        "/usr/lib/python3/__pycache__/tool.cpython-313.opt-1.pyc": "2",
    }
    found = compared(old, new)
    assert found.unexplained == ("/usr/lib/firmware/new.bin", "/usr/lib/lib.so")
    assert group(found, "files").risk is Risk.MEDIUM
    assert "/usr/lib/lib.so: no package that differs brings it" in group(found, "files").reasons
    both = compared(old, new | {STATUS: dpkg(("tool", "2"), ("lib", "2"))})
    assert both.unexplained == ("/usr/lib/firmware/new.bin",)


def test_without_a_package_database_nothing_is_claimed_of_owners() -> None:
    assert compared({"/usr/bin/tool": "1"}, {"/usr/bin/tool": "2"}).unexplained == ()


# --- first image ------------------------------------------------------------------------------------------


def test_a_first_image_is_summed_up() -> None:
    found = compared(None, base())
    assert found.first
    assert (found.files, found.texts, found.noise) == ((), (), ())
    assert {change.name for change in found.packages} == {"libc6:amd64", "zlib1g:amd64"}
    assert sum(area.added for area in found.areas) == len(list(MemorySnapshot(base()).all()))
    assert group(found, "privileges").risk is Risk.LOW
    assert {item.name for item in group(found, "accounts").items if item.risk is Risk.CRITICAL} == {
        "member ada of sudo"
    }


def test_a_first_image_still_tells_what_is_risky_in_any() -> None:
    found = compared(None, base() | {"/etc/shadow": File(b"ada::1:::::\n", mode=0o640)})
    assert group(found, "accounts").risk is Risk.CRITICAL


def base() -> dict[str, Content]:
    """Return a small image with something of everything."""
    return {
        **kernel(KERNEL),
        STATUS: dpkg(("libc6", "2.41-12"), ("zlib1g", "1:1.3-1")),
        "/usr/lib/os-release": 'ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n',
        "/etc/passwd": PASSWD,
        "/etc/group": GROUP,
        SITE: "one\ntwo\n",
        POLICY: DENIED % SIGNED,
        "/usr/bin/su": File(b"su", mode=0o4755),
        "/usr/lib/systemd/system/multi-user.target.wants/ssh.service": Link("../ssh.service"),
        "/usr/lib/bootc/kargs.d/1.toml": 'kargs = ["quiet"]\n',
    }
