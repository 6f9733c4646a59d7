"""The error contract: what a user is told when something cannot be done.

Line 1 is `error[CODE]: what happened`, with the names and numbers of this case; then `why:`, `fix:` (something that can
be pasted or done) and `docs:`.  One exception class per code, all under `ActorumError`; the text is the same in the
terminal and in a program, and `as_json` is its machine-readable form, from which `error_from_json` makes the error
again in another process.

Rules of the file:

1. A code is stable and UPPER-KEBAB; a class without one of its own speaks with its parent's.  Two classes cannot claim
   one code: that fails when the second is defined.
2. "Unknown" is not "failed": only `OutcomeUnknown` and `SessionExpired` leave open whether a command took effect; after
   every other error of a command it did not, or the error says what it did.
3. Every docstring says when the error comes and whether a retry is safe.

Rejected: pickling exceptions between processes (the sender could run code in the receiver, and arguments that only the
sender can import would lose the message); one class with a code as its argument (`except NoQuorum` reads better than a
comparison of strings, and a type checker knows it).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Any, ClassVar


class ExitCode(IntEnum):
    """How the command line ends; scripts may depend on the numbers."""

    OK = 0
    BUG = 1
    USAGE = 2
    RETRY = 3
    """No quorum, time-out, refused for now: nothing happened, a retry is safe."""
    CONDITION_FALSE = 4
    UNKNOWN = 5
    """The outcome is not known."""
    UNSAFE = 6
    """Something that Raft, or the determinism of the machine, promises did not hold."""
    AUTHENTICATION = 7


_BY_CODE: dict[str, type[ActorumError]] = {}


class ActorumError(Exception):
    """Base of every error a user can meet.

    `what` names this case; `why`, `fix` and `docs` may be empty.  `str(error)` is the whole text.
    """

    code: ClassVar[str] = "ERROR"
    """Stable identifier; programs may depend on it."""
    exit_code: ClassVar[int] = ExitCode.BUG
    """Exit code of the command line."""

    def __init__(self, what: str, *, why: str = "", fix: str = "", docs: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.fix = fix
        self.docs = docs

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if "code" in cls.__dict__ and _BY_CODE.setdefault(cls.code, cls) is not cls:
            raise TypeError(f"{cls.__name__} claims the code {cls.code} of {_BY_CODE[cls.code].__name__}")

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}"]
        for label, text in (("why", self.why), ("fix", self.fix), ("docs", self.docs)):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)

    def as_json(self) -> dict[str, str]:
        """The parts of the message by name, with the code: what `-o json` prints and what peers report."""
        return {"code": self.code, "what": self.what, "why": self.why, "fix": self.fix, "docs": self.docs}


def error_from_json(parts: Mapping[str, str]) -> ActorumError:
    """The error that `as_json` described, of its own class again.

    A code that this process does not know (of a newer version, of a module it has not imported) gives the base class,
    with the code named in the text.  Never raises on missing parts: an error must not hide behind another.
    """
    code, what = parts.get("code", ""), parts.get("what", "")
    kind = _BY_CODE.get(code)
    if kind is None:
        kind, what = ActorumError, what if code in ("", ActorumError.code) else f"{what} [{code}]"
    return kind(what, why=parts.get("why", ""), fix=parts.get("fix", ""), docs=parts.get("docs", ""))


# --- The program cannot be run as a cluster.  Nothing was started or sent; a retry fails alike.


class NoMainGuard(ActorumError):
    """The program starts a cluster at import, without `if __name__ == "__main__"`.

    Each peer imports the program to find its classes, and would start a cluster of its own.
    """

    code = "NO-MAIN-GUARD"
    exit_code = ExitCode.USAGE


class ProgramFromStdin(ActorumError):
    """The program was read from standard input or typed at a prompt, so a new process cannot import it."""

    code = "PROGRAM-FROM-STDIN"
    exit_code = ExitCode.USAGE


class CommandInMain(ActorumError):
    """The machine's class cannot be imported by the peers: it is local to a function or lives only in `__main__`."""

    code = "COMMAND-IN-MAIN"
    exit_code = ExitCode.USAGE


class TimersTooShort(ActorumError):
    """Timer settings with which no leader could stay one on this machine (paper 5.6: the timing requirement)."""

    code = "TIMERS-TOO-SHORT"
    exit_code = ExitCode.USAGE


class DataDirectoryInUse(ActorumError):
    """Another cluster, or another run of this one, has the data directory open.  Safe to retry once that has ended."""

    code = "DATA-DIRECTORY-IN-USE"
    exit_code = ExitCode.USAGE


# --- The command is not one.  Nothing was sent; a retry fails alike.


class UnpicklableCommand(ActorumError):
    """A code command captures a live object (lock, file, socket, thread, logger, ...) or cannot be pickled.

    dill would pickle many of these without complaint, and each replica would get a dead copy.
    """

    code = "UNPICKLABLE-COMMAND"
    exit_code = ExitCode.USAGE


class GlobalInLambda(ActorumError):
    """A code command uses a global that the replicas do not share: each would see a value of its own."""

    code = "GLOBAL-IN-LAMBDA"
    exit_code = ExitCode.USAGE


class UnknownCommand(ActorumError):
    """The machine has no such command or query, or a field was asked of the cluster as if it were local."""

    code = "UNKNOWN-COMMAND"
    exit_code = ExitCode.USAGE


class WrongArguments(ActorumError):
    """Arguments that the signature of the command or query does not take."""

    code = "WRONG-ARGUMENTS"
    exit_code = ExitCode.USAGE


class WrongVersion(ActorumError):
    """A code command of another Python or dill version, or in a cluster that takes none; refused before it was loaded.

    Nothing was changed; a retry fails alike.
    """

    code = "WRONG-VERSION"
    exit_code = ExitCode.USAGE


class BlockingCallInsideApply(ActorumError):
    """The cluster was called from inside a command or query: the answer would wait for the question.

    Nothing was sent by that call; a retry fails alike.
    """

    code = "BLOCKING-CALL-INSIDE-APPLY"
    exit_code = ExitCode.USAGE


# --- The command ran, and this is what came of it.


class CommandFailed(ActorumError):
    """The user's command was applied and raised; `what` gives the exception's type and message.

    Every replica did alike, and what the method had changed before it raised stays changed.  A retry is a new command.
    """

    code = "COMMAND-FAILED"
    exit_code = ExitCode.CONDITION_FALSE


class NonDeterministicCommand(ActorumError):
    """Applied twice to equal states, a command gave two outcomes (found in debug mode): replicas would drift apart.

    Do not retry: clock, randomness, ids and set order must come in as arguments.
    """

    code = "NON-DETERMINISTIC-COMMAND"
    exit_code = ExitCode.UNSAFE


class OutcomeUnknown(ActorumError):
    """A command was sent and no answer came in time: it may have taken effect, or may still.

    Calling again by hand makes a new command, which may then be applied as well; query the machine first.
    """

    code = "OUTCOME-UNKNOWN"
    exit_code = ExitCode.UNKNOWN


class SessionExpired(ActorumError):
    """The cluster forgot this client's session, so it cannot tell a retry from a new command (thesis 6.3).

    Whether the command took effect earlier is unknown; query the machine before calling again from a new client.
    """

    code = "SESSION-EXPIRED"
    exit_code = ExitCode.UNKNOWN


# --- Not now.  Nothing was accepted; a retry is safe.


class NoQuorum(ActorumError):
    """No majority of the peers answers; `what` names who is down and since when."""

    code = "NO-QUORUM"
    exit_code = ExitCode.RETRY


class CallTimeout(ActorumError):
    """No answer came in time, and nothing was changed: the call was a query, or was never accepted."""

    code = "CALL-TIMEOUT"
    exit_code = ExitCode.RETRY


class Overloaded(ActorumError):
    """The cluster, or this client, has more unanswered work than it may.  Retry later, or with fewer callers."""

    code = "OVERLOADED"
    exit_code = ExitCode.RETRY


class QuorumAtRisk(ActorumError):
    """After this change of members, no majority of them would be running: it was not begun.  Retry with more up."""

    code = "QUORUM-AT-RISK"
    exit_code = ExitCode.RETRY


class ChangeUnderWay(ActorumError):
    """Other members are being changed just now, and that did not end in time.  Nothing of this was begun; retry."""

    code = "CHANGE-UNDER-WAY"
    exit_code = ExitCode.RETRY


class NotCaughtUp(ActorumError):
    """A learner lacked too much of the log to become a voter in time.  It goes on learning; retry."""

    code = "NOT-CAUGHT-UP"
    exit_code = ExitCode.RETRY


class TransferFailed(ActorumError):
    """Leadership was not handed over in time; there is a leader all the same, or will be.  A retry is safe."""

    code = "TRANSFER-FAILED"
    exit_code = ExitCode.RETRY


class SnapshotFailed(ActorumError):
    """A peer could not save its state; `why` says what it stumbled over.  Its log stays as it is; a retry is safe."""

    code = "SNAPSHOT-FAILED"
    exit_code = ExitCode.CONDITION_FALSE


class MembersChanged(ActorumError):
    """The members are not those that the caller expected, so they were left as they are.  Look again, then retry."""

    code = "MEMBERS-CHANGED"
    exit_code = ExitCode.CONDITION_FALSE


class RecoveryRefused(ActorumError):
    """A recovery from the loss of a majority is not needed, or not possible with these survivors, or was not agreed to.

    Nothing was changed; a retry fails alike.
    """

    code = "RECOVERY-REFUSED"
    exit_code = ExitCode.USAGE


class RecoveryUnfinished(ActorumError):
    """A recovery was cut short, so the cluster cannot be started.  To ask for the same recovery again finishes it."""

    code = "RECOVERY-UNFINISHED"
    exit_code = ExitCode.USAGE


class ClusterNotRunning(ActorumError):
    """No cluster serves that data directory: there is no control socket, or nobody listens on it."""

    code = "CLUSTER-NOT-RUNNING"
    exit_code = ExitCode.RETRY


# --- The cluster and its processes.


class ClusterClosed(ActorumError):
    """The cluster or client was used after it was closed.  Nothing was sent; a retry fails alike."""

    code = "CLUSTER-CLOSED"
    exit_code = ExitCode.USAGE


class NoSuchNode(ActorumError):
    """There is no peer of that name in the cluster.  Nothing was done; a retry fails alike."""

    code = "NO-SUCH-NODE"
    exit_code = ExitCode.USAGE


class NameTaken(ActorumError):
    """A new peer cannot have this name: one has it, or had it.  Nothing was done; a retry fails alike.

    The others would take a new peer for the old one, and count on what that had promised (thesis 3.8).
    """

    code = "NAME-TAKEN"
    exit_code = ExitCode.USAGE


class PeerFailed(ActorumError):
    """A peer stopped by itself, with this as its last word.  It is restarted from its storage; retries are safe."""

    code = "PEER-FAILED"
    exit_code = ExitCode.BUG


class BadFrame(ActorumError):
    """Bytes that are no message: garbage, cut short, or larger than allowed.  The link they came on is closed.

    Raft and the client sessions send again over a new link, so a retry is safe.
    """

    code = "BAD-FRAME"
    exit_code = ExitCode.BUG


class AuthenticationFailed(ActorumError):
    """The other side does not hold the cluster's key, or this side holds the wrong one.  Nothing was sent."""

    code = "AUTHENTICATION-FAILED"
    exit_code = ExitCode.AUTHENTICATION


class SafetyViolation(ActorumError):
    """Something that Raft promises (Figure 3) did not hold.  A bug: do not retry, keep the data directories."""

    code = "SAFETY-VIOLATION"
    exit_code = ExitCode.UNSAFE
