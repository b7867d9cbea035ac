"""The figures of one run with a row for each dataset, or for each part of the costs, drawn with plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hbo_plugin.report import series
from hbo_plugin.report.style import INK, OTHERS, Drawn, Key, new

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hbo_plugin.report.series import Shown
    from hbo_plugin.report.summary import Summary


def shares(run: Shown, found: Summary) -> Drawn:
    """Where each dataset began, where it is, and what it really had of the rows and tokens."""
    import plotly.graph_objects as go

    prior = run.prior()
    of = {each.name: each for each in found.datasets if each.name in run.names}
    looks = (
        ("prior", "line-ns-open", INK, [prior[name] for name in of]),
        ("weight now", "circle", "#0072b2", [each.weight.last for each in of.values()]),
        ("share of rows", "square-open", "#d55e00", [each.row_share for each in of.values()]),
        ("share of tokens", "diamond-open", "#009e73", [each.token_share for each in of.values()]),
    )
    labels = [run.keys[name].label for name in of]
    traces = [
        go.Scatter(
            x=values,
            y=[*range(len(labels))],
            name=name,
            mode="markers",
            cliponaxis=False,
            marker={"symbol": symbol, "color": colour, "size": 11, "line": {"width": 2, "color": colour}},
            hovertemplate="%{x:.2%}",
        )
        for name, symbol, colour, values in looks
    ]
    figure = in_rows(traces, labels, x="share", hovermode="y unified")
    figure.update_xaxes(tickformat=".0%", rangemode="tozero")
    return Drawn(figure, [Key(name, colour, symbol) for name, symbol, colour, _ in looks])


def epochs(run: Shown, found: Summary) -> Drawn:
    """How often each dataset was gone through, and its cap."""
    import plotly.graph_objects as go

    of = [each for each in found.datasets if each.name in run.names]
    labels = [run.keys[each.name].label for each in of]
    places = [*range(len(of))]
    bars = go.Bar(
        x=[each.epochs for each in of],
        y=places,
        orientation="h",
        name="epochs",
        marker={"color": [run.keys[each.name].colour for each in of]},
        hovertemplate="%{x:.2f}",
    )
    caps = go.Scatter(
        x=[run.history.about.max_epochs.get(each.name) for each in of],
        y=places,
        name="max_epochs",
        mode="markers",
        marker={"symbol": "line-ns-open", "color": INK, "size": 20, "line": {"width": 3, "color": INK}},
        hovertemplate="%{x:.2f}",
    )
    figure = in_rows([bars, caps], labels, x="epochs", hovermode="y unified", bargap=0.35)
    figure.update_xaxes(rangemode="tozero")
    return Drawn(figure, [Key("cap by max_epochs", INK, "line-ns-open")] if any(caps.x) else [])


def capped(run: Shown) -> Drawn | None:
    """When `max_epochs` lowered weights; None where it never did."""
    import plotly.graph_objects as go

    spans = {name: series.capped_spans(run.history, name) for name in run.history.datasets}
    found = {name: of for name, of in spans.items() if of}
    shown = [name for name in found if name in run.names] or [*found][: series.TOP]
    if not shown:
        return None
    labels = [Key(name, OTHERS).label for name in shown]
    bars = [
        go.Bar(
            x=[max(end - since, 0.2)],
            base=[since],
            y=[place],
            orientation="h",
            marker={"color": run.keys[name].colour if name in run.keys else OTHERS, "opacity": 0.35 + 0.65 * share},
            hovertemplate=f"steps {since:,} to {end:,}, up to {share:.0%} of its levels<extra></extra>",
        )
        for place, name in enumerate(shown)
        for since, end, share in found[name]
    ]
    figure = in_rows(bars, labels, hovermode="closest", barmode="overlay", bargap=0.35)
    figure.update_xaxes(range=[0, max(run.history.states[-1].step, 1)])
    return Drawn(figure)


def costs(seconds: Mapping[str, float]) -> Drawn:
    """What each part took."""
    import plotly.graph_objects as go

    parts = [Key(part, INK).label for part in seconds]
    bars = go.Bar(
        x=[*seconds.values()],
        y=[*range(len(parts))],
        orientation="h",
        marker={"color": "#0072b2"},
        hovertemplate="%{x:.2f} s<extra></extra>",
    )
    figure = in_rows([bars], parts, x="seconds", hovermode="closest", bargap=0.4)
    return Drawn(figure)


def in_rows(traces: Sequence[Any], labels: Sequence[str], *, height: int = 28, **layout: Any) -> Any:
    """A figure with one row for each label, of this height in pixels, the first at the top."""
    figure = new(traces, height=70 + height * len(labels), **layout)
    figure.update_xaxes(showgrid=True)
    figure.update_yaxes(
        tickvals=[*range(len(labels))],
        ticktext=labels,
        range=[len(labels) - 0.5, -0.5],
        showgrid=False,
    )
    return figure
