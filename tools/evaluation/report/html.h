// Pieces of an HTML page that stands alone: no font, picture or script from elsewhere. Its two lines of
// script open what is folded before the page is printed, and close the menu after a choice.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace medfusion::tools {

// Text for HTML and SVG: & < > " ' are replaced.
std::string html_escape(std::string_view text);

// The reverse for HTML as the report writes it: without tags, entities as the characters they stand for.
std::string plain_text(std::string_view html);

// A cell of a table whose text is broken into lines. HTML.
std::string wide_cell(const std::string& html);

// A figure or a table of a page, as a file of its own.
struct PageFile {
  std::string name;                             // "ranking"; within a section those of one name are counted
  std::string title;                            // what it shows; may be empty
  std::string svg;                              // a figure; empty: a table
  std::vector<std::vector<std::string>> cells;  // a table as text, its head first
};

// HTML, and what it shows as files, in order.
struct Html {
  Html() = default;
  Html(std::string html) : text(std::move(html)) {}  // NOLINT: text is HTML without figures
  Html(const char* html) : text(html) {}             // NOLINT
  Html(std::string html, PageFile file) : text(std::move(html)), files{std::move(file)} {}
  Html& operator+=(const Html& other);
  friend Html operator+(Html first, const Html& second) { return first += second; }

  std::string text;
  std::vector<PageFile> files;
};

// A table; cells are HTML already. The first column is the row's heading. Columns of numbers are aligned at
// the right, those of words at the left. On a narrow screen a table that does not fit stands row by row, each
// cell behind its heading. Throws core::Error where a row has another number of cells than the head.
class HtmlTable {
 public:
  explicit HtmlTable(std::vector<std::string> head, std::string caption = "");
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  // name: of its file; style: a class of the page's style sheet.
  Html html(const std::string& name, const std::string& style = "") const;

 private:
  bool is_numeric(size_t column) const;
  std::vector<std::vector<std::string>> cells() const;
  bool fits_narrow(bool matrix) const;  // 390 pixels, at the size of letters of the style sheet

  std::vector<std::string> head_;
  std::string caption_;
  std::vector<std::vector<std::string>> rows_;
};

// "data:TYPE;base64,..." of the bytes.
std::string data_uri(std::string_view type, std::string_view bytes);

// One section of a page, listed in its contents. The page numbers its title and each <h3> of its body.
struct HtmlSection {
  std::string id, title;
  Html body;
};

// A whole document. `title` is text, `lead` HTML under the title.
struct Page {
  std::string title, lead;
  std::vector<HtmlSection> sections;

  std::string html() const;
  // The figures and tables of all sections. Their names begin with the id of the section, hold nothing but
  // small letters, digits and hyphens, and differ; the title begins with that of the section.
  std::vector<PageFile> files() const;
};

}  // namespace medfusion::tools
