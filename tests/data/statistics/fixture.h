// What scipy and scikit-learn answer (tests/fixtures/make_*_fixture.py), for tests of statistics.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace medfusion::data {

inline constexpr double kUnknownNumber = std::numeric_limits<double>::quiet_NaN();

inline nlohmann::json read_fixture(const std::string& name) {
  std::ifstream file(std::string(MEDFUSION_SOURCE_DIR "/tests/fixtures/") + name);
  return nlohmann::json::parse(file);
}

// null is kUnknownNumber.
inline std::vector<double> numbers_of(const nlohmann::json& list) {
  std::vector<double> result;
  for (const auto& entry : list) result.push_back(entry.is_null() ? kUnknownNumber : entry.get<double>());
  return result;
}

}  // namespace medfusion::data
