"""Hosts and roles on disk: every rule refuses with file, line and key, and is excused only with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hosttrees import DIGEST, HOST, ROLE, SSH, make_tree, write

from pipeline.adapters.definitions import load
from pipeline.domain.catalogue import Instance
from pipeline.errors import DefinitionError
from pipeline.problem import Problem

WEB = "images/debian/hosts/web-1.toml"
SERVER = "images/debian/roles/server.toml"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def problems(images: Path) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        load(images)
    return caught.value.problems


def only(images: Path) -> Problem:
    found = problems(images)
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


def host(images: Path, extra: str) -> None:
    write(images / "debian/hosts/web-1.toml", HOST + extra)


def line_of(text: str, part: str) -> int:
    return text[: text.index(part)].count("\n") + 1


def instance(images: Path) -> Instance:
    found = load(images).line().image("web-1")
    assert isinstance(found, Instance)
    return found


def app(name: str, extra: str, image: str = f"quay.io/example/x@{DIGEST}") -> str:
    return f'[apps.{name}]\n{extra}\n[apps.{name}.containers.c]\nimage = "{image}"\n'


def test_a_host_has_its_roles_and_its_own(images: Path) -> None:
    web = instance(images)
    assert web.definition.kargs == ("quiet", "mitigations=auto")
    assert web.definition.users["robin"].uid == 1000
    assert web.texts["files./etc/web/web.conf"] == b"listen 8080 on web-1\n"
    assert [str(one) for one in web.origins["users.robin.uid"]] == [f"{SERVER}:7"]
    assert web.warnings == ()


@pytest.mark.parametrize(
    ("extra", "part", "key", "message", "hint"),
    [
        (
            app("two", "rootful = true"),
            "[apps.two]",
            "apps.two",
            "beside apps.envoy",
            "unsafe.second_rootful",
        ),
        (app("b", "uid = 2002\nsubid_start = 589824"), "[apps.b]", "apps.b", "overlap", "subid_start"),
        (
            app("b", "uid = 2001\nsubid_start = 200000"),
            "uid = 2001\nsub",
            "apps.b.uid",
            "used by apps.web",
            "id",
        ),
        (app("b", "uid = 2002\nuser = 'robin'"), "[apps.b]", "apps.b", "used by users.robin", "name"),
        (app("b", "uid = 2002\nuser = 'root'"), "[apps.b]", "apps.b", "used by the system", "name"),
        (
            app("b", "uid = 2002", "quay.io/example/x:1"),
            "[apps.b.containers.c]",
            "apps.b.containers.c",
            "no digest",
            "skopeo",
        ),
        (
            app("b", "uid = 2002", f"ghcr.io/example/x@{DIGEST}"),
            'image = "ghcr',
            "apps.b.containers.c.image",
            "no scope",
            "trust.allow",
        ),
        (
            app("b", "uid = 2002", f"quay.io/example2/x@{DIGEST}"),
            'image = "quay.io/example2',
            "apps.b.containers.c.image",
            "no scope",
            "quay.io/example",
        ),
        (
            app("b", "uid = 2002", f"library/x@{DIGEST}"),
            'image = "library',
            "apps.b.containers.c.image",
            "names no registry",
            "docker.io/library/x",
        ),
        (
            app("b", 'uid = 2002\npublish = ["8080:80"]'),
            'publish = ["8080',
            "apps.b.publish.0",
            "already published by apps.web",
            "another port",
        ),
        (
            app("b", 'uid = 2002\npublish = ["443:80"]'),
            'publish = ["443',
            "apps.b.publish.0",
            "below 1024",
            "proxy",
        ),
        (
            app("b", 'uid = 2002\npublish = ["70000:80"]'),
            'publish = ["70000',
            "apps.b.publish.0",
            "no port",
            "65535",
        ),
        (
            '[files."/var/x"]\ncontent = ""\n',
            '[files."/var/x"]',
            "files./var/x",
            "outside /etc and /usr",
            "tmpfiles",
        ),
        (
            '[files."/usr/local/bin/x"]\ncontent = ""\n',
            '[files."/usr/local',
            "files./usr/local/bin/x",
            "/usr/local is a link to ../var/usrlocal",
            "path",
        ),
        (
            '[files."/etc/x"]\ncontent = ""\nowner = "robni"\n',
            'owner = "robni"',
            "files./etc/x.owner",
            "has no number",
            "did you mean robin?",
        ),
        (
            '[files."/etc/x"]\ncontent = "password = hunter2"\n',
            '[files."/etc/x"]',
            "files./etc/x",
            "looks like a value for password",
            "unsafe.literal_secret",
        ),
        (
            app("b", "uid = 2002") + 'environment = { DB_PASSWORD = "hunter2" }\n',
            "environment = { DB",
            "apps.b.containers.c.environment.DB_PASSWORD",
            "looks like",
            "Podman secret",
        ),
        (
            app("b", 'uid = 2002\ndirectories = { "/etc/x" = "0755" }'),
            'directories = { "/etc',
            "apps.b.directories./etc/x",
            "not below /var",
            "state",
        ),
        (
            '[unsafe.unpinned_image]\n"apps.web.containers.server" = "why"\n',
            '"apps.web.containers.server" = "why"',
            "unsafe.unpinned_image.apps.web.containers.server",
            "excuses nothing",
            "take the excuse away",
        ),
        ('[files."/etc/y"]\n', '[files."/etc/y"]', "files./etc/y", "exactly one of", "/etc"),
        (app("b", ""), "[apps.b]", "apps.b", "needs the key 'uid'", ""),
        (app("b", "rootful = true\nuid = 2002"), "[apps.b]", "apps.b", "runs as root", ""),
    ],
)
def test_what_a_host_must_not_say(
    images: Path, extra: str, part: str, key: str, message: str, hint: str
) -> None:
    host(images, extra)
    problem = only(images)
    assert (problem.file, problem.key) == (WEB, key)
    assert problem.line == line_of(HOST + extra, part)
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("extra", "excuse"),
    [
        (app("two", "rootful = true"), '[unsafe.second_rootful]\n"apps.two" = "legacy"\n'),
        (
            app("b", "uid = 2002\nsubid_start = 589824"),
            '[unsafe.overlapping_subids]\n"apps.b" = "legacy"\n',
        ),
        (
            app("b", "uid = 2002", "quay.io/example/x:1"),
            '[unsafe.unpinned_image]\n"apps.b.containers.c" = "legacy"\n',
        ),
        (
            '[files."/etc/x"]\ncontent = "password = hunter2"\n',
            '[unsafe.literal_secret]\n"files./etc/x" = "legacy"\n',
        ),
    ],
)
def test_a_rule_is_excused_by_name_with_a_reason_and_loudly(images: Path, extra: str, excuse: str) -> None:
    host(images, extra + excuse)
    warnings = instance(images).warnings
    assert len(warnings) == 1
    assert "unsafe." in warnings[0]
    assert "legacy" in warnings[0]
    host(images, extra + excuse.replace("legacy", " "))
    assert "says something" in only(images).message


def test_a_conflict_of_roles_is_an_error_and_the_host_solves_it(images: Path) -> None:
    write(images / "debian/roles/other.toml", 'timezone = "Europe/Berlin"\n')
    text = HOST.replace('roles = ["server"]', 'roles = ["server", "other"]')
    write(images / "debian/hosts/web-1.toml", text)
    problem = only(images)
    assert (problem.file, problem.line, problem.key) == ("images/debian/roles/other.toml", 1, "timezone")
    assert f"{SERVER}:1" in problem.message
    write(images / "debian/hosts/web-1.toml", 'timezone = "Asia/Tokyo"\n' + text)
    assert instance(images).definition.timezone == "Asia/Tokyo"


def test_an_unknown_role_is_told_the_nearest(images: Path) -> None:
    write(images / "debian/hosts/web-1.toml", HOST.replace('"server"', '"sever"'))
    problem = only(images)
    assert (problem.line, problem.key, problem.hint) == (3, "roles.0", "did you mean server?")


def test_a_broken_role_is_one_problem_not_one_a_host(images: Path) -> None:
    write(images / "debian/roles/server.toml", ROLE + "[usres.x]\n")
    problem = only(images)
    assert (problem.file, problem.key) == (SERVER, "usres")
    assert problem.hint == "did you mean users?"


def test_a_role_cannot_say_which_host_it_is(images: Path) -> None:
    write(images / "debian/roles/server.toml", 'hostname = "x"\n' + ROLE)
    assert only(images).key == "hostname"


def test_what_is_missing_is_seen_when_all_parts_are_together(images: Path) -> None:
    write(images / "debian/roles/server.toml", ROLE.replace("uid = 1000\n", ""))
    problem = only(images)
    assert (problem.file, problem.line, problem.key) == (SERVER, 6, "users.robin.uid")
    host(images, "[users.robin]\nuid = 1000\n")
    assert instance(images).definition.users["robin"].uid == 1000


def test_a_template_with_an_undefined_name_is_refused(images: Path) -> None:
    write(images / "debian/templates/web.conf", "a\nlisten {{ prot }}\n")
    problem = only(images)
    assert (problem.file, problem.line) == ("images/debian/templates/web.conf", 2)
    assert problem.hint == "did you mean port?"


def test_a_template_that_is_not_there_is_told_the_nearest(images: Path) -> None:
    write(images / "debian/hosts/web-1.toml", HOST.replace('"web.conf"', '"wep.conf"'))
    problem = only(images)
    assert problem.key == "files./etc/web/web.conf.template"
    assert problem.line == line_of(HOST, 'template = "web.conf"')
    assert problem.hint == "did you mean templates/web.conf?"


def test_a_file_cannot_be_taken_from_outside(images: Path) -> None:
    (images / "debian/templates/web.conf").unlink()
    write(images.parent / "secret", "x")
    (images / "debian/templates/web.conf").symlink_to(images.parent / "secret")
    assert "leads out of debian/" in only(images).message
    write(images / "debian/hosts/web-1.toml", HOST.replace('"web.conf"', '"../../../etc/passwd"'))
    assert "no path inside" in only(images).message


def test_a_secret_that_comes_in_by_a_value_is_seen(images: Path) -> None:
    write(images / "debian/templates/web.conf", "password = {{ word }}\n")
    write(images / "debian/hosts/web-1.toml", HOST.replace("port = 8080", 'port = 8080\nword = "hunter2"'))
    assert only(images).key == "files./etc/web/web.conf"


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("ssh-ed25519 AAAA robin", "does not hold"),
        (SSH.replace("ssh-ed25519 ", "ssh-rsa "), "does not hold what its first word says"),
        ("ssh-ed25519 !!!", "no SSH public key"),
        (f'command=\\"x\\" {SSH}', "no SSH public key"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "no SSH public key"),
    ],
)
def test_only_public_keys_log_in(images: Path, key: str, message: str) -> None:
    write(images / "debian/roles/server.toml", ROLE.replace(SSH, key))
    problem = only(images)
    assert problem.key == "users.robin.ssh_keys.0"
    assert message in problem.message


@pytest.mark.parametrize("value", ["a\\nb", "$HOME", "a\\\\b", "\\u0000"])
def test_nothing_that_expands_gets_into_a_unit(images: Path, value: str) -> None:
    write(images / "debian/hosts/web-1.toml", HOST.replace("very quiet", value))
    assert "no plain value" in only(images).message


def test_two_hosts_cannot_have_one_hostid(images: Path) -> None:
    host_two = 'from = "base"\nhostname = "web-2"\nhostid = "0000beef"\n'
    write(images / "debian/hosts/web-1.toml", 'hostid = "0000beef"\n' + HOST)
    write(images / "debian/hosts/web-2.toml", host_two)
    assert only(images).key == "hostid"


def test_a_hundred_hosts_share_one_role(images: Path) -> None:
    for number in range(100):
        text = HOST.replace('"web-1"', f'"n-{number}"')
        write(images / f"debian/hosts/n-{number}.toml", text)
    line = load(images).line()
    assert len(line.instances) == 101
    assert len({one.texts["files./etc/web/web.conf"] for one in line.instances}) == 101
