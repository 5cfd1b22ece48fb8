// Three ways for a plain network to read the table beside the image (docs/models.md).
#pragma once

#include <optional>

#include "layers/linear.h"
#include "layers/norm.h"
#include "models/network.h"

namespace medfusion::models {

// The table is a vector here (table_vector, models/table_head.h).
class TableFusion : public layers::Module {
 public:
  // Of feature maps of so many channels.
  TableFusion(Fusion kind, int64_t features, int64_t channels, const layers::TensorOptions& options);

  // On the host: [B, 2 features].
  core::Tensor prepare(const core::Batch& batch) const;
  // What film and metablock make of x, [B, h, w, channels] or [B, channels].
  core::Variable modulate(const core::Variable& x, const core::Variable& table,
                          const layers::Context& context);
  // What concat makes of pooled features, [B, n] -> [B, n + added()].
  core::Variable append(const core::Variable& pooled, const core::Variable& table,
                        const layers::Context& context);
  int64_t added() const;

 private:
  Fusion kind_;
  int64_t features_;
  core::DType dtype_;
  std::optional<layers::Linear> hidden_;            // concat
  std::optional<layers::Linear> scale_, shift_;     // film, metablock
  std::optional<layers::BatchNorm> norm1_, norm2_;  // metablock
};

}  // namespace medfusion::models
