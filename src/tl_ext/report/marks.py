"""Marks: what a figure says, without a plotting library.

A mark is a frozen record of the values, labels and titles of one figure. Lists, numpy arrays,
tensors and pandas tables are all taken, and kept as plain tuples, so that two equal figures are
equal and a figure cannot change once made. An undefined number (NaN) is kept as `None` and drawn
empty, never as zero. `tl_ext.report.interactive` and `tl_ext.report.png` draw marks.

Fields whose type is `Any` accept any sequence or array and hold tuples.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from tl_ext.errors import InputError
from tl_ext.report import _coerce
from tl_ext.report.wording import short, visible


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What every figure has: a title, and words for those who cannot see it.

    Attributes:
        title: Said above the figure.
        alt: What the figure shows, in words; empty means `describe()` says it.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".html", ".png")

    title: str = ""
    alt: str = ""

    def __post_init__(self) -> None:
        self._set(title=_coerce.text(self.title), alt=_coerce.text(self.alt))

    def _set(self, **values: object) -> None:
        """Set fields of a record that is being made (it is frozen afterwards)."""
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def describe(self) -> str:
        """A sentence on what is drawn, for screen readers."""
        return self.title or type(self).__name__

    @property
    def alt_text(self) -> str:
        """The words given, or else our own."""
        return self.alt or self.describe()

    def figure(self) -> Any:
        """The interactive figure.

        Returns:
            A `plotly.graph_objects.Figure`.

        Raises:
            InputError: The mark is text or a table, which is HTML and no plotly figure.
        """
        from tl_ext.report.interactive import figure

        return figure(self)

    def save(self, path: str | Path) -> Path:
        """Write the figure; what kind of file is read from the end of its name.

        Args:
            path: A name ending in one of `suffixes`.

        Returns:
            The path.

        Raises:
            InputError: The name ends in something else.
            OutputError: It cannot be written there.
        """
        path = Path(path)
        if path.suffix.lower() not in self.suffixes:
            raise InputError(
                f"{path.name}: a {type(self).__name__} cannot be saved as "
                f"{path.suffix or 'a file without a suffix'!r}; "
                f"expected a name ending in {' or '.join(self.suffixes)}."
            )
        if path.suffix.lower() == ".png":
            from tl_ext.report.png import write_png

            return write_png(self, path)
        from tl_ext.report.page import Figure, Page, Section, write_page

        block = Figure(self)
        only = Section(id="figure", title=self.title or type(self).__name__, blocks=(block,))
        return write_page(Page(title=only.title, sections=(only,)), path)

    def _repr_html_(self) -> str:
        from tl_ext.report.interactive import notebook_html

        return notebook_html(self)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """An axis: what it measures, in what unit.

    Attributes:
        title: What is measured.
        unit: Its unit, said in brackets.
        limits: The first and the last value shown; `None` fits the values.
        scale: Linear or logarithmic.
    """

    title: str = ""
    unit: str = ""
    limits: tuple[float, float] | None = None
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        _coerce.one_of(self.scale, ("linear", "log"), "Axis.scale")
        if self.limits is not None:
            limits = _limits(self.limits, "Axis.limits")
            if self.scale == "log" and limits[0] <= 0:
                raise InputError(
                    f"Axis.limits: got {limits}; a logarithmic axis needs limits above 0."
                )
            object.__setattr__(self, "limits", limits)

    @property
    def label(self) -> str:
        """The title with its unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """A word at a point of a figure."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Marker:
    """A line across a figure at one value, with its name: an observed value, a threshold."""

    value: float
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _coerce.defined([self.value], "Marker.value")[0])


@dataclass(frozen=True)
class Series:
    """Named points, with intervals and labels where there are any.

    Attributes:
        name: Said in the legend.
        x: Where each point stands.
        y: Its value.
        low: Lower end of its interval.
        high: Upper end of its interval.
        labels: A word on each point, shown when it is pointed at.
    """

    name: str
    x: Any
    y: Any
    low: Any = None
    high: Any = None
    labels: Any = None

    def __post_init__(self) -> None:
        what = f"series {self.name!r}"
        values: dict[str, Any] = {"name": _coerce.text(self.name)}
        values["x"] = _coerce.defined(self.x, f"{what} x")
        values["y"] = _coerce.numbers(self.y, f"{what} y")
        for end in ("low", "high"):
            given = getattr(self, end)
            values[end] = None if given is None else _coerce.numbers(given, f"{what} {end}")
        if (values["low"] is None) != (values["high"] is None):
            raise InputError(f"{what}: an interval needs both low and high; got one of them.")
        labels = self.labels
        values["labels"] = None if labels is None else _coerce.texts(labels, f"{what} labels")
        _coerce.same_length(what, **{name: values[name] for name in values if name != "name"})
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @classmethod
    def sparse(cls, name: str, dense: Any) -> Self:
        """The nonzero entries of a dense row of latents.

        Args:
            name: Said in the legend.
            dense: Activations [d_latent].

        Returns:
            A series whose x are the indices of the nonzero (and not undefined) entries.
        """
        kept = [
            (index, value)
            for index, value in enumerate(_coerce.numbers(dense, f"series {name!r}"))
            if value
        ]
        return cls(name, [index for index, _ in kept], [value for _, value in kept])

    @classmethod
    def of(cls, name: str, column: Any) -> Self:
        """A pandas column: its index is x, its values are y."""
        return cls(name, list(column.index), column)


@dataclass(frozen=True, kw_only=True)
class _Plane(Mark):
    """What figures with two axes share.

    Attributes:
        x: The axis across; a text is its title.
        y: The axis upwards; a text is its title.
        annotations: Words at points of the figure.
    """

    x: Axis | str = ""
    y: Axis | str = ""
    annotations: tuple[Annotation, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(x=_axis(self.x), y=_axis(self.y), annotations=tuple(self.annotations))

    @property
    def x_axis(self) -> Axis:
        """The axis across."""
        return _axis(self.x)

    @property
    def y_axis(self) -> Axis:
        """The axis upwards."""
        return _axis(self.y)

    @property
    def series_names(self) -> tuple[str, ...]:
        """What a legend would list."""
        return tuple(series.name for series in getattr(self, "series", ()))


@dataclass(frozen=True, kw_only=True)
class Stems(_Plane):
    """Activations of sparse latents: a line upwards at each latent that is not zero.

    Attributes:
        series: One per concept or language; x are indices of latents.
        length: Number of latents of the dictionary (d_latent): the axis covers them all.
        top: How many of the highest of each series are named by their index.
        named: Further latents to name, by index.
        arrangement: "overlaid" draws all upwards; "mirrored" draws the second of two series
            downwards, so that a latent active in both stands as one line on both sides.
    """

    series: Any
    length: int
    top: int = 3
    named: Any = ()
    arrangement: Literal["overlaid", "mirrored"] = "overlaid"
    x: Axis | str = "latent"
    y: Axis | str = "activation"

    def __post_init__(self) -> None:
        super().__post_init__()
        series = _several(self.series, "Stems.series")
        length = int(self.length)
        for one in series:
            for index in one.x:
                if index != int(index) or not 0 <= index < length:
                    raise InputError(
                        f"series {one.name!r}: latent {index:g} is not one of the {length} latents "
                        f"0 to {length - 1}. Give length= the dictionary's d_latent."
                    )
            if None in one.y:
                raise InputError(
                    f"series {one.name!r}: the activation of latent {one.x[one.y.index(None)]:g} "
                    "is undefined; leave it out before drawing."
                )
        if self.top < 0:
            raise InputError(f"Stems.top: got {self.top}; expected 0 or more.")
        _coerce.one_of(self.arrangement, ("overlaid", "mirrored"), "Stems.arrangement")
        if self.arrangement == "mirrored" and len(series) != 2:
            raise InputError(
                f"Stems.arrangement: 'mirrored' sets two series against each other; "
                f"got {len(series)}. Say 'overlaid'."
            )
        named = tuple(int(index) for index in _coerce.defined(self.named, "Stems.named"))
        self._set(series=series, length=length, named=named)

    def labelled(self, series: Series) -> tuple[tuple[int, float], ...]:
        """The points of one series that are named: (latent, activation), highest first."""
        points = [
            (int(index), float(value)) for index, value in zip(series.x, series.y, strict=True)
        ]
        points.sort(key=lambda point: (-abs(point[1]), point[0]))
        top = points[: self.top]
        return tuple(top + [p for p in points[self.top :] if p[0] in self.named])

    def describe(self) -> str:
        """The number of active latents, and the highest, of each series."""
        parts = []
        for series in self.series:
            told = ", ".join(f"{i} ({short(v)})" for i, v in self.labelled(series)[:3])
            highest = f"; highest: {told}" if told else ""
            parts.append(f"{series.name}: {len(series.x)} of {self.length} latents{highest}")
        return _sentence(self.title, self.y_axis.label, ". ".join(parts))


@dataclass(frozen=True, kw_only=True)
class Bars(_Plane):
    """Bars, one group per label.

    Attributes:
        labels: One per group.
        series: One `Series` per colour, or a mapping of names to values; x is the label's place.
        orientation: "horizontal" reads better where labels are long.
    """

    labels: Any
    series: Any
    orientation: Literal["vertical", "horizontal"] = "vertical"

    def __post_init__(self) -> None:
        super().__post_init__()
        labels = _coerce.texts(self.labels, "Bars.labels")
        given = self.series
        if isinstance(given, Mapping):
            given = [Series(str(n), range(len(_coerce.listed(v))), v) for n, v in given.items()]
        series = _several(given, "Bars.series")
        for one in series:
            bad = [place for place in one.x if place not in range(len(labels))]
            if bad:
                raise InputError(
                    f"series {one.name!r}: a bar at {bad[0]:g}, but there are {len(labels)} "
                    "labels. Give one value per label, x counting them from 0."
                )
        _coerce.one_of(self.orientation, ("vertical", "horizontal"), "Bars.orientation")
        self._set(labels=labels, series=series)

    def describe(self) -> str:
        """How many bars, from what to what."""
        spans = ". ".join(f"{s.name}: {_span(s.y)}" for s in self.series)
        return _sentence(self.title, f"{len(self.labels)} groups of bars", spans)


@dataclass(frozen=True, kw_only=True)
class Lines(_Plane):
    """Lines, each with its interval as a band where there is one.

    Attributes:
        series: One per line.
        markers: Values on the axis across, each a line with its name.
    """

    series: Any
    markers: tuple[Marker, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(series=_several(self.series, "Lines.series"), markers=tuple(self.markers))

    def describe(self) -> str:
        """From what to what each line goes."""
        parts = (f"{s.name}: {len(s.x)} points, {_span(s.y)}" for s in self.series)
        return _sentence(self.title, f"{self.y_axis.label} over {self.x_axis.label}", *parts)


@dataclass(frozen=True, kw_only=True)
class Scatter(_Plane):
    """Points.

    Attributes:
        series: One per colour and marker; `labels` are shown when a point is pointed at.
        diagonal: Draw the line y = x, for two measures of the same thing.
    """

    series: Any
    diagonal: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._set(series=_several(self.series, "Scatter.series"))

    def describe(self) -> str:
        """How many points there are."""
        parts = (f"{s.name}: {len(s.x)} points" for s in self.series)
        return _sentence(self.title, f"{self.y_axis.label} against {self.x_axis.label}", *parts)


@dataclass(frozen=True, kw_only=True)
class Histogram(_Plane):
    """How often values fall where, with lines at values to compare them with.

    Attributes:
        values: The values; undefined ones are left out and counted in `undefined`.
        bins: Number of bins of equal width.
        markers: Values marked by a line, such as an observed one among a null distribution.
        undefined: How many values were undefined.
    """

    values: Any
    bins: int = 30
    markers: tuple[Marker, ...] = ()
    y: Axis | str = "count"
    undefined: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = _coerce.numbers(self.values, "Histogram.values")
        values = tuple(value for value in given if value is not None)
        if not values:
            raise InputError("Histogram.values: got no defined value; expected at least one.")
        if self.bins < 1:
            raise InputError(f"Histogram.bins: got {self.bins}; expected at least 1.")
        self._set(values=values, markers=tuple(self.markers), undefined=len(given) - len(values))

    def counted(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Edges of the bins [bins + 1] and the count of each [bins]."""
        low, high = min(self.values), max(self.values)
        if low == high:
            low, high = low - 0.5, high + 0.5
        width = (high - low) / self.bins
        counts = [0] * self.bins
        for value in self.values:
            counts[min(int((value - low) / width), self.bins - 1)] += 1
        return tuple(low + i * width for i in range(self.bins + 1)), tuple(counts)

    def describe(self) -> str:
        """How many values from what to what, and where the lines stand."""
        marked = (f"{m.label or 'line'} at {short(m.value)}" for m in self.markers)
        return _sentence(
            self.title, f"histogram of {len(self.values)} values, {_span(self.values)}", *marked
        )


@dataclass(frozen=True, kw_only=True)
class Heatmap(_Plane):
    """A table of numbers as colours; undefined cells stay empty.

    Attributes:
        values: Numbers [row, column]; a pandas table brings its labels with it.
        rows: Labels of the rows.
        columns: Labels of the columns.
        scale: "diverging" for values around zero, "sequential" for amounts.
        limits: The ends of the colours; `None` is (-1, 1) for "diverging", which is right for
            cosines and correlations, and the values' own range for "sequential".
        value_name: What a cell measures, said beside the colours.
        row_groups: The group of each row, such as its layer; a line is drawn between groups.
        column_groups: The group of each column.
        cell_text: "shown", "hidden", or "auto": shown in tables of up to 14 rows and columns.
    """

    values: Any
    rows: Any = None
    columns: Any = None
    scale: Literal["diverging", "sequential"] = "diverging"
    limits: tuple[float, float] | None = None
    value_name: str = "cosine"
    row_groups: Any = ()
    column_groups: Any = ()
    cell_text: Literal["auto", "shown", "hidden"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        rows, columns = self.rows, self.columns
        if hasattr(self.values, "columns"):
            rows = list(self.values.index) if rows is None else rows
            columns = list(self.values.columns) if columns is None else columns
        values = _coerce.matrix(self.values, "Heatmap.values")
        rows = _coerce.texts(range(len(values)) if rows is None else rows, "Heatmap.rows")
        columns = _coerce.texts(
            range(len(values[0])) if columns is None else columns, "Heatmap.columns"
        )
        row_groups = _coerce.texts(self.row_groups, "Heatmap.row_groups")
        column_groups = _coerce.texts(self.column_groups, "Heatmap.column_groups")
        _coerce.same_length("Heatmap rows", values=values, rows=rows, row_groups=row_groups or None)
        _coerce.same_length(
            "Heatmap columns",
            values=values[0],
            columns=columns,
            column_groups=column_groups or None,
        )
        _coerce.one_of(self.scale, ("diverging", "sequential"), "Heatmap.scale")
        _coerce.one_of(self.cell_text, ("auto", "shown", "hidden"), "Heatmap.cell_text")
        limits = None if self.limits is None else _limits(self.limits, "Heatmap.limits")
        self._set(values=values, rows=rows, columns=columns, limits=limits)
        self._set(row_groups=row_groups, column_groups=column_groups)

    @property
    def drawn_limits(self) -> tuple[float, float]:
        """The values at the two ends of the colours."""
        if self.limits is not None:
            return self.limits
        if self.scale == "diverging":
            return (-1.0, 1.0)
        known = [value for row in self.values for value in row if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    @property
    def undefined(self) -> int:
        """How many cells are empty."""
        return sum(value is None for row in self.values for value in row)

    @property
    def shows_text(self) -> bool:
        """Whether each cell carries its number."""
        small = max(len(self.rows), len(self.columns)) <= 14
        return self.cell_text == "shown" or (self.cell_text == "auto" and small)

    def describe(self) -> str:
        """Its size and range."""
        known = [value for row in self.values for value in row if value is not None]
        size = f"{len(self.rows)} rows by {len(self.columns)} columns"
        empty = [f"{self.undefined} undefined cells are empty"] if self.undefined else []
        return _sentence(self.title, f"heatmap of {self.value_name}, {size}", _span(known), *empty)


@dataclass(frozen=True, kw_only=True)
class Panels(Mark):
    """Small multiples: several figures of one kind side by side.

    Attributes:
        panels: The figures; the title of each is said above it.
        columns: How many side by side where there is room.
        share_x: "all" gives every panel the same range across, "none" its own.
        share_y: The same, upwards. Activations of different layers differ in size, so that the
            default leaves each panel its own.
    """

    panels: Any
    columns: int = 4
    share_x: Literal["all", "none"] = "all"
    share_y: Literal["all", "none"] = "none"

    def __post_init__(self) -> None:
        super().__post_init__()
        panels = tuple(self.panels)
        if not panels:
            raise InputError("Panels.panels: got none; expected at least one figure.")
        for panel in panels:
            if not isinstance(panel, _Plane):
                raise InputError(
                    f"Panels.panels: a {type(panel).__name__} cannot be a panel; expected Stems, "
                    "Bars, Lines, Scatter, Histogram or Heatmap."
                )
        if self.columns < 1:
            raise InputError(f"Panels.columns: got {self.columns}; expected at least 1.")
        _coerce.one_of(self.share_x, ("all", "none"), "Panels.share_x")
        _coerce.one_of(self.share_y, ("all", "none"), "Panels.share_y")
        self._set(panels=panels)

    @property
    def series_names(self) -> tuple[str, ...]:
        """The series of all panels, each once, in order: what one legend says."""
        return tuple(dict.fromkeys(name for panel in self.panels for name in panel.series_names))

    def describe(self) -> str:
        """The panels, one after another."""
        told = [panel.alt_text for panel in self.panels]
        return _sentence(self.title, f"{len(told)} panels", *told)


@dataclass(frozen=True, kw_only=True)
class TokenText(Mark):
    """A text whose tokens are coloured by a number each.

    Attributes:
        tokens: The text of each token, in order, with its own spaces.
        values: One number per token; undefined (the first has no probability) stays uncoloured.
        value_name: What the number is.
        scale: "sequential" or "diverging".
        limits: The values at the ends of the colours.
        numbers: "shown" writes each number below its token, "hidden" only on pointing at it;
            "auto" shows them for up to 40 tokens.
    """

    tokens: Any
    values: Any
    value_name: str = "probability"
    scale: Literal["sequential", "diverging"] = "sequential"
    limits: tuple[float, float] | None = (0.0, 1.0)
    numbers: Literal["auto", "shown", "hidden"] = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        tokens = _coerce.texts(self.tokens, "TokenText.tokens")
        values = _coerce.numbers(self.values, "TokenText.values")
        if not tokens:
            raise InputError("TokenText.tokens: got none; expected at least one token.")
        _coerce.same_length("TokenText", tokens=tokens, values=values)
        _coerce.one_of(self.scale, ("sequential", "diverging"), "TokenText.scale")
        _coerce.one_of(self.numbers, ("auto", "shown", "hidden"), "TokenText.numbers")
        limits = None if self.limits is None else _limits(self.limits, "TokenText.limits")
        self._set(tokens=tokens, values=values, limits=limits)

    @property
    def drawn_limits(self) -> tuple[float, float]:
        """The values at the two ends of the colours."""
        if self.limits is not None:
            return self.limits
        known = [value for value in self.values if value is not None] or [0.0, 1.0]
        low, high = min(known), max(known)
        if self.scale == "diverging":
            far = max(abs(low), abs(high)) or 1.0
            return (-far, far)
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    @property
    def shows_numbers(self) -> bool:
        """Whether each number is written below its token."""
        return self.numbers == "shown" or (self.numbers == "auto" and len(self.tokens) <= 40)

    def describe(self) -> str:
        """The text, and the range of its numbers."""
        text = visible("".join(self.tokens))
        told = text if len(text) <= 200 else text[:199] + "…"
        return _sentence(self.title, f"{self.value_name} of each token, {_span(self.values)}", told)


@dataclass(frozen=True, kw_only=True)
class TableMark(Mark):
    """A table.

    Attributes:
        data: A pandas table, or a sequence of mappings; kept as rows of plain values.
        columns: Names of the columns; read from the data unless given.
        first: How many rows are shown; the page says how many there are in all.
        formats: How to write the numbers of a column: its name to a format such as ".3f".
        numeric: For each column, whether all its defined values are numbers (aligned right).
    """

    suffixes: ClassVar[tuple[str, ...]] = (".html",)

    data: Any
    columns: Any = None
    first: int = 20
    formats: Any = ()
    numeric: tuple[bool, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        super().__post_init__()
        data, columns = self.data, self.columns
        if hasattr(data, "columns") and hasattr(data, "itertuples"):
            given = list(data.columns)
            rows = [list(row) for row in data.itertuples(index=False, name=None)]
        else:
            records = [dict(record) for record in data]
            given = list(dict.fromkeys(name for record in records for name in record))
            rows = [[record.get(name) for name in given] for record in records]
        if columns is not None:
            missing = [name for name in columns if name not in given]
            if missing:
                raise InputError(f"TableMark.columns: {missing[0]!r} is not one of {given}.")
            keep = [given.index(name) for name in columns]
            given, rows = list(columns), [[row[i] for i in keep] for row in rows]
        if not given:
            raise InputError("TableMark.data: got no columns; expected at least one.")
        if self.first < 1:
            raise InputError(f"TableMark.first: got {self.first}; expected at least 1.")
        cells = tuple(tuple(_cell(value) for value in row) for row in rows)
        numeric = tuple(_is_numeric([row[i] for row in cells]) for i in range(len(given)))
        formats = dict(self.formats)
        unknown = [name for name in formats if name not in given]
        if unknown:
            raise InputError(f"TableMark.formats: {unknown[0]!r} is not one of {given}.")
        self._set(data=cells, columns=tuple(_coerce.text(name) for name in given))
        self._set(numeric=numeric, formats=tuple((str(k), str(v)) for k, v in formats.items()))

    def describe(self) -> str:
        """Its size."""
        return _sentence(self.title, f"table of {len(self.data)} rows", ", ".join(self.columns))


@dataclass(frozen=True, kw_only=True)
class Continuation:
    """What a model wrote, and a note on it (a score)."""

    text: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class SampleRow:
    """One prompt, and what was written after it under each condition."""

    prompt: str
    continuations: tuple[Continuation, ...]
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Samples(Mark):
    """Samples side by side: a column per condition, a row per prompt and draw.

    Attributes:
        conditions: The columns, such as "unsteered", "strength 2".
        rows: `SampleRow`s, one continuation per condition.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".html",)

    conditions: Any
    rows: Any

    def __post_init__(self) -> None:
        super().__post_init__()
        conditions = _coerce.texts(self.conditions, "Samples.conditions")
        rows = tuple(self.rows)
        if not conditions or not rows:
            raise InputError(
                f"Samples: got {len(conditions)} conditions and {len(rows)} rows; expected at "
                "least one of each."
            )
        for row in rows:
            if len(row.continuations) != len(conditions):
                raise InputError(
                    f"Samples: the row of prompt {row.prompt!r} has {len(row.continuations)} "
                    f"continuations; expected {len(conditions)}, one per condition."
                )
        self._set(conditions=conditions, rows=rows)

    @classmethod
    def from_table(
        cls,
        table: Any,
        *,
        prompt: str = "prompt",
        condition: str = "condition",
        continuation: str = "continuation",
        note: str | None = None,
        first: int | None = None,
        title: str = "",
        alt: str = "",
    ) -> Self:
        """A long table, one generation per row, side by side.

        The n-th generation of a prompt under one condition stands beside the n-th under another.

        Args:
            table: A pandas table; its order is kept.
            prompt: Name of the column with the prompt.
            condition: Name of the column with the condition.
            continuation: Name of the column with what was written, without the prompt.
            note: Name of a column with a note on each.
            first: How many of each prompt are kept.
            title: Said above the samples.
            alt: In words.

        Returns:
            The samples.

        Raises:
            InputError: A column lacks, or a condition has fewer generations than another.
        """
        wanted = [prompt, condition, continuation] + ([note] if note else [])
        missing = [name for name in wanted if name not in list(table.columns)]
        if missing:
            raise InputError(f"Samples: column {missing[0]!r} is not in {list(table.columns)}.")
        cells: dict[str, dict[str, list[Continuation]]] = {}
        conditions: dict[str, None] = {}
        for values in zip(*(table[name].tolist() for name in wanted), strict=True):
            conditions[str(values[1])] = None
            said = Continuation(
                text=_coerce.text(values[2]), note=_coerce.text(values[3]) if note else ""
            )
            cells.setdefault(str(values[0]), {}).setdefault(str(values[1]), []).append(said)
        rows = []
        for given, under in cells.items():
            counts = {name: len(under.get(name, ())) for name in conditions}
            if len(set(counts.values())) > 1:
                raise InputError(
                    f"Samples: prompt {given!r} has {counts} generations; expected the same "
                    "number under every condition."
                )
            for i in range(min(counts[next(iter(conditions))], first or len(table))):
                rows.append(
                    SampleRow(
                        prompt=_coerce.text(given),
                        continuations=tuple(under[name][i] for name in conditions),
                        label=f"sample {i + 1}",
                    )
                )
        return cls(conditions=tuple(conditions), rows=rows, title=title, alt=alt)

    def describe(self) -> str:
        """How many samples, under which conditions."""
        return _sentence(self.title, f"{len(self.rows)} rows", ", ".join(self.conditions))


def _axis(given: Axis | str) -> Axis:
    return given if isinstance(given, Axis) else Axis(title=_coerce.text(given))


def _limits(given: Sequence[float], what: str) -> tuple[float, float]:
    values = _coerce.defined(given, what)
    if len(values) != 2 or not values[0] < values[1]:
        raise InputError(f"{what}: got {tuple(given)}; expected (low, high) with low below high.")
    return (values[0], values[1])


def _several(given: Series | Iterable[Series], what: str) -> tuple[Series, ...]:
    series = (given,) if isinstance(given, Series) else tuple(given)
    if not series or not all(isinstance(one, Series) for one in series):
        raise InputError(f"{what}: expected one Series or more; got {given!r}.")
    names = [one.name for one in series]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{what}: the name {twice[0]!r} is given twice; expected one each.")
    return series


def _span(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "no defined value"
    return f"from {short(min(known))} to {short(max(known))}"


def _sentence(*parts: str) -> str:
    return ". ".join(part.rstrip(".") for part in parts if part) + "."


def _cell(value: Any) -> Any:
    """A cell as None, bool, int, float or text."""
    if hasattr(value, "item") and not hasattr(value, "__len__"):
        value = value.item()
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return None if value != value else value
    return _coerce.text(value)


def _is_numeric(values: Sequence[Any]) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in known
    )
