#include "tools/evaluation/report/html.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/error.h"

namespace medfusion::tools {
namespace {

constexpr std::string_view kStyle = R"(
:root { --ink: #1c2430; --soft: #5b6675; --line: #d9dee5; --accent: #0b5cad; --band: #f4f6f9; --warn: #8a4b00; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 1rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: .5rem 0; }
h2 { font-size: 1.3rem; margin: 2.2rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.2rem 0 .4rem; }
a { color: var(--accent); }
nav ol { columns: 2; padding-left: 1.4rem; }
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
caption { text-align: left; color: var(--soft); padding-bottom: .3rem; }
th, td { padding: .25rem .5rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
td .wide { display: block; white-space: normal; min-width: 16rem; text-align: left; }
th .wide { white-space: normal; }
thead th { background: rgba(91,102,117,.08); }
tbody th { font-weight: 500; }
th:first-child { position: sticky; left: 0; background: #fff; }
thead th:first-child { background: var(--band); }
.warning { border: 1px solid #d9a441; border-left-width: 5px; border-radius: 4px; background: #fff8ea; color: var(--ink); padding: .6rem .9rem; margin: 1rem 0; }
.warning ul { margin: .3rem 0 0; padding-left: 1.2rem; }
.hint { color: var(--soft); font-size: .85rem; }
.tiles, .figures { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(190px, 1fr)); margin: 1rem 0; }
.figures { grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); }
.tile { border: 1px solid var(--line); border-radius: 6px; padding: .6rem .8rem; }
.tile b { display: block; font-size: 1.4rem; }
.tile span { color: var(--soft); font-size: .85rem; }
figure { margin: 0; }
.forest { max-width: 820px; font-size: .86rem; font-variant-numeric: tabular-nums; }
.forest figcaption { font-weight: 600; color: var(--ink); }
.forest .row { display: grid; grid-template-columns: 11rem 1fr 10.5rem; column-gap: .8rem; align-items: center; }
.forest .name { text-align: right; overflow-wrap: anywhere; }
.forest svg { height: 1.5rem; overflow: visible; }
.text th, .text td { text-align: left; }
.matrix td { padding: 1px; border: 0; }
.matrix td span { display: block; min-width: 2.9rem; padding: .35rem .3rem; text-align: center; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.matrix thead th + th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; vertical-align: bottom; background: none; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; }
.card ul { margin: .2rem 0; padding-left: 1.1rem; font-size: .85rem; }
figure svg, figure img { width: 100%; height: auto; display: block; }
figcaption { color: var(--soft); font-size: .85rem; }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--accent); }
pre { background: var(--band); padding: .8rem; overflow-x: auto; font-size: .8rem; }
.open { color: var(--warn); font-weight: 600; }
@media (max-width: 600px) { nav ol { columns: 1; } h1 { font-size: 1.35rem; } .tiles { grid-template-columns: 1fr 1fr; }
  th:first-child { max-width: 9rem; white-space: normal; overflow-wrap: break-word; }
  .forest .row { grid-template-columns: 1fr auto; }
  .forest .name { text-align: left; font-weight: 500; }
  .forest svg { grid-column: 1 / 3; grid-row: 2; }
}
@media print {
  nav { display: none; }
  main { max-width: none; }
  .scroll { overflow: visible; background: none; }
  th:first-child { position: static; }
  table { font-size: .68rem; }
  th, td { white-space: normal; padding: .1rem .3rem; }
  figure, tr { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
}
)";

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::pair<char, const char*>, 5> kEntities{
    {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}}};

}  // namespace

std::string html_escape(std::string_view text) {
  std::string result;
  for (const char c : text) {
    const auto entity =
        std::find_if(kEntities.begin(), kEntities.end(), [&](auto& e) { return e.first == c; });
    result += entity == kEntities.end() ? std::string(1, c) : entity->second;
  }
  return result;
}

std::string wide_cell(const std::string& html) { return "<span class=\"wide\">" + html + "</span>"; }

HtmlTable::HtmlTable(std::vector<std::string> head, std::string caption)
    : head_(std::move(head)), caption_(std::move(caption)) {}

void HtmlTable::row(std::vector<std::string> row_cells) {
  MEDFUSION_CHECK(row_cells.size() == head_.size(), "table: a row of {} cells under a head of {}",
                  row_cells.size(), head_.size());
  rows_.push_back(std::move(row_cells));
}

std::string HtmlTable::html(const std::string& style) const {
  std::string html =
      "<div class=\"scroll\"><table" + (style.empty() ? "" : " class=\"" + style + "\"") + ">\n";
  if (!caption_.empty()) html += "<caption>" + caption_ + "</caption>\n";
  html += "<thead><tr>";
  for (const std::string& cell : head_) html += "<th scope=\"col\">" + cell + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows_) {
    html += "<tr><th scope=\"row\">" + row.front() + "</th>";
    for (size_t i = 1; i < row.size(); ++i) html += "<td>" + row[i] + "</td>";
    html += "</tr>\n";
  }
  return html + "</tbody></table></div>\n";
}

std::string data_uri(std::string_view type, std::string_view bytes) {
  std::string result = "data:" + std::string(type) + ";base64,";
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    const size_t count = std::min<size_t>(3, bytes.size() - i);
    for (size_t k = 0; k < 3; ++k) {
      group = group << 8U | (k < count ? static_cast<uint8_t>(bytes[i + k]) : 0U);
    }
    for (size_t k = 0; k < 4; ++k) result += k <= count ? kAlphabet[group >> (18 - 6 * k) & 63U] : '=';
  }
  return result;
}

std::string html_page(const std::string& title, const std::string& lead,
                      const std::vector<HtmlSection>& sections) {
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  html += "<link rel=\"icon\" href=\"data:,\">\n";
  html += "<title>" + html_escape(title) + "</title>\n<style>" + std::string(kStyle) + "</style>\n</head>\n";
  // Folded parts would be missing on paper; there is no style sheet that opens them in every browser.
  html +=
      "<body onbeforeprint=\"document.querySelectorAll('details').forEach(d => d.open = "
      "true)\">\n<main>\n<h1>" +
      html_escape(title) + "</h1>\n<div class=\"lead\">" + lead + "</div>\n";
  html += "<nav><ol>\n";
  for (const HtmlSection& section : sections) {
    html += "<li><a href=\"#" + section.id + "\">" + html_escape(section.title) + "</a></li>\n";
  }
  html += "</ol></nav>\n";
  for (const HtmlSection& section : sections) {
    html += "<section id=\"" + section.id + "\">\n<h2>" + html_escape(section.title) + "</h2>\n" +
            section.body + "</section>\n";
  }
  return html + "</main>\n</body>\n</html>\n";
}

}  // namespace medfusion::tools
