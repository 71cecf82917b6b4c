"""``docs/cli.md`` agrees with the help pages."""

from tests.support.cli_reference import PAGE, cli_reference


def test_the_page_holds_every_help_page_as_it_is() -> None:
    assert PAGE.read_text(encoding="utf-8") == cli_reference(), (
        "write docs/cli.md again: python -m tests.support.cli_reference"
    )


def test_an_option_and_an_argument_stand_in_a_table_and_examples_in_a_block() -> None:
    text = cli_reference().partition("\n## bulkid run\n")[2].partition("\n## ")[0]
    assert "\n| option | what it does |\n" in text
    assert "| `--max-failures N\\|N%` | Stop when more accounts than this have failed." in text
    assert "| `SOURCE` | A sheet," in text
    assert "```sh\nbulkid run robots.xlsx\n# Try it on a simulated server\n" in text
