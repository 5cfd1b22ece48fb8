// Devices: where a tensor's memory lies.
#pragma once

#include <cstdint>
#include <string>

namespace medfusion::core {

enum class DeviceType : uint8_t { cpu, cuda, sim };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

constexpr const char* name_of(DeviceType type) {
  switch (type) {
    case DeviceType::cpu:
      return "cpu";
    case DeviceType::cuda:
      return "cuda";
    case DeviceType::sim:
      return "sim";
  }
  return "?";
}

}  // namespace medfusion::core
