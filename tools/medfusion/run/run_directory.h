// A run directory: all that is needed to use or repeat a training run.
//   config.toml              the resolved configuration
//   labels.txt               one label name per line, in the order of the network's outputs
//   data.json                what was seen: hash and counts of the data, versions
//   preprocessing.json       what was fitted to the training part: table encoder, tokenizer, thresholds
//   schema.json              the data contract: columns, labels, images, text, parts (data/schema.h)
//   features.json            stage one: the table's features per label; where there is a table
//   skipped.csv              rows whose image cannot be read; where data.on_error left out any
//   train.log                text, one line per event
//   metrics.jsonl            one JSON object per evaluation
//   best.safetensors         weights of the best evaluation
//   last.safetensors         weights of the last epoch
//   checkpoints/             what train --resume goes on from (checkpoints.h)
// Of several ranks (ranks.h) the first alone writes: the functions that write do nothing on the others.
// Until config.toml is there, which is written when all above the log are, the folder holds the file
// .starting; from then on it can be resumed.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tools/medfusion/config/config.h"

namespace medfusion::tools {

class RunDirectory {
 public:
  // Throws core::InputError where create() would refuse the folder: for finding that out before long work.
  // What was cut off before it began is no run.
  static void check_free(const std::filesystem::path& folder, bool overwrite);

  // Makes the folder, and those above it. Throws core::InputError where it holds a run already; with
  // `overwrite` the files of that run are removed first, others stay. Throws core::Error where the folder
  // cannot be made.
  static RunDirectory create(const std::filesystem::path& folder, bool overwrite);

  // Every file that train, eval and cv may write there.
  static std::vector<std::string> file_names();

  // Opens what train wrote. Throws core::InputError naming what is missing.
  static RunDirectory open(const std::filesystem::path& folder);

  // What rank 0 is writing, for the others: theirs writes nothing.
  static RunDirectory of_other_rank(const std::filesystem::path& folder);

  // Whether training has come so far that it can be resumed.
  static bool has_begun(const std::filesystem::path& folder);
  // Opens a run to go on with its training. Throws core::InputError where it has not begun.
  static RunDirectory reopen(const std::filesystem::path& folder);
  // Whether training came to its end.
  bool is_finished() const;
  // Cuts metrics.jsonl after its first `epochs` lines. Throws core::InputError where it has fewer.
  void keep_metrics(int64_t epochs) const;

  const std::filesystem::path& folder() const { return folder_; }
  std::filesystem::path file(const std::string& name) const { return folder_ / name; }

  // Around the files that a run holds before it trains; end_start() writes config.toml.
  void begin_start() const;
  void end_start(const Config& config) const;

  // Each file is written whole or not at all (core::Error), and read with core::InputError where it is
  // missing or damaged.
  void write_config(const Config& config) const;
  Config read_config() const;
  void write_labels(const std::vector<std::string>& labels) const;  // without line ends, not empty
  std::vector<std::string> read_labels() const;
  void write_json(const std::string& name, const nlohmann::ordered_json& value) const;
  nlohmann::ordered_json read_json(const std::string& name) const;

  // A line of train.log, with date and time (UTC).
  void log(const std::string& line) const;
  // A line of metrics.jsonl.
  void append_metrics(const nlohmann::ordered_json& value) const;

  // Where the weights "best" or "last" are written.
  std::filesystem::path checkpoint(const std::string& which) const;
  // The same for reading: throws core::InputError where the file is missing.
  std::filesystem::path existing_checkpoint(const std::string& which) const;

 private:
  explicit RunDirectory(std::filesystem::path folder) : folder_(std::move(folder)) {}

  std::filesystem::path folder_;
};

}  // namespace medfusion::tools
