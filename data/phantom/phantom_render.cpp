#include "data/phantom/phantom_render.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/random.h"

namespace medfusion::data {
namespace {

using core::Generator;
using core::Philox;

// Chest coordinates: x from 0 (left of the image) to 1, y from 0 (top) to 1, the spine at x = 0.5.
constexpr uint64_t kRenderKey = 0x72656E6465722121U;
constexpr double kChestWidth = 0.72;
constexpr double kLungTop = 0.12, kLungBottom = 0.8;

// 0 below -width/2, 1 above width/2, smooth between.
double edge(double distance, double width) {
  const double t = std::clamp(distance / width + 0.5, 0.0, 1.0);
  return t * t * (3.0 - 2.0 * t);
}

// A ridge of half width `width` about distance 0.
double ridge(double distance, double width) {
  const double t = distance / width;
  return std::max(0.0, 1.0 - t * t);
}

// Smooth noise with values about -1..1: random values on a lattice of `cells` per unit, interpolated.
class ValueNoise {
 public:
  ValueNoise(Generator& random, int cells) : cells_(cells), side_(cells + 2) {
    values_.resize(static_cast<size_t>(side_ * side_));
    for (float& value : values_) value = 2.0F * random.uniform() - 1.0F;
  }
  double at(double x, double y) const {
    const double px = std::clamp(x, 0.0, 1.0) * cells_, py = std::clamp(y, 0.0, 1.0) * cells_;
    const int ix = static_cast<int>(px), iy = static_cast<int>(py);
    const double fx = edge(px - ix - 0.5, 1.0), fy = edge(py - iy - 0.5, 1.0);
    const float* v = &values_[static_cast<size_t>(iy * side_ + ix)];
    const double above = v[0] + fx * (v[1] - v[0]), below = v[side_] + fx * (v[side_ + 1] - v[side_]);
    return above + fy * (below - above);
  }

 private:
  int cells_, side_;
  std::vector<float> values_;
};

struct Vessel {
  double x = 0.0, y = 0.0, dx = 0.0, dy = 0.0, length = 0.0;
};

// What differs from image to image apart from findings.
struct Anatomy {
  explicit Anatomy(Generator& random, const Visit& visit)
      : coarse(random, 7), fine(random, 26), patch(random, 20) {
    rotation = random.uniform(-0.05, 0.05);
    shift_x = random.uniform(-0.03, 0.03), shift_y = random.uniform(-0.025, 0.025);
    zoom = random.uniform(0.95, 1.05);
    gain = random.uniform(0.88, 1.12), gamma = std::exp(random.uniform(-0.18, 0.18));
    noise = random.uniform(0.012, 0.024);
    rib_phase = random.uniform(-0.03, 0.03), rib_contrast = random.uniform(0.035, 0.06);
    breast = visit.male ? 0.0 : random.uniform(0.015, 0.05);
    knob = 0.03 + 0.0002 * static_cast<double>(visit.age);
    base = {kLungBottom - 0.02 + random.uniform(-0.015, 0.015), kLungBottom + random.uniform(-0.015, 0.015)};
    const double breath = random.uniform(-0.02, 0.02) - (visit.anteroposterior ? 0.012 : 0.0);
    for (double& b : base) b += breath;
    scapula = visit.anteroposterior ? random.uniform(0.0, 0.04) : 0.0;
    heart_width = visit.heart_ratio * kChestWidth;
    for (int i = 0; i < 36; ++i) vessels.push_back(draw_vessel(random, i % 2));
  }

  static Vessel draw_vessel(Generator& random, int side) {
    const double outward = side == 0 ? -1.0 : 1.0;
    const double angle = random.uniform(-1.35, 1.35);
    Vessel vessel{0.5 + outward * 0.085, 0.43 + random.uniform(-0.04, 0.06), outward * std::cos(angle),
                  std::sin(angle), random.uniform(0.12, 0.3)};
    return vessel;
  }

  ValueNoise coarse, fine, patch;
  double rotation, shift_x, shift_y, zoom, gain, gamma, noise, rib_phase, rib_contrast, breast, knob, scapula,
      heart_width;
  std::array<double, 2> base{};  // height of the bottom of each lung
  std::vector<Vessel> vessels;
};

double side_sign(int side) { return side == 0 ? -1.0 : 1.0; }

// The middle and the half width of a lung at height y.
double lung_middle(int side, double y) {
  return 0.5 + side_sign(side) * (0.165 + 0.045 * (y - kLungTop) / (kLungBottom - kLungTop));
}
double lung_half_width(double y) {
  const double t = std::clamp((y - kLungTop) / 0.4, 0.0, 1.0);
  return 0.15 * std::sqrt(std::max(0.0, 1.0 - (1.0 - t) * (1.0 - t)));
}

// One pixel's place in the chest, with what every structure there asks for.
struct Point {
  double x = 0.0, y = 0.0;
  int side = 0;
  double wall = 0.0;   // distance to the lung's side walls, positive inside
  double floor = 0.0;  // distance above the diaphragm
  double lung = 0.0;   // 0..1: share of air-filled lung before the heart and findings cover it
  double heart = 0.0;  // 0..1
};

class Renderer {
 public:
  Renderer(const Visit& visit, const Anatomy& anatomy) : visit_(visit), a_(anatomy) {
    cosine_ = std::cos(a_.rotation), sine_ = std::sin(a_.rotation);
    for (size_t side = 0; side < 2; ++side) floor_[side] = a_.base[side] - visit.raised[side];
  }

  Point point(double u, double v) const {
    Point p;
    const double du = (u - 0.5 - a_.shift_x) / a_.zoom, dv = (v - 0.5 - a_.shift_y) / a_.zoom;
    p.x = 0.5 + cosine_ * du + sine_ * dv, p.y = 0.5 + cosine_ * dv - sine_ * du;
    p.side = p.x < 0.5 ? 0 : 1;
    const double middle = lung_middle(p.side, p.y);
    p.wall = lung_half_width(p.y) - std::abs(p.x - middle);
    const double across = (p.x - middle) / 0.16;
    p.floor = floor_[static_cast<size_t>(p.side)] - 0.1 * (1.0 - std::min(1.3, across * across)) - p.y;
    p.lung = edge(p.wall, 0.03) * edge(p.floor, 0.025) * edge(p.y - kLungTop - 0.01, 0.03);
    p.heart = edge((1.0 - heart_radius(p.x, p.y)) * 0.15, 0.03);
    return p;
  }

  // 0..1: how much of a planted finding lies here.
  double weight(const Planted& planted, const Point& p) const {
    if (planted.look == Look::heart) return p.heart;
    if (planted.side != p.side) return 0.0;
    switch (planted.look) {
      case Look::fluid:
        return fluid(planted, p);
      case Look::rim:
        return p.lung * edge(planted.size - rim_depth(p), 0.014) * edge(0.55 - p.y, 0.1);
      case Look::diaphragm:  // its outline, and what it has risen over
        return edge(p.wall, 0.03) * edge(0.015 - p.floor, 0.025) * edge(p.floor + planted.size, 0.025);
      default:
        break;
    }
    const auto [cx, cy] = center(planted);
    const double dx = p.x - cx, dy = p.y - cy;
    const double reach = 3.5 * planted.size;
    if (std::abs(dx) > reach || std::abs(dy) > reach) return 0.0;
    const double c = std::cos(planted.angle), s = std::sin(planted.angle);
    const double along = c * dx + s * dy, across = c * dy - s * dx;
    if (planted.look == Look::band) {
      return p.lung * ridge(across, 0.016) * edge(planted.size - std::abs(along), 0.03);
    }
    double radius = std::sqrt(dx * dx + dy * dy) / planted.size;
    if (planted.look == Look::patch) {
      radius = std::sqrt(along * along + 1.8 * across * across) / planted.size;
      return p.lung * edge(1.0 - radius, 0.6);
    }
    if (planted.look == Look::mass) {
      radius *= 1.0 + 0.12 * std::sin(3.0 * std::atan2(dy, dx) + planted.angle);
      return edge(1.0 - radius, 0.5);
    }
    return std::exp(-0.5 * radius * radius);
  }

  // Density before exposure, given each finding's weight.
  double density(const Point& p, const std::vector<double>& weights) const {
    double air = p.lung * (1.0 - 0.9 * p.heart), texture = 1.0, added = 0.0;
    for (size_t i = 0; i < weights.size(); ++i) {
      const Planted& planted = visit_.planted[i];
      const double w = weights[i];
      if (w == 0.0 && planted.look != Look::rim) continue;
      switch (planted.look) {
        case Look::fluid:
          air *= 1.0 - w;
          added += 0.08 * w;
          break;
        case Look::patch:
          added += w * planted.contrast * (0.55 + 0.9 * a_.patch.at(p.x, p.y)) * (1.0 - 0.7 * p.heart);
          break;
        case Look::rim:
          added -= planted.contrast * w;
          texture *= 1.0 - w;
          if (planted.side == p.side && p.y < 0.55)
            added += 0.08 * p.lung * ridge(rim_depth(p) - planted.size, 0.012);
          break;
        case Look::heart:
        case Look::diaphragm:  // visit_.raised has moved them
          break;
        default:
          added += planted.contrast * w;
          break;
      }
    }
    const double body = torso(p);
    double value = 0.02 + body * (0.44 + 0.1 * (1.0 - sqr((p.x - 0.5) / 0.5))) - 0.31 * air + added;
    if (air * texture > 0.0) {
      value += air * texture * (vessels(p) + 0.018 * a_.fine.at(p.x, p.y) + 0.02 * a_.coarse.at(p.x, p.y));
    }
    value += body * (bones(p) + soft_tissue(p));
    return value;
  }

 private:
  static double sqr(double x) { return x * x; }

  // 1 on the outline of the heart: an ellipse whose long axis points down to the side of the apex, flatter
  // above.
  double heart_radius(double x, double y) const {
    const double dx = x - (0.5 + 0.17 * a_.heart_width), dy = y - (0.74 - 0.27 * a_.heart_width);
    const double along = 0.84 * dx + 0.54 * dy, across = 0.84 * dy - 0.54 * dx;
    const double half_along = 0.515 * a_.heart_width,
                 half_across = (across < 0.0 ? 0.46 : 0.4) * a_.heart_width;
    return std::sqrt(sqr(along / half_along) + sqr(across / half_across));
  }

  // Depth below the side wall or, near the apex, below the top of the lung.
  static double rim_depth(const Point& p) {
    const bool lateral = (p.x - lung_middle(p.side, p.y)) * side_sign(p.side) > 0.0;
    const double below_top = 0.8 * (p.y - kLungTop);
    return lateral ? std::min(p.wall, below_top) : below_top;
  }

  // Fluid stands higher at the outer wall.
  double fluid(const Planted& planted, const Point& p) const {
    const double across = std::clamp((p.x - lung_middle(p.side, p.y)) * side_sign(p.side) / 0.15, -1.0, 1.0);
    const double outer = 0.5 * (across + 1.0);
    const double surface = floor_[static_cast<size_t>(p.side)] - planted.size * (0.3 + 0.7 * outer * outer);
    return p.lung * edge(p.y - surface, 0.025);
  }

  std::pair<double, double> center(const Planted& planted) const {
    const double bottom = floor_[static_cast<size_t>(planted.side)] - 0.08;
    const double y = kLungTop + 0.03 + planted.along * (bottom - kLungTop - 0.03);
    return {
        lung_middle(planted.side, y) + side_sign(planted.side) * planted.across * 0.85 * lung_half_width(y),
        y};
  }

  static double torso(const Point& p) {
    const double shoulder = edge(p.y - 0.1, 0.16);
    const double half = 0.1 + 0.37 * shoulder - 0.04 * p.y;
    return edge(half - std::abs(p.x - 0.5), 0.05);
  }

  double vessels(const Point& p) const {
    double sum = 0.0;
    for (const Vessel& vessel : a_.vessels) {
      const double dx = p.x - vessel.x, dy = p.y - vessel.y;
      const double along = dx * vessel.dx + dy * vessel.dy;
      if (along < 0.0 || along > vessel.length) continue;
      const double rest = 1.0 - along / vessel.length;
      sum += 0.06 * rest * ridge(dx * vessel.dy - dy * vessel.dx, 0.007 + 0.008 * rest);
    }
    return std::min(sum, 0.13);
  }

  double bones(const Point& p) const {
    const double s = std::abs(p.x - 0.5) / 0.37;  // 0 at the spine, 1 at the side wall
    double sum = 0.07 * edge(0.033 - std::abs(p.x - 0.5), 0.02) *
                 (1.0 + 0.3 * std::cos(2.0 * std::numbers::pi * p.y / 0.06));
    if (s < 1.0) {
      // Ribs repeat every 0.078: the posterior ones arch over the lung, the anterior ones run against them.
      const auto nearest = [&](double y) { return (y - std::floor(y / 0.078 + 0.5) * 0.078); };
      const double fade = edge(p.y - 0.1, 0.05) * edge(kLungBottom + 0.02 - p.y, 0.08);
      const double posterior =
          nearest(p.y - a_.rib_phase + 0.03 * std::sin(std::numbers::pi * s) - 0.11 * s * s);
      const double anterior = nearest(p.y - a_.rib_phase - 0.03 - 0.14 * (1.0 - s));
      sum += fade * edge(s - 0.1, 0.1) * a_.rib_contrast * ridge(posterior, 0.018);
      sum += fade * edge(s - 0.45, 0.2) * 0.5 * a_.rib_contrast * ridge(anterior, 0.016);
    }
    sum += 0.08 * ridge(p.y - (0.15 - 0.07 * s), 0.017) * edge(s - 0.1, 0.05) * edge(1.05 - s, 0.1);
    if (a_.scapula > 0.0)
      sum += a_.scapula * ridge((s - 0.92 + 0.35 * sqr(p.y - 0.2)), 0.2) * edge(0.45 - p.y, 0.1);
    return sum;
  }

  double soft_tissue(const Point& p) const {
    const double from_middle = std::abs(p.x - 0.5);
    const double mediastinum = edge(0.065 + 0.03 * edge(0.2 - p.y, 0.1) - from_middle, 0.04);
    const double knob = edge(a_.knob - std::hypot(p.x - 0.55, p.y - 0.31), 0.025);
    const double hila = 0.5 * edge(0.035 - std::hypot(from_middle - 0.085, 0.7 * (p.y - 0.44)), 0.04);
    double sum = 0.13 * std::max({mediastinum, p.heart, knob, hila * p.lung});
    sum += 0.07 * edge(-p.floor, 0.03) * edge(p.y - 0.55, 0.1);                  // abdomen
    sum -= 0.07 * ridge(p.x - 0.5 - 0.01 * p.y, 0.02) * edge(0.36 - p.y, 0.04);  // trachea
    sum += a_.breast * edge(1.0 - std::hypot((from_middle - 0.21) / 0.14, (p.y - 0.67) / 0.12), 0.3);
    return sum;
  }

  const Visit& visit_;
  const Anatomy& a_;
  std::array<double, 2> floor_{};  // height of the diaphragm's rim, per side
  double cosine_ = 1.0, sine_ = 0.0;
};

void add_boxes(const Planted& planted, const Box& extent, std::vector<Box>& boxes) {
  if (extent.right <= extent.left) return;
  for (const Finding finding : planted.labels) {
    boxes.push_back(extent);
    boxes.back().finding = finding;
  }
}

}  // namespace

Radiograph render(const Visit& visit, int64_t size, uint64_t seed, uint64_t stream) {
  Generator random(seed ^ kRenderKey, 2 * stream);
  const Philox grain(seed ^ kRenderKey, 2 * stream + 1);
  const Anatomy anatomy(random, visit);
  const Renderer renderer(visit, anatomy);
  Radiograph result;
  result.pixels = core::Tensor::empty({size, size, 1}, core::DType::u8);
  uint8_t* pixels = result.pixels.data<uint8_t>();
  std::vector<double> weights(visit.planted.size());
  std::vector<Box> extents(visit.planted.size(), Box{Finding::nodule, size, size, 0, 0});
  for (int64_t row = 0; row < size; ++row) {
    for (int64_t column = 0; column < size; ++column) {
      const Point p = renderer.point((static_cast<double>(column) + 0.5) / static_cast<double>(size),
                                     (static_cast<double>(row) + 0.5) / static_cast<double>(size));
      for (size_t i = 0; i < weights.size(); ++i) {
        weights[i] = renderer.weight(visit.planted[i], p);
        if (weights[i] < 0.3) continue;
        Box& box = extents[i];
        box.left = std::min(box.left, column), box.right = std::max(box.right, column + 1);
        box.top = std::min(box.top, row), box.bottom = std::max(box.bottom, row + 1);
      }
      const double exposed = std::clamp(anatomy.gain * renderer.density(p, weights), 0.0, 1.0);
      const auto index = static_cast<uint64_t>(row * size + column);
      const double value = std::pow(exposed, anatomy.gamma) + anatomy.noise * grain.normal(index);
      pixels[row * size + column] =
          static_cast<uint8_t>(std::lround(255.0 * std::clamp(1.15 * value, 0.0, 1.0)));
    }
  }
  for (size_t i = 0; i < extents.size(); ++i) add_boxes(visit.planted[i], extents[i], result.boxes);
  return result;
}

}  // namespace medfusion::data
