// The numbers of a tile: one vector of lanes each, complex ones planar (a vector of real parts,
// then one of imaginary parts). Values are either vectors too (one vector x: lanes are
// neighbouring blocks, every lane has its own value) or single numbers (lanes are columns).
#pragma once
#include <type_traits>

#include "lanes.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace {

template <class T>
constexpr int width = BYTES / sizeof(T);
template <class T>
using Lane = Lanes<T, width<T>>;
template <class T>
using Vec = typename Lane<T>::V;

template <class T, int P>
struct Num {
  Vec<T> p[P];
};

template <class T, int P>
INLINE Num<T, P> get(const T* w) {
  Num<T, P> n;
  for (int i = 0; i < P; ++i) n.p[i] = Lane<T>::load(w + i * width<T>);
  return n;
}

template <class T, int P>
INLINE void put(T* w, const Num<T, P>& n) {
  for (int i = 0; i < P; ++i) Lane<T>::store(w + i * width<T>, n.p[i]);
}

// Value number e of a packed tile. SPLAT: one number for all lanes.
template <class T, int P, bool SPLAT>
INLINE Num<T, P> value(const T* v, I e) {
  if constexpr (SPLAT) {
    Num<T, P> n;
    for (int i = 0; i < P; ++i) n.p[i] = Lane<T>::splat(v[e * P + i]);
    return n;
  } else {
    return get<T, P>(v + e * P * width<T>);
  }
}

template <class T, int P>
INLINE Num<T, P> times(const Num<T, P>& a, const Num<T, P>& x) {
  Num<T, P> r;
  if constexpr (P == 1) {
    r.p[0] = a.p[0] * x.p[0];
  } else {
    r.p[0] = a.p[0] * x.p[0] - a.p[1] * x.p[1];
    r.p[1] = a.p[0] * x.p[1] + a.p[1] * x.p[0];
  }
  return r;
}

template <class T, int P>
INLINE void add_product(Num<T, P>& s, const Num<T, P>& a, const Num<T, P>& x) {
  s.p[0] += a.p[0] * x.p[0];
  if constexpr (P == 2) {
    s.p[1] += a.p[0] * x.p[1];
    s.p[0] -= a.p[1] * x.p[1];
    s.p[1] += a.p[1] * x.p[0];
  }
}

// ---- shuffles ----------------------------------------------------------------------------

#if defined(__clang__) || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) pick(a, b, {__VA_ARGS__})
template <class V>
INLINE V pick(V a, V b, std::initializer_list<int> at) {
  V r;
  int j = 0;
  const int w = int(at.size());
  for (int i : at) {
    r[j++] = i < w ? a[i] : b[i - w];
  }
  return r;
}
#endif

template <class T, class = std::make_integer_sequence<int, width<T>>>
struct Shuffle;

template <class T, int... J>
struct Shuffle<T, std::integer_sequence<int, J...>> {
  using V = Vec<T>;
  static constexpr int W = width<T>;
  // (x0 y0 x1 y1 ...) in two vectors <-> (x0 x1 ...), (y0 y1 ...)
  static INLINE V evens(V a, V b) { return PICK(a, b, (2 * J)...); }
  static INLINE V odds(V a, V b) { return PICK(a, b, (2 * J + 1)...); }
  static INLINE V first(V a, V b) { return PICK(a, b, (J / 2 + (J & 1) * W)...); }
  static INLINE V second(V a, V b) { return PICK(a, b, (W / 2 + J / 2 + (J & 1) * W)...); }
  template <int S>
  static INLINE V low(V a, V b) { return PICK(a, b, ((J & S) ? W + J - S : J)...); }
  template <int S>
  static INLINE V high(V a, V b) { return PICK(a, b, ((J & S) ? W + J : J + S)...); }
};

// W x W transpose: rounds S = 1, 2, 4, ... exchange the off-diagonal S x S blocks.
template <class T, int S = 1>
INLINE void transpose(Vec<T>* r) {
  constexpr int W = width<T>;
  if constexpr (S < W) {
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
      if (!(i & S)) {
        const Vec<T> a = r[i], b = r[i + S];
        r[i] = Shuffle<T>::template low<S>(a, b);
        r[i + S] = Shuffle<T>::template high<S>(a, b);
      }
    transpose<T, 2 * S>(r);
  }
}

// M vectors of memory, number j of which belongs to j % M, told apart; and back.
template <class T, int M>
INLINE void apart(Vec<T>* q) {
  if constexpr (M > 1) {
    Vec<T> even[M / 2], odd[M / 2];
#pragma GCC unroll 8
    for (int i = 0; i < M / 2; ++i) {
      even[i] = Shuffle<T>::evens(q[2 * i], q[2 * i + 1]);
      odd[i] = Shuffle<T>::odds(q[2 * i], q[2 * i + 1]);
    }
    apart<T, M / 2>(even);
    apart<T, M / 2>(odd);
#pragma GCC unroll 8
    for (int i = 0; i < M / 2; ++i) {
      q[2 * i] = even[i];
      q[2 * i + 1] = odd[i];
    }
  }
}

template <class T, int M>
INLINE void mixed(Vec<T>* q) {
  if constexpr (M > 1) {
    Vec<T> even[M / 2], odd[M / 2];
#pragma GCC unroll 8
    for (int i = 0; i < M / 2; ++i) {
      even[i] = q[2 * i];
      odd[i] = q[2 * i + 1];
    }
    mixed<T, M / 2>(even);
    mixed<T, M / 2>(odd);
#pragma GCC unroll 8
    for (int i = 0; i < M / 2; ++i) {
      q[2 * i] = Shuffle<T>::first(even[i], odd[i]);
      q[2 * i + 1] = Shuffle<T>::second(even[i], odd[i]);
    }
  }
}

// The first n < W numbers; the others are 0 (load) or stay as they are in memory (store).
template <class T>
INLINE Vec<T> load_first(const T* p, I n) {
#if defined(__AVX512F__)
  Vec<T> v;
  if constexpr (sizeof(T) == 4) {
    const __m512 m = _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
    std::memcpy(&v, &m, sizeof v);
  } else {
    const __m512d m = _mm512_maskz_loadu_pd(__mmask8((1u << n) - 1), p);
    std::memcpy(&v, &m, sizeof v);
  }
  return v;
#else
  T w[width<T>] = {};
  for (I j = 0; j < n; ++j) w[j] = p[j];
  return Lane<T>::load(w);
#endif
}

template <class T>
INLINE void store_first(T* p, Vec<T> v, I n) {
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    __m512 m;
    std::memcpy(&m, &v, sizeof v);
    _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), m);
  } else {
    __m512d m;
    std::memcpy(&m, &v, sizeof v);
    _mm512_mask_storeu_pd(p, __mmask8((1u << n) - 1), m);
  }
#else
  T w[width<T>];
  Lane<T>::store(w, v);
  for (I j = 0; j < n; ++j) p[j] = w[j];
#endif
}

// Past the caches; p is aligned to a vector.
template <class T>
INLINE void stream(T* p, Vec<T> v) {
#if defined(__AVX512F__)
  __m512i m;
  std::memcpy(&m, &v, sizeof v);
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), m);
#elif defined(__AVX__)
  __m256i m;
  std::memcpy(&m, &v, sizeof v);
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), m);
#elif defined(__x86_64__)
  __m128i m;
  std::memcpy(&m, &v, sizeof v);
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), m);
#else
  Lane<T>::store(p, v);
#endif
}

INLINE void fence() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

}  // namespace
