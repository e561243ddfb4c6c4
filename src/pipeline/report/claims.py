"""Claims of the sources, tested with the metrics: held here, did not hold, or cannot be told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.report.systems import TEST, Results, Row

HELD, NOT, UNTOLD = "held here", "did not hold", "cannot be told"
#: Relative difference up to which two numbers count as equal: those of single trainings, whose seeds may make
#: as much.
ALIKE = 0.05
#: Whether a claim holds (None if the numbers are too near to each other), and the numbers as text.
Verdict = tuple[bool | None, str]


@dataclass(frozen=True)
class Claim:
    """One claim.

    Attributes
    ----------
    source, text : publication, and its claim.
    rows : condition and system of the rows that are compared, the arguments of `told`.
    told : function of these rows that returns whether the claim holds, and the numbers as text (`Verdict`).
    note : difference from the setting of the source.
    drawn : the numbers depend on the number of members, which must be the same in all rows.
    """

    source: str
    text: str
    rows: tuple[tuple[str, str], ...]
    told: Callable[..., Verdict]
    note: str = ""
    drawn: bool = False

    def verdict(self, results: Results) -> tuple[str, str]:
        """One of the three answers, and the numbers or the reason."""
        found: list[Row] = []
        for condition, name in self.rows:
            if state := results.state(name):
                return UNTOLD, f"{name}: {state}"
            row = results.systems(TEST, condition).get(name)
            if row is None:
                return UNTOLD, f"{name}: not scored under {condition}"
            found.append(row)
        members = [row["members"] for row in found if self.drawn]
        if len(set(members)) > 1:
            return UNTOLD, f"{' and '.join(map(str, members))} members"
        holds, numbers = self.told(*found)
        if holds is None:
            return UNTOLD, f"{numbers}: within {ALIKE:.0%}"
        return (HELD if holds else NOT), numbers


def at_most(key: str, limit: float, unit: str) -> Callable[[Row], Verdict]:
    """A number is at most a limit."""
    return lambda row: (row[key] <= limit, f"{row[key]:.3g} {unit}, claimed at most {limit:g} {unit}")


def _equal(a: float, b: float) -> bool:
    return abs(a - b) <= ALIKE * max(abs(a), abs(b))


def lower(key: str, unit: str) -> Callable[[Row, Row], Verdict]:
    """The first row's number is lower than the second's; None if they are equal up to `ALIKE`."""

    def told(one: Row, two: Row) -> Verdict:
        a, b = one[key], two[key]
        return (None if _equal(a, b) else a < b), f"{a:.3g} {unit} against {b:.3g} {unit}"

    return told


def nearer_one(key: str) -> Callable[[Row, Row], Verdict]:
    """The first row's number is nearer to 1 than the second's; None if they are equal up to `ALIKE`."""

    def told(one: Row, two: Row) -> Verdict:
        a, b = one[key], two[key]
        return (None if _equal(a, b) else abs(a - 1) < abs(b - 1)), f"{a:.3g} against {b:.3g}"

    return told


def alike(key: str, unit: str) -> Callable[[Row, Row], Verdict]:
    """Two numbers differ by at most `ALIKE` of the larger."""

    def told(one: Row, two: Row) -> Verdict:
        a, b = one[key], two[key]
        return _equal(a, b), f"{a:.3g} {unit} and {b:.3g} {unit}"

    return told


def flat(unit: str = "m") -> Callable[..., Verdict]:
    """Intervals of the RMSE over sites have a value in common, for all rows."""

    def told(*rows: Row) -> Verdict:
        intervals = [row.get("rmse_m_ci95_sites") or row["rmse_m_ci95"] for row in rows]
        common = max(low for low, _ in intervals) <= min(high for _, high in intervals)
        shown = (f"{row['rmse_m']:.3g} [{low:.3g}, {high:.3g}]" for row, (low, high) in zip(rows, intervals))
        return common, f"{', '.join(shown)} {unit}"

    return told


def _step(worse: str, better: str, text: str, up: bool = False) -> Claim:
    """One step of SIRAN's ablation; `up` if the source states that the error rises."""
    first, second = (worse, better) if up else (better, worse)
    return Claim(_SIRAN, text, (("main", first), ("main", second)), lower("rmse_m", "m"))


_REPASKY, _YASUDA, _SIRAN = "Repasky et al. 2026", "Yasuda 2025", "Paul & Gupta 2024"
_PAIR = (("main", "yasuda"), ("main", "diffusion"))
_SMALL = "network, VAE and budget are smaller than published"
CLAIMS: tuple[Claim, ...] = (
    Claim(
        _REPASKY, "with 75 images the RMSE is 25 to 30 % of a pixel", (("images_75", "published"),),
        at_most("rmse_px", 0.30, "px"), _SMALL,
    ),
    Claim(
        _REPASKY, "the mean slope error is under 2° with 75 images", (("images_75", "published"),),
        at_most("slope_deg", 2.0, "°"), _SMALL,
    ),
    Claim(
        _REPASKY, "no significant loss at other latitudes",
        (("main", "published"), ("latitude_45_60", "published")), flat(),
        "latitude 85° against 45° to 60°; intervals over sites have a value in common",
    ),
    Claim(
        _REPASKY, "no significant loss with fewer images",
        (("images_75", "published"), ("images_5", "published")), flat(),
        "75 against 5 images; intervals over sites have a value in common",
    ),
    Claim(
        _REPASKY, "better than bicubic interpolation", (("main", "published"), ("main", "bicubic")),
        lower("rmse_m", "m"), "of the patch only, as published",
    ),
    Claim(
        _YASUDA, "SM with 10 evaluations has the error of DM with 50", _PAIR,
        alike("member_rmse_case_mean_m", "m"), "single members; within 5 %; other data",
    ),
    Claim(
        _YASUDA, "SM's spread is nearer to its error than DM's", _PAIR, nearer_one("spread_skill_yasuda"),
        drawn=True,
    ),
    Claim(
        _YASUDA, "SM's rank histogram is flatter", _PAIR, lower("rank_js_distance", ""), drawn=True,
    ),
    Claim(
        _YASUDA, "SM's CRPS is lower", _PAIR, lower("crps_plain_m", "m"), "plain CRPS, as his", drawn=True,
    ),
    Claim(
        _SIRAN, "better than bicubic interpolation", (("main", "siran"), ("main", "bicubic")),
        lower("rmse_m", "m"),
        "its weights of losses are not published",
    ),
    Claim(
        _SIRAN, "better than a guided kernel network", (("main", "siran"), ("main", "guided")),
        lower("rmse_m", "m"),
        "the fast form of the network",
    ),
    _step("sirannoguide", "siranungated", "an ungated guide makes it worse", up=True),
    _step("siranungated", "sirangated", "gating the guide makes it better"),
    _step("sirangated", "siranpolarised", "polarised self-attention makes it better"),
    _step("siranpolarised", "siranshort", "the Sinkhorn loss makes it better"),
)  # fmt: skip


def told_of(results: Results, claims: Iterable[Claim] = CLAIMS) -> list[tuple[str, str, str, str, str]]:
    """Source, claim, answer, numbers or reason, and note of each claim."""
    return [(c.source, c.text, *c.verdict(results), c.note) for c in claims]
