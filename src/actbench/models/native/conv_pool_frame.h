// What the forward and the backward pass share: sizes, an image with a border, a leaky ReLU.

#pragma once

#include "vectors.h"

namespace {

struct Sizes {
  Index images, height, width, channels, filters;

  Index pooled_height() const { return height / 2; }
  Index pooled_width() const { return width / 2; }
  Index windows() const { return pooled_height() * pooled_width(); }
  Index pixels() const { return height * width; }
};

// A copy of one image with a border of zeros: planes of DEPTH channels each, the last one padded
// with zeros. DEPTH is the number of channels, or of lanes.
template <Index DEPTH>
struct Frame {
  const Index row, plane, planes;  // values of a row, of a plane; planes
  const Buffer<Real> values;

  explicit Frame(const Sizes& s)
      : row((s.width + 2) * DEPTH),
        plane((s.height + 2) * row),
        planes((s.channels + DEPTH - 1) / DEPTH),
        values(planes * plane + LANES) {}

  void copy_in(const Sizes& s, const Real* image) {
    for (Index p = 0; p < planes; p++)
      for (Index y = 0; y < s.height; y++) {
        Real* to = values + p * plane + (y + 1) * row + DEPTH;
        const Real* from = image + y * s.width * s.channels + p * DEPTH;
        if (s.channels == DEPTH)
          std::memcpy(to, from, s.width * DEPTH * sizeof(Real));
        else if constexpr (DEPTH == LANES)
          for (Index x = 0; x < s.width; x++, from += s.channels)
            store(to + x * DEPTH, load<Vector>(from, s.channels - p * DEPTH));
      }
  }
};

// A leaky ReLU of a slope: ReLU for 0, and for 1 no change.
struct Leaky {
  Real slope;

  Vector operator()(Vector x) const { return x > 0 ? x : x * slope; }

  Vector gradient(Vector g, Integers is_negative) const {
    const Vector none{};
    return is_negative ? (slope == 0 ? none : g * slope) : g;
  }
};

constexpr int NEGATIVE = 4;  // as in conv_pool.py

}  // namespace
