#include "data/phantom/phantom.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unordered_set>

#include "core/error.h"
#include "core/file.h"
#include "core/threads.h"
#include "data/images/image.h"
#include "data/phantom/phantom_clinical.h"
#include "data/phantom/phantom_population.h"
#include "data/phantom/phantom_render.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

constexpr double kFieldMillimeters = 430.0;  // the side of a chest film

std::string image_name(const Visit& visit) {
  return fmt::format("{:08}_{:03}.png", visit.patient, visit.follow_up);
}

bool in_test(const Visit& visit) { return visit.patient % 4 == 2; }

std::string table_of(const std::vector<Visit>& visits, int64_t size) {
  std::string text =
      "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
      "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n";
  const double spacing = kFieldMillimeters / static_cast<double>(size);
  for (const Visit& visit : visits) {
    std::string findings;
    for (size_t i = 0; i < kPhantomFindings.size(); ++i) {
      if (!visit.findings[i]) continue;
      if (!findings.empty()) findings += '|';
      findings += kPhantomFindings[i];
    }
    text += fmt::format("{},{},{},{},{},{},{},{},{},{:.4f},{:.4f}\n", image_name(visit),
                        findings.empty() ? "No Finding" : findings, visit.follow_up, visit.patient, visit.age,
                        visit.male ? "M" : "F", visit.anteroposterior ? "AP" : "PA", size, size, spacing,
                        spacing);
  }
  return text;
}

std::string boxes_of(const std::vector<Visit>& visits, const std::vector<std::vector<Box>>& boxes) {
  std::string text = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n";
  for (size_t i = 0; i < visits.size(); ++i) {
    for (const Box& box : boxes[i]) {
      // The official list has its own name for one of them.
      const std::string_view label = box.finding == Finding::infiltration
                                         ? "Infiltrate"
                                         : kPhantomFindings[static_cast<size_t>(box.finding)];
      text += fmt::format("{},{},{},{},{},{}\n", image_name(visits[i]), label, box.left, box.top,
                          box.right - box.left, box.bottom - box.top);
    }
  }
  return text;
}

std::string clinical_of(const std::vector<Visit>& visits, const Clinical& clinical) {
  std::string text = "Image Index";
  for (const Column& column : clinical.columns) text += "," + column.name;
  text += "\n";
  for (size_t row = 0; row < visits.size(); ++row) {
    text += image_name(visits[row]);
    for (const Column& column : clinical.columns) {
      text += ",";
      if (!column.numeric) text += column.categories[row];
      if (column.numeric && !std::isnan(column.numbers[row])) text += fmt::format("{}", column.numbers[row]);
    }
    text += "\n";
  }
  return text;
}

std::string planted_of(const Clinical& clinical) {
  std::string text = "column,feature,label,direction\n";
  for (const PlantedFeature& planted : clinical.planted) {
    text += fmt::format("{},{},{},{}\n", planted.column, planted.feature,
                        kPhantomFindings[static_cast<size_t>(planted.finding)],
                        planted.higher ? "higher" : "lower");
  }
  for (const std::string& column : clinical.noise) text += column + ",,,\n";
  return text;
}

std::string list_of(const std::vector<Visit>& visits, bool test) {
  std::string text;
  for (const Visit& visit : visits) {
    if (in_test(visit) == test) text += image_name(visit) + "\n";
  }
  return text;
}

// Phantom data may be replaced by more of it, nothing else.
void refuse_other_data(const fs::path& root) {
  const fs::path table = root / "Data_Entry_2017.csv";
  std::error_code failure;
  if (fs::exists(table, failure) && !fs::exists(root / "features_truth.csv", failure)) {
    core::throw_input_error(
        {table.string()},
        "expected phantom data or none in this folder, got a table that synth did not write");
  }
}

// Whether image_name() makes names like this one.
bool is_phantom_image(const std::string& name) {
  const std::string form = "00000000_000.png";
  return name.size() == form.size() && std::equal(name.begin(), name.end(), form.begin(), [](char c, char f) {
           return f == '0' ? c >= '0' && c <= '9' : c == f;
         });
}

// Images that an earlier, larger phantom left behind.
void remove_stale_images(const fs::path& folder, const std::vector<Visit>& visits) {
  std::unordered_set<std::string> names;
  for (const Visit& visit : visits) names.insert(image_name(visit));
  std::vector<fs::path> stale;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (!names.contains(name) && is_phantom_image(name)) stale.push_back(entry.path());
  }
  for (const fs::path& path : stale) fs::remove(path);
}

}  // namespace

void write_phantom(const std::string& directory, const PhantomOptions& options) {
  MEDFUSION_CHECK(options.images >= 8, "phantom: expected at least 8 images, got {}", options.images);
  MEDFUSION_CHECK(options.size >= 32 && options.size <= 2048,
                  "phantom: expected a size of 32 to 2048, got {}", options.size);
  const fs::path root(directory);
  refuse_other_data(root);
  std::error_code failure;
  fs::create_directories(root / "images", failure);
  if (failure) throw core::Error(fmt::format("{}: cannot make the folder: {}", directory, failure.message()));
  const std::vector<Visit> visits = draw_population(options);
  std::vector<std::vector<Box>> boxes(visits.size());
  core::parallel_for(0, static_cast<int64_t>(visits.size()), 8, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const Visit& visit = visits[static_cast<size_t>(i)];
      Radiograph image = render(visit, options.size, options.seed, static_cast<uint64_t>(i));
      write_png((root / "images" / image_name(visit)).string(), image.pixels);
      boxes[static_cast<size_t>(i)] = std::move(image.boxes);
    }
  });
  core::write_file((root / "BBox_List_2017.csv").string(), boxes_of(visits, boxes));
  core::write_file((root / "train_val_list.txt").string(), list_of(visits, false));
  core::write_file((root / "test_list.txt").string(), list_of(visits, true));
  const Clinical clinical = draw_clinical(visits, options.seed);
  core::write_file((root / "clinical.csv").string(), clinical_of(visits, clinical));
  core::write_file((root / "features_truth.csv").string(), planted_of(clinical));
  core::write_file((root / "Data_Entry_2017.csv").string(), table_of(visits, options.size));
  remove_stale_images(root / "images", visits);
}

}  // namespace medfusion::data
