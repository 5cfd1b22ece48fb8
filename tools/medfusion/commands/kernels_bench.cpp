// medfusion kernels bench: how fast the cases marked `bench` run, beside the device's ceilings and a peer.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "core/file.h"
#include "core/threads.h"
#include "kernels/registry.h"
#include "kernels/simulator/device_type.h"
#include "kernels/workshop/check.h"
#include "kernels/workshop/time_case.h"
#include "tools/medfusion/commands/kernels.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/text_file.h"
#include "tools/medfusion/workshop/roofline.h"

namespace medfusion::tools {
namespace {

struct BenchOptions {
  CommonOptions common;
  std::string operation;
  std::string direction = "each", precision = "each";
  std::vector<std::string> cases;  // parts of names; empty: all
  bool lines = false;
  kernels::TimeOptions time;
  bool peer = false;
  std::string python = "python3";
  std::string peer_script = "bench/peers/kernels_torch.py";
  std::string json_file, plot_folder;
};

// A ceiling; 0 stands for none.
std::optional<double> known(double ceiling) { return ceiling > 0.0 ? std::optional(ceiling) : std::nullopt; }

struct TimedRow {
  std::string operation, variant;
  kernels::Pass pass = kernels::Pass::forward;
  core::DType precision = core::DType::f32;
  std::string case_name;
  kernels::Timing timing;
  double flops = 0.0, bytes = 0.0;
  std::map<std::string, double> peers;  // name -> median seconds
  // name -> bytes, where the peer counts them
  std::map<std::string, int64_t> peer_memory, peer_reserved;

  std::string direction() const { return kernels::name_of(pass); }
  std::string key() const {
    return fmt::format("{} {} {} {}", operation, direction(), core::name_of(precision), case_name);
  }
  // Of the ceilings: of the memory, and of the arithmetic in the row's precision where there is one.
  double share_of_copy(const kernels::Ceilings& c) const {
    return bytes / timing.median / c.bytes_per_second_of(bytes);
  }
  std::optional<double> share_of_product(const kernels::Ceilings& c) const {
    const auto ceiling = known(c.flops_of(precision));
    return ceiling ? std::optional(flops / timing.median / *ceiling) : std::nullopt;
  }
  std::string name() const { return fmt::format("{}/{} {} {}", operation, variant, direction(), case_name); }
};

// What the peer script is told of a case: one line of JSON.
nlohmann::ordered_json described(const kernels::OpCase& op_case, const TimedRow& row) {
  nlohmann::ordered_json inputs;
  for (const kernels::Slot& slot : op_case.inputs) {
    inputs[slot.name] = std::vector<int64_t>(slot.shape.begin(), slot.shape.end());
  }
  return {{"key", row.key()},
          {"operation", row.operation},
          {"direction", row.direction()},
          {"precision", core::name_of(row.precision)},
          {"case", row.case_name},
          {"inputs", inputs},
          {"sets", row.timing.sets}};
}

std::vector<kernels::Pass> passes_of(const std::string& direction) {
  using kernels::Pass;
  if (direction == "forward") return {Pass::forward};
  if (direction == "backward") return {Pass::backward};
  if (direction == "both") return {Pass::both};
  return {Pass::forward, Pass::backward};
}

bool wants(const BenchOptions& options, const std::string& case_name) {
  const auto& parts = options.cases;
  return parts.empty() || std::any_of(parts.begin(), parts.end(), [&](const std::string& part) {
           return case_name.find(part) != std::string::npos;
         });
}

// Calls done(row) after each.
template <class Done>
std::vector<TimedRow> measure(const BenchOptions& options, core::Device device, std::string& request,
                              const Done& done) {
  const OperationAndVariant wanted = parse_operation(options.operation);
  std::vector<TimedRow> rows;
  for (const std::string& operation : kernels::operations_with_cases()) {
    if (!wanted.operation.empty() && operation != wanted.operation) continue;
    for (const kernels::OpCase& op_case : kernels::cases_of(operation)) {
      if (!op_case.bench || !wants(options, op_case.name)) continue;
      for (const std::string& variant : kernels::variants_of(operation, device.type)) {
        if (!wanted.variant.empty() && variant != wanted.variant) continue;
        for (const kernels::Pass pass : passes_of(options.direction)) {
          if (pass != kernels::Pass::forward && !op_case.backward) continue;
          for (const core::DType precision : {core::DType::f32, core::DType::bf16}) {
            if (options.precision != "each" && options.precision != core::name_of(precision)) continue;
            TimedRow row{operation, variant, pass, precision, op_case.name, {}, 0.0, 0.0, {}, {}, {}};
            try {
              row.timing = kernels::time_case(op_case, variant, pass, device, precision, options.time);
            } catch (const kernels::NoVariant&) {
              continue;
            }
            row.flops = kernels::flops_of(op_case, pass);
            row.bytes = kernels::bytes_of(op_case, pass) * (precision == core::DType::bf16 ? 0.5 : 1.0);
            request += described(op_case, row).dump() + "\n";
            done(row);
            rows.push_back(std::move(row));
          }
        }
      }
    }
  }
  return rows;
}

// Runs the peer script on the same shapes; it answers one line per case: {"key", "seconds": {peer: median},
// "peak_bytes": {peer: bytes}, "reserved_bytes": {peer: bytes}}, the last two where it counts them.
// Calls done(row) for each row of a line as it comes.
template <class Done>
void ask_peer(const BenchOptions& options, core::Device device, const std::string& request,
              std::vector<TimedRow>& rows, const Done& done) {
  if (!std::filesystem::exists(options.peer_script)) {
    core::throw_input_error({options.peer_script}, "expected the peer script; run in the source folder");
  }
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / fmt::format("medfusion-bench-{}", ::getpid());
  core::write_file(file.string(), request);
  const std::string command =
      fmt::format("'{}' '{}' --cases '{}' --device {} --threads {} --seconds {}{}", options.python,
                  options.peer_script, file.string(), core::name_of(device.type), core::num_threads(),
                  options.time.seconds, options.time.graph ? " --graph" : "");
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(::popen(command.c_str(), "r"), ::pclose);
  MEDFUSION_CHECK(pipe != nullptr, "kernels bench: {} cannot be started", options.python);
  const auto take = [&](const std::string& text) {
    const auto line = nlohmann::json::parse(text, nullptr, false);
    MEDFUSION_CHECK(line.is_object() && line.contains("key") && line.contains("seconds"),
                    "kernels bench: {} answered something else than a line per case", options.peer_script);
    for (TimedRow& row : rows) {
      if (row.key() != line["key"].get<std::string>()) continue;
      row.peers = line["seconds"].get<std::map<std::string, double>>();
      row.peer_memory = line.value("peak_bytes", std::map<std::string, int64_t>());
      row.peer_reserved = line.value("reserved_bytes", std::map<std::string, int64_t>());
      done(row);
    }
  };
  std::string text;
  for (int c = std::fgetc(pipe.get()); c != EOF; c = std::fgetc(pipe.get())) {
    if (c != '\n') {
      text += static_cast<char>(c);
    } else {
      take(std::exchange(text, {}));
    }
  }
  std::filesystem::remove(file);
  if (!text.empty()) take(text);
}

nlohmann::ordered_json row_json(const TimedRow& row, const kernels::Ceilings& ceilings) {
  return {{"operation", row.operation},
          {"variant", row.variant},
          {"direction", row.direction()},
          {"precision", core::name_of(row.precision)},
          {"case", row.case_name},
          {"median_s", row.timing.median},
          {"p10_s", row.timing.low},
          {"p90_s", row.timing.high},
          {"calls", row.timing.calls},
          {"sets", row.timing.sets},
          {"flops", row.flops},
          {"bytes", row.bytes},
          {"share_of_copy", row.share_of_copy(ceilings)},
          {"share_of_product", or_null(row.share_of_product(ceilings))},
          {"peak_bytes", row.timing.peak_bytes},
          {"reserved_bytes", row.timing.reserved_bytes},
          {"peers_s", row.peers},
          {"peers_peak_bytes", row.peer_memory},
          {"peers_reserved_bytes", row.peer_reserved}};
}

// What holds for all rows.
nlohmann::ordered_json head_json(const kernels::Ceilings& ceilings, core::Device device, bool graph) {
  nlohmann::ordered_json by_size = nlohmann::ordered_json::array();
  for (const kernels::MemoryRate& rate : ceilings.by_size)
    by_size.push_back({{"bytes", rate.bytes}, {"bytes_per_second", rate.bytes_per_second}});
  return {{"device", core::name_of(device.type)},
          {"threads", core::num_threads()},
          {"graph", graph},
          {"ceilings",
           {{"copy_bytes_per_second", ceilings.bytes_per_second},
            {"memory_by_size", by_size},
            {"matrix_product_flops_per_second", ceilings.flops_per_second},
            {"bf16_matrix_product_flops_per_second", or_null(known(ceilings.bf16_flops_per_second))}}}};
}

std::string text_of(const kernels::Ceilings& ceilings) {
  const double memory = ceilings.bytes_per_second * 1e-9, flops = ceilings.flops_per_second * 1e-9;
  if (!ceilings.by_size.empty()) {
    const kernels::MemoryRate &small = ceilings.by_size.front(), &large = ceilings.by_size.back();
    return fmt::format(
        "ceilings measured first, the best of their batches: f32 multiply-adds in registers {:.1f} GFLOP/s;\n"
        "loops over memory, from {:.1f} GB/s ({} KiB) to {:.1f} GB/s ({} MiB): a row is compared with those "
        "over as much\n",
        flops, small.bytes_per_second * 1e-9, small.bytes >> 10, memory, large.bytes >> 20);
  }
  return fmt::format(
      "ceilings measured first: copy {:.1f} GB/s, f32 matrix product {:.1f} GFLOP/s, bf16 matrix product "
      "{:.1f} "
      "GFLOP/s; GFLOP/s of a row are compared with the product of its type\n",
      memory, flops, ceilings.bf16_flops_per_second * 1e-9);
}

std::string table_of(const std::vector<TimedRow>& rows, const kernels::Ceilings& ceilings) {
  std::string text = text_of(ceilings);
  size_t width = 4;
  for (const TimedRow& row : rows) width = std::max(width, row.name().size());
  text += fmt::format("{:<{}} {:>4} {:>10} {:>17} {:>8} {:>5} {:>9} {:>5} {:>9} {:>11}  {}\n", "case", width,
                      "type", "median ms", "p10-p90 ms", "GB/s", "%", "GFLOP/s", "%", "peak MB",
                      "reserved MB", "best peer / ours");
  for (const TimedRow& row : rows) {
    const double bytes = row.bytes / row.timing.median, flops = row.flops / row.timing.median;
    const auto product = row.share_of_product(ceilings);
    std::string peer = "-";
    if (!row.peers.empty()) {
      const auto best = std::min_element(row.peers.begin(), row.peers.end(),
                                         [](const auto& a, const auto& b) { return a.second < b.second; });
      peer = fmt::format("{:.2f}x ({} {:.3f} ms)", best->second / row.timing.median, best->first,
                         best->second * 1e3);
      const auto add = [&](const char* what, const std::map<std::string, int64_t>& theirs, int64_t ours) {
        const auto found = theirs.find(best->first);
        if (found == theirs.end()) return;
        peer +=
            fmt::format(", {} {:.2f}x", what, static_cast<double>(found->second) / static_cast<double>(ours));
      };
      add("memory", row.peer_memory, row.timing.peak_bytes);
      add("reserved", row.peer_reserved, row.timing.reserved_bytes);
    }
    text += fmt::format(
        "{:<{}} {:>4} {:>10.4f} {:>17} {:>8.1f} {:>4.0f}% {:>9.1f} {:>5} {:>9.2f} {:>11.2f}  {}\n",
        row.name(), width, core::name_of(row.precision), row.timing.median * 1e3,
        fmt::format("{:.4f}-{:.4f}", row.timing.low * 1e3, row.timing.high * 1e3), bytes * 1e-9,
        100 * row.share_of_copy(ceilings), flops * 1e-9,
        product ? fmt::format("{:.0f}%", 100 * *product) : "-",
        static_cast<double>(row.timing.peak_bytes) * 1e-6,
        static_cast<double>(row.timing.reserved_bytes) * 1e-6, peer);
  }
  return text;
}

void write_plots(const BenchOptions& options, const std::vector<TimedRow>& rows,
                 const kernels::Ceilings& ceilings, core::Device device) {
  std::filesystem::create_directories(options.plot_folder);
  std::map<std::string, std::vector<RooflinePoint>> by_operation;
  for (const TimedRow& row : rows) {
    by_operation[row.operation].push_back(
        {fmt::format("{} {} {}", row.variant, row.direction(), row.case_name),
         row.bytes > 0 ? row.flops / row.bytes : 0.0, row.flops / row.timing.median, row.precision});
  }
  for (const auto& [operation, points] : by_operation) {
    const auto file = std::filesystem::path(options.plot_folder) / (operation + ".svg");
    core::write_file(
        file.string(),
        roofline_svg(fmt::format("{} on {}", operation, core::name_of(device.type)), ceilings, points));
  }
}

void bench(const BenchOptions& options) {
  check_output_file("--json", options.json_file, ".json", {});
  if (!options.plot_folder.empty()) check_output_folder("--plot", options.plot_folder, {}, {});
  use_threads(options.common.threads.value_or(0));
  const core::Device device = use_device(options.common);
  if (device.type == simulator::kDeviceType) {
    core::throw_input_error({}, "kernels bench: the simulated device has no speed; choose cpu or cuda");
  }
  if (options.time.graph && device.type == core::DeviceType::cpu) {
    core::throw_input_error({}, "kernels bench: --graph needs a GPU; on the cpu calls are not launched");
  }
  parse_operation(options.operation);
  const kernels::Ceilings ceilings = kernels::measure_ceilings(device);
  // With --lines a row is printed when it is timed, and again when its peers are.
  const auto print_row = [&](const TimedRow& row) {
    if (options.lines) print_line(row_json(row, ceilings));
  };
  nlohmann::ordered_json json = head_json(ceilings, device, options.time.graph);
  if (options.lines) print_line(json);
  std::string request;
  std::vector<TimedRow> rows = measure(options, device, request, print_row);
  if (rows.empty()) {
    core::throw_input_error({}, "kernels bench: no case of '{}' to time on {}", options.operation,
                            core::name_of(device.type));
  }
  if (options.peer) ask_peer(options, device, request, rows, print_row);
  json["rows"] = nlohmann::ordered_json::array();
  for (const TimedRow& row : rows) json["rows"].push_back(row_json(row, ceilings));
  if (!options.json_file.empty()) core::write_file(options.json_file, json.dump(2) + "\n");
  if (!options.plot_folder.empty()) write_plots(options, rows, ceilings, device);
  if (options.common.json) {
    print_json(json);
  } else if (!options.common.quiet && !options.lines) {
    print_text(table_of(rows, ceilings));
  }
}

}  // namespace

void add_kernels_bench_command(CLI::App& kernels, Action& action) {
  CLI::App* command = kernels.add_subcommand("bench", "Time the benchmark cases");
  auto options = std::make_shared<BenchOptions>();
  add_value(*command, "operation", options->operation, "OPERATION[/VARIANT]",
            "Only this operation, or one variant of it");
  add_choice(*command, "--direction", options->direction, "TEXT", {"forward", "backward", "both", "each"},
             "What a call runs; both: forward and backward together; each: both, separately");
  add_choice(*command, "--precision", options->precision, "TEXT", {"f32", "bf16", "each"},
             "Only cases in f32 or in bf16; each: both");
  add_value(*command, "--case", options->cases, "TEXT",
            "Only cases whose name contains this; may be repeated");
  command->add_flag(
      "--graph", options->time.graph,
      "Replay the calls as one captured graph, ours and the peer's; this leaves out the cost of launches");
  add_value(*command, "--seconds", options->time.seconds, "S", "Time spent on each case and variant")
      ->check(CLI::Range(0.01, 600.0))
      ->capture_default_str();
  command->add_flag("--peer", options->peer, "Time PyTorch on the same shapes afterwards, in the same run");
  add_value(*command, "--python", options->python, "PROGRAM", "The Python that has PyTorch")
      ->capture_default_str();
  add_value(*command, "--peer-script", options->peer_script, "FILE", "Script that --peer runs")
      ->capture_default_str();
  add_value(*command, "--plot", options->plot_folder, "DIR",
            "Write a roofline plot of each operation into this folder, as SVG");
  add_common_options(*command, options->common);
  command->remove_option(command->get_option("--json"));
  CLI::Option* json = add_value(*command, "--json", options->json_file, "FILE",
                                "Write the results to this file as JSON; without FILE print them")
                          ->expected(0, 1);
  command
      ->add_flag(
          "--lines", options->lines,
          "Print the ceilings and each row as a JSON line as soon as it is timed, and again with its peers")
      ->excludes(json);
  command->footer("Example:\n  medfusion kernels bench layer_norm --threads 1 --plot plots");
  command->callback([=, &action] {
    options->common.json = json->count() > 0 && options->json_file.empty();
    action = [=] { bench(*options); };
  });
}

}  // namespace medfusion::tools
