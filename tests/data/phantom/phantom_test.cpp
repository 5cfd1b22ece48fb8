#include "data/phantom/phantom.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "core/error.h"
#include "core/threads.h"
#include "data/images/image.h"
#include "data/phantom/phantom_population.h"
#include "data/phantom/phantom_render.h"
#include "data/readers/nih.h"

namespace medfusion::data {
namespace {

namespace fs = std::filesystem;

// A folder that goes away with the test.
class Phantom : public ::testing::Test {
 protected:
  void SetUp() override {
    threads_ = core::num_threads();
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = fs::path(::testing::TempDir()) / (std::string("phantom_test_") + test->name());
    fs::remove_all(root_);
  }
  void TearDown() override {
    fs::remove_all(root_);
    core::set_num_threads(threads_);
  }
  std::string folder(const char* name) const { return (root_ / name).string(); }

  fs::path root_;
  int threads_ = 1;
};

std::string read_bytes(const fs::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::vector<std::string> read_rows(const fs::path& path) {
  std::istringstream stream(read_bytes(path));
  std::vector<std::string> rows;
  for (std::string row; std::getline(stream, row);) rows.push_back(row);
  return rows;
}

// Every file below a folder by its relative name.
std::map<std::string, std::string> contents(const fs::path& root) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    if (entry.is_regular_file()) files[fs::relative(entry.path(), root)] = read_bytes(entry.path());
  }
  return files;
}

TEST_F(Phantom, GivesTheSameBytesWhateverTheThreads) {
  core::set_num_threads(1);
  write_phantom(folder("one"), {60, 48, 5});
  core::set_num_threads(3);
  write_phantom(folder("three"), {60, 48, 5});
  const auto one = contents(folder("one"));
  EXPECT_EQ(one.size(), 66U);
  EXPECT_EQ(one, contents(folder("three")));
  write_phantom(folder("other"), {60, 48, 6});
  EXPECT_NE(one.at("Data_Entry_2017.csv"), contents(folder("other")).at("Data_Entry_2017.csv"));
  EXPECT_NE(one.at("images/00000001_000.png"), contents(folder("other")).at("images/00000001_000.png"));
}

TEST_F(Phantom, IsReadAsTheNihLayout) {
  const PhantomOptions options{80, 32, 2};
  write_phantom(folder("data"), options);
  NihOptions nih;
  nih.root = folder("data");
  nih.labels.assign(kPhantomFindings.begin(), kPhantomFindings.end());
  const Dataset dataset = read_nih(nih);
  const std::vector<Visit> visits = draw_population(options);
  ASSERT_EQ(dataset.size(), 80);
  ASSERT_EQ(visits.size(), 80U);
  for (int64_t row = 0; row < dataset.size(); ++row) {
    const Visit& visit = visits[static_cast<size_t>(row)];
    for (size_t label = 0; label < kPhantomFindings.size(); ++label) {
      EXPECT_EQ(dataset.targets.at(row * 8 + static_cast<int64_t>(label)), visit.findings[label] ? 1.0 : 0.0);
    }
    EXPECT_EQ(dataset.columns[0].numbers[static_cast<size_t>(row)], static_cast<double>(visit.age));
    EXPECT_EQ(dataset.columns[1].categories[static_cast<size_t>(row)], visit.male ? "M" : "F");
    EXPECT_EQ(dataset.columns[2].categories[static_cast<size_t>(row)], visit.anteroposterior ? "AP" : "PA");
    EXPECT_EQ(dataset.columns[3].numbers[static_cast<size_t>(row)], static_cast<double>(visit.follow_up));
    EXPECT_EQ(dataset.images->read(row).shape(), (core::Shape{32, 32, 1}));
  }
}

TEST_F(Phantom, SplitsByPatient) {
  write_phantom(folder("data"), {300, 32, 1});
  std::set<std::string> all;
  std::map<std::string, std::set<std::string>> patients;
  for (const char* list : {"train_val_list.txt", "test_list.txt"}) {
    for (const std::string& name : read_rows(root_ / "data" / list)) {
      EXPECT_TRUE(all.insert(name).second) << name << " is listed twice";
      EXPECT_TRUE(fs::exists(root_ / "data" / "images" / name));
      patients[list].insert(name.substr(0, 8));
    }
  }
  EXPECT_EQ(all.size(), 300U);
  const std::set<std::string>& test = patients["test_list.txt"];
  for (const std::string& patient : patients["train_val_list.txt"])
    EXPECT_FALSE(test.contains(patient)) << patient;
  EXPECT_NEAR(static_cast<double>(test.size()),
              0.25 * static_cast<double>(patients["train_val_list.txt"].size() + test.size()), 1.0);
  write_phantom(folder("smallest"), {8, 32, 1});
  EXPECT_FALSE(read_rows(root_ / "smallest" / "test_list.txt").empty());
  EXPECT_FALSE(read_rows(root_ / "smallest" / "train_val_list.txt").empty());
}

TEST_F(Phantom, ListsABoxForEveryFindingAndNoOther) {
  const PhantomOptions options{200, 64, 3};
  write_phantom(folder("data"), options);
  std::map<std::string, std::set<std::string>> boxed;
  std::map<std::string, std::vector<double>> widths;
  const auto rows = read_rows(root_ / "data" / "BBox_List_2017.csv");
  ASSERT_FALSE(rows.empty());
  EXPECT_EQ(rows[0], "Image Index,Finding Label,Bbox [x,y,w,h],,,");
  for (size_t i = 1; i < rows.size(); ++i) {
    std::vector<std::string> cells;
    std::istringstream stream(rows[i]);
    for (std::string cell; std::getline(stream, cell, ',');) cells.push_back(cell);
    ASSERT_EQ(cells.size(), 6U) << rows[i];
    const int x = std::stoi(cells[2]), y = std::stoi(cells[3]), w = std::stoi(cells[4]),
              h = std::stoi(cells[5]);
    EXPECT_TRUE(x >= 0 && y >= 0 && w >= 1 && h >= 1 && x + w <= 64 && y + h <= 64) << rows[i];
    boxed[cells[0]].insert(cells[1] == "Infiltrate" ? "Infiltration" : cells[1]);
    widths[cells[1]].push_back(std::max(w, h));
  }
  for (const Visit& visit : draw_population(options)) {
    std::set<std::string> expected;
    for (size_t label = 0; label < kPhantomFindings.size(); ++label) {
      if (visit.findings[label]) expected.insert(std::string(kPhantomFindings[label]));
    }
    EXPECT_EQ(boxed[fmt::format("{:08}_{:03}.png", visit.patient, visit.follow_up)], expected);
  }
  const auto largest = [&](const char* label) {
    return *std::max_element(widths[label].begin(), widths[label].end());
  };
  const auto smallest = [&](const char* label) {
    return *std::min_element(widths[label].begin(), widths[label].end());
  };
  EXPECT_LE(largest("Nodule"), 6);
  EXPECT_GE(smallest("Mass"), 5);
  EXPECT_GE(smallest("Cardiomegaly"), 20);
}

// How much the pixels of two radiographs of 64 x 64 differ inside a box, and outside.
std::pair<double, double> changes(const Radiograph& a, const Radiograph& b, const Box& box) {
  double inside = 0.0, outside = 0.0;
  for (int64_t row = 0; row < 64; ++row) {
    for (int64_t column = 0; column < 64; ++column) {
      const bool within = row >= box.top && row < box.bottom && column >= box.left && column < box.right;
      (within ? inside : outside) +=
          std::abs(a.pixels.at(row * 64 + column) - b.pixels.at(row * 64 + column));
    }
  }
  return {inside, outside};
}

// An atelectasis is a band and the raised diaphragm: raising it changes the pixels in its box, and hardly
// others.
TEST_F(Phantom, BoxesTheDiaphragmThatAnAtelectasisRaises) {
  int checked = 0;
  const std::vector<Visit> visits = draw_population({400, 64, 4});
  for (size_t i = 0; i < visits.size(); ++i) {
    if (!visits[i].has(Finding::atelectasis)) continue;
    const auto& planted = visits[i].planted;
    const auto dome = std::find_if(planted.begin(), planted.end(),
                                   [](const Planted& p) { return p.look == Look::diaphragm; });
    ASSERT_NE(dome, planted.end());
    Visit raised = visits[i];
    raised.planted = {*dome};  // other findings move with it
    Visit level = raised;
    level.raised[static_cast<size_t>(dome->side)] = 0.0;
    const Radiograph with = render(raised, 64, 4, i), without = render(level, 64, 4, i);
    ASSERT_EQ(with.boxes.size(), 1U);
    EXPECT_EQ(with.boxes[0].finding, Finding::atelectasis);
    const auto [inside, outside] = changes(with, without, with.boxes[0]);
    EXPECT_GT(inside, 3.0 * outside) << "visit " << i;
    ++checked;
  }
  EXPECT_GE(checked, 10);
}

// What is planted must show: removing it changes the pixels inside its box, and hardly any outside.
TEST_F(Phantom, DrawsEachFindingInsideItsBox) {
  std::map<Look, int> checked;
  const std::vector<Visit> visits = draw_population({400, 64, 4});
  for (size_t i = 0; i < visits.size(); ++i) {
    if (visits[i].planted.size() != 1 || visits[i].planted[0].labels.empty()) continue;
    const Planted planted = visits[i].planted[0];
    if (planted.look == Look::heart || planted.look == Look::band) continue;  // these move organs as well
    Visit healthy = visits[i];
    healthy.planted.clear();
    const Radiograph with = render(visits[i], 64, 4, i), without = render(healthy, 64, 4, i);
    ASSERT_EQ(with.boxes.size(), planted.labels.size());
    const auto [inside, outside] = changes(with, without, with.boxes[0]);
    EXPECT_GT(inside, 40.0) << "visit " << i;
    EXPECT_GT(inside, outside) << "visit " << i;
    ++checked[planted.look];
  }
  for (const Look look : {Look::fluid, Look::patch, Look::mass, Look::nodule, Look::rim})
    EXPECT_GE(checked[look], 3);
}

class PhantomPopulation : public ::testing::Test {
 protected:
  // How often `event` holds among the visits where `given` does.
  template <class Given, class Event>
  double rate(Given given, Event event) const {
    double all = 0.0, held = 0.0;
    for (const Visit& visit : visits_) {
      if (!given(visit)) continue;
      ++all;
      held += event(visit) ? 1.0 : 0.0;
    }
    EXPECT_GT(all, 100.0);
    return held / all;
  }
  static auto has(Finding finding) {
    return [finding](const Visit& visit) { return visit.has(finding); };
  }
  static auto lacks(Finding finding) {
    return [finding](const Visit& visit) { return !visit.has(finding); };
  }

  std::vector<Visit> visits_ = draw_population({20000, 64, 1});
};

TEST_F(PhantomPopulation, IsImbalanced) {
  for (size_t label = 0; label < kPhantomFindings.size(); ++label) {
    const double share = rate([](const Visit&) { return true; }, has(static_cast<Finding>(label)));
    EXPECT_GE(share, 0.05) << kPhantomFindings[label];
    EXPECT_LE(share, 0.3) << kPhantomFindings[label];
  }
}

TEST_F(PhantomPopulation, LinksLabels) {
  EXPECT_GT(rate(has(Finding::effusion), has(Finding::atelectasis)),
            2.0 * rate(lacks(Finding::effusion), has(Finding::atelectasis)));
  EXPECT_GT(rate(has(Finding::cardiomegaly), has(Finding::effusion)),
            1.4 * rate(lacks(Finding::cardiomegaly), has(Finding::effusion)));
}

TEST_F(PhantomPopulation, LetsAgeSexAndViewTell) {
  const auto old_man = [](const Visit& v) { return v.age >= 60 && v.male; };
  const auto young_woman = [](const Visit& v) { return v.age < 40 && !v.male; };
  EXPECT_GT(rate(old_man, has(Finding::mass)), 3.0 * rate(young_woman, has(Finding::mass)));
  EXPECT_GT(rate(old_man, has(Finding::nodule)), 3.0 * rate(young_woman, has(Finding::nodule)));
  const auto young_man = [](const Visit& v) { return v.age < 40 && v.male; };
  const auto old_woman = [](const Visit& v) { return v.age >= 60 && !v.male; };
  EXPECT_GT(rate(young_man, has(Finding::pneumothorax)), 3.0 * rate(old_woman, has(Finding::pneumothorax)));
  // Of those with a patch, by age and view.
  const auto patch = [](const Visit& v) { return v.has(Finding::infiltration) || v.has(Finding::pneumonia); };
  const auto old_upright = [&](const Visit& v) { return patch(v) && v.age >= 55 && !v.anteroposterior; };
  const auto young_lying = [&](const Visit& v) { return patch(v) && v.age <= 45 && v.anteroposterior; };
  EXPECT_GT(rate(old_upright, has(Finding::infiltration)), 0.75);
  EXPECT_LT(rate(young_lying, has(Finding::infiltration)), 0.25);
}

// The same seen width of the heart is a finding in one view and not in the other.
TEST_F(PhantomPopulation, JudgesTheHeartByItsView) {
  const auto seen = [](bool anteroposterior) {
    return [anteroposterior](const Visit& v) {
      return v.anteroposterior == anteroposterior && v.heart_ratio > 0.52 && v.heart_ratio < 0.57;
    };
  };
  EXPECT_GT(rate(seen(false), has(Finding::cardiomegaly)), 0.95);
  EXPECT_LT(rate(seen(true), has(Finding::cardiomegaly)), 0.05);
}

TEST_F(PhantomPopulation, TellsAtelectasisFromScarsByTheDiaphragm) {
  int64_t scars = 0;
  for (const Visit& visit : visits_) {
    for (const Planted& planted : visit.planted) {
      if (planted.look != Look::band) continue;
      const bool lost_volume = visit.raised[static_cast<size_t>(planted.side)] > 0.0;
      EXPECT_EQ(lost_volume, visit.has(Finding::atelectasis));
      scars += lost_volume ? 0 : 1;
    }
  }
  EXPECT_GT(scars, 500);
}

TEST_F(PhantomPopulation, GivesPatientsSeveralVisits) {
  std::map<int64_t, int64_t> visits;
  for (size_t i = 0; i < visits_.size(); ++i) {
    const Visit& visit = visits_[i];
    EXPECT_EQ(visit.follow_up, visits[visit.patient]++);
    if (visit.follow_up > 0) {
      EXPECT_EQ(visit.male, visits_[i - 1].male);
      EXPECT_GE(visit.age, visits_[i - 1].age);
    }
  }
  EXPECT_GT(visits_.size(), 2 * visits.size());
  // More images do not change the first ones.
  const std::vector<Visit> fewer = draw_population({100, 64, 1});
  for (size_t i = 0; i < fewer.size(); ++i) EXPECT_EQ(fewer[i].findings, visits_[i].findings);
}

TEST_F(Phantom, RejectsBadOptions) {
  EXPECT_THROW(write_phantom(folder("x"), {7, 64, 1}), core::Error);
  EXPECT_THROW(write_phantom(folder("x"), {8, 31, 1}), core::Error);
  EXPECT_FALSE(fs::exists(root_ / "x"));
  fs::create_directories(root_);
  std::ofstream(root_ / "file") << "in the way";
  EXPECT_THROW(write_phantom(folder("file"), {8, 64, 1}), core::Error);
}

}  // namespace
}  // namespace medfusion::data
