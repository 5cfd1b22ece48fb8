// The first configuration of new data: what medfusion init writes (docs/init.md).
#pragma once

#include <string>
#include <vector>

namespace medfusion::tools {

struct NewData {
  std::string table;                // a CSV file
  std::string images;               // a folder; empty: none
  std::vector<std::string> labels;  // columns; empty: chosen
};

// One line of what was chosen: the role, what has it, why, and the key that changes it.
struct InitialChoice {
  std::string what, value, why, key;
};

struct InitialConfig {
  std::string toml;  // with a comment for each choice
  std::vector<InitialChoice> choices;
};

// A table with its images, by the rules of data/table_roles.h; or the layout of ChestX-ray14 where the table
// is its Data_Entry_2017 file. The configuration was opened: the data is readable with it. `file` is the name
// that the comments give it. Throws core::InputError where the data does not suit.
InitialConfig make_initial_config(const NewData& data, const std::string& file);

}  // namespace medfusion::tools
