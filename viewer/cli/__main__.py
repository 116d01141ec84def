"""``python -m viewer.cli``."""

from viewer.cli import main

main()
