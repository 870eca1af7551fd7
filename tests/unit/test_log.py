"""The log's lines, of every kind of record."""

from __future__ import annotations

from approvalkit import approval, decided, rejection, withdrawal
from records import NOON, deployment, digest, reservation, seal, yank

from pipeline.domain.record import Kind
from pipeline.domain.release import Removed, Retention, Step
from pipeline.render.log import log_row


def test_each_kind_tells_what_a_reader_looks_for() -> None:
    one = decided()
    yes = approval("ben", one)
    good = seal("1.2.0")
    gone = Removed(repository=good.repository, digest=digest(5), reason="older than 30 d")
    found = {
        record.kind: log_row(record)
        for record in (
            yes, rejection("ben", one), withdrawal(yes), reservation("1.2.0", approvals=(yes.id,)), good,
            yank(good), deployment(good, Step.FAILED, why="no answer"),
            Retention(time=NOON, author="cron", removed=(gone, gone)),
        )
    }  # fmt: skip
    assert found[Kind.APPROVAL][3:] == (
        "v1.2.0",
        one.digest.short,
        f"by ben@example.org; a newer kernel; fixes the pool import; until 2026-11-28; record {yes.id[:12]}",
    )
    assert "it does not boot here" in found[Kind.REJECTION][-1]
    assert f"takes back {yes.id[:12]}; too early" in found[Kind.WITHDRAWAL][-1]
    assert found[Kind.RESERVATION][3:] == ("v1.2.0", good.digest.short, "about to be sealed, on 1 approval")
    assert "approved by ben@example.org, cleo@example.org" in found[Kind.SEAL][-1]
    assert found[Kind.YANK][-1] == "zfs.ko does not load; by Cleo <cleo@example.org>"
    assert found[Kind.DEPLOYMENT][-1] == "base failed; no answer"
    assert found[Kind.RETENTION][2:] == ("debian/base", "", "", "2 manifests deleted; older than 30 d")
    assert set(found) == set(Kind) - {Kind.CANDIDATE}


def test_a_decision_about_many_images_stays_one_line() -> None:
    yes = approval("ben", *(decided(image=f"web-{number}") for number in range(1, 9)))
    assert log_row(yes)[2:5] == ("debian/web-1, debian/web-2, debian/web-3 and 5 more", "", "")
