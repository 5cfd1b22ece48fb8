// The data contract as text.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>

#include "core/word_list.h"
#include "tools/medfusion/run/schema_file.h"

namespace medfusion::tools {
namespace {

constexpr size_t kWidth = 120;
constexpr size_t kMostOfNames = 8 * kWidth;  // characters of a list of columns left out

size_t characters_of(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }));
}

// The first `width` characters, the last three of them dots where the text is longer.
std::string clipped(const std::string& text, size_t width) {
  if (characters_of(text) <= width) return text;
  std::string result;
  size_t count = 0;
  for (const char c : text) {
    if ((static_cast<unsigned char>(c) & 0xC0U) != 0x80U && ++count > width - 3) break;
    result += c;
  }
  return result + "...";
}

std::string cell(const std::string& text, size_t width) {
  const std::string shown = clipped(text, width);
  return shown + std::string(width - characters_of(shown), ' ');
}

// Words separated by commas, in one line of `width`; what does not fit is counted.
std::string listed(const std::vector<std::string>& words, size_t width) {
  constexpr size_t kRoomForRest = 15;
  std::string line;
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string next = (i == 0 ? "" : ", ") + words[i];
    const bool last = i + 1 == words.size();
    if (i > 0 && characters_of(line + next) + (last ? 0 : kRoomForRest) > width)
      return core::list_words(words, i);
    line += next;
  }
  return clipped(line, width);
}

// Lines of at most kWidth: `name` and what fits, then the rest below it, broken at blanks.
std::string wrapped(const std::string& name, std::string text) {
  const std::string indent(name.size(), ' ');
  std::string lines = name;
  const size_t width = kWidth - name.size();
  while (characters_of(text) > width) {
    size_t end = text.rfind(' ', width);
    if (end == std::string::npos) end = text.find(' ');
    if (end == std::string::npos) break;
    lines += text.substr(0, end) + "\n" + indent;
    text.erase(0, end + 1);
  }
  return lines + text + "\n";
}

std::string share(int64_t count, int64_t of) {
  if (of == 0) return "-";
  return fmt::format("{} of {} ({:.1f}%)", count, of,
                     100.0 * static_cast<double>(count) / static_cast<double>(of));
}

std::string span(const data::ValueRange& range) {
  return range.low == range.high ? fmt::format("{:g}", range.low)
                                 : fmt::format("{:g} to {:g}", range.low, range.high);
}

std::string fractions(const data::ValueRange& range) {
  return fmt::format("{:.3f} to {:.3f}", range.low, range.high);
}

std::string values_text(const data::InputSchema& input, size_t width) {
  if (input.numeric) {
    if (std::isnan(input.range.low)) return "no value";
    return fmt::format("{}, {} distinct", span(input.range), input.distinct);
  }
  if (input.categories.empty()) return "no value";
  auto categories = input.categories;
  std::stable_sort(categories.begin(), categories.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  std::vector<std::string> words;
  for (const auto& [category, rows] : categories) words.push_back(fmt::format("{} {}", category, rows));
  return listed(words, width);
}

// Columns left out for one reason, and the reason.
std::vector<std::pair<std::string, std::vector<std::string>>> by_reason(const data::Schema& schema) {
  std::vector<std::pair<std::string, std::vector<std::string>>> groups;
  for (const auto& [column, why] : schema.left_out) {
    auto group =
        std::find_if(groups.begin(), groups.end(), [&](const auto& each) { return each.first == why; });
    if (group == groups.end()) group = groups.insert(groups.end(), {why, {}});
    group->second.push_back(column.empty() ? "''" : column);
  }
  return groups;
}

std::string roles_text(const data::Schema& schema) {
  std::vector<std::string> words;
  for (const auto& [role, column] : schema.roles) words.push_back(fmt::format("{}: {}", role, column));
  const auto has = [&](const char* role) {
    return std::any_of(schema.roles.begin(), schema.roles.end(),
                       [&](const auto& each) { return each.first == role; });
  };
  if (!has("patient")) words.emplace_back("patient: each row is one");
  if (!has("id")) words.emplace_back(has("image") ? "id: the image" : "id: the row's number");
  std::string text = fmt::format("roles     {}\n", listed(words, kWidth - 10));
  for (const auto& [why, columns] : by_reason(schema)) {
    const std::string reason = "(" + clipped(why, kWidth / 2) + ")";
    text += wrapped("left out  ", listed(columns, kMostOfNames) + " " + reason);
  }
  return text;
}

std::string table_text(const data::Schema& schema, int64_t rows) {
  if (schema.inputs.empty()) return "";
  size_t width = 6;
  bool is_read = false;
  for (const auto& input : schema.inputs) {
    width = std::max(width, characters_of(input.name));
    is_read = is_read || !input.features.empty();
  }
  width = std::min<size_t>(width, 36);
  const size_t rest = kWidth - 2 - width - 2 - 10 - 14 - 2;
  const size_t coding = 26, values = rest - coding;
  std::string text =
      fmt::format("\ntable     {} columns as inputs; figures are of the {} training rows{}\n",
                  schema.inputs.size(), rows, is_read ? "" : "; the network reads none of them");
  text += fmt::format("  {}  {}{}{}  {}\n", cell("column", width), cell("kind", 10), cell("missing", 14),
                      cell("values", values), "read as");
  for (const auto& input : schema.inputs) {
    const std::string missing = input.missing == 0
                                    ? "0"
                                    : fmt::format("{} ({:.1f}%)", input.missing,
                                                  100.0 * static_cast<double>(input.missing) /
                                                      static_cast<double>(std::max<int64_t>(1, rows)));
    text += fmt::format("  {}  {}{}{}  {}\n", cell(input.name, width),
                        cell(input.numeric ? "number" : "category", 10), cell(missing, 14),
                        cell(values_text(input, values), values),
                        clipped(input.features.empty() ? "not read" : input.coding, coding));
  }
  return text;
}

// "3 channels (in 62), 4 channels (in 2)"
std::string counted(const std::map<int64_t, int64_t>& counts, const char* unit) {
  std::vector<std::string> words;
  for (const auto& [value, count] : counts) {
    words.push_back(core::count_of(value, unit));
    if (counts.size() > 1) words.back() += fmt::format(" (in {})", count);
  }
  return fmt::format("{}", fmt::join(words, ", "));
}

std::string color_text(const data::ImageSchema& images) {
  if (images.colored == 0) return "all gray";
  if (images.colored == images.looked_at) return "all in color";
  return fmt::format("{} in color", images.colored);
}

std::string images_text(const data::ImageSchema& images, int64_t rows) {
  if (images.looked_at == 0) return "";
  return fmt::format(
      "\nimages    {} training rows have one; {} were looked at, evenly spread\n"
      "  size         {} x {} pixels (width x height)\n"
      "  coding       {}, {}; {}\n"
      "  intensities  {} (1 is the most that the bits hold); means {}, 99th percentiles {}\n",
      share(images.present, rows), images.looked_at, span(images.width), span(images.height),
      counted(images.channels, "channel"), counted(images.bits, "bit"), color_text(images),
      fractions(images.intensity), fractions(images.mean), fractions(images.bright));
}

std::string text_text(const data::TextSchema& text) {
  if (text.length == 0) return "";
  return fmt::format(
      "\ntext      {} texts, {} empty; the longest has {} words, the first {} of each are read\n"
      "  vocabulary   {} words; unknown: {} words; cut: {}\n",
      text.texts, text.empty, text.longest, text.length, text.vocabulary, share(text.unknown, text.words),
      share(text.cut, text.words));
}

std::string parts_text(const data::Schema& schema) {
  std::string text = fmt::format("\nparts     {}\n", core::count_of(schema.rows, "row"));
  size_t width = 20;
  for (const std::string& label : schema.labels) width = std::max(width, characters_of(label));
  width = std::min<size_t>(width, 40);
  const auto line = [&](const std::string& name, const auto& cell_of) {
    text += "  " + cell(name, width);
    for (const data::PartSchema& part : schema.parts) text += "  " + cell(cell_of(part), 20);
    text.resize(text.find_last_not_of(' ') + 1);
    text += "\n";
  };
  line("", [](const data::PartSchema& part) { return part.name; });
  line("rows", [](const data::PartSchema& part) { return std::to_string(part.rows); });
  line("patients", [](const data::PartSchema& part) { return std::to_string(part.patients); });
  line("rows that repeat", [](const data::PartSchema& part) { return std::to_string(part.repeats); });
  text += fmt::format("\nlabels    positive rows of those known{}\n",
                      schema.exclusive ? "; exactly one label is true of a row" : "");
  for (size_t label = 0; label < schema.labels.size(); ++label) {
    line(schema.labels[label], [&](const data::PartSchema& part) {
      return share(part.labels[label].positive, part.labels[label].known);
    });
  }
  return text;
}

int64_t training_rows(const data::Schema& schema) { return schema.parts.empty() ? 0 : schema.parts[0].rows; }

}  // namespace

std::string schema_text(const data::Schema& schema) {
  const int64_t rows = training_rows(schema);
  return fmt::format("data      {}, {}\n", schema.format, core::count_of(schema.rows, "row")) +
         roles_text(schema) + table_text(schema, rows) + images_text(schema.images, rows) +
         text_text(schema.text) + parts_text(schema);
}

std::string schema_summary(const data::Schema& schema) {
  std::vector<std::string> parts, inputs, labels, left_out;
  for (const auto& part : schema.parts)
    parts.push_back(fmt::format("{} {} of {}", part.name, core::count_of(part.rows, "row"),
                                core::count_of(part.patients, "patient")));
  for (const auto& input : schema.inputs) {
    if (!input.features.empty()) inputs.push_back(input.name);
  }
  for (const auto& [column, why] : schema.left_out) left_out.push_back(column);
  for (size_t label = 0; label < schema.labels.size() && !schema.parts.empty(); ++label) {
    const auto& [known, positive] = schema.parts[0].labels[label];
    labels.push_back(fmt::format("{} {}/{}", schema.labels[label], positive, known));
  }
  std::string text;
  const auto line = [&](const char* name, const std::vector<std::string>& words) {
    if (!words.empty()) text += fmt::format("{}: {}\n", name, listed(words, kWidth - 16));
  };
  line("parts", parts);
  line("inputs", inputs);
  line("left out", left_out);
  line(schema.exclusive ? "labels, exactly one is true (train)" : "labels (train)", labels);
  const data::ImageSchema& images = schema.images;
  if (images.looked_at > 0) {
    line("images", {fmt::format("{} x {} pixels", span(images.width), span(images.height)),
                    counted(images.channels, "channel"), counted(images.bits, "bit"), color_text(images),
                    "intensities " + fractions(images.intensity)});
  }
  const data::TextSchema& words = schema.text;
  if (words.length > 0) {
    line("text", {fmt::format("vocabulary of {} words", words.vocabulary),
                  fmt::format("unknown {}", share(words.unknown, words.words)),
                  fmt::format("cut {}", share(words.cut, words.words))});
  }
  return text;
}

}  // namespace medfusion::tools
