// medfusion synth: phantom data in the NIH layout.
#include <fmt/format.h>

#include <memory>

#include "data/phantom/phantom.h"
#include "tools/medfusion/commands/common.h"
#include "tools/medfusion/commands/outputs.h"

namespace medfusion::tools {
namespace {

struct SynthOptions {
  CommonOptions common;
  std::string out;
  data::PhantomOptions phantom;
};

void synth(const SynthOptions& options) {
  use_threads(options.common.threads.value_or(0));
  data::PhantomOptions phantom = options.phantom;
  if (options.common.seed) phantom.seed = static_cast<uint64_t>(*options.common.seed);
  check_output_folder("--out", options.out, {}, {});
  data::write_phantom(options.out, phantom);
  print_result(
      options.common,
      {{"folder", options.out}, {"images", phantom.images}, {"size", phantom.size}, {"seed", phantom.seed}},
      fmt::format("wrote {0} images of {1}x{1} to {2}\n", phantom.images, phantom.size, options.out));
}

}  // namespace

void add_synth_command(CLI::App& program, Action& action) {
  CLI::App* command =
      program.add_subcommand("synth", "Make phantom data: chest-like images with planted findings");
  const auto options = std::make_shared<SynthOptions>();
  add_value(*command, "--out", options->out, "DIR", "Folder to write, in the NIH layout")->required();
  add_number(*command, "--images", options->phantom.images, "N", 8, 1000000, "Number of images");
  add_number(*command, "--size", options->phantom.size, "PIXELS", 32, 2048, "Height and width in pixels");
  add_common_options(*command, options->common);
  command->footer("Example:\n  medfusion synth --out phantom --images 2000 --size 64 --seed 1");
  command->callback([options, &action] { action = [options] { synth(*options); }; });
}

}  // namespace medfusion::tools
