"""Common parts of all figures: fonts, colours, colour bars, scale bars, and reproducible PNG files."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from PIL import Image

INK, QUIET, NO_DATA, GRID = "#1a1a1a", "#5c5c5c", "#dfe3ea", "#d9d9d9"
# Okabe and Ito (2008): distinguishable with any colour vision, and in this order on white paper too.
CYCLE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
DPI = 130
STYLE: Any = {
    "font.family": "DejaVu Sans", "font.size": 9, "text.color": INK,
    "axes.edgecolor": "#9a9a9a", "axes.linewidth": 0.6, "axes.prop_cycle": cycler(color=CYCLE),
    "axes.titlesize": 9.5, "axes.titlelocation": "left", "axes.titlepad": 4,
    "axes.labelcolor": INK, "axes.labelsize": 9, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.color": QUIET, "ytick.color": QUIET, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.frameon": False, "legend.fontsize": 8.5, "path.simplify": False,
}  # fmt: skip

P = ParamSpec("P")


def drawn(draw: Callable[P, Figure]) -> Callable[P, bytes]:
    """Turn a function that draws a figure into one that returns its PNG, in the common style."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> bytes:
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, "backend": "agg"}):
            return _png(draw(*args, **kwargs))

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a width and height in inches, with a layout that keeps labels inside."""
    figure = Figure(figsize=(width, height), facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _png(figure: Figure) -> bytes:
    """Bytes of the figure as an opaque PNG without metadata: equal pixels give equal bytes."""
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    figure.set_dpi(DPI)
    canvas.draw()
    picture = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    out = io.BytesIO()
    picture.save(out, format="PNG", compress_level=6)
    return out.getvalue()


def image_axis(axis: Axes, title: str = "") -> None:
    """Prepare an axis that shows a map: no ticks, a frame, a colour for missing data."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_facecolor(NO_DATA)
    for spine in axis.spines.values():
        spine.set_visible(True)
    if title:
        axis.set_title(title)


def show_map(
    axis: Axes,
    values: NDArray[Any],
    colours: str | Colormap,
    ends: tuple[float, float],
    title: str = "",
    unit: str = "",
    extend: str = "neither",
) -> AxesImage:
    """Draw a map as one panel; pixels of small maps are not interpolated.

    Parameters
    ----------
    axis : to draw on. values : (rows, cols), NaN where there are no data; the map's top is up.
    colours, ends : colour map and the values at its ends. title : of the panel.
    unit : label of a colour bar below the panel; '' for none. extend : ends that values may lie beyond.
    """
    image_axis(axis, title)
    smoothing = "nearest" if max(values.shape) < 400 else "antialiased"
    panel = axis.imshow(values, cmap=colours, vmin=ends[0], vmax=ends[1], interpolation=smoothing)
    if unit:
        colour_bar(axis, panel, unit, extend)
    return panel


def colour_bar(axis: Axes, panel: Any, label: str, extend: str = "neither", fill: bool = False) -> None:
    """Draw a horizontal colour bar below a panel's axis, or in the whole of `axis` (`fill`)."""
    position: Any = {"cax": axis} if fill else {"ax": axis, "fraction": 0.05, "pad": 0.02, "aspect": 28}
    bar = axis.figure.colorbar(panel, orientation="horizontal", extend=extend, **position)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.5, pad=2)
    bar.ax.locator_params(nbins=4)
    bar.set_label(label, fontsize=8, labelpad=1)


def scale_bar(axis: Axes, pixels: float, pixel_m: float) -> None:
    """Draw a scale bar of a round length in the lower left of a panel that is `pixels` wide."""
    metres = round_down(pixels * pixel_m / 3.5)
    bar = AnchoredSizeBar(
        axis.transData, metres / pixel_m, metres_text(metres), "lower left", pad=0.3, borderpad=0.4, sep=2,
        color="white", size_vertical=0.012 * pixels, label_top=True,
        fontproperties=FontProperties(family=STYLE["font.family"], size=8, weight="bold"),
    )  # fmt: skip
    # A dark background keeps the bar legible on sunlit slopes.
    bar.patch.set(facecolor="black", alpha=0.55, edgecolor="none")
    axis.add_artist(bar)


def round_ticks(axis: Axis) -> None:
    """Set ticks of a logarithmic axis at 1, 2 and 5 times powers of ten, labelled without exponents."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axis.set_minor_formatter(NullFormatter())


def metres_text(metres: float) -> str:
    """A length as text, in metres or kilometres."""
    return f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"


def round_down(value: float) -> float:
    """The largest 1, 2 or 5 times a power of ten that is not above a positive value."""
    power = 10.0 ** np.floor(np.log10(value))
    return float(power * max(step for step in (1, 2, 5) if step * power <= value * (1 + 1e-12)))


def round_up(value: float) -> float:
    """A value rounded up to two digits, for the end of a colour bar; 1 unless it is finite and positive."""
    if not value > 0 or not np.isfinite(value):
        return 1.0
    power = 10.0 ** (np.floor(np.log10(value)) - 1)
    return float(np.ceil(value / power - 1e-9) * power)
