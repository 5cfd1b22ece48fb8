#include "data/phantom/phantom_clinical.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "core/error.h"
#include "core/random.h"

namespace medfusion::data {
namespace {

constexpr uint64_t kClinicalKey = 0x636C696E6963616CU;
constexpr double kUnanswered = std::numeric_limits<double>::quiet_NaN();
constexpr int kNoiseColumns = 40;

// Draws of one cell: `own` is of the visit, `patient` the same for all visits of one.
struct Draw {
  core::Generator own, patient;
};

class Writer {
 public:
  Writer(const std::vector<Visit>& visits, uint64_t seed) : visits_(visits), seed_(seed ^ kClinicalKey) {}
  Clinical take() { return std::move(clinical_); }

  // A column of numbers or, where `value` gives texts, of categories.
  template <class Value>
  void add(const std::string& name, const Value& value) {
    constexpr bool kNumeric = std::is_same_v<std::invoke_result_t<Value, const Visit&, Draw&>, double>;
    Column column{name, kNumeric, {}, {}};
    const uint64_t place = clinical_.columns.size();
    for (size_t i = 0; i < visits_.size(); ++i) {
      const auto patient = static_cast<uint64_t>(visits_[i].patient);
      Draw draw{core::Generator(seed_, (place << 40) | (uint64_t{i} << 1)),
                core::Generator(seed_, (place << 40) | (patient << 1) | 1)};
      if constexpr (kNumeric) {
        column.numbers.push_back(std::round(value(visits_[i], draw) * 100.0) / 100.0);
      } else {
        column.categories.emplace_back(value(visits_[i], draw));
      }
    }
    clinical_.columns.push_back(std::move(column));
  }
  template <class Value>
  void noise(const std::string& name, const Value& value) {
    add(name, value);
    clinical_.noise.push_back(name);
  }
  // A column that tells of a finding: `feature` is higher with it, or lower.
  template <class Value>
  void planted(const std::string& name, const std::string& feature, Finding finding, bool higher,
               const Value& value) {
    add(name, value);
    clinical_.planted.push_back({name, feature, finding, higher});
  }

 private:
  const std::vector<Visit>& visits_;
  uint64_t seed_;
  Clinical clinical_;
};

double with(const Visit& visit, Finding finding) { return visit.has(finding) ? 1.0 : 0.0; }

void draw_numbers(Writer& writer) {
  writer.planted("bnp", "bnp", Finding::cardiomegaly, true, [](const Visit& v, Draw& d) {
    const double value = std::exp(4.0 + 1.1 * with(v, Finding::cardiomegaly) + 0.8 * d.own.normal());
    return d.own.uniform(0.0, 1.0) < 0.1 ? kUnanswered : value;
  });
  writer.planted("albumin", "albumin", Finding::effusion, false, [](const Visit& v, Draw& d) {
    return 40.0 - 5.0 * with(v, Finding::effusion) + 2.0 * d.patient.normal() + 3.5 * d.own.normal();
  });
  writer.planted("crp", "crp", Finding::pneumonia, true, [](const Visit& v, Draw& d) {
    return std::exp(1.5 + 1.4 * with(v, Finding::pneumonia) + d.own.normal());
  });
  writer.planted("pack_years", "pack_years", Finding::mass, true, [](const Visit& v, Draw& d) {
    return std::max(0.0, std::round(6.0 + 24.0 * with(v, Finding::mass) + 14.0 * d.own.normal()));
  });
  writer.planted("spo2", "spo2", Finding::pneumothorax, false, [](const Visit& v, Draw& d) {
    return std::min(100.0, std::round(97.0 - 4.0 * with(v, Finding::pneumothorax) + 2.0 * d.own.normal()));
  });
  writer.planted("eosinophils", "eosinophils", Finding::infiltration, true, [](const Visit& v, Draw& d) {
    return 3.0 + 1.5 * with(v, Finding::infiltration) + 1.2 * d.own.normal();
  });
  // Known where there was an operation; its number says nothing.
  writer.planted("surgery_days", "surgery_days is missing", Finding::atelectasis, false,
                 [](const Visit& v, Draw& d) {
                   const bool known = d.own.uniform(0.0, 1.0) < (v.has(Finding::atelectasis) ? 0.7 : 0.2);
                   return known ? std::floor(d.own.uniform(1.0, 60.0)) : kUnanswered;
                 });
}

void draw_categories(Writer& writer) {
  writer.planted("fever", "fever=yes", Finding::pneumonia, true, [](const Visit& v, Draw& d) {
    return d.own.uniform(0.0, 1.0) < (v.has(Finding::pneumonia) ? 0.7 : 0.2) ? "yes" : "no";
  });
  writer.planted("growth", "growth=fast", Finding::nodule, true, [](const Visit& v, Draw& d) {
    if (d.own.uniform(0.0, 1.0) < (v.has(Finding::nodule) ? 0.6 : 0.1)) return "fast";
    return d.own.uniform(0.0, 1.0) < 0.5 ? "slow" : "none";
  });
}

const char* one_of_three(double uniform) { return uniform < 0.5 ? "a" : uniform < 0.85 ? "b" : "c"; }

// Eight kinds in turn; some stay with the patient, whose visits then look like evidence but are not.
void draw_noise(Writer& writer) {
  for (int i = 0; i < kNoiseColumns; ++i) {
    const std::string name = fmt::format("noise_{:02}", i + 1);
    switch (i % 8) {
      case 0:
        writer.noise(name, [](const Visit&, Draw& d) { return d.own.normal(); });
        break;
      case 1:
        writer.noise(name, [](const Visit&, Draw& d) { return 10.0 * std::exp(d.own.normal()); });
        break;
      case 2:
        writer.noise(name, [](const Visit&, Draw& d) { return std::floor(d.own.uniform(0.0, 10.0)); });
        break;
      case 3:
        writer.noise(name,
                     [](const Visit&, Draw& d) { return d.own.uniform(0.0, 1.0) < 0.3 ? "yes" : "no"; });
        break;
      case 4:
        writer.noise(name, [](const Visit&, Draw& d) { return one_of_three(d.own.uniform(0.0, 1.0)); });
        break;
      case 5:
        writer.noise(name, [](const Visit&, Draw& d) { return 100.0 + 15.0 * d.patient.normal(); });
        break;
      case 6:
        writer.noise(name, [](const Visit&, Draw& d) {
          const double value = d.own.normal();
          return d.own.uniform(0.0, 1.0) < 0.2 ? kUnanswered : value;
        });
        break;
      default:
        writer.noise(name,
                     [](const Visit&, Draw& d) { return d.patient.uniform(0.0, 1.0) < 0.4 ? "yes" : "no"; });
    }
  }
}

}  // namespace

Clinical draw_clinical(const std::vector<Visit>& visits, uint64_t seed) {
  Writer writer(visits, seed);
  draw_numbers(writer);
  draw_categories(writer);
  draw_noise(writer);
  return writer.take();
}

}  // namespace medfusion::data
