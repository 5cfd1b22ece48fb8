// medfusion pack: the images of a configuration, decoded and resized once, in one file.
#include "data/pack.h"

#include <fmt/format.h>

#include <memory>

#include "optim/progress.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"
#include "tools/medfusion/config/options.h"
#include "tools/medfusion/run/guard.h"
#include "tools/medfusion/run/ranks.h"
#include "tools/medfusion/run/skipped_rows.h"

namespace medfusion::tools {
namespace {

struct PackOptions {
  CommonOptions common;
  ConfigOptions config;
  std::string out;
};

// What the command takes of a configuration.
data::DataOptions checked_options(const PackOptions& options, Config config) {
  if (config.data.format == data::DataFormat::none)
    core::throw_input_error({options.config.file}, "data.format: expected data, got \"none\"");
  if (!config.data.image.round_pixels) {
    core::throw_input_error({options.config.file},
                            "data.round_pixels: expected true, for a pack holds whole numbers of 0 to 255; "
                            "training from the image files then rounds as well");
  }
  config.data.pack.clear();  // which may be what is made here
  check_output_file("--out", options.out, ".safetensors", files_of(config));
  return to_data_options(config);
}

void pack(const PackOptions& options) {
  const Config config = read_config(options.config, options.common).build();
  use_threads(config.threads);
  const data::DataOptions data_options = checked_options(options, config);
  data::Dataset dataset = data::read_dataset(data_options);
  const bool shown = options.common.shows_progress();
  optim::ProgressOptions progress_options;
  progress_options.quiet = !shown;
  optim::Progress progress(progress_options);
  data::PackJob job;
  job.path = options.out;
  job.skip_unreadable = data_options.on_error == data::OnError::skip;
  if (shown) job.note = [](const std::string& text) { print_remarks({text}, {}); };
  job.begun = [&](int64_t finished, int64_t left) {
    if (finished > 0)
      job.note(fmt::format("{}: goes on, {} of {} rows are done", job.path, finished, finished + left));
    progress.begin("pack", (left + data::kPackedAtOnce - 1) / data::kPackedAtOnce);
  };
  job.advanced = [&](int64_t rows) { progress.advance(rows); };
  if (shown) print_remarks(dataset.notes, {});
  const data::PackResult result = data::make_pack(dataset, data_options.image, job, several_ranks());
  progress.end();
  dataset.skipped = result.skipped;
  if (shown) print_skipped(dataset);
  const std::string what = fmt::format("{0} images of {1}x{1}x{2}", result.images, data_options.image.size,
                                       result.stored_channels);
  print_result(options.common,
               {{"file", options.out},
                {"rows", result.rows},
                {"images", result.images},
                {"size", data_options.image.size},
                {"channels", result.stored_channels},
                {"finished_before", result.finished},
                {"skipped", result.skipped.size()}},
               result.was_there ? fmt::format("{}: holds these {} already, and their checksums are right\n",
                                              options.out, what)
                                : fmt::format("wrote {} to {}\n", what, options.out));
}

}  // namespace

void add_pack_command(CLI::App& program, Action& action) {
  CLI::App* command = program.add_subcommand(
      "pack", "Decode and resize the images of a configuration once, into one file for training");
  const auto options = std::make_shared<PackOptions>();
  add_config_options(*command, options->config);
  add_value(*command, "--out", options->out, "FILE", "File to write; data.pack names it in training")
      ->required();
  add_common_options(*command, options->common);
  command->footer(
      "The file is in the safetensors format: the resized pixels (images, 8 bits), a checksum for each row\n"
      "(checksums), whether the row has an image (present), and the ids. Training from it gives the same as\n"
      "training from the images. Where the command was ended, the same command goes on; where the file is\n"
      "whole, it compares all checksums (docs/data.md).\n"
      "Example (after medfusion synth --out phantom):\n"
      "  medfusion pack phantom --set data.round_pixels=true --out phantom/pack.safetensors\n"
      "  medfusion train phantom --set data.round_pixels=true --set data.pack=pack.safetensors");
  command->callback([options, &action] { action = [options] { pack(*options); }; });
}

}  // namespace medfusion::tools
