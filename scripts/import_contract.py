"""A contract for import-linter: a table of the packages, and of what each of them may import."""

from __future__ import annotations

from typing import TYPE_CHECKING

from importlinter import Contract, ContractCheck, fields, output

if TYPE_CHECKING:
    from grimp import ImportGraph


class MayImport(Contract):  # type: ignore[misc]  # import-linter's base class is untyped
    """Every direct import between two members of the root package is one that the table allows.

    Options:
        table: lines `member: name name …`, the members (packages or modules directly below the root) in any
            order. A line `member: *` allows everything. A member that is not in the table is a violation.
        shared: the members that every other may import and that import only each other.
    """

    type_name = "may_import"

    table = fields.ListField(subfield=fields.StringField())
    shared = fields.ListField(subfield=fields.StringField())

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Compare every direct import with the table."""
        (root,) = self.session_options["root_packages"]
        shared = set(self.shared)
        allowed = {name: set[str]() for name in shared}
        for line in self.table:
            member, _, names = line.partition(":")
            allowed[member.strip()] = set(names.split())
        problems = []
        for importer in sorted(graph.find_descendants(root) | {root}):
            member = _member(importer, root)
            if member not in allowed:
                problems.append(f"{importer}: '{member}' is not in the table")
                continue
            for imported in sorted(graph.find_modules_directly_imported_by(importer)):
                other = _member(imported, root)
                if other in {member, *shared, *allowed[member]} or "*" in allowed[member]:
                    continue
                lines = {
                    detail["line_number"] for detail in graph.get_import_details(importer=importer, imported=imported)
                }
                where = ", ".join(str(number) for number in sorted(lines))
                problems.append(f"{importer} -> {imported} (line {where}): '{member}' may not import '{other}'")
        return ContractCheck(kept=not problems, metadata={"problems": problems})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print every violation."""
        for problem in check.metadata["problems"]:
            output.print_error(problem, bold=False)


def _member(module: str, root: str) -> str:
    """Return the name directly below the root that a module belongs to; the root itself is `.`."""
    return "." if module == root else module.removeprefix(f"{root}.").split(".")[0]
