// Training images, mirrored, cropped, normalised and with noise in one pass over their rows, on one
// thread.

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

using Index = std::ptrdiff_t;

// Sizes are the number of stored images, the number taken, height, width, the padding of crops, and
// how many numbers there are for noise. Images are uint8 (stored, height, width, 3), out is float
// (taken, height, width, 3). Without `flip`, (taken,), no image is mirrored; without `corner`,
// (taken, 2), none is cropped: those are the first row and column that are kept of the mirrored image
// with a black border. Without `noise`, (taken,), none has noise: that is where the numbers of an
// image begin. Returns whether there is an image of every index and noise for it; after one that has
// none, nothing is written.
extern "C" int take_images(const Index* sizes, float deviation, const std::uint8_t* images,
                           const std::int64_t* index, const std::uint8_t* flip,
                           const std::int64_t* corner, const std::int64_t* noise,
                           const float* numbers, float* out) {
  const Index stored = sizes[0], taken = sizes[1], height = sizes[2], width = sizes[3];
  const Index padding = sizes[4], values = 3 * width;
  std::vector<std::uint8_t> line(values);
  for (Index n = 0; n < taken; n++) {
    if (index[n] < 0 || index[n] >= stored) return false;
    if (noise && (noise[n] < 0 || noise[n] + height * values > sizes[5])) return false;
    const std::uint8_t* image = images + index[n] * height * values;
    const Index down = corner ? corner[2 * n] - padding : 0;
    const Index right = corner ? corner[2 * n + 1] - padding : 0;
    // the columns of a row that are from the image; the others are from the border
    const Index first = std::clamp<Index>(-right, 0, width);
    const Index last = std::clamp<Index>(width - right, first, width);
    for (Index y = 0; y < height; y++, out += values) {
      const Index row = y + down;
      const bool is_border = row < 0 || row >= height;
      const std::uint8_t* from = image + (is_border ? 0 : row * values);
      if (is_border || (flip && flip[n]) || right != 0) {
        std::fill(line.begin(), line.end(), 0);
        for (Index x = first; x < last && !is_border; x++) {
          const Index column = flip && flip[n] ? width - 1 - x - right : x + right;
          for (int c = 0; c < 3; c++) line[3 * x + c] = from[3 * column + c];
        }
        from = line.data();
      }
      // a fused multiply-subtract would round otherwise than PyTorch's two operations
      for (Index i = 0; i < values; i++) out[i] = from[i] * static_cast<float>(2. / 255);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      for (Index i = 0; i < values; i++) out[i] -= 1;
      if (!noise) continue;
      const float* added = numbers + noise[n] + y * values;
      for (Index i = 0; i < values; i++)
        out[i] = std::min(std::max(out[i] + deviation * added[i], -1.f), 1.f);
    }
  }
  return true;
}
