// Configurations: a TOML file, then assignments of --set, with zero bytes between them. What was read must
// come back the same from the file that `train` writes of it.
#include "tools/medfusion/config/config.h"

#include <algorithm>

#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace medfusion;
  const std::vector<std::string_view> pieces = fuzz::pieces_of({data, size});
  tools::ConfigBuilder builder;
  bool good = fuzz::accepts([&] { builder.read_text(std::string(pieces.front()), "config.toml"); });
  constexpr size_t kMost = 10;  // pieces; each costs the same
  for (size_t i = 1; i < std::min(kMost, pieces.size()); ++i)
    good = fuzz::accepts([&] { builder.set(std::string(pieces[i])); }) && good;
  if (!good) return 0;
  const std::string written = tools::to_toml(builder.unchecked());
  tools::ConfigBuilder again;
  if (!fuzz::accepts([&] { again.read_text(written, "config.toml"); }) ||
      tools::to_toml(again.unchecked()) != written)
    fuzz::report("a configuration does not come back: " + written);
  fuzz::accepts([&] { builder.build(); });
  return 0;
}
