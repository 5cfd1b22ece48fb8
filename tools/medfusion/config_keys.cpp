#include "tools/medfusion/config_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <type_traits>

#include "core/nearest.h"

namespace medfusion::tools {
namespace {

// A key and its field, of one name so that the two cannot drift apart.
#define KEY(member) #member, [](Config & config) -> FieldPointer { return &config.member; }

KeyRange any() { return {}; }
KeyRange one_of(std::vector<std::string> choices) { return {std::move(choices), {}, {}, false, false}; }
KeyRange at_least(double low) { return {{}, low, {}, false, false}; }
KeyRange above(double low) { return {{}, low, {}, true, false}; }
KeyRange between(double low, double high) { return {{}, low, high, false, false}; }
KeyRange below(double low, double high) { return {{}, low, high, false, true}; }  // [low, high)

std::vector<ConfigKey> general_keys() {
  return {
      {KEY(seed), at_least(0),
       "Seed of everything that is drawn at random: initial weights, order, augmentation, dropout, random "
       "splits."},
      {KEY(threads), between(0, 4096),
       "Threads to compute with; 0 takes all cores. Results do not depend on it."},
  };
}

std::vector<ConfigKey> data_keys() {
  return {
      {KEY(data.format), one_of({"nih", "phantom", "csv", "medmnist", "none"}),
       "Layout of the data: `nih` (ChestX-ray14), `phantom` (what `medfusion synth` writes), `csv` (a table, "
       "and a folder of images), `medmnist` (an "
       ".npz file), `none` (no data: the labels come from `data.label_count`, `data.labels_file` or "
       "`data.labels`, and only `train.epochs = 0` can run)."},
      {KEY(data.root), any(),
       "Folder of the data, relative to the working directory. Where it starts with `../shared/data` and the "
       "environment variable `MEDFUSION_DATA` is set, that replaces the start. Files that other keys name "
       "are "
       "in this folder unless absolute."},
      {KEY(data.images), any(),
       "`csv`: folder that the cells of `data.image_column` start from; empty means that of the table."},
      {KEY(data.labels), any(),
       "Labels to predict, in this order; empty means all that the data has. `csv`: the columns that hold "
       "them (0, 1, or empty for unknown)."},
      {KEY(data.labels_file), any(), "File with one label name per line, in place of `data.labels`."},
      {KEY(data.label_count), at_least(0),
       "Number of labels named class_0, class_1, ..., in place of `data.labels`; for `data.format = "
       "\"none\"`."},
      {KEY(data.min_positives), at_least(0), "Leaves out labels with fewer positives in the whole data."},
      {KEY(data.shuffle_labels), any(),
       "A control: patients trade their labels at random before anything else is done, so that nothing true "
       "is left to learn. A test AUROC clear of 0.5 then shows a leak."},
      {KEY(data.split), one_of({"official", "own", "random", "folds", "file"}),
       "Training, validation and test parts: `official` (the lists of `nih`; else as `own`), `own` (those "
       "the "
       "data brings: `data.part_column`, or the arrays of `medmnist`), `random` (whole patients at random), "
       "`folds` (fold `data.fold` of `data.folds` is the test part), `file` (`data.split_file`)."},
      {KEY(data.split_file), any(), "CSV file with two columns, the id and one of train, val, test."},
      {KEY(data.folds), any(),
       "CSV file with two columns, the id and the fold counting from 0; or a number of folds to draw at "
       "random by patient."},
      {KEY(data.fold), at_least(0), "The fold that is the test part."},
      {KEY(data.val_fraction), below(0, 1),
       "Share of the training part's images that become the validation part, by patient, where the split "
       "brings none."},
      {KEY(data.test_fraction), below(0, 1), "Share of the images in the test part of a `random` split."},
      {KEY(data.image_size), between(16, 4096), "Height and width that images are resized to, in pixels."},
      {KEY(data.channels), between(1, 3),
       "Channels of the network's input, 1 or 3; gray images are repeated, colors averaged."},
      {KEY(data.normalize), one_of({"fixed", "image"}),
       "How pixels in [0, 1] are normalized: `fixed` by `data.mean` and `data.std`, `image` by each image's "
       "own "
       "mean and standard deviation."},
      {KEY(data.mean), any(),
       "Subtracted from pixels in [0, 1]; one value, or one per channel. Empty means 0."},
      {KEY(data.std), above(0),
       "Divides what the mean was subtracted from; one value, or one per channel. Empty means 1."},
      {KEY(data.cache_megabytes), between(0, 1 << 24), "Memory for decoded and resized images, in MiB."},
      {KEY(data.table), any(),
       "Columns that become table inputs, of which alone the text speaks; empty means all: `nih` age, sex, "
       "view and "
       "follow_up (and where named aspect_ratio and pixel_spacing of the original image), `csv` every column "
       "without another role."},
      {KEY(data.log_columns), any(),
       "Numeric table columns read as sign(x) log(1 + |x|), such as counts with a wide range."},
      {KEY(data.extra_table), any(),
       "`nih`, `phantom`: CSV file with a column `Image Index` and a row for each image, whose other columns "
       "join "
       "the table. `medfusion predict` reads the file of this name beside its `--table`."},
      {KEY(data.text_length), between(1, 4096), "Words of text that the network reads; the rest is cut."},
      {KEY(data.text_min_count), at_least(1),
       "A word is in the vocabulary where the training part has it at least this often."},
      {KEY(data.file), any(), "`csv`: the file of the table; `medmnist`: the .npz file."},
      {KEY(data.id_column), any(),
       "`csv`: column of the ids, which are unique; empty means the image's file name, or else the row."},
      {KEY(data.patient_column), any(), "`csv`: column of the patients; empty means that each row is one."},
      {KEY(data.image_column), any(), "`csv`: column of the images' file names; empty means no images."},
      {KEY(data.text_column), any(), "`csv`: column of the text; empty means no text."},
      {KEY(data.part_column), any(),
       "`csv`: column of the part (train, val, test) for `data.split = \"own\"`."},
      {KEY(data.categorical_columns), any(),
       "`csv`, `data.extra_table`: table columns that are categories although they hold numbers; columns "
       "that hold text are so "
       "anyway."},
      {KEY(data.exclude), any(),
       "`csv`: columns that are not inputs; labels may be among them. Columns that hold one value only are "
       "left out anyway."},
  };
}

std::vector<ConfigKey> guard_keys() {
  return {
      {KEY(guard.targets), any(),
       "Columns that are outcomes, whether they are predicted or not: refused as inputs."},
      {KEY(guard.leaking), any(), "Columns that may give an outcome away: refused as inputs."},
      {KEY(guard.duplicates), one_of({"auto", "always", "never"}),
       "Rows that repeat others, by the bytes of the image or, without one, by all columns and the text, "
       "lie in one part of a split: `auto` takes equal columns for a coincidence where more than a tenth of "
       "the rows repeat others, `always` never does, `never` does not compare rows."},
      {KEY(guard.allow), one_of({"target", "leaking", "patient", "duplicate", "resampling"}),
       "Leaks that are accepted: a target, or a column listed as leaking, as an input; a patient, or "
       "duplicated rows, in two parts of a split; resampling before the split."},
  };
}

std::vector<ConfigKey> resample_keys() {
  return {
      {KEY(resample.method), one_of({"none", "random", "smote", "adasyn"}),
       "Over-sampling of the rarer class in the training part: `random` repeats rows, `smote` and `adasyn` "
       "make new ones (of a table alone)."},
      {KEY(resample.label), any(),
       "Label whose classes are balanced; empty means rows with any positive label against those without."},
      {KEY(resample.ratio),
       {{}, 0.0, 10.0, true, false},
       "Rows of the rarer class per row of the other, afterwards."},
      {KEY(resample.neighbours), between(1, 1000), "Nearest rows that `smote` and `adasyn` look at."},
      {KEY(resample.before_split), any(),
       "Resamples all data before the split: a mistake, for the test part then holds what the network was "
       "trained on. Refused unless `guard.allow` has `resampling`."},
  };
}

std::vector<ConfigKey> published_keys() {
  return {
      {KEY(published.method), one_of({"random", "smote", "adasyn"}),
       "Resampling before the split in `medfusion cv --protocol as-published`."},
      {KEY(published.settings), any(),
       "Settings of the network in that comparison, each as KEY=VALUE of `--set`."},
  };
}

std::vector<ConfigKey> augment_keys() {
  return {
      {KEY(augment.shift), below(0, 1),
       "Training images move by at most this fraction of their size along each axis."},
      {KEY(augment.scale), below(0, 1), "They grow or shrink by a factor in [1 - scale, 1 + scale]."},
      {KEY(augment.rotation), between(0, 180), "They turn by at most this many degrees."},
      {KEY(augment.brightness), between(0, 1),
       "A value in [-brightness, brightness] is added to pixels in [0, 1]."},
      {KEY(augment.contrast), below(0, 1),
       "Pixels are stretched about their mean by a factor in [1 - contrast, 1 + contrast]."},
      {KEY(augment.gamma), between(0, 2), "Pixels are raised to a power e^g, g in [-gamma, gamma]."},
      {KEY(augment.horizontal_flip), between(0, 1),
       "Probability of mirroring left to right; off, because the heart lies on the left."},
  };
}

std::vector<ConfigKey> features_keys() {
  return {
      {KEY(features.mode), one_of({"top_n", "all", "none"}),
       "The table's features in the network (docs/features.md): `top_n` (each label sees those that stage "
       "one "
       "selected for it), `all` (every label sees all), `none` (the network does not read the table)."},
      {KEY(features.top_n), between(1, 4096), "Features that stage one selects per label, at most."},
      {KEY(features.score), one_of({"auroc", "youden", "chi_square", "information_gain"}),
       "What features are ranked by, and what their threshold maximizes; with `auroc` the threshold "
       "maximizes "
       "Youden's J."},
      {KEY(features.alpha), between(0, 1),
       "Highest false-discovery rate (Benjamini-Hochberg) of the features selected for a label; 1 lets all "
       "pass. A label for which none passes selects none."},
      {KEY(features.bootstrap), between(0, 100000),
       "Resamples of the training patients that show how stable the selection is."},
      {KEY(features.discretize), one_of({"auto", "none", "mdl", "quantile", "cuts"}),
       "Bins of numeric features, which the tokens then carry: `mdl` (Fayyad and Irani, by entropy and "
       "description length), `quantile` (`features.bins` of equal size), `cuts` (`features.cuts`), `none`; "
       "`auto` is `mdl` with `features.mode = \"top_n\"` and else `none`."},
      {KEY(features.bins), between(1, 64), "Bins of `quantile`."},
      {KEY(features.cuts), any(),
       "Cuts of `cuts`, one text per column, such as \"age: 40 60\"; a value at a cut is in the upper bin."},
      {KEY(features.impute), one_of({"none", "median"}),
       "What a missing value is read as, beside the token of its being missing: `none` (0, the mean), "
       "`median` "
       "(of the training part; of categories the most frequent)."},
  };
}

std::vector<ConfigKey> model_keys() {
  return {
      {KEY(model.name), one_of({"medfusionnet", "densenet"}),
       "`medfusionnet`, or `densenet`: the plain classifier, image alone."},
      {KEY(model.size), one_of({"densenet121", "small", "tiny"}),
       "Size of the dense branch, and the defaults of the keys below that are 0."},
      {KEY(model.output), one_of({"sigmoid", "softmax"}),
       "`sigmoid`: labels are independent; `softmax`: exactly one is true, for weights trained elsewhere: "
       "only "
       "`train.epochs = 0` can run."},
      {KEY(model.branches.dense), any(), "Switches the dense branch's vote on."},
      {KEY(model.branches.pyramid), any(), "Switches the pyramid branch on."},
      {KEY(model.branches.attention), any(),
       "Switches the attention branch on, which alone reads table and text."},
      {KEY(model.modalities.image), any(), "The network reads images."},
      {KEY(model.modalities.table), any(), "The network reads the table."},
      {KEY(model.modalities.text), any(), "The network reads text."},
      {KEY(model.dim), between(0, 8192),
       "Width of the tokens, a multiple of 4 and of `model.heads`; 0 is the size's default."},
      {KEY(model.heads), between(0, 256), "Attention heads; 0 is the size's default."},
      {KEY(model.layers), between(0, 64), "Layers of the attention branch; 0 is the size's default."},
      {KEY(model.mlp_ratio), between(0, 16),
       "Hidden width of a layer's two linear maps, in units of `model.dim`; 0 is the size's default."},
      {KEY(model.pyramid_channels), between(0, 4096),
       "Channels of the pyramid's maps; 0 is the size's default."},
      {KEY(model.token_levels), between(2, 5), "Pyramid levels whose pixels become tokens."},
      {KEY(model.text_tokens), one_of({"words", "mean"}), "A token for each word, or one, the words' mean."},
      {KEY(model.upsample), one_of({"nearest", "bilinear"}), "How the pyramid enlarges a map by two."},
      {KEY(model.align_corners), any(),
       "Bilinear enlargement keeps the corner pixels' centres in place; else half-pixel centres."},
      {KEY(model.dropout), below(0, 1), "Share of activations dropped in training."},
      {KEY(model.modality_dropout), below(0, 1),
       "Probability in training that a sample loses a modality, so that the network learns to do without."},
  };
}

std::vector<ConfigKey> train_keys() {
  return {
      {KEY(train.epochs), at_least(0),
       "Passes over the training part; 0 writes a run with the initial weights."},
      {KEY(train.batch_size), between(1, 65536), "Samples per step."},
      {KEY(train.optimizer), one_of({"adamw", "sgd"}), "`adamw`, or `sgd` with momentum."},
      {KEY(train.learning_rate), above(0), "Highest learning rate, reached after the warm-up."},
      {KEY(train.weight_decay), at_least(0), "Weight decay, of weights but not of biases and norms."},
      {KEY(train.momentum), below(0, 1), "Momentum of `sgd`."},
      {KEY(train.beta1), below(0, 1), "Decay of the first moment of `adamw`."},
      {KEY(train.beta2), below(0, 1), "Decay of the second moment of `adamw`."},
      {KEY(train.warmup_epochs), at_least(0),
       "Epochs over which the learning rate rises from 0; may be a fraction."},
      {KEY(train.schedule), one_of({"cosine", "constant"}),
       "The learning rate after the warm-up: `cosine` falls to `train.min_learning_rate`, `constant` "
       "stays."},
      {KEY(train.min_learning_rate), at_least(0), "Learning rate at the end of `cosine`."},
      {KEY(train.clip_norm), at_least(0), "Largest norm of all gradients together; 0 switches clipping off."},
      {KEY(train.ema_decay), below(0, 1),
       "Decay per step of the averaged weights that are evaluated and kept; 0 switches averaging off."},
      {KEY(train.early_stopping), at_least(0),
       "Stops after this many evaluations without a better validation macro AUROC; 0 never does."},
      {KEY(train.loss), one_of({"bce", "focal", "asymmetric"}),
       "`bce` (weighted binary cross-entropy), `focal`, `asymmetric`; unknown labels do not count."},
      {KEY(train.pos_weight), one_of({"none", "balanced", "sqrt"}),
       "Weight of a label's positives: `none` is 1, `balanced` its negatives per positive, at most 100, in "
       "the training "
       "part, `sqrt` the root of that."},
      {KEY(train.focal_gamma), at_least(0), "Exponent of `focal`."},
      {KEY(train.asl_gamma_neg), at_least(0), "Exponent of `asymmetric` for negatives."},
      {KEY(train.asl_gamma_pos), at_least(0), "Exponent of `asymmetric` for positives."},
      {KEY(train.asl_clip), below(0, 1), "Probability that `asymmetric` subtracts from negatives."},
      {KEY(train.label_smoothing), below(0, 1), "Moves targets from 0 and 1 to s/2 and 1 - s/2."},
      {KEY(train.prior_bias), any(), "Starts each label's bias at the log odds of its share of positives."},
      {KEY(train.graph), any(),
       "On a GPU, captures the step as a graph and replays it; the same numbers. No effect on the cpu."},
      {KEY(train.precision), one_of({"f32", "tf32", "bf16"}),
       "While training, on a GPU. `tf32`: products and convolutions may round their operands to TF32. "
       "`bf16`: "
       "images and what is made of them are bf16, and linear layers and attention multiply in bf16; weights, "
       "statistics and the rest stay f32."},
      {KEY(train.eval_every), at_least(1), "Epochs from one evaluation on the validation part to the next."},
      {KEY(train.workers), between(0, 1024),
       "Threads that decode and augment images ahead; 0 does so between the steps."},
      {KEY(train.select), one_of({"best", "last"}),
       "The checkpoint that eval and predict take: `best` by validation macro AUROC, or `last`."},
      {KEY(train.threshold), one_of({"youden", "f1"}),
       "How the validation part sets each label's threshold: Youden's J, or F1."},
  };
}

std::vector<ConfigKey> evaluation_keys() {
  return {
      {KEY(calibration.method), one_of({"none", "temperature", "platt", "isotonic"}),
       "How the validation part turns each label's logit into a probability: `temperature` (one slope), "
       "`platt` (slope and intercept), `isotonic` (a rising curve), or `none`. Not for `model.output = "
       "\"softmax\"`, nor for a label with fewer than five positives or negatives there."},
      {KEY(risk.method), one_of({"targets", "cutoffs", "none"}),
       "How each label's low, intermediate and high risk are told apart: `targets` chooses the cut-offs on "
       "the validation part by `risk.sensitivity` and `risk.ppv`, `cutoffs` takes `risk.low` and "
       "`risk.high`."},
      {KEY(risk.sensitivity), between(0, 1),
       "`targets`: at least this share of the positives is not at low risk."},
      {KEY(risk.ppv), between(0, 1), "`targets`: at least this share of those at high risk is positive."},
      {KEY(risk.low), between(0, 1), "`cutoffs`: at low risk below this probability."},
      {KEY(risk.high), between(0, 1), "`cutoffs`: at high risk from this probability on."},
      {KEY(evaluation.subgroups), any(),
       "Columns by which `eval` forms subgroups; empty means sex, age and view as far as the data has them."},
      {KEY(evaluation.age_bands), at_least(0),
       "Ascending bounds of the bands of a column called age; other numeric columns go by quartiles."},
      {KEY(evaluation.bins), between(1, 1000), "Bins of the calibration curve and its error."},
  };
}

#undef KEY

std::string last_part(const std::string& name) { return name.substr(name.rfind('.') + 1); }

// A key in the wrong section counts as one mistake.
size_t name_distance(const std::string& name, const std::string& candidate) {
  return std::min(core::edit_distance(name, candidate),
                  1 + core::edit_distance(last_part(name), last_part(candidate)));
}

std::string toml_string(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      result += fmt::format("\\u{:04X}", byte);
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string toml_number(double value) {
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".einf") == std::string::npos) text += ".0";
  return text;
}

template <class T>
std::string scalar(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_same_v<T, double>) {
    return toml_number(value);
  } else if constexpr (std::is_same_v<T, std::string>) {
    return toml_string(value);
  } else {
    return fmt::format("{}", value);
  }
}

template <class T>
std::string scalar(const std::vector<T>& values) {
  std::string text;
  for (const T& value : values) text += (text.empty() ? "" : ", ") + scalar(value);
  return "[" + text + "]";
}

std::string cell(std::string text) {  // a | would end the cell of a Markdown table
  for (size_t i = 0; (i = text.find('|', i)) != std::string::npos; i += 2) text.insert(i, 1, '\\');
  return text;
}

}  // namespace

std::string ConfigKey::section() const {
  const size_t dot = name.find('.');
  return dot == std::string::npos ? std::string() : name.substr(0, dot);
}

std::string ConfigKey::type() const {
  Config config;
  static constexpr std::array kNames{"boolean",       "integer",         "number",          "text",
                                     "list of texts", "list of numbers", "list of integers"};
  return kNames.at(field(config).index());
}

std::string KeyRange::text() const {
  if (!choices.empty()) {
    std::string list;
    for (const std::string& choice : choices) list += (list.empty() ? "one of " : ", ") + choice;
    return list;
  }
  if (low && high) {
    return fmt::format("in {}{}, {}{}", low_excluded ? '(' : '[', *low, *high, high_excluded ? ')' : ']');
  }
  if (low) return fmt::format("{} {}", low_excluded ? "above" : "at least", *low);
  return {};
}

std::string ConfigKey::default_value() const {
  Config config;
  return format_value(field(config));
}

const std::vector<ConfigKey>& config_keys() {
  static const std::vector<ConfigKey> keys = [] {
    std::vector<ConfigKey> all;
    for (const auto& section :
         {general_keys(), data_keys(), guard_keys(), resample_keys(), published_keys(), augment_keys(),
          features_keys(), model_keys(), train_keys(), evaluation_keys()}) {
      all.insert(all.end(), section.begin(), section.end());
    }
    return all;
  }();
  return keys;
}

const ConfigKey* find_key(const std::string& name) {
  const auto& keys = config_keys();
  const auto found =
      std::find_if(keys.begin(), keys.end(), [&](const auto& key) { return key.name == name; });
  return found == keys.end() ? nullptr : &*found;
}

std::string nearest_key(const std::string& name, bool is_section) {
  std::string nearest;
  size_t distance = std::numeric_limits<size_t>::max();
  for (const ConfigKey& key : config_keys()) {
    const std::string candidate = is_section ? key.name.substr(0, key.name.rfind('.')) : key.name;
    if (is_section && candidate == key.name) continue;
    const size_t d = name_distance(name, candidate);
    if (d < distance) {
      nearest = candidate;
      distance = d;
    }
  }
  return nearest;
}

std::string format_value(const FieldPointer& field) {
  return std::visit([](const auto* value) { return scalar(*value); }, field);
}

std::string describe_keys() {
  std::string text;
  std::string section = "\n";  // no section is called that
  for (const ConfigKey& key : config_keys()) {
    if (key.section() != section) {
      section = key.section();
      text += fmt::format("{}## {}\n\n| key | type | default | meaning |\n|---|---|---|---|\n",
                          text.empty() ? "" : "\n", section.empty() ? "General" : "`[" + section + "]`");
    }
    const std::string range = key.range.text();
    text += fmt::format("| `{}` | {}{} | `{}` | {} |\n", key.name, key.type(),
                        range.empty() ? "" : ", " + range, key.default_value(), cell(key.help));
  }
  return text;
}

}  // namespace medfusion::tools
