#include "core/batch.h"

namespace medfusion::core {

int64_t Batch::size() const {
  for (const Tensor* part : {&images, &table.values, &text, &targets}) {
    if (part->defined()) return part->size(0);
  }
  return static_cast<int64_t>(rows.size());
}

std::vector<Tensor*> Batch::tensors() {
  return {&images,     &image_present, &table.values, &table.missing,
          &table.bins, &table_present, &text,         &targets, &other_images, &other_present};
}

}  // namespace medfusion::core
