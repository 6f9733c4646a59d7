"""The storages of this package against the contract of a storage."""

from __future__ import annotations

import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Literal

from actors.storage.conformance import MEBIBYTE, FailureConformance, StorageConformance
from actors.storage.journal import JournalStorage
from actors.storage.memory import MemoryStorage
from actors.storage.port import Storage
from actors.storage.sqlite import SqliteStorage
from tests.actors.storage.faults import broken, files_limited_to, written_file


def begun(fault: AbstractContextManager[None]) -> Callable[[], None]:
    """Begin a fault; what ends it is returned."""
    stack = ExitStack()
    stack.enter_context(fault)
    return stack.close


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

    def fill(self, storage: Storage) -> Callable[[], None]:
        """The kernel refuses to let any file of this process grow beyond half a mebibyte (EFBIG)."""
        return begun(files_limited_to(MEBIBYTE // 2))

    def break_down(self, storage: Storage) -> Callable[[], None]:
        """What is written to can only be read (EBADF)."""
        assert isinstance(storage, SqliteStorage | JournalStorage)
        return begun(broken(written_file(storage.path)))


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
