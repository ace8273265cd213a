// Between memory and a tile: gather and scatter, once per run. Number (row, lane) of a tile lies
// at row[r] + lane[l] elements, or where an index map sends that sum; a folded permutation is
// one of the two. Vectors are moved where lanes, rows or columns are neighbours in memory.
#pragma once
#include "tile.h"

namespace {

enum Mode : I { SCALAR = 0, LANES = 1, ROWS = 2 };

struct Side {
  const I *row, *lane, *index;  // index: nullptr, or a map of row + lane
  I mode, rows;
  const I* pick;  // ROWS, lanes are blocks: the rows in the order of memory
};

// Where row r of a padded tile lies. Rows a power of two apart fall into one set of a cache: after
// every CHUNK rows one is left out.
constexpr I CHUNK = 64;
INLINE I padded(I r) { return r + r / CHUNK; }

template <class T>
INLINE bool at_vector(const T* p, I step) {
  return reinterpret_cast<uintptr_t>(p) % BYTES == 0 && step * I(sizeof(T)) % BYTES == 0;
}

// An array of numbers (offset, column); strides in real numbers.
template <class T>
struct Grid {
  T* p;
  I step, column;
};

template <class T, int P>
struct Tile {
  static constexpr int W = width<T>, E = P * W;

  static INLINE I offset(const Side& s, I r, I l) {
    const I at = s.row[r] + s.lane[l];
    return s.index ? s.index[at] : at;
  }

  // ---- vector form: lanes l0 .. l0 + n, units = columns u0 .. u0 + units ------------------

  // Columns side by side (an array in C order) are M = units * P reals for each number: with a
  // power of two of them whole vectors are moved, and told apart in registers.

  static void gather(const Side& s, Grid<const T> g, I l0, I n, I u0, I units, T* w, bool conj) {
    const I m = together(g.step, g.column, n, u0, units);
    if (m == P && fast<P>(s)) gather_side<P>(s, g, l0, u0, units, w, conj);
    else if (m == 2 * P && fast<2 * P>(s)) gather_side<2 * P>(s, g, l0, u0, units, w, conj);
    else if (m == 4 * P && fast<4 * P>(s)) gather_side<4 * P>(s, g, l0, u0, units, w, conj);
    else if (m == 8 * P && fast<8 * P>(s)) gather_side<8 * P>(s, g, l0, u0, units, w, conj);
    else
      for (I u = 0; u < units; ++u)
        gather_each(s, g.p + (u0 + u) * g.column, g.step, l0, n, w + u * E, units * E, conj);
  }

  static void scatter(const Side& s, Grid<T> g, I l0, I n, I u0, I units, const T* w, bool conj) {
    const I m = together(g.step, g.column, n, u0, units);
    if (m == P && fast<P>(s)) scatter_side<P>(s, g, l0, u0, units, w, conj);
    else if (m == 2 * P && fast<2 * P>(s)) scatter_side<2 * P>(s, g, l0, u0, units, w, conj);
    else if (m == 4 * P && fast<4 * P>(s)) scatter_side<4 * P>(s, g, l0, u0, units, w, conj);
    else if (m == 8 * P && fast<8 * P>(s)) scatter_side<8 * P>(s, g, l0, u0, units, w, conj);
    else
      for (I u = 0; u < units; ++u)
        scatter_each(s, g.p + (u0 + u) * g.column, g.step, l0, n, w + u * E, units * E, conj);
  }

  // Reals of a number and of its neighbours in other columns that come with it; 0: one by one.
  static INLINE I together(I step, I column, I n, I u0, I units) {
    if (n != W) return 0;
    if (step == P) return P;
    return column == P && u0 == 0 && step == units * P ? step : 0;
  }

  // A chunk of rows that are neighbours is W / M numbers.
  template <int M>
  static INLINE bool fast(const Side& s) {
    return s.mode == LANES || (s.mode == ROWS && M <= W);
  }

  template <int M>
  static void gather_side(const Side& s, Grid<const T> g, I l0, I u0, I units, T* w, bool conj) {
    const I row = units * E;
    for (I u = 0; u < units; u += M / P) {
      const T* x = g.p + (u0 + u) * g.column;
      if (s.mode == LANES) gather_lanes<M>(s, x + s.lane[l0] * M, w + u * E, row, conj);
      else if constexpr (M <= W) gather_rows<M>(s, x, l0, w + u * E, row, conj);
    }
  }

  template <int M>
  static void scatter_side(const Side& s, Grid<T> g, I l0, I u0, I units, const T* w, bool conj) {
    const I row = units * E;
    for (I u = 0; u < units; u += M / P) {
      T* y = g.p + (u0 + u) * g.column;
      if (s.mode == LANES) scatter_lanes<M>(s, y + s.lane[l0] * M, w + u * E, row, conj);
      else if constexpr (M <= W) scatter_rows<M>(s, y, l0, w + u * E, row, conj);
    }
  }

  template <int M>
  static void gather_lanes(const Side& s, const T* x, T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; ++r) {
      Vec<T> q[M];
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) q[m] = Lane<T>::load(x + s.row[r] * M + m * W);
      apart<T, M>(q);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) Lane<T>::store(w + r * row + m * W, part(q[m], m, conj));
    }
  }

  template <int M>
  static void scatter_lanes(const Side& s, T* y, const T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; ++r) {
      Vec<T> q[M];
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) q[m] = part(Lane<T>::load(w + r * row + m * W), m, conj);
      mixed<T, M>(q);
#pragma GCC unroll 16
      for (int m = 0; m < M; ++m) Lane<T>::store(y + s.row[r] * M + m * W, q[m]);
    }
  }

  template <int M>
  static void gather_rows(const Side& s, const T* x, I l0, T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; r += W / M) {
      Vec<T> q[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        q[j] = Lane<T>::load(x + (s.lane[l0 + j] + s.row[s.pick[r]]) * M);
      transpose<T>(q);
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        Lane<T>::store(w + s.pick[r + j / M] * row + (j % M) * W, part(q[j], j, conj));
    }
  }

  template <int M>
  static void scatter_rows(const Side& s, T* y, I l0, const T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; r += W / M) {
      Vec<T> q[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        q[j] = part(Lane<T>::load(w + s.pick[r + j / M] * row + (j % M) * W), j, conj);
      transpose<T>(q);
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        Lane<T>::store(y + (s.lane[l0 + j] + s.row[s.pick[r]]) * M, q[j]);
    }
  }

  // Real number j of those side by side: every other one of complex numbers is imaginary.
  static INLINE Vec<T> part(Vec<T> v, int j, bool conj) { return P == 2 && (j & 1) && conj ? -v : v; }

  static void gather_each(const Side& s, const T* x, I step, I l0, I n, T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; ++r) {
      T* out = w + r * row;
      for (I j = 0; j < n; ++j) {
        const T* in = x + offset(s, r, l0 + j) * step;
        out[j] = in[0];
        if (P == 2) out[W + j] = conj ? -in[P - 1] : in[P - 1];
      }
      for (I j = n; j < W; ++j) out[j] = out[(P - 1) * W + j] = 0;
    }
  }

  static void scatter_each(const Side& s, T* y, I step, I l0, I n, const T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; ++r) {
      const T* in = w + r * row;
      for (I j = 0; j < n; ++j) {
        T* out = y + offset(s, r, l0 + j) * step;
        out[0] = in[j];
        if (P == 2) out[P - 1] = conj ? -in[W + j] : in[W + j];
      }
    }
  }

  // ---- batch form: lanes are columns; blocks l0 .. l0 + n side by side ---------------------
  // A block takes `block` numbers of w, its row r begins at place(r) * units * E; columns
  // c0 .. c0 + count. Where columns are far apart and rows, or blocks, are neighbours in memory
  // (an array in Fortran order), W numbers of W columns are turned in registers.

  struct Batch {
    I l0, n, c0, count, units, block;
    bool pad, conj;
    INLINE I place(I r, I b) const { return b * block + (pad ? padded(r) : r) * units * E; }
    INLINE I full() const { return count / W; }
  };
  static constexpr I C = W / P;    // numbers in W reals
  static constexpr I AHEAD = 8;    // rows that are asked for before they are read

  static void gather_columns(const Side& s, Grid<const T> g, const Batch& z, T* w) {
    const I full = g.column == P ? z.full() : 0;
    if (full < z.units && g.step == P && turned(s, z))
      return each_square(s, z, [&](I at, I step, I off, I u, I cols) {
        turn_in(g.p + off * P + (z.c0 + u * W) * g.column, g.column, cols, z.conj, w + at, step);
      });
    for (I r = 0; r < s.rows; ++r)
      for (I b = 0; b < z.n; ++b) {
        const T* x = g.p + offset(s, r, z.l0 + b) * g.step + z.c0 * g.column;
        T* out = w + z.place(r, b);
        if (g.column == P && !s.index && r + AHEAD < s.rows) {
          const T* next = x + (s.row[r + AHEAD] - s.row[r]) * g.step;
          for (I q = 0; q < z.count * P; q += W) __builtin_prefetch(next + q);
        }
        for (I u = 0; u < full; ++u) put(out + u * E, planar(x + u * E, z.conj));
        if (g.column == P && full < z.units) put(out + full * E, planar_first(x + full * E, z.count - full * W, z.conj));
        else for (I u = full; u < z.units; ++u)
          for (I j = 0; j < W; ++j) {
            const I c = u * W + j;
            const bool in = c < z.count;
            out[u * E + j] = in ? x[c * g.column] : 0;
            if (P == 2) out[u * E + W + j] = !in ? 0 : z.conj ? -x[c * g.column + 1] : x[c * g.column + 1];
          }
      }
  }

  // far: too much for the caches, written around them where whole vectors begin at vectors
  static void scatter_columns(const Side& s, Grid<T> g, const Batch& z, const T* w, bool far) {
    const I full = g.column == P ? z.full() : 0;
    if (full < z.units && g.step == P && turned(s, z))
      return each_square(s, z, [&](I at, I step, I off, I u, I cols) {
        turn_out(g.p + off * P + (z.c0 + u * W) * g.column, g.column, cols, z.conj, far, w + at, step);
      });
    far = far && at_vector(g.p + z.c0 * g.column, g.step);
    for (I r = 0; r < s.rows; ++r)
      for (I b = 0; b < z.n; ++b) {
        T* y = g.p + offset(s, r, z.l0 + b) * g.step + z.c0 * g.column;
        const T* in = w + z.place(r, b);
        if (far) for (I u = 0; u < full; ++u) pairs<true>(y + u * E, get<T, P>(in + u * E), z.conj);
        else for (I u = 0; u < full; ++u) pairs(y + u * E, get<T, P>(in + u * E), z.conj);
        if (g.column == P && full < z.units) pairs_first(y + full * E, get<T, P>(in + full * E), z.count - full * W, z.conj);
        else for (I c = full * W; c < z.count; ++c) {
          const T* q = in + c / W * E + c % W;
          y[c * g.column] = q[0];
          if (P == 2) y[c * g.column + 1] = z.conj ? -q[W] : q[W];
        }
      }
  }

  // Whether C rows, or C blocks, are neighbours in memory throughout.
  static bool turned(const Side& s, const Batch& z) {
    return (s.mode == ROWS && s.rows % C == 0) || (s.mode == LANES && z.n % C == 0);
  }

  // f(place in the tile, from number to number there, offset in memory, unit, columns) for all
  // squares of C numbers x W columns; C divides CHUNK, so a square's rows are evenly spaced
  template <class F>
  static void each_square(const Side& s, const Batch& z, const F& f) {
    static_assert(CHUNK % C == 0, "");
    const bool rows = s.mode == ROWS && s.rows % C == 0;
    const I step = rows ? z.units * E : z.block;
    for (I u = 0; u < z.units; ++u) {
      const I cols = z.count - u * W < W ? z.count - u * W : W;
      for (I b = 0; b < z.n; b += rows ? 1 : C)
        for (I r = 0; r < s.rows; r += rows ? C : 1)
          f(z.place(r, b) + u * E, step, s.row[r] + s.lane[z.l0 + b], u, cols);
    }
  }

  static INLINE void turn_in(const T* x, I column, I cols, bool conj, T* w, I step) {
    Vec<T> q[W];
    if (cols == W) {
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) q[j] = Lane<T>::load(x + j * column);
    } else {
      for (int j = 0; j < W; ++j) q[j] = j < cols ? Lane<T>::load(x + j * column) : Lane<T>::splat(0);
    }
    transpose<T>(q);
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i)
      Lane<T>::store(w + i / P * step + i % P * W, P == 2 && (i & 1) && conj ? -q[i] : q[i]);
  }

  static INLINE void turn_out(T* y, I column, I cols, bool conj, bool far, const T* w, I step) {
    Vec<T> q[W];
#pragma GCC unroll 16
    for (int i = 0; i < W; ++i) {
      q[i] = Lane<T>::load(w + i / P * step + i % P * W);
      if (P == 2 && (i & 1) && conj) q[i] = -q[i];
    }
    transpose<T>(q);
    if (cols == W && far && at_vector(y, column)) {
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) stream<T>(y + j * column, q[j]);
    } else if (cols == W) {
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) Lane<T>::store(y + j * column, q[j]);
    } else {
      for (int j = 0; j < cols; ++j) Lane<T>::store(y + j * column, q[j]);
    }
  }

  // ---- E numbers in a row of memory -------------------------------------------------------

  static INLINE Num<T, P> planar(const T* x, bool conj) {
    if constexpr (P == 1) {
      return get<T, 1>(x);
    } else {
      const Vec<T> a = Lane<T>::load(x), b = Lane<T>::load(x + W), im = Shuffle<T>::odds(a, b);
      return {{Shuffle<T>::evens(a, b), conj ? -im : im}};
    }
  }

  // The first n < W of them.
  static INLINE Num<T, P> planar_first(const T* x, I n, bool conj) {
    if constexpr (P == 1) {
      return {{load_first<T>(x, n)}};
    } else {
      const I reals = 2 * n;
      const Vec<T> a = reals >= W ? Lane<T>::load(x) : load_first<T>(x, reals),
                   b = reals > W ? load_first<T>(x + W, reals - W) : Lane<T>::splat(0);
      const Vec<T> im = Shuffle<T>::odds(a, b);
      return {{Shuffle<T>::evens(a, b), conj ? -im : im}};
    }
  }

  static INLINE void pairs_first(T* y, const Num<T, P>& n, I count, bool conj) {
    if constexpr (P == 1) {
      store_first<T>(y, n.p[0], count);
    } else {
      const Vec<T> im = conj ? -n.p[P - 1] : n.p[P - 1];
      const I reals = 2 * count;
      if (reals >= W) Lane<T>::store(y, Shuffle<T>::first(n.p[0], im));
      else store_first<T>(y, Shuffle<T>::first(n.p[0], im), reals);
      if (reals > W) store_first<T>(y + W, Shuffle<T>::second(n.p[0], im), reals - W);
    }
  }

  template <bool FAR = false>
  static INLINE void pairs(T* y, const Num<T, P>& n, bool conj) {
    const auto store = [](T* p, Vec<T> v) {
      if constexpr (FAR) stream<T>(p, v);
      else Lane<T>::store(p, v);
    };
    if constexpr (P == 1) {
      store(y, n.p[0]);
    } else {
      const Vec<T> im = conj ? -n.p[P - 1] : n.p[P - 1];
      store(y, Shuffle<T>::first(n.p[0], im));
      store(y + W, Shuffle<T>::second(n.p[0], im));
    }
  }
};

}  // namespace
