#include "tools/medfusion/commands/common.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <iostream>
#include <limits>
#include <new>
#include <optional>
#include <system_error>
#include <thread>

#include "core/error.h"
#include "core/nearest.h"
#include "core/runtime.h"
#include "core/tell.h"
#include "core/threads.h"
#include "kernels/gpu/device_type.h"
#include "kernels/registry.h"
#include "kernels/workshop/check.h"
#include "tools/medfusion/config/ready_configs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/run/interruption.h"
#include "tools/medfusion/run/pipeline.h"
#include "tools/medfusion/run/ranks.h"

namespace medfusion::tools {
namespace {

constexpr int kSuccess = 0;
constexpr int kFailure = 1;
constexpr int kBadInput = 2;

std::string one_line(const std::string& message) {
  return replace_all(message.substr(0, message.find_last_not_of('\n') + 1), "\n", " ");
}

int report(int code, const std::string& message) {
  core::tell("medfusion: {}\n", one_line(message));
  return code;
}

void add_commands(CLI::App& program, Action& action) {
  program.require_subcommand(1);
  program.set_version_flag("--version", std::string("medfusion ") + MEDFUSION_VERSION,
                           "Print the version and exit");
  program.footer("medfusion COMMAND --help explains a command and shows an example.");
  for (const auto add : {add_synth_command, add_init_command, add_data_command, add_pack_command,
                         add_train_command, add_eval_command, add_compare_command, add_predict_command,
                         add_explain_command, add_cv_command, add_study_command, add_report_command,
                         add_features_command, add_info_command, add_kernels_command, add_shell_commands}) {
    add(program, action);
  }
}

// The innermost command that the line names: `check` of `medfusion kernels check`.
const CLI::App& named_command(const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  return chosen.empty() ? program : named_command(*chosen.front());
}

std::string words_of(const CLI::App& command) {
  const CLI::App* const parent = command.get_parent();
  return (parent == nullptr ? "" : words_of(*parent) + " ") + command.get_name();
}

// What is wrong with the words that the command could not take; empty where it took all that it needs.
std::string unexpected(const CLI::App& command) {
  const std::vector<std::string> left = command.remaining();
  std::vector<std::string> known;
  const auto option =
      std::find_if(left.begin(), left.end(), [](const auto& w) { return w.starts_with('-'); });
  if (option != left.end()) {
    const std::string given = option->substr(0, option->find('='));
    for (const CLI::Option* each : command.get_options()) {
      for (const std::string& name : each->get_lnames()) known.push_back("--" + name);
    }
    return fmt::format("unknown option '{}'{}", given, core::did_you_mean(given, known));
  }
  const auto is_shown = [](const CLI::App* each) { return !each->get_group().empty(); };
  for (const CLI::App* each : command.get_subcommands(is_shown)) known.push_back(each->get_name());
  if (known.empty()) return left.empty() ? "" : fmt::format("unexpected argument '{}'", left.front());
  if (left.empty()) return "expected a command";
  return fmt::format("expected a command, got '{}'{}", left.front(), core::did_you_mean(left.front(), known));
}

[[noreturn]] void throw_output_error() {
  throw core::Error("standard output cannot be written: " + std::generic_category().message(errno));
}

// Parses, and returns an exit code where there is nothing to run.
std::optional<int> parse(CLI::App& program, std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    program.parse(arguments);
    return std::nullopt;
  } catch (const CLI::Success& request) {  // --help, --version
    program.exit(request);
    if (!std::cout.flush()) throw_output_error();
    return kSuccess;
  } catch (const CLI::ParseError& error) {
    const CLI::App& command = named_command(program);
    const std::string wrong = unexpected(command);
    return report(kBadInput,
                  fmt::format("{} (see {} --help)", wrong.empty() ? error.what() : wrong, words_of(command)));
  }
}

}  // namespace

void add_number(CLI::App& command, const std::string& name, int64_t& value, const std::string& kind,
                int64_t low, int64_t high, const std::string& help) {
  add_value(command, name, value, kind, help)->check(CLI::Range(low, high))->capture_default_str();
}

CLI::Validator one_of(const std::vector<std::string>& choices) {
  const auto complaint = [choices](const std::string& given) {
    if (std::find(choices.begin(), choices.end(), given) != choices.end()) return std::string();
    return fmt::format("expected one of {}, got '{}'{}", fmt::join(choices, ", "), given,
                       core::did_you_mean(given, choices));
  };
  return {complaint, fmt::format("{{{}}}", fmt::join(choices, ","))};
}

void add_choice(CLI::App& command, const std::string& name, std::string& value, const std::string& kind,
                const std::vector<std::string>& choices, const std::string& help) {
  add_value(command, name, value, kind, help)->check(one_of(choices))->capture_default_str();
}

void add_common_options(CLI::App& command, CommonOptions& options) {
  add_value(command, "--threads", options.threads, "N", "Threads to compute with (default: all cores)")
      ->check(CLI::Range(1, 4096));
  add_value(command, "--device", options.device, "NAME",
            "Device to compute on: cpu, cuda (cuda:1 is the second), sim (simulates the CUDA kernels; "
            "slow), or auto (cuda if there is one, else cpu)")
      ->capture_default_str();
  add_value(command, "--kernel", options.kernels, "OPERATION=VARIANT",
            "Run this variant of the operation where it supports the arguments, such as attention=mma "
            "(medfusion kernels list names them); may be repeated")
      ->allow_extra_args(false);
  add_value(command, "--seed", options.seed, "N", "Seed of all random numbers")
      ->check(CLI::Range(int64_t{0}, std::numeric_limits<int64_t>::max() / 2));
  command.add_flag("--quiet", options.quiet,
                   "Print no progress and no summary; still print errors and --json");
  command.add_flag("--json", options.json, "Print the result as one JSON object on standard output");
}

void add_config_options(CLI::App& command, ConfigOptions& options, bool required) {
  add_value(command, "config", options.file, "CONFIG",
            "Configuration: a file (docs/configuration.md), or the name of a ready one (medfusion info)")
      ->required(required);
  add_value(command, "--set", options.assignments, "KEY=VALUE",
            "Change a key of the configuration; may be repeated")
      ->allow_extra_args(false);
}

void add_strict_option(CLI::App& command, bool& strict) {
  command.add_flag("--strict", strict,
                   "Refuse data that depart from those of training (schema.json of the run), instead of "
                   "naming what departs");
}

void add_on_error_option(CLI::App& command, std::string& on_error) {
  add_value(
      command, "--on-error", on_error, "NAME",
      "What is done about an image that cannot be read: fail or skip (default: data.on_error of the run)")
      ->check(one_of({data::kOnErrors.begin(), data::kOnErrors.end()}));
}

void apply_on_error(const std::string& on_error, data::DataOptions& options) {
  if (!on_error.empty()) options.on_error = on_error == "skip" ? data::OnError::skip : data::OnError::fail;
}

ConfigBuilder read_config(const ConfigOptions& options, const CommonOptions& common) {
  ConfigBuilder builder;
  builder.read_file(find_config(options.file));
  for (const std::string& assignment : options.assignments) builder.set(assignment);
  if (common.seed) builder.set("seed", std::to_string(*common.seed), "--seed");
  if (common.threads) builder.set("threads", std::to_string(*common.threads), "--threads");
  return builder;
}

std::filesystem::path output_folder(const std::string& out, const std::string& config_file,
                                    const std::string& suffix) {
  if (!out.empty()) return out;
  return std::filesystem::path("runs") / (std::filesystem::path(config_file).stem().string() + suffix);
}

namespace {

// Without a number: the first, but where several ranks use GPUs each has its own.
core::Device device_of_rank(core::DeviceType type) {
  if (type != kernels::cuda::kDeviceType || job_ranks().size() == 1) return {type, 0};
  return device_of_local_rank(type, core::local_mpi_rank());
}

core::Device device_of(const std::string& name) {
  if (name == "auto") {
    const core::Device gpu = device_of_rank(kernels::cuda::kDeviceType);
    return core::is_present(gpu) ? gpu : core::Device{};
  }
  std::optional<core::Device> device = core::parse_device(name);
  if (!device) {
    std::vector<std::string> known;
    for (const core::DeviceType type : core::device_types()) known.emplace_back(type.name());
    const std::string list = fmt::format("{}", fmt::join(known, ", "));
    known.emplace_back("auto");
    core::throw_input_error({}, "--device: expected {} or auto, got '{}'{}", list, name,
                            core::did_you_mean(name, known));
  }
  if (name.find(':') == std::string::npos) device = device_of_rank(device->type);
  try {
    core::runtime(*device);
  } catch (const core::Error& error) {
    core::throw_input_error({}, "--device {}: {}", name, error.what());
  }
  return *device;
}

// "attention=mma"
void choose_kernel(const std::string& assignment, core::DeviceType device) {
  const auto refuse = [&](const std::string& why) {
    core::throw_input_error({}, "--kernel {}: {}", assignment, why);
  };
  const size_t equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == assignment.size())
    refuse("expected OPERATION=VARIANT");
  const std::string operation = assignment.substr(0, equals), variant = assignment.substr(equals + 1);
  std::vector<std::string> operations;
  for (const kernels::VariantInfo& info : kernels::all_variants()) operations.push_back(info.operation);
  if (std::find(operations.begin(), operations.end(), operation) == operations.end()) {
    refuse(fmt::format("there is no operation '{}'{}", operation, core::did_you_mean(operation, operations)));
  }
  const std::vector<std::string> variants = kernels::variants_of(operation, device);
  if (std::find(variants.begin(), variants.end(), variant) == variants.end()) {
    refuse(fmt::format("{} has no variant '{}' on {}; expected one of {}{}", operation, variant,
                       device.name(), fmt::join(variants, ", "), core::did_you_mean(variant, variants)));
  }
  kernels::set_kernel_override(operation, variant);
}

}  // namespace

core::Device use_device(const CommonOptions& options) {
  const core::Device device = device_of(options.device);
  for (const std::string& assignment : options.kernels) choose_kernel(assignment, device.type);
  return device;
}

TrainedRun open_run(const std::string& run, const CommonOptions& options, const std::string& data) {
  const RunDirectory directory = RunDirectory::open(run);
  TrainedRun trained = TrainedRun::open(directory, use_device(options));
  use_threads(options.threads.value_or(trained.config.threads));
  if (!data.empty()) {
    trained.config.data.root = data;
    trained.config.data.pack.clear();
  }
  const auto& thresholds = trained.preprocessing.thresholds;
  if (!options.quiet && !thresholds.empty() && thresholds.front().reason == kInterrupted)
    core::tell("note: {}: {} before calibration and thresholds were fitted\n", run, kInterrupted);
  return trained;
}

std::vector<int64_t> rows_of_part(const data::Splits& splits, const std::string& part,
                                  const std::string& run) {
  const auto& rows = part == "train" ? splits.train : part == "val" ? splits.val : splits.test;
  if (rows.empty()) core::throw_input_error({run}, "the {} part of the data has no rows", part);
  return rows;
}

void use_threads(int64_t threads) {
  cpu_set_t allowed;  // mpirun may bind a rank to some cores
  CPU_ZERO(&allowed);
  const bool known = ::sched_getaffinity(0, sizeof(allowed), &allowed) == 0;
  const int64_t cores =
      std::max(1, known ? CPU_COUNT(&allowed) : static_cast<int>(std::thread::hardware_concurrency()));
  core::set_num_threads(static_cast<int>(threads > 0 ? threads : cores));
}

void print_json(const nlohmann::ordered_json& value) { print_text(to_text(value, 2) + "\n"); }

void print_text(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) throw_output_error();
}

void print_line(const nlohmann::ordered_json& line) {
  print_text(line.dump() + "\n");
  if (std::fflush(stdout) != 0) throw_output_error();
}

void print_result(const CommonOptions& options, const nlohmann::ordered_json& json, const std::string& text) {
  if (options.json) {
    print_json(json);
  } else if (!options.quiet) {
    print_text(text);
  }
}

namespace {

int run_command(const std::vector<std::string>& arguments) {
  CLI::App program(
      "Reads a medical image with tabular and textual metadata, and predicts many labels at once.",
      "medfusion");
  Action action;
  add_commands(program, action);
  if (const auto code = parse(program, arguments)) return *code;
  const std::string command = named_command(program).get_name();
  constexpr std::array<std::string_view, 5> kDivided{"train", "cv", "eval", "predict", "pack"};
  if (job_ranks().size() > 1 && std::ranges::find(kDivided, command) == kDivided.end()) {
    core::throw_input_error({}, "medfusion {}: expected one rank, got {}; ranks divide {}", command,
                            job_ranks().size(), fmt::join(kDivided, ", "));
  }
  action();
  if (std::fflush(stdout) != 0) throw_output_error();
  return kSuccess;
}

// Ends the whole job where it has several ranks: the others may wait for this one for ever. Rank 0 goes
// first, for what one rank finds out all may find out.
int fail(int code, const std::string& message) {
  if (!core::launched_by_mpi() || !core::has_mpi() || job_ranks().size() == 1) return report(code, message);
  constexpr std::chrono::milliseconds kForRankZero{500};
  if (!is_speaker()) std::this_thread::sleep_for(kForRankZero);
  tell_from_any_rank(fmt::format("medfusion: {}: {}", name_of_rank(), one_line(message)));
  core::abort_mpi(code);
}

}  // namespace

int run_program(const std::vector<std::string>& arguments) {
  try {
    hush_other_ranks();
    return run_command(arguments);
  } catch (const core::InputError& error) {
    return fail(kBadInput, error.what());
  } catch (const Interrupted& error) {  // every rank is
    return report(128 + error.signal(), error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    const bool bad = error.code() == std::errc::filename_too_long;
    return fail(bad ? kBadInput : kFailure,
                fmt::format("{}: {}", error.path1().string(), error.code().message()));
  } catch (const std::bad_alloc&) {
    return fail(kFailure, "out of memory");
  } catch (const std::exception& error) {
    return fail(kFailure, error.what());
  }
}

}  // namespace medfusion::tools
