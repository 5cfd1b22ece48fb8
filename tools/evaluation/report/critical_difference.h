// The critical-difference diagram (Demsar, JMLR 7, 2006, figure 1): models on a line of average ranks, the
// best at the left; a bar joins those that differ by less than the critical difference.
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace medfusion::tools {

// The diagram as SVG. names, ranks: of at least two models.
std::string critical_difference_svg(const std::string& title, const std::vector<std::string>& names,
                                    const std::vector<double>& ranks, double difference);

// Longest runs of ascending ranks whose ends differ by less than `difference`, as first and last place; those
// of one rank alone are left out.
std::vector<std::pair<size_t, size_t>> rank_groups(const std::vector<double>& ascending, double difference);

}  // namespace medfusion::tools
