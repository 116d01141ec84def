"""The ``roofline`` command. Each file of this package registers its commands; heavy imports wait for the command."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import typer

#: Modules with a ``register(app)``, in the order in which --help lists their commands.
MODULES = (
    "analyze", "whatif", "report", "dashboard", "serving", "error", "catalog", "formats", "kernels", "bench", "doctor",
)  # fmt: skip

app = typer.Typer(
    name="roofline",
    help="Roofline performance analysis of LLM inference: what bounds each layer, and what a setting would change.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def build() -> typer.Typer:
    """The app with every command registered."""
    if not app.registered_commands and not app.registered_groups:
        for name in MODULES:
            importlib.import_module(f"viewer.cli.{name}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns (and exits with) 0 done, 1 the answer is no, 2 bad input."""
    from viewer.cli.common import run

    code = run(build(), list(sys.argv[1:] if arguments is None else arguments))
    if arguments is None:
        sys.stdout.flush()
        if code == 141:
            os.close(1)
            code = 0
        raise SystemExit(code)
    return code
