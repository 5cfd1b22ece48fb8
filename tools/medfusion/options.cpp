#include "tools/medfusion/options.h"

#include <algorithm>
#include <iterator>

#include "core/nearest.h"

namespace medfusion::tools {
namespace {

std::string path_or_empty(const Config& config, const std::string& name) {
  return name.empty() ? std::string() : data_path(config, name).string();
}

std::vector<float> per_channel(const std::vector<double>& values, int64_t channels) {
  std::vector<float> result(values.begin(), values.end());
  if (result.size() == 1) result.assign(static_cast<size_t>(channels), result.front());
  return result;
}

}  // namespace

data::LeakRules to_leak_rules(const Config& config) {
  const std::string file =
      config.data.file.empty() ? data_root(config).string() : data_path(config, config.data.file).string();
  return {config.guard.targets, config.guard.leaking, config.guard.allow, file};
}

data::ResampleOptions to_resample_options(const Config& config, const std::vector<std::string>& labels) {
  const ResampleConfig& from = config.resample;
  data::ResampleOptions to;
  to.method = from.method == "random"   ? data::ResampleMethod::random
              : from.method == "smote"  ? data::ResampleMethod::smote
              : from.method == "adasyn" ? data::ResampleMethod::adasyn
                                        : data::ResampleMethod::none;
  if (!from.label.empty()) {
    const auto found = std::find(labels.begin(), labels.end(), from.label);
    if (found == labels.end()) {
      core::throw_input_error({}, fmt::format("resample.label: the data has no label '{}'{}", from.label,
                                              core::did_you_mean(from.label, labels)));
    }
    to.label = found - labels.begin();
  }
  to.ratio = from.ratio;
  to.neighbours = from.neighbours;
  to.seed = static_cast<uint64_t>(config.seed);
  return to;
}

data::DataOptions to_data_options(const Config& config) {
  const DataConfig& from = config.data;
  data::DataOptions to;
  to.format = from.format;
  to.root = data_root(config).string();
  to.file = path_or_empty(config, from.file);
  to.labels = configured_labels(config);
  to.min_positives = from.min_positives;
  to.read_images = config.model.modalities.image;
  to.table = from.table;
  to.extra_table = path_or_empty(config, from.extra_table);
  to.images = path_or_empty(config, from.images);
  to.id_column = from.id_column;
  to.patient_column = from.patient_column;
  to.image_column = from.image_column;
  to.text_column = from.text_column;
  to.part_column = from.part_column;
  to.categorical_columns = from.categorical_columns;
  to.exclude = from.exclude;
  to.duplicates = config.guard.duplicates == "always"  ? data::DuplicateRule::always
                  : config.guard.duplicates == "never" ? data::DuplicateRule::never
                                                       : data::DuplicateRule::automatic;
  to.allow_patients = to_leak_rules(config).allows("patient");
  to.split = from.split;
  to.split_file = path_or_empty(config, from.split_file);
  if (const auto count = fold_count(config)) {
    to.folds = *count;
  } else {
    to.fold_file = path_or_empty(config, from.folds);
  }
  to.fold = from.fold;
  to.val_fraction = from.val_fraction;
  to.test_fraction = from.test_fraction;
  to.seed = static_cast<uint64_t>(config.seed);
  return to;
}

data::ImageFormat to_image_format(const Config& config) {
  return {config.data.image_size, config.data.channels, per_channel(config.data.mean, config.data.channels),
          per_channel(config.data.std, config.data.channels), config.data.normalize == "image"};
}

data::AugmentOptions to_augment_options(const Config& config) {
  const AugmentConfig& from = config.augment;
  data::AugmentOptions to;
  to.shift = from.shift;
  to.scale = from.scale;
  to.rotation = from.rotation;
  to.brightness = from.brightness;
  to.contrast = from.contrast;
  to.gamma = from.gamma;
  to.horizontal_flip = from.horizontal_flip;
  return to;
}

data::FeatureOptions to_feature_options(const Config& config) {
  const FeaturesConfig& from = config.features;
  data::FeatureOptions to;
  const auto score = std::find(std::begin(data::kFeatureScores), std::end(data::kFeatureScores), from.score);
  MEDFUSION_CHECK(score != std::end(data::kFeatureScores), "features.score: '{}'", from.score);
  to.score = static_cast<data::FeatureScore>(score - std::begin(data::kFeatureScores));
  to.top_n = from.top_n;
  to.alpha = from.alpha;
  to.bootstrap = from.bootstrap;
  to.seed = static_cast<uint64_t>(config.seed);
  const bool mdl = from.discretize == "mdl" || (from.discretize == "auto" && from.mode == "top_n");
  to.discretize = mdl                             ? data::Discretization::mdl
                  : from.discretize == "quantile" ? data::Discretization::quantile
                  : from.discretize == "cuts"     ? data::Discretization::cuts
                                                  : data::Discretization::none;
  to.bins = from.bins;
  for (const std::string& text : from.cuts) {
    const auto cuts = parse_cuts(text);
    MEDFUSION_CHECK(cuts.has_value(), "features.cuts: '{}'", text);
    to.cuts.push_back({cuts->first, cuts->second});
  }
  return to;
}

data::LoaderOptions to_loader_options(const Config& config, bool training) {
  data::LoaderOptions to;
  to.use_images = config.model.modalities.image;
  to.format = to_image_format(config);
  to.batch_size = config.train.batch_size;
  to.shuffle = training;
  if (training) to.augment = to_augment_options(config);
  to.seed = static_cast<uint64_t>(config.seed);
  to.workers = static_cast<int>(config.train.workers);
  to.cache_bytes = config.data.cache_megabytes << 20;
  return to;
}

}  // namespace medfusion::tools
