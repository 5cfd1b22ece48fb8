// The patients of the phantom data: who is imaged, how, and what is planted.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "data/phantom/phantom.h"

namespace medfusion::data {

// In alphabetical order, as the official table lists them within a cell.
enum class Finding : uint8_t {
  atelectasis,
  cardiomegaly,
  effusion,
  infiltration,
  mass,
  nodule,
  pneumonia,
  pneumothorax
};
inline constexpr std::array<std::string_view, 8> kPhantomFindings = {
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"};

// What is drawn. A shape is one of the looks below; the label it stands for depends on more than its look.
enum class Look : uint8_t { heart, fluid, patch, mass, nodule, rim, band, diaphragm };

// Sides as they appear in the image: 0 is its left (the patient's right), 1 its right.
// Lengths are fractions of the image's size, before the pose.
struct Planted {
  Look look = Look::nodule;
  int side = 0;
  double along = 0.0, across = 0.0;  // place within the lung: 0 apex .. 1 base, -1 medial .. 1 lateral
  double size =
      0.0;  // radius, height of the fluid, width of the rim, half length of the band or rise of the diaphragm
  double contrast = 0.0;        // added density
  double angle = 0.0;           // radians
  std::vector<Finding> labels;  // what it is a box of; empty for what only resembles a finding
};

struct Visit {
  int64_t patient = 0, follow_up = 0, age = 0;
  bool male = false, anteroposterior = false;
  std::array<bool, kPhantomFindings.size()> findings{};
  double heart_ratio = 0.0;        // width of the heart over that of the chest as seen, magnified in AP views
  std::array<double, 2> raised{};  // of the diaphragm, per side
  std::vector<Planted> planted;

  bool has(Finding finding) const { return findings[static_cast<size_t>(finding)]; }
};

// options.images visits, ordered by patient and follow-up; patients count from 1.
std::vector<Visit> draw_population(const PhantomOptions& options);

}  // namespace medfusion::data
