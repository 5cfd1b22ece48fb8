#include "core/tell.h"

#include <cstdio>

namespace medfusion::core {

void tell(const std::string& text) { std::fwrite(text.data(), 1, text.size(), stderr); }

}  // namespace medfusion::core
