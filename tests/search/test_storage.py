"""Where studies are kept: made without set-up, refused in one sentence, waited for."""

from __future__ import annotations

import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import psycopg
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from lllm.errors import UserError
from lllm.search import storage as module
from lllm.search.storage import check_storage, open_storage
from lllm.search.urls import StorageError
from tests.search.helpers import wait_until
from tests.search.postgres import served

SECRET = "hidden0"


def study_of(path: Path, url: str | None = None) -> optuna.Study:
    storage = open_storage(url, path, "tiny")
    return optuna.create_study(storage=storage, study_name="a", load_if_exists=True)


def test_a_file_is_made_without_set_up_and_kept(tmp_path: Path) -> None:
    first = study_of(tmp_path / "results")
    assert (tmp_path / "results/tiny/sweep.db").is_file()
    assert first._storage.get_heartbeat_interval() == module.HEARTBEAT
    first.add_trial(optuna.create_trial(value=1.5))
    assert study_of(tmp_path / "results").best_value == 1.5


def test_odd_folders_are_written_as_they_are(tmp_path: Path) -> None:
    root = tmp_path / "a b {SCHEMA} 100%"
    study_of(root)
    assert (root / "tiny/sweep.db").is_file()
    study_of(tmp_path, f"sqlite:///{tmp_path}/made/x.db")
    assert (tmp_path / "made/x.db").is_file()


def test_drivers_that_start_at_once_make_one(tmp_path: Path) -> None:
    with ThreadPoolExecutor(6) as threads:
        studies = list(threads.map(lambda _: open_storage(None, tmp_path, "tiny"), range(6)))
    assert len(studies) == 6


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("foo", "not the URL of a database; expected sqlite:///FILE or postgresql://"),
        (f"mysql://a:{SECRET}@h/db", "mysql: no kind of storage that is known; expected"),
        (f"postgresql://a:{SECRET}@127.0.0.1:1/db", "postgresql://127.0.0.1:1/db: .*[Cc]onnection refused.*expected"),
        (f"postgresql://a:p@{SECRET}@h/db", "more than one '@'; expected %40"),
        (f"postgresql://a:p:{SECRET}@h:9x/db", "not the URL of a database"),
        (f"postgresql+nothere://a:{SECRET}@h/db", "postgresql://h/db: its driver is not installed"),
        ("sqlite://", "in memory is gone with the sweep"),
        ("sqlite:///:memory:", "in memory is gone with the sweep"),
        ("sqlite:///text", "text: file is not a database; expected a file that Optuna made"),
        ("sqlite:///text/x.db", "cannot be written"),
        ("sqlite:///folder", "folder: unable to open database file; expected"),
    ],
)
def test_what_cannot_be_used_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], url: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database\n" * 200)
    there = sorted(tmp_path.rglob("*"))
    for use in (check_storage, open_storage):
        with pytest.raises(UserError, match=said) as caught:
            use(url, tmp_path, "tiny")
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value) + "".join(capfd.readouterr())
    assert (tmp_path / "text").read_text() == "no database\n" * 200
    assert sorted(tmp_path.rglob("*")) == there


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_a_folder_in_which_nothing_can_be_made() -> None:
    for use in (check_storage, open_storage):
        with pytest.raises(UserError, match="/proc"):
            use("sqlite:////proc/x.db", Path(), "tiny")


def test_looking_makes_and_changes_nothing(tmp_path: Path) -> None:
    check_storage(None, tmp_path / "results", "tiny")
    check_storage(f"sqlite:///{tmp_path}/made/x.db", tmp_path, "tiny")
    (tmp_path / "empty.db").touch()
    check_storage(f"sqlite:///{tmp_path}/empty.db", tmp_path, "tiny")
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("empty.db", 0)]
    study_of(tmp_path / "a b {x}?#%").set_user_attr("a", 1)
    file = tmp_path / "a b {x}?#%/tiny/sweep.db"
    before = file.read_bytes()
    check_storage(None, tmp_path / "a b {x}?#%", "tiny")
    assert (file.read_bytes(), list(file.parent.iterdir())) == (before, [file])


def test_a_file_of_another_version_is_seen(tmp_path: Path) -> None:
    study_of(tmp_path)
    with closing(sqlite3.connect(tmp_path / "tiny/sweep.db")) as other, other:
        other.execute("UPDATE alembic_version SET version_num = 'v99'")
    for use in (check_storage, open_storage):
        with pytest.raises(UserError, match=r"sweep\.db: The runtime optuna version .* is no longer compatible"):
            use(None, tmp_path, "tiny")


def test_what_a_killed_process_was_writing_is_no_hindrance(tmp_path: Path) -> None:
    """A journal that is to be rolled back, which looking must not do."""
    study_of(tmp_path)
    file, journal = tmp_path / "tiny/sweep.db", tmp_path / "tiny/sweep.db-journal"
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("PRAGMA cache_size = 1")
        other.execute("BEGIN")
        for k in range(300):  # more than is held in memory
            other.execute("INSERT INTO studies (study_name) VALUES (?)", (f"{k}" * 100,))
        killed = [file.read_bytes(), journal.read_bytes()]
    file.write_bytes(killed[0])
    journal.write_bytes(killed[1])
    check_storage(None, tmp_path, "tiny")
    assert [file.read_bytes(), journal.read_bytes()] == killed
    assert [study.study_name for study in optuna.get_all_study_summaries(open_storage(None, tmp_path, "tiny"))] == ["a"]


def test_a_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(UserError, match=r"results/tiny/sweep\.db: cannot be written"):
        open_storage(None, tmp_path / "results", "tiny")


def test_a_driver_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UserError, match=r'not installed; expected pip install "lllm\[postgres\]"'):
        open_storage(f"postgresql://a:{SECRET}@h/db", tmp_path, "tiny")


def test_no_trial_of_a_queue_is_given_twice(tmp_path: Path) -> None:
    """Four drivers take from one queue as fast as they can."""
    queue = study_of(tmp_path)
    for k in range(40):
        queue.enqueue_trial({"x": k})
    given: list[int] = []

    def take(_: int) -> None:
        study = study_of(tmp_path)
        while (trial := study._pop_waiting_trial_id()) is not None:
            given.append(trial)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(take, range(4)))
    assert len(given) == 40
    assert len(set(given)) == 40
    assert {trial.state for trial in queue.get_trials()} == {TrialState.RUNNING}


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lock the file, from another connection, for so many seconds."""
    monkeypatch.setattr(module, "_LOCKED", 0.01)

    def lock(seconds: float) -> None:
        other = sqlite3.connect(tmp_path / "tiny/sweep.db", check_same_thread=False, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        threading.Timer(seconds, other.close).start()

    return lock


def test_a_locked_file_is_waited_for_and_that_is_said_once(tmp_path: Path, locked: Callable[[float], None]) -> None:
    said: list[str] = []
    storage = open_storage(None, tmp_path, "tiny", say=said.append)
    study = optuna.create_study(storage=storage)
    locked(3.0)
    study.set_user_attr("a", 1)
    assert study.user_attrs["a"] == 1
    assert len(said) == 1
    assert said[0].startswith(f"{tmp_path}/tiny/sweep.db: no answer; trying again")


def test_every_operation_is_patient() -> None:
    """Those that Optuna's own cache calls included; one that goes with another version is to be noticed."""
    for name in module._OPERATIONS:
        assert getattr(module._Patient, name) is not getattr(RDBStorage, name)


def test_patience_ends(tmp_path: Path, locked: Callable[[float], None]) -> None:
    storage = open_storage(None, tmp_path, "tiny", patience=0.5)
    study = optuna.create_study(storage=storage)
    locked(4.0)
    with pytest.raises(StorageError, match=r"sweep\.db: away for .* \(database is locked\); nothing is lost"):
        study.set_user_attr("a", 1)


def test_what_will_not_pass_is_not_waited_for(tmp_path: Path) -> None:
    storage = open_storage(None, tmp_path, "tiny")
    study = optuna.create_study(storage=storage)
    other = sqlite3.connect(tmp_path / "tiny/sweep.db")
    other.execute("DROP TABLE trials")
    other.commit()
    other.close()
    with pytest.raises(StorageError, match=r"sweep\.db: no such table: trials"):
        study.get_trials()


@pytest.mark.slow
def test_a_server_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    with served() as server:
        check_storage(server.url, tmp_path, "tiny")
        with psycopg.connect(server.url) as there:
            tables = there.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)
        open_storage(server.url, tmp_path, "tiny")
        check_storage(server.url, tmp_path, "tiny")
        server.kill()
        with pytest.raises(StorageError, match="expected a server that runs"):
            check_storage(server.url, tmp_path, "tiny")


@pytest.mark.slow
def test_a_server_that_is_killed_and_started_again_is_waited_for(tmp_path: Path) -> None:
    """In the middle of writing, again and again; every write that returned is there."""
    said: list[str] = []
    with served() as server:
        storage = open_storage(server.url, tmp_path, "tiny", say=said.append)
        study = optuna.create_study(storage=storage, study_name="a")
        study.add_trial(optuna.create_trial(state=TrialState.RUNNING))
        (trial,), ended, written = study.get_trials(), threading.Event(), 0

        def write() -> None:
            nonlocal written
            while not ended.is_set():
                storage.set_trial_user_attr(trial._trial_id, f"k{written}", written)
                written += 1

        writer = threading.Thread(target=write)
        writer.start()
        for outage in (1, 2):
            wait_until(lambda before=written: written > before + 2, "a write")
            server.kill()
            wait_until(lambda outage=outage: len(said) == outage, "a word about it")
            server.start()
        wait_until(lambda before=written: written > before + 2, "a write")
        ended.set()
        writer.join(60)
        assert not writer.is_alive()
        found = optuna.load_study(study_name="a", storage=open_storage(server.url, tmp_path, "tiny"))
        assert found.trials[0].user_attrs == {f"k{k}": k for k in range(written)}
        assert len(said) == 2  # once of each
        assert all("notused" not in line for line in said)
