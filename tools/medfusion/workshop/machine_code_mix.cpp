// Counting instructions in the texts of PTX, SASS and ptxas.
#include <algorithm>
#include <cctype>
#include <charconv>
#include <functional>

#include "data/readers/csv.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/workshop/machine_code.h"

namespace medfusion::tools {
namespace {

constexpr int kWideBytes = 16;

using data::trim;

bool has(const std::vector<std::string_view>& words, std::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

int64_t number_before(std::string_view line, std::string_view unit) {
  const size_t at = line.find(unit);
  if (at == std::string_view::npos) return 0;
  size_t begin = at;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(line[begin - 1])) != 0) --begin;
  int64_t value = 0;
  std::from_chars(line.data() + begin, line.data() + at, value);
  return value;
}

// "[%@]p1 " before an instruction, where there is one.
std::string_view without_predicate(std::string_view text) {
  if (!text.starts_with('@')) return text;
  const size_t space = text.find_first_of(" \t");
  return space == std::string_view::npos ? std::string_view() : trim(text.substr(space));
}

std::string_view between_quotes(std::string_view line) {
  const size_t begin = line.find('\'');
  if (begin == std::string_view::npos) return {};
  return line.substr(begin + 1, line.find('\'', begin + 1) - begin - 1);
}

// ".v4" and ".f32" of ld.global.v4.f32.
int ptx_width(const std::vector<std::string_view>& words) {
  int elements = 1, bits = 32;
  for (const std::string_view word : words) {
    if (word.size() < 2) continue;
    int value = 0;
    const char* const begin = word.data() + (word.starts_with("bf") ? 2 : 1);
    const auto [end, error] = std::from_chars(begin, word.data() + word.size(), value);
    if (error != std::errc() || end != word.data() + word.size()) continue;
    if (word[0] == 'v') elements = value;
    if (word[0] == 'b' || word[0] == 'u' || word[0] == 's' || word[0] == 'f') bits = value;
  }
  return elements * bits / 8;
}

// Counts the instructions of one kernel as they come, and finds its loops.
class Counter {
 public:
  InstructionMix mix;

  void load(int64_t at, int width) {
    ++mix.global_loads[width];
    accesses_.push_back({at, width});
  }
  void store(int64_t at, int width) {
    ++mix.global_stores[width];
    accesses_.push_back({at, width});
  }
  // A conditional branch backwards closes a loop. One without a condition may too, but mostly leads back from
  // code that was moved out of the way: such branches count where the others hold no access.
  void branch(int64_t at, int64_t to, bool conditional) {
    if (to < at) (conditional ? loops_ : jumps_).push_back({to, at});
  }

  InstructionMix finish() {
    for (const auto* loops : {&loops_, &jumps_}) {
      if (!mix.in_loops.empty()) break;
      for (const auto& [at, width] : accesses_) {
        const bool repeated = std::any_of(loops->begin(), loops->end(), [place = at](const auto& loop) {
          return loop.first <= place && place <= loop.second;
        });
        if (repeated) ++mix.in_loops[width];
      }
    }
    return mix;
  }

  std::map<std::string, int64_t, std::less<>> labels;  // of PTX
  int64_t statements = 0;                              // likewise

 private:
  std::vector<std::pair<int64_t, int>> accesses_;
  std::vector<std::pair<int64_t, int64_t>> loops_, jumps_;
};

void count_ptx(Counter& counter, std::string_view statement) {
  InstructionMix& mix = counter.mix;
  const int64_t at = ++counter.statements;
  while (statement.starts_with('{') || statement.starts_with('}')) statement = trim(statement.substr(1));
  if (const size_t colon = statement.find(':');
      statement.starts_with('$') && colon != std::string_view::npos) {
    counter.labels.emplace(statement.substr(0, colon), at);
    statement = trim(statement.substr(colon + 1));
  }
  const bool conditional = statement.starts_with('@');
  statement = without_predicate(statement);
  if (statement.empty() || !std::islower(static_cast<unsigned char>(statement[0]))) return;
  const std::string_view opcode = statement.substr(0, statement.find_first_of(" \t"));
  const std::vector<std::string_view> words = split(opcode, '.');
  ++mix.instructions;
  if (words[0] == "bra") {
    const auto label = counter.labels.find(trim(statement.substr(opcode.size())));
    if (label != counter.labels.end()) counter.branch(at, label->second, conditional);
  }
  if (words[0] == "ld" && has(words, "global")) counter.load(at, ptx_width(words));
  if (words[0] == "st" && has(words, "global")) counter.store(at, ptx_width(words));
  if (words[0] == "ld" && has(words, "local")) ++mix.local_loads;
  if (words[0] == "st" && has(words, "local")) ++mix.local_stores;
  if (words[0] == "mma") ++mix.hmma;
  if (opcode.starts_with("wgmma.mma_async")) ++mix.hgmma;
  if ((words[0] == "atom" || words[0] == "red") && has(words, "global")) ++mix.atomics;
  if (words[0] == "bar" || words[0] == "barrier") ++mix.barriers;
  if (opcode.starts_with("cp.async.bulk") && !has(words, "commit_group") && !has(words, "wait_group")) {
    ++mix.bulk_copies;
  } else if (opcode.starts_with("cp.async.c") && has(words, "global")) {  // .ca or .cg: [to], [from], bytes
    const std::vector<std::string_view> operands = split(statement, ',');
    int bytes = 0;
    if (operands.size() > 2) {
      const std::string_view size = trim(operands[2]);
      std::from_chars(size.data(), size.data() + size.size(), bytes);
    }
    counter.load(at, bytes);
  }
}

// ".128" or ".U8" of LDG.E.128.CONSTANT; a plain access moves 4 bytes.
int sass_width(const std::vector<std::string_view>& words) {
  if (has(words, "128")) return 16;
  if (has(words, "64")) return 8;
  if (has(words, "U16") || has(words, "S16")) return 2;
  if (has(words, "U8") || has(words, "S8")) return 1;
  return 4;
}

int64_t hexadecimal(std::string_view text) {
  int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return value;
}

void count_sass(Counter& counter, std::string_view line) {
  InstructionMix& mix = counter.mix;
  line = trim(line);
  // "/*0270*/  @P0 LDG.E R2, [R2.64] ;"; lines of mere encoding have a blank after "/*".
  const size_t end = line.find("*/");
  if (!line.starts_with("/*") || end == std::string_view::npos || line.starts_with("/* ")) return;
  const int64_t at = hexadecimal(line.substr(2, end - 2));
  const bool conditional = trim(line.substr(end + 2)).starts_with('@');
  const std::string_view instruction = without_predicate(trim(line.substr(end + 2)));
  if (instruction.empty() || !std::isupper(static_cast<unsigned char>(instruction[0]))) return;
  const std::vector<std::string_view> words =
      split(instruction.substr(0, instruction.find_first_of(" \t;")), '.');
  const std::string_view name = words[0];
  if (name == "NOP") return;  // padding
  ++mix.instructions;
  if (name == "BRA") {
    const size_t target = instruction.substr(0, instruction.find(';')).rfind("0x");
    if (target != std::string_view::npos)
      counter.branch(at, hexadecimal(instruction.substr(target + 2)), conditional);
  }
  if (name == "LDG" || name == "LD" || name == "LDGSTS") counter.load(at, sass_width(words));
  if (name == "STG" || name == "ST") counter.store(at, sass_width(words));
  if (name == "LDL") ++mix.local_loads;
  if (name == "STL") ++mix.local_stores;
  if (name == "HMMA") ++mix.hmma;
  if (name == "HGMMA") ++mix.hgmma;
  if (name == "ATOM" || name == "ATOMG" || name == "RED" || name == "REDG") ++mix.atomics;
  if (name == "BAR") ++mix.barriers;
  if (name == "UTMALDG" || name == "UTMASTG" || name == "UTMAREDG" || name == "UBLKCP") ++mix.bulk_copies;
}

}  // namespace

double InstructionMix::wide_share() const {
  int64_t all = 0, wide = 0;
  const std::vector<const std::map<int, int64_t>*> looped{&in_loops},
      everywhere{&global_loads, &global_stores};
  for (const auto* accesses : in_loops.empty() ? everywhere : looped) {
    for (const auto& [width, count] : *accesses) {
      all += width * count;
      if (width >= kWideBytes) wide += width * count;
    }
  }
  return all == 0 ? 1.0 : static_cast<double>(wide) / static_cast<double>(all);
}

InstructionMix mix_of_ptx(std::string_view text) {
  Counter counter;
  counter.mix.source = "PTX";
  const size_t body = text.find('{');
  if (body == std::string_view::npos) return counter.mix;
  for (const std::string_view line : split(text.substr(body), '\n')) {
    for (const std::string_view statement : split(line.substr(0, line.find("//")), ';'))
      count_ptx(counter, trim(statement));
  }
  return counter.finish();
}

InstructionMix mix_of_sass(std::string_view text) {
  Counter counter;
  counter.mix.source = "SASS";
  for (const std::string_view line : split(text, '\n')) count_sass(counter, line);
  return counter.finish();
}

void add_sass(std::vector<KernelCode>& kernels, std::string_view listing) {
  std::map<std::pair<std::string, std::string>, std::vector<KernelCode*>> places;
  for (KernelCode& code : kernels) places[{code.architecture, code.mangled}].push_back(&code);
  constexpr std::string_view kCode = "code for ", kFunction = "Function : ";
  std::string architecture;
  for (size_t at = 0; at < listing.size();) {
    const size_t end = std::min(listing.find('\n', at), listing.size());
    const std::string_view words = trim(listing.substr(at, end - at));
    at = end + 1;
    if (words.starts_with(kCode)) architecture = words.substr(kCode.size());
    if (!words.starts_with(kFunction)) continue;
    // The function ends where another begins, or code for another architecture does.
    const size_t next = std::min({listing.find(kFunction, at), listing.find(kCode, at), listing.size()});
    const auto place = places.find({architecture, std::string(words.substr(kFunction.size()))});
    if (place == places.end() || at > listing.size()) continue;
    const InstructionMix mix = mix_of_sass(listing.substr(at, next - std::min(at, next)));
    // A kernel of a header may be part of several files; the listing has it as often.
    for (KernelCode* code : place->second) code->mix = mix;
  }
}

void add_ptxas_report(std::vector<KernelCode>& kernels, std::string_view report) {
  std::map<std::pair<std::string, std::string>, std::vector<KernelCode*>> places;
  for (KernelCode& code : kernels) places[{code.architecture, code.mangled}].push_back(&code);
  std::pair<std::string, std::string> entry;
  bool of_entry = false;
  for (const std::string_view line : split(report, '\n')) {
    constexpr std::string_view kProperties = "Function properties for ";
    // "(C7510) Potential Performance Loss: wgmma.mma_async instructions are serialized due to ... 'NAME'"
    if (line.find("wgmma.mma_async instructions are serialized") != std::string_view::npos) {
      for (KernelCode& code : kernels) code.wgmma_serialized |= code.mangled == between_quotes(line);
      continue;
    }
    if (line.find("Compiling entry function") != std::string_view::npos) {
      entry.second = between_quotes(line);
      entry.first = between_quotes(line.substr(line.rfind('\'', line.size() - 2)));
    } else if (const size_t at = line.find(kProperties); at != std::string_view::npos) {
      of_entry = trim(line.substr(at + kProperties.size())) == entry.second;
    } else if (of_entry && line.find("bytes spill stores") != std::string_view::npos) {
      for (KernelCode* code : places[entry]) {
        code->spill_stores = number_before(line, " bytes spill stores");
        code->spill_loads = number_before(line, " bytes spill loads");
      }
    }
  }
}

}  // namespace medfusion::tools
