"""The report's style sheet: system fonts, light and dark, phone and print;
part of the page, so it needs no network."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf7; --card: #ffffff; --ink: #1d2327; --soft: #5a646b; --line: #dfdcd4;
  --kept: #20706a; --kept-soft: #8fbdb8; --lost: #d9986c; --bad: #b3261e; --track: #ece9e1; --good: #20706a; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #14181b; --card: #1b2024; --ink: #e6e9ea; --soft: #9ba6ac; --line: #30383d; --kept: #4fb3aa;
    --kept-soft: #2f6762; --lost: #c47d4e; --bad: #ff8a80; --track: #262d31; --good: #4fb3aa; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, nav, footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: .15rem 0 .35rem; overflow-wrap: anywhere; letter-spacing: -.01em; }
h2 { font-size: 1.3rem; margin: 0 0 .25rem; letter-spacing: -.005em; }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .35rem 0; max-width: 46rem; }
section { margin: 3rem 0 0; }
.over { color: var(--soft); font-size: .8rem; letter-spacing: .08em; text-transform: uppercase; margin: 0; }
.about, .hint, caption { color: var(--soft); font-size: .92rem; }
.badge { display: inline-block; border: 1px solid currentColor; border-radius: .75rem; padding: 0 .6rem;
  font-size: .82rem;
  font-weight: 600; color: var(--soft); }
.badge.good { color: var(--good); } .badge.bad, .bad-text { color: var(--bad); }
code, .mono { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .88em; }
code { overflow-wrap: anywhere; }
nav { margin-top: 1.25rem; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; font-size: .92rem; }
nav a { color: var(--kept); text-decoration: none; padding: .25rem 0; } nav a:hover { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 1px; margin: 1.6rem 0 0;
  background: var(--line); border: 1px solid var(--line); border-radius: .6rem; overflow: hidden; }
.tile { background: var(--card); padding: .8rem 1rem .9rem; }
.tile dt { color: var(--soft); font-size: .82rem; }
.tile dd { margin: 0; } .tile strong { display: block; font-size: 1.5rem; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile dd span { color: var(--soft); font-size: .82rem; display: block; }
.tile.kept strong { color: var(--kept); } .tile.bad strong { color: var(--bad); }
.funnel { list-style: none; margin: 1rem 0 0; padding: 0; border-top: 1px solid var(--line); }
.funnel li { display: grid; grid-template-columns: minmax(0, 17rem) minmax(0, 1fr) 8.5rem; gap: .1rem 1.25rem;
  align-items: center; padding: .5rem 0; border-bottom: 1px solid var(--line); }
.funnel .name { font-weight: 600; overflow-wrap: anywhere; font-size: .95rem; line-height: 1.3; }
.funnel .name small, .funnel .left small { display: block; font-weight: 400; color: var(--soft); font-size: .82rem; }
.funnel .left { text-align: right; font-variant-numeric: tabular-nums; line-height: 1.3; }
.funnel .change .name { font-weight: 400; font-style: italic; color: var(--soft); }
svg.bar { display: block; width: 100%; height: .8rem; background: var(--track); border-radius: 2px; }
svg.thin { display: block; width: 100%; height: .3rem; margin-top: .2rem; background: var(--track);
  border-radius: 2px; }
svg.mini { display: inline-block; vertical-align: middle; width: 7rem; height: .55rem; background: var(--track);
  border-radius: 2px; }
.keep { fill: var(--kept); background: var(--kept); } .tokens { fill: var(--kept-soft);
  background: var(--kept-soft); }
.lose { fill: var(--lost); background: var(--lost); } .fail { fill: var(--bad); background: var(--bad); }
.before { fill: var(--lost); background: var(--lost); } .after { fill: var(--kept); background: var(--kept); }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; font-size: .86rem; color: var(--soft);
  margin: .8rem 0 0; }
.key { background: none; } .key i { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px;
  margin-right: .45rem; vertical-align: -.08rem; background: inherit; }
.key.keep i { background: var(--kept); } .key.tokens i { background: var(--kept-soft); }
.key.lose i, .key.before i { background: var(--lost); } .key.fail i { background: var(--bad); }
.key.after i { background: var(--kept); } .key.line i { height: 2px; vertical-align: .25rem;
  background: var(--kept); }
.key.valid i { height: 0; border-top: 2px dashed var(--ink); border-radius: 0; vertical-align: .25rem; }
.key.unigram i { height: 0; border-top: 2px dashed var(--lost); border-radius: 0; vertical-align: .25rem; }
svg.chart { display: block; width: 100%; height: 15rem; overflow: visible; margin: 1.6rem 0 2.2rem; }
.grid { stroke: var(--line); } .tick { fill: var(--soft); font-size: 12px; font-variant-numeric: tabular-nums; }
.middle { text-anchor: middle; } .end { text-anchor: end; }
.curve { fill: none; stroke: var(--kept); stroke-width: 2; stroke-linejoin: round; }
.level { stroke-width: 1.5; stroke-dasharray: 6 4; stroke: var(--ink); } .level.unigram { stroke: var(--lost); }
.scroll { overflow-x: auto; margin: .8rem 0; border: 1px solid var(--line); border-radius: .5rem;
  background: var(--card); }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
details .scroll { border: 0; border-top: 1px solid var(--line); border-radius: 0 0 .5rem .5rem;
  margin: 0 !important; }
.key-name, td code { white-space: nowrap; }
td details { border: 0; margin: 0; background: none; } td summary { padding: 0; }
td details > :not(summary) { margin-left: 0; margin-right: 0; }
.wide { min-width: 13rem; } .number .wide { white-space: normal; text-align: left; }
caption { text-align: left; padding: .6rem .9rem .3rem; }
th, td { text-align: left; padding: .38rem .9rem; vertical-align: top; border-top: 1px solid var(--line); }
thead th { border-top: 0; font-size: .82rem; color: var(--soft); font-weight: 600; white-space: nowrap; }
.number { text-align: right; white-space: nowrap; }
td { max-width: 32rem; overflow-wrap: break-word; }
details { border: 1px solid var(--line); border-radius: .5rem; background: var(--card); margin: .6rem 0; }
summary { padding: .55rem .9rem; cursor: pointer; overflow-wrap: anywhere; }
summary .count { color: var(--soft); font-variant-numeric: tabular-nums; }
details > :not(summary) { margin-left: .9rem; margin-right: .9rem; }
.why { padding-bottom: .6rem; font-size: .88rem; color: var(--soft); max-width: none; overflow-wrap: anywhere; }
.page { border-top: 1px solid var(--line); padding: .6rem 0 .7rem; max-width: none; }
.page .where { color: var(--soft); font-size: .82rem; overflow-wrap: anywhere; margin: 0; max-width: none; }
.text { margin: .3rem 0 0; white-space: pre-line; overflow-wrap: anywhere; max-height: 11rem; overflow: auto;
  font-size: .92rem; max-width: none; }
.text bdi { display: block; unicode-bidi: isolate; }
.unseen { font: 600 .72em ui-monospace, Menlo, Consolas, monospace; color: var(--bad); border: 1px solid currentColor;
  border-radius: 3px; padding: 0 .2em; margin: 0 .1em; white-space: nowrap; }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: .45rem 1.5rem;
  margin: .8rem 0; }
.facts dt { color: var(--soft); font-size: .82rem; } .facts dd { margin: 0; overflow-wrap: anywhere; }
.checks { list-style: none; padding: 0; margin: .8rem 0; }
.checks li { padding: .25rem 0 .25rem 1.7rem; position: relative; overflow-wrap: anywhere;
  font-variant-numeric: tabular-nums; }
.checks li::before { position: absolute; left: .15rem; font-weight: 700; content: "\\2713"; color: var(--good); }
.checks li.broken::before { content: "\\2717"; color: var(--bad); }
.chain { border-left: 2px solid var(--line); padding-left: 1.1rem; margin: 1.1rem 0; }
pre { overflow: auto; font-size: .82rem; max-height: 30rem; padding-bottom: .5rem; }
footer { margin-top: 4rem; padding-top: 1rem; padding-bottom: 2.5rem; color: var(--soft); font-size: .85rem; }
:focus-visible { outline: 2px solid var(--kept); outline-offset: 2px; }
@media (max-width: 44rem) {
  header { padding-top: 1.5rem; } main, header, nav, footer { padding-left: 1rem; padding-right: 1rem; }
  h1 { font-size: 1.5rem; } section { margin-top: 2.3rem; }
  .tiles { grid-template-columns: repeat(2, minmax(0, 1fr)); } .tile { padding: .65rem .8rem; }
  .tile strong { font-size: 1.2rem; }
  .funnel li { grid-template-columns: minmax(0, 1fr) auto; gap: .2rem .8rem; align-items: start; }
  .funnel .bars { grid-column: 1 / -1; grid-row: 2; }
  svg.chart { height: 12rem; } .chain { padding-left: .7rem; }
  th, td { padding: .35rem .7rem; } caption { padding: .6rem .7rem .3rem; }
}
@media print {
  :root { --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --track: #eee; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { font-size: 11px; } nav { display: none; } section { margin-top: 1.5rem; }
  .scroll, .text, pre { overflow: visible; max-height: none; }
  .funnel li, .tile, .page, svg.chart { break-inside: avoid; }
  h2, h3 { break-after: avoid; } pre { white-space: pre-wrap; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
