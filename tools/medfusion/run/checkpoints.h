// The checkpoints of a run, from which train --resume goes on: checkpoints/step000000120.safetensors and so
// on, the last train.keep_checkpoints of them. Each is a file of weights that holds, besides, the state of
// the optimizer ("optimizer.*") and of the weight average ("ema.*"), and in its metadata
//   state   where the training stands (optim/train_state.h), JSON
//   run     which run it belongs to: 16 hexadecimal digits
// and the rest of weights_metadata.h.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "data/dataset.h"
#include "optim/train_state.h"
#include "tools/medfusion/run/run_directory.h"
#include "tools/medfusion/run/weights_metadata.h"

namespace medfusion::tools {

// A text that differs between runs whose training gives other bytes.
std::string identity_of(const Config& config, const data::Dataset& dataset);

class Checkpoints {
 public:
  // metadata: of every file. identity: as above.
  Checkpoints(const RunDirectory& run, Metadata metadata, std::string identity, int64_t keep);

  // Writes a state, whose tensors lie on the cpu, then removes what is old. Throws core::Error where it
  // cannot be written, or where a value is not finite; what was there then stays.
  void save(const optim::TrainState& state) const;
  // Removes what is older than the last `keep`, and what was cut off while it was written.
  void remove_old() const;

  // Removes what is of a later step than the state: newest() could not use it, and it would count as kept.
  void remove_newer(const optim::TrainState& state) const;

  // The newest state that is whole and of this run; those that are not are passed over, and on_damaged is
  // told why, a line each. Nothing where there is none at all; throws core::InputError where there are some
  // and none can be used.
  std::optional<optim::TrainState> newest(
      const std::function<void(const std::string&)>& on_damaged = {}) const;
  // Of one file. Throws core::InputError where it cannot be used.
  optim::TrainState load(const std::string& file) const;

 private:
  std::filesystem::path folder_;
  Metadata metadata_;
  std::string identity_;
  int64_t keep_;
};

// Loads weights, or a checkpoint, that the program wrote. Throws core::InputError where it has lost its
// checksum or, with `which` ("best", "last"), holds other weights than these. Files of other programs and of
// versions that wrote no checksum are taken as they are.
optim::NamedTensors load_own_weights(const std::string& path, Metadata& metadata,
                                     const std::string& which = {});

// What best.safetensors and last.safetensors state: the metadata, the epoch, and which of the two it is.
Metadata metadata_of_weights(Metadata metadata, int64_t epoch, const std::string& which);

}  // namespace medfusion::tools
