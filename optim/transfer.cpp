#include "optim/transfer.h"

#include <algorithm>
#include <regex>
#include <set>
#include <span>
#include <utility>

#include "core/word_list.h"
#include "optim/freeze.h"

namespace medfusion::optim {
namespace {

using core::Tensor;
using Names = std::vector<std::string>;

// Row i of the network is row from[i] of the file, which has `size` rows; -1: the file has none.
struct Rows {
  std::string kind;  // "label"
  Names anew;        // names that only the network has
  Names unused;      // names that only the file has
  std::vector<int64_t> from;
  int64_t size = 0;

  bool in_place() const {
    for (size_t i = 0; i < from.size(); ++i) {
      if (from[i] != static_cast<int64_t>(i)) return false;
    }
    return size == static_cast<int64_t>(from.size());
  }
};

// The rows of one dimension of a tensor; `rows` is empty where the file does not name them.
struct Axis {
  int dimension;
  const std::optional<Rows>* rows;
};

std::optional<Rows> match(const std::string& kind, const std::optional<Names>& own,
                          const std::optional<Names>& given) {
  if (!own || !given) return std::nullopt;
  Rows rows{.kind = kind, .anew = {}, .unused = {}, .from = {}, .size = static_cast<int64_t>(given->size())};
  for (const std::string& name : *own) {
    const auto found = std::find(given->begin(), given->end(), name);
    rows.from.push_back(found == given->end() ? -1 : found - given->begin());
    if (found == given->end()) rows.anew.push_back(name);
  }
  const std::set<std::string> known(own->begin(), own->end());
  for (const std::string& name : *given) {
    if (!known.contains(name)) rows.unused.push_back(name);
  }
  return rows;
}

// Labels of another output are other labels.
std::optional<Rows> match_labels(const RowNames& own, const RowNames& given) {
  std::optional<Rows> rows = match("label", own.labels, given.labels);
  if (!rows || own.output.empty() || given.output.empty() || own.output == given.output) return rows;
  rows->kind = fmt::format("label of {}", own.output);
  rows->from.assign(own.labels->size(), -1);
  rows->anew = *own.labels;
  rows->unused = *given.labels;
  return rows;
}

// Rows of the table of bins: row 0 is that of a missing value, then come the bins of each feature.
std::optional<Rows> match_bins(const RowNames& own, const RowNames& given) {
  const std::optional<Rows> features = match("", own.features, given.features);
  if (!features || own.bins.empty() || given.bins.empty()) return std::nullopt;
  std::vector<int64_t> first{1};
  for (const int64_t count : given.bins) first.push_back(first.back() + count);
  Rows rows{.kind = "feature with its bins", .anew = {}, .unused = {}, .from = {0}, .size = first.back()};
  for (size_t i = 0; i < own.bins.size(); ++i) {
    const int64_t feature = features->from[i];
    const bool same = feature >= 0 && given.bins[static_cast<size_t>(feature)] == own.bins[i];
    for (int64_t bin = 0; bin < own.bins[i]; ++bin)
      rows.from.push_back(same ? first[static_cast<size_t>(feature)] + bin : -1);
    if (!same) rows.anew.push_back((*own.features)[i]);
  }
  return rows;
}

std::optional<Rows> match_words(const RowNames& own, const RowNames& given) {
  std::optional<Rows> rows = match("word", own.words, given.words);
  if (!rows) return rows;
  rows->size += 2;
  for (int64_t& row : rows->from) row += row < 0 ? 0 : 2;
  rows->from.insert(rows->from.begin(), {0, 1});
  return rows;
}

// The branches that are on, in the order of the gate's rows.
Names branches_of(const NamedTensors& tensors) {
  Names result;
  for (const char* branch : {"attention", "dense", "pyramid"}) {
    if (tensors.contains(std::string(branch) + "_head.weight")) result.emplace_back(branch);
  }
  return result;
}

// "3 x word: 'a', 'b', 'c'", of which at most 20 are named.
std::string counted(const std::string& kind, const Names& names) {
  constexpr size_t kMost = 20;
  const std::string list = core::list_words(names, kMost, "'");
  return names.size() == 1 ? kind + " " + list : std::to_string(names.size()) + " x " + kind + ": " + list;
}

// A backbone's tensor has a prefix in a network that has more than it, and in DenseNet.
std::string with_or_without_prefix(const std::string& name, const NamedTensors& own) {
  const std::string prefix = "features.";
  if (own.contains(name)) return name;
  if (own.contains(prefix + name)) return prefix + name;
  if (name.starts_with(prefix) && own.contains(name.substr(prefix.size()))) return name.substr(prefix.size());
  return name;
}

// Copies the mapped rows and returns how many numbers that were. Both on the host.
int64_t copy_rows(const Tensor& to, const Tensor& from, std::span<const Axis> axes) {
  if (axes.empty()) {
    to.copy_from(from);
    return to.numel();
  }
  const auto& [dimension, rows] = axes.front();
  if (!*rows || (*rows)->in_place()) return copy_rows(to, from, axes.subspan(1));
  int64_t count = 0;
  for (size_t i = 0; i < (*rows)->from.size(); ++i) {
    const auto row = static_cast<int64_t>(i);
    const int64_t source = (*rows)->from[i];
    if (source < 0) continue;
    count += copy_rows(to.slice(dimension, row, row + 1), from.slice(dimension, source, source + 1),
                       axes.subspan(1));
  }
  return count;
}

class Transfer {
 public:
  Transfer(const RowNames& own, const RowNames& given, const NamedTensors& own_tensors,
           const NamedTensors& given_tensors)
      : labels_(match_labels(own, given)),
        features_(match("table feature", own.features, given.features)),
        bins_(match_bins(own, given)),
        words_(match_words(own, given)),
        levels_(match("token level", own.levels, given.levels)),
        branches_(match("branch", branches_of(own_tensors), branches_of(given_tensors))) {}

  // Copies `from` to the tensor `name`: how many numbers that were; nothing where the shapes do not allow it.
  std::optional<int64_t> copy(const std::string& name, const Tensor& to, const Tensor& from) {
    const std::vector<Axis> axes = axes_of(name);
    if (!fits(to, from, axes)) return std::nullopt;
    const Tensor host = to.to(core::Device{}).clone();
    const int64_t count = copy_rows(host, from, axes);
    to.copy_from(host);
    for (const Axis& axis : axes) used_.insert(axis.rows);
    return count;
  }

  // What copy() left out of tensors that it took, and what it took by place.
  void describe(const RowNames& given, const std::string& file, TransferReport& report) const {
    for (const auto* rows : {&labels_, &features_, &bins_, &words_, &levels_, &branches_}) {
      if (!used_.contains(rows) || !*rows) continue;
      if (!(*rows)->anew.empty()) report.anew.push_back(counted((*rows)->kind, (*rows)->anew));
      if (!(*rows)->unused.empty()) report.unused.push_back(counted((*rows)->kind, (*rows)->unused));
    }
    const auto note = [&](const std::optional<Rows>& rows, bool named, const char* what) {
      if (named || !used_.contains(&rows)) return;
      report.notes.push_back(fmt::format("{}: names no {}: they were taken by their place", file, what));
    };
    note(labels_, given.labels.has_value(), "labels");
    note(features_, given.features.has_value(), "table features");
    note(words_, given.words.has_value(), "words");
    note(levels_, given.levels.has_value(), "token levels");
  }

 private:
  std::vector<Axis> axes_of(const std::string& name) const {
    const auto begins = [&](const char* start) { return name.starts_with(start); };
    if (begins("gate.")) return {{0, &branches_}, {1, &labels_}};
    if (name == "label_queries" || begins("attention_head.") || begins("dense_head.") ||
        begins("pyramid_head.") || is_published_head(name))
      return {{0, &labels_}};
    if (name == "table_tokens.bin") return {{0, &bins_}};
    if (begins("table_tokens.")) return {{0, &features_}};
    if (name == "text_tokens.embedding.weight") return {{0, &words_}};
    if (name == "image_tokens.level_embedding") return {{0, &levels_}};
    return {};
  }

  // Whether both have the rows that were named, and the same sizes otherwise.
  static bool fits(const Tensor& to, const Tensor& from, const std::vector<Axis>& axes) {
    if (to.rank() != from.rank()) return false;
    for (int d = 0; d < to.rank(); ++d) {
      int64_t own = to.size(d), given = from.size(d);
      for (const Axis& axis : axes) {
        if (axis.dimension != d || !*axis.rows) continue;
        own -= static_cast<int64_t>((*axis.rows)->from.size());
        given -= (*axis.rows)->size;
      }
      const bool named = own == 0 && given == 0;
      if (!named && own != given) return false;
    }
    return true;
  }

  std::optional<Rows> labels_, features_, bins_, words_, levels_, branches_;
  std::set<const std::optional<Rows>*> used_;
};

void count(Share& share, int64_t loaded, int64_t all) {
  share.loaded += loaded;
  share.all += all;
}

}  // namespace

std::string own_name(const std::string& name) {
  static const std::regex prefix("^(module\\.|densenet121\\.)+");
  static const std::regex wrapped("(denselayer[0-9]+\\.)layers\\.");
  static const std::regex dotted("(denselayer[0-9]+\\.(norm|conv))\\.([0-9]+\\.)");
  static const std::regex classifier("^(class_layers\\.out|classifier\\.0)\\.");
  std::string result = std::regex_replace(name, prefix, "");
  result = std::regex_replace(result, wrapped, "$1");
  result = std::regex_replace(result, dotted, "$1$3");
  return std::regex_replace(result, classifier, "classifier.");
}

TransferReport transfer_weights(layers::Module& network, const RowNames& own, const NamedTensors& tensors,
                                const RowNames& given, const std::string& file) {
  const NamedTensors mine = weights_of(network);
  NamedTensors found;
  std::map<std::string, std::string> spelling;  // of the names in the file
  TransferReport report;
  bool any = false;
  for (const auto& [name, tensor] : tensors) {
    if (passed_over(name)) continue;
    const std::string known = with_or_without_prefix(own_name(name), mine);
    const auto [at, is_new] = spelling.emplace(known, name);
    if (!is_new)
      core::throw_input_error({file}, "tensors '{}' and '{}' are both '{}'", at->second, name, known);
    found.emplace(known, tensor);
    any |= mine.contains(known);
    if (!mine.contains(known)) report.unused.push_back(name);
  }
  if (!any) core::throw_input_error({file}, "no tensor has the name of a parameter of this network");

  std::set<std::string> trained;
  for (const auto& [name, variable] : network.parameters()) trained.insert(name);
  const std::set<std::string> backbone = backbone_names(trained);
  Transfer transfer(own, given, mine, found);
  for (const auto& [name, tensor] : mine) {
    const auto source = found.find(name);
    const auto copied = source == found.end() ? std::nullopt : transfer.copy(name, tensor, source->second);
    const int64_t loaded = copied.value_or(0);
    count(report.tensors, loaded > 0 ? 1 : 0, 1);
    if (trained.contains(name)) count(report.parameters, loaded, tensor.numel());
    if (backbone.contains(name)) count(report.backbone, loaded, tensor.numel());
    if (copied) continue;
    if (source == found.end()) {
      report.anew.push_back(name);
    } else {
      report.anew.push_back(fmt::format("{} ({} here, {} in the file)", name, tensor.shape().str(),
                                        source->second.shape().str()));
      report.unused.push_back(spelling.at(name));
    }
  }
  if (report.backbone.all == 0) report.backbone = report.parameters;
  transfer.describe(given, file, report);
  return report;
}

}  // namespace medfusion::optim
