"""How the page looks: by day and by night, on a telephone and on paper. All text has a contrast of 4.5 or better."""

CSS = """
:root {
  color-scheme: light dark;
  --paper: #fff; --panel: #f4f6f8; --ink: #1b1d21; --soft: #505a66; --rule: #d3d9e0;
  --accent: #0b57b0; --shade: #1b1d2126;
  --c0: #0b62c4; --c1: #c2410c; --c2: #0f7b55; --c3: #7a3fb5; --c4: #a0136b; --c5: #6b5d00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1e2329; --ink: #e8eaed; --soft: #aab4c0; --rule: #3a424c;
    --accent: #8ab8ff; --shade: #0009;
    --c0: #6db3ff; --c1: #ff9b5e; --c2: #52d0a0; --c3: #c59bff; --c4: #ff86c8; --c5: #d8c84a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-padding-top: 1rem; }
body { margin: 0 auto; padding: 0 1rem 3rem; max-width: 66rem; background: var(--paper); color: var(--ink);
       font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.05rem; font-weight: 600; color: var(--soft); margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; padding-top: 1rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; overflow-wrap: anywhere; }
h4 { font-size: 1rem; margin: 0 0 .25rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 46rem; }
bdi { overflow-wrap: anywhere; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { left: 1rem; top: 1rem; padding: .5rem 1rem; background: var(--paper); z-index: 2; }
.verdict { font-size: 1.35rem; line-height: 1.4; margin: 0 0 .75rem; max-width: 50rem; }
.soft, caption, figcaption { color: var(--soft); font-size: .9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: 1rem 0 0; padding: 0; }
nav a { display: inline-block; padding: .25rem 0; }
.scroll { overflow-x: auto; margin: .75rem 0 1.5rem;
          background: linear-gradient(to left, var(--paper) 30%, transparent) right / 2.5rem 100% local no-repeat,
                      linear-gradient(to left, var(--shade), transparent) right / 1rem 100% scroll no-repeat; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .95rem; }
caption { text-align: left; padding-bottom: .4rem; }
caption span { display: inline-block; position: sticky; left: 0; max-width: min(46rem, 100vw - 2rem); }
th, td { padding: .35rem .75rem .35rem 0; text-align: right; vertical-align: top; border-bottom: 1px solid var(--rule);
         white-space: nowrap; }
th { font-weight: 600; }
th:first-child, td:first-child, td.words { text-align: left; }
tbody th { font-weight: 400; white-space: normal; min-width: 6.5rem; max-width: 18rem; }
tbody th[scope=rowgroup] { font-weight: 600; padding-top: .9rem; }
tr.chosen th, tr.chosen td { font-weight: 600; }
td small { display: block; color: var(--soft); font-size: .85em; font-weight: 400; }
.text { text-align: left; white-space: pre-wrap; overflow-wrap: anywhere; }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); gap: 0 2.5rem;
          align-items: center; }
.beside > * { min-width: 0; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; max-width: 46rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 19rem), 1fr)); gap: 1.25rem 2rem; }
.grid.wide { grid-template-columns: repeat(auto-fit, minmax(min(100%, 25rem), 1fr)); }
figure { margin: .75rem 0; min-width: 0; }
.grid > figure { margin: 0; }
figure h3 { margin: 0 0 .25rem; }
.chart { display: block; width: 100%; height: auto; max-width: 34rem; }
.chart text { font-size: 11px; fill: var(--soft); font-family: inherit; }
.chart .label { fill: var(--ink); }
.grid-line { stroke: var(--rule); fill: none; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); }
.c3 { --c: var(--c3); } .c4 { --c: var(--c4); } .c5 { --c: var(--c5); }
.line { stroke: var(--c); stroke-width: 2; fill: none; stroke-linejoin: round; }
.area { fill: var(--c); fill-opacity: .28; stroke: var(--c); stroke-width: 1.3; }
.dot { fill: var(--c); stroke: var(--paper); stroke-width: 1; }
.mark { stroke: var(--ink); stroke-width: 1.3; stroke-dasharray: 4 3; fill: none; }
.legend { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; list-style: none; padding: 0; margin: .4rem 0;
          font-size: .9rem; }
.legend li { display: flex; align-items: center; gap: .4rem; min-width: 0; }
.swatch { width: 24px; height: 10px; flex: none; }
details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--accent); padding: .25rem 0; font-size: .9rem; }
.cards { list-style: none; padding: 0; margin: .75rem 0; }
.cards > li { background: var(--panel); border-radius: .5rem; padding: .75rem .9rem; min-width: 0; }
.cards p { margin: .15rem 0 .5rem; }
.sound { margin: .35rem 0 0; }
.sound audio { display: block; width: 100%; height: 2.5rem; margin-top: .2rem; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--rule); padding-top: .5rem; }
@media print { nav, .skip, audio { display: none; } .cards > li { break-inside: avoid; } }
"""
