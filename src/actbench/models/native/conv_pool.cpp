// A 3×3 convolution (padding 1) and the 2×2 max-pool after it as one operation, forward and
// backward, on one thread.
//
// Why this takes less time than dense convolutions at the machine's full rate: of the four positions
// in a pooling window, only the maximum has a gradient. A dense backward pass multiplies the three
// zeros as well. Here the forward pass stores in a byte which position won, and the backward pass
// uses only the winners: a quarter of the multiplications. In the forward pass the convolution's
// output is never written to memory, and a window is the output tile of Winograd's F(2×2, 3×3),
// which takes 16 multiplications instead of the 36 of the definition.
//
// Tensors are dense: images (image, row, column, channel), filters (filter, 3, 3, channel). A
// vector's lanes are channels or filters, which are never summed together, and the order of every sum
// is fixed: the output has the same bytes every time, for any number of lanes.

#include "conv_pool_backward.h"
#include "conv_pool_forward.h"

// Sizes are images, height, width, channels, filters; x is (images, height, width, channels),
// w (filters, 3, 3, channels), and extremes, g and positions are (images, height / 2, width / 2,
// filters). As in PyTorch, the last row or column of an odd height or width is in no window. A leaky
// ReLU of the slope follows.
extern "C" {

// Extremes and positions that are null are not written. Returns whether all elements are known to be
// finite; if not, what is written may be wrong: a NaN counts less than a number here, and Winograd's
// differences may have made NaN of infinity.
int conv_pool_forward(const Index* sizes, double slope, const Real* x, const Real* w,
                      const Real* bias, Real* largest, std::uint8_t* largest_at, Real* smallest,
                      std::uint8_t* smallest_at) {
  const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]};
  const Leaky activation{static_cast<Real>(slope)};
  Pooled pooled{{largest, largest_at, activation}, {smallest, smallest_at, activation}};
  switch (s.channels) {
    case 1: return forward_few<1>(s, x, w, bias, pooled);
    case 2: return forward_few<2>(s, x, w, bias, pooled);
    case 3: return forward_few<3>(s, x, w, bias, pooled);
    default: return forward_many(s, x, w, bias, pooled);
  }
}

void conv_pool_choose(Index count, const Real* of_largest, const Real* of_smallest,
                      const Real* largest, const Real* smallest, const std::uint8_t* largest_at,
                      const std::uint8_t* smallest_at, Real* value, std::uint8_t* place) {
  choose(count, {of_largest, of_smallest}, {largest, smallest}, {largest_at, smallest_at}, value,
         place);
}

// g is the gradient of the extremes after the activation. Gradients that are null are not written; dw
// and db are null both or neither.
void conv_pool_gradients(const Index* sizes, double slope, const Real* x, const Real* w,
                         const Real* g, const std::uint8_t* winner, Real* dx, Real* dw, Real* db) {
  const Sizes s{sizes[0], sizes[1], sizes[2], sizes[3], sizes[4]};
  const Gradients gradients(s, g, winner, {static_cast<Real>(slope)});
  if (dx) input_gradient(s, w, gradients, winner, dx);
  if (!dw) return;
  std::memset(db, 0, s.filters * sizeof(Real));
  switch (s.channels) {
    case 1: return weight_gradient_few<1>(s, x, gradients, winner, dw, db);
    case 2: return weight_gradient_few<2>(s, x, gradients, winner, dw, db);
    case 3: return weight_gradient_few<3>(s, x, gradients, winner, dw, db);
    default: return weight_gradient_many(s, x, gradients, winner, dw, db);
  }
}
}
