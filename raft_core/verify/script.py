"""Golden scripts: a conversation with the pure core, with its answers written below each question.

A script is a text file that shows one behaviour of Raft.  It is documentation that cannot lie: the answers are compared
letter by letter, so a change of behaviour is a change of the file, and shows up in review as a diff of plain sentences.

    # A comment: what this shows, and where the paper says so.

    cluster n1 pre_vote=no
    ----
    n1: follower, term 0

    timeout n1
    ----
    n1: election timeout
      follower -> leader, term 0 -> 1, vote none -> n1
      ...

A *block* is one or more command lines, a line `----`, and what the commands print, up to the next blank line.  `#`
begins a comment, alone or before the commands of a block.  Nothing else may stand in a script.

`play` runs a script on a fresh cluster and returns the text as it should be, with every answer renewed: a script is
right if it is equal to its own `play`, and rewriting is writing that down.  Nothing is random and no clock is read, so
two plays are equal.  The safety properties of Figure 3 are checked after each event (`script_safety`); a script in
which one is violated cannot be rewritten either, but by the prefix `breaks`, which says that it is meant.

Rejected: scripts in Python (they read like tests, not like a conversation, and must be run to be read), and answers in
a second file (nobody has both open).  The idea of answers below the question is datadriven's, known from etcd's tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from raft_core.state import Server
from raft_core.types import ServerId
from raft_core.verify.script_arguments import CommandError, Line, split
from raft_core.verify.script_cluster import Cluster
from raft_core.verify.script_commands import COMMANDS, make_cluster
from raft_core.verify.script_safety import PropertyViolated
from raft_core.verify.script_words import change_words

SEPARATOR = "----"
"""Stands between the commands of a block and their answer."""


class ScriptError(ValueError):
    """A script that cannot be played; the text begins with file and line."""

    def __init__(self, name: str, line: int, problem: str) -> None:
        super().__init__(f"{name}:{line}: {problem}")


class ScriptViolation(AssertionError):
    """A safety property was violated while the script played; the text begins with file and line."""

    def __init__(self, name: str, line: int, problem: str) -> None:
        super().__init__(f"{name}:{line}: {problem}")


class Block(NamedTuple):
    """Lines of a script that belong together; without commands it is a comment."""

    line: int
    """Where it begins, counted from 1."""
    text: tuple[str, ...]
    """Comments and commands, as they were written."""
    answer: tuple[str, ...] | None
    """What stands below the separator; None if there is no separator."""


def parse(text: str, name: str = "script") -> list[Block]:
    """The blocks of a script; `name` is for messages.  Raises `ScriptError`."""
    blocks: list[Block] = []
    begin = 0
    lines = [*text.split("\n"), ""]
    for end, content in enumerate(lines):
        if not content.strip():
            if end > begin:
                blocks.append(_block(name, begin + 1, lines[begin:end]))
            begin = end + 1
    return blocks


def _block(name: str, first: int, lines: list[str]) -> Block:
    if SEPARATOR in lines:
        cut = lines.index(SEPARATOR)
        block = Block(first, tuple(lines[:cut]), tuple(lines[cut + 1 :]))
        if all(_is_comment(line) for line in block.text):
            raise ScriptError(name, first + cut, f"{SEPARATOR} without a command above it")
        return block
    for offset, line in enumerate(lines):
        if not _is_comment(line):
            raise ScriptError(name, first + offset, f"a command without {SEPARATOR} below it: {line}")
    return Block(first, tuple(lines), None)


def _is_comment(line: str) -> bool:
    return line.startswith("#")


def play(text: str, name: str = "script") -> str:
    """The script with the answers it should have.

    Raises `ScriptError` for a script that makes no sense, `ScriptViolation` if a safety property does not hold.

    >>> print(play("cluster n1 pre_vote=no\\n----\\n\\nquietly timeout n1\\n----\\n"), end="")
    cluster n1 pre_vote=no
    ----
    n1: follower, term 0
    <BLANKLINE>
    quietly timeout n1
    ----
    n1: follower -> leader, term 0 -> 1, vote none -> n1, commit 0 -> 1, log 0@0 -> 1@1
    """
    player = _Player(name)
    return "\n\n".join("\n".join(player.play(block)) for block in parse(text, name)) + "\n"


class _Player:
    """Plays the blocks of one script in turn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._cluster: Cluster | None = None
        self._is_broken = False

    def play(self, block: Block) -> list[str]:
        """The block with its answer."""
        if block.answer is None:
            return list(block.text)
        answer: list[str] = []
        for number, line in enumerate(block.text, start=block.line):
            if not _is_comment(line):
                answer += self._answer(number, line)
        return [*block.text, SEPARATOR, *(answer or ["ok"])]

    def _answer(self, number: int, text: str) -> list[str]:
        if self._is_broken:
            raise ScriptError(self._name, number, "nothing can follow a command that breaks a property")
        first, _, rest = text.strip().partition(" ")
        try:
            if first == "breaks":
                return self._broken(rest)
            return self._quiet(rest) if first == "quietly" else self._said(text)
        except CommandError as problem:
            raise ScriptError(self._name, number, str(problem)) from None
        except PropertyViolated as violated:
            raise ScriptViolation(self._name, number, str(violated)) from None

    def _broken(self, text: str) -> list[str]:
        """The command must violate a property; its answer ends with which."""
        try:
            self._said(text)
        except PropertyViolated as violated:
            self._is_broken = True
            assert self._cluster is not None
            return [*self._cluster.lines, f"VIOLATED: {violated}"]
        raise CommandError("no property is broken by this")

    def _quiet(self, text: str) -> list[str]:
        """Of all that happens, what is different afterwards."""
        before = dict(self._cluster.servers) if self._cluster else {}
        self._said(text)
        assert self._cluster is not None
        return _differences(before, self._cluster.servers)

    def _said(self, text: str) -> list[str]:
        word, _, rest = text.strip().partition(" ")
        line = split(rest)
        if word == "cluster":
            if self._cluster is not None:
                raise CommandError("there is a cluster already")
            self._cluster = make_cluster(line)
        else:
            self._run(word, line)
        assert self._cluster is not None
        return self._cluster.lines

    def _run(self, word: str, line: Line) -> None:
        command = COMMANDS.get(word)
        if command is None:
            raise CommandError(f"unknown command: {word}")
        if self._cluster is None:
            raise CommandError("a script begins with: cluster NAME...")
        most = len(line.words) if command.most is None else command.most
        if not command.least <= len(line.words) <= most or not command.options.issuperset(line.options):
            raise CommandError(f"it is written: {word} {command.usage}")
        self._cluster.lines = []
        command.run(self._cluster, line)


def _differences(before: Mapping[ServerId, Server], after: Mapping[ServerId, Server]) -> list[str]:
    both = [name for name in after if name in before]
    changes = ((name, change_words(before[name], after[name], log=True)) for name in both)
    return [f"{name}: {change}" for name, change in changes if change]
