// Devices: where a tensor's memory lies.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace medfusion::core {

// A kind of device. Core makes `cpu`; another is a constant of the code that registers its runtime
// (core/runtime.h), with a number below kMaxDeviceTypes that no other has.
class DeviceType {
 public:
  constexpr DeviceType() = default;
  constexpr DeviceType(uint8_t number, const char* name) : number_(number), name_(name) {}
  static const DeviceType cpu;

  constexpr std::size_t number() const { return number_; }
  constexpr const char* name() const { return name_; }
  constexpr bool operator==(DeviceType other) const { return number_ == other.number_; }
  constexpr auto operator<=>(DeviceType other) const { return number_ <=> other.number_; }

 private:
  uint8_t number_ = 0;
  const char* name_ = "cpu";
};
inline constexpr DeviceType DeviceType::cpu{};
inline constexpr std::size_t kMaxDeviceTypes = 4;

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

constexpr const char* name_of(DeviceType type) { return type.name(); }

}  // namespace medfusion::core
