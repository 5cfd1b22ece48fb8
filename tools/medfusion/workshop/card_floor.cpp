#include "tools/medfusion/workshop/card_floor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/error.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::tools {
namespace {

// From NVIDIA's data sheets; tensor cores without sparsity.
struct Card {
  const char* name;
  const char* title;
  double bytes_per_second;
  double f32_per_second;   // outside of tensor cores
  double bf16_per_second;  // tensor cores
};
constexpr Card kCards[] = {
    {"a100", "A100 SXM 80 GB", 2.039e12, 19.5e12, 312e12},
    {"h100", "H100 SXM", 3.35e12, 67e12, 989e12},
    {"h200", "H200 SXM", 4.8e12, 67e12, 989e12},
};

const Card& card_of(const std::string& name) {
  for (const Card& card : kCards) {
    if (name == card.name) return card;
  }
  throw core::InputError(
      fmt::format("card: expected one of {}, got '{}'", fmt::join(card_names(), ", "), name));
}

// One entry per case: bytes and operations, and the microseconds they take at least.
nlohmann::ordered_json floors(const std::string& what, const Card& card) {
  constexpr double kMicro = 1e6;
  const std::string wanted = what.substr(0, what.find('/'));
  nlohmann::ordered_json result = nlohmann::ordered_json::array();
  for (const std::string& operation : kernels::operations_with_cases()) {
    if (!wanted.empty() && operation != wanted) continue;
    for (const kernels::OpCase& each : kernels::cases_of(operation)) {
      if (!each.bench) continue;
      const double memory = kMicro * each.bytes / card.bytes_per_second;
      result.push_back({{"operation", operation},
                        {"case", each.name},
                        {"bytes", each.bytes},
                        {"flops", each.flops},
                        {"memory_us", memory},
                        {"memory_bf16_us", memory / 2},
                        {"f32_us", kMicro * each.flops / card.f32_per_second},
                        {"bf16_us", kMicro * each.flops / card.bf16_per_second}});
    }
  }
  return result;
}

}  // namespace

std::vector<std::string> card_names() {
  std::vector<std::string> names;
  for (const Card& card : kCards) names.emplace_back(card.name);
  return names;
}

std::string floors_table(const std::string& what, const std::string& card_name) {
  const Card& card = card_of(card_name);
  std::string text = fmt::format(
      "floor of the forward on {} ({:.2f} TB/s, {:.1f} TFLOP/s f32, {:.0f} TFLOP/s bf16): the data sheet's, "
      "not a "
      "measurement\n",
      card.title, card.bytes_per_second * 1e-12, card.f32_per_second * 1e-12, card.bf16_per_second * 1e-12);
  const nlohmann::ordered_json list = floors(what, card);
  const auto name_of = [](const nlohmann::ordered_json& each) {
    return each["operation"].get<std::string>() + " " + each["case"].get<std::string>();
  };
  size_t width = 4;
  for (const auto& each : list) width = std::max(width, name_of(each).size());
  text +=
      fmt::format("  {:<{}}          MB       GFLOP   memory us      f32 us  memory us, bf16     bf16 us\n",
                  "case", width);
  for (const auto& each : list) {
    const auto number = [&](const char* key) { return each[key].get<double>(); };
    text += fmt::format("  {:<{}}  {:10.3f}  {:10.3f}  {:10.2f}  {:10.2f}  {:15.2f}  {:10.2f}\n",
                        name_of(each), width, number("bytes") * 1e-6, number("flops") * 1e-9,
                        number("memory_us"), number("f32_us"), number("memory_bf16_us"), number("bf16_us"));
  }
  return text;
}

nlohmann::ordered_json floors_json(const std::string& what, const std::string& card_name) {
  const Card& card = card_of(card_name);
  return {{"card", card.title}, {"direction", "forward"}, {"cases", floors(what, card)}};
}

}  // namespace medfusion::tools
