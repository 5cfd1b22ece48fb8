// Rows of the bad-input table: weights, configurations, runs, outputs, and rows that are left out.
#include "tests/tools/bad_input_table.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;

const std::string kInit = "train tiny.toml --out new --init w.safetensors --quiet";
const std::string kPredictAll = "predict run --images phantom/images";
const std::string kUnread = "expected a PNG or JPEG image, got an empty file";

// A file of weights with this header and data.
BadInputCase weights_case(const std::string& name, const std::string& made, const std::string& header,
                          const std::string& message) {
  return {name,
          made,
          kInit,
          2,
          "w.safetensors: " + message,
          file_of("w.safetensors", little_endian(header.size(), 8) + header)};
}

BadInputCase settings_case(const std::string& name, const std::string& made, const std::string& text,
                           const std::string& message) {
  return {name, made, "train bad.toml --out new", 2, "bad.toml:" + message, file_of("bad.toml", text)};
}

// What an output would replace is there, and nothing is damaged.
BadInputCase output_case(const std::string& name, const std::string& command, const std::string& message) {
  return {name, "nothing is damaged", command, 2, message, [](const fs::path& folder) {
            write(folder / "a.file", "mine");
            fs::create_directory(folder / "a.folder");
            fs::copy(folder / "run", folder / "other");
          }};
}

void empty_images(const fs::path& folder, int first, int last) {
  for (int i = first; i < last; ++i) write(folder / "set/photo" / (std::to_string(i) + ".png"), "");
}

}  // namespace

std::vector<BadInputCase> weights_cases() {
  return {
      {"weights of no bytes", "nothing", kInit, 2,
       "w.safetensors: cut short: expected a safetensors header of at least 8 bytes, got a file of 0",
       file_of("w.safetensors", "")},
      {"weights with a huge header", "its length says 2^63", kInit, 2,
       "w.safetensors: not a safetensors file: the header would have 9223372036854775808 bytes, at most "
       "100000000 "
       "are allowed",
       file_of("w.safetensors", little_endian(uint64_t{1} << 63, 8) + "{}")},
      {"weights with a header beyond their end", "its length says 1000", kInit, 2,
       "w.safetensors: cut short: the header should have 1000 bytes, the file holds 2 after its length",
       file_of("w.safetensors", little_endian(1000, 8) + "{}")},
      weights_case("weights with a deep header", "100,000 lists in each other",
                   "{\"a\":" + std::string(100000, '['),
                   "bad header: expected lists and objects at most 16 deep, got more"),
      weights_case("weights with a number too large", "an offset of 1e999",
                   R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e999]}})",
                   "bad header: it holds a number that is too large"),
      weights_case("weights beyond the end of their file", "a tensor ends at byte 4000000000000",
                   R"({"a":{"dtype":"U8","shape":[4000000000000],"data_offsets":[0,4000000000000]}})",
                   "cut short: \"a\" ends at byte 4000000000000 of the data, but the file holds 0"),
      weights_case(
          "weights of a shape too large", "2^62 x 2^62 elements",
          R"({"a":{"dtype":"F32","shape":[4611686018427387904,4611686018427387904],"data_offsets":[0,0]}})",
          "bad header: shape of \"a\" is too large: [4611686018427387904, 4611686018427387904]"),
      {"no such weights", "nothing is there", kInit, 2,
       "w.safetensors: cannot open: No such file or directory", [](const fs::path&) {}},
  };
}

std::vector<BadInputCase> settings_cases() {
  return {
      settings_case("a configuration of brackets", "`[[[`", "[[[", "..."),
      settings_case("a deep configuration", "100,000 lists in each other, over many lines",
                    "a = " + repeated(std::string(1000, '[') + "\n", 100), "..."),
      settings_case("a long line in a configuration", "a key of 9000 letters",
                    std::string(9000, 'a') + " = 1\n", "1: expected lines of at most 8192 characters"),
      settings_case("a key that is not there", "`epoch` for `epochs`", "[train]\nepoch = 1\n",
                    "2:1: unknown key train.epoch; did you mean train.epochs?"),
      settings_case("a value of another type", "`epochs = \"ten\"`", "[train]\nepochs = \"ten\"\n",
                    "2:10: train.epochs: expected integer at least 0, got text 'ten'"),
      {"no such configuration", "nothing is there", "train bad.toml --out new", 2, "bad.toml...",
       [](const fs::path&) {}},
  };
}

std::vector<BadInputCase> run_cases() {
  return {
      {"deep JSON in a run", "`preprocessing.json`: 100,000 lists in each other", kPredictAll, 2,
       "run/preprocessing.json: expected lists and objects in each other at most 100 deep, got more",
       file_of("run/preprocessing.json", std::string(100000, '['))},
      {"JSON cut short in a run", "half of `preprocessing.json`", kPredictAll, 2,
       "run/preprocessing.json:...: expected JSON, the file is damaged",
       cut_of("run/preprocessing.json", 0.5)},
      {"a number too large in a run", "`preprocessing.json`: 1e999", kPredictAll, 2,
       "run/preprocessing.json: expected JSON, it holds a number that is too large",
       file_of("run/preprocessing.json", "[1e999]")},
      {"JSON of another form in a run", "`preprocessing.json`: a list", kPredictAll, 2,
       "run/preprocessing.json: expected table, text, thresholds, calibration and risk as train writes them",
       file_of("run/preprocessing.json", "[1]")},
      {"a run without calibration", "`preprocessing.json`: `calibration` is empty", kPredictAll, 2,
       "run/preprocessing.json: expected a threshold, a calibration and risk levels for each of the ... "
       "labels, got "
       "..., 0 and ...",
       [](const fs::path& folder) {
         const std::string text = contents(folder / "run/preprocessing.json");
         const size_t begin = text.find("\"calibration\": ["), end = text.find("\n  ]", begin);
         write(folder / "run/preprocessing.json", text.substr(0, begin + 16) + text.substr(end));
       }},
      {"a scale below 0", "`preprocessing.json`: the first `scale` is -1", kPredictAll, 2,
       "run/preprocessing.json: expected the scale of 'age' to be at least 0, got -1",
       [](const fs::path& folder) {
         const std::string text = contents(folder / "run/preprocessing.json");
         const size_t begin = text.find("\"scale\": ") + 9, end = text.find_first_of(",}\n", begin);
         write(folder / "run/preprocessing.json", text.substr(0, begin) + "-1" + text.substr(end));
       }},
      {"an unknown calibration", "`preprocessing.json`: its method is `magic`", kPredictAll, 2,
       "run/preprocessing.json: calibration: no method 'magic'",
       [](const fs::path& folder) {
         const std::string text = contents(folder / "run/preprocessing.json");
         const size_t begin = text.find("\"method\": ", text.find("\"calibration\"")) + 10;
         write(folder / "run/preprocessing.json",
               text.substr(0, begin) + "\"magic\"" + text.substr(text.find('"', begin + 1) + 1));
       }},
      {"a deep schema", "`schema.json`: 100,000 lists in each other", kPredictAll, 2,
       "run/schema.json: expected lists and objects in each other at most 100 deep, got more",
       file_of("run/schema.json", std::string(100000, '['))},
      {"deep data.json", "100,000 lists in each other", "report run", 2,
       "run/data.json: expected lists and objects in each other at most 100 deep, got more",
       file_of("run/data.json", std::string(100000, '['))},
      {"a label twice in a run", "`labels.txt`: two equal lines", kPredictAll, 2,
       "run/labels.txt:2:1: label 'Mass' is there twice", file_of("run/labels.txt", "Mass\nMass\n")},
      {"no labels in a run", "`labels.txt`: nothing", kPredictAll, 2,
       "run/labels.txt: expected one label name per line, got none", file_of("run/labels.txt", "")},
      {"weights of a run cut short", "half of `best.safetensors`", kPredictAll, 2,
       "run/best.safetensors: cut short: ...", cut_of("run/best.safetensors", 0.5)},
      {"a run without a file", "`labels.txt` is removed", kPredictAll, 2,
       "run: not a complete run: labels.txt is missing",
       [](const fs::path& folder) { fs::remove(folder / "run/labels.txt"); }},
      {"no run", "nothing is there", "predict none --images phantom/images", 2,
       "none: expected the folder of a run, there is none", [](const fs::path&) {}},
      {"deep JSON of a cross-validation", "`cv.json`: 100,000 lists in each other", "report run", 2,
       "run/cv.json: expected lists and objects in each other at most 100 deep, got more",
       file_of("run/cv.json", std::string(100000, '['))},
      {"a name that is too long", "300 letters", "eval " + std::string(300, 'x'), 2,
       std::string(300, 'x') + ": ...", [](const fs::path&) {}},
  };
}

std::vector<BadInputCase> output_cases() {
  const std::string other_file = ": expected another file than what is read";
  return {
      output_case("predictions over an image", "predict run --images set/photo/0.png --out set/photo/0.png",
                  "--out set/photo/0.png" + other_file),
      output_case("predictions over an image of the folder",
                  "predict run --images set/photo --out set/photo/0.png",
                  "--out set/photo/0.png: expected a name that ends with .csv, got .png"),
      output_case("predictions called like an image",
                  "predict run --images set/photo --out set/photo/new.png",
                  "--out set/photo/new.png: expected a name that ends with .csv, got .png"),
      output_case("predictions over the table",
                  "predict run --table phantom/Data_Entry_2017.csv --out phantom/Data_Entry_2017.csv",
                  "--out phantom/Data_Entry_2017.csv" + other_file),
      output_case("predictions over weights", kPredictAll + " --out run/best.safetensors",
                  "--out run/best.safetensors: expected a name that ends with .csv, got .safetensors"),
      output_case("predictions over the labels of a run", kPredictAll + " --out run/labels.txt",
                  "--out run/labels.txt: expected another file than one of a run"),
      {"predictions over those of a cross-validation", "`cv/cv.json` is there",
       kPredictAll + " --out cv/predictions.csv", 2,
       "--out cv/predictions.csv: expected another file than one of a run",
       [](const fs::path& folder) {
         fs::create_directory(folder / "cv");
         write(folder / "cv/cv.json", "{}");
         write(folder / "cv/predictions.csv", "mine");
       }},
      output_case("predictions into a folder that is not there", kPredictAll + " --out none/p.csv",
                  "--out none/p.csv: expected a file in a folder, none is none"),
      output_case("predictions over a folder", kPredictAll + " --out a.folder",
                  "--out a.folder: expected a file, this is a folder"),
      output_case("an evaluation into a file", "eval run --out a.file",
                  "--out a.file: expected a folder, this is a file"),
      output_case("an evaluation below a file", "eval run --out a.file/e",
                  "--out a.file/e: expected a folder, a.file is a file"),
      output_case("an evaluation into another run", "eval run --out other",
                  "--out other: expected another folder than that of another run"),
      output_case("a report over the configuration", "report run --out run/config.toml",
                  "--out run/config.toml: expected a name that ends with .html, got .toml"),
      output_case("a report over the log", "report run --out run/train.log",
                  "--out run/train.log: expected another file than one of a run"),
      output_case("a report into a folder that is not there", "report run --out none/r.html",
                  "--out none/r.html: expected a file in a folder, none is none"),
      output_case("figures into the run", "report run --figures run",
                  "--figures run: expected another folder than that of the run"),
      output_case("figures into a file", "report run --figures a.file",
                  "--figures a.file: expected a folder, this is a file"),
      output_case("an explanation into a file", "explain run --split test --out a.file",
                  "--out a.file: expected a folder, this is a file"),
      {"an explanation over its images", "`set/photo/overlays` holds the images",
       "explain run --images set/photo/overlays --out set/photo", 2, "--out set/photo/overlays" + other_file,
       [](const fs::path& folder) {
         fs::create_directory(folder / "set/photo/overlays");
         fs::copy(folder / "set/photo/0.png", folder / "set/photo/overlays/0.png");
       }},
      output_case("features into the configuration", "features tiny.toml --out tiny.toml",
                  "--out tiny.toml: expected a folder, this is a file"),
      output_case("a configuration over its table", "init --table set/table.csv --out set/table.csv --force",
                  "--out set/table.csv" + other_file),
      output_case("a configuration over another table",
                  "init --table set/table.csv --out phantom/clinical.csv --force",
                  "--out phantom/clinical.csv: expected a name that ends with .toml, got .csv"),
      output_case("a configuration into a folder that is not there",
                  "init --table set/table.csv --out none/c.toml",
                  "--out none/c.toml: expected a file in a folder, none is none"),
      output_case("phantom data into a file", "synth --out a.file",
                  "--out a.file: expected a folder, this is a file"),
      {"phantom data over other data", "`set/photo/Data_Entry_2017.csv` is not of synth",
       "synth --out set/photo", 2,
       "set/photo/Data_Entry_2017.csv: expected phantom data or none in this folder, got a table that synth "
       "did "
       "not write",
       file_of("set/photo/Data_Entry_2017.csv", "mine")},
      output_case("a run into a file", "train tiny.toml --out a.file",
                  "--out a.file: expected a folder, this is a file"),
      output_case(
          "a run over a run", "train tiny.toml --out run",
          "run: holds a run already (config.toml); choose another folder with --out, overwrite it with "
          "--force, or go on with it with --resume"),
      output_case("a run to go on with that is not there", "train --resume none",
                  "none: expected the folder of a run, there is none"),
      output_case("another setting for a run that goes on", "train --resume run --set train.learning_rate=1",
                  "--set train.learning_rate=1: --resume goes on with the run as it is; only train.epochs, "
                  "train.workers, train.checkpoint_every, train.keep_checkpoints, train.shard_optimizer, "
                  "data.pack, threads may change"),
      output_case("a run in place of a cross-validation", "cv --resume run",
                  "run: expected the folder of a cross-validation to go on with, cv.toml is missing"),
      {"a run over its data", "the table is called `predictions.csv`",
       "train csv.toml --set data.file=predictions.csv --out set --force", 2,
       "--out set/predictions.csv" + other_file,
       [](const fs::path& folder) { fs::rename(folder / "set/table.csv", folder / "set/predictions.csv"); }},
      output_case("a run over the weights it starts from",
                  "train tiny.toml --out run --init run/best.safetensors --force",
                  "--out run/best.safetensors: expected another file than what is read"),
      output_case("a cross-validation into a file", "cv tiny.toml --folds 2 --out a.file",
                  "--out a.file: expected a folder, this is a file"),
      output_case("measurements called like a table", "kernels bench softmax --seconds 0.01 --json t.csv",
                  "--json t.csv: expected a name that ends with .json, got .csv"),
  };
}

std::vector<BadInputCase> skip_cases() {
  const std::string skip = "train csv.toml --out new --quiet --set data.on_error=skip";
  return {
      {"an image that cannot be read", "`set/photo/3.png`: nothing; `data.on_error` is `fail`",
       "train csv.toml --out new --quiet", 2, "set/photo/3.png: " + kUnread,
       [](const fs::path& folder) { empty_images(folder, 3, 4); }},
      {"more images than may be skipped", "3 of 20 images have no bytes; `data.on_error` is `skip`", skip, 2,
       "set/photo/0.png: " + kUnread + "; 3 of 20 images cannot be read, data.max_skipped allows 0.1 of them",
       [](const fs::path& folder) { empty_images(folder, 0, 3); }},
      {"no image that can be read", "20 of 20 images have no bytes; any share may be skipped",
       skip + " --set data.max_skipped=1", 2,
       "set/photo/0.png: " + kUnread + "; 20 of 20 images cannot be read, data.max_skipped allows 1 of them",
       [](const fs::path& folder) { empty_images(folder, 0, 20); }},
      {"a cell that cannot be read, with skip", "`data.on_error` is about images alone", skip, 2,
       "set/table.csv:2:7: expected 0, 1, -1, true, false, yes, no or nothing in column 'sick', got 'maybe'",
       edit_of("set/table.csv", "0.png,0", "0.png,maybe")},
  };
}

}  // namespace medfusion::tools
