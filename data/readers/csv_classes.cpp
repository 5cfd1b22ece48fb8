#include "data/readers/csv_classes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/word_list.h"

namespace medfusion::data {
namespace {

// The word of each row. Of words that are the same number the first stands for all, a label before those of
// rows.
std::vector<std::string> words_of(const CsvTable& table, int column, const std::vector<std::string>& labels) {
  std::map<double, std::string> first;
  const auto spelling = [&](const std::string& word) {
    const auto number = parse_number(word);
    return number ? first.emplace(*number, word).first->second : word;
  };
  for (const std::string& label : labels) spelling(label);
  std::vector<std::string> words;
  for (int64_t row = 0; row < table.rows(); ++row) words.push_back(spelling(table.category(row, column)));
  return words;
}

// How many rows have each word.
std::map<std::string, int64_t> counts_of(const std::vector<std::string>& words) {
  std::map<std::string, int64_t> counts;
  for (const std::string& word : words) {
    if (!word.empty()) ++counts[word];
  }
  return counts;
}

void check_words(const CsvTable& table, int column, const std::map<std::string, int64_t>& words) {
  const std::string& name = table.header()[static_cast<size_t>(column)];
  if (words.size() < 2 || words.size() > kMostClasses) {
    core::throw_input_error({table.file(), 1},
                            "expected 2 to {} different words in column '{}' (data.class_column), got {}",
                            kMostClasses, name, words.size());
  }
}

void note_words(const std::string& column, const std::map<std::string, int64_t>& words, Dataset& dataset) {
  std::vector<std::string> counted;
  counted.reserve(words.size());
  for (const auto& [word, rows] : words)
    counted.push_back(fmt::format("{} ({})", word, core::count_of(rows, "row")));
  dataset.notes.push_back(fmt::format("column '{}' has {} words, each of which is a label: {}", column,
                                      words.size(), core::list_words(counted, 20)));
}

}  // namespace

void read_classes(const CsvTable& table, const CsvOptions& options, Dataset& dataset) {
  const int column = table.column(options.class_column);
  const std::vector<std::string> words = words_of(table, column, options.labels);
  dataset.labels_are_words = true;
  dataset.labels = options.labels;
  if (dataset.labels.empty()) {
    const std::map<std::string, int64_t> counts = counts_of(words);
    check_words(table, column, counts);
    for (const auto& [word, rows] : counts) dataset.labels.push_back(word);
    note_words(options.class_column, counts, dataset);
  }
  const auto count = static_cast<int64_t>(dataset.labels.size());
  dataset.targets = core::Tensor::zeros({table.rows(), count});
  for (int64_t row = 0; row < table.rows(); ++row) {
    float* const targets = dataset.targets.data<float>() + row * count;
    const std::string& word = words[static_cast<size_t>(row)];
    const auto label = std::find(dataset.labels.begin(), dataset.labels.end(), word);
    if (word.empty()) {
      std::fill_n(targets, count, std::numeric_limits<float>::quiet_NaN());
    } else if (label == dataset.labels.end()) {
      table.reject(row, column, fmt::format("one of the {} labels (data.labels)", count));
    } else {
      targets[label - dataset.labels.begin()] = 1.0F;
    }
  }
  dataset.exclusive = true;
}

void check_exclusive(const CsvTable& table, const CsvOptions& options, const Dataset& dataset) {
  const auto count = static_cast<int64_t>(dataset.labels.size());
  for (int64_t row = 0; row < table.rows(); ++row) {
    const float* const targets = dataset.targets.data<float>() + row * count;
    const bool known =
        std::none_of(targets, targets + count, [](float target) { return std::isnan(target); });
    const auto ones = std::count(targets, targets + count, 1.0F);
    if (known && ones != 1) {
      core::throw_input_error(table.place(row, table.column(options.labels.front())),
                              "expected exactly one of the {} labels to be 1 (data.exclusive), got {}", count,
                              ones);
    }
  }
}

}  // namespace medfusion::data
