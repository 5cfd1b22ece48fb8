#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "tools/medfusion/config/text_file.h"

namespace medfusion::fuzz {
namespace {

using Json = nlohmann::ordered_json;

void collect(Json& json, std::vector<Json*>& nodes) {
  nodes.push_back(&json);
  if (!json.is_structured()) return;
  for (auto& item : json) collect(item, nodes);
}

const std::vector<Json>& unusual_values() {
  static const std::vector<Json> values = {nullptr,
                                           true,
                                           false,
                                           0,
                                           1,
                                           -1,
                                           INT64_MAX,
                                           INT64_MIN,
                                           UINT64_MAX,
                                           4096,
                                           0.5,
                                           -0.0,
                                           1e308,
                                           5e-324,
                                           1e19,
                                           "",
                                           "a",
                                           "\xF0\x9F\x98\x80",
                                           std::string(300, 'x'),
                                           "\n",
                                           "\x7F",
                                           Json::array(),
                                           Json::object(),
                                           Json::array({0}),
                                           Json::array({nullptr, nullptr})};
  return values;
}

std::string mutated_text(const std::string& text) {
  const Bytes bytes = mutated({text.begin(), text.end()}, 16);
  return {bytes.begin(), bytes.end()};
}

void change_scalar(Json& node, Choices& choices) {
  if (node.is_string()) {
    node = mutated_text(node.get<std::string>());
  } else if (node.is_number_float()) {
    node = node.get<double>() * (choices.one_in(2) ? -1.0 : 1e3);
  } else if (node.is_number()) {
    node = static_cast<int64_t>(node.get<uint64_t>() + choices.below(5) - 2);
  } else {
    node = choices.of(unusual_values());
  }
}

void change_members(Json& node, Choices& choices) {
  if (node.empty()) {
    node.is_array() ? node.push_back(choices.of(unusual_values()))
                    : void(node["name"] = choices.of(unusual_values()));
    return;
  }
  const size_t place = choices.below(node.size());
  if (node.is_array()) {
    const Json item = node[place];
    if (choices.one_in(2)) {
      node.erase(place);
    } else {
      for (size_t copies = 1 + choices.below(4); copies > 0; --copies) node.push_back(item);
    }
    return;
  }
  const auto member = std::next(node.begin(), static_cast<std::ptrdiff_t>(place));
  const std::string key = member.key();
  const Json value = member.value();
  if (!choices.one_in(4)) node.erase(key);
  if (!choices.one_in(3)) node[mutated_text(key)] = value;
}

}  // namespace

const std::string& file_of(std::span<const uint8_t> bytes) {
  static const int descriptor = ::memfd_create("fuzz", 0);
  static const std::string path = "/proc/self/fd/" + std::to_string(descriptor);
  if (::ftruncate(descriptor, 0) != 0 ||
      ::pwrite(descriptor, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    report("cannot write the file in memory");
  return path;
}

std::vector<std::string_view> pieces_of(std::span<const uint8_t> bytes) {
  std::vector<std::string_view> pieces;
  std::string_view rest = text_of(bytes);
  for (size_t end = 0; (end = rest.find('\0')) != std::string_view::npos; rest.remove_prefix(end + 1))
    pieces.push_back(rest.substr(0, end));
  pieces.push_back(rest);
  return pieces;
}

Bytes mutated(Bytes bytes, size_t growth) {
  const size_t size = bytes.size();
  bytes.resize(size + growth);
  bytes.resize(LLVMFuzzerMutate(bytes.data(), size, size + growth));
  return bytes;
}

size_t stored(const Bytes& bytes, uint8_t* data, size_t size, size_t limit) {
  if (bytes.empty() || bytes.size() > limit) return LLVMFuzzerMutate(data, size, limit);
  std::copy(bytes.begin(), bytes.end(), data);
  return bytes.size();
}

std::string mutated_json(std::string_view text, Choices& choices) {
  Json json;
  try {
    json = tools::parse_json(std::string(text), "");
  } catch (const core::InputError&) {
    return {};
  }
  std::vector<Json*> nodes;
  collect(json, nodes);
  Json& node = *choices.of(nodes);
  switch (choices.below(4)) {
    case 0:
      node = choices.of(unusual_values());
      break;
    case 1:
      node = Json(*choices.of(nodes));
      break;
    default:
      node.is_structured() ? change_members(node, choices) : change_scalar(node, choices);
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace medfusion::fuzz
