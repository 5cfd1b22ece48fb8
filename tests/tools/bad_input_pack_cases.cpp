// Rows of the bad-input table: packed images.
#include "tests/tools/bad_input_table.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

const std::string kRounded = " --set data.round_pixels=true";
const std::string kPackAll = "pack tiny.toml --quiet" + kRounded + " --out ";
const std::string kTrainPacked =
    "train tiny.toml --out new --quiet" + kRounded + " --set data.pack=p.safetensors";
const std::string kPackFile = "phantom/p.safetensors";

// The pack of the phantom images, changed.
auto pack_of(const std::function<void(const fs::path& file)>& damage, const std::string& size = "32") {
  return [=](const fs::path& folder) {
    const Outcome packed = run_in(folder, {"pack", "tiny.toml", "--quiet", "--set", "data.round_pixels=true",
                                           "--set", "data.image_size=" + size, "--out", kPackFile});
    if (packed.code != 0) throw std::runtime_error(packed.err);
    damage(folder / kPackFile);
  };
}

void nothing(const fs::path& /*unused*/) {}

// The 48 images of 32 x 32 end before their bytes `present` and their ids of 16 bytes with zero bytes
// between.
void flip_a_bit_of_each(const fs::path& file) {
  std::string bytes = contents(file);
  const size_t end = bytes.size() - (48 * 17 - 1) - 48;
  for (size_t place = end - 48 * 32 * 32; place < end; place += 32 * 32)
    bytes[place] = static_cast<char>(bytes[place] ^ 1);
  write(file, bytes);
}

}  // namespace

std::vector<BadInputCase> pack_cases() {
  const std::string again = "; medfusion pack makes it anew";
  return {
      {"a pack without rounding", "nothing is damaged", "pack tiny.toml --out p.safetensors", 2,
       "tiny.toml: data.round_pixels: expected true, for a pack holds whole numbers of 0 to 255; training "
       "from the "
       "image files then rounds as well",
       nothing},
      {"training from a pack without rounding", "nothing is damaged",
       "train tiny.toml --out new --set data.pack=p.safetensors", 2,
       "--set data.pack=p.safetensors: data.pack: expected data.round_pixels = true with a pack, which holds "
       "whole "
       "numbers of 0 to 255",
       nothing},
      {"a pack of a table", "the data has no images",
       "pack csv.toml --quiet --set data.image_column=" + kRounded + " --out p.safetensors", 2,
       "expected data with images (data.image_column), got none", nothing},
      {"a pack over weights", "`w.safetensors`: weights", kPackAll + "w.safetensors", 2,
       "w.safetensors: expected a file of medfusion pack or none, got another file",
       [](const fs::path& folder) { fs::copy(folder / "run/best.safetensors", folder / "w.safetensors"); }},
      {"a pack called like a table", "nothing is damaged", kPackAll + "p.csv", 2,
       "--out p.csv: expected a name that ends with .safetensors, got .csv", nothing},
      {"no such pack", "nothing is there", kTrainPacked, 2,
       kPackFile + ": cannot open the pack: No such file or directory", nothing},
      {"weights for a pack", "`p.safetensors`: weights", kTrainPacked, 2,
       kPackFile + ": expected a file of medfusion pack, got another file",
       [](const fs::path& folder) { fs::copy(folder / "run/best.safetensors", folder / kPackFile); }},
      {"a pack of another size", "a pack of images of 16 x 16", kTrainPacked, 2,
       kPackFile + ": expected a pack for data.image_size = 32, got one for 16" + again,
       pack_of(nothing, "16")},
      {"a pack of other data", "a line more in a list", kTrainPacked, 2,
       kPackFile +
           ": expected a pack of these data, whose hash is ..., got one of the hash ...: a table, a list or "
           "an "
           "image has changed, or they are other data" +
           again,
       pack_of([](const fs::path& file) {
         std::ofstream(file.parent_path() / "train_val_list.txt", std::ios::app) << "\n";
       })},
      {"a damaged pack", "one bit of each image flipped", kTrainPacked, 2,
       kPackFile + ": damaged: the pixels of row ... have another checksum than the pack states" + again,
       pack_of(flip_a_bit_of_each)},
      {"a pack cut short", "half of it", kTrainPacked, 2,
       kPackFile + ": cut short: expected ... bytes, got ...",
       pack_of([](const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); })},
  };
}

}  // namespace medfusion::tools
