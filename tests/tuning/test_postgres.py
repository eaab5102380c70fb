"""Records in a real PostgreSQL: what it gives back, two tuners in one database, and a server that dies."""

import multiprocessing
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.postgres import PostgresServer
from tests.tuning.support import CONDITIONS, EXAMPLE, record
from utvm.tuning import Outcome, RecordError, RecordStore
from utvm.tuning import store as store_module


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def url(server: PostgresServer) -> str:
    """The server with no records in it."""
    with RecordStore(server.url) as store:
        store.remove([each.digest for each in store.records()])
    return server.url


def test_it_gives_back_what_it_got(url: str) -> None:
    several = [
        record(config={"größe": "α", "m": 3}, time=1764026429.123),
        record(cycles=None, instructions=2**40, outcome=Outcome.HUNG, message="µ\n'\"%s\\"),
        record(spread=0.1 + 0.2),
    ]
    with RecordStore(url) as store:
        before = store.last
        assert store.add(several) == 3
        assert store.add(several) == 0
        assert store.records() == several
        assert store.records(conditions=CONDITIONS, workloads=["Conv2D(x)"], after=before + 1) == several[1:]
        assert store.remove([several[1].digest]) == 1
        assert store.records() == [several[0], several[2]]


def test_first_tuners_that_come_together_make_one_table() -> None:
    with PostgresServer() as new:
        stores: list[RecordStore] = []
        threads = [threading.Thread(target=lambda: stores.append(RecordStore(new.url))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.add([record(time=float(number))]) for number, store in enumerate(stores)] == [1] * 8
        for store in stores:
            store.close()


def _add_for_ever(url: str, number: int) -> None:
    with RecordStore(url) as store:
        for count in range(10**6):
            store.add([record(workload=f"writer {number}", time=float(count))])


def test_writers_and_a_server_that_dies_leave_records_without_gaps(server: PostgresServer, url: str) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_for_ever, args=(url, number)) for number in range(2)]
    for writer in writers:
        writer.start()
    generator = random.Random(0)
    try:
        with RecordStore(url) as store:
            # A store that is just being opened waits for no server: both writers have theirs before it dies.
            _until(lambda: len({each.workload for each in store.records()}) == 2)
            for end in (server.kill, server.stop):
                before = len(store.records())
                _until(lambda before=before: len(store.records()) > before + 10)  # type: ignore[misc]
                time.sleep(generator.random() * 0.2)
                end()
                server.start()
            before = len(store.records())
            _until(lambda: len(store.records()) > before + 10)
        assert all(writer.is_alive() for writer in writers)
    except RecordError as error:
        raise AssertionError(server.log) from error
    finally:
        for writer in writers:
            writer.kill()
            writer.join()
    with RecordStore(url) as store:
        for number in range(2):
            times = [each.time for each in store.records(workloads=[f"writer {number}"])]
            assert times == [float(count) for count in range(len(times))]


def test_a_server_that_stays_away_is_one_clear_error(
    server: PostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "_BUSY_SECONDS", 1)
    with RecordStore(url) as store:
        server.stop()
        with pytest.raises(RecordError, match="--db"):
            store.add([record()])
        server.start()
        assert store.add([record()]) == 1


def test_two_tuners_share_a_server_that_is_killed_meanwhile(server: PostgresServer, url: str) -> None:
    """Both end well, nothing that either reported is missing, and a third goes on where they ended."""
    command = [
        sys.executable, "-m", "utvm", "tune", str(EXAMPLE), "--board", "qemu-cortex-m7", "--db", url,
        "--gain", "0", "--search", "random", "--trials", "4",
    ]  # fmt: skip
    tuners = [
        subprocess.Popen([*command, "--seed", seed], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for seed in "12"
    ]
    assert tuners[0].stderr is not None
    for line in tuners[0].stderr:
        if line.startswith("trial 2"):
            break
    server.kill()
    server.start()
    finished = 2
    for tuner in tuners:
        assert tuner.stderr is not None
        error = tuner.stderr.read()  # with what was read ahead of the line above, which communicate() would lose
        assert tuner.wait(timeout=300) == 0, error
        finished += sum(line.startswith("trial ") for line in error.splitlines())
    with RecordStore(url) as store:
        records = store.records()
        assert len(records) == finished == 8
        assert all(each.outcome is Outcome.OK for each in records)
        subprocess.run([*command, "--seed", "1"], check=True, capture_output=True, timeout=300)
        both = [(each.workload, each.candidate) for each in records]
        added = [(each.workload, each.candidate) for each in store.records()[8:]]
    assert len(added) == 4
    assert not set(added) & set(both)


def _until(met: object, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    assert callable(met)
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_address_of_no_server_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(store_module.time, "sleep", waits.append)
    with pytest.raises(RecordError, match="PostgreSQL database that runs"):
        RecordStore(f"postgresql://utvm@/postgres?host={tmp_path}")
    assert waits == [], "it was tried again"
