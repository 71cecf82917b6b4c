"""Make the pictures of the docs from real runs on the sandbox.

Call it as ``python docs/make_pictures.py``. ``terminal.svg`` is a recording of ``bulkid run``, coloured by rich;
``run_rate.svg`` is the console's plot of a run of 640 accounts; the pictures of the console are made by a test that
opens its pages in Chromium. It needs Linux or macOS, Chromium, the packages for development, and a minute.
"""

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
from rich.console import Console
from rich.text import Text

from bulkid.journal.store import open_journal
from bulkid.report.rate import Rate
from bulkid.runs.rates import run_rates
from bulkid.text import count_of
from bulkid.web.pages import TEMPLATES
from bulkid.web.plots import plot_of

HERE = Path(__file__).resolve().parent
COMMAND = ("bulkid", "run", "sample_data/robot_accounts.csv", "--sandbox")
COLUMNS = 100
RATE_COMMAND = ("bulkid", "run", "sample_data/migration.csv", "--sandbox", "--via", "accounts", "--first", "640")
PLOT_WIDTH, PLOT_LEFT, PLOT_RIGHT = 640, 44, 16  # pixels: of the plot, and beside it
BROWSER_TEST = "tests/web/test_web_browser.py::test_the_documented_pages_show_a_preview_and_a_run"


def record_terminal() -> str:
    """Run COMMAND on a pseudo-terminal and agree at its prompt; returns what stands there at the end, with colours."""
    import pty

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "sample_data").symlink_to(HERE.parent / "sample_data")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("BULKID_", "NO_COLOR"))}
        env = {**kept, "BULKID_STATE_DIR": f"{folder}/state", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-m", *COMMAND],
            cwd=folder,
            env={**env, "PYTHONPATH": str(HERE.parent)},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        written = _answer(ours)
        if process.wait() != 0:
            raise SystemExit(f"{' '.join(COMMAND)} failed:\n{written}")
    return "\n".join(_line_at_the_end(line) for line in written.split("\r\n"))


def _answer(terminal: int) -> str:
    """Read the terminal to its end, and type y at the prompt."""
    written, answered = bytearray(), False
    try:
        while more := os.read(terminal, 65536):
            written += more
            if not answered and b"[y/N]" in written:
                os.write(terminal, b"y\n")
                answered = True
    except OSError:  # the command has ended, and Linux reports that as an error
        pass
    os.close(terminal)
    return written.decode("utf-8")


def _line_at_the_end(line: str) -> str:
    """What is left of a line after progress displays were drawn on it and erased."""
    return re.sub(r"\x1b\[\?25[lh]", "", line.rpartition("\x1b[2K")[2]).rstrip()


def terminal_svg(recorded: str) -> str:
    """The recording as a picture that loads nothing from elsewhere."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    console.print(Text(f"$ {' '.join(COMMAND)}", style="bold"))
    console.print(Text.from_ansi(recorded))
    svg = console.export_svg(title="bulkid", unique_id="bulkid")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def record_rate() -> Rate:
    """Run RATE_COMMAND, which takes four windows of the sandbox's quota; returns the rate of its PUTs."""
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BULKID_")}
        subprocess.run(
            [sys.executable, "-m", *RATE_COMMAND, "--yes", "--yes-really", "--report-dir", f"{folder}/reports"],
            cwd=HERE.parent,
            env={**kept, "BULKID_STATE_DIR": f"{folder}/state"},
            check=True,
        )
        with open_journal(Path(folder) / "state") as journal:
            (rate,) = run_rates(journal, journal.list_runs()[0])
    return rate


def rate_svg(rate: Rate) -> str:
    """The plot as the console draws it, in its light colours, as a picture of its own."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    environment.globals["count_of"] = count_of
    environment.filters["number"] = lambda value: f"{value:,}"
    macros = environment.get_template("rate_plot.html").module
    plot = plot_of(rate)
    page = str(macros.rate_plot(plot, rate.caption))
    drawn = page[page.index("<svg") : page.index("</svg>") + len("</svg>")]
    css = (TEMPLATES.parent / "static" / "console.css").read_text(encoding="utf-8")
    colours = css[css.index(":root") : css.index("}") + 1].replace("  color-scheme: light dark;\n", "")
    rules = re.findall(r"^\.plot (?:rect|text|line|\.(?:own|stripes|gap|grid|axis))\b[^{]*\{[^}]*\}", css, re.MULTILINE)
    width, height = PLOT_LEFT + PLOT_WIDTH + PLOT_RIGHT, plot.height + 4
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="plot" viewBox="0 0 {width} {height:g}" width="{width}">',
            "<style>" + colours,
            *(rule.replace("rem", "em") for rule in rules),
            ".plot { font: 16px system-ui, sans-serif; } .plot .paper { fill: var(--paper); opacity: 1; }</style>",
            '<rect class="paper" width="100%" height="100%"></rect>',
            drawn.replace('width="100%" height', f'x="{PLOT_LEFT}" overflow="visible" width="{PLOT_WIDTH}" height', 1),
            "</svg>",
            "",
        ]
    )


def main() -> None:
    """Write all pictures beside this script."""
    (HERE / "terminal.svg").write_text(terminal_svg(record_terminal()), encoding="utf-8")
    (HERE / "run_rate.svg").write_text(rate_svg(record_rate()), encoding="utf-8")
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", BROWSER_TEST],
        cwd=HERE.parent,
        env={**os.environ, "BULKID_SHOTS": str(HERE), "BULKID_REQUIRE_ALL": "1"},
        check=True,
    )


if __name__ == "__main__":
    main()
