"""Hostile visitors: made-up states, bodies and files get a short answer, in bounded memory, and the server goes on."""

from __future__ import annotations

import base64
import gzip
import json
import logging
import math
import tracemalloc
import zipfile
from io import BytesIO
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.dashboard.test_app import call, page
from viewer.dashboard import create_app
from viewer.dashboard.gate import refusal
from viewer.dashboard.state import FIRST, defaults, scenario_of
from viewer.dashboard.web import MAX_REQUEST_BYTES
from viewer.errors import InputError
from viewer.scenario import Scenario

#: Values that a link or a body may hold for any field.
NASTY: tuple[Any, ...] = (
    *(None, "", -1, 0, 10**30, 1e308, -1e308, math.nan, math.inf, "NaN", "1e999", True, [], {}, [[[]]]),
    *("\x00", "' OR 1=1", "<script>alert(1)</script>", "../../../etc/passwd", "file:x.json@0123456789abcdef"),
    *("{{7*7}}", "é" * 3000, "9" * 5000, {"flat": {}}, "w4a16-g128+" * 50, "*~w=int4;" * 100),
)
LLAMA = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
}


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app()


@pytest.fixture
def client(app: Any) -> Any:
    return app.server.test_client()


def goes_on(app: Any, client: Any) -> None:
    """The next visitor gets the page's figures as ever, and his own state only."""
    answer = page(app, client, FIRST)
    assert answer.status_code == 200
    assert "llama-2-13b" in answer.get_json()["response"]["headline"]["children"]


def server_callbacks(app: Any) -> list[str]:
    """Outputs of the callbacks that run on the server."""
    return [one["output"] for one in app._callback_list if not one.get("clientside_function")]


plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=40),
    st.sampled_from(NASTY),
)
fields = st.one_of(st.sampled_from(sorted(defaults())), st.text(max_size=20))
hostile = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fields, inner, max_size=4),
    max_leaves=8,
)


@given(st.one_of(hostile, st.dictionaries(fields, hostile, max_size=6)), st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_state_is_a_scenario_or_one_line(state: Any, on_top_of_the_first: bool) -> None:
    """Whatever a link holds: a valid scenario or an InputError of one bounded line, nothing else."""
    if on_top_of_the_first and isinstance(state, dict):
        state = {**FIRST, **state}
    try:
        assert isinstance(scenario_of(state), Scenario)
        return
    except InputError as error:
        line = str(error)
    assert "\n" not in line
    assert 0 < len(line) < 600


#: Those that differ for a callback (each value is tried in every callback).
TRIED = (None, -1, 10**30, math.nan, math.inf, True, "\x00", "9" * 5000, [[[]]], {"flat": {}})


@pytest.mark.parametrize("value", TRIED, ids=lambda v: repr(v)[:20])
def test_every_callback_survives_nasty_values(
    app: Any, client: Any, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each server callback with the value in every place, and in every field of an otherwise good state."""
    good = {"flat": FIRST, "theme": "light", "pins": [], "base": None}
    with caplog.at_level(logging.ERROR):
        for output in server_callbacks(app):
            spec = app.callback_map[output]
            names = [f"{one['id']}.{one['property']}" for one in (*spec["inputs"], *spec["state"])]
            bad = dict.fromkeys(names, value)
            mixed = {n: (good if n.startswith("on-") else value) for n in names}
            inside = {
                n: {**good, "flat": value, "pins": value} if n.startswith("on-") else None for n in names
            }
            for values in (bad, mixed, inside):
                answer = call(app, client, values, output)
                assert answer.status_code in (200, 204), (output, values)
    assert not caplog.records, caplog.records[0].exc_info


@given(st.binary(max_size=200) | hostile.map(lambda v: json.dumps(v, default=str).encode()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_random_body_is_refused_in_one_line(body: bytes) -> None:
    assert refusal(body, {"a.b": {"inputs": [], "state": []}})


def test_bodies_that_no_page_sends(app: Any, client: Any) -> None:
    output = server_callbacks(app)[0]
    spec = app.callback_map[output]
    wrong_count = {
        "output": output,
        "outputs": [],
        "changedPropIds": [],
        "inputs": [],
        "state": spec["state"],
    }
    deep = b'{"output": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bodies = [b"", b"{", b"[]", b"null", b"\xff\xfe", json.dumps(wrong_count).encode(), deep]
    bodies += [
        gzip.compress(b"0" * 10**7),
        b'{"output": "nope.children", "inputs": [], "changedPropIds": []}',
    ]
    for body in bodies:
        answer = client.post("/_dash-update-component", data=body, content_type="application/json")
        assert answer.status_code == 400
        text = answer.get_data(as_text=True)
        assert text.count("\n") == 1
        assert text.startswith("the request")
    goes_on(app, client)


def test_50_mb_is_refused_before_it_is_read(app: Any, client: Any) -> None:
    tracemalloc.start()
    answer = client.post(
        "/_dash-update-component",
        input_stream=BytesIO(b"x"),
        content_type="application/json",
        environ_overrides={"CONTENT_LENGTH": str(50 * 2**20)},
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.status_code == 413
    assert f"larger than {MAX_REQUEST_BYTES // 2**20} MiB" in answer.get_data(as_text=True)
    assert peak < MAX_REQUEST_BYTES
    goes_on(app, client)


def url(content: bytes | str) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return "data:application/octet-stream;base64," + base64.b64encode(raw).decode()


def drop(app: Any, client: Any, content: bytes | str, name: str) -> Any:
    values = {"upload.contents": url(content), "upload.filename": name, "model.data": [], "hardware.data": []}
    return call(app, client, values, "upload-note.children")


def zip_bomb() -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", b"0" * (64 * 2**20))
    return out.getvalue()


#: Ten levels of ten references: 10^10 entries for a reader that expands them.
ALIASES = "schema_version: 1\ncompute: &a0 [x]\n" + "".join(
    f"b{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 11)
)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (json.dumps({**LLAMA, "num_hidden_layers": 10**9}), "config.json"),
        (json.dumps({**LLAMA, "hidden_size": -4096}), "config.json"),
        (json.dumps({**LLAMA, "vocab_size": 1e308}), "config.json"),
        ('{"model_type": "llama", "hidden_size": NaN}', "config.json"),
        ("[" * 100_000 + "]" * 100_000, "config.json"),
        ('{"a":' * 50_000 + "1" + "}" * 50_000, "config.json"),
        ("rules: " + "[" * 20_000 + "]" * 20_000, "policy.yaml"),
        ("rules:\n" + "- " * 50_000 + "x", "policy.yaml"),
        ("rules: [" + "x, " * 200_000 + "]", "policy.yaml"),
        (zip_bomb(), "config.json"),
        (gzip.compress(b"0" * (64 * 2**20)), "config.json"),
        (ALIASES, "device.yaml"),
        ("!!python/object/apply:os.system ['true']\nschema_version: compute", "device.yaml"),
        (b"\x00" * 1000, "config.json"),
        ("", "config.json"),
        ("{}", "../../../etc/passwd"),
        ("{}", "x" * 5000),
    ],
    ids=lambda v: None if isinstance(v, bytes) else str(v)[:30],
)
def test_a_hostile_file_gets_one_line(
    app: Any, client: Any, content: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    tracemalloc.start()
    with caplog.at_level(logging.ERROR):
        data = drop(app, client, content, name).get_json()["response"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert not caplog.records
    assert list(data) == ["upload-note"], "a file that cannot be read changes nothing"
    note = data["upload-note"]["children"]
    assert 0 < len(note) < 600
    assert "\n" not in note
    assert peak < 100 * 2**20
    goes_on(app, client)


def test_a_dropped_file_is_shown_to_nobody_else(app: Any, client: Any) -> None:
    """The worker keeps a file by its hash, but a request that does not bring the content does not get it."""
    secret = json.dumps({**LLAMA, "num_hidden_layers": 7})
    data = drop(app, client, secret, "secret-config.json").get_json()["response"]
    key = data["model"]["value"]
    flat = {**FIRST, "model": key}
    mine = page(app, client, flat, **{"files.data": data["files"]["data"]}).get_json()["response"]
    assert "headline" in mine
    for files in (None, {}, {key: "{}"}, {key: None}, [key]):
        other = page(app, client, flat, **{"files.data": files}).get_json()["response"]
        assert list(other) == ["errors"]
        assert "secret-config.json" in other["errors"]["data"]["model"]
    assert "secret" not in page(app, client, FIRST).get_data(as_text=True)


@pytest.mark.parametrize(
    "query",
    [
        *("s=garbage", "s=%7B%22batch%22%3A1e999%7D", "model=%00", "batch=nan", "batch=-1"),
        *("batch=" + "9" * 4000, "&" * 5000, "a=" + "b" * 60_000),
        "model=llama-2-13b&hardware=nvidia/a6000&phase=decode&batch=1e308",
    ],
    ids=lambda q: q[:25],
)
def test_random_links(app: Any, client: Any, query: str) -> None:
    assert client.get(f"/?{query}").status_code == 200
    for path in ("data.json", "data.csv", "chart.html"):
        answer = client.get(f"/{path}?{query}")
        assert answer.status_code == 400
        assert answer.get_data(as_text=True).count("\n") == 1
    goes_on(app, client)


def test_a_worker_that_never_served_the_page_serves_its_scripts():
    """Behind several workers the page may come from one and its scripts from another."""
    import re

    page = create_app().server.test_client().get("/").get_data(as_text=True)
    script = re.search(r'src="(/_dash-component-suites/[^"]+\.js[^"]*)"', page)
    assert script is not None
    assert create_app().server.test_client().get(script[1]).status_code == 200
