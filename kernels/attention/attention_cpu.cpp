// Tiles of queries against tiles of keys, vectorized with Highway for each instruction set. One task works on
// one sample and head: it packs that head's rows into contiguous, zero-padded buffers, so that every product
// runs in one micro-kernel, whatever the strides and the head width.
#include "kernels/attention/attention_cpu.h"

#include "core/threads.h"
#include "kernels/attention/attention.h"
#include "kernels/registry.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/attention/attention_cpu.cpp"
#include "kernels/simd.h"  // first: sets the instruction sets, then foreach_target and highway

#include "hwy/contrib/math/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace medfusion::kernels::HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

int64_t padded(int64_t n) { return round_up(n, static_cast<int64_t>(hn::Lanes(D()))); }

// A matrix of scalars to broadcast: element (i, p) at data[i * row + p * column].
struct Left {
  const float* data;
  int64_t row, column;
};

// C[kRows, kVectors] (+)= A[kRows, depth] B[depth, kVectors], the accumulators in registers.
template <int kRows, int kVectors>
HWY_INLINE void product_tile(const Left& a, const float* b, int64_t b_stride, int64_t depth, float* c,
                             int64_t c_stride, bool accumulate) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      sum[i][v] = accumulate ? hn::LoadU(d, c + i * c_stride + v * lanes) : hn::Zero(d);
    }
  }
  for (int64_t p = 0; p < depth; ++p) {
    V right[kVectors];
    for (int v = 0; v < kVectors; ++v) right[v] = hn::LoadU(d, b + p * b_stride + v * lanes);
    for (int i = 0; i < kRows; ++i) {
      const V left = hn::Set(d, a.data[i * a.row + p * a.column]);
      for (int v = 0; v < kVectors; ++v) sum[i][v] = hn::MulAdd(left, right[v], sum[i][v]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) hn::StoreU(sum[i][v], d, c + i * c_stride + v * lanes);
  }
}

template <int kVectors>
void product_columns(int64_t rows, Left a, const float* b, int64_t b_stride, int64_t depth, float* c,
                     int64_t c_stride, bool accumulate) {
  constexpr int kRows = 6;  // 6 x 2 accumulators, 2 loads and a broadcast fit 16 registers
  for (; rows >= kRows; rows -= kRows) {
    product_tile<kRows, kVectors>(a, b, b_stride, depth, c, c_stride, accumulate);
    a.data += kRows * a.row;
    c += kRows * c_stride;
  }
  for (; rows >= 2; rows -= 2) {
    product_tile<2, kVectors>(a, b, b_stride, depth, c, c_stride, accumulate);
    a.data += 2 * a.row;
    c += 2 * c_stride;
  }
  if (rows == 1) product_tile<1, kVectors>(a, b, b_stride, depth, c, c_stride, accumulate);
}

// C[rows, columns] (+)= A[rows, depth] B[depth, columns]; columns: a multiple of the vector length.
void product(int64_t rows, int64_t columns, int64_t depth, const Left& a, const float* b, int64_t b_stride,
             float* c, int64_t c_stride, bool accumulate) {
  const auto lanes = static_cast<int64_t>(hn::Lanes(D()));
  int64_t j = 0;
  for (; j + 2 * lanes <= columns; j += 2 * lanes) {
    product_columns<2>(rows, a, b + j, b_stride, depth, c + j, c_stride, accumulate);
  }
  if (j < columns) product_columns<1>(rows, a, b + j, b_stride, depth, c + j, c_stride, accumulate);
}

// rows [first, first + count) times `factor`, as [count, padded width], zeros in the padding.
void pack(const Head& x, int64_t first, int64_t count, float factor, float* to) {
  const int64_t stride = padded(x.width);
  for (int64_t t = 0; t < count; ++t, to += stride) {
    const float* from = x.row(first + t);
    for (int64_t c = 0; c < x.width; ++c) to[c] = factor * from[c];
    for (int64_t c = x.width; c < stride; ++c) to[c] = 0.0F;
  }
}

// Rows [first, first + 4) as columns of a tile: channel c of them at to + c * kKeyTile.
void transpose_four(const Head& x, int64_t first, float* to) {
  const D d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const float* const rows[4] = {x.row(first), x.row(first + 1), x.row(first + 2), x.row(first + 3)};
  HWY_ALIGN float turned[4 * hn::MaxLanes(D())];
  int64_t c = 0;
  for (; c + lanes <= x.width; c += lanes) {
    hn::StoreInterleaved4(hn::LoadU(d, rows[0] + c), hn::LoadU(d, rows[1] + c), hn::LoadU(d, rows[2] + c),
                          hn::LoadU(d, rows[3] + c), d, turned);
    for (int64_t i = 0; i < lanes; ++i) std::memcpy(to + (c + i) * kKeyTile, turned + 4 * i, 16);
  }
  for (; c < x.width; ++c) {
    for (int t = 0; t < 4; ++t) to[c * kKeyTile + t] = rows[t][c];
  }
}

// All rows by tiles of keys, each transposed: tile n is [width, kKeyTile] at to + n * width * kKeyTile, with
// zeros where there is no key.
void pack_transposed(const Head& x, int64_t count, float* to) {
  for (int64_t t0 = 0; t0 < count; t0 += kKeyTile, to += x.width * kKeyTile) {
    const int64_t rows = std::min(kKeyTile, count - t0);
    int64_t t = 0;
    for (; t + 4 <= rows; t += 4) transpose_four(x, t0 + t, to + t);
    for (; t < rows; ++t) {
      const float* from = x.row(t0 + t);
      for (int64_t c = 0; c < x.width; ++c) to[c * kKeyTile + t] = from[c];
    }
    if (rows == kKeyTile) continue;
    for (int64_t c = 0; c < x.width; ++c) std::fill(to + c * kKeyTile + rows, to + (c + 1) * kKeyTile, 0.0F);
  }
}

void unpack(const float* from, int64_t count, float factor, const Head& x, int64_t first) {
  const int64_t stride = padded(x.width);
  for (int64_t t = 0; t < count; ++t, from += stride) {
    float* to = x.row(first + t);
    for (int64_t c = 0; c < x.width; ++c) to[c] = factor * from[c];
  }
}

// What is added to the scores of every query: 0 for a visible key, -inf for a masked one and in the padding.
void fill_key_bias(const SampleMasks& masks, int64_t keys, int64_t count, float* bias) {
  for (int64_t j = 0; j < keys; ++j) bias[j] = masks.keys == nullptr || masks.keys[j] ? 0.0F : -kInfinity;
  std::fill(bias + keys, bias + count, -kInfinity);
}

// Adds the bias of the keys [first, first + count) and the mask of the pair to a row of scores.
void mask_row(const SampleMasks& masks, const float* key_bias, int64_t query, int64_t first, int64_t keys,
              int64_t count, float* row) {
  for (int64_t j = 0; j < count; ++j) row[j] += key_bias[first + j];
  if (masks.pairs == nullptr) return;
  const bool* pairs = masks.pairs + query * masks.pair_stride + first;
  const int64_t real = std::min(count, keys - first);
  for (int64_t j = 0; j < real; ++j) row[j] = pairs[j] ? row[j] : -kInfinity;
}

float row_max(const float* row, int64_t count) {
  const D d;
  V largest = hn::Set(d, -kInfinity);
  for (int64_t j = 0; j < count; j += static_cast<int64_t>(hn::Lanes(d))) {
    largest = hn::Max(largest, hn::LoadU(d, row + j));
  }
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

// row = exp(row - shift); returns the sum.
float exp_row(float* row, int64_t count, float shift) {
  const D d;
  V sum = hn::Zero(d);
  const V offset = hn::Set(d, shift);
  for (int64_t j = 0; j < count; j += static_cast<int64_t>(hn::Lanes(d))) {
    const V e = hn::Exp(d, hn::Sub(hn::LoadU(d, row + j), offset));
    hn::StoreU(e, d, row + j);
    sum = hn::Add(sum, e);
  }
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

// The keys and values of one sample and head, packed.
struct Keys {
  int64_t count;     // real keys
  int64_t rounded;   // to whole tiles
  float* bias;       // [rounded]
  float* k_columns;  // packed transposed
  // Columns of the tile that begins at `first`, a multiple of the vector length.
  int64_t tile(int64_t first) const { return std::min(kKeyTile, padded(count - first)); }
};

Keys pack_keys(const Head& k, const SampleMasks& masks, int64_t count, Arena& arena) {
  Keys keys{count, round_up(count, kKeyTile), nullptr, nullptr};
  keys.bias = arena.take(keys.rounded);
  keys.k_columns = arena.take(keys.rounded * k.width);
  fill_key_bias(masks, count, keys.rounded, keys.bias);
  pack_transposed(k, count, keys.k_columns);
  return keys;
}

// Scores of a tile of queries (packed, scaled) against the tile of keys at `first`, masked: [rows, kKeyTile].
void scores(const float* q, int64_t rows, int64_t width, const Keys& keys, const SampleMasks& masks,
            int64_t query, int64_t first, float* s) {
  const int64_t columns = keys.tile(first);
  product(rows, columns, width, {q, padded(width), 1}, keys.k_columns + first * width, kKeyTile, s, kKeyTile,
          false);
  for (int64_t i = 0; i < rows; ++i) {
    mask_row(masks, keys.bias, query + i, first, keys.count, columns, s + i * kKeyTile);
  }
}

// One step of the online softmax for one row: scores -> exp(scores - new maximum); y_row is rescaled.
void softmax_step(float* row, int64_t columns, float& largest, float& sum, float* y_row, int64_t y_width) {
  const float next = std::max(largest, row_max(row, columns));
  if (next == -kInfinity) {  // nothing seen so far
    std::fill(row, row + columns, 0.0F);
    return;
  }
  const float shrink = largest == -kInfinity ? 0.0F : std::exp(largest - next);
  sum = sum * shrink + exp_row(row, columns, next);
  if (largest != next) {
    for (int64_t c = 0; c < y_width; ++c) y_row[c] *= shrink;
  }
  largest = next;
}

// Queries [first_query, last_query) of one sample and head.
void forward_head(const Head& q, const Head& k, const Head& v, const Head& y, const SampleMasks& masks,
                  float scale, int64_t first_query, int64_t last_query, int64_t key_count, float* log_sum_exp,
                  float* memory) {
  Arena arena(memory);
  const int64_t stride = padded(q.width);
  const Keys keys = pack_keys(k, masks, key_count, arena);
  // As they lie there, where they are whole vectors and few queries read them: rows that are a power of two
  // apart get in each other's way in the cache.
  Left values{v.data, v.row_stride, 1};
  if (v.width != stride || last_query - first_query >= kLeastQueries) {
    float* const packed = arena.take(key_count * stride);
    pack(v, 0, key_count, 1.0F, packed);
    values = {packed, stride, 1};
  }
  float* q_tile = arena.take(kQueryTile * stride);
  float* y_tile = arena.take(kQueryTile * stride);
  float* s = arena.take(kQueryTile * kKeyTile);
  for (int64_t i0 = first_query; i0 < last_query; i0 += kQueryTile) {
    const int64_t rows = std::min(kQueryTile, last_query - i0);
    float largest[kQueryTile];
    float sum[kQueryTile] = {};
    std::fill_n(largest, rows, -kInfinity);
    std::fill_n(y_tile, rows * stride, 0.0F);
    pack(q, i0, rows, scale, q_tile);
    for (int64_t j0 = 0; j0 < key_count; j0 += kKeyTile) {
      const int64_t columns = keys.tile(j0);
      scores(q_tile, rows, q.width, keys, masks, i0, j0, s);
      for (int64_t i = 0; i < rows; ++i) {
        softmax_step(s + i * kKeyTile, columns, largest[i], sum[i], y_tile + i * stride, stride);
      }
      product(rows, stride, std::min(columns, key_count - j0), {s, kKeyTile, 1},
              values.data + j0 * values.row, values.row, y_tile, stride, true);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const bool blind = largest[i] == -kInfinity;
      log_sum_exp[i0 + i] = blind ? -kInfinity : largest[i] + std::log(sum[i]);
      unpack(y_tile + i * stride, 1, blind ? 0.0F : 1.0F / sum[i], y, i0 + i);
    }
  }
}

// Adds weight * p of queries [first_query, last_query) of one sample and head to `to` [queries, keys], rows
// `to_stride` apart; overwrites where `fresh`.
void probabilities_head(const Head& q, const Head& k, const SampleMasks& masks, float scale,
                        int64_t first_query, int64_t last_query, int64_t key_count, const float* log_sum_exp,
                        float weight, bool fresh, float* to, float* memory) {
  Arena arena(memory);
  const Keys keys = pack_keys(k, masks, key_count, arena);
  float* q_tile = arena.take(kQueryTile * padded(q.width));
  float* s = arena.take(kQueryTile * kKeyTile);
  for (int64_t i0 = first_query; i0 < last_query; i0 += kQueryTile) {
    const int64_t rows = std::min(kQueryTile, last_query - i0);
    pack(q, i0, rows, scale, q_tile);
    for (int64_t j0 = 0; j0 < key_count; j0 += kKeyTile) {
      scores(q_tile, rows, q.width, keys, masks, i0, j0, s);
      const int64_t columns = keys.tile(j0);
      for (int64_t i = 0; i < rows; ++i) {
        float* p = s + i * kKeyTile;
        const bool blind = log_sum_exp[i0 + i] == -kInfinity;
        exp_row(p, columns, blind ? kInfinity : log_sum_exp[i0 + i]);
        float* out = to + (i0 + i) * key_count + j0;
        for (int64_t j = 0; j < std::min(columns, key_count - j0); ++j) {
          out[j] = (fresh ? 0.0F : out[j]) + weight * p[j];
        }
      }
    }
  }
}

// ds = p * (dp - delta) in place of dp, for one row.
void score_gradient_row(const float* p, float delta, float* dp, int64_t count) {
  const D d;
  const V shift = hn::Set(d, delta);
  for (int64_t j = 0; j < count; j += static_cast<int64_t>(hn::Lanes(d))) {
    hn::StoreU(hn::Mul(hn::LoadU(d, p + j), hn::Sub(hn::LoadU(d, dp + j), shift)), d, dp + j);
  }
}

void backward_head(const BackwardHead& a, float* memory) {
  Arena arena(memory);
  const int64_t width = a.q.width;
  const int64_t stride = padded(width);
  const Keys keys = pack_keys(a.k, a.masks, a.keys, arena);
  float* v_columns = arena.take(keys.rounded * width);
  float* k_rows = arena.take(keys.rounded * stride);
  float* grad_k = arena.take(keys.rounded * stride);
  float* grad_v = arena.take(keys.rounded * stride);
  float* q_tile = arena.take(kQueryTile * stride);
  float* grad_y_tile = arena.take(kQueryTile * stride);
  float* grad_q_tile = arena.take(kQueryTile * stride);
  float* p = arena.take(kQueryTile * kKeyTile);
  float* ds = arena.take(kQueryTile * kKeyTile);
  pack_transposed(a.v, a.keys, v_columns);
  pack(a.k, 0, a.keys, 1.0F, k_rows);
  std::fill(k_rows + a.keys * stride, k_rows + keys.rounded * stride, 0.0F);
  std::fill_n(grad_k, keys.rounded * stride, 0.0F);
  std::fill_n(grad_v, keys.rounded * stride, 0.0F);
  for (int64_t i0 = 0; i0 < a.queries; i0 += kQueryTile) {
    const int64_t rows = std::min(kQueryTile, a.queries - i0);
    pack(a.q, i0, rows, a.scale, q_tile);
    pack(a.grad_y, i0, rows, 1.0F, grad_y_tile);
    std::fill_n(grad_q_tile, rows * stride, 0.0F);
    float delta[kQueryTile];
    for (int64_t i = 0; i < rows; ++i) {
      delta[i] = 0.0F;
      for (int64_t c = 0; c < width; ++c) delta[i] += a.grad_y.row(i0 + i)[c] * a.y.row(i0 + i)[c];
    }
    for (int64_t j0 = 0; j0 < a.keys; j0 += kKeyTile) {
      const int64_t columns = keys.tile(j0);
      scores(q_tile, rows, width, keys, a.masks, i0, j0, p);
      product(rows, columns, width, {grad_y_tile, stride, 1}, v_columns + j0 * width, kKeyTile, ds, kKeyTile,
              false);
      for (int64_t i = 0; i < rows; ++i) {
        const float l = a.log_sum_exp[i0 + i];
        exp_row(p + i * kKeyTile, columns, l == -kInfinity ? kInfinity : l);
        score_gradient_row(p + i * kKeyTile, delta[i], ds + i * kKeyTile, columns);
      }
      if (a.grad_v.defined()) {
        product(columns, stride, rows, {p, 1, kKeyTile}, grad_y_tile, stride, grad_v + j0 * stride, stride,
                true);
      }
      if (a.grad_k.defined()) {  // the packed queries carry the scale
        product(columns, stride, rows, {ds, 1, kKeyTile}, q_tile, stride, grad_k + j0 * stride, stride, true);
      }
      if (a.grad_q.defined()) {
        product(rows, stride, columns, {ds, kKeyTile, 1}, k_rows + j0 * stride, stride, grad_q_tile, stride,
                true);
      }
    }
    if (a.grad_q.defined()) unpack(grad_q_tile, rows, a.scale, a.grad_q, i0);
  }
  if (a.grad_k.defined()) unpack(grad_k, a.keys, 1.0F, a.grad_k, 0);
  if (a.grad_v.defined()) unpack(grad_v, a.keys, 1.0F, a.grad_v, 0);
}

}  // namespace
}  // namespace medfusion::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace medfusion::kernels {
namespace {

HWY_EXPORT(forward_head);
HWY_EXPORT(probabilities_head);
HWY_EXPORT(backward_head);

// Calls body(b, h, first, last) for blocks of queries of every sample and head. Each block packs the keys, so
// there are no more of them than keep the threads busy; the numbers do not depend on where they begin.
template <class Body>
void for_blocks(const core::View& q, int64_t heads, const Body& body) {
  constexpr int64_t kTasksOfThread = 8;
  const int64_t queries = q.size(1), all = q.size(0) * heads * queries;
  const int64_t even = all / (kTasksOfThread * core::num_threads());
  const int64_t block = round_up(std::max(even, kLeastQueries), kQueryTile);
  const int64_t blocks = (queries + block - 1) / block;
  core::parallel_for(0, q.size(0) * heads * blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const int64_t i = n % blocks * block;
      body(n / blocks / heads, n / blocks % heads, i, std::min(queries, i + block));
    }
  });
}

void write_probabilities(const AttentionForward& a) {
  const int64_t queries = a.q.size(1);
  const int64_t keys = a.k.size(1);
  const int64_t need = scratch_size(kQueryTile, keys, a.q.size(2) / a.heads);
  const bool mean = a.probabilities.rank() == 3;
  const float weight = mean ? 1.0F / static_cast<float>(a.heads) : 1.0F;
  const auto run = [&](int64_t b, int64_t h, int64_t first, int64_t last) {
    float* to = a.probabilities.as<float>() + (mean ? b : b * a.heads + h) * queries * keys;
    HWY_DYNAMIC_DISPATCH(probabilities_head)
    (Head(a.q, a.heads, b, h), Head(a.k, a.heads, b, h), SampleMasks(a, b), static_cast<float>(a.scale),
     first, last, keys, a.log_sum_exp.as<float>() + (b * a.heads + h) * queries, weight, !mean || h == 0, to,
     scratch(need));
  };
  if (!mean) {
    for_blocks(a.q, a.heads, run);
    return;
  }
  for_blocks(a.q, 1, [&](int64_t b, int64_t, int64_t first, int64_t last) {
    for (int64_t h = 0; h < a.heads; ++h) run(b, h, first, last);  // added in this order
  });
}

void run_forward(const AttentionForward& a) {
  const int64_t queries = a.q.size(1);
  const int64_t need = scratch_size(kQueryTile, a.k.size(1), a.q.size(2) / a.heads);
  for_blocks(a.q, a.heads, [&](int64_t b, int64_t h, int64_t first, int64_t last) {
    HWY_DYNAMIC_DISPATCH(forward_head)
    (Head(a.q, a.heads, b, h), Head(a.k, a.heads, b, h), Head(a.v, a.heads, b, h), Head(a.y, a.heads, b, h),
     SampleMasks(a, b), static_cast<float>(a.scale), first, last, a.k.size(1),
     a.log_sum_exp.as<float>() + (b * a.heads + h) * queries, scratch(need));
  });
  if (a.probabilities.defined()) write_probabilities(a);
}

void run_backward(const AttentionBackward& a) {
  const int64_t queries = a.q.size(1);
  const int64_t keys = a.k.size(1);
  const int64_t need = scratch_size(kQueryTile, keys, a.q.size(2) / a.heads);
  core::parallel_for(0, a.q.size(0) * a.heads, 1, [&](int64_t first, int64_t last) {
    for (int64_t n = first; n < last; ++n) {
      const int64_t b = n / a.heads;
      const int64_t h = n % a.heads;
      const auto head = [&](const core::View& x) { return Head(x, a.heads, b, h); };
      HWY_DYNAMIC_DISPATCH(backward_head)
      ({head(a.q), head(a.k), head(a.v), head(a.y), head(a.grad_y), head(a.grad_q), head(a.grad_k),
        head(a.grad_v), SampleMasks(a, b), static_cast<float>(a.scale), queries, keys,
        a.log_sum_exp.as<float>() + n * queries},
       scratch(need));
    }
  });
}

constexpr const char* kMasks = "masks with adjacent keys";
template <class Args>
bool masks_fit(const Args& a) {
  return takes::adjacent_columns.holds(std::array{&a.key_mask, &a.pair_mask});
}
bool probabilities_fit(const AttentionForward& a) {
  return !a.probabilities.defined() || a.probabilities.contiguous();
}

const Register<AttentionForward> forward("cpu", kCpu, 10,
                                         {takes::f32,
                                          takes::adjacent_channels,
                                          {kMasks, masks_fit<AttentionForward>},
                                          {"contiguous probabilities", probabilities_fit}},
                                         run_forward);
const Register<AttentionBackward> backward(
    "cpu", kCpu, 10, {takes::f32, takes::adjacent_channels, {kMasks, masks_fit<AttentionBackward>}},
    run_backward);

}  // namespace
}  // namespace medfusion::kernels
#endif  // HWY_ONCE
