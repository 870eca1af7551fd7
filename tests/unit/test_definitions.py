"""Definitions: what loads, what is refused, and that a refusal says file, line, key and the right name."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest

from pipeline.adapters.definitions import load
from pipeline.domain.catalogue import Base, Catalogue, Instance, Upstream
from pipeline.domain.definition import Bootstrap
from pipeline.errors import DefinitionError, UsageError
from pipeline.problem import Problem

SETTINGS = '[registry]\nurl = "127.0.0.1:5000/os"\ninsecure = true\n'
UPSTREAM = """\
package_manager = "apt"
[bootstrap]
suite = "trixie"
packages = ["systemd"]
containerfile = "upstream.Containerfile"
[kernel]
flavour = "amd64"
[persistence]
links = { "/home" = "var/home", "/opt" = "var/opt" }
directories = { "/tmp" = "1777" }
[gates]
build_packages = ["rust*"]
[gates.waivers.bootc-lint]
reason = "no bootc yet"
expires = 2030-01-31
"""
BASE = """\
from = "debian-13"
containerfile = "base.Containerfile"
packages = ["zfsutils-linux"]
[[modules]]
name = "zfs"
containerfile = "modules-zfs.Containerfile"
dkms = "zfs"
package = "zfs-dkms"
kernel_modules = ["spl", "zfs"]
userspace = ["zfsutils-linux"]
[persistence.links]
"/opt" = ""
"""
HOST = 'from = "base"\nhostname = "web-1"\n'


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A small line that is right; each test breaks one thing."""
    top = tmp_path / "images"
    files = {
        "pipeline.toml": SETTINGS,
        "debian/upstream/debian-13.toml": UPSTREAM,
        "debian/base/base.toml": BASE,
        "debian/hosts/web-1.toml": HOST,
    }
    for name, text in files.items():
        write(top / name, text)
    for name in ("upstream", "base", "modules-zfs"):
        write(tmp_path / "Containerfiles" / "debian" / f"{name}.Containerfile", "FROM scratch\n")
    return top


def write(path: Path, text: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def problems(images: Path) -> tuple[Problem, ...]:
    with pytest.raises(DefinitionError) as caught:
        load(images)
    return caught.value.problems


def only(images: Path) -> Problem:
    found = problems(images)
    assert len(found) == 1, [str(one) for one in found]
    return found[0]


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} must occur once"
    path.write_text(text.replace(old, new))


def upstream(images: Path) -> Path:
    return images / "debian" / "upstream" / "debian-13.toml"


def base(images: Path) -> Path:
    return images / "debian" / "base" / "base.toml"


def host(images: Path) -> Path:
    return images / "debian" / "hosts" / "web-1.toml"


# ---- what loads


def test_a_line_resolves_with_what_each_tier_inherits(images: Path) -> None:
    catalogue = load(images)
    line = catalogue.line()
    assert list(line.images) == ["debian-13", "base", "web-1"]
    web = line.image("web-1")
    assert isinstance(web, Instance)
    assert web.hostname == "web-1"
    assert web.package_manager == "apt"
    assert web.persistence.links == {"/home": "var/home"}  # the base took /opt away
    assert web.persistence.directories == {"/tmp": 0o1777}
    assert web.gates.waivers["bootc-lint"].expires == dt.date(2030, 1, 31)
    assert [one.name for one in line.parents(web)] == ["base", "debian-13"]
    assert str(catalogue.repository(web)) == "127.0.0.1:5000/os/debian/web-1"


def test_containerfiles_lie_beside_the_images_folder(images: Path) -> None:
    line = load(images).line("debian")
    found = line.image("base")
    assert isinstance(found, Base)
    assert found.containerfile == images.parent / "Containerfiles" / "debian" / "base.Containerfile"
    assert found.modules[0].containerfile.name == "modules-zfs.Containerfile"


def test_expectations_name_kernel_modules_layout_and_registry(images: Path) -> None:
    catalogue = load(images)
    line = catalogue.line()
    expected = catalogue.expectations(line.image("web-1"), "6.12.94+deb13-amd64")
    assert expected.kernel == "6.12.94+deb13-amd64"
    assert expected.modules[0].kernel_modules == ("spl", "zfs")
    assert expected.registry == "127.0.0.1:5000/os"
    assert expected.policy_required
    assert expected.build_packages == ("rust*",)
    of_upstream = catalogue.expectations(line.image("debian-13"), None)
    assert of_upstream.modules == ()
    assert not of_upstream.policy_required


def test_the_registry_can_be_overridden(images: Path) -> None:
    assert load(images, registry="registry.example.org").settings.registry.url == "registry.example.org"


def test_an_overriding_registry_is_checked_too(images: Path) -> None:
    with pytest.raises(DefinitionError, match="scheme"):
        load(images, registry="https://registry.example.org")


def test_a_base_on_a_base_has_the_modules_of_both(images: Path) -> None:
    second = BASE.replace('from = "debian-13"', 'from = "base"').replace('name = "zfs"', 'name = "zfs2"')
    write(images / "debian/base/gpu-base.toml", second)
    line = load(images).line()
    gpu = line.image("gpu-base")
    assert isinstance(gpu, Base)
    assert [module.name for module in gpu.all_modules] == ["zfs", "zfs2"]
    assert list(line.images).index("base") < list(line.images).index("gpu-base")


def test_a_module_built_again_on_a_base_that_has_it_is_refused(images: Path) -> None:
    write(images / "debian/base/again.toml", BASE.replace('from = "debian-13"', 'from = "base"'))
    problem = only(images)
    assert (problem.file, problem.line, problem.key) == (
        "images/debian/base/again.toml",
        5,
        "modules.0.name",
    )


def test_a_child_overrides_key_by_key(images: Path) -> None:
    own = (
        '[gates]\nbuild_packages = []\nallowed_files = { "/usr/x" = "why" }\n[persistence.links]\n'
        '"/home" = "../home"\n'
    )
    write(host(images), HOST + own)
    web = load(images).line().image("web-1")
    assert web.gates.build_packages == ()
    assert web.gates.allowed_files == {"/usr/x": "why"}
    assert set(web.gates.waivers) == {"bootc-lint"}
    assert web.persistence.links == {"/home": "../home"}


def test_values_are_frozen(images: Path) -> None:
    image = load(images).line().image("debian-13")
    assert isinstance(image, Upstream)
    with pytest.raises(AttributeError):
        image.name = "other"  # type: ignore[misc]
    assert isinstance(image.source, Bootstrap)
    with pytest.raises(ValueError, match="frozen"):
        image.source.suite = "sid"  # type: ignore[misc]


# ---- choosing a line


def second_line(images: Path) -> Catalogue:
    write(images / "other/upstream/thing.toml", UPSTREAM.replace("upstream.Containerfile", "u.Containerfile"))
    write(images.parent / "Containerfiles/other/u.Containerfile", "FROM scratch\n")
    return load(images)


def test_an_unknown_line_is_told_the_nearest(images: Path) -> None:
    with pytest.raises(UsageError) as caught:
        second_line(images).line("debain")
    assert caught.value.hint == "did you mean debian?"


def test_several_lines_without_a_default_want_a_choice(images: Path) -> None:
    with pytest.raises(UsageError, match="several lines"):
        second_line(images).line()


def test_the_default_line_is_taken(images: Path) -> None:
    write(images / "pipeline.toml", 'default_line = "other"\n' + SETTINGS)
    assert second_line(images).line().name == "other"


def test_a_default_line_that_does_not_exist_is_refused(images: Path) -> None:
    write(images / "pipeline.toml", 'default_line = "debain"\n' + SETTINGS)
    problem = only(images)
    assert (problem.line, problem.key, problem.hint) == (1, "default_line", "did you mean debian?")


def test_an_unknown_image_is_told_the_nearest(images: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load(images).line().image("web1")
    assert caught.value.hint == "did you mean web-1?"


# ---- what is refused, one fault a case: file, line, key, words of the message, words of the hint


@pytest.mark.parametrize(
    ("change", "where", "message", "hint"),
    [
        (("packages = [", "pakages = ["), (3, "pakages"), "unknown key", "did you mean packages?"),
        (('dkms = "zfs"', "dkms = 7"), (7, "modules.0.dkms"), "wants text in quotes, not a number", "DKMS"),
        (('"spl", "zfs"', '"spl", 3'), (9, "modules.0.kernel_modules.1"), "wants text", ".ko"),
        (('kernel_modules = ["spl", "zfs"]\n', ""), (4, "modules.0.kernel_modules"), "missing", ".ko"),
        (
            ('kernel_modules = ["spl", "zfs"]', "kernel_modules = []"),
            (9, "modules.0.kernel_modules"),
            "1",
            ".ko",
        ),
        (('"zfs-dkms"', '"--allow"'), (8, "modules.0.package"), "no package name", "DKMS source"),
        (('"zfs-dkms"', '"a\\nRUN b"'), (8, "modules.0.package"), "no package name", "DKMS source"),
        (('from = "debian-13"', 'from = "debian-31"'), (1, "from"), "no image", "did you mean debian-13?"),
        (('from = "debian-13"', 'from = "web-1"'), (1, "from"), "tier instance", "debian-13"),
        (('from = "debian-13"', 'from = "Debian"'), (1, "from"), "no valid name", "built on"),
        (('from = "debian-13"', 'from = "base"'), (1, "from"), "base -> base", "upstream"),
        (("modules-zfs.C", "../../etc/x.C"), (6, "modules.0.containerfile"), "no file name", "stage"),
        (
            ("modules-zfs.C", "modules-zsf.C"),
            (6, "modules.0.containerfile"),
            "no file",
            "modules-zfs.Containerfile",
        ),
        (('"/opt" = ""', '"opt" = ""'), (12, "persistence.links.opt"), "absolute path", "Symlink"),
        (('"/opt" = ""', '"/a/../b" = ""'), (12, "persistence.links./a/../b"), "no clean", "Symlink"),
    ],
)
def test_faults_of_a_base(
    images: Path, change: tuple[str, str], where: tuple[int, str], message: str, hint: str
) -> None:
    replace(base(images), *change)
    problem = only(images)
    assert problem.file == "images/debian/base/base.toml"
    assert (problem.line, problem.key) == where
    assert message in problem.message
    assert hint in problem.hint


@pytest.mark.parametrize(
    ("change", "line", "key", "message"),
    [
        (('"apt"', '"atp"'), 1, "package_manager", "allowed: apt, dnf"),
        (("[bootstrap]", '[mirror]\nsource = "a.b/c:d"\n[bootstrap]'), None, "", "exactly one"),
        (("2030-01-31", '"2030-01-31"'), 15, "gates.waivers.bootc-lint.expires", "wants a date"),
        (("2030-01-31", "2030-02-31"), 15, "", "no valid TOML"),
        (('"1777"', '"1999"'), 10, "persistence.directories./tmp", "no mode"),
        (('"1777"', "1777"), 10, "persistence.directories./tmp", "wants text in quotes"),
        (("[kernel]", "[kernel"), 6, "", "no valid TOML"),
        (("[kernel]", '[kernel]\n"x\u0000" = 1'), 7, "", "no valid TOML"),
        (('suite = "trixie"', 'suite = "-o x"'), 3, "bootstrap.suite", "no word"),
        (
            ('reason = "no bootc yet"', 'reason = " "'),
            14,
            "gates.waivers.bootc-lint.reason",
            "says something",
        ),
        (("[gates.waivers.bootc-lint]", "[gates.waivers.Bootc]"), 13, "gates.waivers.Bootc", "no valid name"),
    ],
)
def test_faults_of_an_upstream(
    images: Path, change: tuple[str, str], line: int | None, key: str, message: str
) -> None:
    replace(upstream(images), *change)
    problem = only(images)
    assert problem.file == "images/debian/upstream/debian-13.toml"
    assert (problem.line, problem.key) == (line, key)
    assert message in problem.message
    assert problem.hint


def test_all_problems_of_all_files_are_said_together(images: Path) -> None:
    replace(upstream(images), '"apt"', '"atp"')
    replace(base(images), "dkms =", "dmks =")
    write(images / "pipeline.toml", SETTINGS + "[engine]\nprogram = 'podmann'\n")
    found = problems(images)
    assert [(one.file, one.key) for one in found] == [
        ("images/debian/base/base.toml", "modules.0.dkms"),
        ("images/debian/base/base.toml", "modules.0.dmks"),
        ("images/debian/upstream/debian-13.toml", "package_manager"),
        ("images/pipeline.toml", "engine.program"),
    ]
    assert found[3].hint == "did you mean podman?"


def test_the_nearest_name_may_be_that_of_a_file_with_faults_of_its_own(images: Path) -> None:
    replace(base(images), "dkms =", "dmks =")
    write(images / "debian/base/b.toml", 'from = "debian-13"\ncontainerfile = "base.Containerfile"\n')
    write(images / "debian/hosts/web-2.toml", 'from = "bsae"\nhostname = "web-2"\n')
    hints = {one.file: one.hint for one in problems(images) if one.key == "from"}
    assert hints == {"images/debian/hosts/web-2.toml": "did you mean base?"}


def test_two_hosts_cannot_have_one_hostname(images: Path) -> None:
    write(images / "debian/hosts/web-2.toml", HOST)
    problem = only(images)
    assert (problem.file, problem.line, problem.key) == ("images/debian/hosts/web-2.toml", 2, "hostname")
    assert "web-1.toml" in problem.message


def test_one_name_in_two_tiers_is_refused(images: Path) -> None:
    write(images / "debian/hosts/base.toml", HOST.replace("web-1", "web-9"))
    problem = only(images)
    assert "already defined in images/debian/base/base.toml" in problem.message


def test_a_module_twice_is_refused(images: Path) -> None:
    text = base(images).read_text()
    start, end = text.index("[[modules]]"), text.index("[persistence")
    base(images).write_text(text + text[start:end])
    assert "module zfs is defined twice" in only(images).message


def test_bases_on_each_other_are_one_problem_each(images: Path) -> None:
    replace(base(images), 'from = "debian-13"', 'from = "second"')
    empty = 'from = "base"\ncontainerfile = "base.Containerfile"\n'
    write(images / "debian/base/second.toml", empty)
    found = problems(images)
    assert [one.key for one in found] == ["from", "from"]
    assert "base -> second -> base" in found[0].message


def test_a_host_on_an_upstream_is_refused(images: Path) -> None:
    write(host(images), HOST.replace('"base"', '"debian-13"'))
    problem = only(images)
    assert "'debian-13' is of tier upstream; allowed is the name of one of tier base" in problem.message


@pytest.mark.parametrize("name", ["Web", "web_1", "-web", "web.1", "w" * 64, "wéb"])
def test_a_file_name_that_is_no_image_name_is_refused(images: Path, name: str) -> None:
    write(images / f"debian/hosts/{name}.toml", HOST.replace("web-1", "web-9"))
    problem = only(images)
    assert "no valid name of an image" in problem.message
    assert "63" in problem.hint


def test_folders_and_files_that_nobody_asked_for_are_named(images: Path) -> None:
    write(images / "debian/host/x.toml", HOST)
    write(images / "pipelin.toml", "")
    write(images / "Debian/upstream/u.toml", UPSTREAM)
    write(images / "debian/hosts/web.tml", HOST)
    hints = {one.file: one.hint for one in problems(images)}
    assert hints["images/debian/host"] == "did you mean hosts?"
    assert hints["images/pipelin.toml"] == "did you mean pipeline.toml?"
    assert "lower-case" in hints["images/Debian"]
    assert hints["images/debian/hosts/web.tml"] == "rename it to web.toml"


def test_hidden_files_backups_and_notes_are_left_alone(images: Path) -> None:
    for name in ("README.md", "debian/hosts/.web.toml.swp", "debian/hosts/web-1.toml~"):
        write(images / name, b"\xff")
    assert load(images).line().image("web-1")


def test_a_folder_that_is_not_there_says_so(tmp_path: Path) -> None:
    problem = only(tmp_path / "images")
    assert (problem.file, problem.message) == (str(tmp_path / "images"), "there is no such folder")
    assert "pipeline init" in problem.hint


def test_missing_settings_are_one_problem(images: Path) -> None:
    (images / "pipeline.toml").unlink()
    problem = only(images)
    assert problem.file == "images/pipeline.toml"
    assert "No such file" in problem.message


# ---- hostile files


def test_a_huge_file_is_not_read(images: Path) -> None:
    with host(images).open("ab") as file:
        file.truncate((1 << 20) + 1)
    assert "1048577 bytes" in only(images).message


def test_bytes_that_are_no_utf8_have_a_line(images: Path) -> None:
    write(host(images), HOST.encode() + b'description = "\xff"\n')
    problem = only(images)
    assert (problem.line, problem.message) == (3, "byte 0xff is no UTF-8")


def test_deep_nesting_is_a_problem_not_a_crash(images: Path) -> None:
    write(host(images), HOST + "x = " + "[" * 5000 + "]" * 5000)
    assert "nested too deeply" in only(images).message


def test_a_number_of_many_digits_is_a_problem_not_a_crash(images: Path) -> None:
    write(host(images), HOST + "x = " + "9" * 5000)
    assert problems(images)


def test_a_folder_where_a_file_is_wanted(images: Path) -> None:
    (images / "debian/hosts/dir.toml").mkdir()
    assert "a folder where a definition file is wanted" in only(images).message


def test_a_file_where_a_folder_is_wanted(images: Path) -> None:
    write(images / "debian/roles", "")
    assert only(images).message == "must be a folder"


def test_a_fifo_is_not_opened(images: Path) -> None:
    os.mkfifo(images / "debian/hosts/pipe.toml")
    assert "no regular file" in only(images).message


def test_a_definition_linked_from_outside_is_refused(images: Path) -> None:
    write(images.parent / "outside.toml", HOST.replace("web-1", "web-9"))
    (images / "debian/hosts/web-9.toml").symlink_to(images.parent / "outside.toml")
    assert "leads out of images/" in only(images).message


def test_a_folder_linked_from_outside_is_refused(images: Path) -> None:
    write(images.parent / "elsewhere/x.toml", HOST)
    (images / "debian/hosts/web-1.toml").unlink()
    (images / "debian/hosts").rmdir()
    (images / "debian/hosts").symlink_to(images.parent / "elsewhere")
    assert "leads out of images/" in only(images).message


def test_a_link_to_itself_is_refused(images: Path) -> None:
    (images / "debian/hosts/loop.toml").symlink_to("loop.toml")
    assert "cannot be read" in only(images).message


def test_a_containerfile_linked_from_outside_is_refused(images: Path) -> None:
    path = images.parent / "Containerfiles/debian/base.Containerfile"
    path.unlink()
    write(images.parent / "secret", "x")
    path.symlink_to(images.parent / "secret")
    problem = only(images)
    assert (problem.line, problem.key) == (2, "containerfile")
    assert "leads out of" in problem.message


def test_a_vendor_key_stays_in_the_lines_folder(images: Path) -> None:
    text = UPSTREAM.replace(
        UPSTREAM[UPSTREAM.index("[bootstrap]") : UPSTREAM.index("[kernel]")],
        '[mirror]\nsource = "quay.io/a/b:c"\nkey = "../key.pub"\n',
    )
    write(upstream(images), text)
    assert only(images).key == "mirror.key"
    write(upstream(images), text.replace("../key.pub", "keys/vendor.pub"))
    assert "no file keys/vendor.pub" in only(images).message
    write(images / "debian/keys/vendor.pub", "key")
    image = load(images).line().image("debian-13")
    assert isinstance(image, Upstream)
    assert image.key == images / "debian/keys/vendor.pub"
