#include "core/file_kind.h"

#include <algorithm>
#include <array>

namespace medfusion::core {
namespace {

struct Signature {
  size_t at;
  std::string_view bytes;
  const char* kind;
};

using namespace std::string_view_literals;

constexpr std::array kSignatures{
    Signature{0, "version https://git-lfs.github.com/spec/"sv,
              "a git-lfs pointer; git lfs pull fetches the file"},
    Signature{0, "/annex/objects/"sv, "a git-annex pointer; git annex get fetches the file"},
    Signature{0, "\x89PNG\r\n\x1a\n"sv, "a PNG image"},
    Signature{0, "\xFF\xD8\xFF"sv, "a JPEG image"},
    Signature{0, "GIF8"sv, "a GIF image"},
    Signature{0, "II*\0"sv, "a TIFF image"},
    Signature{0, "MM\0*"sv, "a TIFF image"},
    Signature{8, "WEBP"sv, "a WebP image"},
    Signature{128, "DICM"sv, "a DICOM file"},
    Signature{0, "PK\x03\x04"sv, "a zip archive, as an Excel workbook is"},
    Signature{0, "\x1F\x8B"sv, "a gzip file"},
    Signature{0, "\x93NUMPY"sv, "a NumPy array"},
    Signature{0, "%PDF-"sv, "a PDF document"},
    Signature{0, "\xFF\xFE"sv, "UTF-16 text; save it as UTF-8"},
    Signature{0, "\xFE\xFF"sv, "UTF-16 text; save it as UTF-8"},
};

// Texts that servers send in place of a file, in small letters.
constexpr std::array kTexts{
    Signature{0, "<!doctype html"sv, "an HTML page, such as servers send in place of a file"},
    Signature{0, "<html"sv, "an HTML page, such as servers send in place of a file"},
    Signature{0, "<?xml"sv, "an XML text, such as servers send in place of a file"},
    Signature{0, "<error"sv, "an XML text, such as servers send in place of a file"},
    Signature{0, "{\""sv, "a JSON text, such as servers send in place of a file"},
};

constexpr std::string_view kBlanks = " \t\r\n";

// The start of a text without a byte order mark and blanks, in small letters.
std::string text_start(std::string_view start) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  if (start.starts_with(kByteOrderMark)) start.remove_prefix(kByteOrderMark.size());
  start.remove_prefix(std::min(start.find_first_not_of(kBlanks), start.size()));
  std::string text(start);
  // The opening brace and the first quote of a JSON text may be apart.
  if (text.starts_with('{')) text.erase(1, std::min(text.find_first_not_of(kBlanks, 1), text.size()) - 1);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
  return text;
}

}  // namespace

std::string kind_of_file(std::string_view start) {
  constexpr size_t kLooked = 512;
  start = start.substr(0, kLooked);
  if (start.empty()) return "an empty file";
  if (start.find_first_not_of('\0') == std::string_view::npos) return "a file of zero bytes";
  const auto kind_in = [](const auto& signatures, std::string_view text) -> std::string {
    for (const auto& [at, bytes, kind] : signatures) {
      if (text.size() >= at && text.substr(at).starts_with(bytes)) return kind;
    }
    return "";
  };
  const std::string kind = kind_in(kSignatures, start);
  return kind.empty() ? kind_in(kTexts, text_start(start)) : kind;
}

}  // namespace medfusion::core
