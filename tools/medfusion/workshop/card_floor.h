// The least time that a case can take on a named card: by the bytes it must move and the operations it must
// do, and the card's data sheet.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace medfusion::tools {

std::vector<std::string> card_names();

// The floors of the forward of every case worth timing of "OPERATION" or "OPERATION/VARIANT"; empty: of all
// operations.
std::string floors_table(const std::string& what, const std::string& card);
nlohmann::ordered_json floors_json(const std::string& what, const std::string& card);

}  // namespace medfusion::tools
