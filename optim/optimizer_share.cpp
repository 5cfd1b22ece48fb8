#include "optim/optimizer_share.h"

#include <algorithm>

namespace medfusion::optim {

using core::Tensor;

OptimizerShare::OptimizerShare(const Parameters& parameters, core::Communicator& ranks)
    : parameters_(parameters), ranks_(ranks) {
  int64_t all = 0, before = 0;
  for (const auto& [name, variable] : parameters_) all += variable.value().numel();
  for (const auto& [name, variable] : parameters_) {
    // By where the middle of the parameter lies among all values.
    const int64_t middle = before + variable.value().numel() / 2;
    const int64_t rank = all == 0 ? 0 : middle * ranks.size() / all;
    owner_.push_back(static_cast<int>(std::min<int64_t>(rank, ranks.size() - 1)));
    before += variable.value().numel();
    if (owner_.back() == ranks.rank()) own_.emplace_back(name, variable);
  }
}

void OptimizerShare::exchange(const std::vector<Tensor>& tensors) const {
  std::vector<int64_t> bytes(static_cast<size_t>(ranks_.size()));
  for (size_t i = 0; i < tensors.size(); ++i) bytes[static_cast<size_t>(owner_[i])] += tensors[i].bytes();
  const int64_t chunk = *std::ranges::max_element(bytes);
  std::vector<char> all(static_cast<size_t>(chunk * ranks_.size()));
  std::vector<int64_t> next(bytes.size());
  // The place of each tensor in `all`, in turn.
  const auto place_of = [&](size_t i) {
    const auto rank = static_cast<size_t>(owner_[i]);
    char* const place = all.data() + static_cast<int64_t>(rank) * chunk + next[rank];
    next[rank] += tensors[i].bytes();
    return Tensor::borrow(place, tensors[i].shape(), tensors[i].dtype(), core::Device{});
  };
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor place = place_of(i);
    if (owner_[i] == ranks_.rank()) place.copy_from(tensors[i]);
  }
  ranks_.all_gather(all.data() + ranks_.rank() * chunk, all.data(), chunk);
  std::ranges::fill(next, 0);
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor place = place_of(i);
    if (owner_[i] != ranks_.rank()) tensors[i].copy_from(place);
  }
}

void OptimizerShare::share_values() const {
  std::vector<Tensor> values;
  for (const auto& [name, variable] : parameters_) values.push_back(variable.value());
  exchange(values);
}

NamedTensors OptimizerShare::gather_state(const NamedTensors& own,
                                          const std::vector<std::string>& parts) const {
  NamedTensors state = own;  // with what belongs to no parameter
  for (const std::string& part : parts) {
    std::vector<Tensor> tensors;
    for (size_t i = 0; i < parameters_.size(); ++i) {
      const auto& [name, variable] = parameters_[i];
      const std::string full = name + "." + part;
      if (owner_[i] != ranks_.rank())
        state[full] = Tensor::empty(variable.shape(), variable.dtype(), variable.device());
      tensors.push_back(state.at(full));
    }
    exchange(tensors);
  }
  return state;
}

NamedTensors OptimizerShare::own_state(const NamedTensors& state) const {
  NamedTensors own = state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (owner_[i] == ranks_.rank()) continue;
    const std::string prefix = parameters_[i].first + ".";
    // Parts have no dots, so a parameter whose name goes on after this one's is another.
    std::erase_if(own, [&](const auto& entry) {
      return entry.first.starts_with(prefix) && entry.first.find('.', prefix.size()) == std::string::npos;
    });
  }
  return own;
}

}  // namespace medfusion::optim
