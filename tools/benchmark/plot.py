"""The picture of the training step's growth and parts: bars, drawn with Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Optional

from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 1000  # pixels
_DPI = 100
_LINE = 0.26  # inches that a bar takes, and each line of a title
_BAR, _LIMIT = '#0072B2', '#D55E00'  # blue and vermilion of Okabe and Ito, told apart with every kind of colour vision


def draw(result: Mapping[str, Any]) -> Figure:
    """Seconds per megapixel by size and batch, and below it the share of the peak by part.

    Args:
        result: as growth prints it.

    Returns:
        A figure that becomes WIDTH pixels wide when it is saved.
    """
    growth = [
        (f'{row["size"]}x{row["size"]}, batch {row["batch"]}', row['seconds'] / row['pixels'] * 1e6)
        for row in result['steps']
        if 'seconds' in row
    ]
    parts = [(f'{row["part"]}, {row["phase"]}', row['share']) for row in [*result['parts'], result['step']]]
    lines = [len(growth) + 2, len(parts) + 2]
    figure = Figure(figsize=(WIDTH / _DPI, sum(lines) * _LINE), dpi=_DPI, layout='constrained')
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    above, below = figure.subplots(2, height_ratios=lines)
    _panel(above, 'Seconds of a step per megapixel of one domain', growth, '{:.3g}')
    _panel(below, f'Share of the peak, {result["peak"]:.0f} GFLOP/s', parts, '{:.0%}')
    below.axvline(1.0, color=_LIMIT, linewidth=2)
    return figure


def _panel(axes: Axes, title: str, rows: Sequence[tuple[str, Optional[float]]], form: str) -> None:
    """Draws bars from above to below, each with its number; None is a measure that failed."""
    axes.set_title(title, loc='left')
    bars = axes.barh(range(len(rows)), [value or 0.0 for _, value in rows], height=0.7, color=_BAR)
    axes.bar_label(bars, ['not measurable' if value is None else form.format(value) for _, value in rows], padding=5)
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.tick_params(length=0)
    axes.xaxis.set_visible(False)  # each bar has its number
    axes.margins(x=0.1, y=0.02)
    axes.invert_yaxis()
    axes.spines[:].set_visible(False)
