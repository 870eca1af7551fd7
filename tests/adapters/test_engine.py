"""Podman for real: builds, confined runs, mounted trees, and that nothing outlives a run."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from registries import running_registry

from pipeline.adapters.engine import Engine, EngineProfile, detect_profile, registries_conf
from pipeline.adapters.process import Processes
from pipeline.adapters.tree import MountedTree
from pipeline.domain.image import ImageRef, Repository
from pipeline.errors import RegistryError, ToolFailedError, ToolMissingError
from pipeline.wiring import container_limits

pytestmark = pytest.mark.engine
ROOT = Path(__file__).parents[2]
PATIENCE = 90.0
APPLETS = ("sh", "cat", "ls", "touch", "sleep", "mkdir", "id", "rm", "echo")
TIMESTAMP = 1_700_000_000


def busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        pytest.fail("busybox is not installed; install it: apt-get install busybox-static (Fedora: busybox)")
    return Path(found)


def wait_for(happened: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def running(token: str) -> list[str]:
    """Return the processes of this machine that name a token among their words."""
    found: list[str] = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and token in (folder / "cmdline").read_text(errors="replace").split(
                "\0"
            ):
                found.append(folder.name)
    return found


@pytest.fixture(scope="module")
def processes() -> Processes:
    return Processes(environment=os.environ)


@pytest.fixture(scope="module")
def profile(processes: Processes) -> EngineProfile:
    return detect_profile(
        processes,
        program="podman",
        runtime="auto",
        network="host",
        limits=container_limits(),
        registries_conf=None,
    )


@pytest.fixture(scope="module")
def engine(processes: Processes, profile: EngineProfile) -> Engine:
    return Engine(processes, profile)


@pytest.fixture(scope="module")
def image(processes: Processes, engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image of busybox alone, under a name of this run's own."""
    path = tmp_path_factory.mktemp("rootfs") / "rootfs.tar"
    with tarfile.open(path, "w") as tar:
        for name in ("bin", "tmp", "proc", "sys", "dev", "etc", "run"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        tar.add(busybox(), "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        data = b"ID=tiny\n"
        file = tarfile.TarInfo("etc/os-release")
        file.size = len(data)
        tar.addfile(file, io.BytesIO(data))
    name = f"localhost/pipeline-test/tiny:{secrets.token_hex(4)}"
    processes.run(["podman", "import", "--quiet", str(path), name])
    yield name
    engine.remove(name)


@pytest.fixture
def tag(engine: Engine) -> Iterator[str]:
    name = f"localhost/pipeline-test/built:{secrets.token_hex(4)}"
    yield name
    engine.remove(name)


def build(
    engine: Engine, folder: Path, text: str, tag: str, *, lines: list[str] | None = None, **rest: object
) -> int:
    (folder / "Containerfile").write_text(text)
    return engine.build(
        context=folder,
        file=folder / "Containerfile",
        tag=tag,
        timestamp=TIMESTAMP,
        log=folder / "log",
        on_line=(lines if lines is not None else []).append,
        **{"arguments": {}, **rest},  # type: ignore[arg-type]
    )


# --- build -----------------------------------------------------------------------------------------------


def test_a_build_gets_its_arguments_and_keeps_its_log(
    engine: Engine, image: str, tag: str, tmp_path: Path
) -> None:
    evil = 'a "b" $(touch /evil) \\ c'
    text = f'FROM {image}\nARG WORD\nLABEL word=${{WORD}}\nRUN echo "got: $WORD" > /got && echo said\n'
    lines: list[str] = []
    assert build(engine, tmp_path, text, tag, lines=lines, arguments={"WORD": evil}) == 0
    assert "said" in lines
    assert "said\n" in (tmp_path / "log").read_text()
    with engine.mounted(tag) as root:
        assert MountedTree(root).read("/got").decode() == f"got: {evil}\n"
        assert MountedTree(root).entry("/evil") is None
    assert engine.labels(tag)["word"] == evil


def test_nothing_comes_from_a_cache(engine: Engine, image: str, tag: str, tmp_path: Path) -> None:
    text = f"FROM {image}\nRUN cat /proc/sys/kernel/random/uuid > /once\n"
    seen = set()
    for _ in range(2):
        assert build(engine, tmp_path, text, tag) == 0
        with engine.mounted(tag) as root:
            seen.add(MountedTree(root).read("/once"))
    assert len(seen) == 2


def test_the_same_input_gives_the_same_image(engine: Engine, image: str, tag: str, tmp_path: Path) -> None:
    text = f"FROM {image}\nRUN mkdir /made && touch /made/file\n"
    ids = set()
    for _ in range(2):
        assert build(engine, tmp_path, text, tag) == 0
        ids.add(engine.id_of(tag))
    assert len(ids) == 1
    assert ids != {None}


def test_what_a_later_step_removes_is_in_no_layer_of_a_squashed_image(
    processes: Processes, engine: Engine, image: str, tag: str, tmp_path: Path
) -> None:
    text = f"FROM {image}\nRUN echo hush > /secret\nRUN rm /secret\n"
    layers: dict[bool, int] = {}
    for squash in (False, True):
        assert build(engine, tmp_path, text, tag, squash=squash) == 0
        layers[squash] = len(
            processes.json(["podman", "image", "inspect", "--format", "{{json .RootFS.Layers}}", tag])
        )
    assert layers == {False: 3, True: 2}


def test_a_failing_step_is_a_code_and_its_words_are_in_the_log(
    engine: Engine, image: str, tag: str, tmp_path: Path
) -> None:
    assert build(engine, tmp_path, f"FROM {image}\nRUN echo gone wrong >&2; exit 7\n", tag) != 0
    assert "gone wrong\n" in (tmp_path / "log").read_text()
    assert engine.id_of(tag) is None


def test_ids_and_labels_of_images_that_are_there_or_not(engine: Engine, image: str) -> None:
    found = engine.id_of(image)
    assert found is not None
    assert len(found.removeprefix("sha256:")) == 64
    assert engine.labels(image) == {}
    assert engine.id_of("localhost/pipeline-test/none:none") is None
    engine.remove("localhost/pipeline-test/none:none")


# --- run -------------------------------------------------------------------------------------------------


def test_a_confined_run_has_no_network_a_read_only_root_and_keeps_nothing(engine: Engine, image: str) -> None:
    assert engine.run(image, ["ls", "/sys/class/net"]).stdout.split() == ["lo"]
    assert "/etc/x" in engine.run(image, ["touch", "/etc/x"]).stderr
    assert engine.run(image, ["touch", "/etc/x"]).code == 1
    assert engine.run(image, ["touch", "/tmp/x"]).code == 0
    assert engine.run(image, ["ls", "/tmp"]).stdout == ""


def test_an_online_run_can_write_and_keeps_nothing_either(engine: Engine, image: str) -> None:
    script = "touch /etc/x && ls /sys/class/net"
    here = sorted(path.name for path in Path("/sys/class/net").iterdir())
    done = engine.run(image, ["sh", "-c", script], online=True)
    assert done.code == 0
    assert sorted(done.stdout.split()) == here
    assert engine.run(image, ["ls", "/etc/x"], online=True).code == 1


def test_words_input_output_and_code_go_through(engine: Engine, image: str) -> None:
    script = 'cat; echo "$1"; echo err >&2; exit 9'
    done = engine.run(image, ["sh", "-c", script, "name", "$(id) `id`"], stdin="in\n")
    assert (done.code, done.stdout, done.stderr) == (9, "in\n$(id) `id`\n", "err\n")


def test_an_option_like_word_is_no_option_of_the_engine(engine: Engine, image: str) -> None:
    assert engine.run(image, ["echo", "--privileged", "-v"]).stdout == "--privileged -v\n"


@pytest.mark.parametrize("program", ["no-such-program", "/no/such/program"])
def test_a_missing_program_is_127(engine: Engine, image: str, program: str) -> None:
    assert engine.run(image, [program, "x"]).code == 127


def test_a_program_s_own_126_stays(engine: Engine, image: str) -> None:
    assert engine.run(image, ["sh", "-c", "exit 126"]).code == 126


def test_a_missing_image_is_never_pulled(engine: Engine) -> None:
    with pytest.raises(ToolFailedError, match="could not be started"):
        engine.run("localhost/pipeline-test/none:none", ["ls"])


def test_a_folder_can_be_shown_read_only(engine: Engine, image: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("shown")
    volumes: Mapping[Path, str] = {tmp_path: "/run/shown"}
    assert engine.run(image, ["cat", "/run/shown/file"], volumes=volumes).stdout == "shown"
    assert engine.run(image, ["touch", "/run/shown/x"], volumes=volumes).code != 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_that_takes_too_long_is_ended_with_its_container(
    processes: Processes, engine: Engine, image: str
) -> None:
    token = f"7{secrets.randbelow(10**8):08d}"
    with pytest.raises(ToolFailedError, match="no end after 3 s"):
        engine.run(image, ["sleep", token], timeout=3)
    assert running(token) == []
    assert working_containers(processes, image) == []


def test_a_conversation_that_breaks_off_leaves_no_container(
    processes: Processes, engine: Engine, image: str
) -> None:
    token = f"6{secrets.randbelow(10**8):08d}"

    def broken() -> None:
        script = f"echo here; sleep {token} & cat"
        with engine.conversation(image, ["sh", "-c", script], seconds=300) as pipes:
            assert pipes.line() == b"here\n"
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        broken()
    assert running(token) == []
    assert working_containers(processes, image) == []


# --- mount -----------------------------------------------------------------------------------------------


def test_a_mounted_image_is_read_where_it_lies(engine: Engine, image: str) -> None:
    with engine.mounted(image) as root:
        tree = MountedTree(root)
        assert tree.read("/etc/os-release") == b"ID=tiny\n"
        assert set(APPLETS) < set(tree.list("/bin"))
        assert tree.read("/bin/sh") == busybox().read_bytes()
    with pytest.raises(ToolFailedError), engine.mounted("localhost/pipeline-test/none:none"):
        pass


# --- push and pull ---------------------------------------------------------------------------------------


def test_what_is_pushed_can_be_pulled_by_the_digest_the_engine_told(
    processes: Processes, profile: EngineProfile, image: str, tmp_path: Path
) -> None:
    with running_registry(tmp_path / "registry") as server:
        conf = tmp_path / "registries.conf"
        conf.write_text(registries_conf(f"{server.host}/os"))
        engine = Engine(
            processes,
            EngineProfile(runtime=profile.runtime, limits=profile.limits, registries_conf=conf),
        )
        repository = Repository(registry=server.host, path="os/tiny")
        digest = engine.push(image, repository.tagged("candidate-1"), digest_file=tmp_path / "digest")
        assert server.blob_file(str(digest)).exists()
        local = engine.pull(repository.at(digest))
        assert engine.id_of(local) is not None
        with pytest.raises(RegistryError, match="cannot be pulled"):
            engine.pull(ImageRef.parse(f"{server.host}/os/tiny@sha256:{'0' * 64}"))
        engine.remove(f"{repository}@{digest}")
    with pytest.raises(RegistryError, match="cannot be pushed"):
        engine.push(image, repository.tagged("candidate-1"), digest_file=tmp_path / "digest")


# --- nothing outlives a run ------------------------------------------------------------------------------

OWNER = textwrap.dedent(
    """\
    import os, signal, sys
    from pathlib import Path
    from pipeline.adapters.engine import Engine, EngineProfile
    from pipeline.adapters.process import Processes
    def ended(number, frame):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, ended)
    signal.signal(signal.SIGINT, ended)
    what, folder, tag, runtime, *limits = sys.argv[1:]
    engine = Engine(Processes(environment=os.environ), EngineProfile(runtime=runtime, limits=tuple(limits)))
    try:
        if what.isdigit():
            print("asleep", flush=True)
            engine.run(tag, ["sleep", what], timeout=600)
        code = engine.build(
            context=Path(folder), file=Path(folder) / "Containerfile", arguments={}, tag=tag,
            timestamp=1700000000, log=Path(folder) / "log", on_line=lambda line: print(line, flush=True),
        )
    except KeyboardInterrupt:
        code = 130
    raise SystemExit(code)
    """
)


def working_containers(processes: Processes, image: str) -> list[str]:
    # podman does not apply its filters to the working containers of builds: without looking here, this would
    # name those of other builds on this machine. It fails when one of those ends while it lists them.
    for _ in range(20):
        said = processes.run(
            ["podman", "ps", "--all", "--external", "--format", "{{.ID}} {{.Image}}"], check=False
        )
        if said.code == 0:
            break
        assert "container not known" in said.stderr, said.stderr
        time.sleep(0.2)
    assert said.code == 0, said.stderr
    rows = (line.split() for line in said.stdout.splitlines())
    return [
        row[0]
        for row in rows
        if len(row) > 1 and row[1].removesuffix(":latest") == image.removesuffix(":latest")
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_build_that_is_ended_leaves_no_process_and_no_container(
    processes: Processes,
    profile: EngineProfile,
    image: str,
    tag: str,
    tmp_path: Path,
    number: signal.Signals,
) -> None:
    token = f"8{secrets.randbelow(10**8):08d}"
    text = f"FROM {image}\nRUN echo asleep; sleep {token}\n"
    (tmp_path / "Containerfile").write_text(text)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, "build", str(tmp_path), tag, profile.runtime, *profile.limits],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        assert owner.stdout is not None
        assert "asleep\n" in iter(owner.stdout.readline, "")
        wait_for(lambda: running(token))
        owner.send_signal(number)
        code = owner.wait(PATIENCE)
    assert code == (-signal.SIGKILL if number is signal.SIGKILL else 130)
    wait_for(lambda: not running(token))
    left = working_containers(processes, image)
    if number is signal.SIGKILL:  # the supervisor ends the step; the engine may not get to tidy up
        for name in left:
            processes.run(["podman", "rm", "--force", name], check=False)
    else:
        assert left == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_no_process_and_no_container(
    processes: Processes, profile: EngineProfile, image: str, number: signal.Signals
) -> None:
    token = f"5{secrets.randbelow(10**8):08d}"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, token, "", image, profile.runtime, *profile.limits],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with owner:
        # The container itself, not only the command that starts it and the owner, which name the token too.
        wait_for(lambda: any(Path(f"/proc/{pid}/exe").readlink().name == "busybox" for pid in running(token)))
        owner.send_signal(number)
        assert owner.wait(PATIENCE) == 130
    assert running(token) == []
    assert working_containers(processes, image) == []


def test_a_cancelled_build_leaves_no_process_and_no_container(
    processes: Processes, engine: Engine, image: str, tag: str, tmp_path: Path
) -> None:
    token = f"9{secrets.randbelow(10**8):08d}"
    cancel = threading.Event()
    (tmp_path / "Containerfile").write_text(f"FROM {image}\nRUN echo asleep; sleep {token}\n")

    def on_line(text: str) -> None:
        if text == "asleep":
            cancel.set()

    code = engine.build(
        context=tmp_path,
        file=tmp_path / "Containerfile",
        arguments={},
        tag=tag,
        timestamp=TIMESTAMP,
        log=tmp_path / "log",
        on_line=on_line,
        cancel=cancel,
    )
    assert code != 0
    assert running(token) == []
    assert working_containers(processes, image) == []


# --- the profile -----------------------------------------------------------------------------------------


def test_only_the_project_s_registry_may_speak_plain_http() -> None:
    text = registries_conf("127.0.0.1:5000/os/images")
    assert 'location = "127.0.0.1:5000"' in text
    assert text.count("insecure = true") == 1
    assert "unqualified-search-registries = []" in text


def test_a_runtime_that_is_named_is_not_second_guessed(processes: Processes) -> None:
    found = detect_profile(
        processes, program="no-such-engine", runtime="crun", network="host", limits=(), registries_conf=None
    )
    assert found.runtime == "crun"


def test_a_missing_engine_is_named(processes: Processes) -> None:
    with pytest.raises(ToolMissingError, match="no-such-engine is not installed"):
        detect_profile(
            processes, program="no-such-engine", runtime="auto", network="", limits=(), registries_conf=None
        )
