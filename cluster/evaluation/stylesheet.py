"""The page's CSS, for light and dark mode; the pictures use the same colour variables."""

STYLESHEET = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1f2933; --quiet: #616e7c; --rule: #d5dbe1; --stripe: #f5f7f9;
  --better: #1d6fb8; --worse: #c2410c;
  --run-0: #6b7280; --run-1: #1d6fb8; --run-2: #d97706; --run-3: #0f8a5f;
  --run-4: #7c3aed; --run-5: #db2777; --run-6: #0891b2; --run-7: #92400e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --ink: #e4e7eb; --quiet: #9aa5b1; --rule: #3a434d; --stripe: #1b2127;
    --better: #63b3f5; --worse: #fb8c5a;
    --run-0: #9ca3af; --run-1: #63b3f5; --run-2: #fbbf24; --run-3: #34d399;
    --run-4: #a78bfa; --run-5: #f472b6; --run-6: #22d3ee; --run-7: #d6a77a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
}
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1, h2, h3, h4 { line-height: 1.25; overflow-wrap: anywhere; }
h1 { font-size: 1.75rem; margin: 0 0 .25rem; }
h2 { font-size: 1.4rem; margin: 3.5rem 0 .25rem; padding-top: 1.5rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h4 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
a { color: inherit; text-decoration-color: var(--quiet); text-underline-offset: .2em; }
.lead { color: var(--quiet); margin: 0 0 1.5rem; }
.note { color: var(--quiet); font-size: .85rem; margin: .5rem 0 0; }
.quiet { color: var(--quiet); font-weight: normal; }
.better { color: var(--better); }
.worse { color: var(--worse); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { padding: .4rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule); }
th:first-child, td:first-child { padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
thead th { font-weight: 600; color: var(--quiet); border-bottom-width: 2px; vertical-align: bottom; }
tbody th { font-weight: 600; min-width: 8rem; overflow-wrap: break-word; }
tbody th.name { white-space: nowrap; }
.mean th, .mean td { border-top: 2px solid var(--rule); border-bottom: 0; font-weight: 600; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
thead .number { white-space: normal; overflow-wrap: break-word; min-width: 5rem; }
.id { font: .85rem ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: nowrap; }
figure { margin: 2rem 0 1rem; }
figure svg { display: block; width: 100%; height: auto; }
figcaption { font-size: .95rem; margin-bottom: .5rem; }
.legend { list-style: none; margin: 0 0 .25rem; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; }
.legend li { font-size: .9rem; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: 1.75rem; vertical-align: middle; margin-right: .5rem; }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } }
"""
