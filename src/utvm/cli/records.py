"""`utvm records`: what was measured."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from utvm.cli.options import add_database

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(subparsers: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "records",
        help="list, show, export, import or prune tuning records",
        description="Records of trials: in an SQLite file or a PostgreSQL database, and as JSON Lines to pass on.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    for name, text in (
        ("list", "one line for each workload and board"),
        ("show", "every trial, workload by workload"),
        ("export", "write records as JSON Lines"),
        ("import", "add records from JSON Lines; those that are there stay"),
        ("prune", "delete failures, and all but the newest trial of each candidate and compiler"),
    ):
        action = actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        add_database(action)
        if name in ("export", "import"):
            action.add_argument("file", type=Path, metavar="FILE", help="JSON Lines, compressed if it ends in .gz")
        if name != "import":
            action.add_argument("--board", metavar="BOARD", help="only records of this board")
            action.add_argument("--workload", metavar="TEXT", help="only workloads that contain this text")
        action.set_defaults(run=_run, action=name)


def _run(arguments: argparse.Namespace) -> int:
    from utvm.report import count_text, print_table, records_table, trials_tables
    from utvm.tuning import RecordStore, default_database, read_lines, select, superseded, write_lines

    with RecordStore(arguments.db or default_database()) as store:
        if arguments.action == "import":
            added = store.add(read_lines(arguments.file))
            print(f"{added} records added to {store.name}")
            return 0
        records = select(store.records(), board=arguments.board, workload=arguments.workload)
        if arguments.action in ("list", "show") and not records:
            print(f"no such records in {store.name}: `utvm tune` measures, `utvm records import` adds")
        elif arguments.action == "list":
            print(f"{count_text(len(records), 'trial')} in {store.name}")
            print_table(records_table(records))
        elif arguments.action == "show":
            for table in trials_tables(records):
                print_table(table)
        elif arguments.action == "export":
            print(f"{write_lines(records, arguments.file)} records written to {arguments.file}")
        else:
            print(f"{store.remove(record.digest for record in superseded(records))} records deleted from {store.name}")
    return 0
