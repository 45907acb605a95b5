// Products of matrices whose sums run in one fixed order: the same bits however they are divided.
#pragma once

#include <cstdint>
#include <cstring>

#include "hmm/dense_table.hpp"

HMM_BEGIN_TARGET

namespace dense {

// out[r][o] = sum over i of in[r][i] * x[i][o], for kRows rows and kVectors vectors of outputs.
template <int kRows, int kVectors, typename Real>
HMM_INLINE void multiply_tile(const Real* x, std::int64_t x_pitch, std::int64_t inputs, const Real* in,
                              std::int64_t in_pitch, std::int64_t in_step, Vec<Real> (&sum)[kRows][kVectors]) {
  using V = Vec<Real>;
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
      const V factor = splat<V>(in[r * in_pitch + i * in_step]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sum[r][v] = madd(factor, column[v], sum[r][v]);
    }
  }
}

template <int kRows, int kVectors, typename Real>
void multiply_rows(const Real* x, std::int64_t inputs, const Real* in, Real* out, std::int64_t pitch) {
  constexpr std::int64_t kLane = kLanes<Real>;
  Vec<Real> sum[kRows][kVectors];
  multiply_tile<kRows, kVectors, Real>(x, kVectors * kLane, inputs, in, pitch, 1, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(out + r * pitch + v * kLane, sum[r][v]);
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

// out[r] = table applied to in[r], relative to the table's exponents, for r < rows; rows lie `pitch` apart.
template <typename Real>
void multiply(const Table<Real>& table, const Real* in, Real* out, std::int64_t pitch, std::int64_t rows) {
  constexpr std::int64_t kLane = kLanes<Real>;
  for (std::int64_t first = 0; first < table.width(); first += kPanel * kLane) {
    const Real* x = table.panel(first);
    switch (table.panel_width(first) / kLane) {
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
}

HMM_INLINE void add_in_double(double* to, Vec<double> values) {
  store(to, load<Vec<double>>(to) + values);
}
HMM_INLINE void add_in_double(double* to, Vec<float> values) {
  typedef float Half __attribute__((vector_size(HMM_VECTOR_BYTES / 2)));
  Half halves[2];
  std::memcpy(halves, &values, sizeof(values));
  add_in_double(to, __builtin_convertvector(halves[0], Vec<double>));
  add_in_double(to + kLanes<double>, __builtin_convertvector(halves[1], Vec<double>));
}

// total[i][o] += sum over q of a[q][i] * b[q][o]: rows of a and b lie `pitch` apart, i < states, o < width;
// total has rows of `width`.
template <int kRows, int kVectors, typename Real>
void add_outer_tile(const Real* a, const Real* b, std::int64_t pitch, std::int64_t pairs, double* total,
                    std::int64_t width) {
  constexpr std::int64_t kLane = kLanes<Real>;
  Vec<Real> sum[kRows][kVectors];
  multiply_tile<kRows, kVectors, Real>(b, pitch, pairs, a, 1, pitch, sum);
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
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
               std::int64_t width, std::int64_t states) {
  constexpr std::int64_t kLane = kLanes<Real>;
  for (std::int64_t first = 0; first < width; first += kPanel * kLane) {
    switch (width - first < kPanel * kLane ? (width - first) / kLane : kPanel) {
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
  }
}

}  // namespace dense

HMM_END_TARGET
