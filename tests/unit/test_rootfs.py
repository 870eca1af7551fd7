"""A rendered host: which files, with which content, mode and owner; the same bytes every time."""

from __future__ import annotations

import hashlib
import json
import shlex
from pathlib import Path

import pytest
from hosttrees import DIGEST, HOST, KEY, ROLE, SSH, make_tree, write
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.definitions import load
from pipeline.adapters.tree_writer import FolderWriter
from pipeline.domain.catalogue import Instance
from pipeline.domain.placement import TreeEntry
from pipeline.domain.rootfs.entries import quoted
from pipeline.domain.rootfs.render import render
from pipeline.domain.tree import FileType
from pipeline.domain.trust import Trust
from pipeline.errors import DefinitionError, StateError, UsageError
from pipeline.verbs.render import render_host
from pipeline.verbs.trust import read_trust

IMAGES = Path(__file__).parents[2] / "images"
TRUST = Trust(registry="registry.example.org/os", keys={"release.pub": KEY}, allow=("quay.io/all-hosts",))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def web(images: Path) -> Instance:
    found = load(images).line().image("web-1")
    assert isinstance(found, Instance)
    return found


def rendered(images: Path, extra: str = "") -> dict[str, TreeEntry]:
    if extra:
        write(images / "debian/hosts/web-1.toml", HOST + extra)
    return {entry.path: entry for entry in render(web(images), TRUST)}


def text(entries: dict[str, TreeEntry], path: str) -> list[str]:
    return entries[path].content.decode().splitlines()


def test_users_are_made_by_sysusers_with_their_ids(images: Path) -> None:
    lines = text(rendered(images), "/usr/lib/sysusers.d/50-pipeline.conf")
    assert lines[1:] == [
        "g ops 1900",
        'u robin 1000 "Robin Example" /var/home/robin /bin/bash',
        "m robin ops",
        'u web 2001 "Application web" /var/home/web /usr/sbin/nologin',
    ]


def test_homes_linger_and_data_are_made_by_tmpfiles_never_shipped_in_var(images: Path) -> None:
    entries = rendered(images)
    assert not [path for path in entries if path.startswith("/var")]
    assert text(entries, "/usr/lib/tmpfiles.d/50-pipeline.conf")[1:] == [
        "d /var/home 0755 root root -",
        "d /var/home/robin 0700 1000 1000 -",
        "d /var/lib/systemd/linger 0755 root root -",
        "d /var/home/web 0700 2001 2001 -",
        "f /var/lib/systemd/linger/web 0644 root root -",
        "d /var/lib/web 0750 2001 2001 -",
    ]


def test_keys_sudo_and_subordinate_ids(images: Path) -> None:
    entries = rendered(images)
    assert text(entries, "/usr/lib/ssh/authorized_keys.d/robin")[1:] == [SSH]
    assert text(entries, "/etc/sudoers.d/50-pipeline")[1:] == ["%ops ALL=(ALL:ALL) NOPASSWD: ALL"]
    assert entries["/etc/sudoers.d/50-pipeline"].mode == 0o440
    assert text(entries, "/etc/subuid") == text(entries, "/etc/subgid") == ["web:589824:65536"]


def test_users_and_host_keys_are_made_on_every_boot_of_an_image_based_host(images: Path) -> None:
    entries = rendered(images)
    units = "/usr/lib/systemd/system"
    sysusers = text(entries, f"{units}/systemd-sysusers.service.d/50-pipeline.conf")
    assert sysusers[1:] == ["[Unit]", "ConditionNeedsUpdate="]
    assert "ConditionFirstBoot=" in text(entries, f"{units}/sshd-keygen.service.d/50-pipeline.conf")


def test_nobody_has_a_password_unless_its_hash_is_given(images: Path) -> None:
    drop_in = "/etc/systemd/system/systemd-sysusers.service.d/50-pipeline-passwords.conf"
    assert drop_in not in rendered(images)
    entries = rendered(images, "[users.robin]\npassword_hash = '$y$j9T$abc$def'\n")
    assert entries[drop_in].mode == 0o600
    assert text(entries, drop_in)[2] == "SetCredential=passwd.hashed-password.robin:$y$j9T$abc$def"
    write(images / "debian/hosts/web-1.toml", HOST + "[users.robin]\npassword_hash = 'hunter2'\n")
    with pytest.raises(DefinitionError, match="no password hash"):
        load(images)


def test_envoy_is_rootful_and_everything_else_has_its_own_user(images: Path) -> None:
    entries = rendered(images)
    quadlets = sorted(path for path in entries if path.endswith((".container", ".pod")))
    assert quadlets == [
        "/etc/containers/systemd/users/2001/web.container",
        "/usr/share/containers/systemd/envoy.container",
    ]
    body = text(entries, quadlets[0])
    for wanted in (
        "Description=100 %% web",
        f"Image=quay.io/example/web:1@{DIGEST}",
        'Exec=--title "a b" "50%%"',
        'Environment="MODE=very quiet"',
        "PublishPort=127.0.0.1:8080:80",
        "Secret=web-key,type=mount,target=key.pem",
        "DropCapability=all",
        "NoNewPrivileges=true",
        "ReadOnly=true",
        "WantedBy=default.target",
    ):
        assert wanted in body
    assert "WantedBy=multi-user.target" in text(entries, quadlets[1])
    assert "Network=host" in text(entries, quadlets[1])


def test_several_containers_share_a_pod(images: Path) -> None:
    more = f'[apps.web.containers.sidecar]\nimage = "quay.io/example/side@{DIGEST}"\n'
    entries = rendered(images, more)
    folder = "/etc/containers/systemd/users/2001"
    assert "PublishPort=127.0.0.1:8080:80" in text(entries, f"{folder}/web.pod")
    for part in ("web-server", "web-sidecar"):
        body = text(entries, f"{folder}/{part}.container")
        assert "Pod=web.pod" in body
        assert not [line for line in body if line.startswith("PublishPort")]
        assert "[Install]" not in body


def test_the_policy_denies_by_default_and_names_every_scope(images: Path) -> None:
    signed = '[trust]\nsigned = { "registry.gitlab.com/example/apps" = "keys/apps.pub" }\n'
    write(images / "debian/keys/apps.pub", KEY)
    entries = rendered(images, signed)
    policy = json.loads(entries["/etc/containers/policy.json"].content)
    assert policy["default"] == [{"type": "reject"}]
    assert list(policy["transports"]) == ["docker"]
    scopes = policy["transports"]["docker"]
    assert "" not in scopes
    assert set(scopes) == {
        "registry.example.org/os",
        "registry.gitlab.com/example/apps",
        "docker.io/envoyproxy/envoy",
        "quay.io/example",
        "quay.io/all-hosts",
    }
    own = scopes["registry.example.org/os"][0]
    assert (own["type"], own["keyPath"]) == ("sigstoreSigned", "/etc/pki/containers/release.pub")
    other = scopes["registry.gitlab.com/example/apps"][0]
    assert (other["type"], other["keyPath"]) == ("sigstoreSigned", "/etc/pki/containers/debian-apps.pub")
    assert entries["/etc/pki/containers/debian-apps.pub"].content.decode() == KEY
    attachments = entries["/etc/containers/registries.d/pipeline.yaml"].content.decode()
    assert attachments.count("use-sigstore-attachments: true") == 2


def test_short_names_are_nobodys_and_plain_http_is_said(images: Path) -> None:
    path = "/etc/containers/registries.conf.d/50-pipeline.conf"
    assert text(rendered(images), path)[2] == "unqualified-search-registries = []"
    insecure = {entry.path: entry for entry in render(web(images), TRUST, insecure=True)}
    assert "insecure = true" in text(insecure, path)


def test_the_machine(images: Path) -> None:
    extra = (
        '[sysctl]\n"vm.swappiness" = 10\n[units."foo.service"]\ncredentials = { token = "foo-token" }\n'
        '[units."bar.timer"]\nmask = true\n[units."own.service"]\nsource = "own.service"\n'
        'wanted_by = "timers.target"\n'
    )
    write(images / "debian/files/own.service", "[Service]\nExecStart=/bin/true\n")
    write(images / "debian/hosts/web-1.toml", 'hostid = "00db0001"\n' + HOST + extra)
    entries = rendered(images)
    assert text(entries, "/etc/hostname") == ["web-1"]
    assert entries["/etc/hostid"].content == b"\x01\x00\xdb\x00"
    assert entries["/etc/localtime"].target == "../usr/share/zoneinfo/Etc/UTC"
    kargs = text(entries, "/usr/lib/bootc/kargs.d/50-pipeline.toml")
    assert kargs[1] == 'kargs = ["quiet", "mitigations=auto"]'
    assert text(entries, "/usr/lib/sysctl.d/90-pipeline.conf")[1] == "vm.swappiness = 10"
    units = "/usr/lib/systemd/system"
    assert entries[f"{units}/multi-user.target.wants/foo.service"].target == "../foo.service"
    assert (
        text(entries, f"{units}/foo.service.d/50-pipeline.conf")[2]
        == "LoadCredentialEncrypted=token:foo-token"
    )
    assert entries["/etc/systemd/system/bar.timer"].target == "/dev/null"
    assert entries[f"{units}/own.service"].content.startswith(b"[Service]")
    assert f"{units}/timers.target.wants/own.service" in entries


def test_files_have_their_mode_and_the_numbers_of_their_owners(images: Path) -> None:
    entry = rendered(images)["/etc/web/web.conf"]
    assert (entry.mode, entry.uid, entry.gid) == (0o640, 0, 2001)
    assert entry.content == b"listen 8080 on web-1\n"


def test_a_file_cannot_take_the_place_of_a_rendered_one(images: Path) -> None:
    with pytest.raises(DefinitionError) as caught:
        rendered(images, '[files."/etc/hostname"]\ncontent = "x"\n')
    problem = caught.value.problems[0]
    assert problem.key == "files./etc/hostname"
    assert problem.line == HOST.count("\n") + 1


def test_the_persistence_document_says_what_survives(images: Path) -> None:
    entries = rendered(images)
    document = json.loads(entries["/usr/lib/pipeline/persistence.json"].content)
    assert {place["path"]: place["kind"] for place in document["places"]} == {
        "/ (all that is not named below)": "base",
        "/usr": "base",
        "/etc": "overlay",
        "/var": "state",
        "/boot, /sysroot": "state",
        "/run, /tmp": "volatile",
    }
    for place in document["places"]:
        assert all(place[key] for key in ("reboot", "update", "rollback", "reset"))
    assert document["links"] == {"/home": "var/home", "/usr/local": "../var/usrlocal"}
    assert {one["path"]: one["owner"] for one in document["state"]} == {
        "/var/home/robin": "robin",
        "/var/home/web": "web",
        "/var/lib/web": "web",
        "/var/lib/containers": "root",
    }
    people = entries["/usr/lib/pipeline/persistence.md"].content.decode()
    for place in document["places"]:
        assert f"| {place['path']} | {place['kind']} |" in people


def test_same_definitions_same_bytes(images: Path, tmp_path: Path) -> None:
    first = render(web(images), TRUST)
    other = make_tree(tmp_path / "elsewhere")
    shuffled = (
        "\n".join(reversed(ROLE.split("\n[")[0].splitlines())) + "\n[" + "\n[".join(ROLE.split("\n[")[1:])
    )
    write(other / "debian/roles/server.toml", shuffled)
    assert render(web(other), TRUST) == first
    assert [entry.path for entry in first] == sorted(entry.path for entry in first)
    assert len({entry.path for entry in first}) == len(first)


def test_golden_digest_of_a_host(images: Path) -> None:
    """Changes only when the rendering changes: then every host gets a new image: say so in CHANGELOG."""
    whole = hashlib.sha256()
    for entry in render(web(images), TRUST):
        head = (entry.path, entry.type.value, f"{entry.mode:o}", str(entry.uid), str(entry.gid), entry.target)
        whole.update("\0".join(head).encode() + b"\0" + entry.content + b"\0")
    assert whole.hexdigest() == GOLDEN


GOLDEN = "113495ff18960424f10095c6c2f1e2dc8e058adc22f286125eba3499b932b746"


@pytest.mark.parametrize("line", ["debian", "centos-stream10"])
def test_shipped_hosts_render_and_have_one_rootful_container(line: str) -> None:
    catalogue = load(IMAGES)
    for host in catalogue.line(line).instances:
        entries = render(host, TRUST)
        rootful = [one for one in entries if one.path.startswith("/usr/share/containers/systemd/")]
        assert len(rootful) <= 1
        assert host.warnings == ()
        for entry in entries:
            assert entry.path.startswith(("/etc/", "/usr/"))
            assert (entry.type is FileType.SYMLINK) == bool(entry.target)
        assert any(one.path == "/usr/lib/systemd/system/alloy.service" for one in entries)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="$\\"), min_size=1))
def test_an_argument_stays_one_argument(argument: str) -> None:
    # systemd reads quotes as a shell does, once the doubled specifiers are single again
    assert shlex.split(quoted(argument).replace("%%", "%")) == [argument]


# ---- the verb and its writer


def test_the_verb_writes_the_tree_and_explains_it(images: Path, tmp_path: Path) -> None:
    catalogue = load(images)
    target = tmp_path / "out" / "tree"
    result = render_host(
        catalogue, catalogue.line(), "web-1", trust=TRUST, target=target, write=FolderWriter(owners=False)
    )
    found = {
        f"/{path.relative_to(target)}" for path in target.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    assert found == {entry.path for entry in result.entries}
    for entry in result.entries:
        path = target / entry.path.lstrip("/")
        if entry.type is FileType.SYMLINK:
            assert str(path.readlink()) == entry.target
        else:
            assert path.read_bytes() == entry.content
            assert path.stat().st_mode & 0o7777 == entry.mode
    explained = {one.key: [str(origin) for origin in one.origins] for one in result.explained}
    assert explained["kargs.0"] == ["images/debian/roles/server.toml:2"]
    assert explained["kargs.1"] == ["images/debian/hosts/web-1.toml:4"]
    assert all(explained.values())
    assert json.loads(json.dumps(result.document()))["host"] == "web-1"


def test_a_folder_with_content_is_never_touched(images: Path, tmp_path: Path) -> None:
    write(tmp_path / "out/precious", "x")
    entries = render(web(images), TRUST)
    with pytest.raises(StateError, match="not empty"):
        FolderWriter(owners=False)(entries, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]
    with pytest.raises(StateError, match="cannot be written"):
        FolderWriter(owners=False)(entries, tmp_path / "out/precious/below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Containerfiles", "images", "out"]


def test_an_unknown_host_is_told_the_nearest(images: Path) -> None:
    catalogue = load(images)
    with pytest.raises(UsageError) as caught:
        render_host(catalogue, catalogue.line(), "web1", trust=TRUST)
    assert caught.value.hint == "did you mean web-1?"
    with pytest.raises(UsageError, match="tier base"):
        render_host(catalogue, catalogue.line(), "base", trust=TRUST)


def test_keys_that_are_missing_or_none_are_refused(images: Path) -> None:
    catalogue = load(images)
    with pytest.raises(DefinitionError, match="does not exist"):
        read_trust(catalogue.settings, images)
    write(images / "keys/release.pub", "-----BEGIN PRIVATE KEY-----")
    with pytest.raises(DefinitionError, match="no PEM public key"):
        read_trust(catalogue.settings, images)
    write(images / "keys/release.pub", KEY)
    assert read_trust(catalogue.settings, images).keys == {"release.pub": KEY}
