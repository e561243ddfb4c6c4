"""Every command of the documentation is executed, and every link leads somewhere.

Commands are those of ```bash blocks, and in the text those in backticks that begin with a program's name.
Snakemake's are given as they are, with `-n`, in a copy of the project that has small files where the user's
would be; `make`'s with `-n`. What can be neither is in REWRITTEN, which says how it is executed instead and
why. A command that this file does not know fails its test.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
import yaml

from forked import Forks
from map_sites import write_site

pytestmark = pytest.mark.xdist_group("docs")
ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "config" / "README.md",
    *sorted((ROOT / "pretrained").glob("*/README.md")),
]
LANGUAGES = {"bash", "python", "yaml", ""}
PROGRAMS = ("make", "snakemake", "lunar-bridge", "python", "pip", "tensorboard")

SYSTEMS_DEMS = [
    glob
    for name in ("systems", "systems_validation")
    for glob in yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())["inputs"]["dem"]
]

# Command -> how it is executed, and why not as it stands. "help": its options are known to the program.
REWRITTEN = {
    "source .venv/bin/activate": ("nothing", "the tests run in an environment already"),
    "tensorboard --logdir *": ("installed", "a server that does not end"),
    "pip install --no-build-isolation -e .[[]*[]]": ("extra", "it would change the environment"),
    "pip install dist/*": ("nothing", "it would change the environment; tests/e2e/test_wheel.py"),
    "python -m pipeline.report.comparison*": ("help", "it writes into the project"),
    "python -m pipeline.bundle.verify *": ("help", "the bundle is the user's; tests/e2e/test_bundle.py"),
    "python -m pipeline.report.seeds *": ("help", "the metrics are the user's; tests/unit/report"),
    "python benchmarks/*": ("help", "takes minutes"),
    "snakemake --report": ("nothing", "tests/e2e/test_tiny.py and test_map.py"),
    "snakemake --report *": ("help", "it needs results; tests/e2e/test_tiny.py and test_map.py"),
    "lunar-bridge *": ("help", "it plans by the workflow; tests/e2e/test_map.py"),
    "python -m pipeline.config.reference > config/README.md": ("compare", "it writes into the project"),
    "python -m pipeline.config.schema > config/schema.json": ("compare", "it writes into the project"),
}


@dataclass(frozen=True)
class Command:
    """A command of a page, as words; `text` is what the page says."""

    page: str
    text: str

    @property
    def words(self) -> tuple[str, ...]:
        words = shlex.split(self.text, comments=True)
        if words[:1] == ["time"]:
            words = words[1:]
        # In running text "…" stands for what was said before.
        shown = ["--configfile", "config/tiny.yaml", "-n"] if words[:1] == ["snakemake"] else []
        words = [w for word in words for w in (shown if word == "…" else [word])]
        return tuple(words)

    @property
    def how(self) -> str:
        """How it is executed; KeyError for what nobody has thought of."""
        plain = " ".join(self.words)
        for pattern, (how, _) in REWRITTEN.items():
            if fnmatchcase(plain, pattern):
                return how
        if not {"&&", "|", ";", ">", "<"} & set(self.words):
            if self.words[0] in ("snakemake", ".venv/bin/snakemake"):
                return "dry-run"
            if self.words[0] == "make":
                return "make"
        raise KeyError(plain)


def blocks(page: Path) -> list[tuple[str, str]]:
    """Language and text of every fenced block."""
    return re.findall(r"^ *```(\w*)\n(.*?)^ *```$", page.read_text(), flags=re.M | re.S)


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```\w*\n.*?^ *```$", "", page.read_text(), flags=re.M | re.S)


def commands() -> list[Command]:
    found: dict[Command, None] = {}
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        for language, text in blocks(page):
            if language == "bash":
                for line in re.sub(r"\\\n *", "", text).splitlines():
                    if shlex.split(line, comments=True):
                        found[Command(name, line.strip())] = None
        for text in re.findall(rf"`((?:time )?(?:{'|'.join(PROGRAMS)})\s[^`]+)`", prose(page)):
            found[Command(name, " ".join(text.split()))] = None
    return list(found)


COMMANDS = commands()


def of(how: str) -> list[Command]:
    found = []
    for command in COMMANDS:
        try:
            found += [command] if command.how == how else []
        except KeyError:
            continue  # test_every_command_is_known
    return found


def dry(command: Command) -> tuple[str, ...]:
    """The words that are executed: `-n` in the place of the cores, so that equal plans are made once.

    It stays in its place, since it also ends the list of files after `--configfile`.
    """
    words = ["-n" if re.fullmatch(r"-c\d+", word) else word for word in command.words[1:]]
    return ("snakemake", *([] if "-n" in words else ["-n"]), *words)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: f"{c.page}: {c.text}")
def test_every_command_is_known(command: Command) -> None:
    try:
        assert command.how
    except KeyError as error:
        pytest.fail(f"{command.page}: say in REWRITTEN how the command {error} is executed")


def test_commands_are_found_and_every_rewriting_is_used() -> None:
    assert len(of("dry-run")) > 30 and len(of("make")) > 15
    plain = [" ".join(command.words) for command in COMMANDS]
    assert [p for p in REWRITTEN if not any(fnmatchcase(text, p) for text in plain)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_block_hides_commands_in_another_language(page: Path) -> None:
    assert {language for language, _ in blocks(page)} <= LANGUAGES
    assert page.read_text().count("```") == 2 * len(blocks(page))


# --- executed ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project, with the files that the pages speak of: their configs, and stand-ins of terrain."""
    folder = tmp_path_factory.mktemp("docs") / "clone"
    away = (".git", ".venv", "results", "resources", ".snakemake", "tests", "__pycache__", "figures", "src")
    shutil.copytree(ROOT, folder, symlinks=True, ignore=shutil.ignore_patterns(*away))
    (folder / "src").symlink_to(ROOT / "src")  # the package that the forks have imported
    for page in PAGES:
        for language, text in blocks(page):
            if language == "yaml":
                path = folder / re.match(r"# (\S+\.yaml)\n", text).group(1)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    windows = [f"resources/lola_40m/{Path(glob).name.replace('*', '')}" for glob in SYSTEMS_DEMS]
    for name in ("my/dems/site.tif", "resources/lola_40m/site.tif", *windows):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("planning looks at bytes alone")
    write_site(folder / "my")
    (folder / "overlay.yaml").write_text("bridge: {seed: 1}")
    (folder / "results" / "site" / "store").mkdir(parents=True)
    shutil.copytree(ROOT / "pretrained" / "lola40", folder / "results" / "site" / "store" / "bridge_missing")
    return folder


@pytest.fixture(scope="module")
def done(clone: Path, forks: Forks) -> dict[tuple[str, ...], tuple[int, str]]:
    """Exit code and output of every plan and every program's help, made by one process."""
    wanted = {dry(command) for command in of("dry-run")} | {helped(command) for command in of("help")}
    wanted |= {command.words[:3] for command in of("compare")}
    return {words: forks(clone, words) for words in sorted(wanted)}


def helped(command: Command) -> tuple[str, ...]:
    words = list(command.words)
    program = words[: 3 if words[1] == "-m" else 2]
    return (*program, "--help")


@pytest.mark.parametrize("command", of("dry-run"), ids=lambda c: f"{c.page}: {c.text}")
def test_a_snakemake_command_plans(command: Command, done: dict, clone: Path) -> None:
    code, text = done[dry(command)]
    assert code == 0, text[-3000:]
    if "--unlock" not in command.words:
        assert "This was a dry-run" in text
    assert not (clone / "results" / "store").exists()


@pytest.mark.parametrize("command", of("make"), ids=lambda c: f"{c.page}: {c.text}")
def test_a_make_command_has_its_target(command: Command, clone: Path) -> None:
    words = [word for word in command.words[1:] if word != "…"]
    made = subprocess.run(["make", "-n", "LINKS=", *words], cwd=clone, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    target = next(word for word in words if "=" not in word)
    assert re.search(rf"^{target}:.* ## ", (ROOT / "Makefile").read_text(), re.M)
    for name in (word.split("=")[0] for word in words if "=" in word):
        assert f"$({name})" in (ROOT / "Makefile").read_text() or f",$({name})" in made.stdout, name


@pytest.mark.parametrize("command", of("help"), ids=lambda c: f"{c.page}: {c.text}")
def test_a_programs_options_are_there(command: Command, done: dict) -> None:
    code, text = done[helped(command)]
    assert code == 0, text[-3000:]
    for option in (word for word in command.words if word.startswith("--")):
        assert re.search(rf"{option}\b", text), f"{option} is no option:\n{text}"


def test_reference_and_schema_are_what_their_commands_write(done: dict) -> None:
    files = {command.words[:3]: command.words[-1] for command in of("compare")}
    assert set(files.values()) == {"config/README.md", "config/schema.json"}
    for words, file in files.items():
        assert done[words] == (0, (ROOT / file).read_text())


def test_other_programs_are_installed_or_can_be() -> None:
    for command in of("installed"):
        assert shutil.which(command.words[0], path=str(Path(sys.executable).parent)), command.text
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in of("extra"):
        (extra,) = re.fullmatch(r"\.\[(\w+)\]", command.words[-1]).groups()
        assert extra in extras


# --- what the pages refer to --------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_configuration_names_its_file(page: Path) -> None:
    for language, text in blocks(page):
        if language == "yaml":
            assert re.match(r"# \S+\.yaml\n", text), f"{page.name}: begin the block with `# its/path.yaml`"
            assert isinstance(yaml.safe_load(text), dict)


def anchors(page: Path) -> set[str]:
    """What GitHub makes of the headings."""
    heads = re.findall(r"^#+ (.*)$", prose(page), flags=re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_file_of_the_project_that_is_named_is_there(page: Path) -> None:
    places = ("src/", "tests/", "config/", "workflow/", "profiles/", "benchmarks/", "envs/", "docs/")
    examples = {"src/pipeline/terrain/roughness.py", "profiles/slurm/partitions.yaml"}
    for name in re.findall(r"`([\w./]+\.(?:py|md|yaml|smk|txt|def))`", prose(page)):
        if name.startswith(places) and name not in examples:
            assert (ROOT / name).is_file(), f"{page.name}: {name}"
