"""The report: whole, self-contained, repeatable, and equal to the numbers it shows."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from report_run import STAGES, Run, make_run

from pipeline.report.html import Column, Keys, number, report_templates
from pipeline.report.page import write_report

HOSTILE = "<script>alert('x')</script>&\"quoted\""
SECTIONS = [
    "top",
    "terrain",
    "images",
    "suns",
    "masks",
    "training",
    "patches",
    "scores",
    "region",
    "provenance",
]
# Tables as templates call them; `caller` gives the caption.
PIECES: Any = report_templates().get_template("pieces.html").module
VOID = {"meta", "img", "wbr", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """A page taken apart: tags must nest."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: list[tuple[str, float]] = []
        self._row = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "th" and dict(attrs).get("scope") == "row":
            self._row = ""
        if tag == "data":
            self.cells.append((self._row, float(str(dict(attrs)["value"]))))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.open and self.open[-1] == "th":
            self._row += data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all tags of one name."""
        return [attrs for name, attrs in self.tags if name == tag]

    @property
    def text(self) -> str:
        return "".join(self.texts)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), label=HOSTILE, images=12)


@pytest.fixture(scope="module")
def written(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "report.html"
    write_report(run.section, run.inputs, out)
    return out


@pytest.fixture(scope="module")
def whole(written: Path) -> Page:
    return Page(written.read_text(encoding="utf-8"))


def test_every_section_is_there_and_linked(whole: Page) -> None:
    anchors = [a["id"] for name, a in whole.tags if name in ("header", "section")]
    assert anchors == SECTIONS
    assert {a["href"] for a in whole.named("a")} == {f"#{s}" for s in SECTIONS[1:]}


def test_nothing_is_fetched_and_pictures_are_described(whole: Page, written: Path) -> None:
    images = whole.named("img")
    assert len(images) == 14
    for image in images:
        assert str(image["src"]).startswith("data:image/png;base64,")
        assert len(str(image["alt"])) > 20
    text = written.read_text()
    assert not re.findall(r"(?:src|href|action|data)\s*=\s*[\"']?\s*(?:https?:)?//", text)
    assert "url(" not in text and "@import" not in text
    assert not whole.named("script") and not whole.named("link")
    assert written.stat().st_size < 6e6


def test_the_label_cannot_break_out(whole: Page) -> None:
    assert HOSTILE in whole.text


def test_the_page_can_be_read_by_all(whole: Page) -> None:
    assert whole.named("html") == [{"lang": "en"}]
    assert all(a.get("scope") in ("col", "row") for a in whole.named("th"))
    assert len(whole.named("h1")) == 1
    assert len(whole.named("figcaption")) == len(whole.named("figure"))


def test_tables_hold_the_numbers_of_the_metrics(whole: Page, run: Run) -> None:
    found = set(whole.cells)
    keys = ("rmse_m", "rmse_px", "slope_deg", "rmse_vs_bicubic", "rmse_vs_bicubic_window", "mae_m")
    ensemble = ("member_rmse_m", "spread_skill_fair", "crps_fair_m", "rank_js_distance", "members", "nfe")
    for name, row in run.metrics["systems"].items():
        for key in (*keys, *(ensemble if "members" in row else ())):
            assert (name, float(row[key])) in found, (name, key)
    details = ("bias_m", "le90_m", "slope_angle_deg", "aspect_deg", "roughness_ratio", "ssim", "psnr_db")
    clones = (
        "coverage_90",
        "crps_plain_m",
        "spread_skill_yasuda",
        "energy_fair_m",
        "prior_rmse_m",
        "n_blocks",
    )
    for name, row in run.metrics["systems"].items():
        for key in (*details, *(clones if "members" in row else ())):
            assert (name, float(row[key])) in found, (name, key)
        assert all((name, value) in found for value in row["terrain_rmse_m"])
        if "members" in row:
            low, high = row["rmse_m_ci95_sites"]
            assert f"[{number(low)}, {number(high)}]" in whole.text
    primary = run.metrics["systems"][run.metrics["primary"]]
    assert f"{number(primary['rmse_m'])} m" in whole.text
    low, high = primary["rmse_m_ci95"]
    assert f"[{number(low)}, {number(high)}] m" in whole.text


def test_captions_name_config_keys_with_values(whole: Page) -> None:
    assert "patches.size_px: 96" in whole.text
    draw = '{"declination": 0, "images": 12, "latitude": [80, 88], "longitude": [0, 360], "place": "assumed"}'
    assert f"arcs.test.main: {draw}" in whole.text
    assert "at the patch's assumed place (declination 0;" in whole.text
    assert "coverage below 0.100" in whole.text and "shares pixels with a held-out patch" in whole.text


def test_stages_stand_in_the_order_of_the_work(written: Path) -> None:
    """Not as JSON sorts them."""
    rows = re.findall(r'<th scope="row">(\w+)</th><td class="text">a{12}</td>', written.read_text())
    assert rows == list(STAGES) != sorted(STAGES)


def test_a_long_value_ends_between_two_keys() -> None:
    shown = Keys({"a": {f"key{i:02d}": 1 for i in range(20)}})("a")
    assert shown.endswith(", …</code></span>")
    assert len(re.findall(r"key\d", shown)) == len(re.findall(r"key\d\d&#34;: 1, ", shown)) > 5


def test_two_writes_are_equal(run: Run, written: Path, tmp_path: Path) -> None:
    write_report(run.section, run.inputs, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == written.read_bytes()


def test_a_bare_run_still_has_every_section(tmp_path: Path) -> None:
    run = make_run(
        tmp_path, size=32, factor=8, systems=("bridge_missing",), strips=False, region=False, images=4
    )
    for absent in ("training", "terrain"):
        del run.inputs[absent]
    metrics = run.metrics | {"floors": {}, "conditions": {"main": run.metrics["conditions"]["main"]}}
    Path(run.inputs["metrics"]).write_text(json.dumps(metrics))
    write_report(run.section, run.inputs, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert [a["id"] for name, a in page.tags if name in ("header", "section")] == SECTIONS
    for sentence in (
        "No region was reconstructed in this run.",
        "Every image of the shown patch is complete.",
        "No other system was trained",
        "The terrain index or the split is not available.",
        "No training curves are available.",
        "This run has no VAE",
        "This run evaluates only the main condition.",
    ):
        assert sentence in page.text, sentence


def test_given_weights_stand_where_a_training_would(tmp_path: Path) -> None:
    run = make_run(tmp_path, size=32, factor=8, systems=("bridge_missing",))
    facts = {"weights": "w/<b>.safetensors", "fingerprint": "f" * 16, "vae": None, "scale-free": True}
    section = run.section.model_copy(update={"pretrained": facts})
    inputs = {name: value for name, value in run.inputs.items() if name != "training"}
    write_report(section, inputs, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    wanted = ["weights" if name == "training" else name for name in SECTIONS]
    assert [a["id"] for name, a in page.tags if name in ("header", "section")] == wanted
    for text in ("Nothing was trained in this run", "w/<b>.safetensors", "f" * 16, "yes"):
        assert text in page.text, text
    assert "No training curves" not in page.text


def test_variants_of_the_bridge_are_reported_with_their_own_loss(tmp_path: Path) -> None:
    systems = ("drawn_missing", "plain_missing")
    own = {"plain": {"score": "squared"}, "drawn": {"score": "crps", "conditioning": "aligned"}}
    run = make_run(tmp_path, size=32, factor=8, region=False, systems=systems, variants=own)
    write_report(run.section, run.inputs, tmp_path / "report.html")
    text = " ".join((tmp_path / "report.html").read_text().split())
    assert "Losses of drawn (bridge: fair CRPS of two draws" in text
    assert "Losses of plain (bridge: mean square" in text
    assert "variants.drawn.score: &#34;crps&#34;" in text


def test_a_run_without_examples_or_shards_is_a_page_of_tables(tmp_path: Path) -> None:
    run = make_run(tmp_path, size=32, factor=8, region=False)
    inputs = {name: run.inputs[name] for name in ("stages", "metrics")}
    write_report(run.section, inputs, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert "No example patches were stored" in page.text
    assert len(page.named("img")) == 2


def test_a_file_of_another_kind_is_named(run: Run, tmp_path: Path) -> None:
    wrong = run.inputs | {"metrics": run.inputs["stages"]}
    with pytest.raises(ValueError, match=r"stages\.json: expected schema 'metrics/1', found 'stages/1'"):
        write_report(run.section, wrong, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_best_of_a_column_is_bold() -> None:
    columns = (Column("a", "A", "m", "low"), Column("b", "B", "", "one"), Column("c", "C"))
    rows = {"x": {"a": 2.0, "b": 0.5, "c": 1}, "y": {"a": 1.0, "b": 1.2, "c": 2}, "z": {"a": None, "b": 3.0}}
    html = PIECES.score_table(columns, rows, caller=lambda: "caption")
    bold = re.findall(r'<strong><data value="([^"]+)">', html)
    assert bold == ["1.0", "1.2"]


def test_texts_are_escaped_everywhere() -> None:
    columns, rows = (Column("a", HOSTILE, HOSTILE),), {HOSTILE: {"a": 1.0}}
    html = PIECES.text_table((HOSTILE,), [(HOSTILE,)], caller=lambda: HOSTILE)
    html += PIECES.score_table(columns, rows, caller=lambda: HOSTILE)
    html += Keys({"a": HOSTILE})("a", "b")
    assert "<script>" not in html and "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("value", "text"),
    [(2.967922, "2.968"), (83.0, "83.00"), (0.008352, "0.008352"), (12345.6, "1.23e+04"), (None, "–"),
     (9171, "9,171")],
)  # fmt: skip
def test_numbers_have_four_digits(value: float | None, text: str) -> None:
    assert number(value) == text
