// The forward pass: the extremes of the convolution's windows, and where they are.

#pragma once

#include "conv_pool_frame.h"

namespace {

// An extreme of every window, after the activation, and its position unless that is not wanted. With
// an activation, NEGATIVE is added to the position of one that is not above 0. Without `values`,
// nothing is written.
struct Extremes {
  Real* values;
  std::uint8_t* places;
  Leaky activation;

  // Writes that of one window, of equal values the first: `further` is `larger` or `smaller`.
  template <class Further>
  void write(const Vector (&four)[4], Index at, Index count, Further further) const {
    if (!values) return;
    Vector extreme = four[0];
    Integers place{};
    for (int i = 1; i < 4; i++) {
      const Vector next = further(four[i], extreme);
      place = next != extreme ? Integers{} + i : place;
      extreme = next;
    }
    if (activation.slope != 1) {
      place |= ~(extreme > 0) & NEGATIVE;
      extreme = activation(extreme);
    }
    store(values + at, extreme, count);
    if (places) store(places + at, narrowed(place), count);
  }
};

struct Pooled {
  Extremes largest, smallest;
  Vector zero = {};  // or NaN, if an element or the sum of a window was not finite

  void write(const Vector (&four)[4], Index at, Index count) {
    zero += ((four[0] + four[1]) + (four[2] + four[3])) * 0;
    largest.write(four, at, count, larger);
    smallest.write(four, at, count, smaller);
  }

  bool is_finite() const {
    const Integers differs = zero != 0;
    for (Index lane = 0; lane < LANES; lane++)
      if (differs[lane]) return false;
    return true;
  }
};

// The element of each window that has the larger activation, and its position; `scores` are the
// activations of both elements. Without `place`, it is not written.
void choose(Index count, const Real* const (&scores)[2], const Real* const (&values)[2],
            const std::uint8_t* const (&places)[2], Real* value, std::uint8_t* place) {
  for (Index i = 0; i < count; i += LANES) {
    const Index rest = count - i;
    const auto at = [&](auto kind, const auto* const(&from)[2], int which) {
      return load<decltype(kind)>(from[which] + i, rest);
    };
    const Integers first = at(Vector(), scores, 0) >= at(Vector(), scores, 1);
    store(value + i, first ? at(Vector(), values, 0) : at(Vector(), values, 1), rest);
    if (!place) continue;
    const auto byte = narrowed(first);  // 255 or 0
    store(place + i, (at(Bytes(), places, 0) & byte) | (at(Bytes(), places, 1) & ~byte), rest);
  }
}

// By the definition, for WINDOWS adjacent windows and one vector of filters, whose weights are
// (3, 3 · CHANNELS, filters).
template <int WINDOWS, int CHANNELS>
inline void by_definition(const Real* corner, Index row, const Real* weights, Index stride,
                          Vector bias, Vector (&windows)[WINDOWS][4]) {
  for (auto& four : windows)
    for (Vector& sum : four) sum = bias;
  for (int y = 0; y < 3; y++)
#pragma GCC unroll 3
    for (int i = 0; i < 3 * CHANNELS; i++, weights += stride) {
      const Vector w = load<Vector>(weights);
#pragma GCC unroll 8
      for (int n = 0; n < WINDOWS; n++)
#pragma GCC unroll 4
        for (int p = 0; p < 4; p++)
          windows[n][p] += corner[(y + p / 2) * row + (2 * n + p % 2) * CHANNELS + i] * w;
    }
}

template <int CHANNELS>
SEPARATE bool forward_few(const Sizes& s, const Real* x, const Real* w, const Real* bias,
                          Pooled& pooled) {
  constexpr int WINDOWS = MANY_REGISTERS ? 4 : 3;
  const Index stride = padded(s.filters);
  Buffer<Real> weights(9 * CHANNELS * stride);
  for (Index f = 0; f < s.filters; f++)
    for (Index i = 0; i < 9 * CHANNELS; i++) weights[i * stride + f] = w[f * 9 * CHANNELS + i];
  Frame<CHANNELS> frame(s);
  Index first = 0;  // of the row of windows
  for (Index n = 0; n < s.images; n++, x += s.pixels() * CHANNELS) {
    frame.copy_in(s, x);
    for (Index y = 0; y < s.pooled_height(); y++) {
      for (Index f = 0; f < s.filters; f += LANES) {
        const Index count = s.filters - f;
        const Vector b = load<Vector>(bias + f, count);
        const Real* corner = frame.values + 2 * y * frame.row;
        Index at = first + f;
        const auto run = [&](auto& windows) {
          by_definition<sizeof windows / sizeof windows[0], CHANNELS>(corner, frame.row, weights + f,
                                                                      stride, b, windows);
          for (auto& four : windows) {
            pooled.write(four, at, count);
            at += s.filters;
            corner += 2 * CHANNELS;
          }
        };
        Index left = s.pooled_width();
        for (; left >= WINDOWS; left -= WINDOWS) {
          Vector windows[WINDOWS][4];
          run(windows);
        }
        for (; left > 0; left--) {
          Vector windows[1][4];
          run(windows);
        }
      }
      first += s.pooled_width() * s.filters;
    }
  }
  return pooled.is_finite();
}

// Winograd's F(2×2, 3×3), Lavin and Gray 2016, equations 8 to 12: with g the filter, d the 4×4 patch
// under a window and ⊙ the product of elements, the window is Aᵀ[(G g Gᵀ) ⊙ (Bᵀ d B)]A. Each of the
// 16 elements is a matrix product over channels.

// Filters (filter, 3, 3, channel) → G g Gᵀ as (16, channel, filter).
void transform_filters(const Sizes& s, const Real* w, Real* out) {
  const Index stride = padded(s.filters), plane = padded(s.channels) * stride;
  const auto combine = [](const Real (&g)[3], Real (&t)[4]) {
    t[0] = g[0];
    t[1] = (g[0] + g[1] + g[2]) / 2;
    t[2] = (g[0] - g[1] + g[2]) / 2;
    t[3] = g[2];
  };
  for (Index f = 0; f < s.filters; f++)
    for (Index c = 0; c < s.channels; c++) {
      Real columns[3][4];
      for (int j = 0; j < 3; j++) {
        const Real* g = w + f * 9 * s.channels + j * s.channels + c;
        combine({g[0], g[3 * s.channels], g[6 * s.channels]}, columns[j]);
      }
      for (int i = 0; i < 4; i++) {
        Real t[4];
        combine({columns[0][i], columns[1][i], columns[2][i]}, t);
        for (int j = 0; j < 4; j++) out[(4 * i + j) * plane + c * stride + f] = t[j];
      }
    }
}

// The patch at `corner` → Bᵀ d B, its 16 elements `plane` apart, for every channel.
inline void transform_patch(const Frame<LANES>& frame, const Real* corner, Real* out, Index plane) {
  for (Index p = 0; p < frame.planes; p++, corner += frame.plane, out += LANES) {
    Vector t[4][4];
    for (int j = 0; j < 4; j++) {
      Vector d[4];
      for (int i = 0; i < 4; i++) d[i] = load<Vector>(corner + i * frame.row + j * LANES);
      t[0][j] = d[0] - d[2];
      t[1][j] = d[1] + d[2];
      t[2][j] = d[2] - d[1];
      t[3][j] = d[1] - d[3];
    }
    for (int i = 0; i < 4; i++) {
      Real* to = out + 4 * i * plane;
      store(to, t[i][0] - t[i][2]);
      store(to + plane, t[i][1] + t[i][2]);
      store(to + 2 * plane, t[i][2] - t[i][1]);
      store(to + 3 * plane, t[i][1] - t[i][3]);
    }
  }
}

// So many sums as fit into the registers, beside the operands: TILE windows and two vectors.
constexpr int TILE = MANY_REGISTERS ? 8 : 6;

template <int WINDOWS, int VECTORS>
inline void product(const Real* patches, Index depth, const Real* weights, Index stride, Real* out) {
  Vector sum[WINDOWS][VECTORS] = {};
  for (Index c = 0; c < depth; c++) {
    Vector w[VECTORS];
    for (int v = 0; v < VECTORS; v++) w[v] = load<Vector>(weights + c * stride + v * LANES);
#pragma GCC unroll 8
    for (int n = 0; n < WINDOWS; n++)
#pragma GCC unroll 2
      for (int v = 0; v < VECTORS; v++) sum[n][v] += patches[n * depth + c] * w[v];
  }
  for (int n = 0; n < WINDOWS; n++)
    for (int v = 0; v < VECTORS; v++) store(out + n * stride + v * LANES, sum[n][v]);
}

// patches (windows, depth) × weights (depth, stride) → out (windows, stride)
template <int WINDOWS>
void products(const Real* patches, Index windows, Index depth, const Real* weights, Index stride,
              Real* out) {
  constexpr int VECTORS = 2;
  for (; windows >= WINDOWS; windows -= WINDOWS) {
    Index f = 0;
    for (; f + VECTORS * LANES <= stride; f += VECTORS * LANES)
      product<WINDOWS, VECTORS>(patches, depth, weights + f, stride, out + f);
    for (; f < stride; f += LANES)
      product<WINDOWS, 1>(patches, depth, weights + f, stride, out + f);
    patches += WINDOWS * depth;
    out += WINDOWS * stride;
  }
  if constexpr (WINDOWS > 1) products<WINDOWS * 2 / 3>(patches, windows, depth, weights, stride, out);
}

// The 16 elements at `from`, `plane` apart → Aᵀ[…]A, the window's four values, plus the bias.
inline void transform_window(const Real* from, Index plane, Vector bias, Vector (&four)[4]) {
  Vector t[2][4];
  for (int j = 0; j < 4; j++) {
    Vector m[4];
    for (int i = 0; i < 4; i++) m[i] = load<Vector>(from + (4 * i + j) * plane);
    t[0][j] = m[0] + (m[1] + m[2]);
    t[1][j] = (m[1] - m[2]) - m[3];
  }
  for (int i = 0; i < 2; i++) {
    four[2 * i] = t[i][0] + (t[i][1] + t[i][2]) + bias;
    four[2 * i + 1] = (t[i][1] - t[i][2]) - t[i][3] + bias;
  }
}

SEPARATE bool forward_many(const Sizes& s, const Real* x, const Real* w, const Real* bias,
                           Pooled& pooled) {
  constexpr Index BLOCK = MANY_REGISTERS ? TILE : 3 * TILE;  // windows at a time; few stay in cache
  const Index depth = padded(s.channels), stride = padded(s.filters), width = s.pooled_width();
  Buffer<Real> weights(16 * depth * stride), patches(16 * BLOCK * depth), out(16 * BLOCK * stride);
  transform_filters(s, w, weights);
  Frame<LANES> frame(s);
  Index at = 0;
  for (Index n = 0; n < s.images; n++, x += s.pixels() * s.channels) {
    frame.copy_in(s, x);
    for (Index first = 0; first < s.windows(); first += BLOCK) {
      const Index left = s.windows() - first, windows = left < BLOCK ? left : BLOCK;
      for (Index i = 0; i < windows; i++) {
        const Index place = first + i, y = place / width, x = place % width;
        transform_patch(frame, frame.values + 2 * y * frame.row + 2 * x * LANES,
                        patches + i * depth, BLOCK * depth);
      }
      for (int e = 0; e < 16; e++)
        products<TILE>(patches + e * BLOCK * depth, windows, depth, weights + e * depth * stride,
                       stride, out + e * BLOCK * stride);
      for (Index i = 0; i < windows; i++, at += s.filters)
        for (Index f = 0; f < s.filters; f += LANES) {
          Vector four[4];
          const Index count = s.filters - f;
          transform_window(out + i * stride + f, BLOCK * stride, load<Vector>(bias + f, count), four);
          pooled.write(four, at + f, count);
        }
    }
  }
  return pooled.is_finite();
}

}  // namespace
