// Products of matrices whose sums run in one fixed order: the same bits however they are divided.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "hmm/dense_table.hpp"
#include "hmm/team.hpp"

HMM_BEGIN_TARGET

namespace dense {

#if HMM_VECTOR_BYTES == 64
// Half a register costs half the time on machines whose arithmetic is 32 bytes wide.
constexpr bool kHalves = true;
#else
constexpr bool kHalves = false;
#endif

template <typename Real>
struct HalfVector {
  typedef Real V __attribute__((vector_size(HMM_VECTOR_BYTES / 2)));
};

template <typename V, typename Real>
HMM_INLINE V multiply_add(Real factor, V x, V sum) {
  if constexpr (sizeof(V) == HMM_VECTOR_BYTES) {
    return madd(splat<V>(factor), x, sum);
  } else {
#if HMM_VECTOR_BYTES == 64
    if constexpr (sizeof(Real) == 4) {
      return bits<V>(_mm256_fmadd_ps(_mm256_set1_ps(factor), bits<__m256>(x), bits<__m256>(sum)));
    } else {
      return bits<V>(_mm256_fmadd_pd(_mm256_set1_pd(factor), bits<__m256d>(x), bits<__m256d>(sum)));
    }
#else
    return x * factor + sum;
#endif
  }
}

// out[r][o] = sum over i of in[r][i] * x[i][o], for kRows rows and kVectors vectors of outputs.
template <typename V, int kRows, int kVectors, typename Real>
HMM_INLINE void multiply_tile(const Real* x, std::int64_t x_pitch, std::int64_t inputs, const Real* in,
                              std::int64_t in_pitch, std::int64_t in_step, V (&sum)[kRows][kVectors]) {
  constexpr std::int64_t kLane = kLanes<Real>;
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) sum[r][v] = V{};
  }
  for (std::int64_t i = 0; i < inputs; ++i) {
    V column[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) column[v] = load<V>(x + i * x_pitch + v * kLane);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Real factor = in[r * in_pitch + i * in_step];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = multiply_add<V>(factor, column[v], sum[r][v]);
    }
  }
}

// kVectors 0: half a vector.
template <int kRows, int kVectors, typename Real>
void multiply_rows(const Real* x, std::int64_t inputs, const Real* in, Real* out, std::int64_t pitch) {
  constexpr std::int64_t kLane = kLanes<Real>;
  constexpr int kCount = kVectors == 0 ? 1 : kVectors;
  using V = std::conditional_t<kVectors == 0, typename HalfVector<Real>::V, Vec<Real>>;
  V sum[kRows][kCount];
  multiply_tile<V, kRows, kCount, Real>(x, kCount * kLane, inputs, in, pitch, 1, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) store(out + r * pitch + v * kLane, sum[r][v]);
    if constexpr (kVectors == 0) store(out + r * pitch + kLane / 2, V{});
  }
}

template <int kVectors, typename Real>
void multiply_panel(const Real* x, std::int64_t inputs, const Real* in, Real* out, std::int64_t pitch,
                    std::int64_t rows) {
  std::int64_t r = 0;
  for (; r + kTile <= rows; r += kTile)
    multiply_rows<kTile, kVectors>(x, inputs, in + r * pitch, out + r * pitch, pitch);
  if constexpr (kTile > 4) {
    if (r + 4 <= rows) {
      multiply_rows<4, kVectors>(x, inputs, in + r * pitch, out + r * pitch, pitch);
      r += 4;
    }
  }
  if (r + 2 <= rows) {
    multiply_rows<2, kVectors>(x, inputs, in + r * pitch, out + r * pitch, pitch);
    r += 2;
  }
  if (r < rows) multiply_rows<1, kVectors>(x, inputs, in + r * pitch, out + r * pitch, pitch);
}

// Vectors of outputs from `first` on, at most kPanel; 0 for half a vector.
template <typename Real>
std::int64_t panel_vectors(std::int64_t first, std::int64_t states) {
  constexpr std::int64_t kLane = kLanes<Real>;
  const std::int64_t rest = states - first;
  if (kHalves && rest <= kLane / 2) return 0;
  return rest < kPanel * kLane ? (rest + kLane - 1) / kLane : kPanel;
}

// One panel of the table.
template <typename Real>
void multiply_one(const Table<Real>& table, std::int64_t panel, const Real* in, Real* out, std::int64_t pitch,
                  std::int64_t rows) {
  const std::int64_t first = panel * kPanel * kLanes<Real>;
  const Real* x = table.panel(first);
  switch (panel_vectors<Real>(first, table.states())) {
    case 0:
      if constexpr (kHalves) multiply_panel<0>(x, table.states(), in, out + first, pitch, rows);
      break;
    case 1:
      multiply_panel<1>(x, table.states(), in, out + first, pitch, rows);
      break;
    case 2:
      multiply_panel<2>(x, table.states(), in, out + first, pitch, rows);
      break;
    default:
      multiply_panel<kPanel>(x, table.states(), in, out + first, pitch, rows);
      break;
  }
}

// A panel of kPanel vectors and the one behind it, at `y`, of kSecond vectors (0: half a one), together: the
// sums of one or two rows alone would wait for each other.
template <int kRows, int kSecond, typename Real>
void multiply_two(const Real* x, const Real* y, std::int64_t inputs, const Real* in, Real* out,
                  std::int64_t pitch) {
  constexpr std::int64_t kLane = kLanes<Real>;
  constexpr int kCount = kSecond == 0 ? 1 : kSecond;
  using V = Vec<Real>;
  using W = std::conditional_t<kSecond == 0, typename HalfVector<Real>::V, Vec<Real>>;
  constexpr std::int64_t kStep = kSecond == 0 ? kLane : kSecond * kLane;
  V first[kRows][kPanel] = {};
  W second[kRows][kCount] = {};
  for (std::int64_t i = 0; i < inputs; ++i) {
    V column[kPanel];
    W more[kCount];
#pragma GCC unroll 8
    for (int v = 0; v < kPanel; ++v) column[v] = load<V>(x + (i * kPanel + v) * kLane);
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) more[v] = load<W>(y + i * kStep + v * kLane);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const Real factor = in[r * pitch + i];
#pragma GCC unroll 8
      for (int v = 0; v < kPanel; ++v) first[r][v] = multiply_add<V>(factor, column[v], first[r][v]);
#pragma GCC unroll 8
      for (int v = 0; v < kCount; ++v) second[r][v] = multiply_add<W>(factor, more[v], second[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kPanel; ++v) store(out + r * pitch + v * kLane, first[r][v]);
    Real* to = out + r * pitch + kPanel * kLane;
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) store(to + v * kLane, second[r][v]);
    if constexpr (kSecond == 0) store(to + kLane / 2, W{});
  }
}

// All panels, two at a time.
template <int kRows, typename Real>
void multiply_pairs(const Table<Real>& table, const Real* in, Real* out, std::int64_t pitch) {
  constexpr std::int64_t kWidth = kPanel * kLanes<Real>;
  const std::int64_t panels = table.panels();
  std::int64_t panel = 0;
  for (; panel + 2 <= panels; panel += 2) {
    const Real* x = table.panel(panel * kWidth);
    const Real* y = table.panel((panel + 1) * kWidth);
    Real* to = out + panel * kWidth;
    switch (panel_vectors<Real>((panel + 1) * kWidth, table.states())) {
      case 0:
        if constexpr (kHalves) multiply_two<kRows, 0>(x, y, table.states(), in, to, pitch);
        break;
      case 1:
        multiply_two<kRows, 1>(x, y, table.states(), in, to, pitch);
        break;
      case 2:
        multiply_two<kRows, 2>(x, y, table.states(), in, to, pitch);
        break;
      default:
        multiply_two<kRows, kPanel>(x, y, table.states(), in, to, pitch);
        break;
    }
  }
  if (panel < panels) multiply_one(table, panel, in, out, pitch, kRows);
}

// out[r] = table applied to in[r], relative to the table's exponents, for r < rows; rows lie `pitch` apart.
// What other members of the team have written is fetched all at once.
template <typename Real>
void multiply(const Table<Real>& table, const Real* in, Real* out, std::int64_t pitch, std::int64_t rows,
              Team& team) {
  if (team.members() == 1 && rows == 1) return multiply_pairs<1>(table, in, out, pitch);
  if constexpr (HMM_VECTOR_BYTES == 64) {  // Elsewhere registers are too few.
    if (team.members() == 1 && rows == 2) return multiply_pairs<2>(table, in, out, pitch);
  }
  team.share(table.panels(), [&](std::int64_t panel, int) {
    if (team.members() > 1) fetch(in, rows * pitch);
    multiply_one(table, panel, in, out, pitch, rows);
  });
  if (team.members() > 1) fetch(out, rows * pitch);
}

template <typename V>
HMM_INLINE void add_in_double(double* to, V values) {
  if constexpr (sizeof(values[0]) == 8) {
    store(to, load<V>(to) + values);
  } else if constexpr (sizeof(V) == HMM_VECTOR_BYTES) {
    add_in_double(to, half_of<0>(values));
    add_in_double(to + kLanes<double>, half_of<1>(values));
  } else {
    store(to, load<Vec<double>>(to) + __builtin_convertvector(values, Vec<double>));
  }
}

// total[i][o] += sum over q of a[q][i] * b[q][o]: rows of a and b lie `pitch` apart, i < states, o < width;
// total has rows of `width`.
template <int kRows, int kVectors, typename Real>
void add_outer_tile(const Real* a, const Real* b, std::int64_t pitch, std::int64_t pairs, double* total,
                    std::int64_t width) {
  constexpr std::int64_t kLane = kLanes<Real>;
  constexpr int kCount = kVectors == 0 ? 1 : kVectors;
  using V = std::conditional_t<kVectors == 0, typename HalfVector<Real>::V, Vec<Real>>;
  V sum[kRows][kCount];
  multiply_tile<V, kRows, kCount, Real>(b, pitch, pairs, a, 1, pitch, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kCount; ++v) {
      add_in_double(total + r * width + v * kLane, sum[r][v]);
    }
  }
}

template <int kVectors, typename Real>
void add_outer_panel(const Real* a, const Real* b, std::int64_t pitch, std::int64_t pairs, double* total,
                     std::int64_t width, std::int64_t states) {
  std::int64_t i = 0;
  for (; i + kTile <= states; i += kTile)
    add_outer_tile<kTile, kVectors>(a + i, b, pitch, pairs, total + i * width, width);
  for (; i < states; ++i) add_outer_tile<1, kVectors>(a + i, b, pitch, pairs, total + i * width, width);
}

template <typename Real>
void add_outer(const Real* a, const Real* b, std::int64_t pitch, std::int64_t pairs, double* total,
               std::int64_t width, std::int64_t states, Team& team) {
  team.share(panels_of<Real>(states), [&](std::int64_t panel, int) {
    const std::int64_t first = panel * kPanel * kLanes<Real>;
    switch (panel_vectors<Real>(first, states)) {
      case 0:
        if constexpr (kHalves) add_outer_panel<0>(a, b + first, pitch, pairs, total + first, width, states);
        break;
      case 1:
        add_outer_panel<1>(a, b + first, pitch, pairs, total + first, width, states);
        break;
      case 2:
        add_outer_panel<2>(a, b + first, pitch, pairs, total + first, width, states);
        break;
      default:
        add_outer_panel<kPanel>(a, b + first, pitch, pairs, total + first, width, states);
        break;
    }
  });
}

}  // namespace dense

HMM_END_TARGET
