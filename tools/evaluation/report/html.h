// Pieces of an HTML page that stands alone: no font, picture or script from elsewhere. Its one line of script
// opens what is folded before the page is printed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace medfusion::tools {

// Text for HTML and SVG: & < > " ' are replaced.
std::string html_escape(std::string_view text);

// A cell of a table whose text is broken into lines. HTML.
std::string wide_cell(const std::string& html);

// A table; cells are HTML already. The first column is the row's heading; the rest is aligned as numbers.
// Wide tables scroll within the page, the first column stays in sight. Throws core::Error where a row has
// another number of cells than the head.
class HtmlTable {
 public:
  explicit HtmlTable(std::vector<std::string> head, std::string caption = "");
  void row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  std::string html(const std::string& style = "") const;  // a class of the page's style sheet

 private:
  std::vector<std::string> head_;
  std::string caption_;
  std::vector<std::vector<std::string>> rows_;
};

// "data:TYPE;base64,..." of the bytes.
std::string data_uri(std::string_view type, std::string_view bytes);

// One section of a page, listed in its contents.
struct HtmlSection {
  std::string id, title, body;  // body: HTML
};

// The whole document. `title` is text, `lead` HTML under the title.
std::string html_page(const std::string& title, const std::string& lead,
                      const std::vector<HtmlSection>& sections);

}  // namespace medfusion::tools
