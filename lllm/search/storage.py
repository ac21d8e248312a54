"""Where studies are kept: a file beside the runs, or a PostgreSQL server that many machines share."""

from __future__ import annotations

import logging
import os
import random
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from sqlalchemy import create_engine, event, exc, inspect
from sqlalchemy.engine import URL

from lllm.results.files import explained
from lllm.results.run import check_writable
from lllm.search.urls import StorageError, hint, is_file, parsed_url, text_of

__all__ = ["GRACE", "HEARTBEAT", "PATIENCE", "check_storage", "open_storage"]

T = TypeVar("T")

HEARTBEAT, GRACE = 10, 60  # seconds between two beats of a trial, and without one after which its driver counts as dead
PATIENCE = 300.0  # seconds that a storage may be away before a sweep gives up
_LOCKED = 60.0  # seconds that one operation waits for another process to let go of the file
_QUIET = 1.0  # seconds of absence about which nothing is said
_SHORT, _LONG = 0.1, 5.0  # seconds before the first further try, and at most
_RACES = 5  # tries of making the tables, which another driver may be making at the same moment
_OPERATIONS = {  # those of any storage, and those that Optuna's cache calls of this one
    *BaseStorage.__abstractmethods__,
    *BaseHeartbeat.__abstractmethods__,
    *("_create_new_trial", "_set_trial_param", "_get_trials", "_get_best_trial_id"),
    "get_trial_id_from_study_id_trial_number",
}


class _Patient(RDBStorage):
    """An RDBStorage of which every operation waits for a server that is away, or a file that another process holds,
    and is then tried again with growing pauses. All but one change nothing when they had been carried out and only the
    answer was lost; a trial that was created so is nobody's, and is taken over as a dead driver's is.
    """

    where: str
    patience: float
    say: Callable[[str], None]

    def patiently(self, operation: Callable[[], Any]) -> Any:
        """What the operation gives; StorageError where the storage was away for longer than `patience`, or cannot be
        used at all."""
        began, pause, said = time.monotonic(), _SHORT, False
        while True:
            try:
                return operation()
            except (StorageInternalError, exc.SQLAlchemyError) as error:
                cause = error.__cause__ if isinstance(error, StorageInternalError) else error
                away = time.monotonic() - began
                if not _passing(cause):
                    raise StorageError(f"{self.where}: {_reason(cause)}") from error
                if away > self.patience:
                    raise StorageError(
                        f"{self.where}: away for {away:.0f} s ({_reason(cause)}); nothing is lost: expected the same "
                        "command once it answers"
                    ) from error
            if away > _QUIET and not said:
                self.say(f"{self.where}: no answer; trying again for {self.patience:.0f} s, trials go on meanwhile")
                said = True
            time.sleep(pause * random.uniform(0.5, 1.0))  # not at the same moments as another driver
            pause = min(2 * pause, _LONG)


def _made_patient(name: str) -> Callable[..., Any]:
    method = getattr(RDBStorage, name)

    @wraps(method)
    def patient(self: _Patient, *arguments: Any, **options: Any) -> Any:
        return self.patiently(partial(method, self, *arguments, **options))

    return patient


for _name in filter(partial(hasattr, RDBStorage), _OPERATIONS):  # some are Optuna's own affair and may go
    setattr(_Patient, _name, _made_patient(_name))


def open_storage(
    url: str | None,
    root: Path,
    experiment: str,
    *,
    heartbeat: int = HEARTBEAT,
    grace: int = GRACE,
    patience: float = PATIENCE,
    say: Callable[[str], None] = lambda message: print(message, file=sys.stderr, flush=True),
) -> RDBStorage:
    """The storage at `url`, made ready for use; None: the file ROOT/EXPERIMENT/sweep.db. No message has its password.

    heartbeat, grace: seconds between two beats of a running trial, and without one after which it is taken over.
    patience: seconds that it may be away while it is used; say: told once of each such absence.

    Raises:
        StorageError: the URL is none, its driver is not installed, or the database cannot be reached, read or written.
    """
    parsed, where = _named(url, root, experiment)
    if is_file(parsed):
        with explained(Path(where)):
            Path(where).parent.mkdir(parents=True, exist_ok=True)
    engine = _engine(parsed)
    opened = partial(_Patient, text_of(parsed), engine, heartbeat_interval=heartbeat, grace_period=grace)
    storage = _reached(parsed, where, opened)
    storage.where, storage.patience, storage.say = where, patience, say
    if is_file(parsed):
        _take_turns(storage)
    return storage


def check_storage(url: str | None, root: Path, experiment: str) -> None:
    """Look, without making or changing anything, whether the storage at `url` could be opened. Raises as `open_storage`
    does."""
    parsed, where = _named(url, root, experiment)
    engine = _engine(parsed)
    if not is_file(parsed):
        engine["execution_options"] = {"postgresql_readonly": True}
    elif not os.path.exists(where):
        with explained(Path(where)):
            check_writable(Path(where).parent)
        return
    elif not os.path.isfile(where) or not os.access(where, os.W_OK):
        raise StorageError(f"{where}: unable to open database file; {hint(parsed)}")
    else:
        readable = f"file:{quote(str(Path(where).absolute()))}?mode=ro"
        engine["creator"] = lambda: sqlite3.connect(readable, uri=True, timeout=_LOCKED)

    def looked() -> None:
        probe = create_engine(parsed, **engine)
        try:
            there = inspect(probe).has_table("version_info")
        except exc.OperationalError as error:  # what a killed process left half written is put right by who opens it
            there = False
            if getattr(error.orig, "sqlite_errorname", "") != "SQLITE_READONLY_ROLLBACK":
                raise
        finally:
            probe.dispose()
        if there:  # its tables are not made, and seen to be of this Optuna
            RDBStorage(text_of(parsed), engine, skip_table_creation=True).engine.dispose()

    _reached(parsed, where, looked)


def _named(url: str | None, root: Path, experiment: str) -> tuple[URL, str]:
    """The storage's URL, and what it is called in messages."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    logging.getLogger("optuna.storages._rdb.storage").setLevel(logging.ERROR)  # warns of what is tried again, in SQL
    parsed = URL.create("sqlite", database=str(root / experiment / "sweep.db")) if url is None else parsed_url(url)
    if is_file(parsed):
        return parsed, str(parsed.database)
    port = f":{parsed.port}" if parsed.port else ""
    return parsed, f"{parsed.get_backend_name()}://{parsed.host or ''}{port}/{parsed.database or ''}"


def _engine(url: URL) -> dict[str, Any]:
    # the encoding is asked for: a cluster made under the locale C has none, and gives bytes for text
    options = {"timeout": _LOCKED} if is_file(url) else {"connect_timeout": 10, "client_encoding": "utf8"}
    return {"connect_args": options, "pool_pre_ping": not is_file(url)}


def _reached(url: URL, where: str, reach: Callable[[], T]) -> T:
    """What `reach` gives, which is tried again where another driver makes the tables at the same moment; StorageError
    says why the storage cannot be reached."""
    for attempt in range(1, _RACES + 1):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                return reach()
        except (ImportError, exc.NoSuchModuleError):
            expected = "" if is_file(url) else '; expected pip install "lllm[postgres]"'
            raise StorageError(f"{where}: its driver is not installed{expected}") from None
        except RuntimeError as error:  # made by another version of Optuna
            raise StorageError(f"{where}: {str(error).splitlines()[0]}") from None
        except (exc.SQLAlchemyError, StorageInternalError) as error:
            cause = error.__cause__ if isinstance(error, StorageInternalError) else error
            text = str(cause)
            raced = isinstance(cause, exc.IntegrityError) or "already exists" in text or "locked" in text
            if attempt == _RACES or not raced:
                raise StorageError(f"{where}: {_reason(cause)}; {hint(url)}") from None
            time.sleep(attempt * random.uniform(0.1, 0.3))
    raise AssertionError("the last attempt returns or raises")


def _take_turns(storage: RDBStorage) -> None:
    """Let each transaction on the file wait for its turn when it begins, as SQLAlchemy's documentation of pysqlite
    has it: by default a read and the write that depends on it are none, so that two drivers could take one trial."""

    @event.listens_for(storage.engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections that were opened before


def _passing(cause: BaseException | None) -> bool:
    """Whether it may be otherwise a moment later."""
    if isinstance(cause, exc.IntegrityError):  # another driver wrote the same at the same moment
        return True
    if "sqlite" in type(getattr(cause, "orig", None)).__module__:
        return "locked" in str(cause)
    lost = isinstance(cause, exc.DBAPIError) and cause.connection_invalidated
    return lost or isinstance(cause, exc.OperationalError | exc.InterfaceError)


def _reason(cause: BaseException | None) -> str:
    """The database's own first line."""
    lines = str(getattr(cause, "orig", None) or cause).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(cause).__name__
