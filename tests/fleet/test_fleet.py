"""Fleets as users run them: the same results as one board, whatever dies meanwhile."""

import dataclasses
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import distributed
import psutil
import pytest

from tests.fleet.support import M7, FleetProcesses, make_tls
from tests.tuning.support import layer, task
from utvm import api
from utvm.fleet import Fleet, FleetError, fleet_rack
from utvm.fleet.rack import FleetRack
from utvm.fleet.shipment import Shipment
from utvm.fleet.worker import offered
from utvm.model_tuning import tune
from utvm.tuning import (
    BuiltCandidate,
    Expectation,
    Measurer,
    Outcome,
    Progress,
    RecordStore,
    Trial,
    build_candidate,
    expectation,
)

Found = set[tuple[str, Outcome, int | None]]


def _listening(process: int) -> list[str]:
    """Return the addresses on which a process listens."""
    return [each.laddr.ip for each in psutil.Process(process).net_connections("inet") if each.status == "LISTEN"]


def _emulators(host: int) -> list[psutil.Process]:
    """Return the emulators of a host, whose other children may end any moment."""
    found = []
    for each in psutil.Process(host).children():
        with suppress(psutil.NoSuchProcess):
            found += [each] if "qemu" in each.name() else []
    return found


def _tuned(database: Path, fleet: Fleet | None, observe: Callable[[Progress], None] | None = None) -> Found:
    """The whole space of a small layer; each candidate once."""
    done = tune(layer(), M7, fleet=fleet, database=database, search="exhaustive", gain=0.0, observe=observe)
    with RecordStore(database) as store:
        records = store.records()
    (report,) = done.report.layers
    assert len(records) == report.space == len({each.candidate for each in records})
    return {(each.candidate, each.outcome, each.cycles) for each in records}


def test_four_boards_of_two_hosts_find_what_one_finds_though_a_host_and_an_emulator_die(tmp_path: Path) -> None:
    alone = _tuned(tmp_path / "alone.sqlite", None)
    with FleetProcesses() as fleet:
        hosts = [fleet.worker([M7, M7]) for _ in range(2)]

        def kill(progress: Progress) -> None:
            if progress.trials == 3:
                hosts[0].kill()
            if progress.trials == 5:
                emulators = _emulators(hosts[1].pid)
                assert emulators
                emulators[0].kill()
            if progress.trials == 6:
                hosts[0] = fleet.worker([M7, M7])

        assert _tuned(tmp_path / "fleet.sqlite", fleet.fleet, kill) == alone
        rack = fleet_rack(fleet.fleet, api.as_board(M7))
        assert rack.boards == 4
        rack.close()


def test_a_host_that_joins_again_is_used_and_nothing_outlives_one_that_is_killed() -> None:
    wanted = task(api.as_board(M7))
    built = build_candidate(wanted.op, api.as_board(M7), wanted.default)
    expected = expectation(wanted)
    with FleetProcesses() as fleet:
        rack = None
        for how in (signal.SIGKILL, signal.SIGTERM):
            host = fleet.worker([M7])
            rack = rack or fleet_rack(fleet.fleet, api.as_board(M7))
            assert rack.submit(expected, built).result(120).outcome is Outcome.OK
            assert _listening(fleet.scheduler.pid) == _listening(host.pid) == ["127.0.0.1"]  # one port, on loopback
            family = psutil.Process(host.pid).children(recursive=True)
            assert family
            host.send_signal(how)
            assert host.wait(60) == (0 if how is signal.SIGTERM else -how)
            _, alive = psutil.wait_procs(family, timeout=120)
            assert not alive
        assert rack is not None
        rack.close()


def test_a_host_needs_no_file_of_the_host_that_built(tmp_path: Path) -> None:
    board = api.as_board(M7)
    wanted = task(board)
    built = build_candidate(wanted.op, board, wanted.default)
    assert built.image is not None
    away = tmp_path / "built.elf"
    away.write_bytes(built.image.path.read_bytes())
    sent = dataclasses.replace(built, image=dataclasses.replace(built.image, path=away))
    shipment = pickle.loads(pickle.dumps(Shipment.pack(expectation(wanted), sent, None)))
    away.unlink()
    measurer = Measurer(board=board, connect=lambda: api.connect(board))
    with shipment.unpacked(tmp_path) as here:
        trial = measurer.measure(shipment.expected, here)
    assert (trial.outcome, trial.cycles) == (Outcome.OK, measurer.measure(expectation(wanted), built).cycles)
    assert trial.cycles is not None
    measurer.close()
    assert not list(tmp_path.iterdir())


def test_tls_lets_in_whom_the_authority_signed(tmp_path: Path) -> None:
    inside, outside = make_tls(tmp_path, "lab"), make_tls(tmp_path, "others")
    wanted = task(api.as_board(M7))
    built = build_candidate(wanted.op, api.as_board(M7), wanted.default)
    with FleetProcesses(inside) as fleet:
        fleet.worker([M7])
        rack = fleet_rack(fleet.fleet, api.as_board(M7))
        assert rack.submit(expectation(wanted), built).result(120).outcome is Outcome.OK
        rack.close()
        for address, tls in ((fleet.fleet.address, outside), (fleet.fleet.address.replace("tls:", "tcp:"), None)):
            with pytest.raises(FleetError, match="no scheduler answers"):
                fleet_rack(Fleet(address=address, tls=tls), api.as_board(M7))


def test_what_a_fleet_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import utvm.fleet.rack as rack

    monkeypatch.setattr(rack, "_FIRST_BOARD_SECONDS", 0.5)
    monkeypatch.setattr(rack, "_CONNECT_SECONDS", 2.0)
    with pytest.raises(FleetError, match="no scheduler answers"):
        fleet_rack(Fleet(address="tcp://127.0.0.1:1"), api.as_board(M7))
    with FleetProcesses() as fleet:
        fleet.worker([M7])
        with pytest.raises(FleetError, match=f"like 'qemu-cortex-m4'.* it has {M7}"):
            fleet_rack(fleet.fleet, api.as_board("qemu-cortex-m4"))


def test_a_scheduler_that_dies_is_one_clear_error(tmp_path: Path) -> None:
    with FleetProcesses() as fleet:
        fleet.worker([M7])

        def kill(progress: Progress) -> None:
            if progress.trials == 2:
                fleet.scheduler.kill()

        with pytest.raises(FleetError, match="scheduler"):
            tune(layer(), M7, fleet=fleet.fleet, database=tmp_path / "store.sqlite", gain=0.0, observe=kill)
    with RecordStore(tmp_path / "store.sqlite") as store:
        assert len(store.records()) >= 2


def test_hosts_find_a_scheduler_that_was_started_again() -> None:
    wanted = task(api.as_board(M7))
    built = build_candidate(wanted.op, api.as_board(M7), wanted.default)
    with FleetProcesses() as fleet:
        fleet.worker([M7])
        fleet.start_scheduler_again()
        rack = fleet_rack(fleet.fleet, api.as_board(M7))
        assert rack.submit(expectation(wanted), built).result(120).outcome is Outcome.OK
        rack.close()


def test_a_result_that_dies_with_its_host_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = task(api.as_board(M7))
    built = build_candidate(wanted.op, api.as_board(M7), wanted.default)
    with FleetProcesses() as fleet:
        fleet.worker([M7])
        rack = fleet_rack(fleet.fleet, api.as_board(M7))
        assert isinstance(rack, FleetRack)
        done, lost = rack._done, list[str]()

        def done_when_it_is_gone(work: object, sent: distributed.Future[Trial]) -> None:
            if not lost:
                sent._state.lose()
                lost.append(sent.status)
            done(work, sent)  # type: ignore[arg-type]

        monkeypatch.setattr(rack, "_done", done_when_it_is_gone)
        assert rack.submit(expectation(wanted), built).result(120).outcome is Outcome.OK
        assert lost == ["lost"]
        rack.close()


def test_a_board_that_vanishes_leaves_the_fleet_and_comes_back(tmp_path: Path) -> None:
    away = tmp_path / "away"
    with FleetProcesses() as fleet:
        command = [sys.executable, "-m", "tests.fleet.flaky_host", fleet.fleet.address, str(away)]
        host = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        fleet.processes.append(host)
        rack = fleet_rack(fleet.fleet, api.as_board(M7))
        nothing, built = Expectation(key="", inputs={}, outputs={}), BuiltCandidate(outcome=Outcome.OK)

        def until(boards: int) -> None:
            deadline = time.monotonic() + 120
            while rack.boards != boards:
                assert time.monotonic() < deadline
                time.sleep(0.1)

        until(2)
        away.touch()
        trials = [rack.submit(nothing, built) for _ in range(12)]
        assert {each.result(120).message for each in trials} == {"good"}
        until(1)
        away.unlink()
        until(2)
        trials = [rack.submit(nothing, built) for _ in range(40)]
        assert {each.result(120).message for each in trials} == {"good", "flaky"}
        rack.close()


def test_one_kind_of_board_has_one_resource() -> None:
    board = api.as_board(M7)
    assert offered(board) == offered(api.as_board(M7))
    assert offered(board) != offered(api.as_board("qemu-cortex-m4"))
