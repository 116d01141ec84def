"""The dashboard: ``python app.py [--host 127.0.0.1] [--port 8050]``; ``server`` is for a WSGI server."""

from __future__ import annotations

import argparse

from viewer.dashboard import create_app

app = create_app()
server = app.server


def main() -> None:
    """Serve on this machine only, unless told otherwise."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", default=8050, type=int, help="port to listen on")
    options = parser.parse_args()
    app.run(host=options.host, port=options.port, debug=False)


if __name__ == "__main__":
    main()
