"""The plan: what is selected, in which order, from which parent; and how it is shown."""

from __future__ import annotations

import dataclasses
import io
import itertools
from pathlib import Path

import pytest
from buildkit import NOW, USERSPACE, VERSIONS, Yard, make_yard, make_yard_of, sha
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from pipeline.adapters.definitions import load
from pipeline.domain.catalogue import AnyImage, Base, Line
from pipeline.domain.definition import Mirror
from pipeline.domain.image import Digest, Tier
from pipeline.domain.pin import Pin
from pipeline.domain.plan import NEW, Plan, make_plan, select
from pipeline.errors import UsageError
from pipeline.render import plan as render
from pipeline.verbs.plan import plan

PIN = Pin(
    kernel="6.12.94-test",
    kernel_devel=("headers=1",),
    kernel_packages=("image=1",),
    modules=VERSIONS,
    userspace=USERSPACE,
    upstream="debian-13",
    upstream_digest=sha("upstream"),
    reason="proved",
    time=NOW,
)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    return make_yard(tmp_path)


def line_of(yard: Yard) -> Line:
    return yard.run.catalogue.lines["debian"]


def planned(
    yard: Yard, *images: AnyImage, newest: dict[str, Digest] | None = None, pinned: bool = True
) -> Plan:
    return make_plan(
        yard.run.catalogue,
        line_of(yard),
        images or tuple(line_of(yard).images.values()),
        newest=newest or {},
        pins={"base": PIN} if pinned else {},
    )


def shown(one: Plan) -> str:
    console = Console(file=io.StringIO(), width=120)
    console.print(render.to_tree(one))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_whole_line_is_planned_from_its_bootstrap(yard: Yard) -> None:
    upstream, base = planned(yard).steps
    assert (upstream.image, upstream.source, upstream.parent) == (
        "debian/debian-13",
        "bootstrap trixie",
        None,
    )
    assert (base.image, base.source, base.parent) == ("debian/base", "debian/debian-13", NEW)
    assert (base.kernel, dict(base.modules)) == ("6.12.94-test", VERSIONS)
    assert base.repository == "127.0.0.1:5000/os/debian/base"
    assert not upstream.obstacles
    assert not base.obstacles


def test_a_base_alone_is_built_on_the_newest_candidate(yard: Yard) -> None:
    [step] = planned(yard, yard.base, newest={"debian-13": sha("upstream")}).steps
    assert step.parent == str(sha("upstream"))


def test_what_stands_in_the_way_is_said(yard: Yard) -> None:
    [step] = planned(yard, yard.base, pinned=False).steps
    assert step.parent is None
    assert step.obstacles == (
        "debian/debian-13 has no candidate yet: build --tier upstream first",
        "no kernel is pinned: run `pipeline --line debian pin`",
    )
    assert step.modules == {"nvidia": "", "zfs": ""}


def test_a_mirror_names_its_source(yard: Yard) -> None:
    mirrored = dataclasses.replace(yard.upstream, source=Mirror(source="quay.io/x/y:z"))
    [step] = planned(yard, mirrored).steps
    assert step.source == "mirror quay.io/x/y:z"


def test_the_verb_takes_the_newest_candidate_of_its_own_line(yard: Yard) -> None:
    yard.upstream_candidate(1)
    newest = yard.upstream_candidate(2)
    yard.world.records.append(dataclasses.replace(newest, line="other", digest=sha("other")))
    made = plan(
        yard.run.catalogue, line_of(yard), ledger=yard.world, pins=yard.pins, tier=Tier.BASE, names=["base"]
    )
    assert [(step.image, step.parent) for step in made.steps] == [("debian/base", str(newest.digest))]


@pytest.mark.parametrize(
    ("tier", "names", "said"),
    [
        (None, ["bsae"], "no image 'bsae'"),
        (Tier.UPSTREAM, ["base"], "is of the tier base, not upstream"),
    ],
)
def test_a_wrong_selection_is_refused(yard: Yard, tier: Tier | None, names: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        select(line_of(yard), tier=tier, names=names)


def test_the_tree_hangs_each_image_on_its_parent_and_shows_hostile_text_harmlessly(yard: Yard) -> None:
    evil = dataclasses.replace(PIN, kernel="6.12\x1b[2J[red]x")
    made = make_plan(
        yard.run.catalogue, line_of(yard), (yard.upstream, yard.base), newest={}, pins={"base": evil}
    )
    lines = shown(made).splitlines()
    indent = {
        word: next(line.index(word) for line in lines if word in line)
        for word in ("bootstrap trixie", "debian/debian-13  upstream", "debian/base  base")
    }
    assert sorted(indent, key=lambda word: indent[word]) == list(indent)
    assert "\x1b" not in shown(made)
    assert "[red]x" in shown(made)


def test_json_has_every_field(yard: Yard) -> None:
    data = render.to_json(planned(yard))
    assert data["line"] == "debian"
    assert data["steps"][1] == {
        "image": "debian/base",
        "tier": "base",
        "repository": "127.0.0.1:5000/os/debian/base",
        "source": "debian/debian-13",
        "parent": NEW,
        "kernel": "6.12.94-test",
        "modules": VERSIONS,
        "obstacles": [],
    }


# --- the order, on real definition files -----------------------------------------------------------------

UPSTREAM = """\
package_manager = "apt"
[bootstrap]
suite = "trixie"
packages = ["systemd"]
containerfile = "x.Containerfile"
[kernel]
flavour = "amd64"
"""


def write_line(top: Path, parents: dict[str, str]) -> Line:
    """Write a line whose bases stand on what `parents` says, and load it."""
    images = top / "images"
    (images / "debian/upstream").mkdir(parents=True)
    (images / "debian/base").mkdir()
    (images / "pipeline.toml").write_text('[registry]\nurl = "127.0.0.1:5000/os"\n')
    (images / "debian/upstream/root.toml").write_text(UPSTREAM)
    (top / "Containerfiles/debian").mkdir(parents=True)
    (top / "Containerfiles/debian/x.Containerfile").write_text("FROM scratch\n")
    for name, parent in parents.items():
        text = f'from = "{parent}"\ncontainerfile = "x.Containerfile"\n'
        (images / f"debian/base/{name}.toml").write_text(text)
    return load(images).line("debian")


@st.composite
def forests(draw: st.DrawFn) -> dict[str, str]:
    """Bases in any order of names, each on the upstream or on another base, without a cycle."""
    names = draw(st.permutations([f"b{number}" for number in range(draw(st.integers(1, 8)))]))
    return {name: draw(st.sampled_from(["root", *names[:place]])) for place, name in enumerate(names)}


@settings(derandomize=True, deadline=None, max_examples=60)
@given(forests(), st.data())
def test_parents_come_before_children_whatever_is_selected(
    tmp_path_factory: pytest.TempPathFactory, parents: dict[str, str], data: st.DataObject
) -> None:
    top = tmp_path_factory.mktemp("line")
    line = write_line(top, parents)
    order = list(line.images)
    assert sorted(order) == sorted(["root", *parents])
    assert all(order.index(parent) < order.index(name) for name, parent in parents.items())
    assert list(load(top / "images").line("debian").images) == order  # read again: the same

    names = data.draw(st.lists(st.sampled_from(sorted(parents)), unique=True))
    chosen = [image.name for image in select(line, tier=Tier.BASE, names=names)]
    assert chosen == [name for name in order if name in (names or parents)]

    catalogue = load(top / "images")
    made = make_plan(catalogue, line, select(line, names=names), newest={}, pins={})
    built: set[str] = set()
    for step in made.steps:
        name = step.image.partition("/")[2]
        assert (step.parent == NEW) == (parents.get(name) in built)
        built.add(name)
    assert made == make_plan(catalogue, line, select(line, names=names), newest={}, pins={})


def test_the_order_of_files_on_disk_does_not_matter(tmp_path: Path) -> None:
    parents = {"c": "root", "a": "c", "b": "a"}
    orders = {
        tuple(write_line(tmp_path / "".join(some), {name: parents[name] for name in some}).images)
        for some in itertools.permutations(parents)
    }
    assert orders == {("root", "c", "a", "b")}


def test_modules_of_bases_below_are_planned_too(yard: Yard) -> None:
    top = Base(
        **{
            **{field.name: getattr(yard.base, field.name) for field in dataclasses.fields(yard.base)},
            "name": "top",
            "parent": "base",
            "modules": (),
            "inherited_modules": yard.base.modules,
        }
    )
    both = make_yard_of(yard.world, yard.images, yard.upstream, yard.base, top)
    assert set(planned(both).steps[-1].modules) == {"nvidia", "zfs"}
