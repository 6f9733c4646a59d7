"""The storages of this package against the contract of a storage."""

from __future__ import annotations

import resource
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from actors.storage.conformance import MEBIBYTE, FailureConformance, StorageConformance
from actors.storage.journal import JournalStorage
from actors.storage.memory import MemoryStorage
from actors.storage.port import Storage
from actors.storage.sqlite import SqliteStorage


class TestMemoryStorage(StorageConformance):
    def make_storage(self) -> Storage:
        return MemoryStorage()

    def reopen(self, storage: Storage) -> Storage:
        storage.close()
        return storage


class _FileSuite(StorageConformance, FailureConformance):
    root: Path

    @classmethod
    def setup_class(cls) -> None:
        cls.root = Path(tempfile.mkdtemp())

    @classmethod
    def teardown_class(cls) -> None:
        shutil.rmtree(cls.root)

    def make_storage(self) -> Storage:
        return self.open(Path(tempfile.mkdtemp(dir=self.root)))

    def reopen(self, storage: Storage) -> Storage:
        assert isinstance(storage, SqliteStorage | JournalStorage)
        storage.close()
        return self.open(storage.path.parent)

    @abstractmethod
    def open(self, directory: Path) -> Storage:
        """The storage in `directory`."""

    def fail_soon(self, storage: Storage) -> Callable[[], None]:
        """The kernel refuses to let any file of this process grow beyond half a mebibyte (EFBIG)."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MEBIBYTE // 2, limits[1]))
        return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits)


class _SqliteSuite(_FileSuite):
    synchronous: Literal["full", "off"]

    def open(self, directory: Path) -> Storage:
        return SqliteStorage(directory / "log.db", cluster_id="c", server_id="n1", synchronous=self.synchronous)


class TestSqliteStorageThatSurvivesLossOfPower(_SqliteSuite):
    synchronous = "full"


class TestSqliteStorageThatSurvivesTheProcess(_SqliteSuite):
    synchronous = "off"


class TestJournalStorage(_FileSuite):
    def open(self, directory: Path) -> Storage:
        return JournalStorage(directory / "log", cluster_id="c", server_id="n1")
