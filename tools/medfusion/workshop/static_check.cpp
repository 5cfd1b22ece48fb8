#include "tools/medfusion/workshop/static_check.h"

#include <fmt/format.h>

#include <charconv>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

namespace medfusion::tools {
namespace {

constexpr double kWideShare = 0.9;

// Kernels held to less, all instantiations or one, each with its reason. Where `wide_share` is 0 they must
// have accesses of 16 bytes at all.
struct Exception {
  const char* kernel;
  double wide_share;
};
constexpr Exception kExceptions[] = {
    // The last piece goes element by element in the same launch. Unrolled, that is most of the instructions,
    // though it runs once at most.
    {"adamw", 0},
    {"average", 0},
    {"clear", 0},
    {"dropout_apply", 0},
    {"map_kernel", 0},
    {"sgd", 0},
    {"squared_norm", 0},
    // One id of 8 bytes goes with each piece of a row; the threads of a row share it.
    {"embedding_forward", 0.75},
    // Mostly it looks for ids, of 8 bytes each, and writes sums of a row once.
    {"embedding_backward", 0},
    // One byte of index goes with four of gradient, or two in bf16: 16 bytes of it would be 16 channels to a
    // thread, and few threads for the small images where the kernel matters.
    {"max_pool_backward", 0.8},
    {"max_pool_backward<8, BFloat16>", 0.66},
    // The same byte of index, beside as little of y; what a window reads counts once here, and is several
    // pixels.
    {"max_pool_forward<8, BFloat16>", 0.8},
};

bool has_wide_access(const InstructionMix& mix) {
  const auto wide = [](const std::map<int, int64_t>& accesses) {
    return !accesses.empty() && accesses.rbegin()->first >= 16;
  };
  return wide(mix.global_loads) || wide(mix.global_stores);
}

std::string without_arguments(const std::string& kernel) { return kernel.substr(0, kernel.find('<')); }

double wanted_share(const std::string& kernel) {
  for (const std::string& name : {kernel, without_arguments(kernel)}) {
    for (const Exception& each : kExceptions) {
      if (name == each.kernel) return each.wide_share;
    }
  }
  return kWideShare;
}

bool calls_library(const std::string& variant) { return variant == "cublas" || variant == "cudnn"; }

// What is neither for any GPU nor a call of a library was written for tensor cores. Kernels of shared headers
// belong to no variant.
bool uses_tensor_cores(const std::string& variant) {
  return !variant.empty() && variant != "simt" && !calls_library(variant);
}

int64_t tensor_instructions(const KernelCode& code) {
  if (!code.mix) return 0;
  return code.variant == "wgmma" ? code.mix->hgmma : code.mix->hmma;
}

std::string describe(const KernelCode& code) {
  return fmt::format("{}/{} {} ({})", code.operation, code.variant, code.kernel, code.architecture);
}

// The 4 of concat_copy<4, float>, and what identifies its siblings: the name and the other arguments.
struct Template {
  std::string rest;
  int first;
};
std::optional<Template> template_of(const std::string& kernel) {
  const size_t open = kernel.find('<');
  if (open == std::string::npos) return std::nullopt;
  int first = 0;
  const auto [end, error] = std::from_chars(kernel.data() + open + 1, kernel.data() + kernel.size(), first);
  if (error != std::errc() || (*end != ',' && *end != '>')) return std::nullopt;
  return Template{kernel.substr(0, open) + std::string(end), first};
}

void check_spills(const KernelCode& code, std::vector<std::string>& violations) {
  const int64_t spilled = code.spill_stores.value_or(0) + code.spill_loads.value_or(0);
  if (spilled > 0) {
    violations.push_back(fmt::format("{}: spills {} bytes of registers", describe(code), spilled));
  } else if (code.mix && code.mix->local_loads + code.mix->local_stores > 0) {
    violations.push_back(fmt::format("{}: {} instructions on local memory", describe(code),
                                     code.mix->local_loads + code.mix->local_stores));
  }
}

// Rule 2, for the kernels of one variant.
void check_tensor_cores(const std::vector<const KernelCode*>& kernels, std::vector<std::string>& violations) {
  const char* const wanted = kernels.front()->variant == "wgmma" ? "HGMMA" : "HMMA";
  std::map<std::string, int64_t> by_name, by_architecture;
  for (const KernelCode* code : kernels) {
    if (!code->mix) return;
    by_name[without_arguments(code->kernel)] += tensor_instructions(*code);
    by_architecture[code->architecture] += tensor_instructions(*code);
  }
  for (const auto& [architecture, count] : by_architecture) {
    if (count > 0) continue;
    violations.push_back(fmt::format("{}/{}: no {} in its code for {}", kernels.front()->operation,
                                     kernels.front()->variant, wanted, architecture));
  }
  for (const KernelCode* code : kernels) {
    if (tensor_instructions(*code) > 0 || by_name[without_arguments(code->kernel)] == 0) continue;
    violations.push_back(fmt::format("{}: no {}, unlike its other instantiations", describe(*code), wanted));
  }
}

}  // namespace

std::vector<const KernelCode*> aligned_paths(const std::vector<KernelCode>& kernels) {
  using Family = std::tuple<std::string, std::string, std::string>;  // architecture, file, template
  std::map<Family, std::map<int, const KernelCode*>> families;
  for (const KernelCode& code : kernels) {
    if (const auto parts = template_of(code.kernel)) {
      families[{code.architecture, code.stem, parts->rest}][parts->first] = &code;
    }
  }
  std::vector<const KernelCode*> result;
  for (const auto& [family, members] : families) {
    if (members.contains(1) && members.rbegin()->first > 1) result.push_back(members.rbegin()->second);
  }
  return result;
}

std::vector<std::string> static_violations(const std::vector<KernelCode>& kernels,
                                           const std::vector<ShippedVariant>& shipped) {
  std::vector<std::string> violations;
  std::map<std::pair<std::string, std::string>, std::vector<const KernelCode*>> variants;
  for (const KernelCode& code : kernels) variants[{code.operation, code.variant}].push_back(&code);
  for (const auto& [name, members] : variants) {
    for (const KernelCode* code : members) {
      check_spills(*code, violations);
      if (code->wgmma_serialized)
        violations.push_back(fmt::format("{}: ptxas serializes its wgmmas", describe(*code)));
    }
    if (uses_tensor_cores(name.second)) check_tensor_cores(members, violations);
  }
  for (const KernelCode* code : aligned_paths(kernels)) {
    const double wanted = wanted_share(code->kernel);
    if (!code->mix || (code->mix->wide_share() >= wanted && has_wide_access(*code->mix))) continue;
    violations.push_back(fmt::format(
        "{}: {:.0f} % of the bytes of its aligned path move in accesses of 16 bytes, {:.0f} % wanted",
        describe(*code), 100 * code->mix->wide_share(), 100 * wanted));
  }
  for (const ShippedVariant& each : shipped) {
    if (calls_library(each.variant)) continue;
    if (variants.contains({each.operation, each.variant})) continue;
    violations.push_back(fmt::format("{}/{}: no machine code in this build", each.operation, each.variant));
  }
  return violations;
}

}  // namespace medfusion::tools
