#include "data/phantom/phantom_population.h"

#include <algorithm>
#include <cmath>

#include "core/random.h"

namespace medfusion::data {
namespace {

using core::Generator;

constexpr uint64_t kPopulationKey = 0x70656F706C652121U;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

bool chance(Generator& random, double probability) { return random.uniform(0.0, 1.0) < probability; }

// What stays with a patient from visit to visit.
struct Patient {
  int64_t id = 0, age = 0, visits = 0;
  bool male = false;
  double frailty = 0.0;  // standard normal: makes AP views and fluid more likely
  double heart = 0.0;    // standard normal
};

Patient draw_patient(Generator& random, int64_t id) {
  Patient patient;
  patient.id = id;
  patient.male = chance(random, 0.54);
  patient.age = std::clamp<int64_t>(std::lround(50.0 + 17.0 * random.normal()), 18, 88);
  patient.frailty = random.normal();
  patient.heart = random.normal();
  patient.visits = 1;
  while (patient.visits < 8 && chance(random, 0.58)) ++patient.visits;
  return patient;
}

// Draws the findings of one visit in the order of their causes.
class VisitDraw {
 public:
  VisitDraw(Generator& random, const Patient& patient, int64_t follow_up, int64_t age) : random_(random) {
    visit_.patient = patient.id;
    visit_.follow_up = follow_up;
    visit_.age = age;
    visit_.male = patient.male;
    visit_.anteroposterior =
        chance(random_, sigmoid(-0.6 + 0.9 * patient.frailty + 0.2 * static_cast<double>(follow_up)));
    age_ = (static_cast<double>(age) - 50.0) / 17.0;
    sex_ = patient.male ? 1.0 : -1.0;
    view_ = visit_.anteroposterior ? 1.0 : -1.0;
    draw_heart(patient);
    draw_fluid(patient);
    draw_band();
    draw_patch(patient);
    draw_nodules();
    draw_mass();
    draw_rim();
  }
  Visit take() { return std::move(visit_); }

 private:
  Planted& plant(Look look, int side, std::vector<Finding> labels) {
    for (const Finding label : labels) visit_.findings[static_cast<size_t>(label)] = true;
    Planted& planted = visit_.planted.emplace_back();
    planted.look = look;
    planted.side = side;
    planted.labels = std::move(labels);
    return planted;
  }
  int side() { return chance(random_, 0.5) ? 1 : 0; }
  bool fluid_on(int side) const {
    return std::any_of(visit_.planted.begin(), visit_.planted.end(),
                       [&](const Planted& p) { return p.look == Look::fluid && p.side == side; });
  }

  // The same seen width is large in a PA view and normal in an AP view, which magnifies by an eighth.
  void draw_heart(const Patient& patient) {
    const double ratio = 0.47 + 0.012 * age_ + 0.042 * (0.93 * patient.heart + 0.37 * random_.normal());
    visit_.heart_ratio = ratio * (visit_.anteroposterior ? 1.125 : 1.0);
    if (ratio > 0.515) plant(Look::heart, 1, {Finding::cardiomegaly});
  }

  void draw_fluid(const Patient& patient) {
    const double large_heart = visit_.has(Finding::cardiomegaly) ? 1.0 : 0.0;
    if (!chance(random_, sigmoid(-2.1 + 0.7 * patient.frailty + 0.6 * view_ + 0.9 * large_heart))) return;
    const int first = side();
    const int count = chance(random_, 0.3) ? 2 : 1;
    for (int i = 0; i < count; ++i) {
      plant(Look::fluid, i == 0 ? first : 1 - first, {Finding::effusion}).size = random_.uniform(0.07, 0.2);
    }
  }

  // A band with a raised diaphragm on its side is Atelectasis; without, or with the other one raised, a scar.
  void draw_band() {
    const bool effusion = visit_.has(Finding::effusion);
    const int at = effusion ? (fluid_on(0) ? 0 : 1) : side();
    const bool lost_volume = chance(random_, sigmoid(-2.3 + (effusion ? 2.0 : 0.0) + 0.3 * view_));
    const bool scar = !lost_volume && chance(random_, 0.1);
    if (lost_volume || scar) {
      Planted& band = plant(Look::band, at, {});
      if (lost_volume) {
        band.labels = {Finding::atelectasis};
        visit_.findings[static_cast<size_t>(Finding::atelectasis)] = true;
      }
      band.along = random_.uniform(0.5, 0.7);
      band.across = random_.uniform(-0.1, 0.4);
      band.size = random_.uniform(0.07, 0.11);
      band.contrast = random_.uniform(0.12, 0.2);
      band.angle = random_.uniform(-0.4, 0.4);
    }
    if (lost_volume) {
      const double rise = random_.uniform(0.06, 0.1);
      visit_.raised[static_cast<size_t>(at)] = rise;
      plant(Look::diaphragm, at, {Finding::atelectasis}).size = rise;
    } else if (chance(random_, scar ? 0.5 : 0.06)) {
      visit_.raised[static_cast<size_t>(1 - at)] = random_.uniform(0.06, 0.1);
    }
  }

  // One look, two labels.
  void draw_patch(const Patient& patient) {
    if (!chance(random_, sigmoid(-0.6 + 0.2 * patient.frailty))) return;
    const int at = side();
    const double evidence = -2.2 * age_ + 1.6 * view_ + (fluid_on(at) ? 3.5 : 0.0);
    std::vector<Finding> labels{chance(random_, sigmoid(2.0 * evidence)) ? Finding::pneumonia
                                                                         : Finding::infiltration};
    if (chance(random_, 0.05)) labels = {Finding::infiltration, Finding::pneumonia};
    Planted& patch = plant(Look::patch, at, std::move(labels));
    patch.along = random_.uniform(0.25, 0.75);
    patch.across = random_.uniform(-0.2, 0.5);
    patch.size = random_.uniform(0.08, 0.14);
    patch.contrast = random_.uniform(0.08, 0.15);
    patch.angle = random_.uniform(0.0, 3.1);
  }

  void draw_nodules() {
    if (!chance(random_, sigmoid(-2.2 + 1.1 * age_ + 0.5 * sex_))) return;
    const int count = chance(random_, 0.3) ? 2 : 1;
    for (int i = 0; i < count; ++i) {
      Planted& nodule = plant(Look::nodule, side(), {Finding::nodule});
      nodule.along = random_.uniform(0.15, 0.85);
      nodule.across = random_.uniform(-0.5, 0.75);
      nodule.size = random_.uniform(0.017, 0.026);
      nodule.contrast = random_.uniform(0.22, 0.36);
    }
  }

  void draw_mass() {
    if (!chance(random_, sigmoid(-2.7 + 1.0 * age_ + 0.5 * sex_))) return;
    Planted& mass = plant(Look::mass, side(), {Finding::mass});
    mass.along = random_.uniform(0.2, 0.75);
    mass.across = random_.uniform(-0.3, 0.6);
    mass.size = random_.uniform(0.045, 0.075);
    mass.contrast = random_.uniform(0.15, 0.27);
    mass.angle = random_.uniform(0.0, 6.2);
  }

  void draw_rim() {
    if (!chance(random_, sigmoid(-2.7 - 1.1 * age_ + 0.6 * sex_))) return;
    const int at = fluid_on(0) ? 1 : fluid_on(1) ? 0 : side();
    Planted& rim = plant(Look::rim, at, {Finding::pneumothorax});
    rim.size = random_.uniform(0.04, 0.09);
    rim.contrast = random_.uniform(0.08, 0.13);
  }

  Generator& random_;
  Visit visit_;
  double age_ = 0.0, sex_ = 0.0, view_ = 0.0;
};

}  // namespace

std::vector<Visit> draw_population(const PhantomOptions& options) {
  std::vector<Visit> visits;
  for (int64_t id = 1; static_cast<int64_t>(visits.size()) < options.images; ++id) {
    Generator random(options.seed ^ kPopulationKey, static_cast<uint64_t>(id));
    const Patient patient = draw_patient(random, id);
    int64_t age = patient.age;
    for (int64_t i = 0; i < patient.visits && static_cast<int64_t>(visits.size()) < options.images; ++i) {
      visits.push_back(VisitDraw(random, patient, i, age).take());
      if (chance(random, 0.4)) ++age;
    }
  }
  return visits;
}

}  // namespace medfusion::data
