#include "kernels/gpu/library_places.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace medfusion::kernels::cuda {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const SoughtLibrary kCublas{.name = "cublas", .major = 13, .cuda_major = 13, .named = "", .wheel = ""};
const SoughtLibrary kCudnn{.name = "cudnn", .major = 9, .cuda_major = 13, .named = "", .wheel = ""};

// Folders made up for one test, and an environment that knows nothing else.
class LibraryPlaces : public testing::Test {
 protected:
  LibraryPlaces() {
    std::string pattern = (fs::temp_directory_path() / "medfusion-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    root_ = fs::canonical(pattern);
  }
  ~LibraryPlaces() override {
    std::error_code failure;
    fs::remove_all(root_, failure);
  }

  fs::path folder(const std::string& name) const {
    fs::create_directories(root_ / name);
    return root_ / name;
  }
  // A program `python3` in the folder.
  void python(const std::string& name) const {
    const fs::path file = folder(name) / "python3";
    std::ofstream(file) << "#!/bin/false\n";
    fs::permissions(file, fs::perms::owner_all);
  }
  void link(const fs::path& from, const fs::path& to) const {
    fs::create_directories((root_ / from).parent_path());
    fs::create_symlink(to, root_ / from);
  }

  void set(const std::string& name, const fs::path& value) { variables_[name] = value.string(); }
  const char* operator()(const char* name) const {
    const auto found = variables_.find(name);
    return found == variables_.end() ? nullptr : found->second.c_str();
  }
  Variables variables() const {
    return [this](const char* name) { return (*this)(name); };
  }
  std::vector<fs::path> packages() const { return python_packages(variables()); }
  std::vector<std::string> files(const SoughtLibrary& library) const {
    std::vector<std::string> list;
    for (const LibraryPlace& place : library_places(library, variables())) list.push_back(place.file);
    return list;
  }
  // Why the place is unfit; "none" where it is not among those of the library.
  std::string unfit(const SoughtLibrary& library, const fs::path& file) const {
    for (const LibraryPlace& place : library_places(library, variables())) {
      if (place.file == file) return place.unfit;
    }
    return "none";
  }

  fs::path root_;
  std::map<std::string, std::string> variables_;
};

TEST_F(LibraryPlaces, AnEnvironmentThatSaysNothingLeavesTheLoaderAndTheToolkit) {
  EXPECT_THAT(packages(), IsEmpty());
  EXPECT_THAT(files(kCublas), ElementsAre("libcublas.so.13", "/usr/local/cuda/lib64/libcublas.so.13"));
  set("PATH", "");
  set("VIRTUAL_ENV", "");
  set("CUDA_HOME", "");
  set("MEDFUSION_CUBLAS_DIR", "");
  EXPECT_THAT(files(kCublas), ElementsAre("libcublas.so.13", "/usr/local/cuda/lib64/libcublas.so.13"));
}

TEST_F(LibraryPlaces, WhatIsNamedComesFirstThenTheToolkitThenPython) {
  python("venv/bin");
  const fs::path site = folder("venv/lib/python3.12/site-packages");
  set("PATH", root_ / "venv/bin");
  set("CUDA_HOME", "/opt/cuda");
  SoughtLibrary cudnn = kCudnn;
  cudnn.named = "/of/the/build";
  cudnn.wheel = "/of/the/header";
  const auto rest = [&](const std::string& first) {
    return ElementsAre(first + "/lib/libcudnn.so.9", first + "/libcudnn.so.9", "libcudnn.so.9",
                       "/opt/cuda/lib64/libcudnn.so.9", "/usr/local/cuda/lib64/libcudnn.so.9",
                       "/of/the/header/lib/libcudnn.so.9", (site / "nvidia/cu13/lib/libcudnn.so.9").string(),
                       (site / "nvidia/cudnn/lib/libcudnn.so.9").string());
  };
  EXPECT_THAT(files(cudnn), rest("/of/the/build"));
  set("MEDFUSION_CUDNN_DIR", "/of/the/environment");
  EXPECT_THAT(files(cudnn), rest("/of/the/environment"));
}

TEST_F(LibraryPlaces, WheelsOfBothCudas) {
  python("venv/bin");
  const fs::path site = folder("venv/lib/python3.12/site-packages");
  set("PATH", root_ / "venv/bin");
  EXPECT_EQ(unfit(kCublas, site / "nvidia/cu13/lib/libcublas.so.13"), "");
  const SoughtLibrary old{.name = "cublas", .major = 12, .cuda_major = 12, .named = "", .wheel = ""};
  EXPECT_EQ(unfit(old, site / "nvidia/cublas/lib/libcublas.so.12"), "");
}

TEST_F(LibraryPlaces, AWheelOfCudnnForAnotherCudaIsUnfit) {
  python("venv/bin");
  const fs::path site = folder("venv/lib/python3.12/site-packages");
  const fs::path file = site / "nvidia/cudnn/lib/libcudnn.so.9";
  set("PATH", root_ / "venv/bin");
  EXPECT_EQ(unfit(kCudnn, file), "");
  folder("venv/lib/python3.12/site-packages/nvidia_cudnn_cu12-9.10.2.21.dist-info");
  EXPECT_THAT(unfit(kCudnn, file), HasSubstr("nvidia-cudnn-cu12 is made for CUDA 12, this program for 13"));
  SoughtLibrary old = kCudnn;
  old.cuda_major = 12;
  EXPECT_EQ(unfit(old, file), "");
  folder("venv/lib/python3.12/site-packages/nvidia_cudnn_cu13-9.12.0.46.dist-info");
  EXPECT_EQ(unfit(kCudnn, file), "") << "the one that was installed last; opening it will tell";
}

TEST_F(LibraryPlaces, VirtualEnvComesBeforeThePath) {
  python("a/bin");
  const fs::path path_site = folder("a/lib/python3.12/site-packages");
  const fs::path active_site = folder("b/lib/python3.11/site-packages");
  set("PATH", root_ / "a/bin");
  set("VIRTUAL_ENV", root_ / "b");
  EXPECT_THAT(packages(), ElementsAre(active_site, path_site));
  set("VIRTUAL_ENV", root_ / "a");
  EXPECT_THAT(packages(), ElementsAre(path_site)) << "each once";
  set("VIRTUAL_ENV", root_ / "gone");
  EXPECT_THAT(packages(), ElementsAre(path_site));
}

TEST_F(LibraryPlaces, ALinkIsFollowedOnlyWhereItLiesInNoEnvironment) {
  python("base/bin");
  const fs::path base_site = folder("base/lib/python3.12/site-packages");
  const fs::path site = folder("venv/lib/python3.12/site-packages");
  link("venv/bin/python3", root_ / "base/bin/python3");
  set("PATH", root_ / "venv/bin");
  EXPECT_THAT(packages(), ElementsAre(site)) << "a virtual environment's python3 links out of it";
  link("home/bin/python3", "../../venv/bin/python3");
  set("PATH", root_ / "home/bin");
  EXPECT_THAT(packages(), ElementsAre(site)) << "one link at a time";
  link("other/bin/python3", root_ / "base/bin/python3");
  set("PATH", root_ / "other/bin");
  EXPECT_THAT(packages(), ElementsAre(base_site));
  link("ring/bin/python3", root_ / "ring/bin/python3");
  set("PATH", root_ / "ring/bin");
  EXPECT_THAT(packages(), IsEmpty());
}

TEST_F(LibraryPlaces, APythonOutsideOfEveryEnvironmentIsPassedOver) {
  python("shims");
  python("venv/bin");
  const fs::path site = folder("venv/lib/python3.12/site-packages");
  folder("venv2/bin");
  folder("venv2/lib/python3.12/site-packages");
  std::ofstream(root_ / "venv2/bin/python3") << "not executable";
  set("PATH", (root_ / "shims").string() + "::relative/bin:" + (root_ / "venv2/bin").string() + ":" +
                  (root_ / "venv/bin").string());
  EXPECT_THAT(packages(), ElementsAre(site));
}

TEST_F(LibraryPlaces, TheNewestOfSeveralPythonsComesFirst) {
  python("usr/bin");
  const fs::path debian = folder("usr/lib/python3/dist-packages");
  const fs::path nine = folder("usr/lib/python3.9/site-packages");
  const fs::path ten = folder("usr/lib/python3.10/site-packages");
  const fs::path ten_dist = folder("usr/lib/python3.10/dist-packages");
  folder("usr/lib/python2.7/site-packages");
  set("PATH", root_ / "usr/bin");
  EXPECT_THAT(packages(), ElementsAre(ten, ten_dist, nine, debian));
  const fs::path own = folder("home/.local/lib/python3.10/site-packages");
  set("HOME", root_ / "home");
  EXPECT_THAT(packages(), ElementsAre(ten, ten_dist, nine, debian, own)) << "what `pip install --user` makes";
}

TEST_F(LibraryPlaces, RemediesNameThePackagesOfTheCuda) {
  EXPECT_THAT(library_remedy(kCublas), HasSubstr("libcublas-13-0"));
  EXPECT_THAT(library_remedy(kCublas), HasSubstr("pip install nvidia-cublas`"));
  EXPECT_THAT(library_remedy(kCublas), HasSubstr("MEDFUSION_CUBLAS_DIR"));
  EXPECT_THAT(library_remedy(kCudnn), HasSubstr("libcudnn9-cuda-13"));
  EXPECT_THAT(library_remedy(kCudnn), HasSubstr("pip install nvidia-cudnn-cu13`"));
  EXPECT_THAT(header_remedy(kCublas), HasSubstr("libcublas-dev-13-0"));
  EXPECT_THAT(header_remedy(kCudnn), HasSubstr("libcudnn9-dev-cuda-13"));
  const SoughtLibrary nccl{.name = "nccl", .major = 2, .cuda_major = 13, .named = "", .wheel = ""};
  EXPECT_THAT(library_remedy(nccl), HasSubstr("package libnccl2, or `pip install nvidia-nccl-cu13`"));
  EXPECT_THAT(header_remedy(nccl), HasSubstr("package libnccl-dev, or"));
  SoughtLibrary old = kCublas;
  old.major = old.cuda_major = 12;
  EXPECT_THAT(library_remedy(old), HasSubstr("pip install nvidia-cublas-cu12`"));
}

}  // namespace
}  // namespace medfusion::kernels::cuda
