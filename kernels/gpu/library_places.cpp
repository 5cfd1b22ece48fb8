#include "kernels/gpu/library_places.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

namespace medfusion::kernels::cuda {
namespace {

namespace fs = std::filesystem;

// Of the environment; empty where it is not set.
std::string value_of(const Variables& variable, const std::string& name) {
  const char* const value = variable(name.c_str());
  return value == nullptr ? std::string() : std::string(value);
}

// base/lib/python3*/site-packages and dist-packages, the newest Python first; Debian's plain python3 last.
std::vector<fs::path> packages_of(const fs::path& base) {
  std::vector<std::pair<int, fs::path>> pythons;
  std::error_code failure;
  fs::directory_iterator entry(base / "lib", failure);
  for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with("python3")) continue;
    int minor = -1;
    if (name.starts_with("python3.")) std::from_chars(name.data() + 8, name.data() + name.size(), minor);
    pythons.emplace_back(-minor, entry->path());
  }
  std::sort(pythons.begin(), pythons.end());
  std::vector<fs::path> folders;
  for (const auto& [order, python] : pythons) {
    for (const char* kind : {"site-packages", "dist-packages"}) {
      if (fs::is_directory(python / kind, failure)) folders.push_back(python / kind);
    }
  }
  return folders;
}

// Of a program `python3`: of the folder that holds its bin/. A virtual environment's python3 links to the
// Python that made it, so that a link is followed only from folders without site-packages.
std::vector<fs::path> packages_of_program(fs::path program) {
  std::error_code failure;
  for (int links = 0; links < 40; ++links) {
    const fs::path bin = fs::canonical(program.parent_path(), failure);
    if (failure) return {};
    std::vector<fs::path> folders = packages_of(bin.parent_path());
    const bool environment = std::any_of(folders.begin(), folders.end(), [](const fs::path& folder) {
      return folder.filename() == "site-packages";
    });
    const fs::path target = fs::read_symlink(bin / program.filename(), failure);
    if (!environment && !failure) {
      program = bin / target;
      continue;
    }
    if (bin == "/usr/bin") {  // there, administrators install to /usr/local
      const std::vector<fs::path> local = packages_of("/usr/local");
      folders.insert(folders.begin(), local.begin(), local.end());
    }
    return folders;
  }
  return {};
}

std::vector<fs::path> packages_in_path(const std::string& path) {
  for (size_t begin = 0; begin < path.size();) {
    const size_t end = std::min(path.find(':', begin), path.size());
    const fs::path program = fs::path(path.substr(begin, end - begin)) / "python3";
    begin = end + 1;
    if (!program.is_absolute() || ::access(program.c_str(), X_OK) != 0) continue;
    std::vector<fs::path> folders = packages_of_program(program);
    if (!folders.empty()) return folders;
  }
  return {};
}

// Why the wheel of the library in `packages` is not the one for this CUDA; empty where it may be.
std::string unfit_wheel(const SoughtLibrary& library, const fs::path& packages) {
  const std::string begin = fmt::format("nvidia_{}_cu", library.name);
  int other = 0;
  std::error_code failure;
  fs::directory_iterator entry(packages, failure);
  for (; !failure && entry != fs::directory_iterator(); entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(begin)) continue;
    int cuda = 0;
    std::from_chars(name.data() + begin.size(), name.data() + name.size(), cuda);
    if (cuda == library.cuda_major) return {};
    other = cuda;
  }
  if (other == 0) return {};
  return fmt::format("the wheel nvidia-{}-cu{} is made for CUDA {}, this program for {}", library.name, other,
                     other, library.cuda_major);
}

std::string variable_of(const SoughtLibrary& library) {
  std::string name = library.name;
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::toupper(c); });
  return "MEDFUSION_" + name + "_DIR";
}

// NVIDIA's Debian package, of `kind` "" or "-dev".
std::string package_of(const SoughtLibrary& library, const std::string& kind) {
  if (library.name == "cublas") return fmt::format("libcublas{}-{}-0", kind, library.cuda_major);
  if (library.name == "nccl") return kind.empty() ? fmt::format("libnccl{}", library.major) : "libnccl-dev";
  return fmt::format("lib{}{}{}-cuda-{}", library.name, library.major, kind, library.cuda_major);
}

std::string wheel_of(const SoughtLibrary& library) {
  if (library.name == "cublas" && library.cuda_major >= 13) return "nvidia-cublas";
  return fmt::format("nvidia-{}-cu{}", library.name, library.cuda_major);
}

}  // namespace

std::vector<fs::path> python_packages(const Variables& variable) {
  std::vector<fs::path> all;
  const auto add = [&](const std::vector<fs::path>& folders) {
    for (const fs::path& folder : folders) {
      if (std::find(all.begin(), all.end(), folder) == all.end()) all.push_back(folder);
    }
  };
  const fs::path active = value_of(variable, "VIRTUAL_ENV"), home = value_of(variable, "HOME");
  if (active.is_absolute()) add(packages_of(active));
  add(packages_in_path(value_of(variable, "PATH")));
  if (home.is_absolute()) add(packages_of(home / ".local"));
  return all;
}

std::vector<LibraryPlace> library_places(const SoughtLibrary& library, const Variables& variable) {
  const std::string file = fmt::format("lib{}.so.{}", library.name, library.major);
  std::vector<LibraryPlace> places;
  std::string named = value_of(variable, variable_of(library));
  if (named.empty()) named = library.named;
  if (!named.empty()) {
    places.push_back({named + "/lib/" + file, ""});
    places.push_back({named + "/" + file, ""});
  }
  places.push_back({file, ""});
  const std::string toolkit = "/usr/local/cuda", home = value_of(variable, "CUDA_HOME");
  if (!home.empty() && home != toolkit) places.push_back({home + "/lib64/" + file, ""});
  places.push_back({toolkit + "/lib64/" + file, ""});
  if (!library.wheel.empty()) places.push_back({library.wheel + "/lib/" + file, ""});
  for (const fs::path& packages : python_packages(variable)) {
    const fs::path wheels = packages / "nvidia";
    places.push_back({(wheels / fmt::format("cu{}", library.cuda_major) / "lib" / file).string(), ""});
    places.push_back({(wheels / library.name / "lib" / file).string(), unfit_wheel(library, packages)});
  }
  return places;
}

std::string library_remedy(const SoughtLibrary& library) {
  return fmt::format("install NVIDIA's package {}, or `pip install {}`, or set {} to its folder",
                     package_of(library, ""), wheel_of(library), variable_of(library));
}

std::string header_remedy(const SoughtLibrary& library) {
  return fmt::format("install NVIDIA's package {}, or `pip install {}`, then configure and build again",
                     package_of(library, "-dev"), wheel_of(library));
}

}  // namespace medfusion::kernels::cuda
