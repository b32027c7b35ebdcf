// The backward pass: gradients from the winners only.

#pragma once

#include "conv_pool_frame.h"

namespace {

// The gradient of the windows' elements before the activation, image by image.
class Gradients {
 public:
  Gradients(const Sizes& s, const Real* given, const std::uint8_t* winner, Leaky activation)
      : size_(s.windows() * s.filters),
        given_(given),
        winner_(winner),
        activation_(activation),
        image_(size_) {}

  const Real* of_image(Index n) const {
    const Real* given = given_ + n * size_;
    if (activation_.slope == 1) return given;
    const std::uint8_t* winner = winner_ + n * size_;
    for (Index i = 0; i < size_; i += LANES) {
      const Index rest = size_ - i;
      const Integers is_negative = (widened(load<Bytes>(winner + i, rest)) & NEGATIVE) != 0;
      store(image_ + i, activation_.gradient(load<Vector>(given + i, rest), is_negative), rest);
    }
    return image_;
  }

 private:
  const Index size_;
  const Real* const given_;
  const std::uint8_t* const winner_;
  const Leaky activation_;
  const Buffer<Real> image_;
};

// For every (window, filter), filters padded: the offset of one image's winner. Position 0 of the
// window at (y, x) is at y · below + x · beside; the lower row is `down` further, the right column
// `right`.
void find_winners(const Sizes& s, const std::uint8_t* winner, Index below, Index beside, Index down,
                  Index right, Integer* found) {
  Integer offsets[8];  // of a position, NEGATIVE or not
  for (int i = 0; i < 8; i++) offsets[i] = (i & 2 ? down : 0) + (i & 1 ? right : 0);
  for (Index y = 0; y < s.pooled_height(); y++)
    for (Index x = 0; x < s.pooled_width(); x++, winner += s.filters)
      for (Index f = 0; f < s.filters; f += LANES, found += LANES) {
        const auto place = widened(load<Bytes>(winner + f, s.filters - f));
        store(found, Integer(y * below + x * beside) + pick<Integers>(offsets, place));
      }
}

// Adds the gradients of one image to those of the biases.
void add_bias_gradient(const Sizes& s, const Real* g, Real* db) {
  for (Index f = 0; f < s.filters; f += LANES) {
    const Index count = s.filters - f;
    Vector sum{};
    for (Index window = 0; window < s.windows(); window++)
      sum += load<Vector>(g + window * s.filters + f, count);
    store(db + f, load<Vector>(db + f, count) + sum, count);
  }
}

// For images with few channels. A lane is a filter, and picks the inputs of its winner from `pairs`:
// the frame's values, each with the one a row below.
template <int CHANNELS>
SEPARATE void weight_gradient_few(const Sizes& s, const Real* x, const Gradients& gradients,
                                  const std::uint8_t* winner, Real* dw, Real* db) {
  const Index stride = padded(s.filters);
  Frame<CHANNELS> frame(s);
  const Index row = 2 * frame.row;
  Buffer<Real> pairs((s.height + 1) * row + LANES), total(9 * CHANNELS * stride);
  Buffer<Integer> winners(s.windows() * stride);
  for (Index n = 0; n < s.images; n++, x += s.pixels() * CHANNELS) {
    const Real* g = gradients.of_image(n);
    frame.copy_in(s, x);
    for (Index i = 0; i < (s.height + 1) * frame.row; i++) {
      pairs[2 * i] = frame.values[i];
      pairs[2 * i + 1] = frame.values[i + frame.row];
    }
    find_winners(s, winner + n * s.windows() * s.filters, 0, 0, 1, 2 * CHANNELS, winners);
    for (Index f = 0; f < s.filters; f += LANES)
      for (int tap = 0; tap < 3; tap++) {
        Vector sum[3 * CHANNELS] = {}, bias{};
        Index window = 0;
        for (Index y = 0; y < s.pooled_height(); y++) {
          const Real* corner = pairs + (2 * y + tap) * row;
          for (Index i = 0; i < s.pooled_width(); i++, window++, corner += 4 * CHANNELS) {
            const auto gradient = load<Vector>(g + window * s.filters + f, s.filters - f);
            const auto which = load<Integers>(winners + window * stride + f);
            bias += gradient;
            for (int i = 0; i < 3 * CHANNELS; i++)
              sum[i] += gradient * pick<Vector>(corner + 2 * i, which);
          }
        }
        for (int i = 0; i < 3 * CHANNELS; i++) {
          Real* to = total + (3 * CHANNELS * tap + i) * stride + f;
          store(to, load<Vector>(to) + sum[i]);
        }
        if (tap == 0)
          store(db + f, load<Vector>(db + f, s.filters - f) + bias, s.filters - f);
      }
  }
  for (Index f = 0; f < s.filters; f++)
    for (Index i = 0; i < 9 * CHANNELS; i++) dw[f * 9 * CHANNELS + i] = total[i * stride + f];
}

// For features. A lane is a channel.
SEPARATE void weight_gradient_many(const Sizes& s, const Real* x, const Gradients& gradients,
                                   const std::uint8_t* winner, Real* dw, Real* db) {
  const Index stride = padded(s.filters);
  Frame<LANES> frame(s);
  Buffer<Real> total(frame.planes * s.filters * 9 * LANES);
  Buffer<Integer> winners(s.windows() * stride);
  for (Index n = 0; n < s.images; n++, x += s.pixels() * s.channels) {
    const Real* g = gradients.of_image(n);
    add_bias_gradient(s, g, db);
    frame.copy_in(s, x);
    find_winners(s, winner + n * s.windows() * s.filters, 2 * frame.row, 2 * LANES, frame.row, LANES,
                 winners);
    Real* to = total;
    for (Index p = 0; p < frame.planes; p++) {
      const Real* plane = frame.values + p * frame.plane;
      const auto add = [&](auto filters, Index f) {
        constexpr int FILTERS = decltype(filters)::value;
        Vector sum[FILTERS][9] = {};
        for (Index window = 0; window < s.windows(); window++)
          for (int k = 0; k < FILTERS; k++) {
            const Real gradient = g[window * s.filters + f + k];
            const Real* seen = plane + winners[window * stride + f + k];
            for (int t = 0; t < 9; t++)
              sum[k][t] += gradient * load<Vector>(seen + t / 3 * frame.row + t % 3 * LANES);
          }
        for (int k = 0; k < FILTERS; k++)
          for (int t = 0; t < 9; t++, to += LANES) store(to, load<Vector>(to) + sum[k][t]);
      };
      Index f = 0;
      if (MANY_REGISTERS)
        for (; f + 2 <= s.filters; f += 2) add(std::integral_constant<int, 2>(), f);
      for (; f < s.filters; f++) add(std::integral_constant<int, 1>(), f);
    }
  }
  for (Index i = 0; i < 9 * s.filters; i++)
    for (Index c = 0; c < s.channels; c++)
      dw[i * s.channels + c] = total[(c / LANES * 9 * s.filters + i) * LANES + c % LANES];
}

// For each position, one bit for each of up to 64 filters whose winner it is with a nonzero gradient.
inline void sort_by_place(const Real* g, const std::uint8_t* winner, Index filters,
                          std::uint64_t (&won)[4]) {
  std::uint64_t counts = 0, lower = 0, right = 0;
  for (Index f = 0; f < filters; f += LANES) {
    const auto place = widened(load<Bytes>(winner + f, filters - f));
    counts |= bits(load<Vector>(g + f, filters - f) != 0) << f;
    lower |= bits(place & 2) << f;
    right |= bits(place & 1) << f;
  }
  for (int p = 0; p < 4; p++) won[p] = counts & (p / 2 ? lower : ~lower) & (p % 2 ? right : ~right);
}

// Adds g · weights to 3×3 of the 4×4 pixels under a window, the inputs of position PLACE, for every
// filter whose bit is set.
template <int PLACE>
inline void spread(std::uint64_t filters, const Real* g, const Real* weights,
                   Vector (&patch)[4][4]) {
  for (; filters != 0; filters &= filters - 1) {
    const int f = __builtin_ctzll(filters);
    const Real* from = weights + 9 * f * LANES;
    asm("" : "+r"(from));  // in a register: each address with an index would cost an instruction more
#pragma GCC unroll 9
    for (int t = 0; t < 9; t++)
      patch[PLACE / 2 + t / 3][PLACE % 2 + t % 3] += g[f] * load<Vector>(from + t * LANES);
  }
}

// A lane is a channel. Two columns of a patch stay in the registers for the next window of the row,
// and two rows of it in `lower` for the next row of windows; the others are complete.
SEPARATE void input_gradient(const Sizes& s, const Real* w, const Gradients& gradients,
                             const std::uint8_t* winner, Real* dx) {
  constexpr Index BLOCK = 64;  // filters at a time
  const Index width = s.pooled_width(), blocks = (s.filters + BLOCK - 1) / BLOCK;
  const Index planes = (s.channels + LANES - 1) / LANES, row = (s.width + 2) * LANES;
  Buffer<Real> weights(planes * s.filters * 9 * LANES), lower(planes * 2 * row);
  for (Index i = 0; i < 9 * s.filters; i++)
    for (Index c = 0; c < s.channels; c++)
      weights[(c / LANES * 9 * s.filters + i) * LANES + c % LANES] = w[i * s.channels + c];
  Buffer<std::uint64_t[4]> won(width * blocks);
  for (Index n = 0; n < s.images; n++, dx += s.pixels() * s.channels) {
    const Real* g = gradients.of_image(n);
    std::memset(lower, 0, planes * 2 * row * sizeof(Real));
    // `y` and `x` of the image, which the border of a patch is not in
    const auto put = [&](Index p, Index y, Index x, Vector values) {
      if (y >= 0 && y < s.height && x >= 0 && x < s.width)
        store(dx + (y * s.width + x) * s.channels + p * LANES, values, s.channels - p * LANES);
    };
    for (Index y = 0; y < s.pooled_height(); y++) {
      for (Index x = 0; x < width; x++)
        for (Index b = 0, f = 0; b < blocks; b++, f += BLOCK)
          sort_by_place(g + x * s.filters + f, winner + x * s.filters + f,
                        s.filters - f < BLOCK ? s.filters - f : BLOCK, won[x * blocks + b]);
      for (Index p = 0; p < planes; p++) {
        Real* corner = lower + 2 * p * row;
        Vector patch[4][4] = {};
        const auto at = [&](int i) { return corner + i / 2 * row + i % 2 * LANES; };
        const auto finish = [&](Index x) {  // the two columns on the left
          for (int i = 0; i < 4; i++) {
            put(p, 2 * y - 1 + i / 2, 2 * x - 1 + i % 2, patch[i / 2][i % 2]);
            store(at(i), patch[2 + i / 2][i % 2]);
          }
        };
        for (int i = 0; i < 4; i++) patch[i / 2][i % 2] = load<Vector>(at(i));
        for (Index x = 0; x < width; x++) {
          for (int i = 0; i < 4; i++) {
            patch[i / 2][2 + i % 2] = load<Vector>(at(i) + 2 * LANES);
            patch[2 + i / 2][2 + i % 2] = Vector{};
          }
          for (Index b = 0, f = 0; b < blocks; b++, f += BLOCK) {
            const auto& filters = won[x * blocks + b];
            const Real *here = g + x * s.filters + f,
                       *from = weights + (p * s.filters + f) * 9 * LANES;
            spread<0>(filters[0], here, from, patch);
            spread<1>(filters[1], here, from, patch);
            spread<2>(filters[2], here, from, patch);
            spread<3>(filters[3], here, from, patch);
          }
          finish(x);
          for (int i = 0; i < 8; i++) patch[i / 2][i % 2] = patch[i / 2][2 + i % 2];
          corner += 2 * LANES;
        }
        finish(width);
      }
      g += width * s.filters;
      winner += width * s.filters;
    }
    for (Index i = 0; i < planes * 2 * row; i += LANES)
      put(i / (2 * row), 2 * s.pooled_height() - 1 + i / row % 2, i % row / LANES - 1,
          load<Vector>(lower + i));
  }
}

}  // namespace
