// Numbers with their own exponent, against long double.
#include "hmm/extended.hpp"

#include <initializer_list>

#include "check.hpp"

namespace {

using hmm::Extended;
using hmm::IntVec;
using hmm::kLanes;
using hmm::Vec;

const long double kLn2 = 0.693147180559945309417232121458L;

template <typename Real>
constexpr long double kUlp = std::numeric_limits<Real>::epsilon() / 2;

// log of lane l in long double; -inf for 0.
template <typename Real>
long double log_of(const Extended<Real>& x, int l) {
  return x.m[l] == 0 ? -INFINITY : std::log(static_cast<long double>(x.m[l])) + x.e[l] * kLn2;
}

// All lanes hold x, so that whatever the width the same is tested.
template <typename Real>
void exp_is_right(Real x, long double ulps) {
  const Extended<Real> y = hmm::exp_extended(hmm::splat<Vec<Real>>(x));
  for (int l = 0; l < kLanes<Real>; ++l) {
    CHECK(y.m[l] > Real(0.7) && y.m[l] < Real(1.42));
    // The relative error of y is the absolute error of its logarithm.
    CHECK_CLOSE(log_of<Real>(y, l), x, ulps * std::numeric_limits<Real>::epsilon());
  }
}

template <typename Real>
void exp_covers_the_range() {
  Random random;
  for (int i = 0; i < 20000; ++i) {
    exp_is_right<Real>(static_cast<Real>((random.uniform() * 2 - 1) * 2), 1);
    exp_is_right<Real>(static_cast<Real>((random.uniform() * 2 - 1) * 2000), 2);
    // Beyond, the argument itself says no more than this.
    const Real size = static_cast<Real>(std::exp(std::log(2000.0) + random.uniform() * 10));
    exp_is_right<Real>(i % 2 == 0 ? size : -size, 2 * size);
  }
  for (const Real x : {Real(0), Real(-0.0), Real(1), Real(-1), Real(0.5)}) exp_is_right<Real>(x, 1);
  for (Real x = 2000; x < hmm::Format<Real>::kExpLimit; x *= Real(1.3)) exp_is_right<Real>(-x, 2 * x);
  const Extended<Real> none =
      hmm::exp_extended(hmm::splat<Vec<Real>>(-std::numeric_limits<Real>::infinity()));
  for (int l = 0; l < kLanes<Real>; ++l)
    CHECK(none.m[l] == 0 && none.e[l] == hmm::Format<Real>::kZeroExponent);
  const Extended<Real> lowest = hmm::exp_extended(hmm::splat<Vec<Real>>(std::numeric_limits<Real>::lowest()));
  for (int l = 0; l < kLanes<Real>; ++l)
    CHECK(lowest.m[l] > 0 && lowest.e[l] > hmm::Format<Real>::kZeroExponent);
}

// Whether exp_usual() takes x; then it is exp_loose() to the bit.
template <typename Real>
bool usual(Real x) {
  IntVec<Real> unusual{};
  const Extended<Real> quick = hmm::exp_usual(hmm::splat<Vec<Real>>(x), &unusual);
  const Extended<Real> loose = hmm::exp_loose(hmm::splat<Vec<Real>>(x));
  const bool taken = !hmm::any_unusual<Real>(unusual);
  for (int l = 0; taken && l < kLanes<Real>; ++l) CHECK(quick.m[l] == loose.m[l] && quick.e[l] == loose.e[l]);
  return taken;
}

template <typename Real>
void usual_exponentials_are_the_same() {
  constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
  const Real most = sizeof(Real) == 4 ? Real(45000) : Real(2e13);
  for (Real x = Real(1e-30); x < most; x *= Real(1.001)) CHECK(usual(x) && usual(-x));
  CHECK(usual(Real(0)) && usual(most) && usual(-most));
  for (Real x = 2 * most; x < kInfinity; x *= Real(1.3)) CHECK(!usual(x) && !usual(-x));
  CHECK(!usual(kInfinity) && !usual(-kInfinity));
  IntVec<Real> unusual{};
  Vec<Real> one_of_many{};
  one_of_many[kLanes<Real> - 1] = -kInfinity;
  hmm::exp_usual(one_of_many, &unusual);
  hmm::exp_usual(Vec<Real>{}, &unusual);
  CHECK(hmm::any_unusual<Real>(unusual));
}

template <typename Real>
void log_is_right(Real x) {
  const Vec<Real> y = hmm::log(hmm::splat<Vec<Real>>(x));
  const long double exact = std::log(static_cast<long double>(x));
  const long double ulp = std::fabs(exact) * kUlp<Real> * 2;
  for (int l = 0; l < kLanes<Real>; ++l) CHECK_CLOSE(y[l], exact, ulp);
}

template <typename Real>
void log_covers_the_range() {
  Random random;
  for (int i = 0; i < 20000; ++i) {
    log_is_right<Real>(static_cast<Real>(0.5 + random.uniform()));
    log_is_right<Real>(static_cast<Real>(
        std::ldexp(1 + random.uniform(), random.below(-2 * std::numeric_limits<Real>::min_exponent) +
                                             std::numeric_limits<Real>::min_exponent)));
  }
  log_is_right<Real>(1);
  log_is_right<Real>(std::numeric_limits<Real>::min());
  log_is_right<Real>(std::numeric_limits<Real>::max());
  const Vec<Real> none = hmm::log(Vec<Real>{});
  for (int l = 0; l < kLanes<Real>; ++l) CHECK(none[l] == -std::numeric_limits<Real>::infinity());
}

template <typename Real>
void sums_and_products_are_right() {
  Random random;
  for (int i = 0; i < 20000; ++i) {
    const Real scale = i % 3 == 0 ? Real(1) : i % 3 == 1 ? Real(100) : Real(9000);
    const Real a = static_cast<Real>((random.uniform() * 2 - 1) * scale);
    const Real b = i % 5 == 0 ? a - 1 : static_cast<Real>((random.uniform() * 2 - 1) * scale);
    const Extended<Real> x = hmm::exp_extended(hmm::splat<Vec<Real>>(a));
    const Extended<Real> y = hmm::exp_extended(hmm::splat<Vec<Real>>(b));
    const long double u = log_of<Real>(x, 0), v = log_of<Real>(y, 0);
    const long double high = u > v ? u : v, low = u > v ? v : u;
    // One rounding of the result, and those of the long doubles themselves.
    const long double tolerance = 2 * kUlp<Real> + 1e-18L * scale;
    const Extended<Real> added = x + y;
    CHECK(added.m[0] >= 1 && added.m[0] < 2);
    CHECK_CLOSE(log_of<Real>(added, 0), high + std::log1p(std::exp(low - high)), tolerance);
    const Extended<Real> multiplied = hmm::normalized<Real>(x * y);
    CHECK(multiplied.m[0] >= 1 && multiplied.m[0] < 2);
    CHECK_CLOSE(log_of<Real>(multiplied, 0), u + v, tolerance);
  }
}

template <typename Real>
void zero_stays_zero() {
  const Extended<Real> zero = hmm::zero<Real>();
  const Extended<Real> one = hmm::extend<Real>(hmm::splat<Vec<Real>>(Real(1)), IntVec<Real>{});
  for (const Extended<Real>& x :
       {zero + zero, hmm::normalized<Real>(zero * one), hmm::normalized<Real>(zero * zero)})
    for (int l = 0; l < kLanes<Real>; ++l) CHECK(x.m[l] == 0 && x.e[l] == hmm::Format<Real>::kZeroExponent);
  const Extended<Real> tiny{hmm::splat<Vec<Real>>(Real(1)),
                            hmm::splat_int<Real>(hmm::Format<Real>::kLowestExponent)};
  const Extended<Real> product = hmm::normalized<Real>(tiny * tiny);
  for (int l = 0; l < kLanes<Real>; ++l) {
    CHECK((zero + one).m[l] == 1 && (zero + one).e[l] == 0);
    // What is too small for the exponent is the smallest number, and not 0.
    CHECK(product.m[l] == 1 && product.e[l] == hmm::Format<Real>::kLowestExponent);
    CHECK((zero + tiny).m[l] == 1);
  }
}

template <typename Real>
void ordinary_exponentials_are_right() {
  Random random;
  for (int i = 0; i < 5000; ++i) {
    const Real x = static_cast<Real>(-random.uniform() * (sizeof(Real) == 4 ? 87 : 700));
    const long double exact = std::exp(static_cast<long double>(x));
    CHECK_CLOSE(hmm::exp<Real>(hmm::splat<Vec<Real>>(x))[0], exact, exact * 2 * kUlp<Real> * 2);
  }
  CHECK(hmm::exp<Real>(hmm::splat<Vec<Real>>(Real(-1e6)))[0] == 0);
  CHECK(hmm::exp<Real>(hmm::splat<Vec<Real>>(-std::numeric_limits<Real>::infinity()))[0] == 0);
  CHECK(hmm::exp<Real>(Vec<Real>{})[0] == 1);
}

template <typename Real>
void all() {
  exp_covers_the_range<Real>();
  usual_exponentials_are_the_same<Real>();
  log_covers_the_range<Real>();
  sums_and_products_are_right<Real>();
  zero_stays_zero<Real>();
  ordinary_exponentials_are_right<Real>();
}

}  // namespace

int main() {
  all<float>();
  all<double>();
}
