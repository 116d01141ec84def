"""A report as one HTML file that needs nothing else: data, plotting code and style inside; prints well."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from viewer.charts.base import CONFIG
from viewer.charts.palette import Theme, theme_of
from viewer.report.blocks import Chart, Section, Table
from viewer.report.content import Report
from viewer.report.themes import Style
from viewer.resources import plotly_script


def render(report: Report, style: Style) -> str:
    """The page."""
    colours = theme_of(style.theme)
    body = [
        f"<header><h1>{escape(report.title)}</h1><p class=sub>{escape(report.subtitle)}</p></header><main>"
    ]
    body.append("<section aria-labelledby=s0><h2 id=s0>Summary</h2><ul class=summary>")
    body += [f"<li>{escape(text)}</li>" for text in report.summary]
    body.append("</ul></section>")
    for index, section in enumerate(report.sections, 1):
        body.append(_section(section, index))
    body.append(f"</main><footer>Made by roofline {escape(report.version)}. {_downloads()}</footer>")
    charts = {c.name: _drawn(c, style) for c in report.charts}
    data = {c.name: list(c.rows) for c in report.charts}
    data |= {t.name: list(t.rows) for s in report.sections for t in s.tables}
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(report.title)}</title>'
        f"<style>{_css(colours, style)}</style><script>{plotly_script()}</script></head><body>{''.join(body)}"
        f"<script>const F={_json(charts)},D={_json(data)},C={_json(CONFIG)};{_SCRIPT}</script></body></html>"
    )


def _json(value: Any) -> str:
    """JSON that may stand inside a script element."""
    from viewer.cli.common import clean

    return json.dumps(clean(value), separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\!--")


def _drawn(chart: Chart, style: Style) -> dict[str, Any]:
    figure = chart.draw(style.theme)
    plot = {**figure["layout"], "height": chart.height, "autosize": True}
    plot["font"] = {**plot.get("font", {}), "family": style.font, "size": style.size}
    return {"data": figure["data"], "layout": plot}


def _section(section: Section, index: int) -> str:
    parts = [f"<section aria-labelledby=s{index}><h2 id=s{index}>{escape(section.title)}</h2>"]
    parts += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
    for chart in section.charts:
        parts.append(
            f'<figure><div class=plot id="{escape(chart.name)}" style="height:{chart.height}px" role=img '
            f'aria-label="{escape(chart.title)}"></div><figcaption>{escape(chart.caption)}{_link(chart.name)}</figcaption>'
            "</figure>"
        )
    parts += [_table(table) for table in section.tables]
    parts += [f"<h3>{escape(name)}</h3><pre tabindex=0>{escape(text)}</pre>" for name, text in section.code]
    return "".join([*parts, "</section>"])


def _link(name: str) -> str:
    return (
        f' <span class=dl><button data-n="{escape(name)}" data-f=csv>CSV</button> '
        f'<button data-n="{escape(name)}" data-f=json>JSON</button></span>'
    )


def _table(table: Table) -> str:
    def cell(tag: str, position: int, text: str) -> str:
        align = " class=n" if position in table.numeric else ""
        return f"<{tag}{align}>{escape(text)}</{tag}>"

    head = "".join(cell("th", i, c) for i, c in enumerate(table.columns))
    rows = "".join(
        "<tr>" + "".join(cell("td", i, c) for i, c in enumerate(row)) + "</tr>" for row in table.cells
    )
    caption = f"<caption>{escape(table.caption or table.name)}{_link(table.name)}</caption>"
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(table.caption or table.name)}"><table>{caption}'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _downloads() -> str:
    return "Charts and tables carry their data: CSV and JSON beside each."


def _css(colours: Theme, style: Style) -> str:
    return f"""
:root{{color-scheme:{style.theme}}}
*{{box-sizing:border-box}}
body{{margin:0 auto;padding:24px 20px 48px;max-width:{style.width};background:{colours.paper};color:{colours.ink};
font:{style.size + 2}px/1.5 {style.font}}}
h1{{font-size:1.6em;line-height:1.2;margin:0}} h2{{font-size:1.2em;margin:2em 0 .5em;padding-top:.6em;
border-top:1px solid {colours.grid}}} h3{{font-size:1em;margin:1.2em 0 .3em}}
.sub,footer,figcaption,caption{{color:{colours.muted}}} .sub{{margin:.3em 0 0}}
.summary{{padding-left:1.1em}} .summary li{{margin:.35em 0}} .summary li:first-child{{font-weight:600}}
figure{{margin:1em 0}} figcaption,caption{{font-size:.88em;text-align:left;padding:.3em 0}}
.plot{{width:100%}} .scroll{{overflow-x:auto;margin:1em 0}}
table{{border-collapse:collapse;width:100%;font-size:.9em;font-variant-numeric:tabular-nums}}
th,td{{text-align:left;padding:.28em .7em .28em 0;border-bottom:1px solid {colours.grid};vertical-align:top}}
th{{font-weight:600;border-bottom-color:{colours.axis}}} .n{{text-align:right}} td.n{{white-space:nowrap}}
pre{{font:12px/1.4 ui-monospace,Consolas,monospace;overflow:auto;max-height:22em;padding:.8em;
border:1px solid {colours.grid};border-radius:4px}}
button{{font:inherit;font-size:.9em;color:{colours.muted};background:none;padding:0 .5em;cursor:pointer;
border:1px solid {colours.axis};border-radius:3px}} button:focus-visible{{outline:2px solid #0072b2}}
footer{{margin-top:3em;font-size:.85em}}
@media print{{body{{max-width:none;padding:0;font-size:{style.print_size}px}} .dl,.modebar{{display:none!important}}
pre{{max-height:none;
white-space:pre-wrap;font-size:9px}}
section{{break-inside:auto}} h2{{break-after:avoid}} figure,tr{{break-inside:avoid}} .scroll{{overflow:visible}}}}
@page{{size:{style.page};margin:14mm}}
"""


_SCRIPT = """
for(const k in F){const e=document.getElementById(k);Plotly.newPlot(e,F[k].data,F[k].layout,C)}
document.body.addEventListener('click',ev=>{const b=ev.target.closest('button[data-n]');if(!b)return;
const r=D[b.dataset.n]||[];let t;if(b.dataset.f==='json')t=JSON.stringify(r,null,1);else{
const c=[...new Set(r.flatMap(x=>Object.keys(x)))];
const q=v=>{v=v==null?'':typeof v==='object'?JSON.stringify(v):String(v);
return /[",\\n]/.test(v)?
'"'+v.replace(/"/g,'""')+'"':v};t=[c.join(','),...r.map(x=>c.map(k=>q(x[k])).join(','))].join('\\n')}
const a=document.createElement('a');a.href=URL.createObjectURL(new Blob([t]));
a.download=b.dataset.n+'.'+b.dataset.f;a.click()});
window.addEventListener('beforeprint',()=>{for(const k in F)Plotly.Plots.resize(k)});
"""
