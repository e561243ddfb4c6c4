"""Compiled kernels of the shift-and-max horizon: lanes, one tile sweep, three outputs.

The kernels are single-threaded and add nothing up across pixels, so their results do not depend on threads,
tiles or order. Fused multiply-adds are asked for by name instead of through fast-math flags, so that no
compiler is free to change a decision.
"""

# mypy: disable-error-code="call-arg,var-annotated"
# (numba passes an intrinsic's typing context itself)

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

from pipeline.illumination.crossing_kernels import (
    ABSENT,
    LANES,
    TILE,
    WINDOW,
    compiled,
    crossing_table,
    crossings_of,
)

# --- lanes: LANES neighbouring pixels in one value ---

_VECTOR = ir.VectorType(ir.FloatType(), LANES)
_INT32 = ir.IntType(32)
_UNDEFINED = ir.Constant(_VECTOR, ir.Undefined)


class _LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"float32x{LANES}")


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


_lanes = _LanesType()


def _shuffle(builder: Any, value: Any, order: list[int]) -> Any:
    return builder.shuffle_vector(value, _UNDEFINED, ir.Constant(ir.VectorType(_INT32, LANES), order))


def _address(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    array = make_array(signature.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), _VECTOR.as_pointer())


@intrinsic
def _load(typing, array, index):
    def code(context, builder, signature, args):
        return builder.load(_address(context, builder, signature, args), align=4)

    return _lanes(array, types.intp), code


@intrinsic
def _store(typing, array, index, value):
    def code(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature, args), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _lanes), code


@intrinsic
def _fill(typing, value):
    def code(context, builder, signature, args):
        return _shuffle(builder, builder.insert_element(_UNDEFINED, args[0], _INT32(0)), [0] * LANES)

    return _lanes(types.float32), code


@intrinsic
def _raised(typing, horizon, a, b, weight, start, nearness):
    """The greater of `horizon` and (a + weight (b - a) - start) * nearness, lane by lane."""

    def code(context, builder, signature, args):
        horizon, a, b, weight, start, nearness = args
        shape = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
        fma = cgutils.get_or_insert_function(builder.module, shape, f"llvm.fma.v{LANES}f32")
        edge = builder.call(fma, (builder.fsub(b, a), weight, a))
        tangent = builder.fmul(builder.fsub(edge, start), nearness)
        return builder.select(builder.fcmp_ordered(">", tangent, horizon), tangent, horizon)

    return _lanes(*[_lanes] * 6), code


@intrinsic
def _lowest(typing, a, b, c, d):
    """The least of the lanes of four values."""

    def code(context, builder, signature, args):
        def least(x, y):
            return builder.select(builder.fcmp_ordered("<", x, y), x, y)

        value = least(least(args[0], args[1]), least(args[2], args[3]))
        step = LANES // 2
        while step:
            value = least(value, _shuffle(builder, value, [(i + step) % LANES for i in range(LANES)]))
            step //= 2
        return builder.extract_element(value, _INT32(0))

    return types.float32(*[_lanes] * 4), code


# --- one azimuth ---


@compiled
def _sweep(terrain, table, count, levels, exact, horizon):
    """Raise ``horizon`` (laid out as ``terrain.start``) over the crossings of one azimuth that matter.

    ``exact``: tangents between levels[0] and levels[-1] are to be exact. Otherwise only the comparison with
    each of the ascending ``levels`` is: a tile whose lowest horizon has passed one looks for the next only.
    A tile's TILE rows stay in TILE registers while a group passes by.
    """
    first, second, weight, nearness, groups = table
    flat, pooled, start, stride = terrain.flat, terrain.pooled, terrain.start, terrain.stride
    across = terrain.lowest.shape[1] * TILE
    for i in range(terrain.lowest.shape[0]):
        for j in range(terrain.lowest.shape[1]):
            bottom = terrain.lowest[i, j]
            row, col = terrain.top + i * TILE, terrain.left + j * TILE
            level, passed = levels[0], 0
            for g in range(count):
                r, c = row + groups[g, 1], col + groups[g, 2]
                if (
                    r >= terrain.row1
                    or r + WINDOW < terrain.row0
                    or c >= terrain.col1
                    or c + WINDOW < terrain.col0
                ):
                    break  # the rest of the way lies outside the DEM
                k0 = groups[g, 0]
                rise = (pooled[r * stride + c] - bottom) * nearness[k0]
                if rise < level or (exact and rise <= level):
                    continue
                # Unsigned: numba then leaves out its test for negative indices.
                begin, end = np.uint64(k0), np.uint64(groups[g + 1, 0])
                p0 = i * TILE * across + j * TILE
                q0 = row * stride + col
                p1, q1 = p0 + across, q0 + stride
                p2, q2 = p1 + across, q1 + stride
                p3, q3 = p2 + across, q2 + stride
                p4, q4 = p3 + across, q3 + stride
                p5, q5 = p4 + across, q4 + stride
                p6, q6 = p5 + across, q5 + stride
                p7, q7 = p6 + across, q6 + stride
                h0, s0 = _load(horizon, p0), _load(start, p0)
                h1, s1 = _load(horizon, p1), _load(start, p1)
                h2, s2 = _load(horizon, p2), _load(start, p2)
                h3, s3 = _load(horizon, p3), _load(start, p3)
                h4, s4 = _load(horizon, p4), _load(start, p4)
                h5, s5 = _load(horizon, p5), _load(start, p5)
                h6, s6 = _load(horizon, p6), _load(start, p6)
                h7, s7 = _load(horizon, p7), _load(start, p7)
                for k in range(begin, end):
                    a, b, w, n = first[k], second[k], _fill(weight[k]), _fill(nearness[k])
                    h0 = _raised(h0, _load(flat, q0 + a), _load(flat, q0 + b), w, s0, n)
                    h1 = _raised(h1, _load(flat, q1 + a), _load(flat, q1 + b), w, s1, n)
                    h2 = _raised(h2, _load(flat, q2 + a), _load(flat, q2 + b), w, s2, n)
                    h3 = _raised(h3, _load(flat, q3 + a), _load(flat, q3 + b), w, s3, n)
                    h4 = _raised(h4, _load(flat, q4 + a), _load(flat, q4 + b), w, s4, n)
                    h5 = _raised(h5, _load(flat, q5 + a), _load(flat, q5 + b), w, s5, n)
                    h6 = _raised(h6, _load(flat, q6 + a), _load(flat, q6 + b), w, s6, n)
                    h7 = _raised(h7, _load(flat, q7 + a), _load(flat, q7 + b), w, s7, n)
                _store(horizon, p0, h0)
                _store(horizon, p1, h1)
                _store(horizon, p2, h2)
                _store(horizon, p3, h3)
                _store(horizon, p4, h4)
                _store(horizon, p5, h5)
                _store(horizon, p6, h6)
                _store(horizon, p7, h7)
                low = min(_lowest(h0, h1, h2, h3), _lowest(h4, h5, h6, h7))
                if exact:
                    level = max(level, low)
                    if level >= levels[-1]:
                        break
                else:
                    while passed < len(levels) and levels[passed] <= low:
                        passed += 1
                    if passed == len(levels):
                        break
                    level = levels[passed]


@compiled
def _reset(terrain, value, horizon):
    for p in range(len(horizon)):
        horizon[p] = value if terrain.start[p] < ABSENT else np.float32(np.inf)


# --- outputs ---


@compiled
def lit_kernel(terrain, headings, begin, tangents, order, lit):
    """``lit[order[k]]`` (H, W) u1 for the directions begin[i] <= k < begin[i + 1] of heading i (east, south).

    ``tangents`` of the Sun's elevation are positive and ascend within a heading.
    """
    table = crossing_table(terrain)
    horizon = np.empty(len(terrain.start), np.float32)
    across = terrain.lowest.shape[1] * TILE
    for i in range(len(headings)):
        first, second, weight, nearness, groups = table
        count = crossings_of(headings[i, 0], headings[i, 1], terrain, first, second, weight, nearness, groups)
        _reset(terrain, np.float32(0), horizon)
        _sweep(terrain, table, count, tangents[begin[i] : begin[i + 1]], False, horizon)
        for k in range(begin[i], begin[i + 1]):
            tangent, out = tangents[k], lit[order[k]]
            for y in range(out.shape[0]):
                line, source = out[y], horizon[y * across : y * across + out.shape[1]]
                for x in range(len(line)):
                    line[x] = source[x] < tangent


@compiled
def hidden_light(depth, limb):
    """Share of a disc's light below a level line that lies `depth` radii (within -1, 1) below its centre.

    The light beyond x = h of a disc of radius 1 with brightness 1 - u (1 - sqrt(1 - r^2)), u = ``limb``, is
    (1 - u) (acos h - h sqrt(1 - h^2)) + u pi / 2 (2 / 3 - h + h^3 / 3) of (1 - u) pi + u 2 pi / 3.
    """
    # circular segment
    segment = math.acos(depth) - depth * math.sqrt(1.0 - depth * depth)
    if limb == 0.0:
        return segment / math.pi
    cap = math.pi / 2 * (2 / 3 - depth + depth**3 / 3)
    return ((1.0 - limb) * segment + limb * cap) / (math.pi * (1.0 - limb / 3))


@compiled
def share_kernel(terrain, headings, begin, elevations, order, radius, limb, beyond, share):
    """As `lit_kernel`, for the share (H, W) f4 of a disc of `radius` (radians) above a straight horizon.

    ``limb``: see `hidden_light`. ``beyond`` (A, H, W): a second horizon for each heading, where there is one;
    the higher counts.
    """
    table = crossing_table(terrain)
    horizon = np.empty(len(terrain.start), np.float32)
    across = terrain.lowest.shape[1] * TILE
    levels = np.empty(2, np.float32)
    for i in range(len(headings)):
        first, second, weight, nearness, groups = table
        count = crossings_of(headings[i, 0], headings[i, 1], terrain, first, second, weight, nearness, groups)
        levels[0] = math.tan(max(elevations[begin[i]] - radius, 0.0))
        highest = elevations[begin[i + 1] - 1] + radius
        levels[1] = math.tan(highest) if highest < math.pi / 2 else np.inf
        _reset(terrain, levels[0], horizon)
        _sweep(terrain, table, count, levels, True, horizon)
        for k in range(begin[i], begin[i + 1]):
            elevation, out = elevations[k], share[order[k]]
            below = math.tan(elevation - radius)
            above = math.tan(elevation + radius) if elevation + radius < math.pi / 2 else np.inf
            for y in range(out.shape[0]):
                for x in range(out.shape[1]):
                    value = horizon[y * across + x]
                    if len(beyond):
                        value = max(value, beyond[i, y, x])
                    if value >= above:
                        out[y, x] = 0.0
                    elif value <= below:
                        out[y, x] = 1.0
                    else:
                        depth = min(max((elevation - math.atan(value)) / radius, -1.0), 1.0)
                        out[y, x] = 1.0 - hidden_light(depth, limb)


@compiled
def horizon_kernel(terrain, headings, floor, out):
    """``out`` (A, H, W) f4: the horizon's tangent for each heading, at least ``floor``; NaN where no data."""
    table = crossing_table(terrain)
    horizon = np.empty(len(terrain.start), np.float32)
    across = terrain.lowest.shape[1] * TILE
    levels = np.array([floor, np.inf], np.float32)
    for i in range(len(headings)):
        first, second, weight, nearness, groups = table
        count = crossings_of(headings[i, 0], headings[i, 1], terrain, first, second, weight, nearness, groups)
        _reset(terrain, levels[0], horizon)
        _sweep(terrain, table, count, levels, True, horizon)
        for y in range(out.shape[1]):
            for x in range(out.shape[2]):
                value = horizon[y * across + x]
                out[i, y, x] = value if value < ABSENT else np.nan
