#include "core/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>

namespace medfusion::core {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;
namespace fs = std::filesystem;

class Safetensors : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) /
              ("safetensors_" + std::string(::testing::UnitTest::GetInstance()->current_test_info()->name()));
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    path_ = (folder_ / "weights.safetensors").string();
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string read() const {
    std::ifstream in(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(const std::string& bytes) const { std::ofstream(path_, std::ios::binary) << bytes; }
  // A file with this header text and data.
  void write_file(const std::string& header, const std::string& data) const {
    const uint64_t length = header.size();
    std::string bytes(8, '\0');
    std::memcpy(bytes.data(), &length, 8);
    write(bytes + header + data);
  }
  // The message of the InputError that loading throws; fails where it throws none.
  std::string load_error() const {
    try {
      load_safetensors(path_);
    } catch (const InputError& error) {
      return error.what();
    }
    ADD_FAILURE() << "the file was accepted";
    return {};
  }
  void expect_error(const std::string& header, const std::string& data, const std::string& wanted) const {
    write_file(header, data);
    const std::string message = load_error();
    EXPECT_THAT(message, AllOf(HasSubstr(path_), HasSubstr(wanted))) << header;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }

  fs::path folder_;
  std::string path_;
};

std::map<std::string, Tensor> every_dtype() {
  return {
      {"b.flags", Tensor::from<uint8_t>({3}, {1, 0, 1}).to(DType::boolean)},
      {"a.weight", Tensor::from<float>({2, 3}, {1.5F, -2, 0, 3e38F, -1e-40F, 7})},
      {"d.bytes", Tensor::from<uint8_t>({2, 1}, {0, 255})},
      {"c.double", Tensor::from<double>({1}, {0.1})},
      {"e.ids", Tensor::from<int64_t>({2}, {-1, int64_t{1} << 40})},
      {"f.small", Tensor::from<int32_t>({1}, {-7})},
      {"g.brain", Tensor::from<float>({2}, {1.0F, -3.140625F}).to(DType::bf16)},
      {"h.empty", Tensor::zeros({0, 4})},
      {"i.scalar", Tensor::full({}, 2.0)},
  };
}

void expect_same(const Tensor& expected, const Tensor& actual) {
  ASSERT_EQ(expected.dtype(), actual.dtype());
  ASSERT_EQ(expected.shape(), actual.shape());
  if (expected.numel() == 0) return;
  EXPECT_EQ(0, std::memcmp(expected.to_contiguous().view().data, actual.to_contiguous().view().data,
                           static_cast<size_t>(expected.bytes())));
}

TEST_F(Safetensors, EveryDtypeAndTheMetadataComeBack) {
  const auto tensors = every_dtype();
  save_safetensors(path_, tensors, {{"epoch", "3"}, {"note", "line\n\"two\""}});
  std::map<std::string, std::string> metadata;
  const auto loaded = load_safetensors(path_, &metadata);
  ASSERT_EQ(loaded.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    SCOPED_TRACE(name);
    ASSERT_TRUE(loaded.contains(name));
    expect_same(tensor, loaded.at(name));
  }
  EXPECT_EQ(metadata.at(kChecksum).size(), 16U);
  metadata.erase(kChecksum);
  EXPECT_EQ(metadata, (std::map<std::string, std::string>{{"epoch", "3"}, {"note", "line\n\"two\""}}));
  EXPECT_FALSE(fs::exists(path_ + ".partial"));
}

TEST_F(Safetensors, TheBytesAreThoseOfTheFormat) {
  save_safetensors(path_, {{"b", Tensor::from<uint8_t>({1}, {9})}, {"w", Tensor::from<float>({1}, {1.0F})}});
  std::map<std::string, std::string> metadata;
  load_safetensors(path_, &metadata);
  const std::string header =
      R"({"__metadata__":{"medfusion.checksum":")" + metadata.at(kChecksum) +
      R"("},"b":{"data_offsets":[4,5],"dtype":"U8","shape":[1]},"w":{"data_offsets":[0,4],"dtype":"F32","shape":[1]}})";
  const std::string padding((8 - header.size() % 8) % 8, ' ');
  std::string expected(8, '\0');
  expected[0] = static_cast<char>(header.size() + padding.size());
  expected += header + padding + std::string("\x00\x00\x80\x3f\x09", 5);
  EXPECT_EQ(read(), expected);
}

// Whatever byte is changed, the file is refused, or it no longer states a checksum, as the caller can see.
TEST_F(Safetensors, EveryByteCounts) {
  save_safetensors(path_, every_dtype(), {{"epoch", "3"}});
  const std::string good = read();
  int64_t refused = 0, without_checksum = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    std::string damaged = good;
    damaged[i] = static_cast<char>(damaged[i] ^ (1 << (i % 8)));
    write(damaged);
    std::map<std::string, std::string> metadata;
    try {
      load_safetensors(path_, &metadata);
      ++without_checksum;
      EXPECT_FALSE(metadata.contains(kChecksum)) << "byte " << i;
    } catch (const InputError&) {
      ++refused;
    }
  }
  EXPECT_EQ(refused + without_checksum, static_cast<int64_t>(good.size()));
  EXPECT_LE(without_checksum, static_cast<int64_t>(std::strlen(kChecksum)));
}

TEST_F(Safetensors, AChecksumOfOtherBytesIsRefused) {
  save_safetensors(path_, {{"w", Tensor::from<float>({1}, {1.0F})}});
  std::string bytes = read();
  bytes.back() = '\x40';
  write(bytes);
  EXPECT_THAT([&] { load_safetensors(path_); },
              ThrowsMessage<InputError>(
                  AllOf(HasSubstr(path_), HasSubstr("damaged, or changed by another program"))));
}

TEST_F(Safetensors, StridedTensorsAreWrittenInOrder) {
  const Tensor wide = Tensor::from<float>({2, 3}, {0, 1, 2, 3, 4, 5});
  save_safetensors(path_, {{"t", wide.transpose(0, 1)}, {"s", wide.slice(1, 1, 2)}});
  const auto loaded = load_safetensors(path_);
  expect_same(wide.transpose(0, 1), loaded.at("t"));
  expect_same(wide.slice(1, 1, 2), loaded.at("s"));
}

TEST_F(Safetensors, EqualTensorsGiveEqualBytes) {
  save_safetensors(path_, every_dtype(), {{"z", "1"}, {"a", "2"}});
  const std::string first = read();
  save_safetensors(path_, load_safetensors(path_), {{"a", "2"}, {"z", "1"}});
  EXPECT_EQ(read(), first);
}

TEST_F(Safetensors, NoTensorsAtAll) {
  save_safetensors(path_, {});
  EXPECT_TRUE(load_safetensors(path_).empty());
}

TEST_F(Safetensors, HalfPrecisionIsConverted) {
  // 1, -2, 65504, the least subnormal, -0, infinity, NaN
  write_file(R"({"h":{"dtype":"F16","shape":[7],"data_offsets":[0,14]}})",
             std::string("\x00\x3c\x00\xc0\xff\x7b\x01\x00\x00\x80\x00\x7c\x00\x7e", 14));
  const Tensor h = load_safetensors(path_).at("h");
  EXPECT_EQ(h.dtype(), DType::f32);
  EXPECT_EQ(h.at(0), 1.0);
  EXPECT_EQ(h.at(1), -2.0);
  EXPECT_EQ(h.at(2), 65504.0);
  EXPECT_EQ(h.at(3), 0x1p-24);
  EXPECT_TRUE(h.at(4) == 0.0 && std::signbit(h.at(4)));
  EXPECT_EQ(h.at(5), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(h.at(6)));
}

TEST_F(Safetensors, AFileCutAtAnyByteIsRefused) {
  save_safetensors(path_, every_dtype(), {{"epoch", "3"}});
  const std::string whole = read();
  for (size_t length = 0; length < whole.size(); ++length) {
    write(whole.substr(0, length));
    const std::string message = load_error();
    ASSERT_THAT(message, AllOf(HasSubstr(path_), HasSubstr("cut short"))) << "cut to " << length;
  }
}

TEST_F(Safetensors, AChangedByteOfTheHeaderNeverCrashes) {
  save_safetensors(path_, every_dtype(), {{"epoch", "3"}});
  const std::string whole = read();
  uint64_t header = 0;
  std::memcpy(&header, whole.data(), 8);
  size_t refused = 0;
  for (size_t i = 0; i < 8 + header; ++i) {
    for (const char byte : {'\0', '9', '"', '}', '\xff'}) {
      std::string changed = whole;
      if (changed[i] == byte) continue;
      changed[i] = byte;
      write(changed);
      try {
        load_safetensors(path_);  // e.g. a letter of a name may change
      } catch (const InputError& error) {
        ASSERT_THAT(error.what(), HasSubstr(path_));
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, header);
}

TEST_F(Safetensors, SaysWhatIsWrongWithAHeader) {
  const std::string data(8, '\0');
  expect_error("", "", "bad header: not valid JSON");
  expect_error("[1]", "", "expected a JSON object, got array");
  expect_error(R"({"a":)", "", "not valid JSON at byte 6");
  expect_error(R"({"a":3})", "", "\"a\" should have dtype, shape and data_offsets");
  expect_error(R"({"a":{"dtype":"F32","shape":[2]}})", data, "data_offsets is missing");
  expect_error(R"({"a":{"dtype":"Q4","shape":[2],"data_offsets":[0,8]}})", data, "got \"Q4\"");
  expect_error(R"({"a":{"dtype":1,"shape":[2],"data_offsets":[0,8]}})", data, "dtype of \"a\"");
  expect_error(R"({"a":{"dtype":"F32","shape":2,"data_offsets":[0,8]}})", data, "list of sizes, got 2");
  expect_error(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", data, "list of sizes, got [-2]");
  expect_error(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", data, "list of sizes");
  expect_error(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,2],"data_offsets":[0,8]}})", data, "7 dimensions");
  expect_error(R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,8]}})", data,
               "too large");
  expect_error(R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}})", "",
               "too large");
  expect_error(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", data,
               "list of sizes");
  expect_error(R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})", data,
               "should have 12 bytes, its data_offsets give 8");
  expect_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", data, "should be [begin, end]");
  expect_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[-8,0]}})", data, "should be [begin, end]");
  expect_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", data, "should be [begin, end]");
  expect_error(R"({"__metadata__":{"epoch":3}})", "", "\"epoch\" has number");
  expect_error(R"({"__metadata__":3})", "", "should be an object");
  expect_error(R"({"a\nb":3})", "", "\"a\\nb\"");
}

TEST_F(Safetensors, ADeepHeaderAndNumbersTooLargeAreRefused) {
  expect_error("{\"a\":" + std::string(100000, '['), "", "at most 16 deep");
  expect_error(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1e999]}})", "0",
               "a number that is too large");
}

TEST_F(Safetensors, RefusesBadOffsets) {
  const std::string a = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string data(16, '\0');
  expect_error("{" + a + R"(,"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", data,
               "\"b\" begins at byte 4 of the data, inside another tensor that ends at 8");
  expect_error("{" + a + R"(,"b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", data,
               "bytes 8 to 12 of the data belong to no tensor");
  expect_error("{" + a + R"(,"b":{"dtype":"F32","shape":[4],"data_offsets":[8,24]}})", data,
               "\"b\" ends at byte 24");
  expect_error("{" + a + "}", data, "expected 8 bytes of data after the header, got 16");
}

TEST_F(Safetensors, RefusesANameThatAppearsTwice) {
  const std::string entry = R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  expect_error("{" + entry + "," + entry + "}", std::string(8, '\0'), "the name \"a\" appears twice");
  expect_error(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})",
               std::string(8, '\0'), "the name \"dtype\" appears twice");
}

TEST_F(Safetensors, RefusesABoolThatIsNone) {
  expect_error(R"({"a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}})", std::string("\x01\x02"),
               "\"a\"[1]: expected a bool (0 or 1), got 2");
}

TEST_F(Safetensors, AHugeHeaderLengthAllocatesNothing) {
  write(std::string(8, '\xff') + "{}");
  EXPECT_THAT(load_error(), HasSubstr("18446744073709551615 bytes"));
  write(std::string("\x00\x00\x00\x01\x00\x00\x00\x00{}", 10));
  EXPECT_THAT(load_error(), HasSubstr("the header should have 16777216 bytes, the file holds 2"));
}

TEST_F(Safetensors, RefusesWhatIsNoFile) {
  EXPECT_THAT(load_error(), AllOf(HasSubstr(path_), HasSubstr("No such file")));
  fs::create_directory(path_);
  EXPECT_THAT(load_error(), HasSubstr("not a regular file"));
}

// Files may have at most `bytes` while this lives, as on a disk that is full.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &previous_);
    const rlimit limit{bytes, previous_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &previous_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit previous_{};
};

TEST_F(Safetensors, AFullDiskLeavesTheOldFileAndNoOther) {
  save_safetensors(path_, {{"old", Tensor::full({2}, 1.0)}});
  const std::string before = read();
  for (const rlim_t limit : {0, 5, 50, 200, 4000}) {
    std::string message;
    {
      const FileSizeLimit full(limit);
      try {
        save_safetensors(path_, {{"new", Tensor::full({1000}, 2.0)}});
      } catch (const InputError&) {
        ADD_FAILURE() << "a full disk is no error of the user's input";
      } catch (const Error& error) {
        message = error.what();
      }
    }
    EXPECT_THAT(message, AllOf(HasSubstr(path_), HasSubstr("cannot write: "))) << limit;
    EXPECT_EQ(read(), before) << limit;
    EXPECT_FALSE(fs::exists(path_ + ".partial")) << limit;
  }
}

TEST_F(Safetensors, AnErrorOfTheDeviceIsReported) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full here";
  fs::create_symlink("/dev/full", path_ + ".partial");
  try {
    save_safetensors(path_, {{"new", Tensor::full({4}, 2.0)}});
    ADD_FAILURE() << "wrote to a full device";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("No space left on device"));
  }
  EXPECT_FALSE(fs::is_symlink(path_ + ".partial"));
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(Safetensors, SavingIntoNoFolderIsAnError) {
  EXPECT_THROW(save_safetensors((folder_ / "none" / "w.safetensors").string(), {}), Error);
  EXPECT_THROW(save_safetensors(path_, {{"__metadata__", Tensor::zeros({1})}}), Error);
  EXPECT_THROW(save_safetensors(path_, {{"\xff", Tensor::zeros({1})}}), Error);
  EXPECT_FALSE(fs::exists(path_));
}

}  // namespace
}  // namespace medfusion::core
