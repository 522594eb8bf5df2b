"""A contract for import-linter that its own kinds don't offer."""

from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class StandsAlone(Contract):
    """A package imports nothing of the package that holds it, whatever modules that may get."""

    package = fields.StringField()

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        package, holder = str(self.package), str(self.package).rpartition(".")[0]
        inside = {package, *graph.find_descendants(package)}
        outside = {holder, *graph.find_descendants(holder)} - inside
        broken = sorted(
            f"{importer} imports {imported}"
            for importer in inside
            for imported in graph.find_modules_directly_imported_by(importer) & outside
        )
        return ContractCheck(kept=not broken, metadata={"broken": broken})

    def render_broken_contract(self, check: Any) -> None:
        for line in check.metadata["broken"]:
            output.print_error(line)
