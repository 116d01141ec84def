"""The application without a browser: callbacks through the test client, headers, downloads, hostile requests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from viewer.analysis import Analysis
from viewer.dashboard import create_app
from viewer.dashboard.state import FIRST, scenario_of

OUTPUTS = ("headline.children", "figures.children", "guards.children", "roofline.figure", "memory.figure")


@pytest.fixture(scope="module")
def app() -> Any:
    return create_app()


@pytest.fixture
def client(app: Any) -> Any:
    return app.server.test_client()


def call(app: Any, client: Any, values: dict[str, Any], output: str = "roofline.figure") -> Any:
    """Calls the callback that yields ``output`` as the browser would."""
    key, entry = next((k, v) for k, v in app.callback_map.items() if output in k)
    spec = next(c for c in app._callback_list if c["output"] == key)
    outputs = [
        {"id": one.rsplit(".", 1)[0], "property": one.rsplit(".", 1)[1].split("@")[0]}
        for one in key.strip(".").split("...")
    ]
    body = {
        "output": key,
        "outputs": outputs if key.startswith("..") else outputs[0],
        "inputs": [{**i, "value": values.get(f"{i['id']}.{i['property']}")} for i in spec["inputs"]],
        "state": [{**i, "value": values.get(f"{i['id']}.{i['property']}")} for i in spec["state"]],
        "changedPropIds": [f"{i['id']}.{i['property']}" for i in spec["inputs"][:1]],
    }
    assert entry
    return client.post("/_dash-update-component", json=body)


def page(app: Any, client: Any, flat: Any, **more: Any) -> Any:
    values = {"on-analyze.data": {"flat": flat, "theme": "light"}, "show.value": "both", **more}
    return call(app, client, values)


def test_first_view(app: Any, client: Any) -> None:
    answer = page(app, client, FIRST)
    assert answer.status_code == 200
    data = answer.get_json()["response"]
    result = Analysis(scenario_of(FIRST))
    assert len(data["ops"]["rowData"]) == len(result.rows)
    assert "llama-2-13b" in data["headline"]["children"]
    assert sum(row["total_s"] for row in data["ops"]["rowData"]) == pytest.approx(
        result.totals.time_s, rel=1e-4
    )
    assert data["errors"]["data"] == {}


def test_an_update_is_small(app: Any, client: Any) -> None:
    """The target is 30 kB for what one key press brings."""
    answer = page(app, client, {**FIRST, "batch": 16})
    assert len(answer.get_data()) < 31_000
    import gzip

    assert len(gzip.compress(answer.get_data(), 1)) < 12_000


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"model": "llama-2-13"}, "model", "did you mean"),
        ({"hardware": "nvidia/a600"}, "hardware", "did you mean"),
        ({"batch": ""}, "batch", "whole number"),
        ({"batch": -3}, "batch", "greater"),
        ({"batch": 1e300}, "batch", ""),
        ({"batch": "NaN"}, "batch", ""),
        ({"prompt": "x" * 100}, "prompt", ""),
        ({"phase": "dream"}, "phase", "allowed"),
        ({"compression": "w4a17"}, "compression", ""),
        ({"compression": "../../etc/passwd"}, "compression", "name of a setting"),
        ({"model": "/etc/passwd"}, "model", "unknown model"),
        ({"model": "file:config.json@0123456789abcdef"}, "model", "drop it here"),
        ({"schema": 99}, "state", "schema"),
        ({"bacth": 3}, "state", "did you mean 'batch'"),
        ({"batch": {"a": 1}}, "batch", "one short value"),
    ],
)
def test_a_complaint_is_one_line_at_its_control(
    app: Any, client: Any, change: dict[str, Any], field: str, words: str
) -> None:
    data = page(app, client, {**FIRST, **change}).get_json()["response"]
    assert list(data) == ["errors"]
    errors = data["errors"]["data"]
    assert list(errors) == [field]
    assert words in errors[field]
    assert "\n" not in errors[field]
    assert len(errors[field]) < 400


@pytest.mark.parametrize("body", [None, [], "x", 3, {"model": None}, {"a" * 5000: 1}, {"model": ["x"]}])
def test_random_state_never_breaks_the_server(app: Any, client: Any, body: Any) -> None:
    answer = page(app, client, body)
    assert answer.status_code in (200, 204)


def test_headers(client: Any) -> None:
    answer = client.get("/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "script-src 'self' 'sha256-" in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["X-Frame-Options"] == "DENY"


def test_static_files_are_sent_compressed(client: Any) -> None:
    answer = client.get("/assets/style.css", headers={"Accept-Encoding": "gzip"})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in client.get("/assets/style.css").headers


def test_the_plotting_bundle_is_the_version_of_the_python_package(client: Any) -> None:
    from plotly.offline import get_plotlyjs_version

    assert f"plotly-cartesian-{get_plotlyjs_version()}.min.js" in client.get("/").get_data(as_text=True)


def test_downloads(client: Any) -> None:
    query = "model=llama-2-13b&hardware=nvidia/a6000&phase=decode&context=2047"
    data = json.loads(client.get(f"/data.json?{query}").get_data())
    assert data["totals"]["time_s"] == pytest.approx(35.675e-3, rel=2e-3)
    table = client.get(f"/data.csv?{query}").get_data(as_text=True)
    assert table.splitlines()[0].startswith("phase,name,kind")
    page_text = client.get(f"/chart.html?{query}").get_data(as_text=True)
    assert "Plotly.newPlot" in page_text
    assert 'src="http' not in page_text
    broken = client.get("/data.json?model=nope&hardware=nvidia/a6000")
    assert broken.status_code == 400
    assert broken.get_data(as_text=True).count("\n") == 1


def test_a_large_request_is_refused(client: Any) -> None:
    answer = client.post("/_dash-update-component", data=b"x" * (9 * 2**20), content_type="application/json")
    assert answer.status_code == 413
    assert "larger than 8 MiB" in answer.get_data(as_text=True)


def test_assets_are_found_in_an_installed_package(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel holds the assets as viewer/assets; a source tree has them beside the packages."""
    from viewer import resources as module

    fake = tmp_path / "site" / "viewer" / "resources.py"
    assets = tmp_path / "site" / "viewer" / "assets"
    assets.mkdir(parents=True)
    fake.write_text("")
    (assets / "style.css").write_text("")
    monkeypatch.setattr(module, "__file__", str(fake))
    assert module.assets_folder.__wrapped__() == assets
