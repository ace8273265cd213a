// Best rank-one approximation of one block whose rows are contiguous, copied to cache (planar if
// complex). The direction is found by Gram steps v <- T^H T v in the type of the block; what is
// returned, and what is proven about it, is computed from the block in double precision.
//
// With u = T v, |v| = 1, rho = |u|^2, w = T^H u / |u|, rho' = |w|^2, tau = |T - u w^H / |u||^2:
// sigma_1^2 <= rho + |r|^2 / (rho - beta), |r|^2 = rho (rho' - rho) (Kato-Temple), whenever
// beta >= sigma_2^2 and beta < rho. So the best error^2 is at least
//     tau - (rho' - rho) beta / (rho - beta),
// where beta = tau will do (sigma_2^2 <= |T|^2 - sigma_1^2 <= tau). Where no beta is small enough,
// sigma_1^2 is bounded by traces of T T^H and of its powers. What a Gram step in another basis
// would change, |T - u u^H T| turned to the form T v v^H, is at most tau (rho' - rho) / rho'.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "tile.h"

namespace {

// What is known about one block; squares. lower < 0: not proven. energy NaN: not finite.
struct Facts {
  double energy, tail, lower, turn;  // rho', tau, best error^2 at least, |u u^H T - T v v^H|^2 at most
};

constexpr double EXACT = 1e-13;  // of |T|^2: an error^2 so near the smallest one is the smallest
constexpr int FEW = 16;          // rows or columns up to which nothing less is accepted
constexpr double ENOUGH = 0.8;   // proven part of the squared error that is good enough
constexpr double GAIN = 3e-4;   // of the squared error: a step that gains less is the last

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

inline I padded(I n, I w) { return (n + w - 1) / w * w; }

// Memory of one thread for blocks (b, c): `copies` of them, and what is computed from one.
template <class S, int P>
struct Room {
  static constexpr I W = width<S>;  // a multiple of that of double
  const I b, columns, c, rows;      // c: columns and zeros, c and rows are multiples of W
  double *left, *right, *other;
  S *v, *w, *u, *power[2], *copy;

  static I bytes(I b, I c, I copies) {
    const I rows = padded(b, W), wide = padded(c, W), most = std::max(rows, wide);
    return I(sizeof(double)) * P * (rows + 2 * wide) +
           I(sizeof(S)) * P * (2 * most + rows + 2 * rows * rows + copies * rows * wide);
  }

  Room(void* at, I b_, I c_) : b(b_), columns(c_), c(padded(c_, W)), rows(padded(b_, W)) {
    const I most = std::max(rows, c);
    left = static_cast<double*>(at);
    right = left + P * rows;
    other = right + P * c;
    v = reinterpret_cast<S*>(other + P * c);
    w = v + P * most;
    u = w + P * most;
    power[0] = u + P * rows;
    power[1] = power[0] + P * rows * rows;
    copy = power[1] + P * rows * rows;
  }
};

// The largest of n eigenvalues is at most this, by trace and Frobenius norm (Wolkowicz and Styan,
// Linear Algebra Appl. 29, 1980, 471-506); the trace is known to a relative `rounding`.
inline double largest_eigenvalue(double trace, double norm, double n, double rounding) {
  const double least = (1 - rounding) * trace / n;
  return (1 + rounding) * trace / n + std::sqrt((n - 1) * std::max(norm * norm / n - least * least, 0.0));
}

// rho' - rho at most, whatever the rounding of the sums of `terms` products that gave them.
inline double gain_of(double kept, double tail, double rho, I terms) {
  return std::max(kept - rho, 0.0) + 2 * double(terms) * std::numeric_limits<double>::epsilon() * (kept + tail);
}

// The best rank-one approximation of a block in `copy`, left in m.left and m.right (planar).
template <class S, int P>
struct RankOne {
  Room<S, P>& m;
  const Block<S, P> k;
  const bool mirrored;  // the right factor is the unit vector, else the left one
  Feed<S, P>& feed;
  static constexpr double UNIT = std::numeric_limits<S>::epsilon() * P;
  static constexpr int MOST_STEPS = 32;

  // energy: |T|^2, m.u: those of the rows
  Facts operator()(S energy) const {
    start();
    iterate(energy);
    double rho;
    const Products<S, double, P> d{k, m.rows, &feed};
    if (mirrored) {
      std::copy(m.u, m.u + P * m.rows, m.left);
      scale(m.left, P * m.rows, 1 / std::sqrt(energy_of(m.left, P * m.rows)));
      d.backward(m.left, m.right);
      rho = energy_of(m.right, P * m.c);
      scale(m.right, P * m.c, 1 / std::sqrt(rho));
      d.forward(m.right, m.left);
    } else {
      std::copy(m.v, m.v + P * m.c, m.other);
      scale(m.other, P * m.c, 1 / std::sqrt(energy_of(m.other, P * m.c)));
      d.gram(m.other, m.left, m.right);
      rho = energy_of(m.left, P * m.rows);
      scale(m.left, P * m.rows, 1 / std::sqrt(rho));
      scale(m.right, P * m.c, 1 / std::sqrt(rho));
    }
    if (P == 2) scale(m.right + m.c, m.c, -1.0);
    Facts f{mirrored ? energy_of(m.left, P * m.rows) : energy_of(m.right, P * m.c),
            d.tail(m.left, m.right), 0, 0};
    prove(f, rho);
    return f;
  }

  // v = the largest row, conjugated
  void start() const {
    const I at = std::max_element(m.u, m.u + k.b) - m.u;
    const S top = m.u[at];
    const S by = 1 / std::sqrt(top);
    for (I l = 0; l < k.c; ++l) {
      m.v[l] = k.row(at)[l] * by;
      if (P == 2) m.v[k.c + l] = -k.row(at)[k.c + l] * by;
    }
  }

  // Gram steps until the last ones, in double precision, will be exact enough; or no more is gained.
  void iterate(S energy) const {
    const Products<S, S, P> s{k, m.rows, &feed};
    for (int step = 0; step < MOST_STEPS; ++step) {
      s.gram(m.v, m.u, m.w);
      const S rho = energy_of(m.u, P * m.rows), next2 = energy_of(m.w, P * m.c);
      std::swap_ranges(m.v, m.v + P * m.c, m.w);
      scale(m.v, P * m.c, 1 / std::sqrt(next2));
      const S next = next2 / rho, gain = std::max<S>(next - rho, 0);
      const S rest = std::max<S>(energy - next, 8 * S(UNIT) * energy), ratio = rest / next;
      if (gain * ratio * ratio <= S(1e-5) * (next - rest) || gain <= S(GAIN) * rest) return;
    }
  }

  void prove(Facts& f, double rho) const {
    const double n = double(std::min(k.b, m.columns)), whole = f.energy + f.tail;
    const double gain = gain_of(f.energy, f.tail, rho, P * (k.b + k.c));
    const double enough = n <= FEW ? f.tail - EXACT * whole : ENOUGH * f.tail;
    const auto by_gap = [&](double beta) {
      return beta < rho ? f.tail - gain * beta / (rho - beta) : -1.0;
    };
    f.turn = f.tail * gain / f.energy;
    f.lower = by_gap(f.tail);
    if (f.lower >= enough) return;
    const double rounding = UNIT * double(k.c + k.b + 8);
    double norm[LEVELS], most = 0;
    for (I j = 0; j < k.b; j += PANEL) {  // sigma_1^2 of a stack is at most the sum of its parts'
      const Block<S, P> part{k.row(j), std::min(PANEL, k.b - j), k.c};
      double trace;
      const double norm = outer(part, m.power[0], rounding, trace);
      most += largest_eigenvalue(trace, norm, double(part.b), rounding);
    }
    f.lower = std::max(f.lower, whole - most);
    if (f.lower >= enough) return;
    double trace;
    norm[0] = outer(k, m.power[0], rounding, trace);
    f.lower = std::max({f.lower, whole - largest_eigenvalue(trace, norm[0], n, rounding),
                        by_gap(std::sqrt(std::max(norm[0] * norm[0] - f.energy * f.energy, 0.0)))});
    for (int level = 1; level < LEVELS && f.lower < enough; ++level) {
      const Block<S, P> last{m.power[(level - 1) & 1], k.b, m.rows};
      scale(m.power[(level - 1) & 1], P * k.b * m.rows, S(1 / norm[level - 1]));
      norm[level] = outer(last, m.power[level & 1], rounding, trace);
      double s = 1 + 4 * UNIT;
      for (int i = level; i > 0; --i) s = std::sqrt(norm[i] * s) + 2 * UNIT;
      f.lower = std::max(f.lower, whole - norm[0] * s);
    }
    if (f.lower < enough) f.lower = -1;
  }

  static constexpr int LEVELS = 6;
  static constexpr I PANEL = 16;

  // to = conj(X X^H) of b rows X; its trace, and its Frobenius norm with all rounding errors.
  double outer(const Block<S, P>& x, S* to, double rounding, double& trace) const {
    const Products<S, S, P> p{x, m.rows};
    double total = 0;
    trace = 0;
    for (I i = 0; i < x.b; ++i, to += P * m.rows) {
      std::copy(x.row(i), x.row(i) + P * x.c, m.v);
      if (P == 2) scale(m.v + x.c, x.c, S(-1));
      p.forward(m.v, to);
      total += double(energy_of(to, padded(x.b, width<S>)));
      if (P == 2) total += double(energy_of(to + m.rows, padded(x.b, width<S>)));
      trace += double(to[i]);
    }
    return std::sqrt(total) * (1 + rounding) + 2 * rounding * trace;
  }
};

}  // namespace
