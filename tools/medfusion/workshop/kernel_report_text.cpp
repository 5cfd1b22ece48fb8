// The report of machine code as a table, a page and JSON.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/workshop/kernel_report.h"
#include "tools/medfusion/workshop/occupancy.h"

namespace medfusion::tools {
namespace {

constexpr const char* kTitle = "static: what the compiler says, not a measurement";

std::string legend(const KernelReport& report) {
  std::string text = fmt::format(
      "Instructions are counted in {}, each once wherever it stands. Occupancy is the theoretical one, by "
      "registers, static shared memory and the threads of __launch_bounds__: shared memory that a launch "
      "asks "
      "for can lower it. 16-byte: the part of the bytes of global accesses in loops (of all, where none is "
      "in "
      "a loop) that moves 16 bytes at a time. Loads and stores of global memory are given as width in bytes "
      "x "
      "count. Local: instructions on local memory. Spills: bytes stored/loaded.",
      report.from_sass ? "the machine code (SASS)" : "the PTX, since cuobjdump and nvdisasm were not found");
  if (!report.has_spills) text += " The report of ptxas is missing, and with it the bytes of spills.";
  return text;
}

std::string accesses(const std::map<int, int64_t>& by_width) {
  std::string text;
  for (auto each = by_width.rbegin(); each != by_width.rend(); ++each) {
    text += fmt::format("{}{}x{}", text.empty() ? "" : " ", each->first, each->second);
  }
  return text.empty() ? "-" : text;
}

std::string occupancy_text(const KernelCode& code) {
  const auto occupancy = occupancy_of(code.architecture, code.registers, code.shared_bytes, code.max_threads);
  if (!occupancy) return "-";
  return fmt::format("{:.0f} % ({})", 100 * occupancy->share, occupancy->limit);
}

struct Column {
  const char* title;
  bool left;
  std::function<std::string(const KernelCode&)> text;
};

// A count of the instruction mix, "-" where there is no mix.
std::function<std::string(const KernelCode&)> of_mix(std::function<std::string(const InstructionMix&)> text) {
  return [text = std::move(text)](const KernelCode& code) { return code.mix ? text(*code.mix) : "-"; };
}

const std::vector<Column>& columns() {
  const auto number = [](int64_t value) { return fmt::format("{}", value); };
  static const std::vector<Column> list = {
      {"kernel", true, [](const KernelCode& c) { return c.kernel; }},
      {"arch", true, [](const KernelCode& c) { return c.architecture; }},
      {"registers", false, [=](const KernelCode& c) { return number(c.registers); }},
      {"spills", false,
       [](const KernelCode& c) {
         return c.spill_stores ? fmt::format("{}/{}", *c.spill_stores, c.spill_loads.value_or(0)) : "-";
       }},
      {"shared", false, [=](const KernelCode& c) { return number(c.shared_bytes); }},
      {"stack", false, [=](const KernelCode& c) { return number(c.stack_bytes); }},
      {"threads", false,
       [=](const KernelCode& c) { return c.max_threads > 0 ? number(c.max_threads) : "-"; }},
      {"occupancy", true, occupancy_text},
      {"16-byte", false,
       of_mix([](const InstructionMix& m) { return fmt::format("{:.0f} %", 100 * m.wide_share()); })},
      {"loads", true, of_mix([](const InstructionMix& m) { return accesses(m.global_loads); })},
      {"stores", true, of_mix([](const InstructionMix& m) { return accesses(m.global_stores); })},
      {"bulk", false, of_mix([=](const InstructionMix& m) { return number(m.bulk_copies); })},
      {"HMMA", false, of_mix([=](const InstructionMix& m) { return number(m.hmma); })},
      {"HGMMA", false, of_mix([=](const InstructionMix& m) { return number(m.hgmma); })},
      {"local", false,
       of_mix([=](const InstructionMix& m) { return number(m.local_loads + m.local_stores); })},
      {"barriers", false, of_mix([=](const InstructionMix& m) { return number(m.barriers); })},
      {"all", false, of_mix([=](const InstructionMix& m) { return number(m.instructions); })},
  };
  return list;
}

std::string group_of(const KernelCode& code) {
  return code.operation.empty() ? "(shared headers)" : code.operation + "/" + code.variant;
}

// The kernels of each group, in order.
std::vector<std::vector<const KernelCode*>> groups_of(const KernelReport& report) {
  std::vector<std::vector<const KernelCode*>> groups;
  for (const KernelCode& code : report.kernels) {
    if (groups.empty() || group_of(*groups.back().front()) != group_of(code)) groups.emplace_back();
    groups.back().push_back(&code);
  }
  return groups;
}

std::string wrapped(const std::string& text, size_t width) {
  std::string result;
  size_t line = 0;
  for (const std::string_view word : split(text, ' ')) {
    const bool fits = line + 1 + word.size() <= width;
    if (line > 0) result += fits ? ' ' : '\n';
    result += word;
    line = word.size() + (line > 0 && fits ? line + 1 : 0);
  }
  return result;
}

nlohmann::ordered_json accesses_json(const std::map<int, int64_t>& by_width) {
  nlohmann::ordered_json result = nlohmann::ordered_json::object();
  for (const auto& [width, count] : by_width) result[std::to_string(width)] = count;
  return result;
}

nlohmann::ordered_json mix_json(const InstructionMix& mix) {
  return {{"source", mix.source},
          {"global_loads_by_bytes", accesses_json(mix.global_loads)},
          {"global_stores_by_bytes", accesses_json(mix.global_stores)},
          {"accesses_in_loops_by_bytes", accesses_json(mix.in_loops)},
          {"share_of_bytes_in_16_byte_accesses", mix.wide_share()},
          {"bulk_copies", mix.bulk_copies},
          {"global_atomics", mix.atomics},
          {"hmma", mix.hmma},
          {"hgmma", mix.hgmma},
          {"local_loads", mix.local_loads},
          {"local_stores", mix.local_stores},
          {"barriers", mix.barriers},
          {"instructions", mix.instructions}};
}

nlohmann::ordered_json kernel_json(const KernelCode& code) {
  nlohmann::ordered_json result = {
      {"operation", code.operation},
      {"variant", code.variant},
      {"kernel", code.kernel},
      {"architecture", code.architecture},
      {"registers", code.registers},
      {"static_shared_bytes", code.shared_bytes},
      {"stack_bytes", code.stack_bytes},
      {"spill_store_bytes", or_null(code.spill_stores)},
      {"spill_load_bytes", or_null(code.spill_loads)},
      {"max_threads", code.max_threads > 0 ? nlohmann::ordered_json(code.max_threads) : nullptr},
      {"theoretical_occupancy", nullptr}};
  if (const auto occupancy =
          occupancy_of(code.architecture, code.registers, code.shared_bytes, code.max_threads)) {
    result["theoretical_occupancy"] = {{"share", occupancy->share},
                                       {"warps", occupancy->warps},
                                       {"blocks", occupancy->blocks},
                                       {"limit", occupancy->limit}};
  }
  result["instructions"] = code.mix ? mix_json(*code.mix) : nlohmann::ordered_json();
  return result;
}

}  // namespace

std::string as_table(const KernelReport& report) {
  std::string text = std::string(kTitle) + "\n" + wrapped(legend(report), 110) + "\n";
  for (const std::vector<const KernelCode*>& kernels : groups_of(report)) {
    std::vector<size_t> widths;
    for (const Column& column : columns()) {
      size_t width = std::string_view(column.title).size();
      for (const KernelCode* code : kernels) width = std::max(width, column.text(*code).size());
      widths.push_back(width);
    }
    const auto add_line = [&](const std::function<std::string(const Column&)>& cell) {
      std::string line;
      for (size_t i = 0; i < widths.size(); ++i) {
        const Column& column = columns()[i];
        const std::string entry = cell(column), blank(widths[i] - entry.size(), ' ');
        line += "  " + (column.left ? entry + blank : blank + entry);
      }
      line.resize(line.find_last_not_of(' ') + 1);
      text += line + "\n";
    };
    text += "\n" + group_of(*kernels.front()) + "\n";
    add_line([](const Column& column) { return std::string(column.title); });
    for (const KernelCode* code : kernels) {
      add_line([&](const Column& column) { return column.text(*code); });
    }
  }
  return text;
}

std::string as_markdown(const KernelReport& report) {
  std::string text =
      "# The machine code of the CUDA kernels\n\nStatic: what the compiler says, not a measurement.\n\n" +
      wrapped(legend(report), 110) +
      "\n\nMade by `medfusion kernels inspect --markdown > docs/results/static.md`; "
      "`medfusion kernels inspect --check` holds\nthe kernels to what is required of them.\n";
  for (const std::vector<const KernelCode*>& kernels : groups_of(report)) {
    text += "\n## " + group_of(*kernels.front()) + "\n\n";
    std::string rule;
    for (const Column& column : columns()) {
      text += fmt::format("| {} ", column.title);
      rule += column.left ? "|---" : "|--:";
    }
    text += "|\n" + rule + "|\n";
    for (const KernelCode* code : kernels) {
      for (const Column& column : columns()) {
        const bool name = &column == columns().data();
        text += name ? fmt::format("| `{}` ", column.text(*code)) : fmt::format("| {} ", column.text(*code));
      }
      text += "|\n";
    }
  }
  return text;
}

nlohmann::ordered_json as_json(const KernelReport& report) {
  nlohmann::ordered_json result = {{"kind", kTitle},
                                   {"instructions_from", report.from_sass ? "SASS" : "PTX"},
                                   {"kernels", nlohmann::ordered_json::array()}};
  for (const KernelCode& code : report.kernels) result["kernels"].push_back(kernel_json(code));
  return result;
}

}  // namespace medfusion::tools
