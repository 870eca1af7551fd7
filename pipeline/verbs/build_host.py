"""Builds one host's image with the engine, for a definition whose Containerfile runs commands in it.

Rules: the files that land in the image are the same as in an assembled one: the placed tree is given to the
engine as one archive, never as a folder to copy, because a copy resets modes, replaces links by directories
and makes anew what is there.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from dataclasses import replace

from pipeline.domain.basepaths import PathLookup
from pipeline.domain.catalogue import Instance
from pipeline.domain.containerfile import FILES_MARKER, with_generated
from pipeline.domain.layer import layer_of
from pipeline.domain.placement import TreeEntry, place
from pipeline.domain.record import Candidate, Parent
from pipeline.domain.tree import FileType
from pipeline.verbs.build_facts import instance_facts
from pipeline.verbs.built import Built
from pipeline.verbs.candidates import to_candidate
from pipeline.verbs.ports import Run
from pipeline.verbs.source_files import digest_of
from pipeline.verbs.stages import EngineStage, run_engine

_ARCHIVE = "host.tar"


def build_with_engine(
    run: Run,
    host: Instance,
    parent: Candidate,
    *,
    entries: Sequence[TreeEntry],
    paths: PathLookup,
    timestamp: int,
) -> Candidate:
    """Build, examine and push one host's image; the caller records it.

    Args:
        run: The run.
        host: A host with a Containerfile.
        parent: Its base's candidate.
        entries: The rendered tree.
        paths: The base's path list.
        timestamp: Seconds since the epoch that all files bear.

    Raises:
        BuildFailedError: The Containerfile fails.
        AssemblyError: The tree does not fit the base.
        GateRefusedError: A gate said no; nothing was pushed.
        RegistryError: The registry failed.
    """
    own = host.containerfile
    assert own is not None  # noqa: S101 - the caller chose hosts that have one
    started = run.clock()
    name = f"{host.line}/{host.name}"
    placement = place(entries, paths)
    with run.reporter.stage(f"pull {parent.line}/{parent.image}"):
        base = run.engine.pull(parent.repository.at(parent.digest))
    context = run.folders.folder(f"context {name}")
    shutil.copytree(own.parent, context, dirs_exist_ok=True)
    layer = layer_of(placement.entries, timestamp=timestamp)
    (context / _ARCHIVE).write_bytes(gzip.decompress(layer.data))
    generated = context / f"generated.{own.name}"
    text = with_generated(
        own.read_text(encoding="utf-8"), [f"ADD {_ARCHIVE} /"], file=str(own), marker=FILES_MARKER
    )
    generated.write_text(text, encoding="utf-8")
    local = run.folders.tag(name)
    log = run_engine(
        replace(run, timestamp=timestamp),
        EngineStage(
            name=f"build {name}",
            context=context,
            file=generated,
            arguments={"BASE": base},
            tag=local,
            squash=True,
        ),
    )
    built = Built(
        image=host,
        local=local,
        kernel=parent.pins.kernel if parent.pins is not None else None,
        started=started,
        parent=Parent(image=f"{parent.line}/{parent.image}", digest=parent.digest),
        pins=parent.pins,
        evidence={"log build": digest_of(log)},
        own=frozenset(entry.path for entry in placement.entries if entry.type is not FileType.DIRECTORY),
        facts=instance_facts(run.files, host, timestamp=timestamp, options={}),
    )
    return to_candidate(run, built)
