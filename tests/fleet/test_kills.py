"""Tuning through a fleet into PostgreSQL while one of them all is killed: records stay whole, and tuning goes on.

UTVM_KILLS sets how often each of them is killed (otherwise a worker and the server are, once); UTVM_SEED varies when.
"""

import os
import random
import signal
import subprocess
import sys
import time

import psutil

from tests.fleet.support import M7, FleetProcesses
from tests.support.postgres import PostgresServer
from tests.tuning.support import EXAMPLE
from utvm.tuning import Outcome, RecordStore

VICTIMS = ("worker", "server", "tuner", "emulator")
RUNS = len(VICTIMS) * int(os.environ.get("UTVM_KILLS", "0")) or 2
FEW = "conv_2d_0,conv_2d_2"
TRIALS, FULL = 12, 50  # of 68 candidates


def test_whoever_is_killed_no_finished_trial_is_lost() -> None:
    generator, seen = random.Random(int(os.environ.get("UTVM_SEED", "0"))), 0
    with PostgresServer() as server, FleetProcesses() as fleet, RecordStore(server.url) as store:
        command = [
            sys.executable, "-m", "utvm", "tune", str(EXAMPLE), "--board", M7, "--fleet", fleet.fleet.address,
            "--operators", FEW, "--db", server.url, "--gain", "0", "--search", "random", "--trials", str(TRIALS),
        ]  # fmt: skip
        hosts = [fleet.worker([M7]) for _ in range(2)]
        for run in range(RUNS):
            victim = VICTIMS[run % len(VICTIMS)]
            tuner = subprocess.Popen([*command, "--seed", str(run)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            assert tuner.stderr is not None
            said = [tuner.stderr.readline()]
            time.sleep(generator.random() * 0.8)
            if victim == "tuner":
                tuner.kill()
            elif victim == "worker":
                host = generator.randrange(2)
                hosts[host].kill()
                hosts[host].wait()
                hosts[host] = fleet.worker([M7])
            elif victim == "emulator":
                children = psutil.Process(generator.choice(hosts).pid).children()
                for emulator in (each for each in children if "qemu" in each.name()):
                    emulator.send_signal(signal.SIGKILL)
            else:
                generator.choice([server.kill, server.stop])()
                server.start()
            said += tuner.stderr.readlines()
            status = tuner.wait(300)
            finished = sum(line.startswith(b"trial ") for line in said)
            assert (status, finished) == (0, TRIALS) or victim == "tuner", (victim, b"".join(said).decode())
            records = store.records()
            assert seen + finished <= len(records) <= seen + finished + 1, victim
            assert all(each.outcome is Outcome.OK for each in records), victim
            assert len({(each.workload, each.candidate) for each in records}) == len(records), victim
            assert all(each.cycles for each in records), victim
            seen = len(records)
            print(f"run {run + 1}: {victim} killed, {finished} trials reported, {seen} in the records", flush=True)
            if seen > FULL:  # what is known takes time to propose
                assert store.remove([each.digest for each in records]) == seen
                seen = 0
