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

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#ifdef __AVX2__
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#ifndef __clang__
// GCC would keep values of x from one iteration of a loop over channels to the next, and run out of
// registers. Loops that begin anywhere take 2 % longer with AVX2.
#pragma GCC optimize("no-predictive-commoning", "align-loops=32")
#endif

// A function that is not inlined: with more around its loops, GCC would run out of registers.
#define SEPARATE __attribute__((noinline))

namespace {

using Index = std::ptrdiff_t;
#ifdef DOUBLE  // to check gradients
using Real = double;
#else
using Real = float;
#endif
constexpr Index LANES = VECTOR_BYTES / sizeof(Real);
constexpr int MANY_REGISTERS = VECTOR_BYTES == 64;  // AVX-512 has 32, others 16

typedef Real Vector __attribute__((vector_size(VECTOR_BYTES)));
typedef decltype(Vector() < Vector()) Integers;  // as wide as Real, lane by lane
typedef decltype(Integers()[0] + 0) Integer;
typedef std::uint8_t Bytes __attribute__((vector_size(LANES)));

// An aligned array of zeros.
template <class T>
class Buffer {
 public:
  explicit Buffer(Index size) : data_(static_cast<T*>(::operator new(size * sizeof(T), ALIGN))) {
    std::memset(data_, 0, size * sizeof(T));
  }
  ~Buffer() { ::operator delete(data_, ALIGN); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  operator T*() const { return data_; }

 private:
  static constexpr std::align_val_t ALIGN{64};
  T* data_;
};

// `count` values, which may be fewer than the lanes: the other lanes are 0 and are not stored.
template <class V, class T>
inline V load(const T* from, Index count = LANES) {
  if (count >= LANES) {
    V whole;
    std::memcpy(&whole, from, sizeof whole);
    return whole;
  }
  V part{};
  std::memcpy(&part, from, count * sizeof(T));
  return part;
}

template <class V, class T>
inline void store(T* to, V values, Index count = LANES) {
  if (count >= LANES) {
    const V whole = values;
    std::memcpy(to, &whole, sizeof whole);
  } else {
    std::memcpy(to, &values, count * sizeof(T));
  }
}

// GCC would convert bytes one lane at a time.
inline Integers widened(Bytes bytes) {
#if defined(__AVX512F__) && !defined(DOUBLE)
  return (Integers)_mm512_cvtepu8_epi32((__m128i)bytes);
#elif defined(__AVX2__) && !defined(DOUBLE)
  return (Integers)_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)bytes));
#else
  return __builtin_convertvector(bytes, Integers);
#endif
}

// Each lane as a byte, for lanes from -1 to 127.
inline Bytes narrowed(Integers lanes) {
#if defined(__AVX2__) && !defined(__AVX512F__) && !defined(DOUBLE)
  const __m128i low = _mm256_castsi256_si128((__m256i)lanes);
  const __m128i half = _mm_packs_epi32(low, _mm256_extracti128_si256((__m256i)lanes, 1));
  return (Bytes)_mm_cvtsi128_si64(_mm_packs_epi16(half, half));
#else
  return __builtin_convertvector(lanes, Bytes);
#endif
}

// GCC would compare and blend. Of equal values, and with a NaN, b.
inline Vector larger(Vector a, Vector b) {
#if defined(__AVX512F__) && !defined(DOUBLE)
  return (Vector)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && !defined(DOUBLE)
  return (Vector)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return a > b ? a : b;
#endif
}

inline Vector smaller(Vector a, Vector b) {
#if defined(__AVX512F__) && !defined(DOUBLE)
  return (Vector)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__) && !defined(DOUBLE)
  return (Vector)_mm256_min_ps((__m256)a, (__m256)b);
#else
  return a < b ? a : b;
#endif
}

inline Index padded(Index count) { return (count + LANES - 1) / LANES * LANES; }

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

// ---- forward ------------------------------------------------------------------------------------

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
  Vector zero = {};  // NaN instead in a lane that had an infinite element or a NaN

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

// For each lane, the value at its index after `from`; the index is below eight.
template <class V, class T>
inline V pick(const T* from, Integers which) {
#if defined(__AVX512F__) && !defined(DOUBLE)
  const __m512i eight = _mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)from));
  return (V)_mm512_permutexvar_epi32((__m512i)which, eight);
#elif defined(__AVX2__) && !defined(DOUBLE)
  return (V)_mm256_permutevar8x32_epi32(_mm256_loadu_si256((const __m256i*)from), (__m256i)which);
#else
  V picked;
  for (Index lane = 0; lane < LANES; lane++) picked[lane] = from[which[lane]];
  return picked;
#endif
}

// ---- backward -----------------------------------------------------------------------------------

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
  Integer offsets[8];
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

// One bit per lane of a comparison.
inline std::uint64_t bits(Integers lanes) {
#if defined(__AVX512F__) && !defined(DOUBLE)
  return _mm512_test_epi32_mask((__m512i)lanes, (__m512i)lanes);
#elif defined(__AVX2__) && !defined(DOUBLE)
  return static_cast<unsigned>(_mm256_movemask_ps((__m256)(lanes != 0)));
#else
  std::uint64_t found = 0;
  for (Index lane = 0; lane < LANES; lane++) found |= std::uint64_t(lanes[lane] != 0) << lane;
  return found;
#endif
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
