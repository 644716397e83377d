"""Panels and their places: so that a dashboard reads like its layout, row by row.

Grafana's grid is 24 columns wide. Panels of a line share it equally unless they say their width; a line is as high as
its panels. Data is what the variable `datasource` names: the Prometheus of a cluster, or the storage of all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import bargauge, common, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models import prometheus as prometheus_models

from components.observability.objectives import TARGET

COLUMNS = 24
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
WHERE = 'environment=~"$environment",region=~"$region",cluster=~"$cluster"'
"""Matchers of what every series has in the storage of all clusters. Of one cluster's own Prometheus, where they are
missing, all is chosen, which matches what is missing."""
WINDOW = "$__rate_interval"

GREEN, YELLOW, RED, BLUE = "green", "#EAB839", "red", "blue"
BUDGET_LEFT: Mapping[str, Any] = {"lines": {0: YELLOW, 0.25: GREEN}, "good": RED}
"""Colors of what is left of an error budget, of a panel: spent, nearly spent, enough."""
NAMES = {
    "fleet": "Fleet",
    "training": "Training",
    "serving": "Serving",
    "rollout": "Rollout",
    "cost": "Cost",
    "quality": "Model quality",
}
"""Every dashboard: its name, by which alerts know it, and its title."""


@dataclass(frozen=True)
class Query:
    """PromQL, and what a series of its answer is called, such as `{{model}}`."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel. `lines` are thresholds: value -> color from there on; `good` is the color below all of them."""

    kind: str
    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    lines: Mapping[float, str] | None = None
    good: str = GREEN
    width: int | None = None
    height: int = 8
    stacked: bool = False
    top: float | None = None
    """Where the axis ends; None: by the data."""
    decimals: int | None = None
    columns: Sequence[str] = ()
    """Of a table: labels to show, in their order; the value is the last."""
    texts: Mapping[str, tuple[str, str]] | None = None
    """Of values: what stands for them, and in which color."""
    empty: str = "no data"
    """What stands there when there is none: where that is good news, it says so."""
    link: tuple[str, str] | None = None
    """Title and URL of where a click leads."""


def lines(title: str, description: str, unit: str, *queries: Query, **how: Any) -> Panel:
    """Lines over time."""
    return Panel(kind="lines", title=title, description=description, unit=unit, queries=queries, **how)


def number(title: str, description: str, unit: str, query: str, **how: Any) -> Panel:
    """One number, as it is now, over its course."""
    return Panel(
        kind="number", title=title, description=description, unit=unit, queries=[Query(query)], **{"height": 4, **how}
    )


def bars(title: str, description: str, unit: str, *queries: Query, **how: Any) -> Panel:
    """A bar for each series, as it is now."""
    return Panel(kind="bars", title=title, description=description, unit=unit, queries=queries, **how)


def rows(title: str, description: str, unit: str, query: str, columns: Sequence[str], **how: Any) -> Panel:
    """A table of series, as they are now: their labels, and the value."""
    return Panel(
        kind="rows", title=title, description=description, unit=unit, queries=[Query(query)], columns=columns, **how
    )


def states(title: str, description: str, query: Query, **how: Any) -> Panel:
    """A band for each series that is 1, over time."""
    return Panel(kind="states", title=title, description=description, unit="none", queries=[query], **how)


def alerts(team: str, runbooks: str) -> Panel:
    """What this team is told now; a click leads to what to do about it."""
    columns = ("severity", "alertname", "environment", "region", "cluster")
    return rows(
        "Alerts",
        "What fires now and for whom. A click on a line opens its runbook.",
        "none",
        f"max by ({', '.join(columns)})" + f' (ALERTS{{{WHERE},alertstate="firing",team="{team}"}})',
        columns,
        empty="nothing fires",
        link=("runbook", f"{runbooks.rstrip('/')}/${{__data.fields.alertname}}.md"),
        width=COLUMNS,
        height=5,
    )


# ---- a dashboard


def dashboard(
    name: str,
    description: str,
    variables: Mapping[str, str],
    layout: Mapping[str, Sequence[Sequence[Panel]]],
    *,
    window: str = "now-6h",
) -> dict[str, Any]:
    """JSON of a dashboard. `variables`: name -> what `label_values` takes, as in `metric{matchers}, label`.

    `layout`: title of a row -> its lines of panels.
    """
    made = (
        builders.Dashboard(f"AI Cloud / {NAMES[name]}")
        .uid(f"aicloud-{name}")
        .description(description)
        .tags(["aicloud"])
        .time(window, "now")
        .refresh("1m")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
    )
    made.annotation(
        builders.AnnotationQuery()
        .name("weights of rollouts")
        .datasource(SOURCE)
        .enable(True)
        .icon_color(BLUE)
        .expr(f"max by (rollout, arm) (changes(rollout_weight_ratio{{{WHERE}}}[2m])) > 0")
    )
    for variable in _variables(variables):
        made.with_variable(variable)
    for other, title in NAMES.items():
        if other != name:
            link = builders.DashboardLink(title).type(models.DashboardLinkType.LINK).url(f"/d/aicloud-{other}")
            made.link(link.include_vars(True).keep_time(True))
    number_, top = 0, 0
    for title, panel_lines in layout.items():
        number_ += 1
        place = models.GridPos(h=1, w=COLUMNS, x=0, y=top)
        made.with_row(builders.Row(title).id(number_).grid_pos(place))
        top += 1
        for line in panel_lines:
            left, height = 0, max(panel.height for panel in line)
            for panel, width in zip(line, _widths(line), strict=True):
                number_ += 1
                place = models.GridPos(h=height, w=width, x=left, y=top)
                made.with_panel(_built(panel).id(number_).grid_pos(place).datasource(SOURCE))
                left += width
            top += height
    built: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    return built


def _widths(line: Sequence[Panel]) -> list[int]:
    left = COLUMNS - sum(panel.width or 0 for panel in line)
    open_ = [panel for panel in line if panel.width is None]
    share, more = divmod(left, len(open_)) if open_ else (0, 0)
    widths = []
    for panel in line:
        widths.append(panel.width or share + (1 if more > 0 else 0))
        more -= panel.width is None
    if sum(widths) > COLUMNS:
        titles = ", ".join(panel.title for panel in line)
        raise ValueError(f"{titles}: {sum(widths)} columns wide together; a line has {COLUMNS}")
    return widths


def _variables(variables: Mapping[str, str]) -> list[Any]:
    """The source, what all series have, and what this dashboard is about."""
    # Recorded in every cluster, and kept in the storage of all.
    everywhere = TARGET
    asked = {
        "environment": f"{everywhere}, environment",
        "region": f'{everywhere}{{environment=~"$environment"}}, region',
        "cluster": f'{everywhere}{{environment=~"$environment",region=~"$region"}}, cluster',
        **variables,
    }
    source = builders.DatasourceVariable("datasource").label("data source").type("prometheus")
    found: list[Any] = [source]
    for name, values in asked.items():
        query: dict[str, object] = {"query": f"label_values({values})", "refId": f"variable-{name}"}
        found.append(
            builders.QueryVariable(name)
            .label(name)
            .query(query)
            .datasource(SOURCE)
            .multi(True)
            .include_all(True)
            .all_value(".*")
            .current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.ALPHABETICAL_ASC)
        )
    return found


# ---- panels, as Grafana has them


def _built(panel: Panel) -> Any:
    made = {"lines": _lines, "number": _number, "bars": _bars, "rows": _rows, "states": _states}[panel.kind](panel)
    made.title(panel.title).description(panel.description).unit(panel.unit).no_value(panel.empty)
    for index, query in enumerate(panel.queries):
        asked = prometheus.Dataquery().expr(query.expr).ref_id(chr(ord("A") + index)).legend_format(query.legend)
        if panel.kind == "rows":
            asked.instant().format(prometheus_models.PromQueryFormat.TABLE)
        elif panel.kind == "bars":
            asked.instant()
        made.with_target(asked)
    steps = [models.Threshold(value=None, color=panel.good)]
    steps += [models.Threshold(value=value, color=color) for value, color in sorted((panel.lines or {}).items())]
    made.thresholds(builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps))
    if panel.decimals is not None:
        made.decimals(panel.decimals)
    if panel.texts:
        results = {
            value: models.ValueMappingResult(text=text, color=color) for value, (text, color) in panel.texts.items()
        }
        made.mappings([models.ValueMap(options=results)])
    if panel.link:
        title, url = panel.link
        made.data_links([builders.DashboardLink(title).url(url).target_blank(True)])
    return made


def _lines(panel: Panel) -> Any:
    made = (
        timeseries.Panel()
        .fill_opacity(25 if panel.stacked else 8)
        .line_width(1)
        .show_points(common_models.VisibilityMode.NEVER)
        .axis_soft_min(0)
        .legend(
            common.VizLegendOptions()
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    )
    if panel.top is not None:
        made.max(panel.top)
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL).group("A"))
    if panel.lines:
        style = common_models.GraphTresholdsStyleMode.DASHED
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(style))
    return made


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"])


def _number(panel: Panel) -> Any:
    colored = panel.lines or panel.texts
    return (
        stat.Panel()
        .reduce_options(_last())
        .graph_mode(common_models.BigValueGraphMode.NONE if panel.texts else common_models.BigValueGraphMode.AREA)
        .color_mode(common_models.BigValueColorMode.BACKGROUND if colored else common_models.BigValueColorMode.NONE)
    )


def _bars(panel: Panel) -> Any:
    made = bargauge.Panel().reduce_options(_last()).orientation(common_models.VizOrientation.HORIZONTAL).min(0)
    if panel.top is not None:
        made.max(panel.top)
    return made.display_mode(common_models.BarGaugeDisplayMode.BASIC)


def _rows(panel: Panel) -> Any:
    kept = {name: index for index, name in enumerate([*panel.columns, "Value"])}
    names = models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(kept)}})
    order = models.DataTransformerConfig(id_val="organize", options={"indexByName": kept, "renameByName": {}})
    return table.Panel().show_header(True).with_transformation(names).with_transformation(order)


def _states(_panel: Panel) -> Any:
    return statetimeline.Panel().show_value(common_models.VisibilityMode.NEVER).merge_values(True).row_height(0.8)
