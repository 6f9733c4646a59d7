"""The ports to snapshots of this package against the contract of such a port."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from actors.storage.memory_snapshots import MemorySnapshots
from actors.storage.port import Snapshots
from actors.storage.snapshots import SnapshotFiles
from actors.storage.snapshots_conformance import SnapshotsConformance


class TestMemorySnapshots(SnapshotsConformance):
    def make_snapshots(self) -> Snapshots:
        return MemorySnapshots()

    def reopen(self, snapshots: Snapshots) -> Snapshots:
        return snapshots


class _FilesSuite(SnapshotsConformance):
    root: Path
    synchronous: bool

    @classmethod
    def setup_class(cls) -> None:
        cls.root = Path(tempfile.mkdtemp())

    @classmethod
    def teardown_class(cls) -> None:
        shutil.rmtree(cls.root)

    def make_snapshots(self) -> Snapshots:
        return self.open(Path(tempfile.mkdtemp(dir=self.root)))

    def reopen(self, snapshots: Snapshots) -> Snapshots:
        assert isinstance(snapshots, SnapshotFiles)
        return self.open(snapshots.directory)

    def open(self, directory: Path) -> Snapshots:
        return SnapshotFiles(directory, cluster_id="c", server_id="n1", synchronous=self.synchronous)


class TestSnapshotFilesThatSurviveLossOfPower(_FilesSuite):
    synchronous = True


class TestSnapshotFilesThatSurviveTheProcess(_FilesSuite):
    synchronous = False
