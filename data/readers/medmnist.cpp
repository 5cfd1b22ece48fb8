#include "data/readers/medmnist.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "data/readers/nih.h"
#include "data/readers/npz.h"
#include "data/readers/text_file.h"

namespace medfusion::data {
namespace {

// Images of several arrays [N, H, W, C] u8 or i32, one after another.
class ArrayImages : public ImageSource {
 public:
  void add(core::Tensor images) {
    first_rows_.push_back(count_);
    count_ += images.size(0);
    arrays_.push_back(std::move(images));
  }
  core::Tensor read(int64_t row) const override {
    MEDFUSION_CHECK(row >= 0 && row < count_, "ArrayImages: row {} of {}", row, count_);
    const auto part = std::upper_bound(first_rows_.begin(), first_rows_.end(), row) - first_rows_.begin() - 1;
    const int64_t index = row - first_rows_[static_cast<size_t>(part)];
    return arrays_[static_cast<size_t>(part)].slice(0, index, index + 1).squeeze(0).clone();
  }
  bool present(int64_t) const override { return true; }

 private:
  std::vector<core::Tensor> arrays_;
  std::vector<int64_t> first_rows_;
  int64_t count_ = 0;
};

// [N, H, W, C], integers or bool
core::Tensor read_images(const NpzFile& file, const std::string& name) {
  core::Tensor images = file.read(name);
  const core::Shape& shape = images.shape();
  const std::string place = file.path() + "/" + name + ".npy";
  if (core::is_floating(images.dtype())) {
    core::throw_input_error({place}, "expected images of an integer type, got {}",
                            core::name_of(images.dtype()));
  }
  if (shape.rank() >= 3 && (shape[1] == 0 || shape[2] == 0))
    core::throw_input_error({place}, "expected images of at least one pixel, got {}", shape.str());
  if (shape.rank() == 3) return images.unsqueeze(3);
  if (shape.rank() == 4 && (shape[3] == 1 || shape[3] == 3)) return images;
  const bool volumes = shape.rank() == 5 || shape.rank() == 4;
  core::throw_input_error({place}, "expected images [N, H, W], [N, H, W, 1] or [N, H, W, 3], got {}{}",
                          shape.str(), volumes ? "; 3-D volumes are not supported" : "");
}

// What images of other types than u8 are: u8, or i32 where the pixels of an array need 16 bits.
void set_depth(std::vector<core::Tensor>& arrays, const std::string& file, Dataset& dataset) {
  constexpr int64_t kByte = 255, kWord = 65535;
  int64_t least = 0, most = 0;
  const bool plain = std::all_of(arrays.begin(), arrays.end(),
                                 [](const core::Tensor& array) { return array.dtype() == core::DType::u8; });
  if (plain) return;
  bool truth = true;
  for (core::Tensor& array : arrays) {
    truth = truth && array.dtype() == core::DType::boolean;
    array = array.to(core::DType::i64);
    const int64_t* data = array.data<int64_t>();
    for (int64_t i = 0; i < array.numel(); ++i) {
      least = std::min(least, data[i]);
      most = std::max(most, data[i]);
    }
  }
  if (least < 0 || most > kWord) {
    core::throw_input_error({file}, "expected images of 0 to {}, got {} to {}", kWord, least, most);
  }
  for (core::Tensor& array : arrays) {
    for (int64_t i = 0; truth && i < array.numel(); ++i) array.data<int64_t>()[i] *= kByte;
    array = array.to(most <= kByte ? core::DType::u8 : core::DType::i32);
  }
  dataset.notes.push_back(
      truth ? "images of truth values are read as black and white"
            : fmt::format("images hold {} to {}: read as {}-bit", least, most, most <= kByte ? 8 : 16));
}

// [N, L] i64
core::Tensor read_labels(const NpzFile& file, const std::string& name, int64_t rows) {
  core::Tensor labels = file.read(name);
  const std::string place = file.path() + "/" + name + ".npy";
  if (core::is_floating(labels.dtype())) {
    core::throw_input_error({place}, "expected integer labels, got {}", core::name_of(labels.dtype()));
  }
  if (labels.rank() == 1) labels = labels.unsqueeze(1);
  if (labels.rank() != 2 || labels.size(0) != rows || labels.size(1) == 0) {
    core::throw_input_error({place}, "expected labels [{}, L], got {}", rows, labels.shape().str());
  }
  return labels.to(core::DType::i64);
}

// One of two classes is one label: it is the second.
void set_one_of_two(const std::vector<int64_t>& classes, const std::string& name, Dataset& dataset) {
  dataset.targets = core::Tensor::empty({dataset.size(), 1});
  for (size_t row = 0; row < classes.size(); ++row)
    dataset.targets.data<float>()[row] = static_cast<float>(classes[row]);
  dataset.labels = {name};
  dataset.notes.push_back(
      fmt::format("each image is of one of two classes: the one label {} is the second", name));
}

// The rows' classes, one label each.
void set_classes(const std::vector<int64_t>& classes, const std::string& file, Dataset& dataset) {
  constexpr int64_t kMostClasses = 10000;
  const int64_t count = *std::max_element(classes.begin(), classes.end()) + 1;
  if (count < 2 || count > kMostClasses || *std::min_element(classes.begin(), classes.end()) < 0) {
    core::throw_input_error({file}, "expected labels that number 2 to {} classes from 0", kMostClasses);
  }
  if (count == 2) return set_one_of_two(classes, "class_1", dataset);
  dataset.targets = core::Tensor::zeros({dataset.size(), count});
  for (size_t row = 0; row < classes.size(); ++row) {
    dataset.targets.data<float>()[static_cast<int64_t>(row) * count + classes[row]] = 1.0F;
  }
  for (int64_t i = 0; i < count; ++i) dataset.labels.push_back(fmt::format("class_{}", i));
  dataset.exclusive = true;
}

// The second of two columns of which one is 1 in every row; nothing where they are not so.
std::vector<int64_t> second_of_two(const std::vector<int64_t>& values, int64_t count) {
  std::vector<int64_t> second;
  for (size_t i = 0; count == 2 && i + 1 < values.size(); i += 2) {
    if (std::min(values[i], values[i + 1]) != 0 || std::max(values[i], values[i + 1]) != 1) return {};
    second.push_back(values[i + 1]);
  }
  return second;
}

void set_labels(const std::vector<int64_t>& values, int64_t count, const std::string& file,
                Dataset& dataset) {
  const std::vector<int64_t> second = second_of_two(values, count);
  if (!second.empty()) return set_one_of_two(second, "label_1", dataset);
  dataset.targets = core::Tensor::empty({dataset.size(), count});
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i] != 0 && values[i] != 1) {
      core::throw_input_error({file}, "expected labels 0 or 1, got {}", values[i]);
    }
    dataset.targets.data<float>()[i] = static_cast<float>(values[i]);
  }
  const bool chest = std::filesystem::path(file).filename().string().starts_with("chestmnist");
  for (int64_t i = 0; i < count; ++i) {
    const bool named = chest && count == static_cast<int64_t>(kNihLabels.size());
    dataset.labels.push_back(named ? std::string(kNihLabels[static_cast<size_t>(i)])
                                   : fmt::format("label_{}", i));
  }
}

}  // namespace

Dataset read_medmnist(const std::string& file, int64_t most_bytes) {
  const NpzFile npz(file, most_bytes);
  Dataset dataset;
  dataset.name = "medmnist";
  const auto source = std::make_shared<ArrayImages>();
  std::vector<core::Tensor> arrays;
  std::vector<int64_t> values;
  int64_t width = 0;
  Hasher hasher;
  for (const std::string part : kPartNames) {
    const core::Tensor images = read_images(npz, part + "_images");
    const core::Tensor labels = read_labels(npz, part + "_labels", images.size(0));
    if (width == 0) width = labels.size(1);
    if (labels.size(1) != width) {
      core::throw_input_error({file}, "expected {} labels in {}_labels as in train_labels, got {}", width,
                              part, labels.size(1));
    }
    values.insert(values.end(), labels.data<int64_t>(), labels.data<int64_t>() + labels.numel());
    for (int64_t i = 0; i < images.size(0); ++i) dataset.ids.push_back(fmt::format("{}_{}", part, i));
    dataset.parts.resize(dataset.ids.size(), part);
    for (const core::Tensor& array : {images, labels}) {
      hasher.add(array.shape().str());
      hasher.add(
          std::string_view(static_cast<const char*>(array.view().data), static_cast<size_t>(array.bytes())));
    }
    arrays.push_back(images);
  }
  set_depth(arrays, file, dataset);
  for (const core::Tensor& array : arrays) source->add(array);
  if (dataset.size() == 0) core::throw_input_error({file}, "expected at least one image, got none");
  dataset.patients = dataset.ids;
  dataset.images = source;
  width == 1 ? set_classes(values, file, dataset) : set_labels(values, width, file, dataset);
  dataset.hash = hasher.digest();
  return dataset;
}

}  // namespace medfusion::data
