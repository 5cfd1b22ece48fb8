#include "tools/medfusion/workshop/machine_code.h"

#include <cxxabi.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "core/error.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/workshop/occupancy.h"

namespace medfusion::tools {
namespace {

// The fields of 64-bit ELF and of NVIDIA's additions to it that are read here.
constexpr uint16_t kMachineCuda = 190;
constexpr std::string_view kMagic(
    "\x7f"
    "ELF\x02\x01\x01",
    7);                                     // 64 bits, little endian, version 1
constexpr uint8_t kAbiWithWideNumbers = 8;  // since then the architecture stands in bits 8 to 15 of the flags
constexpr uint8_t kSizedValue = 4;          // of .nv.info: format, attribute, 16-bit size, value
constexpr uint8_t kMaxThreads = 0x05;
constexpr uint8_t kFrameSize = 0x11;
constexpr uint8_t kRegisterCount = 0x2f;

std::string_view part(std::string_view bytes, uint64_t at, uint64_t size) {
  if (at > bytes.size() || bytes.size() - at < size) throw core::Error("machine code: a cubin is cut off");
  return bytes.substr(at, size);
}

template <class T>
T read(std::string_view bytes, uint64_t at) {
  T value{};
  std::memcpy(&value, part(bytes, at, sizeof(T)).data(), sizeof(T));
  return value;
}

std::string_view text_at(std::string_view table, uint64_t at) {
  const std::string_view rest = part(table, at, table.size() - std::min<uint64_t>(at, table.size()));
  return rest.substr(0, rest.find('\0'));
}

// The file's name in a mangled anonymous namespace: _GLOBAL__N__HASH_18_layer_norm_simt_cu_...
std::string stem_of(std::string_view text) {
  constexpr std::string_view kMark = "_GLOBAL__N__";
  const size_t mark = text.find(kMark);
  if (mark == std::string_view::npos) return {};
  text.remove_prefix(mark + kMark.size());
  text = text.substr(0, text.find('\0'));
  const size_t length_at = text.find('_');  // after the hash
  const size_t name_at = text.find('_', length_at + 1);
  if (length_at == std::string_view::npos || name_at == std::string_view::npos) return {};
  size_t length = 0;
  std::from_chars(text.data() + length_at + 1, text.data() + name_at, length);
  if (name_at + 1 + length > text.size()) return {};
  std::string stem(text.substr(name_at + 1, length));
  if (stem.ends_with("_cu")) stem.resize(stem.size() - 3);
  return stem;
}

struct Section {
  std::string_view name;
  uint64_t size = 0;
  std::string_view bytes;  // empty for those without content in the file
};

// One cubin, from its beginning on; what follows it does not matter.
class Cubin {
 public:
  explicit Cubin(std::string_view bytes) {
    const auto table = read<uint64_t>(bytes, 40);
    const auto count = read<uint16_t>(bytes, 60);
    const auto names = read<uint16_t>(bytes, 62);
    const auto header = [&](uint64_t i) { return part(bytes, table + i * 64, 64); };
    const auto content = [&](std::string_view h) {
      constexpr uint32_t kNoBits = 8;
      const bool stored = read<uint32_t>(h, 4) != kNoBits;
      return stored ? part(bytes, read<uint64_t>(h, 24), read<uint64_t>(h, 32)) : std::string_view();
    };
    const std::string_view name_table = content(header(names));
    for (uint64_t i = 0; i < count; ++i) {
      const std::string_view h = header(i);
      sections_.push_back({text_at(name_table, read<uint32_t>(h, 0)), read<uint64_t>(h, 32), content(h)});
    }
    const auto flags = read<uint32_t>(bytes, 48);
    const bool wide = read<uint8_t>(bytes, 8) >= kAbiWithWideNumbers;
    architecture_ = fmt::format("sm_{}", wide ? flags >> 8 & 0xff : flags & 0xff);
    // The flags do not tell sm_90a from sm_90; the compiler's command line or the PTX does.
    for (const auto& [section, before] :
         {std::pair{".note.nv.tkinfo", "-arch sm_"}, std::pair{".nv_debug_ptx_txt", ".target sm_"}}) {
      const std::string_view text = bytes_of(section);
      const size_t at = text.find(before);
      if (at == std::string_view::npos) continue;
      const std::string_view rest = text.substr(at + std::strlen(before) - 3);
      architecture_ = rest.substr(0, rest.find_first_of(std::string_view(" ,\0\n", 4)));
      break;
    }
  }

  std::vector<KernelCode> kernels() const {
    constexpr std::string_view kText = ".text.";
    std::map<uint32_t, int64_t> frames = by_section(kFrameSize), registers = by_section(kRegisterCount);
    const std::string stem = stem_of(bytes_of(".strtab"));
    std::vector<KernelCode> result;
    for (size_t i = 0; i < sections_.size(); ++i) {
      const Section& section = sections_[i];
      if (!section.name.starts_with(kText)) continue;
      KernelCode code;
      code.mangled = section.name.substr(kText.size());
      if (find(".nv.info." + code.mangled) == nullptr) continue;  // a function, not a kernel
      code.architecture = architecture_;
      code.stem = stem;
      code.max_threads = max_threads(code.mangled);
      if (const Section* shared = find(".nv.shared." + code.mangled)) {
        // Cubins for sm_90 and later count it as static.
        const bool counts_reserved = std::atoi(architecture_.c_str() + 3) >= 90;
        code.shared_bytes = static_cast<int64_t>(shared->size);
        if (counts_reserved) code.shared_bytes = std::max<int64_t>(0, code.shared_bytes - kReservedShared);
      }
      code.stack_bytes = frames[static_cast<uint32_t>(i)];
      code.registers = static_cast<int>(registers[static_cast<uint32_t>(i)]);
      if (const std::string ptx = ptx_of(code.mangled); !ptx.empty()) code.mix = mix_of_ptx(ptx);
      result.push_back(std::move(code));
    }
    return result;
  }

 private:
  const Section* find(std::string_view name) const {
    const auto found = std::find_if(sections_.begin(), sections_.end(),
                                    [&](const Section& section) { return section.name == name; });
    return found == sections_.end() ? nullptr : &*found;
  }
  std::string_view bytes_of(std::string_view name) const {
    const Section* section = find(name);
    return section == nullptr ? std::string_view() : section->bytes;
  }

  // Calls use(attribute, value) for what a section of .nv.info says.
  template <class Use>
  static void for_each_info(std::string_view bytes, const Use& use) {
    for (uint64_t at = 0; at + 4 <= bytes.size();) {
      const auto format = read<uint8_t>(bytes, at), attribute = read<uint8_t>(bytes, at + 1);
      const auto size = read<uint16_t>(bytes, at + 2);
      at += 4;
      if (format != kSizedValue) continue;
      use(attribute, part(bytes, at, size));
      at += size;
    }
  }

  int max_threads(const std::string& kernel) const {
    int result = 0;
    for_each_info(bytes_of(".nv.info." + kernel), [&](uint8_t attribute, std::string_view value) {
      if (attribute != kMaxThreads || value.size() < 12) return;
      result =
          static_cast<int>(read<uint32_t>(value, 0) * read<uint32_t>(value, 4) * read<uint32_t>(value, 8));
    });
    return result;
  }

  // What .nv.info says of each function, by the section that holds it.
  std::map<uint32_t, int64_t> by_section(uint8_t wanted) const {
    const std::string_view symbols = bytes_of(".symtab");
    std::map<uint32_t, int64_t> result;
    for_each_info(bytes_of(".nv.info"), [&](uint8_t attribute, std::string_view value) {
      if (attribute != wanted || value.size() < 8) return;
      const std::string_view symbol = part(symbols, uint64_t{24} * read<uint32_t>(value, 0), 24);
      int64_t& most = result[read<uint16_t>(symbol, 6)];
      most = std::max<int64_t>(most, read<uint32_t>(value, 4));
    });
    return result;
  }

  // The lines of PTX are kept for debuggers where -lineinfo asks for it, each ended by a zero.
  std::string ptx_of(const std::string& kernel) const {
    const std::string_view all = bytes_of(".nv_debug_ptx_txt");
    const size_t begin = all.find(".entry " + kernel + "(");
    if (begin == std::string_view::npos) return {};
    const size_t body = begin + 1;
    const size_t end = std::min(all.find(".entry ", body), all.find(".func ", body));
    std::string text(all.substr(begin, end == std::string_view::npos ? end : end - begin));
    std::replace(text.begin(), text.end(), '\0', '\n');
    return text;
  }

  std::vector<Section> sections_;
  std::string architecture_;
};

// "layer_norm_forward<4>": without the return type, the namespaces and the parameters.
std::string short_name(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> demangled(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), &std::free);
  if (status != 0 || demangled == nullptr) return mangled;
  std::string name = demangled.get();
  for (const char* space : {"(anonymous namespace)::", "medfusion::kernels::cuda::", "medfusion::kernels::",
                            "medfusion::core::", "medfusion::", "gpu::"}) {
    name = replace_all(name, space, "");
  }
  name = replace_all(replace_all(name, "(bool)1", "true"), "(bool)0", "false");
  if (name.starts_with("void ")) name.erase(0, 5);
  int depth = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

bool starts_with_word(const std::string& text, const std::string& word) {
  return text.starts_with(word) && (text.size() == word.size() || text[word.size()] == '_');
}

}  // namespace

std::vector<KernelCode> read_kernels(std::string_view file) {
  std::vector<KernelCode> result;
  for (size_t at = file.find(kMagic); at != std::string_view::npos; at = file.find(kMagic, at + 1)) {
    const std::string_view bytes = file.substr(at);
    if (bytes.size() < 64 || read<uint16_t>(bytes, 18) != kMachineCuda) continue;
    for (KernelCode& code : Cubin(bytes).kernels()) result.push_back(std::move(code));
  }
  return result;
}

void name_kernel(KernelCode& code, const std::map<std::string, std::vector<std::string>>& operations) {
  code.kernel = short_name(code.mangled);
  for (const auto& [operation, names] : operations)
    replace_all(code.kernel, operation + "::", "");  // its room
  if (code.stem.empty()) code.stem = stem_of(code.mangled);
  const std::string& stem = code.stem;
  const size_t last = stem.rfind('_');
  code.operation = stem.substr(0, last);
  code.variant = last == std::string::npos ? "" : stem.substr(last + 1);
  // A file may hold a part of a variant: attention_mma_backward.cu.
  const std::vector<std::string>* variants = nullptr;
  for (const auto& [operation, names] : operations) {
    const bool longer = variants == nullptr || operation.size() > code.operation.size();
    if (stem.starts_with(operation + "_") && longer) {
      code.operation = operation;
      variants = &names;
    }
  }
  if (variants == nullptr) return;
  code.variant = stem.substr(code.operation.size() + 1);
  const std::string* best = nullptr;
  for (const std::string& name : *variants) {
    if (starts_with_word(code.variant, name) && (best == nullptr || name.size() > best->size())) best = &name;
  }
  if (best != nullptr) code.variant = *best;
}

}  // namespace medfusion::tools
