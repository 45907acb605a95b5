// Namespaces and inlining. Everything compiled for one instruction set lives in an inline namespace of its
// own, so that a program may hold the same function for several of them and choose at run time.
#pragma once

#ifndef HMM_TARGET
#define HMM_TARGET native
#endif
#define HMM_BEGIN_TARGET \
  namespace hmm {        \
  inline namespace HMM_TARGET {
#define HMM_END_TARGET \
  }                    \
  }

#define HMM_INLINE inline __attribute__((always_inline))

// Unrolls the loop that follows, whose vectors then stay in registers.
#if defined(__clang__)
#define HMM_UNROLL _Pragma("unroll")
#else
#define HMM_UNROLL _Pragma("GCC unroll 16")
#endif

// Bytes in a vector register.
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
#define HMM_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define HMM_VECTOR_BYTES 32
#else
#define HMM_VECTOR_BYTES 16
#endif
