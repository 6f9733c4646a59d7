"""One run of one cell, here and now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors import interpreter, session
from actors.compare.records import Cell, Experiment, Gate, Planned, Run
from actors.compare.running import carry_out

SECONDS = 0.25


def cell_of(runtime: str = "actors", isolation: str = "threads", **factors: Any) -> Cell:
    return Cell(runtime=runtime, isolation=isolation, **factors)  # type: ignore[arg-type]


def experiment_at(directory: Path) -> Experiment:
    (directory / "runs").mkdir(parents=True, exist_ok=True)
    return Experiment(directory)


def one_run(directory: Path, cell: Cell, seconds: float = SECONDS, seed: int = 7) -> Run:
    """In this process; what a run changes in it is put back."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "MAX_BATCH", session.MAX_BATCH)
        patch.setattr("sys.setswitchinterval", lambda _: None)
        patch.setattr(interpreter, "step_all", vars(interpreter)["step_all"])
        return carry_out(Planned(0, cell, 0, seed), experiment_at(directory), seconds)


def broken(run: Run) -> list[str]:
    """What failed, in words."""
    return [f"{gate.name}: {gate.detail}" for gate in run.gates if not gate.passed]


def made_up_run(planned: Planned, *, completed: int, seconds: float = 1.0, **fields: Any) -> Run:
    """A sound run that was never carried out; `fields` as in `Run`."""
    usual: dict[str, Any] = {
        "began": 0.0,
        "load_before": 0.0,
        "throughput": completed / seconds,
        "timeline": (completed,),
        "gates": (Gate("history is linearizable", True),),
    }
    return Run(
        number=planned.number,
        cell=planned.cell,
        repetition=planned.repetition,
        seed=planned.seed,
        seconds=seconds,
        completed=completed,
        refused=0,
        unknown=0,
        **(usual | fields),
    )
