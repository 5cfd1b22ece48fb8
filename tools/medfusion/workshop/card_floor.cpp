#include "tools/medfusion/workshop/card_floor.h"

#include <fmt/format.h>

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
  std::string names;
  for (const Card& card : kCards) names += (names.empty() ? "" : ", ") + std::string(card.name);
  throw core::InputError("card: expected one of " + names + ", got '" + name + "'");
}

struct Floor {
  std::string operation, name;
  double bytes, flops;         // bytes: in f32; in bf16 half of them
  double memory, memory_bf16;  // microseconds, likewise
  double f32, bf16;
};

std::vector<Floor> floors(const std::string& what, const Card& card) {
  constexpr double kMicro = 1e6;
  const std::string wanted = what.substr(0, what.find('/'));
  std::vector<Floor> result;
  for (const std::string& operation : kernels::operations_with_cases()) {
    if (!wanted.empty() && operation != wanted) continue;
    for (const kernels::OpCase& each : kernels::cases_of(operation)) {
      if (!each.bench) continue;
      const double memory = kMicro * each.bytes / card.bytes_per_second;
      result.push_back({operation, each.name, each.bytes, each.flops, memory, memory / 2,
                        kMicro * each.flops / card.f32_per_second,
                        kMicro * each.flops / card.bf16_per_second});
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
  size_t width = 4;
  const std::vector<Floor> list = floors(what, card);
  for (const Floor& each : list) width = std::max(width, each.operation.size() + 1 + each.name.size());
  const auto padded = [width](std::string name) {
    name.resize(width, ' ');
    return name;
  };
  text += fmt::format("  {}          MB       GFLOP   memory us      f32 us  memory us, bf16     bf16 us\n",
                      padded("case"));
  for (const Floor& each : list) {
    text += fmt::format("  {}  {:10.3f}  {:10.3f}  {:10.2f}  {:10.2f}  {:15.2f}  {:10.2f}\n",
                        padded(each.operation + " " + each.name), each.bytes * 1e-6, each.flops * 1e-9,
                        each.memory, each.f32, each.memory_bf16, each.bf16);
  }
  return text;
}

nlohmann::ordered_json floors_json(const std::string& what, const std::string& card_name) {
  const Card& card = card_of(card_name);
  nlohmann::ordered_json cases = nlohmann::ordered_json::array();
  for (const Floor& each : floors(what, card)) {
    cases.push_back({{"operation", each.operation},
                     {"case", each.name},
                     {"bytes", each.bytes},
                     {"flops", each.flops},
                     {"memory_us", each.memory},
                     {"memory_bf16_us", each.memory_bf16},
                     {"f32_us", each.f32},
                     {"bf16_us", each.bf16}});
  }
  return {{"card", card.title}, {"direction", "forward"}, {"cases", cases}};
}

}  // namespace medfusion::tools
