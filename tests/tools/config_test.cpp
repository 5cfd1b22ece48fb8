#include "tools/medfusion/config/config.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

using testing::ElementsAre;

// A configuration that is complete; tests add to it.
const std::string kBase = "[data]\nroot = \"somewhere\"\n";

Config parse(const std::string& text) {
  ConfigBuilder builder;
  builder.read_text(text, "test.toml");
  return builder.build();
}

std::string error_of(const std::string& text, const std::vector<std::string>& assignments = {}) {
  try {
    ConfigBuilder builder;
    builder.read_text(text, "test.toml");
    for (const std::string& assignment : assignments) builder.set(assignment);
    builder.build();
  } catch (const core::InputError& error) {
    return error.what();
  }
  return "no error";
}

// The keys with their defaults, in a configuration of their own.
struct Keys {
  Config config;
  std::vector<core::Field> all = core::fields_of(config);
};

// A valid value of a key that is not its default, as TOML.
std::string other_value(const core::Field& key) {
  const std::string type = key.type(), given = format_value(key.value);
  if (type == "boolean") return given == "true" ? "false" : "true";
  for (const std::string& choice : key.range.choices) {
    if ("\"" + choice + "\"" != given) return "\"" + choice + "\"";
  }
  if (type == "text") return "\"other\"";
  if (type == "list of texts") return "[\"a\", \"b\"]";
  const double low = key.range.low.value_or(0.0);
  const double high = key.range.high.value_or(low + 4.0);
  const bool integer = type.find("integer") != std::string::npos;
  const double between = low + 0.37 * (high - low);
  std::string value = fmt::format("{}", integer ? std::floor(between) : between);
  if (value == given) value = fmt::format("{}", std::floor(between) + 1.0);
  return type.starts_with("list") ? "[" + value + "]" : value;
}

TEST(ConfigKeys, HaveDistinctNamesAndHelp) {
  std::set<std::string> names;
  Keys keys;
  for (const core::Field& key : keys.all) {
    EXPECT_TRUE(names.insert(key.name).second) << key.name;
    EXPECT_TRUE(key.help.ends_with(".")) << key.name;
  }
}

TEST(ConfigKeys, DefaultsAreInRange) {
  Keys keys;
  for (const core::Field& key : keys.all) {
    EXPECT_EQ(error_of(kBase, {key.name + "=" + format_value(key.value), "data.root=x"}), "no error")
        << key.name;
    EXPECT_NO_THROW(key.check("default"));
  }
}

TEST(ConfigKeys, EachIsReadIntoItsOwnField) {
  Keys keys;
  for (const core::Field& key : keys.all) {
    SCOPED_TRACE(key.name);
    ConfigBuilder builder;
    builder.set(key.name + "=" + other_value(key));
    Config changed = builder.unchecked();
    const std::vector<core::Field> read = core::fields_of(changed);
    for (size_t i = 0; i < read.size(); ++i) {
      const bool same = format_value(read[i].value) == format_value(keys.all[i].value);
      EXPECT_EQ(same, read[i].name != key.name) << read[i].name;
    }
  }
}

TEST(ConfigKeys, TheReferenceInTheDocumentationIsThatOfTheFields) {
  Keys keys;
  const std::string text = contents(MEDFUSION_SOURCE_DIR "/docs/configuration.md");
  EXPECT_TRUE(text.ends_with("\n" + describe_fields(keys.all)))
      << "docs/configuration.md must end with the output of `medfusion info --config-keys`";
}

TEST(Config, ReadsEverySection) {
  const Config config = parse(R"(
seed = 7
threads = 2
[data]
root = "somewhere"
labels = ["Mass", "Edema"]
mean = [0.5]
[augment]
rotation = 3
[model]
size = "tiny"
branches.pyramid = false
token_levels = [3, 5]
[model.modalities]
text = false
[train]
learning_rate = 1e-4
)");
  EXPECT_EQ(config.seed, 7);
  EXPECT_EQ(config.threads, 2);
  EXPECT_THAT(config.data.labels, ElementsAre("Mass", "Edema"));
  EXPECT_EQ(config.augment.rotation, 3.0);
  EXPECT_EQ(config.model.size, "tiny");
  EXPECT_FALSE(config.model.branches.pyramid);
  EXPECT_TRUE(config.model.branches.dense);
  EXPECT_FALSE(config.model.modalities.text);
  EXPECT_THAT(config.model.token_levels, ElementsAre(3, 5));
  EXPECT_EQ(config.train.learning_rate, 1e-4);
}

TEST(Config, UnknownKeysNameTheNearest) {
  EXPECT_EQ(error_of(kBase + "[model]\n  sise = \"tiny\"\n"),
            "test.toml:4:3: unknown key model.sise; did you mean model.size?");
  EXPECT_EQ(error_of(kBase + "[model]\nbranch.dense = true\n"),
            "test.toml:4:1: unknown section model.branch; did you mean model.branches?");
  EXPECT_EQ(error_of(kBase + "[trian]\nepochs = 3\n"),
            "test.toml:3:2: unknown section trian; did you mean train?");
  EXPECT_EQ(error_of("epochs = 3\n" + kBase),
            "test.toml:1:1: unknown key epochs; did you mean train.epochs?");
  EXPECT_EQ(error_of(kBase, {"model.sise=tiny"}),
            "--set model.sise=tiny: unknown key model.sise; did you mean model.size?");
}

TEST(Config, WrongTypesSayWhatIsExpected) {
  EXPECT_EQ(error_of(kBase + "[train]\nepochs = \"three\"\n"),
            "test.toml:4:10: train.epochs: expected integer at least 0, got text 'three'");
  EXPECT_EQ(error_of(kBase + "[train]\nepochs = 2.5\n"),
            "test.toml:4:10: train.epochs: expected integer at least 0, got number 2.5");
  EXPECT_EQ(error_of(kBase + "[train]\nprior_bias = 1\n"),
            "test.toml:4:14: train.prior_bias: expected boolean, got integer 1");
  EXPECT_EQ(error_of(kBase + "[model]\ntoken_levels = [4, \"5\"]\n"),
            "test.toml:4:20: model.token_levels: expected list of integers in [2, 5], got text '5'");
  EXPECT_EQ(error_of("model = 3\n" + kBase),
            "test.toml:1:9: model: expected a section [model], got integer 3");
  EXPECT_EQ(error_of(kBase + "[train.epochs]\nx = 1\n"),
            "test.toml:3:1: train.epochs: expected integer at least 0, got a table");
  EXPECT_EQ(error_of(kBase + "labels = \"Mass\"\n"),
            "test.toml:3:10: data.labels: expected list of texts, got text 'Mass'");
}

TEST(Config, ValuesOutOfRangeAreRefused) {
  EXPECT_EQ(error_of(kBase + "[model]\ndropout = 1\n"),
            "test.toml:4:11: model.dropout: expected number in [0, 1), got integer 1");
  EXPECT_EQ(error_of(kBase + "[train]\nlearning_rate = 0.0\n"),
            "test.toml:4:17: train.learning_rate: expected number above 0, got number 0.0");
  EXPECT_EQ(error_of(kBase + "[train]\nlearning_rate = inf\n"),
            "test.toml:4:17: train.learning_rate: expected number above 0, got number inf");
  EXPECT_EQ(error_of(kBase + "[train]\nclip_norm = nan\n"),
            "test.toml:4:13: train.clip_norm: expected number at least 0, got number nan");
  EXPECT_EQ(error_of(kBase + "[model]\ntoken_levels = [4, 6]\n"),
            "test.toml:4:20: model.token_levels: expected list of integers in [2, 5], got integer 6");
  EXPECT_EQ(error_of(kBase + "std = [0.0]\n"),
            "test.toml:3:8: data.std: expected list of numbers above 0, got number 0.0");
  EXPECT_EQ(error_of(kBase + "[model]\nsize = \"huge\"\n"),
            "test.toml:4:8: model.size: expected text one of densenet121, small, tiny, got text 'huge'");
}

TEST(Config, KeysMustAgree) {
  EXPECT_EQ(error_of(kBase + "[model]\ndim = 100\nheads = 8\n"),
            "test.toml:5:9: model.heads: expected a divisor of model.dim = 100, got 8");
  EXPECT_EQ(
      error_of(kBase + "[train]\nlearning_rate = 1e-6\n"),
      "test.toml:4:17: train.min_learning_rate: expected at most train.learning_rate = 1e-06, got 1e-05");
  EXPECT_EQ(error_of(""), "test.toml: data.root: expected the folder of the data, got nothing");
  EXPECT_EQ(error_of(kBase + "mean = [0.1, 0.2]\n"),
            "test.toml:3:8: data.mean: expected one value, or one for each of 1 channels, got 2");
  EXPECT_EQ(error_of(kBase + "labels = [\"Mass\", \"Mass\"]\n"),
            "test.toml:3:10: data.labels: a label is there twice");
  EXPECT_EQ(
      error_of(kBase, {"model.branches.dense=false", "model.branches.pyramid=false",
                       "model.branches.attention=false"}),
      "--set model.branches.dense=false: model.branches.dense: expected at least one of dense, pyramid and "
      "attention, got none");
  EXPECT_EQ(error_of(kBase, {"model.name=densenet", "model.modalities.image=false"}),
            "--set model.modalities.image=false: model.modalities.image: expected true for \"densenet\", got "
            "false");
  EXPECT_EQ(error_of(kBase, {"data.split=random", "data.val_fraction=0.5", "data.test_fraction=0.5"}),
            "--set data.val_fraction=0.5: data.val_fraction: expected a sum with data.test_fraction below 1, "
            "got 1");
}

TEST(Config, WithoutDataThereIsNothingToTrainOn) {
  EXPECT_EQ(error_of("", {"data.format=none", "data.label_count=3"}),
            "--set data.format=none: train.epochs: expected 0 without data (data.format = \"none\"), got 30");
  EXPECT_EQ(error_of("", {"data.format=none", "train.epochs=0"}),
            "--set data.format=none: data.format: without data, expected data.labels, data.labels_file or "
            "data.label_count");
  EXPECT_EQ(error_of("", {"data.format=none", "data.label_count=3", "train.epochs=0"}), "no error");
}

TEST(Config, BadTomlNamesThePlace) {
  EXPECT_THAT(error_of("[data]\nroot = \n"), testing::StartsWith("test.toml:2:"));
  EXPECT_THAT(error_of("[data]\nroot = \"a\"\nroot = \"b\"\n"), testing::StartsWith("test.toml:3:"));
  EXPECT_THAT(error_of("[data]\nroot = \"a\n"), testing::Not(testing::HasSubstr("\n")));
}

// What the parser makes of such letters was undefined, which an undefined-behavior sanitizer finds.
TEST(Config, LettersBeyondAsciiAreNoBlanks) {
  for (const char* letter : {"\u00E9", "\u03BB", "\u3042"}) {
    EXPECT_THAT(error_of(std::string("seed = 2\n") + letter + " = 1\n"), testing::StartsWith("test.toml:2:"));
    ConfigBuilder builder;
    builder.read_text(std::string("[data]\nroot = \"\"\"\\\n  ") + letter + " \"\"\"\n", "test.toml");
    EXPECT_EQ(builder.unchecked().data.root, std::string(letter) + " ");
  }
}

TEST(Config, SetTakesTextWithoutQuotesAndListsWithoutBrackets) {
  ConfigBuilder builder;
  for (const char* assignment :
       {"data.root=a b", "data.labels=Mass, Edema", "model.token_levels=3,5", "data.mean=[0.1]",
        "data.std=0.5", "train.learning_rate=1e-4", "model.align_corners = true", "model.upsample='bilinear'",
        "data.table=[]", "data.patient_column=C:\\x"}) {
    builder.set(assignment);
  }
  const Config config = builder.build();
  EXPECT_EQ(config.data.root, "a b");
  EXPECT_THAT(config.data.labels, ElementsAre("Mass", "Edema"));
  EXPECT_THAT(config.model.token_levels, ElementsAre(3, 5));
  EXPECT_THAT(config.data.image.mean, ElementsAre(0.1));
  EXPECT_THAT(config.data.image.std, ElementsAre(0.5));
  EXPECT_EQ(config.train.learning_rate, 1e-4);
  EXPECT_TRUE(config.model.align_corners);
  EXPECT_EQ(config.model.upsample, models::Upsampling::bilinear);
  EXPECT_TRUE(config.data.table.empty());
  EXPECT_EQ(config.data.patient_column, "C:\\x");
}

TEST(Config, SetRefusesWhatIsNotAValue) {
  EXPECT_EQ(error_of(kBase, {"train.epochs"}), "--set train.epochs: expected KEY=VALUE");
  EXPECT_EQ(error_of(kBase, {"train.epochs=three"}),
            "--set train.epochs=three: train.epochs: expected integer at least 0, got 'three'");
  EXPECT_EQ(error_of(kBase, {"train.epochs="}),
            "--set train.epochs=: train.epochs: expected integer at least 0, got ''");
  EXPECT_EQ(error_of(kBase, {"train.epochs=3\nseed=2"}), "--set train.epochs=3 seed=2: expected one value");
}

TEST(Config, LaterAssignmentsWin) {
  const TemporaryFolder folder;
  const auto file = write(folder / "a.toml", kBase + "[train]\nepochs = 1\n");
  EXPECT_EQ(load_config(file.string(), {"train.epochs=2", "train.epochs=3"}).train.epochs, 3);
}

TEST(Config, WrittenTomlReadsBackTheSame) {
  Config config = parse(kBase);
  config.data.root = "quote \" backslash \\ tab \t \x7f \xC3\xA4";
  config.data.labels = {"a,b", "c"};
  config.data.image.mean = {0.1};
  config.train.learning_rate = 1.0 / 3.0;
  config.train.step.clip_norm = 2.0;
  config.seed = 1234567890123456789;
  config.model.branches.pyramid = false;
  const std::string text = to_toml(config);
  EXPECT_EQ(to_toml(parse(text)), text);
  const Config again = parse(text);
  EXPECT_EQ(again.data.root, config.data.root);
  EXPECT_EQ(again.data.labels, config.data.labels);
  EXPECT_EQ(again.train.learning_rate, config.train.learning_rate);
  EXPECT_EQ(again.seed, config.seed);
  EXPECT_FALSE(again.model.branches.pyramid);
  Keys keys;
  for (const core::Field& key : keys.all) {  // all of them are there
    const std::string name = key.section().empty() ? key.name : key.name.substr(key.section().size() + 1);
    EXPECT_NE(("\n" + text).find("\n" + name + " = "), std::string::npos) << key.name;
  }
}

TEST(Config, MissingFileIsAnInputError) {
  try {
    load_config("no/such/file.toml");
    FAIL();
  } catch (const core::InputError& error) {
    EXPECT_STREQ(error.what(), "no/such/file.toml: cannot be read: No such file or directory");
  }
  EXPECT_THROW(load_config("/"), core::InputError);
}

TEST(Config, TheShippedFilesAreValid) {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(MEDFUSION_SOURCE_DIR "/tools/configs")) {
    if (!entry.is_regular_file()) continue;
    SCOPED_TRACE(entry.path().string());
    EXPECT_NO_THROW(load_config(entry.path().string()));
    ++files;
  }
  EXPECT_GE(files, 5);
}

}  // namespace
}  // namespace medfusion::tools
