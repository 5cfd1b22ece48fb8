// The textbook in f64. A block in bf16 is computed in f64 as well, on copies, and rounded where it is stored.
#include <list>

#include "kernels/dense_block/dense_block_textbook.h"

namespace medfusion::kernels {
namespace {

using core::DType;
using core::Tensor;
using core::View;

double rounded(double x) { return static_cast<float>(core::BFloat16(static_cast<float>(x))); }

// Views in bf16 or f32, each replaced by a copy in f64; written back at the end.
class WideCopies {
 public:
  void replace(View& view, bool narrow = false) {
    if (!view.defined()) return;
    copies_.push_back({view, Tensor::empty(view.shape, DType::f64)});
    const Copy& copy = copies_.back();
    visit(copy, [&](auto& element, double& wide) {
      wide = static_cast<double>(static_cast<float>(element));
      if (narrow) wide = rounded(wide);
    });
    view = copy.wide.view();
  }
  // The parameters that convolutions read are rounded.
  void replace(std::vector<DenseBlockLayer>& layers) {
    for (DenseBlockLayer& l : layers) {
      for (View* v : {&l.norm1_weight, &l.norm1_bias, &l.norm1_mean, &l.norm1_var, &l.norm2_weight,
                      &l.norm2_bias, &l.norm2_mean, &l.norm2_var, &l.z, &l.z_mean, &l.z_inv_std})
        replace(*v);
      for (View* v : {&l.conv1, &l.conv2}) replace(*v, true);
    }
  }
  // What was given as `view`.
  void write_back(const View& wide) const {
    if (!wide.defined()) return;
    for (const Copy& copy : copies_) {
      if (copy.wide.view().data != wide.data) continue;
      visit(copy, [](auto& element, double& value) {
        element = std::decay_t<decltype(element)>(static_cast<float>(value));
      });
    }
  }

 private:
  struct Copy {
    View original;
    Tensor wide;
  };
  // body(element, its double)
  template <class Body>
  static void visit(const Copy& copy, const Body& body) {
    const auto all = [&](auto type) {
      for (int64_t i = 0; i < copy.original.numel(); ++i)
        body(core::element<decltype(type)>(copy.original, i), copy.wide.data<double>()[i]);
    };
    if (copy.original.dtype == DType::bf16) return all(core::BFloat16{});
    all(float{});
  }

  std::list<Copy> copies_;
};

void run_forward(const DenseBlockForward& b) {
  const bool narrow = b.buffer.dtype == DType::bf16;
  const dense_block::Textbook<double> textbook(b.training, b.eps, narrow);
  if (!narrow) return textbook.forward(b);
  DenseBlockForward wide = b;
  WideCopies copies;
  for (View* v : {&wide.buffer, &wide.mean, &wide.inv_std}) copies.replace(*v);
  copies.replace(wide.layers);
  textbook.forward(wide);
  for (const View* v : {&wide.buffer, &wide.mean, &wide.inv_std}) copies.write_back(*v);
  for (const DenseBlockLayer& l : wide.layers) {
    for (const View* v :
         {&l.z, &l.z_mean, &l.z_inv_std, &l.norm1_mean, &l.norm1_var, &l.norm2_mean, &l.norm2_var})
      copies.write_back(*v);
  }
}

void run_backward(const DenseBlockBackward& b) {
  const bool narrow = b.buffer.dtype == DType::bf16;
  const dense_block::Textbook<double> textbook(b.training, b.eps, narrow);
  if (!narrow) return textbook.backward(b);
  DenseBlockBackward wide = b;
  WideCopies copies;
  for (View* v : {&wide.buffer, &wide.mean, &wide.inv_std, &wide.gradient}) copies.replace(*v);
  copies.replace(wide.layers);
  for (DenseBlockLayerGradient& g : wide.gradients) {
    for (View* v : {&g.norm1_weight, &g.norm1_bias, &g.conv1, &g.norm2_weight, &g.norm2_bias, &g.conv2})
      copies.replace(*v);
  }
  textbook.backward(wide);
  copies.write_back(wide.gradient);
  for (const DenseBlockLayerGradient& g : wide.gradients) {
    for (const View* v : {&g.norm1_weight, &g.norm1_bias, &g.conv1, &g.norm2_weight, &g.norm2_bias, &g.conv2})
      copies.write_back(*v);
  }
}

constexpr TensorRequirement kTypes{"f64 (bf16 for checks, rounding where variants store)",
                                   takes::one_type<DType::f64, DType::bf16>};
const Register<DenseBlockForward> forward("reference", kCpu, 0, {kTypes, takes::any_strides}, run_forward);
const Register<DenseBlockBackward> backward("reference", kCpu, 0, {kTypes, takes::any_strides}, run_backward);

}  // namespace
}  // namespace medfusion::kernels
