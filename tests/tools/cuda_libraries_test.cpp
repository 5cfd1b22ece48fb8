// What `medfusion info` says of CUDA and its libraries, with libraries made up in places made up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/format.h>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/tools/program.h"

namespace medfusion::tools {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::AllOf;

using testing::HasSubstr;
using testing::MatchesRegex;

class CudaLibraries : public testing::Test {
 protected:
  // An environment that says nothing of CUDA.
  CudaLibraries() {
    for (const char* name : {"VIRTUAL_ENV", "HOME", "CUDA_HOME", "MEDFUSION_CUBLAS_DIR",
                             "MEDFUSION_CUDNN_DIR", "MEDFUSION_NCCL_DIR", "LD_LIBRARY_PATH"}) {
      surroundings_.variables.emplace_back(name, "");
    }
    set("PATH", folder_.path() / "nothing");
  }
  void set(const std::string& name, const std::string& value) {
    surroundings_.variables.emplace_back(name, value);
  }
  Json info() {
    const Outcome outcome = run_medfusion({"info", "--json"}, surroundings_);
    hidden_ = outcome.code != kCannotHide;
    if (!hidden_) return {};
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return Json::parse(outcome.out);
  }
  std::string text() { return run_medfusion({"info"}, surroundings_).out; }

  // Puts the library that computes nothing there; it fits where it says what the program was built with.
  void put(const fs::path& file) const {
    fs::create_directories(file.parent_path());
    fs::copy_file(MEDFUSION_FAKE_CUDA_LIBRARY, file);
  }
  // Of libcublas.so.13: 13.
  static std::string major(const Json& library) {
    const std::string version = library.at("header_version");
    return version.substr(0, version.find('.'));
  }

  const TemporaryFolder folder_;
  Surroundings surroundings_;
  bool hidden_ = true;
};

TEST_F(CudaLibraries, InfoSaysWhatIsThereAndWhatWouldBringTheRest) {
  const Json all = info();
  const std::string lines = text();
  const Json& cuda = all.at("cuda");
  if (!cuda.at("built_with")) {
    EXPECT_THAT(cuda.at("hint").get<std::string>(), AllOf(HasSubstr("nvcc"), HasSubstr("toolkit")));
    EXPECT_THAT(lines, HasSubstr("cuda        not built: " + cuda.at("hint").get<std::string>()));
  } else {
    EXPECT_THAT(cuda.at("runtime_version").get<std::string>(), MatchesRegex("[0-9]+\\.[0-9]+"));
    EXPECT_THAT(lines, HasSubstr("cuda        CUDA " + cuda.at("runtime_version").get<std::string>()));
    const bool device = all.at("devices").dump().find("cuda:") != std::string::npos;
    EXPECT_EQ(cuda.at("hint").is_null(), device);
  }
  for (const char* title : {"cuBLAS", "cuDNN", "NCCL"}) {
    SCOPED_TRACE(title);
    const Json& library = all.at("cuda_libraries").at(title);
    const bool found = !library.at("found").is_null();
    EXPECT_EQ(found, !library.at("version").is_null());
    EXPECT_EQ(found, library.at("hint").is_null());
    EXPECT_TRUE(!found || library.at("built_with"));
    EXPECT_EQ(library.at("built_with"), !library.at("header_version").is_null());
    if (found) {
      EXPECT_TRUE(fs::is_regular_file(library.at("found").get<std::string>()));
      EXPECT_THAT(library.at("version").get<std::string>(),
                  MatchesRegex(major(library) + "\\.[0-9]+\\.[0-9]+"));
      EXPECT_THAT(lines, HasSubstr(fmt::format("library     {} {} ({})\n", title,
                                               library.at("version").get<std::string>(),
                                               library.at("found").get<std::string>())));
    } else if (cuda.at("built_with")) {
      EXPECT_THAT(library.at("hint").get<std::string>(), HasSubstr("pip install nvidia-"));
      EXPECT_THAT(lines, HasSubstr(library.at("hint").get<std::string>()));
    }
  }
}

TEST_F(CudaLibraries, AFolderNamedByTheEnvironmentComesFirst) {
  const Json before = info().at("cuda_libraries").at("cuBLAS");
  if (!before.at("built_with")) GTEST_SKIP() << "built without cuBLAS";
  const fs::path file = folder_ / ("cublas/lib/libcublas.so." + major(before));
  put(file);
  set("MEDFUSION_CUBLAS_DIR", folder_ / "cublas");
  set("FAKE_VERSION", major(before) + ".77.5");
  const Json library = info().at("cuda_libraries").at("cuBLAS");
  EXPECT_EQ(library.at("found"), file.string());
  EXPECT_EQ(library.at("version"), major(before) + ".77.5");
  EXPECT_THAT(text(),
              HasSubstr(fmt::format("library     cuBLAS {}.77.5 ({})\n", major(before), file.string())));
}

TEST_F(CudaLibraries, ALibraryThatDoesNotFitIsNotTaken) {
  const Json before = info();
  const Json& cudnn = before.at("cuda_libraries").at("cuDNN");
  if (!cudnn.at("built_with")) GTEST_SKIP() << "built without cuDNN";
  const fs::path file = folder_ / ("lib/libcudnn.so." + major(cudnn));
  put(file);
  put(folder_ / ("lib/libcudnn_graph.so." + major(cudnn)));
  set("MEDFUSION_CUDNN_DIR", folder_.path());
  const auto first_reason = [&] {
    const Json library = info().at("cuda_libraries").at("cuDNN");
    EXPECT_TRUE(library.at("found").is_null());
    EXPECT_EQ(library.at("tried").at(0).at("file"), file.string());
    const std::string reason = library.at("tried").at(0).at("reason");
    EXPECT_THAT(library.at("hint").get<std::string>(), HasSubstr(reason));
    EXPECT_THAT(text(), AllOf(HasSubstr("library     cuDNN not found: " + file.string()), HasSubstr(reason)));
    return reason;
  };
  set("FAKE_VERSION", "3.1.0");
  EXPECT_THAT(first_reason(), HasSubstr("is version 3.1.0, this program was built with the header of " +
                                        cudnn.at("header_version").get<std::string>()));
  set("FAKE_VERSION", major(cudnn) + ".1.0");
  set("FAKE_CUDA", "11080");
  EXPECT_THAT(first_reason(), HasSubstr("is made for CUDA 11, this program for "));
  const std::string cuda = before.at("cuda").at("runtime_version");
  set("FAKE_CUDA", cuda.substr(0, cuda.find('.')) + "000");
  const Json fitting = info().at("cuda_libraries").at("cuDNN");
  EXPECT_EQ(fitting.at("found"), file.string());
  EXPECT_EQ(fitting.at("version"), major(cudnn) + ".1.0");
}

TEST_F(CudaLibraries, NcclIsFoundAndItsVersionCounts) {
  const Json before = info().at("cuda_libraries").at("NCCL");
  if (!before.at("built_with")) GTEST_SKIP() << "built without NCCL";
  const fs::path file = folder_ / ("lib/libnccl.so." + major(before));
  put(file);
  set("MEDFUSION_NCCL_DIR", folder_.path());
  set("FAKE_VERSION", major(before) + ".77.5");
  const Json library = info().at("cuda_libraries").at("NCCL");
  EXPECT_EQ(library.at("found"), file.string());
  EXPECT_EQ(library.at("version"), major(before) + ".77.5");
  set("FAKE_VERSION", "1.3.5");
  EXPECT_THAT(info().at("cuda_libraries").at("NCCL").at("tried").at(0).at("reason").get<std::string>(),
              HasSubstr("is version 1.3.5, this program was built with the header of "));
  EXPECT_THAT(text(), AllOf(HasSubstr("library     NCCL not found: "),
                            HasSubstr("ranks exchange tensors through the host")));
}

TEST_F(CudaLibraries, InfoNamesTheMpi) {
  const Json mpi = info().at("mpi");
  EXPECT_NE(mpi.at("version").is_null(), mpi.at("hint").is_null());
  EXPECT_THAT(text(), HasSubstr("\nMPI         "));
}

// Hides every library that the machine has, so that what is left is what the test makes up.
TEST_F(CudaLibraries, WheelsBesideThePythonOfThePathAreFound) {
  Json libraries = info().at("cuda_libraries");
  const Json before = info();
  if (!libraries.at("cuBLAS").at("built_with")) GTEST_SKIP() << "built without cuBLAS";
  for (int rounds = 0; rounds < 10; ++rounds) {
    const size_t count = surroundings_.hidden.size();
    for (const Json& library : libraries) {
      if (!library.at("found").is_null()) surroundings_.hidden.push_back(library.at("found"));
    }
    if (surroundings_.hidden.size() == count) break;
    const Json all = info();
    if (!hidden_) GTEST_SKIP() << "files cannot be hidden from a process here";
    libraries = all.at("cuda_libraries");
  }
  const Json& missing = libraries.at("cuBLAS");
  EXPECT_TRUE(missing.at("found").is_null());
  EXPECT_THAT(missing.at("hint").get<std::string>(),
              AllOf(HasSubstr("pip install nvidia-cublas"), HasSubstr("MEDFUSION_CUBLAS_DIR"),
                    HasSubstr("matrix products")));
  EXPECT_GE(missing.at("tried").size(), 2U);
  EXPECT_THAT(text(), HasSubstr("library     cuBLAS not found: "));

  const std::string cuda = before.at("cuda").at("runtime_version");
  const std::string cuda_major = cuda.substr(0, cuda.find('.'));
  const std::string file = "libcublas.so." + major(missing);
  const fs::path site = folder_ / "venv/lib/python3.12/site-packages/nvidia";
  fs::create_directories(folder_ / "venv/bin");
  fs::create_symlink("/bin/sh", folder_ / "venv/bin/python3");
  set("FAKE_VERSION", major(missing) + ".77.5");
  put(site / "cublas/lib" / file);
  const auto found = [&] { return info().at("cuda_libraries").at("cuBLAS").at("found"); };
  EXPECT_TRUE(found().is_null()) << "no python3 in the PATH";
  set("PATH", folder_ / "venv/bin");
  EXPECT_EQ(found(), (site / "cublas/lib" / file).string());
  put(site / ("cu" + cuda_major) / "lib" / file);
  EXPECT_EQ(found(), (site / ("cu" + cuda_major) / "lib" / file).string());
  set("PATH", folder_ / "nothing");
  set("VIRTUAL_ENV", folder_ / "venv");
  EXPECT_EQ(found(), (site / ("cu" + cuda_major) / "lib" / file).string());
}

TEST_F(CudaLibraries, MissingToolsNameTheirPackages) {
  const Json tools = info().at("cuda_tools");
  EXPECT_THAT(tools.at("missing"), testing::ElementsAre("cuobjdump", "nvdisasm"));
  EXPECT_THAT(tools.at("hint"), HasSubstr("package cuda-cuobjdump and cuda-nvdisasm"));
  fs::create_directory(folder_ / "nothing");
  write(folder_ / "nothing/cuobjdump", "");
  EXPECT_THAT(info().at("cuda_tools").at("missing"), testing::ElementsAre("nvdisasm"));
}

}  // namespace
}  // namespace medfusion::tools
