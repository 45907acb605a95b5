// The least that a test needs: CHECK(condition) ends the program with the place and the values that failed.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::exit(1);                                                                  \
    }                                                                                \
  } while (false)

// |a - b| <= tolerance; equal infinities are close.
#define CHECK_CLOSE(a, b, tolerance)                                                                         \
  do {                                                                                                       \
    const long double a_ = (a), b_ = (b), tolerance_ = (tolerance);                                          \
    if (!(a_ == b_ || std::fabs(a_ - b_) <= tolerance_)) {                                                   \
      std::fprintf(stderr, "%s:%d: %s is %.20Lg, %s is %.20Lg, more than %.3Lg apart\n", __FILE__, __LINE__, \
                   #a, a_, #b, b_, tolerance_);                                                              \
      std::exit(1);                                                                                          \
    }                                                                                                        \
  } while (false)

// Small reproducible numbers, the same in every variant.
struct Random {
  unsigned long long state = 1;

  unsigned next() {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<unsigned>(state >> 33);
  }
  int below(int n) { return static_cast<int>(next() % static_cast<unsigned>(n)); }
  double uniform() { return next() / 2147483648.0; }
};
