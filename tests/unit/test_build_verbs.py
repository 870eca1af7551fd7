"""`build` over an engine that compiles by a table: order, what is pushed and recorded, and what is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from buildkit import KEY, NOW, VERSIONS, Yard, make_yard, make_yard_of, offer, release, sha

from pipeline.domain.catalogue import Base, GatePolicy
from pipeline.domain.definition import Mirror
from pipeline.domain.image import ImageRef, candidate_tag
from pipeline.domain.oci import OCI_INDEX
from pipeline.domain.pin import Pin
from pipeline.domain.record import Candidate
from pipeline.domain.settings import RegistrySettings, Settings, SigningSettings
from pipeline.errors import (
    BuildFailedError,
    DefinitionError,
    GateRefusedError,
    NotFoundError,
    PinError,
    PinGoneError,
    RegistryError,
    SignatureError,
)
from pipeline.verbs.build import build_bases, build_upstreams
from pipeline.verbs.examination import PROOF
from pipeline.verbs.mirror import MirrorOrder, MirrorResult
from pipeline.verbs.pin import pin
from pipeline.verbs.trust import read_trust

K = release(94)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """A line whose upstream has a candidate and whose base has a proved pin."""
    made = make_yard(tmp_path)
    parent = made.upstream_candidate()
    pin(made.run, made.base, offer(parent, (94,)), made.pins)
    forget(made)
    return made


def forget(yard: Yard) -> None:
    yard.world.happened.clear()
    yard.world.arguments.clear()


def fine(base: Base, pin: Pin, parent: Candidate) -> None:
    """The pin still holds."""


def build(yard: Yard, *bases: Base, holds: Any = fine) -> tuple[Candidate, ...]:
    return build_bases(yard.run, bases or (yard.base,), yard.pins, images=yard.images, holds=holds)


# --- the base --------------------------------------------------------------------------------------------


def test_a_base_is_built_pushed_read_back_and_recorded_in_this_order(yard: Yard) -> None:
    [made] = build(yard)
    happened = yard.world.happened
    assert set(happened[1:3]) == {f"build nvidia {K}", f"build zfs {K}"}
    assert happened[:1] + happened[3:] == [
        "pull debian-13",
        f"build assemble {K}",
        "prepare base",
        "push base",
        "resolve base",
        "prove base",
        "record base",
    ]
    assert yard.world.records[-1] == made


def test_module_stages_start_from_the_toolchain_that_was_built_once(yard: Yard) -> None:
    file = yard.images.parent / "toolchain.Containerfile"
    build(yard.with_base(toolchain=file))
    assert yard.world.happened.count("build toolchain") == 1
    tools, *stages = yard.world.arguments
    assert set(tools) == {"UPSTREAM"}
    modules = [one for one in stages if "MODULE_SET" in one]
    assert len({one["UPSTREAM"] for one in modules}) == 1
    assert modules[0]["UPSTREAM"] != tools["UPSTREAM"]
    assert [one["UPSTREAM"] for one in stages if "MODULE_SET" not in one] == [tools["UPSTREAM"]]


def test_the_record_holds_all_that_was_built_from_what(yard: Yard) -> None:
    [made] = build(yard)
    parent = yard.world.records[0]
    assert made.parent is not None
    assert (made.parent.image, made.parent.digest) == ("debian/debian-13", parent.digest)
    assert made.pins is not None
    assert (made.pins.kernel, dict(made.pins.modules)) == (K, VERSIONS)
    assert made.pins.kernel_devel == f"linux-headers-{K}=6.12.94-1"
    assert set(made.evidence) == {"log assemble", "log nvidia", "log zfs", *PROOF}
    assert made.evidence["log zfs"] == sha(f"making zfs for {K}\n")
    assert made.gates
    assert made.ok
    assert (made.started, made.finished) == (NOW, NOW)
    assert str(made.repository) == "127.0.0.1:5000/os/debian/base"
    assert made.tag == candidate_tag(sha("localhost/test:debian-base"))


def test_the_final_stage_copies_exactly_manifests_modules_and_policy(yard: Yard) -> None:
    yard.world.extra["zfs"] = {f"/usr/lib/modules/{K}/updates/dkms/other.ko": b"not offered"}
    build(yard)
    [(text, files)] = yard.world.contexts
    folder = f"/usr/lib/modules/{K}/updates/dkms"
    stages = {name: sha(f"localhost/test:{name}-for-{K}").hex for name in VERSIONS}
    copies = [line for line in text.splitlines() if line.startswith("COPY")]
    assert copies[:2] == [
        f'COPY --from={stages["nvidia"]} ["/out{folder}/nvidia.ko", "{folder}/"]',
        f'COPY --from={stages["zfs"]} ["/out{folder}/zfs.ko", "{folder}/"]',
    ]
    generated = {
        "/etc/containers/policy.json",
        "/etc/containers/registries.d/pipeline.yaml",
        "/etc/pki/containers/release.pub",
        "/usr/lib/pipeline/modules/nvidia.json",
        "/usr/lib/pipeline/modules/zfs.json",
    }
    assert copies[2:] == [f'COPY --chmod=0644 ["generated{path}", "{path}"]' for path in sorted(generated)]
    lines = text.splitlines()
    assert lines[:2] == ["ARG UPSTREAM", "FROM ${UPSTREAM}"]
    assert lines[-1] == "RUN depmod"
    own = {"base.Containerfile", "upstream.Containerfile", "helper.sh"}
    own |= {f"modules-{name}.Containerfile" for name in VERSIONS}
    assert files == own | {f"generated{path}" for path in generated} | {"generated.base.Containerfile"}


def test_the_final_stage_gets_kernel_and_userspace_in_exact_versions(yard: Yard) -> None:
    build(yard)
    assert yard.world.arguments[-1] == {
        "UPSTREAM": yard.world.records[0].digest.hex,
        "KERNEL": K,
        "KERNEL_PACKAGES": f"linux-image-{K}=6.12.94-1",
        "PACKAGES": "zfsutils-linux=2.3.9-1 tmux",
        "TIMESTAMP": "1700000000",
    }


def test_the_policy_that_goes_in_trusts_the_release_key_and_nothing_else(yard: Yard) -> None:
    build(yard)
    written = yard.world.work / "context-debian-base" / "generated"
    policy = json.loads((written / "etc/containers/policy.json").read_text())
    assert policy["default"] == [{"type": "reject"}]
    assert list(policy["transports"]["docker"]) == ["127.0.0.1:5000/os"]
    assert (written / "etc/pki/containers/release.pub").read_text() == KEY


@pytest.mark.parametrize(("text", "times"), [("FROM x\n", 0), ("FROM x\n# pipeline:modules\n" * 2, 2)])
def test_the_marker_must_stand_exactly_once(yard: Yard, text: str, times: int) -> None:
    assert yard.base.containerfile is not None
    yard.base.containerfile.write_text(text)
    with pytest.raises(DefinitionError, match=f"exactly once, it does {times} times") as caught:
        build(yard)
    assert str(yard.base.containerfile) in caught.value.message
    assert "push base" not in yard.world.happened


def test_what_a_stage_compiled_is_taken_from_the_first_line_that_says_so(yard: Yard) -> None:
    first, later = sha("zfs 2.3.9"), sha("what a makefile prints")
    line = "pipeline: source of {} 2.3.9 is {}\n"
    dkms = next(module.dkms for module in yard.base.modules if module.name == "zfs")
    yard.world.told["zfs"] = (
        f"Setting up x\n{line.format('other', later)}{line.format(dkms, first)}{line.format(dkms, later)}"
    )
    yard.world.told["nvidia"] = "pipeline: source of nvidia 1 is sha256:short\n"
    build(yard)
    assert list(yard.world.built[-1].facts.sources.values()) == [first]


def test_nothing_is_pushed_when_a_gate_refuses(yard: Yard) -> None:
    strict = yard.with_base(gates=GatePolicy())
    with pytest.raises(GateRefusedError, match="gates said no"):
        build(strict)
    assert not [word for word in yard.world.happened if word.startswith(("push", "record"))]
    assert yard.world.pushed == {}
    assert len(yard.world.records) == 1


def test_nothing_is_recorded_when_the_registry_holds_something_else(yard: Yard) -> None:
    yard.world.registry_lies = True
    with pytest.raises(RegistryError, match=r"was pushed as sha256:[0-9a-f]{64} but is sha256:") as caught:
        build(yard)
    assert str(sha("somebody else's")) in caught.value.message
    assert len(yard.world.records) == 1


def test_the_first_module_that_fails_cancels_the_other(yard: Yard) -> None:
    yard.world.fails.add(("nvidia", K))
    yard.world.waits_for_cancel.add("zfs")
    with pytest.raises(BuildFailedError, match=f"stage nvidia for {K} failed: foo.c:12:3") as caught:
        build(yard)
    assert Path(caught.value.log).read_text().startswith("making nvidia")
    assert f"build assemble {K}" not in yard.world.happened
    assert len(yard.world.records) == 1


def test_ctrl_c_in_one_module_cancels_the_other(yard: Yard) -> None:
    yard.world.interrupts.add(("nvidia", K))
    yard.world.waits_for_cancel.add("zfs")
    with pytest.raises(KeyboardInterrupt):
        build(yard)
    assert len(yard.world.records) == 1


def test_a_stage_that_offers_more_than_modules_is_refused(yard: Yard) -> None:
    yard.world.extra["nvidia"] = {"/out/usr/bin/gcc": b"\x7fELF"}
    with pytest.raises(BuildFailedError, match="/usr/bin/gcc"):
        build(yard)
    assert f"build assemble {K}" not in yard.world.happened


def test_a_final_stage_that_fails_says_why_and_leaves_nothing(yard: Yard) -> None:
    yard.world.fails.add(("assemble", K))
    with pytest.raises(BuildFailedError, match=r"assemble debian/base failed: foo\.c:12:3"):
        build(yard)
    assert yard.world.pushed == {}
    assert len(yard.world.records) == 1


# --- what is asked before anything is built --------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist"),
        ("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "is no PEM public key"),
    ],
)
def test_a_missing_release_key_stops_before_anything_is_built(
    yard: Yard, content: str | None, said: str
) -> None:
    path = yard.images / "keys/release.pub"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(DefinitionError, match=said):
        build(yard)
    assert yard.world.happened == []


def test_two_release_keys_of_one_name_are_refused_for_one_would_hide_the_other(tmp_path: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / "release.pub").write_text(KEY)
    settings = Settings(
        registry=RegistrySettings(url="127.0.0.1:5000/os"),
        signing=SigningSettings(release_keys=("old/release.pub", "new/release.pub")),
    )
    with pytest.raises(DefinitionError, match=r"release\.pub is the name of another release key too"):
        read_trust(settings, tmp_path / "images")


def test_a_missing_pin_stops_before_anything_is_built(tmp_path: Path) -> None:
    yard = make_yard(tmp_path)
    yard.upstream_candidate()
    with pytest.raises(PinError, match="no kernel is pinned for debian/base") as caught:
        build(yard)
    assert "pipeline --line debian pin" in caught.value.hint
    assert yard.world.happened == []


def test_a_missing_parent_stops_before_anything_is_built(yard: Yard) -> None:
    yard.world.records.clear()
    with pytest.raises(NotFoundError, match="which has no candidate yet") as caught:
        build(yard)
    assert caught.value.hint == "build it first: pipeline --line debian build --tier upstream"
    assert yard.world.happened == []


def test_a_module_the_pin_does_not_know_stops_before_anything_is_built(yard: Yard) -> None:
    known = yard.pins.read()
    less = dataclasses.replace(known.pins["base"], modules={"zfs": "2.3.9-1"})
    yard.pins.write(known.with_pin("base", less))
    with pytest.raises(PinError, match="knows no version of nvidia"):
        build(yard)
    assert yard.world.happened == []


def test_a_pin_is_asked_again_only_when_the_upstream_has_changed(yard: Yard) -> None:
    def gone(base: Base, pin: Pin, parent: Candidate) -> None:
        raise PinGoneError("gone", hint="pin again")

    build(yard, holds=gone)
    yard.upstream_candidate(2)
    forget(yard)
    with pytest.raises(PinGoneError):
        build(yard, holds=gone)
    assert yard.world.happened == []


def test_all_bases_are_checked_before_the_first_is_built(yard: Yard) -> None:
    other = dataclasses.replace(yard.base, name="other")
    both = make_yard_of(yard.world, yard.images, yard.upstream, yard.base, other)
    with pytest.raises(PinError, match="debian/other"):
        build(both, yard.base, other)
    assert yard.world.happened == []


def test_a_base_on_a_base_of_this_run_is_built_on_its_new_candidate(yard: Yard) -> None:
    top = dataclasses.replace(
        yard.base, name="top", parent="base", modules=(), inherited_modules=yard.base.modules
    )
    both = make_yard_of(yard.world, yard.images, yard.upstream, yard.base, top)
    known = yard.pins.read()
    yard.pins.write(known.with_pin("top", known.pins["base"]))
    lower, upper = build(both, yard.base, top)
    assert upper.parent is not None
    assert upper.parent.digest == lower.digest
    assert yard.world.happened.index("record base") < yard.world.happened.index("pull base")
    assert yard.world.happened[-1] == "record top"


# --- the upstream ----------------------------------------------------------------------------------------


class NoMirror:
    """A mirroring that must not be asked."""

    def __call__(self, order: MirrorOrder, *, insecure_source: bool) -> MirrorResult:
        raise AssertionError(order)


def test_an_upstream_is_bootstrapped_shaped_pushed_and_recorded(tmp_path: Path) -> None:
    yard = make_yard(tmp_path)
    [made] = build_upstreams(yard.run, (yard.upstream,), bootstrapper=yard.world, mirroring=NoMirror())
    assert yard.world.happened == [
        "bootstrap trixie",
        "build assemble",
        "prepare debian-13",
        "push debian-13",
        "resolve debian-13",
        "prove debian-13",
        "record debian-13",
    ]
    assert set(made.evidence) == {"log bootstrap", "log shape", *PROOF}
    assert made.parent is None
    assert made.pins is None


def test_a_bootstrap_that_fails_records_nothing(tmp_path: Path) -> None:
    yard = make_yard(tmp_path)
    yard.world.bootstrap_code = 25
    with pytest.raises(BuildFailedError, match="E: no such suite"):
        build_upstreams(yard.run, (yard.upstream,), bootstrapper=yard.world, mirroring=NoMirror())
    assert yard.world.happened == ["bootstrap trixie"]


def vendor(tmp_path: Path) -> Yard:
    yard = make_yard(tmp_path)
    source = Mirror(source="quay.io/centos-bootc/centos-bootc:stream10")
    mirrored = dataclasses.replace(yard.upstream, source=source, key=tmp_path / "vendor.pub")
    return make_yard_of(yard.world, yard.images, mirrored, yard.base)


def test_a_mirrored_upstream_is_recorded_with_its_origin_and_its_digest(tmp_path: Path) -> None:
    yard = vendor(tmp_path)
    orders: list[MirrorOrder] = []

    def mirroring(order: MirrorOrder, *, insecure_source: bool) -> MirrorResult:
        orders.append(order)
        assert not insecure_source
        digest = sha("vendor's index")
        return MirrorResult(
            digest=digest,
            source=order.source.repository.at(digest),
            destination=ImageRef(repository=order.destination, tag="candidate-0", digest=digest),
            media_type=OCI_INDEX,
            platforms=(),
            verified=True,
        )

    [made] = build_upstreams(yard.run, (yard.upstream,), bootstrapper=yard.world, mirroring=mirroring)
    assert [order.vendor_key for order in orders] == [tmp_path / "vendor.pub"]
    assert made.origin is not None
    assert made.origin.reference == "quay.io/centos-bootc/centos-bootc:stream10"
    assert made.digest == made.origin.digest == sha("vendor's index")
    assert yard.world.happened == [
        "pull debian-13",
        "prepare debian-13",
        "prove debian-13",
        "record debian-13",
    ]


def test_a_vendor_s_bad_signature_records_nothing(tmp_path: Path) -> None:
    yard = vendor(tmp_path)

    def mirroring(order: MirrorOrder, *, insecure_source: bool) -> MirrorResult:
        raise SignatureError("bad", hint="look")

    with pytest.raises(SignatureError):
        build_upstreams(yard.run, (yard.upstream,), bootstrapper=yard.world, mirroring=mirroring)
    assert yard.world.happened == []
