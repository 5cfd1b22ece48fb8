// Settings are values that a user may set. The part of the program that uses a setting owns a struct with its
// default, and the struct lists its fields once; reading, checking, writing and documenting follow from the
// list:
//
//   struct AugmentOptions {
//     double shift = 0.05;
//
//     void visit_fields(core::FieldVisitor& visit) {
//       visit("shift", shift, core::Range::below(0, 1), "Training images move by at most this fraction.");
//     }
//   };
//
// Rules between fields stand beside the struct, as `void check_rules(const core::Require& require) const`.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace medfusion::core {

// What a value, or each value of a list, must satisfy.
struct Range {
  std::vector<std::string> choices = {};  // of a text; empty means any
  std::optional<double> low = {}, high = {};
  bool low_excluded = false, high_excluded = false;

  static Range one_of(std::vector<std::string> texts) { return {.choices = std::move(texts)}; }
  static Range at_least(double low) { return {.low = low}; }
  static Range above(double low) { return {.low = low, .low_excluded = true}; }
  static Range in(double low, double high) { return {.low = low, .high = high}; }          // [low, high]
  static Range above_to(double low, double high) { return {{}, low, high, true, false}; }  // (low, high]
  static Range below(double low, double high) { return {{}, low, high, false, true}; }     // [low, high)

  bool holds(double number) const;  // false for NaN and infinities
  bool holds(const std::string& text) const;
  // "at least 1", "in [0, 1)", "one of sigmoid, softmax"; empty where anything goes.
  std::string text() const;
};

// An enum can be a setting: a function names_of(Enum) beside it, in its namespace, gives its texts, in the
// order of its values, which count from 0. Its underlying type is uint8_t.
using Names = std::span<const char* const>;

template <class Enum>
requires std::is_enum_v<Enum>
const char* text_of(Enum value) { return names_of(value)[static_cast<size_t>(value)]; }

// The value of an enum that is a setting.
struct Choice {
  uint8_t* value;
  Names names;
};

using FieldPointer = std::variant<bool*, int64_t*, double*, std::string*, Choice, std::vector<std::string>*,
                                  std::vector<double>*, std::vector<int64_t>*>;

struct Field {
  std::string name;  // with the sections it is in: "model.branches.dense"
  FieldPointer value;
  Range range;
  std::string help;

  // "model" of "model.branches.dense"; empty at the top.
  std::string section() const;
  // "integer", "list of texts", ...
  std::string type() const;
  // Throws InputError, beginning with `what`, where the value is out of range.
  void check(const std::string& what) const;
};

// Collects the fields of a struct, which must outlive them.
class FieldVisitor {
 public:
  template <class T>
  void operator()(const char* name, T& value, Range range, const char* help) {
    if constexpr (std::is_enum_v<T>) {
      static_assert(std::is_same_v<std::underlying_type_t<T>, uint8_t>);
      const Names names = names_of(value);
      if (range.choices.empty()) range.choices.assign(names.begin(), names.end());
      fields_.push_back({prefix_ + name, Choice{reinterpret_cast<uint8_t*>(&value), names}, range, help});
    } else {
      fields_.push_back({prefix_ + name, &value, std::move(range), help});
    }
  }
  template <class T>
  void operator()(const char* name, T& value, const char* help) {
    (*this)(name, value, Range{}, help);
  }
  // A struct whose fields stand in a section of their own.
  template <class Settings>
  void section(const char* name, Settings& settings) {
    const std::string before = prefix_;
    prefix_ += std::string(name) + ".";
    settings.visit_fields(*this);
    prefix_ = before;
  }

  std::vector<Field> fields() && { return std::move(fields_); }

 private:
  std::string prefix_;
  std::vector<Field> fields_;
};

template <class Settings>
std::vector<Field> fields_of(Settings& settings) {
  FieldVisitor visit;
  settings.visit_fields(visit);
  return std::move(visit).fields();
}

// Throws InputError where a field is out of range: "augmentation: shift: expected number in [0, 1), got 2".
template <class Settings>
void check_ranges(Settings settings, const std::string& what) {
  for (const Field& field : fields_of(settings)) field.check(what);
}

// What rules between fields report to: where `condition` is false, it throws an InputError with `message`
// about the first of the keys; the others have a part in it.
using Require =
    std::function<void(bool condition, const std::vector<std::string>& keys, const std::string& message)>;

}  // namespace medfusion::core
