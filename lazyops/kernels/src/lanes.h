// SIMD by the vector extensions of GCC and Clang: one text for SSE, AVX2, AVX-512 and NEON.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

namespace {

typedef int64_t I;

#if defined(__AVX512F__)
constexpr int BYTES = 64;
#elif defined(__AVX__)
constexpr int BYTES = 32;
#else
constexpr int BYTES = 16;
#endif

template <class T, int N>
struct VectorOf {
  typedef T type __attribute__((vector_size(N * sizeof(T))));
};

template <class T, int N, class = std::make_integer_sequence<int, N>>
struct Lanes;

// N real numbers; complex ones lie as (re, im) pairs.
template <class T, int N, int... J>
struct Lanes<T, N, std::integer_sequence<int, J...>> {
  using V = typename VectorOf<T, N>::type;
  static inline V load(const T* p) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static inline void store(T* p, V v) { std::memcpy(p, &v, sizeof v); }
  static inline V splat(T s) { return V{((void)J, s)...}; }
  using Half = typename VectorOf<T, (N > 1 ? N / 2 : 1)>::type;
  static inline Half halves(V v) {  // their sum
    Half w[2];
    std::memcpy(w, &v, sizeof v);
    return w[0] + w[1];
  }
  static inline V alternate(T re, T im) { return V{(J % 2 ? im : re)...}; }
#if defined(__clang__) || __GNUC__ >= 12
  static inline V even(V v) { return __builtin_shufflevector(v, v, (J & ~1)...); }
  static inline V odd(V v) { return __builtin_shufflevector(v, v, (J | 1)...); }
  static inline V swap(V v) { return __builtin_shufflevector(v, v, (J ^ 1)...); }
#else
  static inline V even(V v) { return V{v[J & ~1]...}; }
  static inline V odd(V v) { return V{v[J | 1]...}; }
  static inline V swap(V v) { return V{v[J ^ 1]...}; }
#endif
};

// z[: count] += w[: count]
template <class T, int W = BYTES / sizeof(T)>
inline void add(T* z, const T* w, I count) {
  using L = Lanes<T, W>;
  I l = 0;
  for (; l + W <= count; l += W) L::store(z + l, L::load(z + l) + L::load(w + l));
  if constexpr (W > 1)
    if (l < count) add<T, W / 2>(z + l, w + l, count - l);
}

// z[: count] = x[: period] again and again
template <class T>
inline void repeat(T* z, const T* x, I period, I count) {
  for (I l = 0; l < count; l += period)
    for (I k = 0; k < period; ++k) z[l + k] = x[k];
}

template <class T>
inline void clear(T* z, I count) {
  for (I l = 0; l < count; ++l) z[l] = 0;
}

}  // namespace
