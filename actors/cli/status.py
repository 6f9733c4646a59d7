"""`actorum status`: one line for each peer of a running cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from actors.cli.output import Output, output_option
from actors.cli.shared import data_option

if TYPE_CHECKING:
    from actors.protocol import Status
    from actors.service_protocol import ClusterReport, NodeReport


EXAMPLES = """
\b
Examples:
  actorum status
  actorum status --peer n2
  actorum status -o json | jq '.nodes[] | select(.role == "leader")'
"""


@click.command(epilog=EXAMPLES)
@data_option
@click.option("--peer", metavar="NAME", help="This peer in full.")
@output_option
def status(peer: str | None, data: Path, output: Output) -> None:
    """Who leads, who trails, who is down; or everything about one peer."""
    from actors.remote import connect

    with connect(data) as cluster:
        if peer is not None:
            from actors.cli.report import show

            show(cluster.report(peer), output)
            return
        report = cluster.status()
    head, rows = described(report)
    if output.is_table:
        output.line(
            f"CLUSTER {head['cluster']}   machine {head['machine']}   leader {head['leader'] or '-'}   "
            f"term {head['term']}   quorum {head['quorum']}"
        )
        output.rows([{key: value for key, value in row.items() if key != "error"} for row in rows])
        for recovery in report.recoveries:
            output.say(f"RECOVERED without a majority, {recovery}")
        for row in rows:
            if row["error"]:
                output.say(f"{row['node']} ended with: {row['error']}")
    else:
        output.record({**head, "nodes": rows})


def described(report: ClusterReport) -> tuple[dict[str, object], list[dict[str, object]]]:
    """The cluster in one record, and a record for each peer.  Times are seconds, indices are log indices."""
    up = [node.status for node in report.nodes if node.status is not None]
    leaders = sorted((one for one in up if one.role == "leader"), key=lambda one: one.term)
    leader = leaders[-1] if leaders else None
    voters = len(leader.voters if leader else report.nodes)
    head: dict[str, object] = {
        "cluster": report.name,
        "machine": report.machine,
        "leader": leader.server_id if leader else None,
        "term": max((one.term for one in up), default=0),
        "quorum": f"{voters // 2 + 1}/{voters}",
        "recoveries": list(report.recoveries),
    }
    return head, [_row(node, leader) for node in report.nodes]


def role_of(node: NodeReport, leader: Status | None) -> str:
    """What it is now: "learner" if it does not vote (yet), "no member" if the leader does not know it."""
    if node.status is None:
        return node.state
    if leader is None or node.status.role != "follower" or node.server_id in (*leader.voters, *leader.old_voters):
        return node.status.role
    return "learner" if node.server_id in leader.learners else "no member"


def _row(node: NodeReport, leader: Status | None) -> dict[str, object]:
    one = node.status
    leader_last = leader.last_index if leader else None
    row: dict[str, object] = {"node": node.server_id, "role": role_of(node, leader)}
    keys = (
        "term",
        "last",
        "written",
        "commit",
        "applied",
        "snapshot",
        "trails",
        "inbox",
        "dropped",
        "fsync_p99_ms",
        "uptime_s",
        "down_s",
    )
    row.update(dict.fromkeys(keys))
    row["pid"] = node.process_id or None
    if one is not None:
        row.update(
            term=one.term,
            last=one.last_index,
            written=one.written_index,
            commit=one.commit_index,
            applied=one.applied_index,
            snapshot=one.snapshot_index or None,
            trails=None if leader_last is None else max(0, leader_last - one.last_index),
            inbox=one.inbox_depth,
            dropped=one.dropped_messages,
            fsync_p99_ms=round(one.fsync_p99 * 1000, 2),
            uptime_s=round(one.uptime, 1),
        )
    else:
        row["down_s"] = round(node.seconds, 1)
    row["error"] = node.error.get("what", "")
    return row
