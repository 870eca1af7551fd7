"""pins.toml: what is written is read back, whatever it holds; a damaged file is named, never a traceback."""

from __future__ import annotations

import dataclasses
import datetime as dt
import tomllib
from pathlib import Path

import pytest
from buildkit import NOW, VERSIONS, sha
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.pins import Pins
from pipeline.domain.image import Digest
from pipeline.domain.pin import Failure, PassedOver, Pin, PinFile, says_nothing_of_the_kernel
from pipeline.errors import DefinitionError, PinError, StateError
from pipeline.render.pins import pin_json, pin_table

FAILURE = Failure(
    kernel="6.12.117", module="nvidia", version="550-1", error="too few arguments", log=sha("log"), time=NOW
)
PIN = Pin(
    kernel="6.12.94",
    kernel_devel=("headers=1",),
    kernel_packages=("image=1", "modules=1"),
    modules=VERSIONS,
    userspace={"zfsutils-linux": "2.3.9-1"},
    upstream="debian-13",
    upstream_digest=sha("upstream"),
    reason="newest",
    time=NOW,
    evidence={"zfs": sha("zfs"), "nvidia": sha("nvidia")},
    passed_over=(PassedOver(kernel="6.12.117", reason="nvidia does not compile"),),
)
BY_HAND = dataclasses.replace(PIN, evidence={}, passed_over=(), expires=dt.date(2027, 1, 31), reason="racks")
FILE = PinFile(pins={"base": PIN, "gpu": BY_HAND}, failures=(FAILURE,))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pins.toml"


def test_no_file_is_no_pins(path: Path) -> None:
    assert Pins(path).read() == PinFile()
    assert not path.exists()


def test_what_is_written_is_read_back(path: Path) -> None:
    Pins(path).write(FILE)
    assert Pins(path).read() == FILE
    assert path.read_text().startswith("# Which kernel each base is built for")
    assert [one.name for one in path.parent.iterdir()] == ["pins.toml"]


def test_the_same_pins_give_the_same_bytes(path: Path) -> None:
    Pins(path).write(FILE)
    first = path.read_bytes()
    turned = PinFile(pins={"gpu": BY_HAND, "base": PIN}, failures=FILE.failures)
    Pins(path).write(turned)
    assert path.read_bytes() == first
    Pins(path).write(Pins(path).read())
    assert path.read_bytes() == first


# What a TOML file can hold at all: no lone surrogates (logs and package managers are decoded before).
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
digests = st.binary(min_size=32, max_size=32).map(lambda data: Digest(f"sha256:{data.hex()}"))
times = st.datetimes(min_value=dt.datetime(1971, 1, 1), timezones=st.just(dt.UTC)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0)
)
pins = st.builds(
    Pin,
    kernel=texts,
    kernel_devel=st.lists(texts, max_size=2).map(tuple),
    kernel_packages=st.lists(texts, max_size=2).map(tuple),
    modules=st.dictionaries(texts, texts, max_size=2),
    userspace=st.dictionaries(texts, texts, max_size=2),
    upstream=texts,
    upstream_digest=digests,
    reason=texts,
    time=times,
    evidence=st.dictionaries(texts, digests, max_size=2),
    passed_over=st.lists(st.builds(PassedOver, kernel=texts, reason=texts), max_size=2).map(tuple),
    expires=st.none() | st.dates(min_value=dt.date(1971, 1, 1)),
)
failures = st.builds(Failure, kernel=texts, module=texts, version=texts, error=texts, log=digests, time=times)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.dictionaries(texts, pins, max_size=2), st.lists(failures, max_size=2).map(tuple))
def test_no_text_breaks_the_file(
    tmp_path_factory: pytest.TempPathFactory, named: dict[str, Pin], failed: tuple[Failure, ...]
) -> None:
    path = tmp_path_factory.mktemp("pins") / "pins.toml"
    file = PinFile(pins=named, failures=failed)
    Pins(path).write(file)
    assert Pins(path).read() == file


def test_hostile_text_stays_text(path: Path) -> None:
    evil = "x\"\n[pins.other]\nkernel = \"evil\\u0000\"\n#\x1b[2J\x7f'''"
    Pins(path).write(PinFile(pins={"base": PIN}, failures=(dataclasses.replace(FAILURE, error=evil),)))
    assert Pins(path).read().failures[0].error == evil
    assert set(tomllib.loads(path.read_text())["pins"]) == {"base"}
    assert "\x1b" not in path.read_text()


def good() -> str:
    return f"""\
[pins.base]
kernel = "6.12.94"
kernel_devel = ["headers=1"]
kernel_packages = []
upstream = "debian-13"
reason = "x"
time = 2026-11-21T12:00:00Z
upstream_digest = "{sha("upstream")}"
modules = {{}}
userspace = {{}}
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[pins.base]", "[pins.base", "pins.toml"),
        ('kernel = "6.12.94"', "", "pins.base.kernel"),
        ('kernel = "6.12.94"', "kernel = 6", "pins.base.kernel"),
        ('kernel = "6.12.94"', 'kernel = "6.12.94"\nkernal = "x"', "pins.base.kernal"),
        ("sha256:", "md5:", "is no digest"),
        ("12:00:00Z", "12:00:00", "has no zone"),
        ('["headers=1"]', '"headers=1"', "pins.base.kernel_devel"),
        ("[pins.base]", "[extra]\n[pins.base]", "extra"),
        ("modules = {}", "modules = { zfs = 2 }", "pins.base.modules.zfs"),
    ],
)
def test_a_damaged_file_is_one_problem_that_says_where(path: Path, old: str, new: str, said: str) -> None:
    path.write_text(good())
    assert Pins(path).read().pins["base"].kernel == "6.12.94"
    path.write_text(good().replace(old, new, 1))
    with pytest.raises(DefinitionError) as caught:
        Pins(path).read()
    assert said in caught.value.message
    assert str(path) in caught.value.message
    assert "pipeline pin" in caught.value.message


def test_bytes_that_are_no_text_are_a_problem_too(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DefinitionError):
        Pins(path).read()


def test_a_place_that_cannot_be_used_is_said_and_left_as_it_was(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        Pins(path).read()
    with pytest.raises(StateError, match="cannot be written"):
        Pins(path).write(FILE)
    with pytest.raises(StateError, match="cannot be written"):
        Pins(path.parent / "no-such-line/pins.toml").write(FILE)
    assert [one.name for one in path.parent.iterdir()] == ["pins.toml"]


def test_a_time_of_another_zone_becomes_utc(path: Path) -> None:
    path.write_text(good().replace("12:00:00Z", "13:00:00+01:00"))
    assert Pins(path).read().pins["base"].time == NOW


def test_a_pin_by_hand_is_good_up_to_and_on_its_last_day() -> None:
    BY_HAND.require_valid(dt.date(2027, 1, 31))
    with pytest.raises(PinError, match=r"kernel 6\.12\.94 by hand \(racks\) expired on 2027-01-31"):
        BY_HAND.require_valid(dt.date(2027, 2, 1))
    PIN.require_valid(dt.date(9999, 1, 1))


def test_a_failure_counts_until_one_of_the_three_changes() -> None:
    known = PinFile().with_failure(FAILURE)
    versions = {"nvidia": "550-1", "zfs": "2"}
    assert known.failure("6.12.117", versions) == FAILURE
    assert known.failure("6.12.117", {**versions, "zfs": "3"}) == FAILURE
    assert known.failure("6.12.118", versions) is None
    assert known.failure("6.12.117", {**versions, "nvidia": "550-2"}) is None
    assert known.failure("6.12.117", {"zfs": "2"}) is None


def test_a_newer_failure_of_the_same_three_replaces_the_older() -> None:
    again = dataclasses.replace(FAILURE, error="another")
    other = dataclasses.replace(FAILURE, module="zfs")
    known = PinFile().with_failure(FAILURE).with_failure(other).with_failure(again)
    assert known.failures == (other, again)
    assert known.with_pin("base", PIN).failures == known.failures


def test_a_proof_takes_only_its_own_failures_away() -> None:
    other_version = dataclasses.replace(FAILURE, version="540-1")
    other_kernel = dataclasses.replace(FAILURE, kernel="6.12.118")
    known = FILE.with_failure(other_version).with_failure(other_kernel)
    after = known.proved("6.12.117", {"nvidia": "550-1"})
    assert after == PinFile(pins=FILE.pins, failures=(other_version, other_kernel))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("E: Version '1' for 'zfs-dkms' was not found", True),
        ("E: Sub-process /usr/bin/dpkg returned an error code (1)", False),
        ("nv.c:1:2: error: too few arguments to function 'pci_resize_resource'", False),
        ("Curl error (6): Couldn't resolve host name", True),
        ("module set zfs misses zfs in /out", False),
    ],
)
def test_only_the_compile_speaks_about_the_kernel(error: str, expected: bool) -> None:  # noqa: FBT001
    assert says_nothing_of_the_kernel(error) is expected


def test_a_pin_is_shown_whole() -> None:
    data = pin_json("base", BY_HAND)
    assert data["expires"] == "2027-01-31"
    assert set(data) == {field.name for field in dataclasses.fields(Pin)} | {"base"}
    assert pin_table("base", PIN).row_count == 4 + len(VERSIONS) + 1
