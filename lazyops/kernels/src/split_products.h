// Products of one block in cache with vectors, in the type of the block or in double precision, and
// the copying of the next block between them.
#pragma once
#include <algorithm>

#include "tile.h"

namespace {

// W vectors -> one vector of their sums.
template <class T, int S = 1, int N = width<T>>
INLINE Vec<T> sums(Vec<T>* r) {
  if constexpr (N == 1) {
    return r[0];
  } else {
#pragma GCC unroll 8
    for (int i = 0; i < N / 2; ++i)
      r[i] = Shuffle<T>::template low<S>(r[2 * i], r[2 * i + 1]) +
             Shuffle<T>::template high<S>(r[2 * i], r[2 * i + 1]);
    return sums<T, 2 * S, N / 2>(r);
  }
}

template <class T>
INLINE T sum(Vec<T> v) {
  T s = 0;
  for (int j = 0; j < width<T>; ++j) s += v[j];
  return s;
}

// A vector of T from numbers of S (float to double).
template <class S, class T>
INLINE Vec<T> take(const S* p) {
  if constexpr (sizeof(S) == sizeof(T)) {
    return Lane<T>::load(p);
  } else {
#if defined(__AVX512F__)  // GCC 12 converts by halves
    return Vec<T>(_mm512_maskz_cvtps_pd(0xff, _mm256_loadu_ps(p)));
#elif defined(__AVX__)
    return Vec<T>(_mm256_cvtps_pd(_mm_loadu_ps(p)));
#else
    typename VectorOf<S, width<T>>::type v;
    std::memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, Vec<T>);
#endif
  }
}

// b rows of P planes of c numbers each; c is a multiple of the vector width, zeros fill it up.
template <class S, int P>
struct Block {
  const S* t;
  I b, c;
  const S* row(I j) const { return t + j * P * c; }
};

// Copies blocks that are neighbours in memory, a row of all of them at each step: called between
// the rows of other work, so that memory is never waited for. Rows of a matrix lie at powers of two
// and push each other out of a cache: only AHEAD of them are prefetched.
template <class S, int P>
struct Feed {
  static constexpr I AHEAD = 4, LINE = 64;
  const char *from, *then;  // the first block, and that of the next strip
  I row, across;            // bytes between rows, and between blocks
  I blocks, b, c;           // what to copy: rows of c numbers
  S* to;
  I room, wide;  // of a copy: rows of P * wide numbers
  I j;

  void step() {
    if (j >= b) return;
    const I next = j + AHEAD;
    const char* soon = next < b ? from + next * row : then + (next - b) * row;
    for (I s = 0; s < blocks; ++s)
      for (I l = 0; l < c * P * I(sizeof(S)); l += LINE) __builtin_prefetch(soon + s * across + l);
    for (I s = 0; s < blocks; ++s)
      copy(reinterpret_cast<const S*>(from + j * row + s * across), to + (s * room + j) * P * wide);
    ++j;
  }

  void finish() {
    while (j < b) step();
  }

  INLINE void copy(const S* x, S* y) const {
    constexpr I W = width<S>;
    I l = 0;
    for (; l + W <= c; l += W) {
      const Vec<S> p = Lane<S>::load(x + P * l);
      if constexpr (P == 1) {
        Lane<S>::store(y + l, p);
      } else {
        const Vec<S> q = Lane<S>::load(x + 2 * l + W);
        Lane<S>::store(y + l, Shuffle<S>::evens(p, q));
        Lane<S>::store(y + wide + l, Shuffle<S>::odds(p, q));
      }
    }
    for (; l < wide; ++l) {
      y[l] = l < c ? x[P * l] : 0;
      if (P == 2) y[wide + l] = l < c ? x[2 * l + 1] : 0;
    }
  }
};

// Products with a block in the arithmetic of T; u is (P, room) and v is (P, c), planar.
template <class S, class T, int P>
struct Products {
  static constexpr int W = width<T>, TILE = 4;
  const Block<S, P> k;
  const I room;  // numbers between the planes of u
  Feed<S, P>* const feed = nullptr;

  INLINE void other_work() const {
    if (feed) feed->step();
  }

  template <int H>
  INLINE void dot_tile(const S* row, const T* v, Vec<T>& re, Vec<T>& im) const {
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      const Vec<T> a = take<S, T>(row + h * W), x = Lane<T>::load(v + h * W);
      re += a * x;
      if constexpr (P == 2) {
        const Vec<T> c = take<S, T>(row + k.c + h * W), y = Lane<T>::load(v + k.c + h * W);
        re -= c * y;
        im += a * y;
        im += c * x;
      }
    }
  }

  // u[j0 ... j0 + n) = rows times v; n <= W
  INLINE void dots(I j0, I n, const T* v, T* u) const {
    Vec<T> re[W] = {}, im[W] = {};
    I l = 0;
    if (n == W) {
      for (; l + TILE * W <= k.c; l += TILE * W) {
#pragma GCC unroll 16
        for (int j = 0; j < W; ++j) dot_tile<TILE>(k.row(j0 + j) + l, v + l, re[j], im[j]);
      }
      for (; l < k.c; l += W) {
#pragma GCC unroll 16
        for (int j = 0; j < W; ++j) dot_tile<1>(k.row(j0 + j) + l, v + l, re[j], im[j]);
      }
      Lane<T>::store(u + j0, sums<T>(re));
      if constexpr (P == 2) Lane<T>::store(u + room + j0, sums<T>(im));
      return;
    }
    for (I j = 0; j < n; ++j) {
      Vec<T> x = {}, y = {};
      for (l = 0; l < k.c; l += W) dot_tile<1>(k.row(j0 + j) + l, v + l, x, y);
      u[j0 + j] = sum<T>(x);
      if (P == 2) u[room + j0 + j] = sum<T>(y);
    }
  }

  template <int H>
  INLINE void add_tile(I j0, I n, const T* u, I l, T* w) const {
    Vec<T> re[H], im[H];
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      re[h] = Lane<T>::load(w + l + h * W);
      if constexpr (P == 2) im[h] = Lane<T>::load(w + k.c + l + h * W);
    }
    for (I j = j0; j < j0 + n; ++j) {
      const S* row = k.row(j) + l;
      const Vec<T> s = Lane<T>::splat(u[j]), z = Lane<T>::splat(P == 2 ? u[room + j] : T(0));
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) {
        const Vec<T> a = take<S, T>(row + h * W);
        re[h] += s * a;
        if constexpr (P == 2) {
          const Vec<T> c = take<S, T>(row + k.c + h * W);
          re[h] += z * c;
          im[h] += z * a;
          im[h] -= s * c;
        }
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      Lane<T>::store(w + l + h * W, re[h]);
      if constexpr (P == 2) Lane<T>::store(w + k.c + l + h * W, im[h]);
    }
  }

  // w += (rows j0 ... j0 + n)^H u
  INLINE void add(I j0, I n, const T* u, T* w) const {
    I l = 0;
    for (; l + TILE * W <= k.c; l += TILE * W) add_tile<TILE>(j0, n, u, l, w);
    for (; l < k.c; l += W) add_tile<1>(j0, n, u, l, w);
  }

  void forward(const T* v, T* u) const {
    clear(u, P * room);
    for (I j = 0; j < k.b; j += W, other_work()) dots(j, std::min<I>(W, k.b - j), v, u);
  }

  void backward(const T* u, T* w) const {
    clear(w, P * k.c);
    for (I j = 0; j < k.b; j += W) add(j, std::min<I>(W, k.b - j), u, w);
  }

  // u = T v, w = T^H u: each row is read once
  void gram(const T* v, T* u, T* w) const {
    clear(u, P * room);
    clear(w, P * k.c);
    for (I j = 0; j < k.b; j += W) {
      const I n = std::min<I>(W, k.b - j);
      dots(j, n, v, u);
      add(j, n, u, w);
      other_work();
    }
  }

  template <int H>
  INLINE void tail_tile(const S* row, Vec<T> s, Vec<T> z, const T* w, Vec<T>* total) const {
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      const Vec<T> x = Lane<T>::load(w + h * W);
      Vec<T> e = take<S, T>(row + h * W) - s * x;
      if constexpr (P == 2) {
        const Vec<T> y = Lane<T>::load(w + k.c + h * W);
        e += z * y;
        const Vec<T> f = take<S, T>(row + k.c + h * W) - s * y - z * x;
        total[TILE + h] += f * f;
      }
      total[h] += e * e;
    }
  }

  // |T - u w^T|^2
  T tail(const T* u, const T* w) const {
    Vec<T> total[2 * TILE] = {};
    for (I j = 0; j < k.b; ++j) {
      if (j % 16 == 0) other_work();
      const Vec<T> s = Lane<T>::splat(u[j]), z = Lane<T>::splat(P == 2 ? u[room + j] : T(0));
      I l = 0;
      for (; l + TILE * W <= k.c; l += TILE * W) tail_tile<TILE>(k.row(j) + l, s, z, w + l, total);
      for (; l < k.c; l += W) tail_tile<1>(k.row(j) + l, s, z, w + l, total);
    }
    return sum<T>((total[0] + total[1]) + (total[2] + total[3]) +
                  ((total[4] + total[5]) + (total[6] + total[7])));
  }

  // u[j] = |row j|^2, zeros up to a multiple of W; returns their sum
  T norms(T* u) const {
    Vec<T> all = {};
    clear(u, P * room);
    for (I j0 = 0; j0 < k.b; j0 += W) {
      Vec<T> s[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) {
        s[j] = Vec<T>{};
        if (j0 + j < k.b)
          for (I l = 0; l < P * k.c; l += W) {
            const Vec<T> a = take<S, T>(k.row(j0 + j) + l);
            s[j] += a * a;
          }
      }
      const Vec<T> e = sums<T>(s);
      Lane<T>::store(u + j0, e);
      all += e;
    }
    return sum<T>(all);
  }
};

template <class T>
INLINE T energy_of(const T* x, I count) {  // a multiple of the vector width
  Vec<T> s = {};
  for (I l = 0; l < count; l += width<T>) s += Lane<T>::load(x + l) * Lane<T>::load(x + l);
  return sum<T>(s);
}

template <class T>
INLINE void scale(T* x, I count, T by) {
  for (I l = 0; l < count; l += width<T>) Lane<T>::store(x + l, Lane<T>::load(x + l) * by);
}

template <class T>
INLINE T dot(const T* x, const T* y, I count) {
  Vec<T> s = {};
  for (I l = 0; l < count; l += width<T>) s += Lane<T>::load(x + l) * Lane<T>::load(y + l);
  return sum<T>(s);
}

// to = a x + b y
template <class T>
INLINE void combine(const T* x, T a, const T* y, T b, T* to, I count) {
  for (I l = 0; l < count; l += width<T>)
    Lane<T>::store(to + l, a * Lane<T>::load(x + l) + b * Lane<T>::load(y + l));
}

// The transpose of each plane: to (P * c, room), zeros beyond the b rows.
template <class S, int P>
void turn(const Block<S, P>& k, S* to, I room) {
  constexpr I W = width<S>;
  for (I j = 0; j < room; j += W)
    for (I l = 0; l < P * k.c; l += W) {
      Vec<S> r[W];
      for (I i = 0; i < W; ++i) r[i] = j + i < k.b ? Lane<S>::load(k.row(j + i) + l) : Vec<S>{};
      transpose<S>(r);
      for (I i = 0; i < W; ++i) Lane<S>::store(to + (l + i) * room + j, r[i]);
    }
}

// to[0 .. n) += sum of x[l] times row l of `rows`, n numbers each: n and count are multiples of W.
// No sum is longer than PIECE / 2 + count / PIECE + 2 (`sums_of`).
constexpr I PIECE = 128;
inline double sums_of(I count) { return double(PIECE / 2 + count / PIECE + 2); }

template <int H, class S>
INLINE void add_tile(const S* x, I count, const S* rows, S* to, I n) {
  constexpr I W = width<S>;
  Vec<S> s[2 * H] = {};
  for (I l = 0; l < count; l += 2) {
    const Vec<S> a = Lane<S>::splat(x[l]), b = Lane<S>::splat(x[l + 1]);
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) {
      s[h] += a * Lane<S>::load(rows + l * n + h * W);
      s[H + h] += b * Lane<S>::load(rows + (l + 1) * n + h * W);
    }
  }
  for (int h = 0; h < H; ++h) Lane<S>::store(to + h * W, Lane<S>::load(to + h * W) + (s[h] + s[H + h]));
}

template <class S>
void add_rows(const S* x, I count, const S* rows, S* to, I n) {
  constexpr I W = width<S>;
  for (I l = 0; l < count; l += PIECE) {
    const I some = std::min(PIECE, count - l);
    I at = 0;
    for (; at + 4 * W <= n; at += 4 * W) add_tile<4>(x + l, some, rows + l * n + at, to + at, n);
    for (; at < n; at += W) add_tile<1>(x + l, some, rows + l * n + at, to + at, n);
  }
}

inline I padded(I n, I w) { return (n + w - 1) / w * w; }

}  // namespace
