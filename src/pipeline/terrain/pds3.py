"""PDS3 labels, the texts beside (or at the start of) an ``.IMG`` that describe its content, and images.

Written for the LOLA gridded products (LDEM, LDEC) of LRO-L-LOLA-4-GDR-V1.0 from the PDS Standards Reference
3.8, chapters 12 (ODL) and appendix A (IMAGE, IMAGE_MAP_PROJECTION). GDAL's driver (3.10) does not serve: it
reads missing bytes as zeros, 32-bit integers as floats and signed bytes as unsigned; takes unsigned zeros for
missing, a MISSING_CONSTANT of ``16#8000#`` for 16 and a MAP_SCALE without a unit for kilometres; ignores the
unit of heights and the direction of longitudes; and opens no label whose image was renamed with it or has
samples of another size, so that an error could not say what the label holds.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray

from pipeline.terrain.grid import (
    MOON_RADIUS_M,
    Grid,
    GridError,
    Projection,
    RasterError,
    make_grid,
    whole_longitude,
)
from pipeline.terrain.readers import Raster

_COMMENT = re.compile(r"""("[^"]*"|'[^']*')|/\*.*?\*/""", re.DOTALL)
_ITEM = re.compile(r""""([^"]*)"|'([^']*)'|<([^>]*)>|([^\s(){},<>"']+)""")
# KEYWORD = value <unit>, where the value is a text, a word or a sequence; "END" has no value.
_STATEMENT = re.compile(
    r"""\s*([^\s=(){},<>"']+) (?:\s*=\s* (
      (?: "[^"]*" | '[^']*' | [^\s=(){},<>"']+
        | [({] (?: "[^"]*" | '[^']*' | [^(){}"'] | [({][^(){}]*[)}] )* [)}]
      ) (?:\s*<[^>]*>)? ))?\s*""",
    re.VERBOSE,
)
_RADIX = re.compile(r"(\d+)#([0-9A-Fa-f]+)#")

# SAMPLE_TYPE with the aliases of the standard's table; the first group is that of little-endian samples.
_INTEGER = re.compile(r"(?:(LSB_|PC_|VAX_)|MSB_|SUN_|MAC_)?(UNSIGNED_)?INTEGER")
_REAL = re.compile(r"(PC_)REAL|(?:IEEE_|SUN_|MAC_)?REAL|FLOAT")
_MISSING = ("MISSING_CONSTANT", "INVALID_CONSTANT", "NOT_APPLICABLE_CONSTANT", "NULL_CONSTANT")
_METRES = {"METER": 1.0, "METERS": 1.0, "M": 1.0, "KILOMETER": 1e3, "KILOMETERS": 1e3, "KM": 1e3}


class Block(dict[str, list[str]]):
    """Keywords of one OBJECT or of the whole label, each with its texts and, if any, its ``<UNIT>``.

    `name` is the file for error messages.
    """

    name = ""

    def text(self, keyword: str, default: object = None) -> str:
        """A keyword's first text; RasterError if the keyword is absent and there is no default."""
        if keyword not in self and default is None:
            raise RasterError(f"{self.name}: expected the label keyword {keyword}, found none")
        return next(iter(self.get(keyword, [str(default)])), "")

    def number(self, keyword: str, default: float | None = None) -> float:
        """A keyword's number, without its unit.

        Raises
        ------
        RasterError
            If the keyword is absent and there is no default, or its value is no number.
        """
        text = self.text(keyword, default)
        try:
            return float(text)
        except ValueError:
            raise RasterError(f"{self.name}: {keyword}: expected a number, found {text!r}") from None

    def metres(self, keyword: str, default: float) -> float:
        """A keyword's length, or length per pixel, in metres.

        Parameters
        ----------
        keyword : in metres or kilometres. default : metres per unit of a number without a unit.

        Raises
        ------
        RasterError
            If the keyword is absent, its value is no number, or its unit is neither metres nor kilometres.
        """
        number, unit = self.number(keyword), self[keyword][-1]
        if not unit.startswith("<"):
            return number * default
        if (metres := _METRES.get(unit.strip("<>").split("/")[0])) is None:
            raise RasterError(f"{self.name}: {keyword}: expected m or km, found {unit}")
        return number * metres


def parse_label(text: str, name: str) -> dict[str, Block]:
    """Parse an ODL label up to its END statement.

    Returns
    -------
    The first object of each name; under "" the first of each keyword, whatever object it is in.

    Raises
    ------
    RasterError
        If the text is not a label; `name` is the file for the message.
    """
    text = _COMMENT.sub(lambda match: match[1] or " ", text)
    blocks = {"": Block()}
    inside = [blocks[""]]
    at = 0
    while match := _STATEMENT.match(text, at):
        at = match.end()
        keyword = match[1].upper()
        value = [
            f"<{unit.strip().upper()}>" if unit else " ".join((quoted or symbol or word).split())
            for quoted, symbol, unit, word in _ITEM.findall(match[2] or "")
        ]
        if keyword == "END":
            for block in blocks.values():
                block.name = name
            return blocks
        if keyword in ("OBJECT", "GROUP"):
            inside.append(Block())
            blocks.setdefault("".join(value).upper(), inside[-1])
        elif keyword not in ("END_OBJECT", "END_GROUP"):
            inside[-1][keyword] = value
            blocks[""].setdefault(keyword, value)
        elif len(inside) == 1:
            raise RasterError(f"{name}: expected an OBJECT before {keyword}, found none")
        else:
            inside.pop()
    if text[at:].strip():
        raise RasterError(f"{name}: expected a PDS3 statement, found {text[at : at + 20]!r}")
    raise RasterError(f"{name}: expected a PDS3 label with an END statement, found none (truncated?)")


class PdsRaster(Raster):
    """A PDS3 image, read through a memory map: only requested windows are loaded.

    `image` is the file with the pixels. The given path is that of its ``.LBL`` or its own; its label is then
    beside it or at its start.

    Raises
    ------
    RasterError
        If the label or image is missing, unreadable or of an unsupported kind, or the image's size is
        not what the label says.
    GridError
        If the map projection is not lunar polar stereographic.
    """

    def __init__(self, path: Path) -> None:
        named = path.suffix.upper() != ".LBL"
        label_path = _label_of(path) if named else path
        name = str(label_path)
        blocks = parse_label(_head(label_path), name)
        label, image = blocks[""], blocks.get("IMAGE")
        if label.text("TARGET_NAME", "MOON").upper() != "MOON":
            raise GridError(f"{name}: expected TARGET_NAME = MOON, found {label.text('TARGET_NAME')}")
        if image is None:
            raise RasterError(f"{name}: expected an IMAGE object, found none")
        if "^IMAGE" not in label:
            raise RasterError(f"{name}: expected a ^IMAGE pointer, found none")
        pointer = label["^IMAGE"]
        start = next((int(i) - 1 for i in pointer if i.isdigit()), 0)  # bytes and records count from 1
        if start and "<BYTES>" not in pointer:
            start *= int(label.number("RECORD_BYTES"))
        pointed = next((i for i in pointer if not i.isdigit() and i != "<BYTES>"), label_path.name)
        image_path = path if named else _image_of(label_path, pointed)
        stored = _sample_type(image)
        for keyword, wanted in (("BANDS", 1), ("LINE_PREFIX_BYTES", 0), ("LINE_SUFFIX_BYTES", 0)):
            found = image.number(keyword, wanted)
            if found != wanted:
                raise RasterError(f"{name}: expected {keyword} = {wanted}, found {found:g}")
        rows, cols = int(image.number("LINES")), int(image.number("LINE_SAMPLES"))
        expected, size = start + rows * cols * stored.itemsize, image_path.stat().st_size
        # The last record may be padded; a larger file does not belong to this label.
        if not expected <= size < expected + max(int(label.number("RECORD_BYTES", 0)), 1):
            cut = "truncated: " if size < expected else ""
            raise RasterError(
                f"{image_path}: {cut}expected {expected} bytes by {label_path.name}, found {size}"
            )
        self.name, self.image, self.data_bytes = str(path), image_path, size
        self.grid = _grid(blocks.get("IMAGE_MAP_PROJECTION"), rows, cols, str(image_path))
        self._stored, self._start = stored, start
        self._scale, self._offset = _scaling(image)
        self._missing = [_sample_value(image, k, stored) for k in _MISSING if k in image]

    def _inside(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.float64]:
        shape = self.grid.height, self.grid.width
        try:
            stored = np.memmap(self.image, self._stored, "r", self._start, shape)
        except (OSError, ValueError) as error:
            raise RasterError(f"{self.name}: expected readable pixels, found {error}") from None
        dn = np.asarray(stored[top:bottom, left:right], dtype=np.float64)
        missing = np.isin(dn, self._missing) | ~np.isfinite(dn)
        return np.where(missing, np.nan, dn * self._scale + self._offset)

    def close(self) -> None:
        """Nothing stays open between reads."""


def _head(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(1 << 20).decode("latin-1")


def _label_of(image: Path) -> Path:
    """The label beside an image, or the image if it starts with its label."""
    for other in sorted(image.parent.iterdir()):
        if other.stem == image.stem and other.suffix.upper() == ".LBL":
            return other
    if _head(image)[:1024].lstrip().startswith("PDS_VERSION_ID"):
        return image
    raise RasterError(f"{image}: expected its label {image.stem}.LBL beside it, found none")


def _image_of(label: Path, pointed: str) -> Path:
    """The image that a label points to, whatever the case of its name; else one that shares its stem."""
    beside = {p.name.upper(): p for p in sorted(label.parent.iterdir(), reverse=True) if p != label}
    for wanted in (pointed.upper(), f"{label.stem}.IMG".upper()):
        if wanted in beside:
            return beside[wanted]
    raise RasterError(f"{label}: expected its image {pointed or label.stem + '.IMG'} beside it, found none")


def _sample_type(image: Block) -> np.dtype:
    sample, bits = image.text("SAMPLE_TYPE").upper(), int(image.number("SAMPLE_BITS"))
    if (match := _INTEGER.fullmatch(sample)) and bits in (8, 16, 32):
        kind = "u" if match[2] else "i"
    elif (match := _REAL.fullmatch(sample)) and bits in (32, 64):
        kind = "f"
    else:
        raise RasterError(f"{image.name}: expected integer or real samples, found {bits}-bit {sample}")
    return np.dtype(f"{'<' if match[1] else '>'}{kind}{bits // 8}")


def _scaling(image: Block) -> tuple[float, float]:
    """Factor and offset that turn a DN into metres above 1737400 m (or into a plain count).

    A LOLA label's OFFSET is the radius of the reference sphere: radius = DN * SCALING_FACTOR + OFFSET.
    An offset of planetary size is therefore brought back to height; any other is an ordinary offset.
    """
    metres = _METRES.get(image.text("UNIT", "").upper(), 1.0)
    offset = image.number("OFFSET", 0.0) * metres
    return image.number("SCALING_FACTOR", 1.0) * metres, offset - MOON_RADIUS_M if offset > 1e6 else offset


def _grid(block: Block | None, rows: int, cols: int, name: str) -> Grid:
    """Map grid; the projection's origin is offsets away from the CENTRE of pixel (1, 1).

    x = (sample - 1 - SAMPLE_PROJECTION_OFFSET) * MAP_SCALE,
    y = (LINE_PROJECTION_OFFSET - (line - 1)) * MAP_SCALE  (DSMAP_POLAR.CAT).
    """
    if block is None:
        raise GridError(f"{name}: expected an IMAGE_MAP_PROJECTION object in its label, found none")
    kind = block.text("MAP_PROJECTION_TYPE").upper().replace("_", " ")
    latitude = block.number("CENTER_LATITUDE")
    if kind != "POLAR STEREOGRAPHIC" or abs(latitude) != 90:
        raise GridError(f"{name}: expected POLAR STEREOGRAPHIC about a pole, found {kind} about {latitude:g}")
    direction = block.text("POSITIVE_LONGITUDE_DIRECTION", "EAST").upper()
    if direction != "EAST":
        raise GridError(f"{name}: expected POSITIVE_LONGITUDE_DIRECTION = EAST, found {direction}")
    rotation = block.number("MAP_PROJECTION_ROTATION", 0.0)
    if rotation:
        raise GridError(f"{name}: expected MAP_PROJECTION_ROTATION = 0, found {rotation:g}")
    radii = [block.metres(f"{axis}_AXIS_RADIUS", 1e3) for axis in "ABC"]
    if max(radii) - min(radii) >= 1.0:
        raise GridError(f"{name}: expected one radius on all axes, found {radii} m")
    scale = block.metres("MAP_SCALE", 1.0)
    left = -(block.number("SAMPLE_PROJECTION_OFFSET") + 0.5) * scale
    top = (block.number("LINE_PROJECTION_OFFSET") + 0.5) * scale
    centre = whole_longitude(block.number("CENTER_LONGITUDE", 0.0))
    projection = Projection(int(latitude // 90), centre, radii[0], 1.0)
    return make_grid(name, projection.wkt(), Affine(scale, 0.0, left, 0.0, -scale, top), cols, rows)


def _sample_value(image: Block, keyword: str, stored: np.dtype) -> float:
    """A stored value as written in a label: a number, or the bits of one (``16#FF7FFFFB#``)."""
    text = image.text(keyword)
    radix = _RADIX.fullmatch(text)
    try:
        if radix is None:
            # Rounded as the samples are: -1.0E32 in single precision is another number than in double.
            return float(np.float64(text).astype(stored)) if stored.kind == "f" else float(text)
        bits = int(radix[2], int(radix[1])).to_bytes(stored.itemsize, "big")
    except (ValueError, OverflowError):
        raise RasterError(f"{image.name}: expected a missing-data constant, found {text!r}") from None
    return float(np.frombuffer(bits, stored.newbyteorder(">"))[0])
