"""How the page looks: colours by what they mean, light and dark, wide tables that scroll by themselves."""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c2430; --dim: #5d6b7c; --rule: #dfe4ea; --panel:
  #f6f8fa; --champion: #2f6fdb; --candidate: #e08a1e; --prose: #7a52c7; --good: #1d8a4e; --bad: #cc3b3b; --s2:
  #1d8a4e; --s3: #7a52c7; --s4: #cc3b3b; --s5: #4c9aa8; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --text: #e3e8ee; --dim: #93a1b2; --rule:
  #2a323c; --panel: #1a2028; --champion: #6ea3ff; --candidate: #f2a94a; --prose: #b094f0; --good: #4cc083;
  --bad: #ff7b72; --s2: #4cc083; --s3: #b094f0; --s4: #ff7b72; --s5: #6cc2d0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; margin: 0; }
h2 { font-size: 19px; margin: 40px 0 12px; }
h3 { font-size: 15px; margin: 20px 0 8px; }
.facts, .note { color: var(--dim); font-size: 13px; margin: 6px 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 20px 0; }
.tile { background: var(--panel); border: 1px solid var(--rule); border-radius: 8px; padding: 10px 16px;
  min-width: 120px; }
.tile b { display: block; font-size: 22px; }
.tile span { color: var(--dim); font-size: 13px; }
.good b, b.good { color: var(--good); }
.bad b, b.bad { color: var(--bad); }
.summary { padding-left: 20px; }
.summary li { margin: 3px 0; }
svg { display: block; width: 100%; height: auto; margin: 6px 0 10px; font: 11px system-ui, sans-serif; }
svg text { fill: var(--text); }
svg .tick { fill: var(--dim); }
svg .title { font-weight: 600; font-size: 12px; }
svg .name { font-size: 12px; }
svg .axis { stroke: var(--dim); }
svg .grid { stroke: var(--rule); }
svg .mark { stroke: var(--dim); stroke-dasharray: 3 3; }
svg .mark.good { stroke: var(--good); }
svg .mark.bad { stroke: var(--bad); }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .line.champion, svg .line.series-0 { stroke: var(--champion); }
svg .line.candidate, svg .line.series-1 { stroke: var(--candidate); }
svg .line.prose, svg .line.series-3 { stroke: var(--s3); }
svg .line.series-2 { stroke: var(--s2); }
svg .line.series-4 { stroke: var(--s4); }
svg .line.series-5 { stroke: var(--s5); }
svg .champion, svg .series-0, svg .bar.done { fill: var(--champion); }
svg .candidate, svg .series-1 { fill: var(--candidate); }
svg .bar.running { fill: var(--candidate); }
svg .bar.failed { fill: var(--bad); }
svg .series-2 { fill: var(--s2); }
svg .prose, svg .series-3 { fill: var(--s3); }
svg .series-4 { fill: var(--s4); }
svg .series-5 { fill: var(--s5); }
svg .line { fill: none !important; }
svg .area { opacity: .85; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: 5px 12px 5px 0; border-bottom: 1px solid var(--rule); }
th { color: var(--dim); font-weight: 500; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.sum td { font-weight: 600; }
tr.strong td { color: var(--bad); }
code { font-size: 12px; background: var(--panel); padding: 1px 5px; border-radius: 4px; }
a { color: var(--champion); }
details { margin: 8px 0; }
summary { cursor: pointer; color: var(--dim); font-size: 13px; }
"""
