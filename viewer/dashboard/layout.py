"""The shell of all pages: header with navigation, scenario panel, stores, dialogs, and the browser-side callbacks."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, State, dcc, html

from viewer.dashboard import dialogs, settings
from viewer.dashboard.controls import FIELDS, panel
from viewer.dashboard.pages import PAGES
from viewer.dashboard.state import HEAD, LENGTHS, defaults
from viewer.dashboard.widgets import aria

#: Keys and what they do; the help dialog and assets/app.js share it.
KEYS = (
    ("[  ]", "halve or double the batch"),
    ("{  }", "halve or double the length"),
    ("b", "pin the scenario as baseline, or drop the baseline"),
    ("/", "search the table"),
    ("t", "light or dark"),
    ("c", "copy a link to this state"),
    ("1 … 7", "pages"),
    ("?", "this help"),
)


def page() -> Any:
    """The layout."""
    return dmc.MantineProvider(
        html.Div(
            [*_stores(), _header(), html.Div([_aside(), _main()], className="body"), *_dialogs()],
            className="app",
        ),
        id="mantine",
        forceColorScheme="light",
        theme={
            "primaryColor": "indigo",
            "fontFamily": "inherit",
            "defaultRadius": "sm",
            "cursorType": "pointer",
        },
    )


def _stores() -> list[Any]:
    known = defaults()
    return [
        dcc.Location(id="url", refresh="callback-nav"),
        dcc.Store(id="scenario"),
        dcc.Store(id="extra", data={}),
        dcc.Store(id="files", data={}),
        dcc.Store(id="baseline"),
        dcc.Store(id="pins", data=[]),
        dcc.Store(id="theme", data="light"),
        dcc.Store(id="compact", data=False),
        dcc.Store(id="selected"),
        dcc.Store(id="errors", data={}),
        *[dcc.Store(id=f"on-{page.NAME}") for page in PAGES],
        dcc.Store(id="question"),
        dcc.Store(id="header"),
        dcc.Store(id="settings", data=""),
        dcc.Store(
            id="meta",
            data={
                "fields": FIELDS,
                "defaults": known,
                "head": HEAD,
                "lengths": list(LENGTHS),
                "pages": {page.PATH: page.NAME for page in PAGES},
                "settings": settings.starts(PAGES),
            },
        ),
    ]


def _header() -> Any:
    links = [
        dcc.Link(page.TITLE, href=page.PATH, id=f"nav-{page.NAME}", className="nav-link", refresh=False)
        for page in PAGES
    ]
    return html.Nav(
        [
            html.A("Skip to the results", href="#main", className="skip"),
            html.Div("Roofline", className="brand"),
            html.Div(links, className="nav"),
            html.Div(
                [
                    _tool("baseline-toggle", "Pin baseline", "Compare everything with this state (b)"),
                    _tool("pin-add", "+ Tray", "Keep this scenario in the tray of Compare"),
                    _tool("copy-open", "Copy as …", "Link, command, Python, JSON"),
                    _tool("theme-toggle", "◐", "Light or dark (t)"),
                    _tool("help-open", "?", "Keys and help (?)"),
                ],
                className="tools",
            ),
        ],
        className="header",
        **aria(label="Pages and tools"),
    )


def _tool(name: str, text: str, title: str) -> Any:
    label = aria(label=title) if len(text) < 3 else {}
    return html.Button(text, id=name, title=title, className="tool", n_clicks=0, **label)


def _aside() -> Any:
    return html.Aside(
        html.Details(
            [html.Summary("Scenario", className="aside-summary"), panel()], open=True, id="aside-details"
        ),
        className="aside",
        **aria(label="Scenario"),
    )


def _main() -> Any:
    pages = [
        html.Section(page.layout(), id=f"page-{page.NAME}", className="page", **aria(label=page.TITLE))
        for page in PAGES
    ]
    return html.Main(
        [html.Div(id="banner", className="banner", role="status", **aria(live="polite")), *pages],
        id="main",
        className="main",
        tabIndex=-1,
    )


def _tour_button() -> Any:
    """Starts assets/tour.js again."""
    return html.Button("Take the two-minute tour", id="tour-start", className="tool", n_clicks=0)


def _dialogs() -> list[Any]:
    rows = [html.Tr([html.Td(html.Kbd(key)), html.Td(what)]) for key, what in KEYS]
    tour = [
        html.P(
            "Each point is a kernel of one layer: how much arithmetic it does per byte, and how fast it can go."
        ),
        html.P("Under the slope the memory binds; under the flat roof the arithmetic units do."),
        html.P("Pin a baseline (b), then change the compression: arrows show what each op gains."),
        html.P(
            "Click a figure or a cell to see its formula with the numbers put in. Drag a roof to change the chip."
        ),
    ]
    close = {"aria-label": "Close"}
    return [
        dmc.Modal(
            html.Div([html.Div(tour), _tour_button(), html.Table(html.Tbody(rows), className="keys")]),
            id="help",
            title="How to read this, and keys",
            size="md",
            closeButtonProps=close,
        ),
        dmc.Modal(
            html.Div(id="copy-body"), id="copy", title="This state as …", size="lg", closeButtonProps=close
        ),
        dmc.Drawer(
            html.Div(id="explain-body", className="explain"),
            id="explain",
            title="Explain this number",
            position="right",
            size="md",
            closeButtonProps=close,
            withOverlay=False,
            lockScroll=False,
            trapFocus=False,
        ),
    ]


def register(app: Dash) -> None:
    """Browser-side callbacks of the shell."""
    values = [Input(field, "value") for field in FIELDS]
    app.clientside_callback(
        ClientsideFunction("app", "boot"),
        *[Output(field, "value") for field in FIELDS],
        Output("extra", "data"),
        Output("baseline", "data"),
        Output("pins", "data"),
        Output("theme", "data"),
        Output("compact", "data"),
        Input("meta", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("app", "collect"),
        Output("scenario", "data"),
        Output("panel", "className"),
        *values,
        Input("extra", "data"),
        State("meta", "data"),
        State("scenario", "data"),
    )
    _register_routes(app)
    app.clientside_callback(
        ClientsideFunction("app", "applyTheme"),
        Output("mantine", "forceColorScheme"),
        Input("theme", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("app", "fanErrors"),
        *[Output(field, "error") for field in FIELDS if field != "phase"],
        Output("banner", "children"),
        Input("errors", "data"),
    )
    _register_buttons(app)
    dialogs.register(app)
    settings.register(app)


def _register_routes(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("app", "address"),
        Output("main", "data-state"),
        Input("scenario", "data"),
        Input("baseline", "data"),
        Input("pins", "data"),
        Input("url", "pathname"),
        Input("settings", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("app", "showPage"),
        Output("main", "className"),
        Input("url", "pathname"),
    )
    app.clientside_callback(
        ClientsideFunction("app", "route"),
        *[Output(f"on-{page.NAME}", "data") for page in PAGES],
        Input("scenario", "data"),
        Input("baseline", "data"),
        Input("pins", "data"),
        Input("theme", "data"),
        Input("compact", "data"),
        Input("url", "pathname"),
    )


def _register_buttons(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("app", "toggleTheme"),
        Output("theme", "data", allow_duplicate=True),
        Input("theme-toggle", "n_clicks"),
        State("theme", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "toggleBaseline"),
        Output("baseline", "data", allow_duplicate=True),
        Input("baseline-toggle", "n_clicks"),
        State("scenario", "data"),
        State("baseline", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "labelBaseline"),
        Output("baseline-toggle", "children"),
        Input("baseline", "data"),
    )
    app.clientside_callback(
        ClientsideFunction("app", "opened"),
        Output("help", "opened"),
        Input("help-open", "n_clicks"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "addPin"),
        Output("pins", "data", allow_duplicate=True),
        Input("pin-add", "n_clicks"),
        State("scenario", "data"),
        State("pins", "data"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("app", "resetScales"),
        Output("bandwidth_scale", "value", allow_duplicate=True),
        Output("compute_scale", "value", allow_duplicate=True),
        Input("scales-reset", "n_clicks"),
        prevent_initial_call=True,
    )
