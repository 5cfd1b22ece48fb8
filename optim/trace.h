// Where the NaN or infinity of a training step comes from.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "core/autograd.h"
#include "kernels/registry.h"
#include "models/network.h"

namespace medfusion::optim {

// Looks for the first value that is NaN or infinite: at once in the batch, the parameters and the running
// statistics, then, while it lives, in what each operation of this thread gives, forward and backward. It
// copies all of that to the host, so a pass takes far longer than without it.
//
// -inf is no fault where it stands for "hidden": in what the network prepared for itself, and in what an
// operation gives that got a -inf.
class NonfiniteTrace final : public core::OperationObserver {
 public:
  // `batch` lies on the network's device. row_name gives the name of a row of the dataset; it may be empty.
  NonfiniteTrace(const models::Network& network, models::Prepared batch,
                 std::function<std::string(int64_t)> row_name);

  bool found() const { return !text_.empty(); }
  // One line without a full stop: the operation and its kernels, or the tensor, how many of its values are
  // affected, of which rows, and what the operation had got. Says so where nothing was found.
  std::string text() const;

  void forward(const char* operation, uint64_t number, const core::Tensor& value,
               const std::vector<core::Variable>& inputs) override;
  void backward(const char* operation, uint64_t number,
                std::span<const std::shared_ptr<core::GradientState>> inputs) override;

 private:
  struct Faults;
  // The place in the network of an operation that was recorded.
  std::string where(uint64_t number) const;
  Faults faults_of(const core::Tensor& tensor) const;
  void report(const std::string& what, const core::Tensor& tensor, const Faults& faults,
              const std::string& behind);
  std::string rows_text(const std::vector<int64_t>& rows) const;
  std::string largest_input(const std::vector<core::Variable>& inputs) const;
  void look_at(const models::Network& network);
  void look_at_result(const std::string& what, const core::Tensor& value,
                      const std::vector<core::Variable>& inputs);

  models::Prepared batch_;
  std::function<std::string(int64_t)> row_name_;
  kernels::DispatchLog log_;
  std::map<const void*, std::string> values_, gradients_;  // the parameters' names, by where these lie
  std::string module_;                                     // of the newest parameters that were used
  std::map<uint64_t, std::string> modules_;                // by the operation's number
  std::string text_;
};

}  // namespace medfusion::optim
