#include "optim/freeze.h"

#include <algorithm>
#include <regex>
#include <set>

#include "core/nearest.h"

namespace medfusion::optim {
namespace {

bool lies_in(const std::string& parameter, const std::string& name) {
  return parameter == name || parameter.starts_with(name + ".");
}

// Every name that freezes something: of parameters, and of what they lie in.
std::vector<std::string> names_in(const Parameters& parameters) {
  std::set<std::string> names;
  for (const auto& [parameter, variable] : parameters) {
    for (size_t dot = parameter.find('.'); dot != std::string::npos; dot = parameter.find('.', dot + 1))
      names.insert(parameter.substr(0, dot));
    names.insert(parameter);
  }
  return {names.begin(), names.end()};
}

}  // namespace

void freeze(layers::Module& network, const std::vector<std::string>& names, const std::string& key) {
  const Parameters parameters = network.parameters();
  std::set<std::string> frozen;
  for (const std::string& name : names) {
    bool any = false;
    for (const auto& [parameter, variable] : parameters) {
      if (!lies_in(parameter, name)) continue;
      any = true;
      frozen.insert(parameter);
    }
    if (any) continue;
    core::throw_input_error({}, "{}: no parameter of the network is or lies in '{}'{}", key, name,
                            core::did_you_mean(name, names_in(parameters)));
  }
  if (!parameters.empty() && frozen.size() == parameters.size())
    core::throw_input_error({}, "{}: expected a part of the network, got all of it: nothing is left to train",
                            key);
  for (const auto& [parameter, variable] : parameters) {
    if (frozen.contains(parameter) && variable.requires_grad()) variable.freeze();
  }
}

bool is_published_head(const std::string& name) {
  static const std::regex head("(classifier|fc|head|head\\.fc)\\.(weight|bias)");
  return std::regex_match(name, head);
}

std::set<std::string> backbone_names(const std::set<std::string>& parameters) {
  std::set<std::string> with_prefix, others;
  bool has_head = false;
  for (const std::string& name : parameters) {
    has_head |= is_published_head(name);
    const bool added = name.starts_with("table_fusion.") || name.starts_with("features.simple_pyramid.");
    if (added || is_published_head(name)) continue;  // what published weights do not have
    others.insert(name);
    if (name.starts_with("features.")) with_prefix.insert(name);
  }
  return with_prefix.empty() && has_head ? others : with_prefix;
}

std::vector<std::set<std::string>> backbone_blocks(const Parameters& parameters) {
  static const std::regex block(R"((?:features\.)?(layer\d+|denseblock\d+|blocks\.\d+|stages\.\d+)\..*)");
  std::set<std::string> all;
  for (const auto& [name, variable] : parameters) all.insert(name);
  const std::set<std::string> own = backbone_names(all);
  std::vector<std::set<std::string>> result;
  if (own.empty()) return result;
  result.emplace_back();
  std::string current;
  for (const auto& [name, variable] : parameters) {
    if (!own.contains(name)) continue;
    std::smatch match;
    if (std::regex_match(name, match, block) && match[1] != current) {
      current = match[1];
      result.emplace_back();
    }
    result.back().insert(name);
  }
  return result;
}

Parameters trained_parameters(const layers::Module& network) {
  Parameters result = network.parameters();
  std::erase_if(result, [](const auto& parameter) { return !parameter.second.requires_grad(); });
  return result;
}

}  // namespace medfusion::optim
