"""A host with two stub boards, of which one is away while a file is there: ADDRESS FILE."""

import asyncio
import sys
import time
from pathlib import Path

from tests.fleet.support import M7
from utvm import api
from utvm.errors import UtvmError
from utvm.fleet import Fleet, worker
from utvm.fleet.servers import hush
from utvm.tuning import BoardLostError, BuiltCandidate, Expectation, Outcome, Trial


class Stub:
    """Says its name; `away` is the file, None if it is never away."""

    def __init__(self, name: str, away: Path | None) -> None:
        self.name = name
        self.kind = worker.offered(api.as_board(M7))
        self._away = away

    def open(self) -> None:
        if self._away is not None and self._away.exists():
            raise UtvmError("no cable")

    def measure(self, expected: Expectation, built: BuiltCandidate, assume: str | None) -> Trial:
        time.sleep(0.05)
        if self._away is not None and self._away.exists():
            raise BoardLostError("no cable")
        return Trial(outcome=Outcome.OK, message=self.name)

    def close(self) -> None:
        return


def main() -> None:
    hush()
    stubs = [Stub("good", None), Stub("flaky", Path(sys.argv[2]))]
    asyncio.run(worker.serve_slots(Fleet(address=sys.argv[1]), stubs, say=lambda line: print(line, file=sys.stderr)))


if __name__ == "__main__":
    main()
