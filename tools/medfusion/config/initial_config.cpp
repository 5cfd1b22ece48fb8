#include "tools/medfusion/config/initial_config.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "data/schema.h"
#include "data/table_roles.h"
#include "tools/medfusion/config/options.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSmallImage = 64;     // pixels a side, for a first run
constexpr int64_t kFewRows = 5000;      // below: the tiny network
constexpr int64_t kFewestNihRows = 20;  // positives of a label of ChestX-ray14
constexpr size_t kLineWidth = 120;

// A configuration that grows: values, and for each key that is written the comments above it.
struct Draft {
  Config config;
  std::vector<std::pair<std::string, std::vector<std::string>>> keys;  // by sections, as they are written
  std::vector<InitialChoice> choices;

  // Writes the key below its comments.
  void write(const std::string& key, std::vector<std::string> comments = {}) {
    keys.emplace_back(key, std::move(comments));
  }
  void choose(const std::string& what, const std::string& value, const std::string& why,
              const std::string& key) {
    choices.push_back({what, value, why, key});
  }
};

std::string joined(const std::vector<std::string>& words) {
  return fmt::format("{}", fmt::join(words, ", "));
}

// "it holds dates" -> "It holds dates."
std::string sentence(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text + ".";
}

// Text as a comment: lines of at most kLineWidth that begin with "# ".
std::string comment_of(std::string words) {
  std::string result, line = "#";
  std::replace_if(
      words.begin(), words.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  for (const std::string_view word : split(words, ' ')) {
    if (word.empty()) continue;
    if (line.size() + 1 + word.size() > kLineWidth && line != "#") {
      result += line + "\n";
      line = "#";
    }
    line += " " + std::string(word);
  }
  return result + line + "\n";
}

// A list that is too long for one line has its values on lines of their own.
std::string assignment(const std::string& name, const core::Field& field) {
  std::string line = fmt::format("{} = {}\n", name, format_value(field.value));
  const auto* const list = std::get_if<std::vector<std::string>*>(&field.value);
  if (line.size() <= kLineWidth || list == nullptr) return line;
  std::string text = name + " = [\n", row = " ";
  for (std::string& value : **list) {
    const std::string next = " " + format_value(&value) + ",";
    if (row.size() + next.size() > kLineWidth) {
      text += row + "\n";
      row = " ";
    }
    row += next;
  }
  return text + row + "\n]\n";
}

std::string to_commented_toml(Draft& draft) {
  const std::vector<core::Field> fields = core::fields_of(draft.config);
  std::string text, section;
  for (const auto& [key, comments] : draft.keys) {
    const auto field = std::find_if(fields.begin(), fields.end(),
                                    [&name = key](const core::Field& each) { return each.name == name; });
    MEDFUSION_CHECK(field != fields.end(), "no key '{}'", key);
    if (field->section() != section) {
      section = field->section();
      text += fmt::format("\n[{}]\n", section);
    }
    for (const std::string& each : comments) text += comment_of(each);
    text += assignment(key.substr(section.size() + 1), *field);
  }
  return text;
}

// `otherwise`: what stands in for a column where there is none.
void choose_column(Draft& draft, const std::string& what, const data::TableRoles::Choice& choice,
                   std::string& value, const std::string& key, const std::string& otherwise = "none") {
  value = choice.column;
  draft.choose(what, choice.column.empty() ? otherwise : "'" + choice.column + "'", choice.why, key);
  if (!choice.column.empty()) draft.write(key, {sentence(choice.why)});
}

void choose_labels(Draft& draft, const data::TableRoles& roles) {
  data::DataOptions& options = draft.config.data;
  options.labels = roles.label_columns;
  draft.choose("labels", joined(options.labels), roles.labels.why, "data.labels, --labels");
  std::vector<std::string> comments{sentence(roles.labels.why)};
  if (!roles.more_labels.empty()) {
    std::vector<std::string> more_labels = roles.more_labels;
    draft.choose("or labels", joined(more_labels), "of two values as well", "data.labels, --labels");
    comments.emplace_back("These could be labels as well:");
    comments.push_back("labels = " + format_value(&more_labels));
  }
  draft.write("data.labels", comments);
}

// Columns left out by their reasons, and of them those that the guard is told of.
void choose_inputs(Draft& draft, const data::TableRoles& roles) {
  data::DataOptions& options = draft.config.data;
  options.table = roles.inputs;
  draft.config.model.modalities.table = !roles.inputs.empty();
  std::vector<std::pair<std::string, std::vector<std::string>>> reasons;
  for (const data::LeftOutColumn& column : roles.left_out) {
    auto same = std::find_if(reasons.begin(), reasons.end(),
                             [&](const auto& each) { return each.first == column.why; });
    if (same == reasons.end()) same = reasons.insert(reasons.end(), {column.why, {}});
    same->second.push_back(column.name.empty() ? "''" : column.name);
    if (column.outcome) options.guard.targets.push_back(column.name);
  }
  draft.choose("inputs", roles.inputs.empty() ? "none" : joined(roles.inputs), "all that is left",
               "data.table");
  std::vector<std::string> comments{"Inputs."};
  if (!roles.more_inputs.empty()) {
    const std::string more = joined(roles.more_inputs);
    draft.choose("unsure", more, "inputs that are coded as the labels are; see that none is an outcome",
                 "data.table");
    comments.push_back("Coded as the labels are, so see that none is an outcome: " + more + ".");
  }
  for (const auto& [why, columns] : reasons) {
    draft.choose("left out", joined(columns), why, "data.table");
    comments.push_back(fmt::format("Left out: {} ({}).", joined(columns), why));
  }
  if (!roles.inputs.empty()) return draft.write("data.table", comments);
  // An empty list would mean every column.
  for (const data::LeftOutColumn& column : roles.left_out) {
    if (!column.name.empty()) options.exclude.push_back(column.name);
  }
  draft.write("data.exclude", comments);
}

void choose_missing(Draft& draft, const data::CsvTable& table, const std::vector<std::string>& words) {
  data::DataOptions& options = draft.config.data;
  options.dialect.missing = words;
  if (!words.empty()) {
    draft.choose("missing", joined(words), "cells that say so", "data.missing");
    draft.write("data.missing", {"Cells that say that a value is not known, beside empty ones and NA."});
  }
  for (const std::string& label : options.labels) {
    const int column = table.column(label);
    for (int64_t row = 0; row < table.rows(); ++row) {
      if (data::parse_number(table.known(row, column)) != -1.0) continue;
      options.uncertain = data::Uncertain::unknown;
    }
  }
  if (options.uncertain == data::Uncertain::unknown) {
    draft.choose("uncertain", "unknown", "some labels are -1", "data.uncertain");
    draft.write("data.uncertain", {"Some labels are -1: unknown, negative or positive."});
  }
}

void choose_split(Draft& draft, bool own) {
  data::SplitOptions& split = draft.config.data.split;
  split.kind = own ? data::SplitKind::own : data::SplitKind::random;
  split.val_fraction = 0.15;
  if (own) {
    draft.choose("split", "own", "the column of the parts", "data.split");
  } else {
    draft.choose("split", "random", "whole patients, 20 % to test and 15 % of the others to validate",
                 "data.split");
  }
  draft.write("data.split",
              {own ? "The parts that the table names." : "Whole patients are drawn at random."});
  if (!own) draft.write("data.test_fraction");
  draft.write("data.val_fraction");
}

// How images are read, from some of them.
void choose_image_format(Draft& draft, const data::Dataset& dataset) {
  data::DataOptions& options = draft.config.data;
  std::vector<int64_t> rows(static_cast<size_t>(dataset.size()));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  const data::ImageSchema seen = data::describe_images(*dataset.images, rows, data::kImagesDescribed);
  data::ValueRange side;
  for (const double pixels : {seen.width.low, seen.width.high, seen.height.low, seen.height.high})
    side.add(pixels);
  options.image.size = side.low < static_cast<double>(kSmallImage) ? 32 : kSmallImage;
  options.image.channels = seen.colored > 0 ? 3 : 1;
  const std::string size = fmt::format("{0} x {0}", options.image.size);
  const std::string why =
      fmt::format("small, for a first run; {} images looked at have sides of {:g} to {:g} pixels",
                  seen.looked_at, side.low, side.high);
  draft.choose("size", size, why, "data.image_size");
  draft.write("data.image_size", {sentence(why)});
  const std::string color =
      fmt::format("{} of {} images looked at are in color", seen.colored, seen.looked_at);
  draft.choose("channels", std::to_string(options.image.channels), color, "data.channels");
  draft.write("data.channels", {sentence(color)});
  if (seen.intensity.high >= 0.5) return;
  options.image.normalize = data::Normalization::image;
  draft.choose("normalize", "image", "the images are dark for their bits", "data.normalize");
  draft.write("data.normalize", {"The images are dark for their bits."});
}

void choose_network(Draft& draft, const data::Dataset& dataset, bool text) {
  models::ModelOptions& model = draft.config.model;
  model.modalities.text = text;
  model.size = dataset.size() < kFewRows ? "tiny" : "small";
  std::string why = fmt::format("{} rows; {} is the limit of tiny", dataset.size(), kFewRows);
  draft.choose("network", model.size, why, "model.size");
  draft.write("model.size", {why + ". The sizes are tiny, small and densenet121."});
  if (!model.modalities.image) {
    model.branches.dense = model.branches.pyramid = false;
    model.dim = 16;
    model.heads = 2;
    model.layers = 1;
    draft.write("model.dim", {"Small, for a table without images."});
    for (const char* key : {"model.heads", "model.layers", "model.branches.dense", "model.branches.pyramid"})
      draft.write(key);
  }
  std::vector<std::string> read;
  for (const auto& [name, is_read] :
       {std::pair{"image", model.modalities.image}, std::pair{"table", model.modalities.table},
        std::pair{"text", model.modalities.text}}) {
    if (is_read) read.emplace_back(name);
    draft.write(std::string("model.modalities.") + name);
  }
  draft.choose("reads", joined(read), "what the data has", "model.modalities");
  draft.config.train.epochs = 20;
  draft.choose("epochs", "20", "a first run", "train.epochs");
  draft.write("train.epochs");
  draft.write("train.batch_size");
}

// Where the guard is told of outcomes.
void write_guard(Draft& draft) {
  if (draft.config.data.guard.targets.empty()) return;
  draft.write("guard.targets",
              {"Columns that look like outcomes: refused as inputs. Take out what is none."});
}

// What follows from the roles of the columns; the dataset is not opened yet.
void draft_csv(const NewData& data, const data::CsvTable& table, const std::vector<std::string>& missing,
               Draft& draft) {
  data::DataOptions& options = draft.config.data;
  const data::TableRoles roles = data::choose_roles(table, data.images, data.labels);
  if (roles.inputs.empty() && roles.image.column.empty() && roles.text.column.empty()) {
    std::vector<std::string> reasons;
    for (const data::LeftOutColumn& column : roles.left_out)
      reasons.push_back(fmt::format("'{}' ({})", column.name, column.why));
    if (reasons.empty()) reasons.emplace_back("each is a label, an id, a patient or a part");
    core::throw_input_error({data.table}, "no column is left as an input: {}", joined(reasons));
  }
  options.format = data::DataFormat::csv;
  const fs::path file(data.table), folder = file.has_parent_path() ? file.parent_path() : fs::path(".");
  options.root = folder.string();
  options.file = file.filename().string();
  draft.choose("table", data.table, fmt::format("{} rows, {} columns", table.rows(), table.columns()),
               "data.file");
  draft.write("data.format", {"A CSV file, with or without images."});
  draft.write("data.root", {"The folder of the table, relative to the one that the program runs in."});
  draft.write("data.file");
  choose_column(draft, "image", roles.image, options.image_column, "data.image_column");
  if (!roles.image.column.empty() && fs::path(roles.image_folder) != file.parent_path()) {
    options.images = fs::relative(roles.image_folder, folder).string();
    draft.choose("images", options.images, "the folder that they start from, from the table's",
                 "data.images");
    draft.write("data.images", {"The folder that the names of images start from, relative to data.root."});
  }
  choose_column(draft, "id", roles.id, options.id_column, "data.id_column",
                roles.image.column.empty() ? "the row's number" : "the image's file name");
  choose_column(draft, "patient", roles.patient, options.patient_column, "data.patient_column",
                "each row is one");
  choose_labels(draft, roles);
  choose_inputs(draft, roles);
  choose_column(draft, "text", roles.text, options.text_column, "data.text_column");
  choose_missing(draft, table, missing);
  choose_column(draft, "part", roles.part, options.part_column, "data.part_column");
  choose_split(draft, !roles.part.column.empty());
}

bool is_nih(const data::CsvTable& table) {
  return fs::path(table.file()).filename().string().starts_with("Data_Entry_2017") &&
         table.find_column("Image Index") && table.find_column("Finding Labels");
}

void draft_nih(const NewData& data, Draft& draft) {
  data::DataOptions& options = draft.config.data;
  const fs::path folder = fs::path(data.table).has_parent_path() ? fs::path(data.table).parent_path() : ".";
  const fs::path images = (fs::path(data.images) / "").parent_path();
  std::error_code failure;
  const bool beside =
      data.images.empty() || (fs::equivalent(folder, fs::absolute(images).parent_path(), failure) &&
                              images.filename().string().starts_with("images"));
  if (!beside) {
    core::throw_input_error({data.images}, "expected a folder images* beside {}", data.table);
  }
  options.root = folder.string();
  options.labels = data.labels;
  draft.choose("table", data.table, "the layout of ChestX-ray14: its columns have their roles",
               "data.format");
  draft.write("data.format",
              {"The layout of ChestX-ray14: ids, patients, labels, inputs and text are known."});
  draft.write("data.root", {"The folder of the table, relative to the one that the program runs in."});
  if (data.labels.empty()) {
    options.min_positives = kFewestNihRows;
    draft.choose("labels", "all", fmt::format("that have {} positive rows", kFewestNihRows),
                 "data.min_positives, data.labels, --labels");
    draft.write("data.min_positives", {"Labels with fewer positive rows are left out."});
  } else {
    draft.choose("labels", joined(data.labels), "--labels", "data.labels, --labels");
    draft.write("data.labels");
  }
  const bool lists =
      fs::exists(folder / "train_val_list.txt") || fs::exists(folder / "train_val_list.txt.gz");
  if (!lists) return choose_split(draft, false);
  options.split.kind = data::SplitKind::official;
  draft.choose("split", "official", "train_val_list.txt is there", "data.split");
  draft.write("data.split");
}

}  // namespace

InitialConfig make_initial_config(const NewData& data, const std::string& file) {
  const std::vector<std::string> missing = data::words_for_missing(data::CsvTable::read(data.table));
  const data::CsvTable table = data::CsvTable::read(data.table, {data::Separator::automatic, missing});
  Draft draft;
  const bool nih = is_nih(table);
  nih ? draft_nih(data, draft) : draft_csv(data, table, missing, draft);
  draft.config.model.modalities.image = !data.images.empty();
  const data::Dataset dataset = data::open_dataset(to_data_options(draft.config));
  if (dataset.images != nullptr) choose_image_format(draft, dataset);
  write_guard(draft);
  choose_network(draft, dataset, !dataset.texts.empty());
  InitialConfig result;
  result.toml = comment_of(fmt::format(
                    "Written by medfusion init for {}{}{}. Each choice follows a rule (docs/init.md) "
                    "and may be wrong: look at it, and change it here. Then: medfusion data {}, "
                    "medfusion train {}. docs/configuration.md lists every key.",
                    data.table, data.images.empty() ? "" : " and ", data.images, file, file)) +
                to_commented_toml(draft);
  result.choices = std::move(draft.choices);
  ConfigBuilder check;
  check.read_text(result.toml, file);
  check.build();
  return result;
}

}  // namespace medfusion::tools
