"""Ten thousand broken definition files: each loads or is refused with its problems, nothing else."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipeline.adapters import toml_source
from pipeline.adapters.definitions import FOLDERS, load
from pipeline.domain.settings import Settings
from pipeline.domain.validation import validate
from pipeline.errors import DefinitionError
from pipeline.problem import Problem

IMAGES = Path(__file__).parents[2] / "images"
MUTANTS = 10_000
_KEYS = [
    "from = 3",
    "x = [",
    "[modules]",
    "[[modules]]",
    "name = 'ü'",
    "a.b.c = {}",
    '"" = 1',
    "[gates.waivers.x]",
]
_VALUES = [
    "1",
    "true",
    "[]",
    "{}",
    '""',
    "1979-05-27",
    "nan",
    "[[1], {a = 1}]",
    '"\\u0000"',
    "'" + "x" * 300 + "'",
]


def samples() -> list[tuple[str, bytes]]:
    """The shipped definitions, each with its kind of folder."""
    found = [("settings", IMAGES / "pipeline.toml")]
    found += [(kind, path) for kind in FOLDERS for path in sorted(IMAGES.glob(f"*/{kind}/*.toml"))]
    return [(kind, path.read_bytes()) for kind, path in found]


def mutate(raw: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        lines = raw.split(b"\n")
        at = chance.randrange(len(lines))
        match chance.randrange(7):
            case 0:  # a flipped bit
                spot = chance.randrange(len(raw) or 1)
                raw = (
                    raw[:spot]
                    + bytes([(raw[spot : spot + 1] or b"\0")[0] ^ (1 << chance.randrange(8))])
                    + raw[spot + 1 :]
                )
            case 1:
                raw = b"\n".join(lines[:at] + lines[at + 1 :])
            case 2:
                raw = b"\n".join([*lines[:at], chance.choice(_KEYS).encode(), *lines[at:]])
            case 3:
                head, equals, _ = lines[at].partition(b"=")
                if equals:
                    lines[at] = head + b"= " + chance.choice(_VALUES).encode()
                raw = b"\n".join(lines)
            case 4:
                raw = b"\n".join([*lines[:at], lines[chance.randrange(len(lines))], *lines[at:]])
            case 5:
                spot = chance.randrange(len(raw) or 1)
                raw = raw[:spot] + chance.randbytes(3) + raw[spot:]
            case _:
                raw = raw[: chance.randrange(len(raw) + 1)]
    return raw


def outcome(kind: str, raw: bytes) -> str:
    model = Settings if kind == "settings" else FOLDERS[kind]
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "no text"  # the whole loader meets these below
    source = toml_source.parse(text, shown="x.toml")
    if isinstance(source, Problem):
        check(source, text)
        return "no TOML"
    result = validate(model, source.values, file="x.toml", lines=source.lines)
    if isinstance(result, tuple):
        assert result
        for problem in result:
            check(problem, text)
        return "refused"
    return "loaded"


def check(problem: Problem, text: str) -> None:
    assert problem.message
    assert problem.hint
    assert problem.line is None or 1 <= problem.line <= text.count("\n") + 1
    assert len(str(problem)) < 2000


def test_ten_thousand_mutants_load_or_are_refused() -> None:
    chance = random.Random(20260101)
    originals = samples()
    assert len(originals) >= 11
    seen: dict[str, int] = {}
    for _ in range(MUTANTS):
        kind, raw = chance.choice(originals)
        result = outcome(kind, mutate(raw, chance))
        seen[result] = seen.get(result, 0) + 1
    assert set(seen) == {"loaded", "refused", "no TOML", "no text"}, seen
    assert seen["refused"] > MUTANTS // 10
    assert seen["loaded"] > MUTANTS // 20
    assert sum(seen.values()) == MUTANTS


def test_mutants_in_a_tree_load_or_are_refused(tmp_path: Path) -> None:
    chance = random.Random(7)
    files: Mapping[Path, bytes] = {
        tmp_path / "images" / path.relative_to(IMAGES): path.read_bytes()
        for path in [IMAGES / "pipeline.toml", *IMAGES.glob("debian/*/*.toml")]
    }
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    # nothing lies in Containerfiles/, so even an unharmed tree is refused here
    for _ in range(150):
        for path, raw in files.items():
            path.write_bytes(mutate(raw, chance))
        with pytest.raises(DefinitionError) as caught:
            load(tmp_path / "images")
        assert caught.value.problems
        assert all(problem.file.startswith("images") for problem in caught.value.problems)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a = 1\n\nb.c = 2\n", {"a": 1, "b": 3, "b.c": 3}),
        ('"x.y" = """\nmany\n"""\nz = 1\n', {"x.y": 1, "z": 4}),
        ("x = '''a\n''''\ny = 1", {"x": 1, "y": 3}),
        ("[t]\na = [\n 1, # one\n 2,\n]\n", {"t": 1, "t.a": 2, "t.a.0": 3, "t.a.1": 4}),
        (
            "[[m]]\nn = 1\n[[m]]\nn = 2\n[m.s]\nk = 3",
            {"m": 1, "m.0": 1, "m.0.n": 2, "m.1": 3, "m.1.n": 4, "m.1.s": 5, "m.1.s.k": 6},
        ),
        (
            'i = { a = "}", b = [ { c = 1 } ] }\nj = 2\n',
            {"i": 1, "i.a": 1, "i.b": 1, "i.b.0": 1, "i.b.0.c": 1, "j": 2},
        ),
        ("# only\n\td = 1979-05-27 07:32:00 # x\r\ne = 1\r\n", {"d": 2, "e": 3}),
        (r'"a\"b" = "\\"' + "\nc = 1\n", {'a"b': 1, "c": 2}),
        ("", {}),
    ],
)
def test_every_key_has_its_line(text: str, lines: dict[str, int]) -> None:
    assert toml_source.key_lines(text) == lines
