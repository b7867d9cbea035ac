"""The figures of one run over its steps, drawn with plotly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hbo_plugin.report import series
from hbo_plugin.report.effects import by_pair, effects
from hbo_plugin.report.style import INK, Drawn, Key, new, shade

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hbo_plugin.report.series import Line, Shown
    from hbo_plugin.report.summary import Summary


def mixture(run: Shown) -> Drawn:
    """The weights over the steps, one on the other, and the prior beside them."""
    import plotly.graph_objects as go

    lines = series.of_states(run.history, run.names, lambda state, name: state.weight(name), sum)
    prior = run.prior()
    bars, areas = [], []
    for line in lines:
        key = run.keys[line.name]
        hatched = {"shape": "/" if key.dash == "dash" else "", "fgcolor": "white", "fgopacity": 0.5, "size": 7}
        pattern = {**hatched, "fillmode": "overlay"}
        bars.append(
            go.Bar(
                x=["prior"],
                y=[prior[line.name]],
                name=key.label,
                marker={"color": key.colour, "pattern": pattern, "line": {"width": 0}},
                hovertemplate="%{y:.2%}",
            )
        )
        areas.append(
            go.Scatter(
                x=line.steps,
                y=line.values,
                name=key.label,
                xaxis="x2",
                stackgroup="weights",
                line={"width": 0.5, "color": key.colour, "shape": "hv"},
                fillcolor=key.colour,
                fillpattern=pattern if key.dash == "dash" else None,
                hovertemplate="%{y:.2%}",
            )
        )
    figure = new([*bars, *areas], height=340, y="weight", barmode="stack", bargap=0)
    figure.update_yaxes(range=[0, 1], tickformat=".0%", showgrid=False)
    axis = figure.layout.xaxis.to_plotly_json()
    figure.update_layout(
        xaxis={"domain": [0, 0.06], "title": {"text": ""}, "side": "top"},
        xaxis2={**axis, "domain": [0.08, 1], "anchor": "y"},
        margin={"t": 26},
    )
    return Drawn(figure, [*run.keys.values()])


def against_prior(run: Shown) -> Drawn:
    """Each weight over its prior; on a logarithmic axis where they differ much."""
    prior = run.prior()
    lines = series.of_states(run.history, run.names, lambda state, name: state.weight(name), sum)
    ratios = [
        series.Line(line.name, line.steps, [value and value / prior[line.name] for value in line.values])
        for line in lines
        if prior[line.name]
    ]
    drawn = courses(run.keys, ratios, "weight over its prior", shape="hv", form="%{y:.3f} of the prior")
    values = [value for line in ratios for value in line.values if value]
    if max(values) > 4 * min(values):  # a logarithmic axis of less has hardly a round number
        drawn.figure.update_yaxes(type="log", tickvals=_ticks(min(values), max(values)), tickformat="~g")
    drawn.figure.add_hline(y=1, line={"color": INK, "width": 1, "dash": "dash"})
    return drawn


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic axis, and few."""
    digits = (1, 2, 5) if high < 100 * low else (1,)
    return [digit * 10.0**power for power in range(-9, 10) for digit in digits]


def levels(run: Shown, dataset: str) -> Drawn:
    """The weights of the levels within a dataset, one on the other, the easiest at the bottom."""
    import plotly.graph_objects as go

    states = [state for state in series.thin(run.history.states) if state.weight(dataset)]
    count = sum(rows > 0 for rows in run.history.states[-1].rows[dataset])
    shades = [Key(f"level {level}", shade(level, count)) for level in range(count)]
    traces = [
        go.Scatter(
            x=[state.step for state in states],
            y=[state.weights[dataset][level] / state.weight(dataset) for state in states],
            name=key.name,
            stackgroup="levels",
            line={"width": 0.5, "color": key.colour, "shape": "hv"},
            fillcolor=key.colour,
            hovertemplate="%{y:.2%}",
        )
        for level, key in enumerate(shades)
    ]
    figure = new(traces, height=240, y="share of the dataset")
    figure.update_yaxes(range=[0, 1], tickformat=".0%", showgrid=False)
    return Drawn(figure, shades)


def losses(run: Shown, found: Summary, *, training: bool) -> Drawn | None:
    """Held-out losses with that of the target, or training losses; None without."""
    import plotly.graph_objects as go

    lines = series.of_losses(run.history, run.names, training=training)
    evaluations = [] if training else series.thin(run.history.evaluations)
    if not lines and not evaluations:
        return None
    drawn = courses(run.keys, lines, run.history.about.losses)
    if training:
        return drawn
    drawn.figure.add_trace(
        go.Scatter(
            x=[each.step for each in evaluations],
            y=[each.target for each in evaluations],
            name="target",
            line={"color": INK, "width": 3},
            mode="lines+markers",
            hovertemplate="%{y:.4f}",
        )
    )
    since = {each.name: each.overfits_since for each in found.datasets if each.overfits_since is not None}
    for line in lines:
        if line.name in since:
            drawn.figure.add_trace(
                go.Scatter(
                    x=[since[line.name]],
                    y=[dict(zip(line.steps, line.values, strict=True)).get(since[line.name])],
                    mode="markers",
                    marker={
                        "symbol": "circle-open",
                        "size": 15,
                        "color": run.keys[line.name].colour,
                        "line": {"width": 2},
                    },
                    hoverinfo="skip",
                )
            )
    return Drawn(drawn.figure, [Key("target", INK), *drawn.keys])


def signals(run: Shown) -> dict[str, Drawn]:
    """Each signal that is no effect or error, by its name."""
    names = dict.fromkeys(name for each in run.history.measured for name in each.signals)
    of_effects = {"branch_effect", "branch_error", "branch_noise", "transfer", "transfer_variance"}
    lines = {name: series.of_signal(run.history, run.names, name) for name in names if name not in of_effects}
    return {name: courses(run.keys, of, "") for name, of in lines.items() if of}


def on_held_out(run: Shown) -> dict[tuple[str, str], Drawn]:
    """What datasets did for held-out sets, with standard errors: by signal and set."""
    pairs = by_pair(effects(run.history.measured))
    sets = sorted({(signal, held_out) for signal, _, held_out in pairs})
    made = {}
    for signal, held_out in sets:
        of = {name: pairs[signal, name, held_out] for name in run.names if (signal, name, held_out) in pairs}
        lines = [
            series.Line(
                name, [each.step for each in found], [each.value for each in found], [each.error for each in found]
            )
            for name, found in of.items()
        ]
        drawn = courses(run.keys, lines, signal.replace("_", " "))
        drawn.figure.add_hline(y=0, line={"color": INK, "width": 1})
        made[signal, held_out] = drawn
    return made


def row_weights(run: Shown) -> Drawn | None:
    """The mean row weight of each dataset; None without row weights."""
    told = series.thin(run.history.weighed)
    lines = [
        series.Line(name, [each.step for each in told], [each.datasets[name] for each in told]) for name in run.names
    ]
    return courses(run.keys, lines, "mean row weight") if told else None


def packing(run: Shown) -> Drawn | None:
    """How full the packed batches were; None without packing."""
    states = series.thin([state for state in run.history.states if state.efficiency is not None])
    line = series.Line("efficiency", [state.step for state in states], [state.efficiency for state in states])
    return single(line, "efficiency", ".1%") if states else None


def delay(run: Shown) -> Drawn | None:
    """Rows that were still to be trained on under the old weights; None where nothing was measured."""
    states = series.thin([state for state in run.history.states if state.delay_rows is not None])
    line = series.Line("delay", [state.step for state in states], [state.delay_rows for state in states])
    return single(line, "rows", ",") if states else None


def single(line: Line, y: str, form: str) -> Drawn:
    """One line that belongs to no dataset."""
    figure = courses({line.name: Key(line.name, INK)}, [line], y, form=f"%{{y:{form}}}", height=220).figure
    figure.update_yaxes(tickformat=form, rangemode="tozero")
    return Drawn(figure)


def courses(
    keys: Mapping[str, Key],
    lines: Sequence[Line],
    y: str,
    *,
    form: str = "%{y:.4g}",
    shape: str = "linear",
    height: int = 300,
) -> Drawn:
    """A line for each of these, with bars where errors are known; few points are marked."""
    import plotly.graph_objects as go

    traces = [
        go.Scatter(
            x=line.steps,
            y=line.values,
            name=keys[line.name].label,
            line={**keys[line.name].line, "shape": shape},
            mode="lines+markers" if len(line.steps) < series.FEW else "lines",
            marker={"size": 5},
            error_y={"type": "data", "array": line.errors, "thickness": 1, "width": 3} if line.errors else None,
            hovertemplate=form,
        )
        for line in lines
    ]
    return Drawn(new(traces, height=height, y=y), [keys[line.name] for line in lines])
