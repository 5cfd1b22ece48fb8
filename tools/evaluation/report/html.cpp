#include "tools/evaluation/report/html.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <set>
#include <utility>

#include "core/error.h"
#include "tools/evaluation/report/html_style.h"

namespace medfusion::tools {
namespace {

constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

constexpr std::array<std::pair<char, const char*>, 5> kEntities{
    {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&#39;"}}};

constexpr const char* kNoBreak = "\u00a0";

// What else the report writes so.
constexpr std::array<std::pair<const char*, const char*>, 5> kSymbols{{{"\u2264", "&le;"},
                                                                       {"\u2265", "&ge;"},
                                                                       {"\u00b1", "&plusmn;"},
                                                                       {"\u2020", "&dagger;"},
                                                                       {kNoBreak, "&nbsp;"}}};

// What a column of numbers may hold instead of one.
bool says_nothing(const std::string& text) {
  return text.empty() || text == "-" || text == "undefined" || text == "by fold" ||
         text.starts_with("not estimable");
}

// A number, an interval, a percentage, or "3 of 8".
bool is_number_text(std::string text) {
  for (const char* part : {"\u2264", "\u2265", "\u00b1", "\u2020", kNoBreak, "e-", "e+", " of ", " to "}) {
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part))
      text.erase(at, std::strlen(part));
  }
  return text.find_first_not_of("0123456789.,+-%[]()<>= ") == std::string::npos &&
         text.find_first_of("0123456789") != std::string::npos;
}

// Of small letters, digits and hyphens; what a label has besides them becomes hyphens. No file system takes a
// name of any length.
std::string file_name(const std::string& words) {
  constexpr size_t kLongest = 120;
  std::string name;
  for (const char c : words) {
    if (name.size() == kLongest) break;
    const bool capital = c >= 'A' && c <= 'Z';
    const bool plain = capital || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain) name += static_cast<char>(capital ? c - 'A' + 'a' : c);
    if (!plain && !name.empty() && name.back() != '-') name += '-';
  }
  while (!name.empty() && name.back() == '-') name.pop_back();
  return name;
}

// The longest piece that a browser does not break, in letters.
size_t longest_word(const std::string& text) {
  size_t longest = 0, from = 0;
  for (size_t i = 0; i <= text.size(); ++i) {
    if (i < text.size() && text[i] != ' ') continue;
    longest = std::max(longest, i - from);
    from = i + 1;
  }
  return longest;
}

// A list of the sections; on a narrow screen a menu, which its own links close.
std::string navigation(const std::vector<HtmlSection>& sections) {
  std::string html =
      "<nav><input type=\"checkbox\" id=\"menu\"><label for=\"menu\">Contents</label>\n"
      "<ol onclick=\"document.getElementById('menu').checked = false\">\n";
  for (size_t i = 0; i < sections.size(); ++i) {
    html += "<li><a href=\"#" + sections[i].id + "\"><span class=\"number\">" + std::to_string(i + 1) +
            ".</span>" + html_escape(sections[i].title) + "</a></li>\n";
  }
  return html + "</ol></nav>\n";
}

// Every heading <h3> of a section's body with its number.
std::string numbered(const std::string& body, size_t section) {
  std::string html;
  size_t from = 0, count = 0;
  for (size_t at = body.find("<h3>"); at != std::string::npos; at = body.find("<h3>", from)) {
    html += body.substr(from, at + 4 - from) + std::to_string(section) + "." + std::to_string(++count) + " ";
    from = at + 4;
  }
  return html + body.substr(from);
}

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

Html& Html::operator+=(const Html& other) {
  text += other.text;
  files.insert(files.end(), other.files.begin(), other.files.end());
  return *this;
}

std::string plain_text(std::string_view html) {
  std::string text;
  for (size_t i = 0; i < html.size(); ++i) {
    if (html[i] == '<') {
      i = std::min(html.find('>', i), html.size());
      continue;
    }
    const std::string_view rest = html.substr(i);
    const auto known = [&](const auto& entity) { return rest.starts_with(entity.second); };
    if (const auto* entity = std::find_if(kEntities.begin(), kEntities.end(), known);
        entity != kEntities.end()) {
      text += entity->first;
      i += std::strlen(entity->second) - 1;
    } else if (const auto* symbol = std::find_if(kSymbols.begin(), kSymbols.end(), known);
               symbol != kSymbols.end()) {
      text += symbol->first;
      i += std::strlen(symbol->second) - 1;
    } else {
      text += html[i];
    }
  }
  return text;
}

std::string wide_cell(const std::string& html) {
  return html.empty() ? "" : "<span class=\"wide\">" + html + "</span>";
}

HtmlTable::HtmlTable(std::vector<std::string> head, std::string caption)
    : head_(std::move(head)), caption_(std::move(caption)) {}

void HtmlTable::row(std::vector<std::string> row_cells) {
  MEDFUSION_CHECK(row_cells.size() == head_.size(), "table: a row of {} cells under a head of {}",
                  row_cells.size(), head_.size());
  rows_.push_back(std::move(row_cells));
}

bool HtmlTable::is_numeric(size_t column) const {
  bool any = false;
  for (const auto& row : rows_) {
    const std::string text = plain_text(row[column]);
    if (says_nothing(text)) continue;
    if (!is_number_text(text)) return false;
    any = true;
  }
  return any;
}

bool HtmlTable::fits_narrow(bool matrix) const {
  constexpr size_t kNarrow = 358, kLetter = 8, kPadding = 16, kMatrixCell = 33;  // pixels
  size_t width = 0;
  for (size_t column = 0; column < head_.size(); ++column) {
    size_t letters = longest_word(plain_text(matrix ? head_.front() : head_[column]));
    for (const auto& row : rows_) letters = std::max(letters, longest_word(plain_text(row[column])));
    width += matrix && column > 0 ? kMatrixCell : kLetter * letters + kPadding;
  }
  return width <= kNarrow;
}

Html HtmlTable::html(const std::string& name, const std::string& style) const {
  const std::string classes = style + (fits_narrow(style == "matrix") ? "" : " stack");
  std::vector<std::string> align{""};
  for (size_t i = 1; i < head_.size(); ++i) align.emplace_back(is_numeric(i) ? " class=\"num\"" : "");
  std::string html = "<div class=\"scroll\"><table class=\"" + classes + "\">\n";
  if (!caption_.empty()) html += "<caption>" + caption_ + "</caption>\n";
  html += "<thead><tr>";
  for (size_t i = 0; i < head_.size(); ++i) html += "<th scope=\"col\"" + align[i] + ">" + head_[i] + "</th>";
  html += "</tr></thead>\n<tbody>\n";
  for (const auto& row : rows_) {
    html += "<tr><th scope=\"row\">" + row.front() + "</th>";
    for (size_t i = 1; i < row.size(); ++i) {
      html +=
          "<td" + align[i] + " data-head=\"" + html_escape(plain_text(head_[i])) + "\">" + row[i] + "</td>";
    }
    html += "</tr>\n";
  }
  return {html + "</tbody></table></div>\n", {name, plain_text(caption_), "", cells()}};
}

std::vector<std::vector<std::string>> HtmlTable::cells() const {
  std::vector<std::vector<std::string>> cells;
  const auto add = [&](const std::vector<std::string>& row) {
    auto& texts = cells.emplace_back();
    for (const std::string& cell : row) {
      std::string& text = texts.emplace_back();
      const std::string whole = plain_text(cell);
      for (size_t at = 0; at < whole.size();) {
        const bool no_break = std::string_view(whole).substr(at).starts_with(kNoBreak);
        text += no_break ? ' ' : whole[at];
        at += no_break ? std::strlen(kNoBreak) : 1;
      }
    }
  };
  add(head_);
  for (const auto& row : rows_) add(row);
  return cells;
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

std::string Page::html() const {
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n";
  html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
  html += "<link rel=\"icon\" href=\"data:,\">\n";
  html +=
      "<title>" + html_escape(title) + "</title>\n<style>" + std::string(kPageStyle) + "</style>\n</head>\n";
  // Folded parts would be missing on paper; there is no style sheet that opens them in every browser.
  html +=
      "<body onbeforeprint=\"document.querySelectorAll('details').forEach(d => d.open = "
      "true)\">\n" +
      navigation(sections) + "<main>\n<h1>" + html_escape(title) + "</h1>\n<div class=\"lead\">" + lead +
      "</div>\n";
  for (size_t i = 0; i < sections.size(); ++i) {
    html += "<section id=\"" + sections[i].id + "\">\n<h2>" + std::to_string(i + 1) + ". " +
            html_escape(sections[i].title) + "</h2>\n" + numbered(sections[i].body.text, i + 1) +
            "</section>\n";
  }
  return html + "</main>\n</body>\n</html>\n";
}

std::vector<PageFile> Page::files() const {
  std::vector<PageFile> files;
  std::set<std::string> taken;
  for (const HtmlSection& section : sections) {
    for (PageFile file : section.body.files) {
      const std::string name = file_name(section.id + "-" + file.name);
      file.name = name;
      for (int count = 2; !taken.insert(file.name).second; ++count)
        file.name = name + "-" + std::to_string(count);
      file.title = section.title + (file.title.empty() ? "" : ": " + file.title);
      files.push_back(std::move(file));
    }
  }
  return files;
}

}  // namespace medfusion::tools
