// Vectors as wide as the processor's registers, and operations on them. Those with intrinsics are
// ones for which a compiler would need several times as many instructions.

#pragma once

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

}  // namespace
