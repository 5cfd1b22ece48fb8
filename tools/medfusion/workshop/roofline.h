// A roofline plot: what a device could do at each arithmetic intensity, and what kernels did.
#pragma once

#include <string>
#include <vector>

#include "kernels/workshop/time_case.h"

namespace medfusion::tools {

struct RooflinePoint {
  std::string name;
  double flops_per_byte = 0.0;  // of the case's own counts
  double flops_per_second = 0.0;
  core::DType precision = core::DType::f32;
};

// Both axes are logarithmic (Williams, Waterman and Patterson 2009). Points without a FLOP are left out.
// There is a roof of bf16 where there are points of it, and one of f32 where there are points of that or none
// at all.
std::string roofline_svg(const std::string& title, const kernels::Ceilings& ceilings,
                         const std::vector<RooflinePoint>& points);

}  // namespace medfusion::tools
