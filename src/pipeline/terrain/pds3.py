"""PDS3 labels: the text beside (or before) an ``.IMG`` that says what its bytes mean.

Written for the LOLA gridded products (LDEM, LDEC) of LRO-L-LOLA-4-GDR-V1.0 from the PDS Standards
Reference 3.8, chapters 12 (ODL) and appendix A (IMAGE, IMAGE_MAP_PROJECTION).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from affine import Affine

from pipeline.terrain.grid import MOON_RADIUS_M, Grid, GridError, Projection, RasterError, make_grid

_TOKEN = re.compile(
    r"""(?P<comment>/\*.*?\*/) | "(?P<text>[^"]*)" | '(?P<symbol>[^']*)' | <(?P<unit>[^>]*)>
      | (?P<mark>[=(){},]) | (?P<word>(?:(?!/\*)[^\s=(){},<"'])+) | (?P<space>\s+)""",
    re.VERBOSE | re.DOTALL,
)
_RADIX = re.compile(r"(\d+)#([0-9A-Fa-f]+)#")

# SAMPLE_TYPE -> (byte order, numpy kind); the aliases are those of the standard's table.
_TYPES = {
    **dict.fromkeys(("LSB_INTEGER", "PC_INTEGER", "VAX_INTEGER"), "<i"),
    **dict.fromkeys(("LSB_UNSIGNED_INTEGER", "PC_UNSIGNED_INTEGER", "VAX_UNSIGNED_INTEGER"), "<u"),
    **dict.fromkeys(("MSB_INTEGER", "INTEGER", "SUN_INTEGER", "MAC_INTEGER"), ">i"),
    **dict.fromkeys(
        ("MSB_UNSIGNED_INTEGER", "UNSIGNED_INTEGER", "SUN_UNSIGNED_INTEGER", "MAC_UNSIGNED_INTEGER"), ">u"
    ),
    "PC_REAL": "<f",
    **dict.fromkeys(("IEEE_REAL", "REAL", "FLOAT", "SUN_REAL", "MAC_REAL"), ">f"),
}
_SIZES = {"i": (8, 16, 32), "u": (8, 16, 32), "f": (32, 64)}
_MISSING = ("MISSING_CONSTANT", "INVALID_CONSTANT", "NOT_APPLICABLE_CONSTANT", "NULL_CONSTANT")
_METRES = {"METER": 1.0, "METERS": 1.0, "M": 1.0, "KILOMETER": 1e3, "KILOMETERS": 1e3, "KM": 1e3}


@dataclass(frozen=True)
class Value:
    """A label value: its texts (more than one in a sequence) and its unit, if any."""

    items: tuple[str, ...]
    unit: str = ""

    @property
    def text(self) -> str:
        """The first item."""
        return self.items[0] if self.items else ""


@dataclass
class Block:
    """An OBJECT (or the label itself): keywords, and the objects inside."""

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    children: list[Block] = field(default_factory=list)

    def find(self, name: str) -> Block | None:
        """The first object of a name, at any depth."""
        for child in self.children:
            found = child if child.name == name else child.find(name)
            if found:
                return found
        return None

    def lookup(self, keyword: str) -> Value | None:
        """A keyword of this object or, failing that, of any object inside."""
        if keyword in self.values:
            return self.values[keyword]
        return next((v for c in self.children if (v := c.lookup(keyword))), None)


@dataclass(frozen=True)
class Label:
    """What a reader needs from a label.

    Attributes
    ----------
    image : file that holds the pixels.
    start : its first pixel's byte.
    stored : type of a stored sample.
    grid : map grid.
    scale, offset : value = DN * scale + offset (metres above 1737400 m for heights).
    missing : stored values that mean "no data".
    """

    image: Path
    start: int
    stored: np.dtype
    grid: Grid
    scale: float
    offset: float
    missing: tuple[float, ...]


def parse_label(text: str, name: str) -> Block:
    """Parse an ODL label up to its END statement.

    Raises
    ------
    RasterError
        If the text is not a label; `name` is the file for the message.
    """
    tokens = _tokens(text, name)
    root = Block("LABEL")
    stack = [root]
    kind, word = next(tokens, ("", ""))
    while kind:
        if kind != "word":
            raise RasterError(f"{name}: expected a PDS3 keyword, found {word!r}")
        keyword = word.upper()
        kind, word = next(tokens, ("", ""))
        value = Value(())
        if (kind, word) == ("mark", "="):
            value, (kind, word) = _value(tokens, name)
        if keyword == "END":
            return root
        if keyword in ("OBJECT", "GROUP"):
            stack[-1].children.append(Block(value.text.upper()))
            stack.append(stack[-1].children[-1])
        elif keyword in ("END_OBJECT", "END_GROUP"):
            if len(stack) == 1:
                raise RasterError(f"{name}: expected an OBJECT before {keyword}, found none")
            stack.pop()
        else:
            stack[-1].values[keyword] = value
    raise RasterError(f"{name}: expected a PDS3 label with an END statement, found none (truncated?)")


def _tokens(text: str, name: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            raise RasterError(f"{name}: expected PDS3 label text, found {text[at : at + 20]!r}")
        kind = match.lastgroup or ""
        at = match.end()
        if kind not in ("comment", "space"):
            yield kind, match[kind]


def _value(tokens: Iterator[tuple[str, str]], name: str) -> tuple[Value, tuple[str, str]]:
    """Read a value and its unit; also gives the token after it."""
    items: list[str] = []
    unit, depth = "", 0
    for kind, word in tokens:
        if kind == "mark" and word in "({":
            depth += 1
        elif kind == "mark" and word in ")}":
            depth -= 1
        elif kind == "mark" and word == "," and depth:
            continue
        elif kind == "unit":
            unit = word.strip().upper()
        elif depth or not items:
            items.append(" ".join(word.split()))
        else:
            return Value(tuple(items), unit), (kind, word)
    if depth or not items:
        raise RasterError(f"{name}: expected a value after '=', found the end of the label")
    return Value(tuple(items), unit), ("", "")


def read_label(path: Path) -> Label:
    """Read the label of an image, given the ``.LBL``, the ``.IMG`` beside it, or an ``.IMG`` that starts
    with its label.

    Raises
    ------
    RasterError
        If the label or image is missing, unreadable or of an unsupported kind, or the image's size is
        not what the label says.
    GridError
        If the map projection is not lunar polar stereographic.
    """
    label_path, image_path = _find_files(path)
    head = label_path.read_bytes()[: 1 << 20] if label_path.suffix.upper() == ".LBL" else _head(label_path)
    root = parse_label(head.decode("latin-1"), str(label_path))
    target = root.lookup("TARGET_NAME")
    if target and target.text.upper() != "MOON":
        raise GridError(f"{label_path}: expected TARGET_NAME = MOON, found {target.text}")
    image = root.find("IMAGE")
    if image is None:
        raise RasterError(f"{label_path}: expected an IMAGE object, found none")
    pointed, start = _pointer(root, label_path)
    if image_path is None:
        image_path = _beside(label_path, pointed)
    name = str(image_path)
    sample = _text(image, "SAMPLE_TYPE", label_path).upper()
    bits = int(_number(image, "SAMPLE_BITS", label_path))
    kind = _TYPES.get(sample, "")
    if not kind or bits not in _SIZES[kind[1]]:
        raise RasterError(f"{label_path}: expected integer or real samples, found {bits}-bit {sample}")
    stored = np.dtype(f"{kind}{bits // 8}")
    for keyword, wanted in (("BANDS", 1), ("LINE_PREFIX_BYTES", 0), ("LINE_SUFFIX_BYTES", 0)):
        found = _number(image, keyword, label_path, wanted)
        if found != wanted:
            raise RasterError(f"{label_path}: expected {keyword} = {wanted}, found {found:g}")
    rows = int(_number(image, "LINES", label_path))
    cols = int(_number(image, "LINE_SAMPLES", label_path))
    record = int(_number(root, "RECORD_BYTES", label_path, 0))
    _check_size(image_path, start + rows * cols * stored.itemsize, record, label_path)
    scale, offset = _scaling(image, label_path)
    missing = tuple(
        _sample_value(v.text, stored, label_path) for k in _MISSING if (v := image.values.get(k)) is not None
    )
    return Label(image_path, start, stored, _grid(root, rows, cols, name), scale, offset, missing)


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(1 << 16)


def _find_files(path: Path) -> tuple[Path, Path | None]:
    """Label file, and the image if the caller named it."""
    if path.suffix.upper() == ".LBL":
        return path, None
    for other in sorted(path.parent.iterdir()):
        if other.stem == path.stem and other.suffix.upper() == ".LBL":
            return other, path
    if _head(path)[:1024].lstrip().startswith(b"PDS_VERSION_ID"):
        return path, path
    raise RasterError(f"{path}: expected its label {path.stem}.LBL beside it, found none")


def _beside(label: Path, pointed: str) -> Path:
    """The image that a label points to, whatever the case of its name; else one that shares its stem."""
    others = sorted(p for p in label.parent.iterdir() if p != label)
    for wanted in (pointed.upper(), f"{label.stem}.IMG".upper()):
        for other in others:
            if other.name.upper() == wanted:
                return other
    raise RasterError(f"{label}: expected its image {pointed or label.stem + '.IMG'} beside it, found none")


def _pointer(root: Block, path: Path) -> tuple[str, int]:
    """File name and first byte of ``^IMAGE`` (records count from 1)."""
    value = root.lookup("^IMAGE")
    if value is None:
        raise RasterError(f"{path}: expected a ^IMAGE pointer, found none")
    numbers = [i for i in value.items if i.isdigit()]
    names = [i for i in value.items if not i.isdigit()]
    at = int(numbers[0]) - 1 if numbers else 0
    if at and value.unit != "BYTES":
        at *= int(_number(root, "RECORD_BYTES", path))
    return (names[0] if names else path.name), at


def _check_size(image: Path, expected: int, record: int, label: Path) -> None:
    if not image.is_file():
        raise RasterError(f"{image}: expected the image of {label.name}, found no file")
    found = image.stat().st_size
    if found < expected:
        raise RasterError(f"{image}: truncated: expected {expected} bytes by {label.name}, found {found}")
    # A last record may be padded; more than that belongs to another label.
    if found >= expected + max(record, 1):
        raise RasterError(f"{image}: expected {expected} bytes by {label.name}, found {found}")


def _scaling(image: Block, path: Path) -> tuple[float, float]:
    """Factor and offset that turn a DN into metres above 1737400 m (or into a plain count).

    A LOLA label's OFFSET is the radius of the reference sphere: radius = DN * SCALING_FACTOR + OFFSET.
    An offset of planetary size is therefore brought back to height; any other is an ordinary offset.
    """
    unit = image.values.get("UNIT", Value(("",))).text.upper()
    metres = _METRES.get(unit, 1.0)
    scale = _number(image, "SCALING_FACTOR", path, 1.0) * metres
    offset = _number(image, "OFFSET", path, 0.0) * metres
    return scale, offset - MOON_RADIUS_M if offset > 1e6 else offset


def _grid(root: Block, rows: int, cols: int, name: str) -> Grid:
    """Map grid; the projection's origin is offsets away from the CENTRE of pixel (1, 1).

    x = (sample - 1 - SAMPLE_PROJECTION_OFFSET) * MAP_SCALE,
    y = (LINE_PROJECTION_OFFSET - (line - 1)) * MAP_SCALE  (DSMAP_POLAR.CAT).
    """
    path = Path(name)
    block = root.find("IMAGE_MAP_PROJECTION")
    if block is None:
        raise GridError(f"{name}: expected an IMAGE_MAP_PROJECTION object in its label, found none")
    kind = _text(block, "MAP_PROJECTION_TYPE", path).upper().replace("_", " ")
    latitude = _number(block, "CENTER_LATITUDE", path)
    if kind != "POLAR STEREOGRAPHIC" or abs(latitude) != 90:
        raise GridError(f"{name}: expected POLAR STEREOGRAPHIC about a pole, found {kind} about {latitude:g}")
    direction = _text(block, "POSITIVE_LONGITUDE_DIRECTION", path, "EAST").upper()
    if direction != "EAST":
        raise GridError(f"{name}: expected POSITIVE_LONGITUDE_DIRECTION = EAST, found {direction}")
    rotation = _number(block, "MAP_PROJECTION_ROTATION", path, 0.0)
    if rotation:
        raise GridError(f"{name}: expected MAP_PROJECTION_ROTATION = 0, found {rotation:g}")
    radii = [_metres(block, f"{axis}_AXIS_RADIUS", path, 1e3) for axis in "ABC"]
    if max(radii) - min(radii) >= 1.0:
        raise GridError(f"{name}: expected one radius on all axes, found {radii} m")
    scale = _metres(block, "MAP_SCALE", path, 1.0)
    longitude = _number(block, "CENTER_LONGITUDE", path, 0.0)
    left = -(_number(block, "SAMPLE_PROJECTION_OFFSET", path) + 0.5) * scale
    top = (_number(block, "LINE_PROJECTION_OFFSET", path) + 0.5) * scale
    projection = Projection(1 if latitude > 0 else -1, longitude, radii[0], 1.0)
    return make_grid(name, projection.wkt(), Affine(scale, 0.0, left, 0.0, -scale, top), cols, rows)


def _text(block: Block, keyword: str, path: Path, default: str | None = None) -> str:
    value = block.values.get(keyword)
    if value is None:
        if default is None:
            raise RasterError(f"{path}: expected the label keyword {keyword}, found none")
        return default
    return value.text


def _number(block: Block, keyword: str, path: Path, default: float | None = None) -> float:
    value = block.values.get(keyword) if block.name != "LABEL" else block.lookup(keyword)
    if value is None and default is not None:
        return default
    text = _text(block, keyword, path) if value is None else value.text
    try:
        return float(text)
    except ValueError:
        raise RasterError(f"{path}: {keyword}: expected a number, found {text!r}") from None


def _metres(block: Block, keyword: str, path: Path, default: float) -> float:
    """A length (or a length per pixel) in metres; `default` is the metres in a unit that is not named."""
    number = _number(block, keyword, path)
    unit = block.values[keyword].unit.split("/")[0]
    if unit and unit not in _METRES:
        raise RasterError(f"{path}: {keyword}: expected m or km, found <{unit}>")
    return number * (_METRES[unit] if unit else default)


def _sample_value(text: str, stored: np.dtype, path: Path) -> float:
    """A stored value as written in a label: a number, or the bits of one (``16#FF7FFFFB#``)."""
    radix = _RADIX.fullmatch(text)
    try:
        if radix is None:
            return float(text)
        bits = int(radix[2], int(radix[1])).to_bytes(stored.itemsize, "big")
    except (ValueError, OverflowError):
        raise RasterError(f"{path}: expected a missing-data constant, found {text!r}") from None
    return float(np.frombuffer(bits, stored.newbyteorder(">"))[0])
