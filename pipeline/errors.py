"""One family of errors: a message, a hint that says what to do next, and an exit code of its own.

Rules: the hint is required; every class that can end a run has a code no other class has
(`tests/unit/test_errors.py` holds that and the table in the README); only `cli` turns an error into
an exit code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    # Only named here: importing it would make `--help` pay for dataclasses.
    from pipeline.problem import Problem


class PipelineError(Exception):
    """Base of all expected errors. Never raised itself.

    Args:
        message: What is wrong and where, one sentence.
        hint: What to do next, one sentence.
    """

    exit_code: ClassVar[int]
    meaning: ClassVar[str]

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class GateRefusedError(PipelineError):
    """A gate or a check said no."""

    exit_code = 1
    meaning = "a gate or a check said no"


class UsageError(PipelineError):
    """The command line asks for something that does not exist or contradicts itself."""

    exit_code = 2
    meaning = "wrong usage of the command line"


class DefinitionError(PipelineError):
    """Definitions under `images/` are wrong; carries every problem of the run."""

    exit_code = 3
    meaning = "a definition is wrong (all problems of the run are listed)"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        count = len(problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the definitions; nothing was built"
        super().__init__(
            "\n".join([head, *(f"  {problem}" for problem in problems)]),
            hint="correct the keys named above, then run `pipeline plan` to see the result",
        )
        self.problems = problems


class PinError(PipelineError):
    """No kernel can be pinned, or the pin there is cannot be used."""

    exit_code = 4
    meaning = "no usable kernel pin"


class ToolMissingError(PipelineError):
    """A program that is needed is not installed or too old."""

    exit_code = 5
    meaning = "a tool is missing or too old"


class ToolFailedError(PipelineError):
    """Another program ended with an error. Keeps argv, its code and the tail of what it said."""

    exit_code = 6
    meaning = "another program failed"

    def __init__(
        self, message: str, *, hint: str, argv: tuple[str, ...], code: int | None, tail: str
    ) -> None:
        super().__init__(message, hint=hint)
        self.argv = argv
        self.code = code
        self.tail = tail


class BuildFailedError(PipelineError):
    """A stage of a build failed; names the stage, the first real error line and the full log."""

    exit_code = 7
    meaning = "a stage of a build failed"

    def __init__(self, *, stage: str, first_error: str, log: str, log_digest: str = "") -> None:
        super().__init__(
            f"stage {stage} failed: {first_error}",
            hint=f"the full log is {log}; mend the cause and build again",
        )
        self.stage = stage
        self.first_error = first_error
        self.log = log
        self.log_digest = log_digest


class RegistryError(PipelineError):
    """A registry refused, failed or answered something else than was asked."""

    exit_code = 8
    meaning = "a registry failed or refused"


class NotFoundError(PipelineError):
    """An image, candidate or record that was named does not exist."""

    exit_code = 9
    meaning = "an image or a record was not found"


class PinObsoleteError(PipelineError):
    """`pin --check`: the pin still builds, but a newer kernel would do."""

    exit_code = 10
    meaning = "pin --check: a newer kernel could be pinned"


class PinGoneError(PipelineError):
    """`pin --check`: the pinned kernel or its kernel-devel is no longer in the repositories."""

    exit_code = 11
    meaning = "pin --check: the pinned kernel is gone from the repositories"


class LedgerError(PipelineError):
    """The ledger is damaged, rewritten, or holds a record that is not understood."""

    exit_code = 12
    meaning = "the ledger is damaged, rewritten or not understood"


class LedgerRaceError(PipelineError):
    """Other writers kept winning the race for the ledger."""

    exit_code = 13
    meaning = "the race for the ledger was lost"


class SignatureError(PipelineError):
    """A signature is missing or does not verify."""

    exit_code = 14
    meaning = "a signature is missing or wrong"


class StateError(PipelineError):
    """A local file or folder of the tool is in the way, locked or not writable."""

    exit_code = 15
    meaning = "local files are locked, in the way or not writable"


class AssemblyError(PipelineError):
    """A tree cannot be laid on its base without changing what the base has."""

    exit_code = 16
    meaning = "a tree does not fit the base it is laid on"


class ModuleError(PipelineError):
    """A kernel, a kernel module or a module manifest is damaged or not what it must be."""

    exit_code = 17
    meaning = "a kernel, a module or a module manifest is not what it must be"


class LedgerRemoteError(PipelineError):
    """The ledger's remote cannot be reached or refuses; the message tells whether records were kept here."""

    exit_code = 18
    meaning = "the ledger's remote cannot be reached or refuses"


class BootTestError(PipelineError):
    """An image did not come up as it must, or cannot be booted at all."""

    exit_code = 19
    meaning = "a boot test failed"


class SbomError(PipelineError):
    """An SBOM is not valid, not complete, or says of an image what the image does not hold."""

    exit_code = 20
    meaning = "an SBOM is not valid or not complete"


class SealConflictError(PipelineError):
    """A version, a tag or an image is taken: it belongs to another digest, or another seal is under way."""

    exit_code = 21
    meaning = "a version or tag belongs to another image, or another seal is under way"


class HostError(PipelineError):
    """A host cannot be reached, is not what it must be, or did not come back as it was told to."""

    exit_code = 24
    meaning = "a host cannot be reached, refuses, or did not come back as wanted"


class InternalError(PipelineError):
    """A fault of this program; the report's path is in the message."""

    exit_code = 70
    meaning = "a fault of this program (a report was written)"


class InterruptedRunError(PipelineError):
    """The run was ended by Ctrl-C or a signal; nothing half-done was left."""

    exit_code = 130
    meaning = "interrupted by Ctrl-C or a signal"


def all_errors() -> Iterator[type[PipelineError]]:
    """Yield every class of the family that has an exit code, in order of the codes."""
    found: list[type[PipelineError]] = []
    todo = list(PipelineError.__subclasses__())
    while todo:
        cls = todo.pop()
        found.append(cls)
        todo.extend(cls.__subclasses__())
    yield from sorted(found, key=lambda cls: cls.exit_code)
