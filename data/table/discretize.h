// Cuts of a number into bins.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "data/statistics/ranking.h"

namespace medfusion::data {

// Cuts by the entropy of the classes, accepted by minimum description length (Fayyad and Irani, IJCAI 1993):
// a range of N samples is cut where the entropy left is least, if the gain exceeds
//   (log2(N - 1) + log2(3^k - 2) - (k E - k1 E1 - k2 E2)) / N
// with E the entropy (bits) of the range and k the classes in it, 1 and 2 its halves; then its halves are. A
// cut lies midway between two neighbouring values. Of equal ones the lowest is taken. Ascending; may be
// empty.
std::vector<double> mdl_cuts(std::span<const ScoreGroup> ascending);

// Cuts that divide the values (numbers, any order) into `bins` of about the same size: cut i is the quantile
// i / bins, interpolated between neighbours as numpy does; equal cuts, and ones that leave a side empty, are
// dropped.
std::vector<double> quantile_cuts(std::span<const double> values, int64_t bins);

// The number of cuts (ascending) that are not above the value: 0 .. cuts.size().
int64_t bin_of(std::span<const double> cuts, double value);

}  // namespace medfusion::data
