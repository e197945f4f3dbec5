"""`query`: lists, single traces, series and statistics of what was loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from typing import Any

from beam_pipeline.commands.base import (
    OK,
    Command,
    CommandError,
    Invocation,
    checked_connection,
    log_console,
    print_json,
    print_text,
    where,
)
from beam_pipeline.commands.csv_output import CsvWriter
from beam_pipeline.commands.query_events import (
    columns_of,
    event_json,
    export_csv,
    page_note,
    print_events,
    print_events_csv,
    print_page,
)
from beam_pipeline.commands.query_options import (
    KINDS,
    QUERY,
    event_type_of,
    exports,
    label_paths,
    query_filters,
    query_problems,
)
from beam_pipeline.commands.query_output import (
    Table,
    distribution_and_trend_rows,
    distribution_rows,
    print_numbers,
    print_tree,
    series_rows,
    statistics_rows,
)
from beam_pipeline.option_parser import OptionsError
from beam_pipeline.options import CONNECTION, INPUT, OUTPUT
from beam_pipeline.query import BadArgument, ClickHouseQueryProvider, NotFound, QueryError
from beam_pipeline.query.lists.pages import DEFAULT_PER_PAGE
from beam_pipeline.query.lists.tree import SpanTree
from beam_pipeline.query.model import Page
from beam_pipeline.query.numbers.aggregates import Numbers
from beam_pipeline.query.numbers.series import Values as NumberValues
from beam_pipeline.query.numbers.series import count_only, errors, measures, per_second, quantiles
from beam_pipeline.schema import connect_if_there
from beam_pipeline.wording import counted

Values = Mapping[str, Any]
Ask = Callable[[ClickHouseQueryProvider, str, Values], None]


_SLOWEST = 10
"""The default of --limit for the slowest."""


def run(invocation: Invocation) -> int:
    """Runs one query and prints the result."""
    values, action = invocation.values, invocation.action
    problems = query_problems(action, values)
    if problems:
        raise OptionsError(problems)
    config = checked_connection(values)
    client = connect_if_there(replace(config, retry_attempts=1))
    if client is None:
        raise CommandError(f"{where(config)} is not there yet; nothing has been loaded into it")
    with client:
        try:
            _ASKERS.get(action, _list)(
                ClickHouseQueryProvider(client, moved=timedelta(seconds=values["moved"])), action, values
            )
        except BadArgument as error:
            name = {"start": "since", "end": "until"}.get(error.argument, error.argument)
            raise OptionsError([str(BadArgument(f"--{name}", error.value, error.expected))]) from error
        except QueryError as error:
            raise CommandError(str(error)) from error
    return OK


def _list(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    event_type, zone, chosen = event_type_of(action, values), values["tz"], values["columns"]
    columns = columns_of(event_type, chosen)
    list_page = partial(getattr(provider, f"list_{action}"), order=values["order"], **query_filters(action, values))
    if exports(values):
        export_csv(event_type, list_page, zone, chosen, values["limit"])
        return
    kept = {name: values[name] for name in ("page", "cursor", "count")}
    page: Page[Any] = list_page(per_page=DEFAULT_PER_PAGE if values["per_page"] is None else values["per_page"], **kept)
    if values["json"]:
        found = {name: getattr(page, name) for name in ("page", "per_page", "total", "has_more", "next_cursor")}
        print_json({action: [event_json(event, columns) for event in page], **found}, zone)
    elif values["csv"]:
        print_events_csv(event_type, page.items, zone, chosen)
        if page.has_more:
            log_console().print(page_note(event_type, page))
    else:
        print_page(event_type, page, zone, chosen)


def _slowest(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    of, zone, chosen = values["of"], values["tz"], values["columns"]
    columns = columns_of(of, chosen)
    ask = provider.slowest_spans if of == "span" else provider.slowest_traces
    limit = _SLOWEST if values["limit"] is None else values["limit"]
    found: Sequence[Any] = ask(limit, **query_filters(action, values))
    if values["json"]:
        print_json({f"{of}s": [event_json(event, columns) for event in found]}, zone)
    elif values["csv"]:
        print_events_csv(of, found, zone, chosen)
    elif found:
        print_events(of, found, zone, chosen, by="duration_ms")
    else:
        print_text(f"no {of}s with a duration")


def _trace(provider: ClickHouseQueryProvider, _: str, values: Values) -> None:
    trace_id, project_id = values["trace_id"], values["project_id"]
    try:
        trace = provider.get_trace(trace_id, project_id=project_id)
        project_id = trace.project_id
    except NotFound:
        trace = None  # its spans may have arrived before it
    try:
        tree = provider.get_span_tree(trace_id, project_id=project_id)
    except NotFound:
        if trace is None:
            raise NotFound(f"there is no trace {trace_id!r}, nor a span of it") from None
        tree = SpanTree(())
    spans = [node.span for node in tree.walk()]
    if values["json"]:
        nodes = [
            event_json(node.span) | {"depth": node.depth, "self_time_ms": node.self_time_ms} for node in tree.walk()
        ]
        print_json({"trace": event_json(trace) if trace else None, "spans": nodes}, values["tz"])
    elif values["csv"]:
        print_events_csv("span", spans, values["tz"])
    else:
        if trace:
            print_events("trace", [trace], values["tz"])
            print_text("")
        if spans:
            print_tree(tree)
        print_text(counted(len(spans), "span") + ("" if trace else "; the trace itself is missing"))


def _series(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    levels = values["percentiles"]
    methods: Mapping[str, tuple[Callable[..., Any], NumberValues]] = {
        "traces": (provider.get_trace_count_time_series, count_only),
        "error_rate": (provider.get_error_rate_time_series, errors),
        "throughput": (provider.throughput, per_second),
        "latency": (provider.latency_time_series, quantiles(levels)),
        "logs": (provider.log_volume, count_only),
        "metrics": (provider.metric_series, measures(levels)),
    }
    measure = values["measure"]
    kept: dict[str, Any] = {"interval": values["interval"], "source": values["source"]}
    groups = values["group_by"]
    if measure == "metrics":
        kept["group_by"], kept["group_by_labels"] = label_paths(groups)
    elif groups or measure != "logs":  # logs are grouped by level by default
        kept["group_by"] = groups
    else:
        groups = ("level",)
    if measure in ("throughput", "latency"):
        kept["of"] = values["of"]
    if measure in ("latency", "metrics"):
        kept["percentiles"] = levels
    method, numbers = methods[measure]
    series = method(**kept, **query_filters(action, values))
    table = series_rows(series, groups, _names(numbers, levels))
    _print_numbers(series, table, values, f"from {series.source}")


def _statistics(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    kept = {name: values[name] for name in ("of", "group_by", "source")}
    filters, levels = query_filters(action, values), values["percentiles"]
    if action == "percentiles":
        found = provider.latency_percentiles(percentiles=levels, **kept, **filters)
    else:
        found = provider.error_rate(**kept, **filters)
    numbers = quantiles(levels) if action == "percentiles" else errors
    table = statistics_rows(found, values["group_by"], _names(numbers, levels))
    _print_numbers(found, table, values, f"from {found.source}")


def _distribution(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    kept = {name: values[name] for name in ("bins", "normalized", "percentiles", "interval", "source")}
    found = provider.score_distribution(**kept, **query_filters(action, values))
    limits = {"mean": found.mean, "min": found.minimum, "max": found.maximum}
    numbers = limits | {f"p{level * 100:g}": value for level, value in found.percentiles.items()}
    told = [counted(found.count, "score")]
    told += [f"{name} {value:.6g}" for name, value in numbers.items() if value is not None]
    table = distribution_rows(found)
    if found.trend is None:
        _print_numbers(found, table, values, ", ".join(told))
        return
    trend = series_rows(found.trend, (), _names(measures(())))
    _print_numbers(
        found, distribution_and_trend_rows(found, trend) if values["csv"] else table, values, ", ".join(told)
    )
    if not (values["json"] or values["csv"]):
        print_text("")
        _print_numbers(found.trend, trend, values, f"from {found.trend.source}")


def _names(numbers: NumberValues, levels: Sequence[float] = ()) -> list[str]:
    """The names of the numbers, even if there are none."""
    return list(numbers(Numbers(quantiles=(None,) * len(levels)), 1))


def _print_numbers(found: Any, table: Table, values: Values, note: str) -> None:
    titles, rows = table
    if values["json"]:
        print_json(_plain(asdict(found)), values["tz"])
    elif values["csv"]:
        CsvWriter(titles, values["tz"]).write(rows)
    else:
        if rows:
            print_numbers(titles, rows, values["tz"])
        print_text(note if rows else f"nothing found; {note}")


def _plain(value: Any) -> Any:
    """Intervals in seconds, since JSON has none."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value.total_seconds() if isinstance(value, timedelta) else value


_ASKERS: Mapping[str, Ask] = {
    "trace": _trace,
    "slowest": _slowest,
    "series": _series,
    "percentiles": _statistics,
    "errors": _statistics,
    "distribution": _distribution,
}

COMMAND = Command(
    name="query",
    options=(INPUT, *CONNECTION, *QUERY, *OUTPUT),
    run=run,
    actions=tuple(KINDS),
    operands={"trace": "trace_id"},
    details=(
        "Examples:\n"
        "  python -m beam_pipeline query traces --input=DIR --since=2h --status=error\n"
        "  python -m beam_pipeline query trace ID --input=DIR\n"
        "  python -m beam_pipeline query series --input=DIR --measure=error_rate --interval=1h --since=1d\n"
        "  python -m beam_pipeline query percentiles --input=DIR --of=span --group_by=name\n"
        "If an option is repeated, all its values must match."
    ),
)
