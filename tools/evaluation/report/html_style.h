// The style sheet of html_page(): beside a sidebar on a wide screen, under a bar with a menu on a narrow one,
// with numbered pages on paper.
#pragma once

#include <string_view>

namespace medfusion::tools {

inline constexpr std::string_view kPageStyle = R"(
:root { --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --accent: #0b5cad; --band: #f4f6f9; --warn: #8a4b00; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin-left: 15rem; padding: 1rem 1.5rem 4rem; }
h1 { font-size: 1.7rem; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; overflow-wrap: anywhere; }
a { color: var(--accent); }
nav { position: fixed; left: 0; top: 0; bottom: 0; width: 15rem; overflow-y: auto; padding: 1rem;
  background: var(--band); border-right: 1px solid var(--line); font-size: .86rem; z-index: 2; }
nav label { font-weight: 600; }
nav input { position: absolute; opacity: 0; }
nav ol { list-style: none; margin: .4rem 0 0; padding: 0; }
nav li { padding: .2rem 0 .2rem 1.9rem; text-indent: -1.9rem; line-height: 1.35; }
nav a { text-decoration: none; }
nav a:hover { text-decoration: underline; }
.number { display: inline-block; min-width: 1.9rem; text-indent: 0; }
p, li { max-width: 75ch; overflow-wrap: break-word; }
.lead { color: var(--soft); overflow-wrap: anywhere; }
.note { color: var(--warn); }
/* A shadow at the edge behind which a table goes on (Verou 2012: the covers scroll with it, the shadows do not). */
.scroll { overflow-x: auto; margin: .6rem 0; background:
  linear-gradient(to right, #fff 30%, rgba(255,255,255,0)) 0 0 / 3rem 100% no-repeat local,
  linear-gradient(to left, #fff 30%, rgba(255,255,255,0)) 100% 0 / 3rem 100% no-repeat local,
  linear-gradient(to right, rgba(28,36,48,.28), rgba(28,36,48,0)) 0 0 / .9rem 100% no-repeat scroll,
  linear-gradient(to left, rgba(28,36,48,.28), rgba(28,36,48,0)) 100% 0 / .9rem 100% no-repeat scroll; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; min-width: 20rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
.num { text-align: right; }
td .wide { display: block; min-width: 9rem; }
thead th { background: var(--band); vertical-align: bottom; }
tbody th { font-weight: 500; }
.warning { border: 1px solid #d9a441; border-left-width: 5px; border-radius: 4px; background: #fff8ea; color: var(--ink); padding: .6rem .9rem; margin: 1rem 0; }
.warning ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.hint { color: var(--soft); font-size: .85rem; }
.tiles, .figures { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); margin: 1rem 0; }
.figures { grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.4rem; }
.tile span { color: var(--soft); font-size: .85rem; }
figure { margin: 0; }
.forest { max-width: 820px; font-size: .86rem; font-variant-numeric: tabular-nums; }
.forest figcaption { font-weight: 600; color: var(--ink); }
.forest .row { display: grid; grid-template-columns: 11rem 1fr 10.5rem; column-gap: .8rem; align-items: center; }
.forest .name { text-align: right; overflow-wrap: anywhere; }
.forest svg { height: 1.5rem; overflow: visible; }
.matrix td { padding: 1px; border: 0; }
.matrix td span { display: block; min-width: 2.9rem; padding: .35rem .3rem; text-align: center; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.matrix thead th + th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; vertical-align: bottom; background: none; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; }
.card ul { margin: .2rem 0; padding-left: 1.1rem; font-size: .85rem; }
figure svg, figure img { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .85rem; overflow-wrap: anywhere; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--band); padding: .8rem; font-size: .8rem; white-space: pre-wrap; overflow-wrap: anywhere; }
.open { color: var(--warn); font-weight: 600; }
@media screen and (max-width: 900px) {
  nav { position: sticky; bottom: auto; width: auto; padding: .5rem 1rem; max-height: 100vh; border-right: 0; border-bottom: 1px solid var(--line); font-size: 1rem; }
  nav label { display: block; cursor: pointer; color: var(--accent); }
  nav label::before { content: "\2630\a0\a0"; }
  nav input:focus-visible + label { outline: 2px solid var(--accent); }
  nav input:not(:checked) ~ ol { display: none; }
  main { margin-left: 0; padding: 1rem 1rem 4rem; }
  section { scroll-margin-top: 3rem; }
}
@media screen and (max-width: 600px) {
  h1 { font-size: 1.35rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  caption { min-width: 0; }
  /* What does not fit stands row by row, each cell behind its heading. */
  .stack, .stack tbody, .stack tr, .stack th { display: block; }
  .stack caption { display: block; }
  .stack thead { display: none; }
  .stack tr { border-bottom: 1px solid var(--line); padding: .3rem 0; }
  .stack th, .stack td { border: 0; padding: .1rem 0; overflow-wrap: anywhere; }
  .stack tbody th { font-weight: 600; }
  .stack td { display: flex; justify-content: space-between; column-gap: 1rem; text-align: right; }
  .stack td:empty { display: none; }
  .stack td::before { content: attr(data-head); color: var(--soft); text-align: left; flex: none; max-width: 45%; }
  .stack td .wide { min-width: 0; text-align: left; }
  .matrix:not(.stack) td span { min-width: 1.9rem; padding: .3rem 0; font-size: .7rem; }
  .matrix:not(.stack) th { font-size: .75rem; }
  .forest .row { grid-template-columns: 1fr auto; }
  .forest .name { text-align: left; font-weight: 500; }
  .forest svg { grid-column: 1 / 3; grid-row: 2; }
}
@page { size: A4; margin: 13mm 12mm 15mm; @bottom-right { content: counter(page) " of " counter(pages); font: 8pt sans-serif; color: #5b6675; } }
@media print {
  html { font-size: 12px; }
  body { font-size: 9pt; line-height: 1.35; }
  nav { display: none; }
  main { max-width: none; margin: 0; padding: 0; }
  p, li { max-width: none; }
  h2 { margin: 1rem 0 .4rem; }
  p, ul, .scroll, details { margin: .4rem 0; }
  .scroll { overflow: visible; background: none; }
  table { font-size: 7pt; }
  th, td { padding: .06rem .3rem; }
  .tiles { grid-template-columns: repeat(6, 1fr); gap: .4rem; }
  .figures { grid-template-columns: repeat(3, 1fr); gap: .3rem .6rem; margin: .3rem 0; }
  .matrix td span { padding: .1rem; min-width: 2rem; }
  pre { font-size: 5.5pt; columns: 3; padding: .4rem; }
  figure, tr, .tile { break-inside: avoid; }
  h2, h3, caption, summary { break-after: avoid; }
}
)";

}  // namespace medfusion::tools
