#include <cmath>

#include "kernels/attention/attention.h"
#include "kernels/workshop/op_case.h"

namespace medfusion::kernels {
namespace {

using core::DType;

enum class Mask { none, some, all };  // coin per element, or nothing to be seen at all

struct Options {
  double scale = 0.5;
  Mask key_mask = Mask::none;
  Mask pair_mask = Mask::none;
  bool pair_per_sample = false;
  Layout layout = Layout::contiguous;
  int probabilities_rank = 0;  // 4: per head, 3: mean over heads
};

Slot mask_slot(const std::string& name, const core::Shape& shape, Mask mask) {
  return {.name = name,
          .shape = shape,
          .fill = Fill::index,
          .differentiable = false,
          .dtype = DType::boolean,
          .limit = mask == Mask::all ? 1 : 2};
}

OpCase make(const std::string& name, int64_t batch, int64_t heads, int64_t width, int64_t queries,
            int64_t keys, const Options& o = {}) {
  OpCase c;
  c.operation = "attention";
  const core::Shape q_shape{batch, queries, heads * width};
  const core::Shape k_shape{batch, keys, heads * width};
  c.name = fmt::format("{} heads={} q={} k={}", name, heads, q_shape.str(), k_shape.str());
  c.inputs = {{.name = "q", .shape = q_shape, .layout = o.layout},
              {.name = "k", .shape = k_shape, .layout = o.layout},
              {.name = "v", .shape = k_shape, .layout = o.layout}};
  if (o.key_mask != Mask::none) c.inputs.push_back(mask_slot("key_mask", {batch, keys}, o.key_mask));
  const core::Shape pair_shape =
      o.pair_per_sample ? core::Shape{batch, queries, keys} : core::Shape{queries, keys};
  if (o.pair_mask != Mask::none) c.inputs.push_back(mask_slot("pair_mask", pair_shape, o.pair_mask));
  c.outputs = {
      {.name = "y", .shape = q_shape, .layout = o.layout},
      {.name = "log_sum_exp", .shape = {batch, heads, queries}, .differentiable = false, .statistic = true}};
  const core::Shape p_shape = o.probabilities_rank == 4 ? core::Shape{batch, heads, queries, keys}
                                                        : core::Shape{batch, queries, keys};
  if (o.probabilities_rank > 0)
    c.outputs.push_back(
        {.name = "probabilities", .shape = p_shape, .differentiable = false, .statistic = true});

  c.forward = runs<AttentionForward>(heads, o.scale, "in:q", "in:k", "in:v", "in:key_mask?", "in:pair_mask?",
                                     "out:y", "out:log_sum_exp", "out:probabilities?");
  c.backward = runs<AttentionBackward>(heads, o.scale, "in:q", "in:k", "in:v", "in:key_mask?",
                                       "in:pair_mask?", "out:y", "out:log_sum_exp", "grad_out:y", "grad_in:q",
                                       "grad_in:k", "grad_in:v");
  c.flops = 4.0 * static_cast<double>(q_shape.numel() * keys);
  c.backward_flops = 2.5;  // five products (scores anew, grad_v, grad_p, grad_q, grad_k) against two
  c.bytes = 4.0 * static_cast<double>(2 * q_shape.numel() + 2 * k_shape.numel());
  return c;
}

const RegisterCases cases([] {
  std::vector<OpCase> list;
  list.push_back(make("one", 1, 1, 1, 1, 1));
  list.push_back(make("no sample", 0, 2, 4, 3, 3));
  list.push_back(make("no query", 2, 2, 4, 0, 3));
  list.push_back(make("no key", 2, 2, 4, 3, 0));
  list.push_back(make("ragged", 2, 3, 5, 31, 33));
  list.push_back(make("square", 1, 2, 8, 32, 32));
  list.push_back(make("several tiles", 1, 1, 17, 7, 131));
  list.push_back(make("many queries", 1, 1, 4, 135, 3));
  list.push_back(make("wide heads", 1, 1, 33, 5, 7));
  // Widths in whole pieces of 16 bytes, more than one tile of queries and of keys.
  list.push_back(make("head 16", 1, 1, 16, 3, 200));
  list.push_back(make("head 24", 2, 2, 24, 5, 40, {.key_mask = Mask::some}));
  list.push_back(make("head 64", 1, 1, 64, 33, 65, {.scale = 0.125, .pair_mask = Mask::some}));
  list.push_back(make("labels", 1, 1, 32, 14, 150, {.scale = 0.2, .key_mask = Mask::some}));
  list.push_back(make("short", 1, 1, 24, 49, 49, {.scale = 0.2}));
  // Several heads per block of the kernels for short sequences, in numbers that do not fill the last block.
  list.push_back(make("five heads", 1, 5, 16, 20, 32, {.scale = 0.2, .key_mask = Mask::some}));
  list.push_back(make("three heads", 1, 3, 16, 49, 64, {.scale = 0.2, .pair_mask = Mask::some}));
  list.push_back(make("three heads", 3, 1, 8, 64, 49, {.layout = Layout::channel_slice}));
  list.push_back(make("three heads", 1, 3, 33, 52, 50, {.scale = 0.1, .key_mask = Mask::some}));
  // With two keys a quarter of the samples sees none; enough of them that one sees both.
  list.push_back(make("some samples blind", 11, 1, 8, 50, 2, {.key_mask = Mask::some}));
  list.push_back(make("65 tokens", 1, 1, 16, 65, 65, {.scale = 0.2, .key_mask = Mask::some}));
  list.push_back(make("197 tokens", 1, 1, 8, 197, 197, {.scale = 0.2}));
  list.push_back(make("256 tokens", 1, 1, 8, 256, 256, {.scale = 0.2, .key_mask = Mask::some}));
  list.push_back(make("up to 128 tokens", 1, 1, 8, 70, 100, {.scale = 0.2, .key_mask = Mask::some}));
  list.push_back(make("up to 256 tokens", 1, 1, 8, 150, 20, {.pair_mask = Mask::some}));
  list.push_back(make("head 128", 1, 1, 128, 66, 34, {.scale = 0.1, .key_mask = Mask::some}));
  list.push_back(make("steep", 1, 2, 8, 9, 70, {.scale = 1.5}));
  list.push_back(make("very steep", 1, 2, 8, 9, 70, {.scale = 30.0}));
  list.back().backward =
      nullptr;  // probabilities of nearly 0 and 1: their gradients are differences of equals
  list.push_back(make("slice", 2, 2, 8, 5, 6, {.layout = Layout::channel_slice}));
  list.push_back(make("misaligned", 1, 2, 7, 9, 6, {.layout = Layout::misaligned}));
  list.push_back(make("key mask", 3, 2, 4, 5, 7, {.key_mask = Mask::some}));
  list.push_back(make("pair mask", 2, 2, 4, 33, 9, {.pair_mask = Mask::some}));
  list.push_back(
      make("pair mask per sample", 2, 1, 4, 5, 70, {.pair_mask = Mask::some, .pair_per_sample = true}));
  list.push_back(make("both masks", 2, 2, 4, 9, 70, {.key_mask = Mask::some, .pair_mask = Mask::some}));
  // With two keys a quarter of the queries sees none.
  list.push_back(make("some queries blind", 2, 2, 4, 33, 2, {.pair_mask = Mask::some}));
  list.push_back(make("all blind", 2, 2, 4, 5, 6, {.key_mask = Mask::all}));
  list.push_back(make("all blind", 1, 3, 8, 50, 60, {.key_mask = Mask::all}));
  list.push_back(make("all blind pairs", 1, 2, 4, 5, 70, {.pair_mask = Mask::all}));
  list.push_back(make("probabilities", 2, 3, 4, 35, 70, {.key_mask = Mask::some, .probabilities_rank = 4}));
  list.push_back(
      make("mean probabilities", 2, 3, 4, 5, 7, {.pair_mask = Mask::some, .probabilities_rank = 3}));
  // Tiles of 64 or 128 queries and keys, more of them than wgmma has stages, and their edges. Gradients of
  // the reference are checked by the small cases.
  const auto tiled = [&](const char* name, int64_t batch, int64_t heads, int64_t width, int64_t queries,
                         int64_t keys, Options o = {}) {
    o.scale = 1.0 / std::sqrt(static_cast<double>(width));
    list.push_back(make(name, batch, heads, width, queries, keys, o));
    list.back().gradcheck = false;
  };
  tiled("tiles", 1, 1, 64, 66, 1050);
  tiled("wide tiles", 1, 1, 128, 66, 900);
  tiled("tiles of queries", 1, 1, 64, 1050, 66, {.key_mask = Mask::some});
  tiled("wide tiles of queries", 1, 1, 128, 530, 66);
  tiled("tiles, q|k|v", 2, 2, 64, 65, 130, {.key_mask = Mask::some, .layout = Layout::middle_third});
  tiled("wide tiles, q|k|v", 2, 1, 128, 70, 129, {.key_mask = Mask::some, .layout = Layout::middle_third});
  tiled("tiles of pairs", 1, 1, 64, 130, 200, {.pair_mask = Mask::some});
  tiled("wide tiles of pairs", 2, 1, 128, 70, 140,
        {.key_mask = Mask::some, .pair_mask = Mask::some, .pair_per_sample = true});
  tiled("tiles, all blind", 1, 1, 64, 3, 130, {.key_mask = Mask::all});
  tiled("tiles of one", 1, 2, 64, 1, 1);
  list.back().backward = nullptr;  // with one key the gradients of q and k are differences of equals
  for (const auto& [width, tokens] : {std::pair<int64_t, int64_t>{16, 80}, {32, 200}, {64, 300}}) {
    list.push_back(timed(make("large", 16, 4, width, tokens, tokens)));
  }
  const auto bench = [&](const char* name, int64_t batch, int64_t heads, int64_t width, int64_t queries,
                         int64_t keys) {
    list.push_back(timed(make(name, batch, heads, width, queries, keys,
                              {.scale = 1.0 / std::sqrt(static_cast<double>(width))})));
  };
  bench("short", 64, 8, 32, 49, 49);
  bench("short", 64, 8, 32, 128, 128);
  bench("short", 64, 8, 32, 196, 196);
  bench("labels", 64, 8, 32, 14, 400);
  bench("long", 2, 16, 64, 1024, 1024);
  bench("long", 2, 8, 128, 1024, 1024);
  bench("longer", 1, 8, 64, 4096, 4096);
  bench("longer", 1, 8, 128, 4096, 4096);
  return list;
});

}  // namespace
}  // namespace medfusion::kernels
