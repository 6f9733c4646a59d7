"""One peer in full, on the terminal."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from actors.cli.output import Output, table
from actors.protocol import Report
from actors.reports import FollowerReport


def show(report: Report, output: Output) -> None:
    """As a block of lines and a table of followers; for programs, as it is."""
    if not output.is_table:
        output.record(as_record(report))
        return
    status, details = report.status, report.details
    snapshot = details.snapshot
    output.record(
        {
            "node": status.server_id,
            "role": f"{status.role} in term {status.term}",
            "leader": _contact(status.leader_id, details.last_contact),
            "voted_for": details.voted_for,
            "log": f"{status.first_index} to {status.last_index} (term {details.last_term})",
            "written": f"{status.written_index}, {details.unconfirmed_writes} writes under way",
            "commit": status.commit_index,
            "applied": status.applied_index,
            "snapshot": None if snapshot is None else _snapshot(report),
            "voters": ", ".join(status.voters),
            "learners": ", ".join(status.learners) or None,
            "members_of_entry": status.configuration_index,
            "disk": "stalled" if details.disk_is_stalled else "writes",
            "lease": "yes" if details.has_lease else None,
            "hands_over_to": details.transfer_target,
            "waiting_reads": details.waiting_reads,
            "uncommitted_bytes": details.uncommitted_bytes,
            "election_timeout_s": details.election_timeout,
            "watchers": details.watchers,
            "log_level": details.log_level,
            "ignored_events": details.ignored_events,
            "process": status.process_id or None,
            "uptime_s": round(status.uptime, 1),
            **{name: round(value, 6) for name, value in details.metrics.items()},
            **{f"setting_{name}": value for name, value in to_builtins(details.settings).items()},
        }
    )
    for line in table([_follower(follower) for follower in details.followers]):
        output.line(line)


def as_record(report: Report) -> dict[str, Any]:
    """For programs: the status, and beside it everything else."""
    return {**named(report.status), "details": named(report.details)}


def named(value: Any) -> Any:
    """Structs as records, also those that go as arrays over a link."""
    fields = getattr(value, "__struct_fields__", None)
    if fields is not None:
        return {name: named(getattr(value, name)) for name in fields if name != "batch_id"}
    if isinstance(value, tuple | list):
        return [named(one) for one in value]
    return value


def _snapshot(report: Report) -> str:
    snapshot = report.details.snapshot
    assert snapshot is not None
    return f"up to {snapshot.last_included_index} (term {snapshot.last_included_term}), {snapshot.size} bytes"


def _contact(name: str | None, seconds: float | None) -> str | None:
    return name if name is None or seconds is None else f"{name}, heard {seconds * 1000:.0f} ms ago"


def _follower(follower: FollowerReport) -> dict[str, object]:
    contact, sending = follower.last_contact, follower.snapshot_index
    return {
        "follower": follower.server_id,
        "match": follower.match_index,
        "next": follower.next_index,
        "state": "probing" if follower.is_probing else "streaming",
        "in_flight": follower.in_flight,
        "heard_ms_ago": None if contact is None else round(contact * 1000),
        "active": "yes" if follower.is_active else "no",
        "snapshot": None if sending is None else f"{sending} from byte {follower.snapshot_offset}",
    }
