"""The two runtimes differ in who takes turns, and in nothing else: what each can reach, and who asks which one runs.

This is what makes a comparison of the two fair, so it is checked on the source: a peer of either runtime reaches the
same core, interpreter, storage, links and codec, through chains of imports, and beside them only its own ring 3.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.imports import Source, sources

ROOT = Path(__file__).resolve().parents[2]

ACTORS_ALONE = {"actors.peer", "actors.mailbox", "actors.workers"}
"""Ring 3 of the actors; the twin's is everything in `actors.lock_based`."""
SHARED = {
    "raft_core.step",
    "actors.interpreter",
    "actors.applier",
    "actors.requests",
    "actors.deadlines",
    "actors.codec",
    "actors.machine",
    "actors.links.pipes",
    "actors.links.polling",
    "actors.reply_links",
    "actors.disks",
    "actors.notes",
    "actors.spec",
    "actors.control",
}
"""What must be on both sides, by name: an empty intersection would pass as well."""
STARTS_PEERS = {"actors.process", "actors.hosts", "actors.supervisor", "actors.cluster", "actors.client"}
"""What starts and calls peers: the same code for both, so no peer may import it."""


def graph() -> dict[str, set[str]]:
    """For each module of ours, those of ours that it imports when it is imported itself.  (What a function imports
    when it is called belongs to its caller: a machine can start a cluster, but no peer does.)"""
    modules = {module_of(source.path): source for source in our_sources()}
    edges: dict[str, set[str]] = {}
    for name, source in modules.items():
        found = set(imported(source))
        edges[name] = {known for known in modules for one in found if one == known or one.startswith(known + ".")}
    return edges


def imported(source: Source) -> Iterator[str]:
    for node in source.tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def our_sources() -> list[Source]:
    return sources(ROOT, "raft_core", "actors")


def module_of(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def reached_from(start: str) -> set[str]:
    edges = graph()
    reached, ahead = set[str](), [start]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead.extend(edges[name])
    return reached


def is_of_the_comparison(module: str) -> bool:
    """It stands outside both designs, looks into both, and is imported by neither (see the import rules)."""
    return module.startswith("actors.compare.")


def is_the_twins(module: str) -> bool:
    return module == "actors.lock_based" or module.startswith("actors.lock_based.")


def test_the_runtimes_reach_the_same_modules_except_their_own_ring_3() -> None:
    actors, locks = reached_from("actors.peer"), reached_from("actors.lock_based.peer")
    assert actors - locks == ACTORS_ALONE
    assert {module for module in locks - actors if not is_the_twins(module)} == set()
    assert actors & locks >= SHARED
    assert not (actors | locks) & STARTS_PEERS


def test_whatever_the_runtime_has_for_itself_is_in_one_place() -> None:
    twins = {module for module in graph() if is_the_twins(module)}
    library = {name: imported for name, imported in graph().items() if not is_of_the_comparison(name)}
    users = {name for name, imported in library.items() if imported & twins and not is_the_twins(name)}
    assert users == {"actors.sim.locked"}
    users = {name for name, imported in library.items() if imported & ACTORS_ALONE and name not in ACTORS_ALONE}
    assert users == set()


def test_nobody_asks_which_runtime_it_is() -> None:
    """Comparisons with the name of a runtime, anywhere; choosing one by name is for the tables of `runtimes`."""
    asking = []
    for source in our_sources():
        if is_of_the_comparison(module_of(source.path)):
            continue
        for node in ast.walk(ast.parse((ROOT / source.path).read_text())):
            if isinstance(node, ast.Compare | ast.Match):
                text = ast.unparse(node if isinstance(node, ast.Compare) else node.subject)
                if "runtime" in text and "RUNTIMES" not in text:
                    asking.append(f"{source.path}:{node.lineno}: {text}")
    assert asking == []
