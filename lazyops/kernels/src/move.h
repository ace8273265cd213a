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
};

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

  static void gather(const Side& s, Grid<const T> g, I l0, I n, I u0, I units, T* w, bool conj) {
    const bool full = n == W && g.step == P;
    for (I u = 0; u < units; ++u) {
      const T* x = g.p + (u0 + u) * g.column;
      T* out = w + u * E;
      const I row = units * E;
      if (full && s.mode == LANES) gather_lanes(s, x + s.lane[l0] * P, out, row, conj);
      else if (full && s.mode == ROWS) gather_rows(s, x, l0, out, row, conj);
      else gather_each(s, x, g.step, l0, n, out, row, conj);
    }
  }

  static void scatter(const Side& s, Grid<T> g, I l0, I n, I u0, I units, const T* w, bool conj) {
    const bool full = n == W && g.step == P;
    for (I u = 0; u < units; ++u) {
      T* y = g.p + (u0 + u) * g.column;
      const T* in = w + u * E;
      const I row = units * E;
      if (full && s.mode == LANES) scatter_lanes(s, y + s.lane[l0] * P, in, row, conj);
      else if (full && s.mode == ROWS) scatter_rows(s, y, l0, in, row, conj);
      else scatter_each(s, y, g.step, l0, n, in, row, conj);
    }
  }

  static void gather_lanes(const Side& s, const T* x, T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; ++r) put(w + r * row, planar(x + s.row[r] * P, conj));
  }

  static void scatter_lanes(const Side& s, T* y, const T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; ++r) pairs(y + s.row[r] * P, get<T, P>(w + r * row), conj);
  }

  static void gather_rows(const Side& s, const T* x, I l0, T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; r += W / P) {
      Vec<T> q[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) q[j] = Lane<T>::load(x + (s.lane[l0 + j] + s.row[r]) * P);
      transpose<T>(q);
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j)
        Lane<T>::store(w + (r + j / P) * row + (j % P) * W, P == 2 && (j & 1) && conj ? -q[j] : q[j]);
    }
  }

  static void scatter_rows(const Side& s, T* y, I l0, const T* w, I row, bool conj) {
    for (I r = 0; r < s.rows; r += W / P) {
      Vec<T> q[W];
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) {
        q[j] = Lane<T>::load(w + (r + j / P) * row + (j % P) * W);
        if (P == 2 && (j & 1) && conj) q[j] = -q[j];
      }
      transpose<T>(q);
#pragma GCC unroll 16
      for (int j = 0; j < W; ++j) Lane<T>::store(y + (s.lane[l0 + j] + s.row[r]) * P, q[j]);
    }
  }

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
  // A block takes `block` numbers of w, a row of it units * E; columns c0 .. c0 + count.

  static void gather_columns(const Side& s, Grid<const T> g, I l0, I n, I c0, I count, I units,
                             T* w, I block, bool conj) {
    const I full = g.column == P ? count / W : 0;
    for (I r = 0; r < s.rows; ++r)
      for (I b = 0; b < n; ++b) {
        const T* x = g.p + offset(s, r, l0 + b) * g.step + c0 * g.column;
        T* out = w + b * block + r * units * E;
        for (I u = 0; u < full; ++u) put(out + u * E, planar(x + u * E, conj));
        for (I u = full; u < units; ++u)
          for (I j = 0; j < W; ++j) {
            const I c = u * W + j;
            const bool in = c < count;
            out[u * E + j] = in ? x[c * g.column] : 0;
            if (P == 2) out[u * E + W + j] = !in ? 0 : conj ? -x[c * g.column + 1] : x[c * g.column + 1];
          }
      }
  }

  static void scatter_columns(const Side& s, Grid<T> g, I l0, I n, I c0, I count, I units,
                              const T* w, I block, bool conj, bool far) {
    const I full = g.column == P ? count / W : 0;
    for (I r = 0; r < s.rows; ++r)
      for (I b = 0; b < n; ++b) {
        T* y = g.p + offset(s, r, l0 + b) * g.step + c0 * g.column;
        const T* in = w + b * block + r * units * E;
        if (far) for (I u = 0; u < full; ++u) pairs<true>(y + u * E, get<T, P>(in + u * E), conj);
        else for (I u = 0; u < full; ++u) pairs(y + u * E, get<T, P>(in + u * E), conj);
        for (I c = full * W; c < count; ++c) {
          const T* z = in + c / W * E + c % W;
          y[c * g.column] = z[0];
          if (P == 2) y[c * g.column + 1] = conj ? -z[W] : z[W];
        }
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
