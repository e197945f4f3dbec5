"""`query`: asks what was loaded; lists, single traces, series and statistics."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any

from beam_pipeline.commands.base import (
    OK,
    Command,
    CommandError,
    Invocation,
    checked_connection,
    print_json,
    print_text,
    where,
)
from beam_pipeline.commands.query_options import (
    KINDS,
    QUERY,
    event_type_of,
    label_paths,
    query_filters,
    query_problems,
)
from beam_pipeline.commands.query_output import (
    distribution_rows,
    event_json,
    print_csv,
    print_events,
    print_events_csv,
    print_numbers,
    print_page,
    print_tree,
    series_rows,
    statistics_rows,
)
from beam_pipeline.options import CONNECTION, INPUT, OUTPUT, OptionsError
from beam_pipeline.query import BadArgument, ClickHouseQueryProvider, NotFound, QueryError
from beam_pipeline.query.model import Log, Metric, Page, Score, Span, Trace
from beam_pipeline.query.tree import SpanTree
from beam_pipeline.schema import connect_if_there

Values = Mapping[str, Any]
Ask = Callable[[ClickHouseQueryProvider, str, Values], None]

_MODELS: Mapping[str, type[Any]] = {"trace": Trace, "span": Span, "log": Log, "metric": Metric, "score": Score}


def run(invocation: Invocation) -> int:
    """Asks one question and prints the answer."""
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
    event_type = event_type_of(action, values)
    kept = {name: values[name] for name in ("page", "per_page", "cursor", "count")}
    page: Page[Any] = getattr(provider, f"list_{action}")(**kept, **query_filters(action, values))
    if values["json"]:
        found = {name: getattr(page, name) for name in ("page", "per_page", "total", "has_more", "next_cursor")}
        print_json({action: [event_json(event) for event in page], **found})
    elif values["csv"]:
        print_events_csv(_MODELS[event_type], page.items)
    else:
        print_page(event_type, page)


def _slowest(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    of = values["of"]
    ask = provider.slowest_spans if of == "span" else provider.slowest_traces
    found: Sequence[Any] = ask(values["limit"], **query_filters(action, values))
    if values["json"]:
        print_json({f"{of}s": [event_json(event) for event in found]})
    elif values["csv"]:
        print_events_csv(_MODELS[of], found)
    else:
        print_events(of, found)


def _trace(provider: ClickHouseQueryProvider, _: str, values: Values) -> None:
    trace_id, project_id = values["trace_id"], values["project_id"]
    try:
        trace = provider.get_trace(trace_id, project_id=project_id)
        project_id = trace.project_id
    except NotFound:
        trace = None  # its spans may have come before it
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
        print_json({"trace": event_json(trace) if trace else None, "spans": nodes})
    elif values["csv"]:
        print_events_csv(Span, spans)
    else:
        if trace:
            print_events("trace", [trace])
        if spans:
            print_tree(tree)
        print_text(f"{len(spans):,} spans" + ("" if trace else "; the trace itself is not there"))


def _series(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    methods: Mapping[str, Callable[..., Any]] = {
        "traces": provider.get_trace_count_time_series,
        "error_rate": provider.get_error_rate_time_series,
        "throughput": provider.throughput,
        "latency": provider.latency_time_series,
        "logs": provider.log_volume,
        "metrics": provider.metric_series,
    }
    measure = values["measure"]
    kept: dict[str, Any] = {"interval": values["interval"], "source": values["source"]}
    if measure == "metrics":
        kept["group_by"], kept["group_by_labels"] = label_paths(values["group_by"])
    elif values["group_by"] or measure != "logs":  # those are by level unless one says otherwise
        kept["group_by"] = values["group_by"]
    if measure in ("throughput", "latency"):
        kept["of"] = values["of"]
    if measure in ("latency", "metrics"):
        kept["percentiles"] = values["percentiles"]
    method = methods[measure]
    series = method(**kept, **query_filters(action, values))
    _print_numbers(series, series_rows(series), values, f"from {series.source}")


def _statistics(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    kept = {name: values[name] for name in ("of", "group_by", "source")}
    filters = query_filters(action, values)
    if action == "percentiles":
        found = provider.latency_percentiles(percentiles=values["percentiles"], **kept, **filters)
    else:
        found = provider.error_rate(**kept, **filters)
    _print_numbers(found, statistics_rows(found), values, f"from {found.source}")


def _distribution(provider: ClickHouseQueryProvider, action: str, values: Values) -> None:
    kept = {name: values[name] for name in ("bins", "normalized", "percentiles", "interval", "source")}
    found = provider.score_distribution(**kept, **query_filters(action, values))
    told = [f"{found.count:,} scores"]
    if found.count:
        percentiles = (
            f"p{level * 100:g} {value:.6g}" for level, value in found.percentiles.items() if value is not None
        )
        told += [f"mean {found.mean:.6g}", f"from {found.minimum:.6g} to {found.maximum:.6g}", *percentiles]
    _print_numbers(found, distribution_rows(found), values, ", ".join(told))
    if found.trend is not None and not (values["json"] or values["csv"]):
        print_numbers(*series_rows(found.trend))
        print_text(f"from {found.trend.source}")


def _print_numbers(found: Any, table: tuple[list[str], list[list[Any]]], values: Values, note: str) -> None:
    if values["json"]:
        print_json(_plain(asdict(found)))
    elif values["csv"]:
        print_csv(*table)
    else:
        print_numbers(*table)
        print_text(note)


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
        "Of repeatable options all must hold."
    ),
)
