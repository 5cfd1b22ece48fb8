// Pieces of an HTML page that stands alone: no font, picture or script from elsewhere. Its two lines of
// script open what is folded before the page is printed, and close the menu after a choice.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace medfusion::tools {

// Text for HTML and SVG: & < > " ' are replaced.
std::string html_escape(std::string_view text);

// The reverse for HTML as the report writes it: without tags, entities as the characters they stand for.
std::string plain_text(std::string_view html);

// A cell of a table whose text is broken into lines. HTML.
std::string wide_cell(const std::string& html);

// A table; cells are HTML already. The first column is the row's heading. Columns of numbers are aligned at
// the right, those of words at the left. On a narrow screen a table that does not fit stands row by row, each
// cell behind its heading. Throws core::Error where a row has another number of cells than the head.
class HtmlTable {
 public:
  explicit HtmlTable(std::vector<std::string> head, std::string caption = "");
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  std::string html(const std::string& style = "") const;  // a class of the page's style sheet

 private:
  bool is_numeric(size_t column) const;
  bool fits_narrow(bool matrix) const;  // 390 pixels, at the size of letters of the style sheet

  std::vector<std::string> head_;
  std::string caption_;
  std::vector<std::vector<std::string>> rows_;
};

// "data:TYPE;base64,..." of the bytes.
std::string data_uri(std::string_view type, std::string_view bytes);

// One section of a page, listed in its contents. The page numbers its title and each <h3> of its body.
struct HtmlSection {
  std::string id, title, body;  // body: HTML
};

// The whole document. `title` is text, `lead` HTML under the title.
std::string html_page(const std::string& title, const std::string& lead,
                      const std::vector<HtmlSection>& sections);

}  // namespace medfusion::tools
