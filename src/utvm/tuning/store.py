"""The record store: SQLite, or PostgreSQL by URL. Several tuners may share it; what is committed survives a kill."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from utvm.graph.names import printable
from utvm.prerequisites import how_to_add
from utvm.tuning.record import Conditions, Outcome, Record, RecordError, from_values

if TYPE_CHECKING:
    import sqlalchemy as sa

_BUSY_SECONDS = 30
_RETRY_SECONDS = 0.5
_PLACES = ("board", "core", "assume", "compiler")
_PASSWORD = re.compile(r"(://[^/@:]*:)[^/@]*@")
_Result = TypeVar("_Result")


def default_database() -> Path:
    """Return $UTVM_RECORDS, or `utvm/records.sqlite` below the user's data directory."""
    chosen = os.environ.get("UTVM_RECORDS")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(base) / "utvm" / "records.sqlite"


class RecordStore:
    """Records in a database; close it, or use it in a `with` statement.

    A PostgreSQL server that goes away is waited for half a minute, so that its restart costs nothing. What was not
    committed then is sent again; what was is found by its digest and stays as it is.

    Args:
        where: the path of an SQLite file (made if missing), or a URL such as `postgresql://user@host/database`.

    Raises:
        RecordError: a package is missing, or the database can't be reached or is not one.

    Attributes:
        name: `where`, for people: a URL's password is left out.

    Example:
        with utvm.RecordStore("records.sqlite") as store:
            print(len(store.records()))
    """

    def __init__(self, where: str | Path) -> None:
        if not isinstance(where, str | Path) or "\0" in str(where):
            raise RecordError(
                f"a {type(where).__name__} names no records: give a path of SQLite or a URL of PostgreSQL"
            )
        self.name = _PASSWORD.sub(r"\1***@", str(where))
        with self._explaining():
            self._engine, self._table = _open(str(where))

    def __repr__(self) -> str:
        """One line, without a password."""
        return f"RecordStore({self.name!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the database back."""
        self._engine.dispose()

    def add(self, records: Iterable[Record]) -> int:
        """Store records in one transaction and return how many were new; those that are there stay as they are."""
        rows = [_row(record) for record in records]
        if not rows:
            return 0

        def insert(connection: sa.Connection) -> int:
            before = self._count(connection)
            connection.execute(_insert(self._engine, self._table), rows)
            return self._count(connection) - before

        return self._transaction(insert)

    def records(
        self, *, conditions: Conditions | None = None, workloads: Sequence[str] | None = None, after: int = 0
    ) -> list[Record]:
        """Return the records of these conditions and workloads (all if None), in the order in which they came.

        Args:
            conditions: where they were measured.
            workloads: what was measured.
            after: only those that came after this `last` of the store.
        """
        import sqlalchemy as sa

        columns = self._table.c
        query = sa.select(self._table).where(columns.id > after).order_by(columns.id)
        if conditions is not None:
            for place in _PLACES:
                query = query.where(columns[place] == getattr(conditions, place))
        if workloads is not None:
            query = query.where(columns.workload.in_(list(workloads)))
        return self._transaction(lambda connection: [_record(row._mapping) for row in connection.execute(query)])

    @property
    def last(self) -> int:
        """A number that grows with every record."""
        import sqlalchemy as sa

        query = sa.select(sa.func.max(self._table.c.id))
        return self._transaction(lambda connection: int(connection.execute(query).scalar() or 0))

    def remove(self, digests: Iterable[str]) -> int:
        """Delete the records of these digests and return how many there were."""
        import sqlalchemy as sa

        wanted = list(digests)

        def delete(connection: sa.Connection) -> int:
            before = self._count(connection)
            for start in range(0, len(wanted), 500):
                part = wanted[start : start + 500]
                connection.execute(sa.delete(self._table).where(self._table.c.digest.in_(part)))
            return before - self._count(connection)

        return self._transaction(delete)

    def _transaction(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        """Return what `work` returns, in one transaction; begun anew while the server is away."""
        import sqlalchemy as sa

        deadline = time.monotonic() + _BUSY_SECONDS
        with self._explaining():
            while True:
                try:
                    with self._engine.begin() as connection:
                        return work(connection)
                except sa.exc.OperationalError:
                    # SQLite waits by itself for other writers; what it says then is final.
                    if self._engine.dialect.name == "sqlite" or time.monotonic() > deadline:
                        raise
                    time.sleep(_RETRY_SECONDS)

    def _count(self, connection: sa.Connection) -> int:
        import sqlalchemy as sa

        return int(connection.execute(sa.select(sa.func.count()).select_from(self._table)).scalar() or 0)

    @contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            extra = "postgres" if error.name == "psycopg" else "tune"
            raise RecordError(f"the record store needs {error.name}: `{how_to_add(extra)}`") from error
        except OSError as error:
            raise RecordError(f"the records in {self.name} can't be used: {error.strerror}") from error
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            # What a database hands out that has lost some of its bytes.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise RecordError(
                f"the records in {self.name} are damaged ({printable(reason)}): give --db or --records another file, "
                "and fill it by `utvm records import` from what was exported"
            ) from error
        except Exception as error:
            # SQLAlchemy's errors can't be named where it may not be installed.
            if type(error).__module__.split(".")[0] != "sqlalchemy":
                raise
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise RecordError(
                f"the records in {self.name} can't be used ({reason}): give --db or --records the path of an SQLite "
                "file or the URL of a PostgreSQL database that runs"
            ) from error


def _open(where: str) -> tuple[sa.Engine, sa.Table]:
    import sqlalchemy as sa

    if "://" in where:
        url = sa.make_url(where)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        engine = sa.create_engine(url, pool_pre_ping=True)
    else:
        path = Path(where)
        path.parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _set_up_sqlite)
    table = _table()
    try:
        table.metadata.create_all(engine)
    except sa.exc.DBAPIError:
        # Another tuner may have made it between our look and our making.
        if not sa.inspect(engine).has_table(table.name):
            raise
    return engine, table


def _set_up_sqlite(connection: Any, _: Any) -> None:
    """A log that readers don't wait for and that a kill leaves whole, synchronised at every commit."""
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={_BUSY_SECONDS * 1000}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.close()


def _table() -> sa.Table:
    import sqlalchemy as sa

    text = [sa.Column(name, sa.Text, nullable=False) for name in ("workload", "family", "code", *_PLACES)]
    more = [sa.Column(name, sa.Text, nullable=False) for name in ("generator", "outcome", "message")]
    sizes = [sa.Column(name, sa.BigInteger, nullable=False) for name in ("scratch_bytes", "flash_bytes")]
    times = ("spread", "time", "build_seconds", "load_seconds", "run_seconds")
    return sa.Table(
        "utvm_records",
        sa.MetaData(),
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(32), nullable=False, unique=True),
        *text,
        sa.Column("config", sa.JSON, nullable=False),
        *more,
        sa.Column("cycles", sa.BigInteger),
        sa.Column("cold_cycles", sa.BigInteger),
        sa.Column("instructions", sa.BigInteger),
        sa.Column("cycles_source", sa.Text),
        *sizes,
        *(sa.Column(name, sa.Double, nullable=False) for name in times),
        sa.Index("utvm_records_by_workload", "workload"),
    )


def _insert(engine: sa.Engine, table: sa.Table) -> sa.Insert:
    from sqlalchemy.dialects import postgresql, sqlite

    insert = sqlite.insert(table) if engine.dialect.name == "sqlite" else postgresql.insert(table)
    return insert.on_conflict_do_nothing(index_elements=["digest"])


def _row(record: Record) -> dict[str, Any]:
    names = [name for name in Record.__dataclass_fields__ if name not in ("conditions", "config", "outcome")]
    return {
        **{name: getattr(record, name) for name in names},
        **{place: getattr(record.conditions, place) for place in _PLACES},
        "config": dict(record.config),
        "outcome": record.outcome.value,
        "digest": record.digest,
    }


def _record(row: Any) -> Record:
    values = {name: value for name, value in row.items() if name not in ("id", "digest")}
    return from_values({**values, "outcome": Outcome(values["outcome"])})
