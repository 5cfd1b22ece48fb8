// Stage one on small tables and on the phantom's clinical columns, and what it leaves for the network.
#include "data/table/feature_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/threads.h"
#include "data/phantom/phantom_clinical.h"
#include "data/table/table_selection.h"
#include "tests/data/temporary_folder.h"

namespace medfusion::data {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

std::vector<int64_t> first_rows(int64_t count) {
  std::vector<int64_t> rows(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) rows[static_cast<size_t>(i)] = i;
  return rows;
}

// 60 rows and two labels: `a` in the upper half, `b` in every third row. "level" tells of a, "turn" of b,
// "gap" is known where a is not; "flat" and "noise" tell of nothing.
Dataset small() {
  Dataset dataset;
  dataset.labels = {"a", "b"};
  dataset.targets = core::Tensor::empty({60, 2});
  dataset.columns = {{"level", true, {}, {}},
                     {"turn", false, {}, {}},
                     {"gap", true, {}, {}},
                     {"flat", true, {}, {}},
                     {"noise", true, {}, {}}};
  for (int64_t row = 0; row < 60; ++row) {
    dataset.ids.push_back(std::to_string(row));
    dataset.patients.push_back(std::to_string(row));
    const bool a = row >= 30, b = row % 3 == 0;
    dataset.targets.data<float>()[2 * row] = a ? 1.0F : 0.0F;
    dataset.targets.data<float>()[2 * row + 1] = b ? 1.0F : 0.0F;
    dataset.columns[0].numbers.push_back(static_cast<double>(row) + (row % 7 == 0 ? 10.0 : 0.0));
    dataset.columns[1].categories.emplace_back(b ? "x" : row % 2 == 0 ? "y" : "z");
    dataset.columns[2].numbers.push_back(a ? kNan : static_cast<double>(row * 7 % 11));
    dataset.columns[3].numbers.push_back(5.0);
    dataset.columns[4].numbers.push_back(static_cast<double>(row * 17 % 23));
  }
  return dataset;
}

std::vector<std::string> selected(const StageOne& stage, size_t label) {
  std::vector<std::string> names;
  for (size_t c = 0; c < stage.candidates.size(); ++c) {
    if (stage.results[label][c].selected) names.push_back(stage.candidates[c].name);
  }
  return names;
}

const FeatureResult& result_of(const StageOne& stage, size_t label, const std::string& name) {
  for (size_t c = 0; c < stage.candidates.size(); ++c) {
    if (stage.candidates[c].name == name) return stage.results[label][c];
  }
  throw core::Error("no candidate " + name);
}

TEST(StageOne, EachLabelSelectsWhatTellsOfIt) {
  const Dataset dataset = small();
  const auto encoder = TableEncoder::fit(dataset.columns, first_rows(60));
  const StageOne stage = StageOne::fit(encoder, dataset, first_rows(60), {});
  EXPECT_THAT(selected(stage, 0), ElementsAre("level", "gap is missing"));
  EXPECT_THAT(selected(stage, 1), ElementsAre("turn=x", "turn=y", "turn=z"));
  EXPECT_EQ(stage.patients, 60);
  EXPECT_EQ(result_of(stage, 0, "flat").statistics.untested, "one value only");
  EXPECT_EQ(result_of(stage, 0, "flat").rank, 0);
  EXPECT_EQ(result_of(stage, 0, "gap").statistics.untested, "no positive");
  EXPECT_EQ(result_of(stage, 0, "gap is missing").rank, 1);
  EXPECT_EQ(result_of(stage, 0, "gap is missing").statistics.auroc, 1.0);
  EXPECT_EQ(*result_of(stage, 0, "level").stability, 1.0);
  EXPECT_LT(*result_of(stage, 0, "turn=x").stability,
            1.0);  // not among the best two, as many as are selected
  // The best one alone, and none where nothing can pass.
  EXPECT_THAT(selected(StageOne::fit(encoder, dataset, first_rows(60), {.top_n = 1}), 0),
              ElementsAre("gap is missing"));
  EXPECT_THAT(selected(StageOne::fit(encoder, dataset, first_rows(60), {.alpha = 0.0}), 0), IsEmpty());
}

TEST(StageOne, UsesTrainingRowsOnly) {
  const Dataset dataset = small();
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < 60; ++row) {
    if (row % 5 != 4) rows.push_back(row);
  }
  Dataset changed = small();
  for (int64_t row = 4; row < 60; row += 5) {
    const auto at = static_cast<size_t>(row);
    changed.targets.data<float>()[2 * row] = 1.0F - changed.targets.data<float>()[2 * row];
    changed.columns[0].numbers[at] = -1e9;
    changed.columns[1].categories[at] = "new";
    changed.columns[2].numbers[at] = 1e9;
    changed.columns[4].numbers[at] = kNan;
    changed.patients[at] = "one";
  }
  const FeatureOptions options{.discretize = Discretization::mdl};
  const auto fit = [&](const Dataset& data) {
    const auto encoder = TableEncoder::fit(data.columns, rows, {}, Imputation::median);
    const StageOne stage = StageOne::fit(encoder, data, rows, options);
    std::string text =
        TableSelection::selected(stage, encoder).to_json(encoder).dump() + encoder.to_json().dump();
    for (const auto& results : stage.results) {
      for (const FeatureResult& r : results)
        text += fmt::format(" {} {} {} {}", r.statistics.auroc, r.statistics.p_value, r.q_value,
                            r.stability.value_or(-1.0));
    }
    return text;
  };
  EXPECT_EQ(fit(changed), fit(dataset));
  changed.columns[0].numbers[0] = 1e9;  // a training row
  EXPECT_NE(fit(changed), fit(dataset));
}

TEST(StageOne, IsTheSameWhateverTheThreads) {
  const Dataset dataset = small();
  const auto encoder = TableEncoder::fit(dataset.columns, first_rows(60));
  const int threads = core::num_threads();
  std::vector<std::vector<double>> stabilities;
  for (const int count : {1, 3}) {
    core::set_num_threads(count);
    const StageOne stage = StageOne::fit(encoder, dataset, first_rows(60), {.top_n = 2, .bootstrap = 40});
    auto& list = stabilities.emplace_back();
    for (const auto& r : stage.results[1]) list.push_back(*r.stability);
  }
  core::set_num_threads(threads);
  EXPECT_EQ(stabilities[0], stabilities[1]);
  EXPECT_TRUE(
      std::any_of(stabilities[0].begin(), stabilities[0].end(), [](double s) { return s > 0.0 && s < 1.0; }));
}

TEST(StageOne, CutsOfAColumnThatIsNoNumberAreRefused) {
  const Dataset dataset = small();
  const auto encoder = TableEncoder::fit(dataset.columns, first_rows(60));
  const FeatureOptions options{.discretize = Discretization::cuts, .cuts = {"turn: 1"}};
  EXPECT_EQ(input_error([&] { StageOne::fit(encoder, dataset, first_rows(60), options); }),
            "features.cuts: the table has no numeric column 'turn'");
}

TEST(TableSelection, GivesTokensMaskAndBins) {
  const Dataset dataset = small();
  const auto encoder = TableEncoder::fit(dataset.columns, first_rows(60));
  const FeatureOptions options{.discretize = Discretization::cuts, .cuts = {"level: 10 40"}};
  const StageOne stage = StageOne::fit(encoder, dataset, first_rows(60), options);
  const TableSelection selection = TableSelection::selected(stage, encoder);
  // That gap is missing brings the feature gap.
  ASSERT_THAT(selection.feature_names(encoder), ElementsAre("level", "turn=x", "turn=y", "turn=z", "gap"));
  EXPECT_THAT(selection.bins(), ElementsAre(3, 1, 1, 1, 1));
  const core::Tensor& mask = selection.mask();
  ASSERT_EQ(mask.shape(), (core::Shape{2, 5}));
  const std::vector<bool> expected{true, false, false, false, true, false, true, true, true, false};
  for (int64_t i = 0; i < 10; ++i) EXPECT_EQ(mask.data<bool>()[i], expected[static_cast<size_t>(i)]) << i;
  const core::Table encoded = encoder.encode(dataset.columns);
  const core::Table table = selection.apply(encoded);
  ASSERT_EQ(table.values.shape(), (core::Shape{60, 5}));
  for (int64_t row = 0; row < 60; ++row) {
    const double level = dataset.columns[0].numbers[static_cast<size_t>(row)];
    EXPECT_EQ(table.bins.data<int64_t>()[row * 5], level >= 40.0 ? 2 : level >= 10.0 ? 1 : 0);
    EXPECT_EQ(table.bins.data<int64_t>()[row * 5 + 4], 0);
    EXPECT_EQ(table.values.at(row * 5), encoded.values.at(row * encoder.features()));
    EXPECT_EQ(table.missing.data<bool>()[row * 5 + 4], row >= 30);
  }
}

TEST(TableSelection, JsonGivesTheSameSelection) {
  const Dataset dataset = small();
  const auto fitted = TableEncoder::fit(dataset.columns, first_rows(60), {"level"}, Imputation::median);
  const auto encoder = TableEncoder::from_json(nlohmann::json::parse(fitted.to_json().dump()), "p.json");
  const StageOne stage =
      StageOne::fit(fitted, dataset, first_rows(60), {.discretize = Discretization::quantile});
  for (const bool all : {false, true}) {
    const TableSelection one =
        all ? TableSelection::all(stage, fitted) : TableSelection::selected(stage, fitted);
    const std::string text = one.to_json(fitted).dump();
    const auto two = TableSelection::from_json(nlohmann::json::parse(text), encoder, "p.json");
    EXPECT_EQ(two.to_json(encoder).dump(), text);
    EXPECT_EQ(two.mask().defined(), !all);
    const core::Table a = one.apply(fitted.encode(dataset.columns));
    const core::Table b = two.apply(encoder.encode(dataset.columns));
    ASSERT_EQ(a.values.shape(), b.values.shape());
    EXPECT_GT(a.values.numel(), 0);
    for (int64_t i = 0; i < a.values.numel(); ++i) {
      EXPECT_EQ(a.values.at(i), b.values.at(i));
      EXPECT_EQ(a.missing.at(i), b.missing.at(i));
      EXPECT_EQ(a.bins.at(i), b.bins.at(i));
    }
  }
  const auto broken = [&](const char* text) {
    return input_error([&] { TableSelection::from_json(nlohmann::json::parse(text), encoder, "p.json"); });
  };
  EXPECT_THAT(broken(R"({"features": ["lvl"], "discretized": false})"),
              HasSubstr("p.json: expected features of the table, got 'lvl'"));
  EXPECT_THAT(broken(R"({"features": ["level"], "discretized": true, "cuts": [[2, 1]]})"),
              HasSubstr("ascending cuts"));
  EXPECT_THAT(broken(R"({"features": ["level"], "discretized": false, "mask": [[1]]})"),
              HasSubstr("expected a feature below 1, got 1"));
  for (const char* text : {R"({"features": ["level"], "discretized": false, "mask": [[0.5]]})",
                           R"({"features": ["level"], "discretized": false, "mask": [[-1e308]]})"})
    EXPECT_THAT(broken(text), HasSubstr("expected the selected features")) << text;
}

TEST(TableEncoder, ImputesTheMedianAndTheMostFrequent) {
  const std::vector<Column> columns = {{"age", true, {10, 40, 20, kNan, 1000}, {}},
                                       {"sex", false, {}, {"M", "F", "F", "", "M"}},
                                       {"kind", false, {}, {"c", "a", "b", "", "b"}}};
  const std::vector<int64_t> training{0, 1, 2, 3};
  const auto encoder = TableEncoder::fit(columns, training, {}, Imputation::median);
  const core::Table encoded = encoder.encode(columns);
  ASSERT_EQ(encoder.features(), 5);
  EXPECT_FLOAT_EQ(encoded.values.data<float>()[15], encoder.encoded(0, 20.0));  // the median of 10, 20, 40
  EXPECT_EQ(encoded.values.data<float>()[16], 0.0F);                            // F, twice
  EXPECT_EQ(encoded.values.data<float>()[17], 1.0F);                            // a, the first of three
  EXPECT_EQ(encoded.values.data<float>()[18], 0.0F);
  for (int i = 15; i < 20; ++i) EXPECT_TRUE(encoded.missing.data<bool>()[i]);
  const core::Table nothing = encoder.encode_missing(1);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(nothing.values.data<float>()[i], encoded.values.data<float>()[15 + i]);
  // Without imputation a missing value reads as 0.
  EXPECT_EQ(TableEncoder::fit(columns, training).encode(columns).values.data<float>()[15], 0.0F);
}

// The phantom's population as a dataset, without images.
Dataset clinical_dataset(uint64_t seed, Clinical& clinical) {
  const std::vector<Visit> visits = draw_population({2000, 64, seed});
  clinical = draw_clinical(visits, seed);
  Dataset dataset;
  dataset.labels.assign(kPhantomFindings.begin(), kPhantomFindings.end());
  const auto labels = static_cast<int64_t>(dataset.labels.size());
  dataset.targets = core::Tensor::empty({static_cast<int64_t>(visits.size()), labels});
  for (size_t row = 0; row < visits.size(); ++row) {
    dataset.ids.push_back(std::to_string(row));
    dataset.patients.push_back(std::to_string(visits[row].patient));
    for (int64_t l = 0; l < labels; ++l)
      dataset.targets.data<float>()[static_cast<int64_t>(row) * labels + l] =
          visits[row].findings[static_cast<size_t>(l)] ? 1.0F : 0.0F;
  }
  dataset.columns = clinical.columns;
  return dataset;
}

// What was planted is found for its label; of the noise columns at most one in twenty is found for any label.
TEST(StageOne, FindsWhatThePhantomPlants) {
  for (const uint64_t seed : {1, 2, 3}) {
    Clinical clinical;
    const Dataset dataset = clinical_dataset(seed, clinical);
    EXPECT_GE(clinical.planted.size(), 9U);
    EXPECT_EQ(clinical.noise.size(), 40U);
    EXPECT_EQ(clinical.columns.size(), clinical.planted.size() + clinical.noise.size());
    std::vector<int64_t> rows;
    for (int64_t row = 0; row < dataset.size(); ++row) {
      if (std::stoll(dataset.patients[static_cast<size_t>(row)]) % 4 != 2) rows.push_back(row);
    }
    const auto encoder = TableEncoder::fit(dataset.columns, rows);
    const StageOne stage = StageOne::fit(encoder, dataset, rows, {.alpha = 0.01, .bootstrap = 0});
    std::set<std::string> noise_found;
    for (size_t l = 0; l < stage.labels.size(); ++l) {
      for (size_t c = 0; c < stage.candidates.size(); ++c) {
        const std::string& column = encoder.column_name(stage.candidates[c].features.front());
        if (stage.results[l][c].selected && column.starts_with("noise_")) noise_found.insert(column);
      }
    }
    for (const PlantedFeature& planted : clinical.planted) {
      const auto label = static_cast<size_t>(planted.finding);
      const FeatureResult& result = result_of(stage, label, planted.feature);
      EXPECT_TRUE(result.selected) << planted.feature << ", seed " << seed;
      EXPECT_EQ(result.statistics.best.higher, planted.higher) << planted.feature;
      EXPECT_EQ(result.rank, 1 + (planted.column == "fever" ? 1 : 0)) << planted.feature << ", seed " << seed;
    }
    EXPECT_LE(noise_found.size(), clinical.noise.size() / 20) << "seed " << seed;
  }
}

}  // namespace
}  // namespace medfusion::data
