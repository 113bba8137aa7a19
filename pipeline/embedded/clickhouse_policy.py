"""What the embedded endpoint does not run: whatever leaves the data folder, decided from ClickHouse's own parse.

The rule of the file: nothing is searched for in the text of a statement. The engine parses it (`parseQueryToJSON`,
`EXPLAIN AST`), and what stays inside is named here, so that a function, an engine or a setting that a newer ClickHouse
brings is refused until somebody has looked at it. Two things would pass the parser, and are closed elsewhere: data of
INSERT ... VALUES may hold expressions (see SETTINGS), and a table of the database `default` that does not exist is
looked for as a file (so no name may hold a slash, and the server works in an empty folder).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SETTINGS = {
    "input_format_values_interpret_expressions": "0",
    "input_format_values_deduce_templates_of_expressions": "0",
}
"""Set for every request: VALUES are values, else `INSERT INTO t VALUES (file('...'))` would read a file."""

_TABLE_FUNCTIONS = frozenset({
    "dictionary", "format", "generate_series", "generateseries", "generaterandom", "input", "null", "numbers",
    "numbers_mt", "primes", "values", "sqlstandardvalues", "view", "viewexplain", "viewifpermitted", "zeros",
    "zeros_mt",
})  # fmt: skip
_FUNCTIONS_THAT_LEAVE = frozenset({"file", "hascolumnintable", "showcertificate", "catboostevaluate"})
_TABLE_ENGINES = frozenset({
    "AggregatingMergeTree", "CoalescingMergeTree", "CollapsingMergeTree", "GraphiteMergeTree", "Join", "Log",
    "MaterializedView", "Memory", "MergeTree", "Null", "ReplacingMergeTree", "Set", "StripeLog", "SummingMergeTree",
    "TinyLog", "VersionedCollapsingMergeTree", "View",
})  # fmt: skip
_DATABASE_ENGINES = frozenset({"Atomic", "Memory"})
_TEXT_SETTINGS = frozenset({
    "bool_false_representation", "bool_true_representation", "format_csv_null_representation",
    "format_tsv_null_representation", "insert_deduplication_token", "log_comment", "output_format_pretty_grid_charset",
})  # fmt: skip
"""Settings made of text may hold a path, an address or an expression; these do not."""
_STATEMENTS = frozenset({
    "AlterQuery", "CheckTableQuery", "CreateQuery", "CreateSQLFunctionQuery", "DeleteQuery", "DropQuery",
    "ExplainQuery", "InsertQuery", "KillQueryQuery", "OptimizeQuery", "RenameQuery", "SelectWithUnionQuery", "SetQuery",
    "ShowColumnsQuery", "ShowIndexesQuery", "ShowTablesQuery", "SystemQuery", "UpdateQuery", "UseQuery",
})  # fmt: skip
_READS = frozenset({
    "ExplainQuery", "SelectWithUnionQuery", "ShowColumnsQuery", "ShowIndexesQuery", "ShowTablesQuery",
})  # fmt: skip
_PLAIN_STATEMENTS = frozenset({
    "DescribeQuery", "ExistsDatabaseQuery", "ExistsTableQuery", "ExistsViewQuery", "ShowCreateDatabaseQuery",
    "ShowCreateTableQuery", "ShowCreateViewQuery", "ShowEngineQuery", "ShowFunctions", "ShowProcesslistQuery",
    "ShowSetting",
})  # fmt: skip
"""Statements that `parseQueryToJSON` does not know; without functions in them they read nothing but our own tables."""
_SYSTEM = ("START_", "STOP_", "FLUSH_", "SYNC_", "WAIT_")
_NOT_NAMES = frozenset({"alias", "param_type", "pattern", "like"})
_NO_JSON = "does not support JSON serialization"
_UNREADABLE_SETTINGS = "type IN ('String', 'Map', 'URI', 'Dialect')"

Ask = Callable[[str, Mapping[str, str]], str]
"""Runs one of our own statements with String parameters; raises RuntimeError with ClickHouse's message."""


class Refused(Exception):
    """The statement would leave the data folder, or change something by GET; the text says what in it does."""

    def __init__(self, message: str, code: int = 497) -> None:
        super().__init__(message)
        self.code = code


class Policy:
    """Made once, from the engine's own lists of table functions, functions and settings."""

    def __init__(self, ask: Ask) -> None:
        def names(query: str) -> frozenset[str]:
            return frozenset(ask(query, {}).split())

        table_functions = names("SELECT lower(name) FROM system.table_functions")
        of_language_models = names("SELECT lower(name) FROM system.functions WHERE match(name, '(?i)^ai[A-Z]')")
        self._by_name = _FUNCTIONS_THAT_LEAVE | of_language_models
        self._functions = (table_functions - _TABLE_FUNCTIONS) | self._by_name
        text = names(f"SELECT name FROM system.settings WHERE {_UNREADABLE_SETTINGS}")  # noqa: S608 - our own text
        of_tables = names("SELECT name FROM system.merge_tree_settings WHERE type = 'String'")
        self._settings = (text | of_tables | SETTINGS.keys()) - _TEXT_SETTINGS

    def check(
        self, ask: Ask, sql: str, parameters: Mapping[str, str], *, with_data: bool = False, read_only: bool = False
    ) -> None:
        """Raises Refused, or RuntimeError for what is not one statement.

        `parameters` are those of `{name:Type}`; `with_data`: the data of this INSERT are streamed, not part of `sql`;
        `read_only`: the engine's own setting lets KILL and SYSTEM pass.
        """
        try:
            tree = json.loads(ask("SELECT parseQueryToJSON({sql:String})", {"sql": sql}))
        except RuntimeError as error:
            if _NO_JSON not in str(error):
                raise
            self._check_plain(ask, sql)
            return
        if tree["type"] not in _STATEMENTS:
            raise Refused(f"statements of the kind {tree['type']} are")
        if read_only and tree["type"] not in _READS:
            raise Refused(f"statements of the kind {tree['type']} (send them by POST, not GET) are", 164)
        if tree["type"] == "InsertQuery" and "format" in tree and not with_data:
            raise Refused("data that do not follow INSERT INTO ... FORMAT or VALUES directly are")
        for node in _nodes(tree):
            self._check_node(node, parameters)

    def check_settings(self, names: Iterator[str] | Mapping[str, object]) -> None:
        """Raises Refused for the first setting that may name a file, an address or an expression."""
        for name in names:
            if name in self._settings:
                raise Refused(f"the setting {name} is")

    def _check_node(self, node: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
        match node:
            case {"out_file": _} | {"infile": _} | {"attach_from_path": _}:
                raise Refused("files of the server (INTO OUTFILE, FROM INFILE, ATTACH ... FROM) are")
            case {"is_dictionary": True}:
                raise Refused("dictionaries are")
            case {"type": "Function", "kind": "TABLE_ENGINE", "name": name} if name not in _TABLE_ENGINES:
                raise Refused(f"tables of the engine {name} are")
            case {"type": "Function", "kind": "DATABASE_ENGINE", "name": name} if name not in _DATABASE_ENGINES:
                raise Refused(f"databases of the engine {name} are")
            case {"type": "Function", "name": name} if "kind" not in node and name.lower() in self._functions:
                raise Refused(f"the function {name} is")
            case {"name": name, "kind": "WINDOW_FUNCTION"} | {"func_name": name} if name.lower() in self._functions:
                raise Refused(f"the function {name} is")
            case {"type": "Identifier", "name": name} if name.lower() in self._by_name:  # arrayMap(file, [...])
                raise Refused(f"the function {name} (and a column of this name) is")
            case {"type": "SystemQuery", "query_type": kind} if not kind.startswith(_SYSTEM):
                raise Refused(f"SYSTEM {kind.replace('_', ' ')} is")
            case {"type": "SetQuery"}:
                changed = [change["name"] for change in node.get("changes", [])]
                self.check_settings(iter(changed + node.get("default_settings", [])))
            case {"type": "QueryParameter", "name": name, "param_type": "Identifier"}:
                _check_name(parameters.get(name, ""))
        if "field_type" not in node:  # a value, not a name
            for key, value in node.items():
                if isinstance(value, str) and key not in _NOT_NAMES:
                    _check_name(value)

    def _check_plain(self, ask: Ask, sql: str) -> None:
        """For DESCRIBE and its like. EXPLAIN is given the engine's own writing, which is one statement for certain."""
        alone = ask("SELECT formatQuerySingleLine({sql:String})", {"sql": sql})
        lines = [line.strip() for line in ask(f"EXPLAIN AST {alone}", {}).splitlines()]
        kind = lines[0].split(" ", 1)[0]
        if kind not in _PLAIN_STATEMENTS:
            raise Refused(f"statements of the kind {kind} are")
        if any(line.startswith(("Function", "QueryParameter")) for line in lines):
            raise Refused(f"functions and parameters in statements of the kind {kind} are")
        for line in lines:
            _check_name(line)


def _nodes(tree: Any) -> Iterator[Mapping[str, Any]]:
    pending = [tree]
    while pending:
        match pending.pop():
            case dict() as node:
                yield node
                pending += node.values()
            case list() as several:
                pending += several


def _check_name(name: str) -> None:
    if "/" in name:
        raise Refused("names with a slash, which could be files or addresses, are")
