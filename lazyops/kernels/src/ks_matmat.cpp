// y = K x for a Kronecker-sparse factor K of pattern (a, b, c, d), and K^T x, conj(K) x, K^H x
// from the same stored values.
//
//   values (a, b, c, d)   x (a*c*d, n)   y (a*b*d, n)      C order; b and c trade places for K^T
//   y[(i, r, l), q] = sum_s v(i, r, s, l) x[(i, s, l), q]   r: out block, s: in block
//
// Each way of running it keeps its sums in registers or in a tile of L1 and reads values once:
//   one vector, long d    strips: y[l] += v[l] x[l] along contiguous l
//   one vector, short d   the same strips over m neighbouring blocks at once, then folded m to 1
//   one vector, d = 1     dot products, or (transposed) a panel with v and x in each other's place
//   several columns       panels: R rows of y x some vectors of columns, one value broadcast
//
// Complex numbers stay interleaved. Two real sums are kept for each real number of y,
//   p = sum v Re x   and   q = sum v Im x   (panels: sum Re v x and sum Im v x),
// and joined once at the end, where conj is a choice of signs: it costs nothing.
// No sum is reordered by the data or by its address, so results are the same bit by bit each time.

#include "buffers.h"
#include "lanes.h"
#include "threads.h"

namespace {

// One product. Strides are in real numbers (a complex number is two).
template <class T>
struct Job {
  const T* v;
  const T* x;
  T* y;
  I a, outs, ins, d, n;  // a blocks of (outs x ins) blocks of diagonals of length d; n columns
  I vr, vs;              // stride of values from one r, one s to the next
  bool conj;
};

// ---- one vector -------------------------------------------------------------------------

constexpr I AHEAD = 1024;  // bytes of values: strips end too soon for the CPU to look ahead itself
constexpr I TILE_BYTES = 2048;  // of one row of y: its two sums, R = 4 rows, stay in 16 KB of L1

enum class Source { direct, repeated };  // x as it is, or its d numbers repeated along the strip

template <class T>
struct Strip {
  const T* v;
  I vr, vs;
  const T* x;
  I xs;
  T* y;
  I yr;
  T* sums;  // (R, 2, TILE)
  bool conj;
};

// R rows of y gain S terms each, for l in [from, count).
template <class T, bool Z, int W, int R, int S>
inline void axpys(const Strip<T>& t, I from, I count, bool first, bool last) {
  using L = Lanes<T, W>;
  using V = typename L::V;
  constexpr I TILE = TILE_BYTES / sizeof(T);
  const V one = L::alternate(1, t.conj ? -1 : 1), two = L::alternate(t.conj ? 1 : -1, 1);
  I l = from;
  for (; l + W <= count; l += W) {
    V p[R], q[R];
    for (int r = 0; r < R; ++r) {
      p[r] = first ? L::splat(0) : L::load(t.sums + 2 * r * TILE + l);
      if (Z) q[r] = first ? L::splat(0) : L::load(t.sums + (2 * r + 1) * TILE + l);
    }
    for (int s = 0; s < S; ++s) {
      const V x = L::load(t.x + s * t.xs + l);
      for (int r = 0; r < R; ++r) {
        const T* at = t.v + r * t.vr + s * t.vs + l;
        __builtin_prefetch(at + AHEAD / sizeof(T));
        const V v = L::load(at);
        if constexpr (Z) {
          p[r] += v * L::even(x);
          q[r] += v * L::odd(x);
        } else {
          p[r] += v * x;
        }
      }
    }
    for (int r = 0; r < R; ++r) {
      if (last) {
        if constexpr (Z) L::store(t.y + r * t.yr + l, one * p[r] + two * L::swap(q[r]));
        else L::store(t.y + r * t.yr + l, p[r]);
      } else {
        L::store(t.sums + 2 * r * TILE + l, p[r]);
        if (Z) L::store(t.sums + (2 * r + 1) * TILE + l, q[r]);
      }
    }
  }
  if constexpr (W > (Z ? 2 : 1))
    if (l < count) axpys<T, Z, W / 2, R, S>(t, l, count, first, last);
}

// R rows of y, all terms: y[r, l] = sum_s v[r, s, l] x[s, l] for l < count <= TILE.
// Repeated: x holds `period` numbers for each s.
template <class T, bool Z, int R, Source SRC>
inline void strip(Strip<T> t, I ins, I count, I period) {
  constexpr int W = BYTES / sizeof(T);
  alignas(64) T copies[SRC == Source::repeated ? 4 * 4 * W : 1];
  const T* x = t.x;
  const I xs = t.xs;
  for (I s = 0; s < ins;) {
    const int step = ins - s >= 4 ? 4 : ins - s >= 2 ? 2 : 1;
    const bool first = s == 0, last = s + step == ins;
    if constexpr (SRC == Source::repeated) {
      for (int k = 0; k < step; ++k) repeat(copies + k * count, x + (s + k) * xs, period, count);
      t.x = copies;
      t.xs = count;
    } else {
      t.x = x + s * xs;
    }
    if (step == 4) axpys<T, Z, W, R, 4>(t, 0, count, first, last);
    else if (step == 2) axpys<T, Z, W, R, 2>(t, 0, count, first, last);
    else axpys<T, Z, W, R, 1>(t, 0, count, first, last);
    t.v += step * t.vs;
    s += step;
  }
}

template <class T, bool Z, Source SRC>
inline void strips(Strip<T> t, I outs, I ins, I count, I period) {
  alignas(64) T sums[8 * (TILE_BYTES / sizeof(T))];
  t.sums = sums;
  for (I r = 0; r < outs;) {
    const int step = outs - r >= 4 ? 4 : outs - r >= 2 ? 2 : 1;
    if (step == 4) strip<T, Z, 4, SRC>(t, ins, count, period);
    else if (step == 2) strip<T, Z, 2, SRC>(t, ins, count, period);
    else strip<T, Z, 1, SRC>(t, ins, count, period);
    t.v += step * t.vr;
    t.y += step * t.yr;
    r += step;
  }
}

template <class T, bool Z>
void vector_long(const Job<T>& g) {
  constexpr I TILE = TILE_BYTES / sizeof(T);
  const I D = g.d * (Z ? 2 : 1);
  for (I i = 0; i < g.a; ++i)
    for (I l = 0; l < D; l += TILE) {
      const T* v = g.v + i * g.outs * g.ins * D + l;
      Strip<T> t{v, g.vr, g.vs, g.x + i * g.ins * D + l, D, g.y + i * g.outs * D + l, D,
                 nullptr, g.conj};
      strips<T, Z, Source::direct>(t, g.outs, g.ins, D - l < TILE ? D - l : TILE, D);
    }
}

// K x with short d: m blocks of x side by side are one strip of length m d, folded m to 1 at the
// end; the blocks that are left over are a second, shorter strip.
template <class T, bool Z, int R>
inline void short_rows(const Job<T>& g, const T* v, const T* x, T* y, I m) {
  constexpr int W = BYTES / sizeof(T);
  const I D = g.d * (Z ? 2 : 1), full = g.ins / m, rest = g.ins % m;
  alignas(64) T sums[4 * (TILE_BYTES / sizeof(T))], part[2][2 * 4 * W];
  Strip<T> t{v, g.vr, m * D, x, m * D, part[0], 4 * W, sums, g.conj};
  strip<T, Z, R, Source::direct>(t, full, m * D, D);
  if (rest) {
    t.v += full * m * D;
    t.x += full * m * D;
    t.y = part[1];
    strip<T, Z, R, Source::direct>(t, 1, rest * D, D);
  }
  for (int r = 0; r < R; ++r) {
    T* z = part[0] + r * 4 * W;
    for (I h = m / 2; h; h /= 2) add(z, z + h * D, h * D);
    for (I k = 0; k < rest; ++k) add(z, part[1] + r * 4 * W + k * D, D);
    for (I l = 0; l < D; ++l) y[r * D + l] = z[l];
  }
}

template <class T, bool Z>
void vector_short(const Job<T>& g, I m) {
  const I D = g.d * (Z ? 2 : 1);
  for (I i = 0; i < g.a; ++i) {
    const T* v = g.v + i * g.outs * g.ins * D;
    const T* x = g.x + i * g.ins * D;
    T* y = g.y + i * g.outs * D;
    I r = 0;
    for (; r + 2 <= g.outs; r += 2) short_rows<T, Z, 2>(g, v + r * g.vr, x, y + r * D, m);
    if (r < g.outs) short_rows<T, Z, 1>(g, v + r * g.vr, x, y + r * D, m);
  }
}

// K^T x with short d: m blocks of y side by side are one strip, x is repeated m times.
template <class T, bool Z>
void vector_short_transposed(const Job<T>& g, I m) {
  const I D = g.d * (Z ? 2 : 1), full = g.outs / m, rest = g.outs % m;
  for (I i = 0; i < g.a; ++i) {
    Strip<T> t{g.v + i * g.outs * g.ins * D, m * D, g.vs, g.x + i * g.ins * D, D,
               g.y + i * g.outs * D, m * D, nullptr, g.conj};
    strips<T, Z, Source::repeated>(t, full, g.ins, m * D, D);
    t.v += full * m * D;
    t.y += full * m * D;
    if (rest) strips<T, Z, Source::repeated>(t, 1, g.ins, rest * D, D);
  }
}

// ---- several columns --------------------------------------------------------------------

// One (R x ins) times (ins x columns) product of small matrices.
template <class T>
struct Panel {
  const T* v;
  I vr, vs;
  const T* x;
  I xs;
  T* y;
  I yr, ins, columns;
  T p_re, p_im, q_re, q_im;  // complex: y = p * (p_re, p_im) + swap(q) * (q_re, q_im)
};

// y[r, at : at + Q W] = sum_s v[r, s] x[s, at : at + Q W] for R rows, sums in registers.
template <class T, bool Z, int W, int R, int Q>
inline void panel(const Panel<T>& g, I at) {
  using L = Lanes<T, W>;
  using V = typename L::V;
  V p[R][Q], q[R][Q];
  for (int r = 0; r < R; ++r)
    for (int k = 0; k < Q; ++k) p[r][k] = q[r][k] = L::splat(0);
  const T* v = g.v;
  const T* x = g.x + at;
  for (I s = 0; s < g.ins; ++s, v += g.vs, x += g.xs) {
    V in[Q];
    for (int k = 0; k < Q; ++k) in[k] = L::load(x + k * W);
    for (int r = 0; r < R; ++r)
      for (int k = 0; k < Q; ++k) {
        p[r][k] += L::splat(v[r * g.vr]) * in[k];
        if constexpr (Z) q[r][k] += L::splat(v[r * g.vr + 1]) * in[k];
      }
  }
  const V one = L::alternate(g.p_re, g.p_im), two = L::alternate(g.q_re, g.q_im);
  for (int r = 0; r < R; ++r)
    for (int k = 0; k < Q; ++k) {
      if constexpr (Z) p[r][k] = one * p[r][k] + two * L::swap(q[r][k]);
      L::store(g.y + r * g.yr + at + k * W, p[r][k]);
    }
}

template <class T, bool Z, int W, int R>
inline void panels(const Panel<T>& g, I at = 0) {
  if constexpr (W == BYTES / sizeof(T)) {
    if constexpr (R == 1)
      for (; at + 4 * W <= g.columns; at += 4 * W) panel<T, Z, W, R, 4>(g, at);
    for (; at + 2 * W <= g.columns; at += 2 * W) panel<T, Z, W, R, 2>(g, at);
  }
  for (; at + W <= g.columns; at += W) panel<T, Z, W, R, 1>(g, at);
  if constexpr (W > (Z ? 2 : 1))
    if (at < g.columns) panels<T, Z, W / 2, R>(g, at);
}

template <class T, bool Z>
void matrix(const Job<T>& g) {
  constexpr int W = BYTES / sizeof(T), R = Z ? 2 : 4;
  constexpr I E = Z ? 2 : 1;
  const I N = g.n * E, row = g.d * N;
  for (I i = 0; i < g.a; ++i)
    for (I l = 0; l < g.d; ++l) {
      const T one = 1, sign = g.conj ? -1 : 1;
      Panel<T> t{g.v + (i * g.outs * g.ins * g.d + l) * E, g.vr, g.vs,
                 g.x + i * g.ins * row + l * N, row, g.y + i * g.outs * row + l * N, row,
                 g.ins, N, one, one, -sign, sign};
      I r = 0;
      for (; r + R <= g.outs; r += R, t.v += R * g.vr, t.y += R * row) panels<T, Z, W, R>(t);
      for (; r < g.outs; ++r, t.v += g.vr, t.y += row) panels<T, Z, W, 1>(t);
    }
}

// One vector, d = 1, transposed: a row x times a matrix v, so the two trade places in a panel.
template <class T, bool Z>
void row_times_matrix(const Job<T>& g) {
  constexpr int W = BYTES / sizeof(T);
  constexpr I E = Z ? 2 : 1;
  const T one = 1, sign = g.conj ? -1 : 1;
  for (I i = 0; i < g.a; ++i)
    panels<T, Z, W, 1>({g.x + i * g.ins * E, 0, E, g.v + i * g.outs * g.ins * E, g.vs,
                        g.y + i * g.outs * E, 0, g.ins, g.outs * E, one, sign, -sign, one});
}

// ---- one vector, d = 1: dot products ----------------------------------------------------

// z[r] = sum_l v[r, l] x[l] for l in [from, count), added to the halves of z of the width before
template <class T, bool Z, int W, int R>
inline void dots(const T* v, I vr, const T* x, T* y, I from, I count, bool conj,
                 const typename Lanes<T, 2 * W>::V* before) {
  using L = Lanes<T, W>;
  using V = typename L::V;
  const V one = L::alternate(1, conj ? -1 : 1), two = L::alternate(conj ? 1 : -1, 1);
  V p[R], q[R];
  for (int r = 0; r < R; ++r) {
    p[r] = q[r] = L::splat(0);
    if (!Z && before) p[r] = Lanes<T, 2 * W>::halves(before[r]);
  }
  I l = from;
  for (; l + W <= count; l += W) {
    const V in = L::load(x + l);
    for (int r = 0; r < R; ++r) {
      const V w = L::load(v + r * vr + l);
      if constexpr (Z) {
        p[r] += w * L::even(in);
        q[r] += w * L::odd(in);
      } else {
        p[r] += w * in;
      }
    }
  }
  if constexpr (Z)
    for (int r = 0; r < R; ++r) {
      p[r] = one * p[r] + two * L::swap(q[r]);
      if (before) p[r] += Lanes<T, 2 * W>::halves(before[r]);
    }
  if constexpr (W > (Z ? 2 : 1)) dots<T, Z, W / 2, R>(v, vr, x, y, l, count, conj, p);
  else
    for (int r = 0; r < R; ++r) L::store(y + r * W, p[r]);
}

template <class T, bool Z>
void matrix_times_column(const Job<T>& g) {
  constexpr int W = BYTES / sizeof(T);
  constexpr I E = Z ? 2 : 1;
  const I count = g.ins * E;
  for (I i = 0; i < g.a; ++i) {
    const T* v = g.v + i * g.outs * count;
    const T* x = g.x + i * count;
    T* y = g.y + i * g.outs * E;
    I r = 0;
    for (; r + 4 <= g.outs; r += 4)
      dots<T, Z, W, 4>(v + r * count, count, x, y + r * E, 0, count, g.conj, nullptr);
    for (; r < g.outs; ++r)
      dots<T, Z, W, 1>(v + r * count, count, x, y + r * E, 0, count, g.conj, nullptr);
  }
}

// ---- one vector, blocks of a few numbers: no vectors -------------------------------------

template <class T, bool Z>
void tiny(const Job<T>& g) {
  constexpr I E = Z ? 2 : 1;
  const T sign = g.conj ? -1 : 1;
  const I D = g.d * E;
  const T *v = g.v, *x = g.x;
  T* y = g.y;
  for (I i = 0; i < g.a; ++i, v += g.outs * g.ins * D, x += g.ins * D)
    for (I r = 0; r < g.outs; ++r, y += D)
      for (I l = 0; l < D; l += E) {
        T re = 0, im = 0;
        for (I s = 0; s < g.ins; ++s) {
          const T *w = v + r * g.vr + s * g.vs + l, *in = x + s * D + l;
          if constexpr (Z) {
            re += w[0] * in[0] - sign * w[1] * in[1];
            im += w[0] * in[1] + sign * w[1] * in[0];
          } else {
            re += w[0] * in[0];
          }
        }
        y[l] = re;
        if (Z) y[l + 1] = im;
      }
}

// ---- which way --------------------------------------------------------------------------

template <class T, bool Z>
void run_job(const Job<T>& g, bool t) {
  constexpr I W = BYTES / sizeof(T);
  const I D = g.d * (Z ? 2 : 1);
  if (g.n > 1) return matrix<T, Z>(g);
  if (D >= W) return vector_long<T, Z>(g);
  if (g.outs * g.ins * D <= 4 * W) return tiny<T, Z>(g);
  if (g.d == 1) return t ? row_times_matrix<T, Z>(g) : matrix_times_column<T, Z>(g);
  I m = 1;
  while (2 * m <= (t ? g.outs : g.ins) && 2 * m * D <= 4 * W) m *= 2;
  t ? vector_short_transposed<T, Z>(g, m) : vector_short<T, Z>(g, m);
}

// A large product in parts: some of the a blocks each or, of a single one, some of its out blocks.
// A row of y is computed in one part, in the same order whatever their number.
template <class T, bool Z>
void run(const Product& p) {
  const bool t = p.transpose;
  const I D = p.d * (Z ? 2 : 1);
  const Job<T> whole{static_cast<const T*>(p.values), static_cast<const T*>(p.x),
                     static_cast<T*>(p.y), p.a, t ? p.c : p.b, t ? p.b : p.c, p.d, p.n,
                     t ? D : p.c * D, t ? p.c * D : D, p.conj};
  if (whole.ins == 0) return clear(whole.y, whole.a * whole.outs * D * whole.n);
  if (whole.n == 0 || whole.d == 0) return;
  // ns at 16 bytes a ns, which one core reads from its last cache
  const double ns = double(p.a) * double(p.b * p.c) * double(D * sizeof(T)) * double(p.n) / 16;
  const int team = team_for(ns);
  if (team <= 1) return run_job<T, Z>(whole, t);
  share(p.a > 1 ? p.a : whole.outs, team, [&](I from, I to) {
    const I count = to - from;
    Job<T> g = whole;
    if (p.a > 1) {
      g.v += from * p.b * p.c * D;
      g.x += from * g.ins * D * p.n;
      g.y += from * g.outs * D * p.n;
      g.a = count;
    } else {
      g.v += from * g.vr;
      g.y += from * D * p.n;
      g.outs = count;
    }
    run_job<T, Z>(g, t);
  });
}

}  // namespace

extern "C" int lazyops_ks_matmat(void* values, void* x, void* y, int flags) {
  return with_buffers(values, x, y, flags, [](const Product& p) {
    switch (p.type) {
      case Type::f32: return run<float, false>(p);
      case Type::f64: return run<double, false>(p);
      case Type::c64: return run<float, true>(p);
      case Type::c128: return run<double, true>(p);
    }
  });
}
