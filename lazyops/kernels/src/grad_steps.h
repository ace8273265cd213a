// Steps of a gradient on one block: factors applied to rows that lie one after the other, and their
// adjoints, with the sums over columns that are the gradients of the values.
//
// A number of a row is C real parts and, of complex ones, as many imaginary parts, C a multiple of
// the lanes of a vector. Two neighbouring 2 x 2 factors are one step, of four rows in registers; a
// lone one is such a step without the other.
#pragma once
#include "tile.h"

namespace {

// A number in each lane.
template <class T, bool Z>
struct Number {
  using V = Vec<T>;
  V re, im;
  static INLINE Number load(const T* p, I C) { return {Lane<T>::load(p), Z ? Lane<T>::load(p + C) : V{}}; }
  static INLINE Number zero() { return {V{}, V{}}; }
  INLINE void store(T* p, I C) const {
    Lane<T>::store(p, re);
    if constexpr (Z) Lane<T>::store(p + C, im);
  }
  // += v x, with v = v[0] + i sign v[1]
  INLINE void add(const T* v, T sign, const Number& x) {
    re += v[0] * x.re;
    if constexpr (Z) {
      const T w = sign * v[1];
      re -= w * x.im;
      im += v[0] * x.im + w * x.re;
    }
  }
  // += g conj(x)
  INLINE void meet(const Number& g, const Number& x) {
    re += g.re * x.re;
    if constexpr (Z) {
      re += g.im * x.im;
      im += g.im * x.re - g.re * x.im;
    }
  }
};

template <class T, int W>
INLINE T total(typename Lanes<T, W>::V v) {
  if constexpr (W == 1) return v[0];
  else return total<T, W / 2>(Lanes<T, W>::halves(v));
}

// Lane j of v[0] becomes the total of v[j], for as many vectors as they have lanes.
template <class T, int COUNT = width<T>>
INLINE void totals(Vec<T>* v) {
  if constexpr (COUNT > 1) {
#pragma GCC unroll 8
    for (int i = 0; i < COUNT / 2; ++i)
      v[i] = Shuffle<T>::evens(v[2 * i], v[2 * i + 1]) + Shuffle<T>::odds(v[2 * i], v[2 * i + 1]);
    totals<T, COUNT / 2>(v);
  }
}

// One factor as it acts on a block: outs x ins blocks of diagonals of length d, `a` of them; entry
// (i, r, s, l) at i vi + r vr + s vs + l vl of the values, in real numbers.
template <class T>
struct Factor {
  const T* v;
  I a, outs, ins, d, vi, vr, vs, vl;
  T sign;  // -1: its values act conjugated
  bool wanted;
  I rows_in() const { return a * ins * d; }
  I rows_out() const { return a * outs * d; }
  bool dyadic() const { return outs == 2 && ins == 2; }
  Factor adjoint() const { return {v, a, ins, outs, d, vi, vs, vr, vl, -sign, wanted}; }
};

// ---- any factor -----------------------------------------------------------------------------

template <class T, bool Z, int R, int V>
INLINE void forward_rows(const Factor<T>& f, const T* v, const T* x, T* y, I C) {
  const I row = (Z ? 2 : 1) * C;
  Number<T, Z> sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int k = 0; k < V; ++k) sum[r][k] = Number<T, Z>::zero();
  for (I s = 0; s < f.ins; ++s)
    for (int k = 0; k < V; ++k) {
      const Number<T, Z> in = Number<T, Z>::load(x + s * f.d * row + k * width<T>, C);
      for (int r = 0; r < R; ++r) sum[r][k].add(v + r * f.vr + s * f.vs, f.sign, in);
    }
  for (int r = 0; r < R; ++r)
    for (int k = 0; k < V; ++k) sum[r][k].store(y + r * f.d * row + k * width<T>, C);
}

template <class T, bool Z, int R>
inline void forward_columns(const Factor<T>& f, const T* v, const T* x, T* y, I C) {
  I k = 0;
  for (; k + 2 * width<T> <= C; k += 2 * width<T>) forward_rows<T, Z, R, 2>(f, v, x + k, y + k, C);
  if (k < C) forward_rows<T, Z, R, 1>(f, v, x + k, y + k, C);
}

template <class T, bool Z>
void forward(const Factor<T>& f, const T* x, T* y, I C) {
  const I row = (Z ? 2 : 1) * C;
  for (I i = 0; i < f.a; ++i)
    for (I l = 0; l < f.d; ++l) {
      const T *v = f.v + i * f.vi + l * f.vl, *in = x + (i * f.ins * f.d + l) * row;
      T* out = y + (i * f.outs * f.d + l) * row;
      I r = 0;
      for (; r + 4 <= f.outs; r += 4)
        forward_columns<T, Z, 4>(f, v + r * f.vr, in, out + r * f.d * row, C);
      for (; r + 2 <= f.outs; r += 2)
        forward_columns<T, Z, 2>(f, v + r * f.vr, in, out + r * f.d * row, C);
      if (r < f.outs) forward_columns<T, Z, 1>(f, v + r * f.vr, in, out + r * f.d * row, C);
    }
}

// The sums of R rows of g with S rows of x.
template <class T, bool Z, int R, int S>
inline void meet(const Factor<T>& f, const T* g, const T* x, T* sums, I C) {
  const I row = (Z ? 2 : 1) * C;
  Number<T, Z> sum[R][S];
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < S; ++s) sum[r][s] = Number<T, Z>::zero();
  for (I k = 0; k < C; k += width<T>) {
    Number<T, Z> in[S];
    for (int s = 0; s < S; ++s) in[s] = Number<T, Z>::load(x + s * f.d * row + k, C);
    for (int r = 0; r < R; ++r) {
      const Number<T, Z> from = Number<T, Z>::load(g + r * f.d * row + k, C);
      for (int s = 0; s < S; ++s) sum[r][s].meet(from, in[s]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < S; ++s) {
      T* to = sums + r * f.vr + s * f.vs;
      to[0] += total<T, width<T>>(sum[r][s].re);
      if constexpr (Z) to[1] += f.sign * total<T, width<T>>(sum[r][s].im);
    }
}

template <class T, bool Z, int R>
inline void meet_rows(const Factor<T>& f, const T* g, const T* x, T* sums, I C) {
  const I row = (Z ? 2 : 1) * C;
  I s = 0;
  for (; s + 4 <= f.ins; s += 4) meet<T, Z, R, 4>(f, g, x + s * f.d * row, sums + s * f.vs, C);
  for (; s + 2 <= f.ins; s += 2) meet<T, Z, R, 2>(f, g, x + s * f.d * row, sums + s * f.vs, C);
  if (s < f.ins) meet<T, Z, R, 1>(f, g, x + s * f.d * row, sums + s * f.vs, C);
}

// Its sums, which lie as its values do, and what g becomes before it.
template <class T, bool Z>
void backward(const Factor<T>& f, const T* x, const T* g, T* gx, T* sums, I C) {
  const I row = (Z ? 2 : 1) * C;
  if (f.wanted)
    for (I i = 0; i < f.a; ++i)
      for (I l = 0; l < f.d; ++l) {
        const T *in = x + (i * f.ins * f.d + l) * row, *out = g + (i * f.outs * f.d + l) * row;
        T* to = sums + i * f.vi + l * f.vl;
        I r = 0;
        for (; r + 4 <= f.outs; r += 4) meet_rows<T, Z, 4>(f, out + r * f.d * row, in, to + r * f.vr, C);
        for (; r + 2 <= f.outs; r += 2) meet_rows<T, Z, 2>(f, out + r * f.d * row, in, to + r * f.vr, C);
        if (r < f.outs) meet_rows<T, Z, 1>(f, out + r * f.d * row, in, to + r * f.vr, C);
      }
  forward<T, Z>(f.adjoint(), g, gx, C);
}

// ---- one or two dyadic factors, four rows at a time ------------------------------------------------

// Rows j = 0 .. 3 of group (i, l) lie at 4 i d + j d + l. A factor on bit 0 makes butterflies of
// rows (0, 1) and (2, 3), one on bit 1 of rows (0, 2) and (1, 3).
template <class T>
struct Pair {
  Factor<T> f, g;  // applied first, second
  bool two;        // whether there is a second
  int bit;         // that of the first
  I d, groups;

  // Whether f, and g unless it is nullptr, are such a step.
  static bool of(const Factor<T>& f, const Factor<T>* g, Pair& p) {
    if (!f.dyadic()) return false;
    p.f = f;
    p.two = g != nullptr;
    if (g) {
      p.g = *g;
      const bool rising = g->d == 2 * f.d && f.a == 2 * g->a;
      if (!g->dyadic() || !(rising || (f.d == 2 * g->d && g->a == 2 * f.a))) return false;
      p.bit = rising ? 0 : 1;
    } else if (f.d % 2 == 0) {
      p.bit = 1;
    } else if (f.a % 2 == 0) {
      p.bit = 0;
    } else {
      return false;
    }
    p.d = p.bit ? f.d / 2 : f.d;
    p.groups = p.bit ? f.a : f.a / 2;
    return true;
  }
  // Where the values of butterfly k (0, 1) of a factor on a bit lie, in group (i, l).
  I place(const Factor<T>& of, int at, int k, I i, I l) const {
    return at == 0 ? (2 * i + k) * of.vi + l * of.vl : i * of.vi + (k * d + l) * of.vl;
  }
};

// The two rows of butterfly k on a bit.
INLINE int low(int bit, int k) { return bit == 0 ? 2 * k : k; }
INLINE int high(int bit, int k) { return low(bit, k) + (bit == 0 ? 1 : 2); }

// Steps and sign of a dyadic factor, or of its adjoint.
template <class T>
struct Acts {
  I r, s;
  T sign;
  INLINE Acts(const Factor<T>& f, bool adjoint)
      : r(adjoint ? f.vs : f.vr), s(adjoint ? f.vr : f.vs), sign(adjoint ? -f.sign : f.sign) {}
};

template <class T, bool Z>
INLINE void butterflies(Number<T, Z>* x, const Acts<T>& f, const T* const* at, int bit) {
  for (int k = 0; k < 2; ++k) {
    const T* v = at[k];
    Number<T, Z>&one = x[low(bit, k)], &two = x[high(bit, k)];
    Number<T, Z> p = Number<T, Z>::zero(), q = Number<T, Z>::zero();
    p.add(v, f.sign, one);
    p.add(v + f.s, f.sign, two);
    q.add(v + f.r, f.sign, one);
    q.add(v + f.r + f.s, f.sign, two);
    one = p;
    two = q;
  }
}

template <class T, bool Z>
INLINE void meet_butterflies(Number<T, Z>* sum, const Number<T, Z>* g, const Number<T, Z>* x, int bit) {
  for (int k = 0; k < 2; ++k)
    for (int r = 0; r < 2; ++r)
      for (int s = 0; s < 2; ++s)
        sum[4 * k + 2 * r + s].meet(g[r ? high(bit, k) : low(bit, k)], x[s ? high(bit, k) : low(bit, k)]);
}

constexpr I SUMS = 16;  // of a group: (factor, butterfly, row, column)

// sums[j] += total of sum[j], real parts before imaginary ones.
template <class T, bool Z>
INLINE void add_totals(T* sums, const Number<T, Z>* sum) {
  constexpr int W = width<T>;
  for (int part = 0; part < (Z ? 2 : 1); ++part)
#pragma GCC unroll 8
    for (int j = 0; j < SUMS; j += W) {
      Vec<T> v[W];
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) v[i] = part ? sum[j + i].im : sum[j + i].re;
      totals<T>(v);
      T* to = sums + part * SUMS + j;
      Lane<T>::store(to, Lane<T>::load(to) + v[0]);
    }
}

// Where the values of the butterflies of one group lie, for both factors.
template <class T>
struct Group {
  const T *one[2], *two[2];
  INLINE Group(const Pair<T>& p, int bit, I i, I l)
      : one{p.f.v + p.place(p.f, bit, 0, i, l), p.f.v + p.place(p.f, bit, 1, i, l)},
        two{p.g.v + p.place(p.g, 1 - bit, 0, i, l), p.g.v + p.place(p.g, 1 - bit, 1, i, l)} {}
};

// Copies of what a pair says: stores to rows could change the pair itself, for all a compiler knows.
template <class T, bool Z, int BIT, bool TWO>
void pair_forward(const Pair<T> p, const T* __restrict x, T* __restrict y, const I C) {
  const I row = (Z ? 2 : 1) * C, step = p.d * row;
  const Acts<T> f(p.f, false), then(p.g, false);
  for (I i = 0; i < p.groups; ++i, x += 3 * step, y += 3 * step)
    for (I l = 0; l < p.d; ++l, x += row, y += row) {
      const Group<T> at(p, BIT, i, l);
      for (I k = 0; k < C; k += width<T>) {
        Number<T, Z> z[4];
        for (int j = 0; j < 4; ++j) z[j] = Number<T, Z>::load(x + j * step + k, C);
        butterflies<T, Z>(z, f, at.one, BIT);
        if constexpr (TWO) butterflies<T, Z>(z, then, at.two, 1 - BIT);
        for (int j = 0; j < 4; ++j) z[j].store(y + j * step + k, C);
      }
    }
}

// One group back: through the second factor (THEN), through the first (FIRST), or both; the sums of
// the first are sum[0 .. 7], those of the second sum[8 .. 15], or sum[0 .. 7] where it is alone.
template <class T, bool Z, int BIT, bool FIRST, bool THEN>
INLINE void group_backward(const Pair<T>& p, const Group<T>& at, const T* __restrict x, T* __restrict g,
                           const I step, const I C, Number<T, Z>* sum) {
  const Acts<T> f(p.f, false), back(p.f, true), then(p.g, true);
  for (I k = 0; k < C; k += width<T>) {
    Number<T, Z> in[4], z[4];
    for (int j = 0; j < 4; ++j) in[j] = Number<T, Z>::load(x + j * step + k, C);
    for (int j = 0; j < 4; ++j) z[j] = Number<T, Z>::load(g + j * step + k, C);
    if constexpr (THEN) {
      Number<T, Z> mid[4] = {in[0], in[1], in[2], in[3]};
      butterflies<T, Z>(mid, f, at.one, BIT);
      meet_butterflies<T, Z>(sum + (FIRST ? 8 : 0), z, mid, 1 - BIT);
      butterflies<T, Z>(z, then, at.two, 1 - BIT);
    }
    if constexpr (FIRST) {
      meet_butterflies<T, Z>(sum, z, in, BIT);
      butterflies<T, Z>(z, back, at.one, BIT);
    }
    for (int j = 0; j < 4; ++j) z[j].store(g + j * step + k, C);
  }
}

// g, in place, and SUMS numbers for each group.
template <class T, bool Z, int BIT, bool TWO>
void pair_backward(const Pair<T> p, const T* __restrict x, T* __restrict g, T* __restrict sums, const I C) {
  const I row = (Z ? 2 : 1) * C, step = p.d * row;
  for (I i = 0; i < p.groups; ++i, x += 3 * step, g += 3 * step)
    for (I l = 0; l < p.d; ++l, x += row, g += row, sums += SUMS * (Z ? 2 : 1)) {
      const Group<T> at(p, BIT, i, l);
      Number<T, Z> sum[SUMS];
      for (I j = 0; j < SUMS; ++j) sum[j] = Number<T, Z>::zero();
      if constexpr (TWO && Z) {  // complex sums of one factor fill the registers
        Number<T, Z> half[SUMS / 2];
        for (I j = 0; j < SUMS / 2; ++j) half[j] = Number<T, Z>::zero();
        group_backward<T, Z, BIT, false, true>(p, at, x, g, step, C, half);
        for (I j = 0; j < SUMS / 2; ++j) sum[SUMS / 2 + j] = half[j];
        for (I j = 0; j < SUMS / 2; ++j) half[j] = Number<T, Z>::zero();
        group_backward<T, Z, BIT, true, false>(p, at, x, g, step, C, half);
        for (I j = 0; j < SUMS / 2; ++j) sum[j] = half[j];
      } else {
        group_backward<T, Z, BIT, true, TWO>(p, at, x, g, step, C, sum);
      }
      add_totals<T, Z>(sums, sum);
    }
}

template <class T, bool Z>
void forward(const Pair<T>& p, const T* x, T* y, I C) {
  if (p.two && p.bit == 0) pair_forward<T, Z, 0, true>(p, x, y, C);
  else if (p.two) pair_forward<T, Z, 1, true>(p, x, y, C);
  else if (p.bit == 0) pair_forward<T, Z, 0, false>(p, x, y, C);
  else pair_forward<T, Z, 1, false>(p, x, y, C);
}

template <class T, bool Z>
void backward(const Pair<T>& p, const T* x, T* g, T* sums, I C) {
  if (p.two && p.bit == 0) pair_backward<T, Z, 0, true>(p, x, g, sums, C);
  else if (p.two) pair_backward<T, Z, 1, true>(p, x, g, sums, C);
  else if (p.bit == 0) pair_backward<T, Z, 0, false>(p, x, g, sums, C);
  else pair_backward<T, Z, 1, false>(p, x, g, sums, C);
}

}  // namespace
