// What the commands share: options, loading the configuration, output.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/device.h"
#include "data/splits.h"
#include "tools/medfusion/config/config.h"

namespace medfusion::tools {

struct TrainedRun;

// On every command but `kernels inspect` and hidden ones; device and kernels matter to those that compute
// (use_device).
struct CommonOptions {
  std::optional<int64_t> threads;
  std::string device = "auto";
  std::vector<std::string> kernels;  // OPERATION=VARIANT
  std::optional<int64_t> seed;
  bool quiet = false;
  bool json = false;

  bool shows_progress() const { return !quiet && !json; }
};

// A configuration and what changes it.
struct ConfigOptions {
  std::string file;  // or the name of a ready configuration
  std::vector<std::string> assignments;
};

// An option, or an argument, with a value; help shows `kind` for it, such as "DIR".
template <class T>
CLI::Option* add_value(CLI::App& command, const std::string& name, T& value, const std::string& kind,
                       const std::string& help) {
  return command.add_option(name, value, help)->type_name(kind);
}
// A whole number from `low` to `high`; help shows its default.
void add_number(CLI::App& command, const std::string& name, int64_t& value, const std::string& kind,
                int64_t low, int64_t high, const std::string& help);
// Takes one of some words; of another it names the nearest.
CLI::Validator one_of(const std::vector<std::string>& choices);
// One of some words; help shows the default.
void add_choice(CLI::App& command, const std::string& name, std::string& value, const std::string& kind,
                const std::vector<std::string>& choices, const std::string& help);

void add_common_options(CLI::App& command, CommonOptions& options);
// required: whether the configuration must be given.
void add_config_options(CLI::App& command, ConfigOptions& options, bool required = true);
// --strict, of commands that hold data against a run's schema.json.
void add_strict_option(CLI::App& command, bool& strict);
// --on-error, of commands that apply a run to images; empty where it is not given.
void add_on_error_option(CLI::App& command, std::string& on_error);
void apply_on_error(const std::string& on_error, data::DataOptions& options);

// The file, then --set in order, then --seed and --threads.
ConfigBuilder read_config(const ConfigOptions& options, const CommonOptions& common);

// Where a run goes: `out`, or runs/NAME where that is empty, NAME being the configuration's file name and
// `suffix`.
std::filesystem::path output_folder(const std::string& out, const std::string& config_file,
                                    const std::string& suffix = "");

// Sets the number of threads of the process: `threads`, or all cores where it is 0.
void use_threads(int64_t threads);

// The device for networks: "cpu", "cuda", "sim" (the CUDA kernels, simulated on the cpu; slow), or "auto" for
// cuda where there is one and the cpu otherwise; "cuda:1" is the second one. Sets the variants that
// operations take on it where they support the arguments. Throws InputError where this build or machine has
// no such device, or the device no such variant.
core::Device use_device(const CommonOptions& options);

// Opens a run on the device, with the threads that the options or its configuration say; `data` is the
// folder of the data, empty for the run's own; another one has no pack.
TrainedRun open_run(const std::string& run, const CommonOptions& options, const std::string& data = "");
// The rows of the part "train", "val" or "test". Throws core::InputError, naming the run, where it has none.
std::vector<int64_t> rows_of_part(const data::Splits& splits, const std::string& part,
                                  const std::string& run);

// Prints one JSON object (--json), or lines of text, to standard output.
void print_json(const nlohmann::ordered_json& value);
void print_text(const std::string& text);
// One line of JSON, at once: what comes next may end the process.
void print_line(const nlohmann::ordered_json& line);
// What a command found: as JSON with --json, as `text` without --quiet.
void print_result(const CommonOptions& options, const nlohmann::ordered_json& json, const std::string& text);

// What to run after the command line was parsed. A command's options live as long as its action.
using Action = std::function<void()>;

// Each adds its command to the program and sets `action` where the command line asks for it.
void add_synth_command(CLI::App& program, Action& action);
void add_init_command(CLI::App& program, Action& action);
void add_train_command(CLI::App& program, Action& action);
void add_eval_command(CLI::App& program, Action& action);
void add_compare_command(CLI::App& program, Action& action);
void add_predict_command(CLI::App& program, Action& action);
void add_cv_command(CLI::App& program, Action& action);
void add_study_command(CLI::App& program, Action& action);
void add_explain_command(CLI::App& program, Action& action);
void add_report_command(CLI::App& program, Action& action);
void add_data_command(CLI::App& program, Action& action);
void add_pack_command(CLI::App& program, Action& action);
void add_features_command(CLI::App& program, Action& action);
void add_info_command(CLI::App& program, Action& action);
void add_kernels_command(CLI::App& program, Action& action);
void add_shell_commands(CLI::App& program, Action& action);

// The program: returns its exit code. 0: done; 1: failed at run time; 2: bad input; 128 + N: ended by signal
// N, with its work saved. Errors are one line on standard error, "medfusion: ...".
int run_program(const std::vector<std::string>& arguments);

}  // namespace medfusion::tools
