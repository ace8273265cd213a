// Gradients of a chain of Kronecker-sparse factors y = K_L ... K_1 x, given g = dL/dy:
//
//   gx = K_1^H ... K_L^H g        gv_q[(i, r, s, l)] += sum over columns of g_q[r] conj(x_q[s])
//
// with x_q what enters factor q and g_q the gradient of what leaves it. Columns are independent but
// for the sums, so a thread takes a tile of COLUMNS of them: it applies the factors, keeping what
// enters each step, then goes back. All of that stays in L2 for vectors of some thousand numbers:
// memory sees x, g and gx once. Two neighbouring 2 x 2 factors are one step, of four rows in
// registers. Sums over columns are kept by each thread and added in the end, in whatever order they
// end: the last bits may differ from run to run where there are several.
//
// A number of a tile is a row of COLUMNS real parts and, of complex ones, as many imaginary parts.

#include "buffers.h"
#include "lanes.h"
#include "scratch.h"
#include "threads.h"

#include <pthread.h>

namespace {

template <class T>
constexpr int COLUMNS = 2 * BYTES / int(sizeof(T));

// A number in each lane.
template <class T, bool Z>
struct Number {
  using L = Lanes<T, BYTES / int(sizeof(T))>;
  typename L::V re, im;
  static inline Number load(const T* p) {
    return {L::load(p), Z ? L::load(p + COLUMNS<T>) : L::splat(0)};
  }
  static inline Number zero() { return {L::splat(0), L::splat(0)}; }
  inline void store(T* p) const {
    L::store(p, re);
    if constexpr (Z) L::store(p + COLUMNS<T>, im);
  }
  // += v x, with v = v[0] + i sign v[1]
  inline void add(const T* v, T sign, const Number& x) {
    re += v[0] * x.re;
    if constexpr (Z) {
      const T w = sign * v[1];
      re -= w * x.im;
      im += v[0] * x.im + w * x.re;
    }
  }
  // += g conj(x)
  inline void meet(const Number& g, const Number& x) {
    re += g.re * x.re;
    if constexpr (Z) {
      re += g.im * x.im;
      im += g.im * x.re - g.re * x.im;
    }
  }
};

template <class T, int W>
inline T total(typename Lanes<T, W>::V v) {
  if constexpr (W == 1) return v[0];
  else return total<T, W / 2>(Lanes<T, W>::halves(v));
}

template <class T, bool Z>
inline void put(T* sum, T sign, const Number<T, Z>& p) {
  constexpr int W = BYTES / int(sizeof(T));
  sum[0] += total<T, W>(p.re);
  if constexpr (Z) sum[1] += sign * total<T, W>(p.im);
}

// One factor as it acts: outs x ins blocks of diagonals of length d, `a` of them. Strides of
// values are in real numbers.
template <class T>
struct Factor {
  const T* v;
  I at;  // of its sums among those of all factors, or -1 where they are not asked for
  I a, outs, ins, d, vi, vr, vs;
  T sign;  // -1: its values act conjugated
  I rows_in() const { return a * ins * d; }
  I rows_out() const { return a * outs * d; }
};

template <class T>
inline bool dyadic(const Factor<T>& f) { return f.outs == 2 && f.ins == 2; }

// Two dyadic factors that act on the same groups of four rows: distances d and 2 d, either first.
template <class T>
inline bool pairs(const Factor<T>& f, const Factor<T>& g) {
  if (!dyadic(f) || !dyadic(g)) return false;
  return (g.d == 2 * f.d && f.a == 2 * g.a) || (f.d == 2 * g.d && g.a == 2 * f.a);
}

// ---- any factor -----------------------------------------------------------------------------

template <class T, bool Z, int R>
inline void forward_rows(const Factor<T>& f, const T* v, const T* x, T* y, I row) {
  constexpr int W = BYTES / int(sizeof(T));
  Number<T, Z> sum[R][2];
  for (int r = 0; r < R; ++r) sum[r][0] = sum[r][1] = Number<T, Z>::zero();
  for (I s = 0; s < f.ins; ++s) {
    const T* in = x + s * f.d * row;
    const Number<T, Z> one = Number<T, Z>::load(in), two = Number<T, Z>::load(in + W);
    for (int r = 0; r < R; ++r) {
      const T* w = v + r * f.vr + s * f.vs;
      sum[r][0].add(w, f.sign, one);
      sum[r][1].add(w, f.sign, two);
    }
  }
  for (int r = 0; r < R; ++r) {
    sum[r][0].store(y + r * f.d * row);
    sum[r][1].store(y + r * f.d * row + W);
  }
}

template <class T, bool Z>
void forward(const Factor<T>& f, const T* x, T* y) {
  constexpr I E = Z ? 2 : 1, row = E * COLUMNS<T>;
  for (I i = 0; i < f.a; ++i)
    for (I l = 0; l < f.d; ++l) {
      const T *v = f.v + i * f.vi + l * E, *in = x + (i * f.ins * f.d + l) * row;
      T* out = y + (i * f.outs * f.d + l) * row;
      I r = 0;
      for (; r + 4 <= f.outs; r += 4)
        forward_rows<T, Z, 4>(f, v + r * f.vr, in, out + r * f.d * row, row);
      for (; r + 2 <= f.outs; r += 2)
        forward_rows<T, Z, 2>(f, v + r * f.vr, in, out + r * f.d * row, row);
      if (r < f.outs) forward_rows<T, Z, 1>(f, v + r * f.vr, in, out + r * f.d * row, row);
    }
}

// The sums of R rows of g with S rows of x.
template <class T, bool Z, int R, int S>
inline void meet(const Factor<T>& f, const T* g, const T* x, T* sums, I row) {
  constexpr int W = BYTES / int(sizeof(T));
  Number<T, Z> sum[R][S];
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < S; ++s) sum[r][s] = Number<T, Z>::zero();
  for (int k = 0; k < COLUMNS<T>; k += W) {
    Number<T, Z> in[S];
    for (int s = 0; s < S; ++s) in[s] = Number<T, Z>::load(x + s * f.d * row + k);
    for (int r = 0; r < R; ++r) {
      const Number<T, Z> from = Number<T, Z>::load(g + r * f.d * row + k);
      for (int s = 0; s < S; ++s) sum[r][s].meet(from, in[s]);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int s = 0; s < S; ++s) put<T, Z>(sums + r * f.vr + s * f.vs, f.sign, sum[r][s]);
}

template <class T, bool Z, int R>
inline void meet_rows(const Factor<T>& f, const T* g, const T* x, T* sums, I row) {
  I s = 0;
  for (; s + 4 <= f.ins; s += 4) meet<T, Z, R, 4>(f, g, x + s * f.d * row, sums + s * f.vs, row);
  for (; s + 2 <= f.ins; s += 2) meet<T, Z, R, 2>(f, g, x + s * f.d * row, sums + s * f.vs, row);
  if (s < f.ins) meet<T, Z, R, 1>(f, g, x + s * f.d * row, sums + s * f.vs, row);
}

// Its sums, and what g becomes before it.
template <class T, bool Z>
void backward(const Factor<T>& f, const T* x, const T* g, T* gx, T* sums) {
  constexpr I E = Z ? 2 : 1, row = E * COLUMNS<T>;
  if (f.at >= 0)
    for (I i = 0; i < f.a; ++i)
      for (I l = 0; l < f.d; ++l) {
        const T *in = x + (i * f.ins * f.d + l) * row, *out = g + (i * f.outs * f.d + l) * row;
        T* to = sums + f.at + i * f.vi + l * E;
        I r = 0;
        for (; r + 4 <= f.outs; r += 4)
          meet_rows<T, Z, 4>(f, out + r * f.d * row, in, to + r * f.vr, row);
        for (; r + 2 <= f.outs; r += 2)
          meet_rows<T, Z, 2>(f, out + r * f.d * row, in, to + r * f.vr, row);
        if (r < f.outs) meet_rows<T, Z, 1>(f, out + r * f.d * row, in, to + r * f.vr, row);
      }
  Factor<T> adjoint = f;
  std::swap(adjoint.outs, adjoint.ins);
  std::swap(adjoint.vr, adjoint.vs);
  adjoint.sign = -f.sign;
  forward<T, Z>(adjoint, g, gx);
}

// ---- two dyadic factors at once -----------------------------------------------------------------

// Where the values of the butterflies of a group of four rows lie: of row j of 0 .. 3 the factor
// at distance d uses bit 0, the one at 2 d bit 1.
template <class T>
struct Pair {
  Factor<T> f, g;  // applied first, second
  I d, groups;     // distance of rows, number of groups
  bool rising;     // the first has the distance d
  Pair(const Factor<T>& f, const Factor<T>& g)
      : f(f), g(g), d(f.d < g.d ? f.d : g.d), groups(f.d < g.d ? g.a : f.a), rising(f.d < g.d) {}
  // of butterfly k (0, 1) of a factor on bit 0 or 1, in group (i, l)
  static inline I place(const Factor<T>& f, int bit, int k, I i, I l, I d, I E) {
    return bit == 0 ? (2 * i + k) * f.vi + l * E : i * f.vi + (k * d + l) * E;
  }
};

// The two rows of butterfly k on a bit.
inline int low(int bit, int k) { return bit == 0 ? 2 * k : k; }
inline int high(int bit, int k) { return low(bit, k) + (bit == 0 ? 1 : 2); }

template <class T, bool Z>
inline void butterflies(Number<T, Z>* x, const Factor<T>& f, const I* at, int bit, bool adjoint) {
  const I r = adjoint ? f.vs : f.vr, s = adjoint ? f.vr : f.vs;
  const T sign = adjoint ? -f.sign : f.sign;
  for (int k = 0; k < 2; ++k) {
    const T* v = f.v + at[k];
    Number<T, Z>&one = x[low(bit, k)], &two = x[high(bit, k)];
    Number<T, Z> p = Number<T, Z>::zero(), q = Number<T, Z>::zero();
    p.add(v, sign, one);
    p.add(v + s, sign, two);
    q.add(v + r, sign, one);
    q.add(v + r + s, sign, two);
    one = p;
    two = q;
  }
}

template <class T, bool Z>
inline void meet_butterflies(Number<T, Z> (*sum)[4], const Number<T, Z>* g, const Number<T, Z>* x,
                             int bit) {
  for (int k = 0; k < 2; ++k)
    for (int r = 0; r < 2; ++r)
      for (int s = 0; s < 2; ++s)
        sum[k][2 * r + s].meet(g[r ? high(bit, k) : low(bit, k)], x[s ? high(bit, k) : low(bit, k)]);
}

template <class T, bool Z>
inline void put_butterflies(const Factor<T>& f, Number<T, Z> (*sum)[4], const I* at, T* sums) {
  if (f.at < 0) return;
  for (int k = 0; k < 2; ++k)
    for (int r = 0; r < 2; ++r)
      for (int s = 0; s < 2; ++s)
        put<T, Z>(sums + f.at + at[k] + r * f.vr + s * f.vs, f.sign, sum[k][2 * r + s]);
}

template <class T, bool Z, int BIT, class F>
inline void each_group(const Pair<T>& p, const F& run) {
  constexpr I E = Z ? 2 : 1, row = E * COLUMNS<T>;
  for (I i = 0; i < p.groups; ++i)
    for (I l = 0; l < p.d; ++l) {
      I one[2], two[2];
      for (int k = 0; k < 2; ++k) {
        one[k] = Pair<T>::place(p.f, BIT, k, i, l, p.d, E);
        two[k] = Pair<T>::place(p.g, 1 - BIT, k, i, l, p.d, E);
      }
      run((i * 4 * p.d + l) * row, p.d * row, one, two);
    }
}

template <class T, bool Z, int BIT>
void pair_forward(const Pair<T>& p, const T* x, T* y) {
  constexpr int W = BYTES / int(sizeof(T));
  each_group<T, Z, BIT>(p, [&](I at, I step, const I* one, const I* two) {
    for (int k = 0; k < COLUMNS<T>; k += W) {
      Number<T, Z> z[4];
      for (int j = 0; j < 4; ++j) z[j] = Number<T, Z>::load(x + at + j * step + k);
      butterflies<T, Z>(z, p.f, one, BIT, false);
      butterflies<T, Z>(z, p.g, two, 1 - BIT, false);
      for (int j = 0; j < 4; ++j) z[j].store(y + at + j * step + k);
    }
  });
}

template <class T, bool Z, int BIT>
void pair_backward(const Pair<T>& p, const T* x, T* g, T* sums) {
  constexpr int W = BYTES / int(sizeof(T));
  each_group<T, Z, BIT>(p, [&](I at, I step, const I* one, const I* two) {
    Number<T, Z> first[2][4], second[2][4];
    for (int k = 0; k < 2; ++k)
      for (int j = 0; j < 4; ++j) first[k][j] = second[k][j] = Number<T, Z>::zero();
    for (int k = 0; k < COLUMNS<T>; k += W) {
      Number<T, Z> in[4], mid[4], z[4];
      for (int j = 0; j < 4; ++j) mid[j] = in[j] = Number<T, Z>::load(x + at + j * step + k);
      butterflies<T, Z>(mid, p.f, one, BIT, false);
      for (int j = 0; j < 4; ++j) z[j] = Number<T, Z>::load(g + at + j * step + k);
      meet_butterflies<T, Z>(second, z, mid, 1 - BIT);
      butterflies<T, Z>(z, p.g, two, 1 - BIT, true);
      meet_butterflies<T, Z>(first, z, in, BIT);
      butterflies<T, Z>(z, p.f, one, BIT, true);
      for (int j = 0; j < 4; ++j) z[j].store(g + at + j * step + k);
    }
    put_butterflies<T, Z>(p.f, first, one, sums);
    put_butterflies<T, Z>(p.g, second, two, sums);
  });
}

// ---- tiles --------------------------------------------------------------------------------------

// Columns from .. from + count of an array as a tile, and back.
template <class T, bool Z>
void take(T* tile, const PyBuffer& b, I from, I count) {
  constexpr I C = COLUMNS<T>, E = Z ? 2 : 1;
  const char* p = static_cast<const char*>(b.buf) + from * b.strides[1];
  for (I j = 0; j < b.shape[0]; ++j, p += b.strides[0], tile += E * C) {
    const char* q = p;
    if (E == 1 && b.strides[1] == I(sizeof(T))) std::memcpy(tile, q, count * sizeof(T));
    else for (I k = 0; k < count; ++k, q += b.strides[1])
      for (I e = 0; e < E; ++e) tile[e * C + k] = reinterpret_cast<const T*>(q)[e];
    for (I e = 0; e < E; ++e) clear(tile + e * C + count, C - count);
  }
}

template <class T, bool Z>
void give(const T* tile, const PyBuffer& b, I from, I count) {
  constexpr I C = COLUMNS<T>, E = Z ? 2 : 1;
  char* p = static_cast<char*>(b.buf) + from * b.strides[1];
  for (I j = 0; j < b.shape[0]; ++j, p += b.strides[0], tile += E * C) {
    char* q = p;
    if (E == 1 && b.strides[1] == I(sizeof(T))) std::memcpy(q, tile, count * sizeof(T));
    else for (I k = 0; k < count; ++k, q += b.strides[1])
      for (I e = 0; e < E; ++e) reinterpret_cast<T*>(q)[e] = tile[e * C + k];
  }
}

constexpr int MOST_FACTORS = 256;
constexpr I RECORD = 7;  // address of values, a, b, c, d, flags, whether their gradient is asked for

struct Chain {
  const int64_t* numbers;
  I count;
  const PyBuffer *x, *g, *gx, *sums;  // gx: (n, k); sums: all gradients, one after the other
};

template <class T, bool Z>
bool gradients(const Chain& chain) {
  constexpr I E = Z ? 2 : 1, row = E * COLUMNS<T>;
  Factor<T> f[MOST_FACTORS];
  I at = 0, most = 0, kept = 0;
  for (I q = 0; q < chain.count; ++q) {
    const int64_t* n = chain.numbers + q * RECORD;
    const I b = n[2], c = n[3], d = n[4];
    const bool t = n[5] & TRANSPOSE;
    f[q] = {reinterpret_cast<const T*>(n[0]), n[6] ? at : -1, n[1], t ? c : b, t ? b : c, d,
            b * c * d * E, (t ? d : c * d) * E, (t ? c * d : d) * E, n[5] & CONJ ? T(-1) : T(1)};
    if (n[6]) at += n[1] * b * c * d * E;
    for (I rows : {f[q].rows_in(), f[q].rows_out()}) most = rows > most ? rows : most;
    kept += f[q].rows_in();
  }
  const I columns = chain.x->shape[1], tiles = (columns + COLUMNS<T> - 1) / COLUMNS<T>;
  double work = 0;
  for (I q = 0; q < chain.count; ++q)
    work += double(f[q].rows_out()) * double(f[q].ins) * double(columns) * double(E * E) * 3;
  bool good = true;
  pthread_mutex_t joining = PTHREAD_MUTEX_INITIALIZER;
  T* const sums = static_cast<T*>(chain.sums->buf);
  clear(sums, at);
  share(tiles, team_for(work / 16), [&](I from, I to) {
    thread_local Scratch memory;
    T* x = static_cast<T*>(memory.of(((kept + 2 * most) * row + at + row) * sizeof(T)));
    if (!x) {
      pthread_mutex_lock(&joining);
      good = false;
      pthread_mutex_unlock(&joining);
      return;
    }
    T *g = x + kept * row, *other = g + most * row, *mine = other + most * row;
    clear(mine, at);
    for (I tile = from; tile < to; ++tile) {
      const I start = tile * COLUMNS<T>;
      const I width = columns - start < COLUMNS<T> ? columns - start : COLUMNS<T>;
      T* in[MOST_FACTORS];
      in[0] = x;
      take<T, Z>(x, *chain.x, start, width);
      for (I q = 0; q < chain.count;) {
        const bool two = q + 1 < chain.count && pairs(f[q], f[q + 1]);
        const I next = q + (two ? 2 : 1);
        if (next == chain.count) break;
        in[next] = in[q] + f[q].rows_in() * row;
        if (!two) forward<T, Z>(f[q], in[q], in[next]);
        else if (f[q].d < f[q + 1].d) pair_forward<T, Z, 0>({f[q], f[q + 1]}, in[q], in[next]);
        else pair_forward<T, Z, 1>({f[q], f[q + 1]}, in[q], in[next]);
        q = next;
      }
      take<T, Z>(g, *chain.g, start, width);
      I starts[MOST_FACTORS], steps = 0;
      for (I q = 0; q < chain.count; q += q + 1 < chain.count && pairs(f[q], f[q + 1]) ? 2 : 1)
        starts[steps++] = q;
      while (steps-- > 0) {
        const I q = starts[steps];
        if (q + 1 < chain.count && pairs(f[q], f[q + 1])) {
          if (f[q].d < f[q + 1].d) pair_backward<T, Z, 0>({f[q], f[q + 1]}, in[q], g, mine);
          else pair_backward<T, Z, 1>({f[q], f[q + 1]}, in[q], g, mine);
        } else {
          backward<T, Z>(f[q], in[q], g, other, mine);
          std::swap(g, other);
        }
      }
      give<T, Z>(g, *chain.gx, start, width);
    }
    pthread_mutex_lock(&joining);
    add(sums, mine, at);
    pthread_mutex_unlock(&joining);
    memory.rest();
  });
  return good;
}

Outcome check(const Chain& chain, Type& type) {
  Type one, two, three;
  if (!type_of(*chain.x, type) || !type_of(*chain.g, one) || !type_of(*chain.gx, two) ||
      !type_of(*chain.sums, three) || one != type || two != type || three != type)
    return bad_dtype;
  if (chain.count < 1 || chain.count > MOST_FACTORS || chain.x->ndim != 2 || chain.g->ndim != 2 ||
      chain.gx->ndim != 2 || chain.sums->ndim != 1)
    return bad_sizes;
  I rows = chain.x->shape[0], entries = 0;
  for (I q = 0; q < chain.count; ++q) {
    const int64_t* n = chain.numbers + q * RECORD;
    const bool t = n[5] & TRANSPOSE;
    if (rows != n[1] * (t ? n[2] : n[3]) * n[4]) return bad_sizes;
    rows = n[1] * (t ? n[3] : n[2]) * n[4];
    if (n[6]) entries += n[1] * n[2] * n[3] * n[4];
  }
  const I columns = chain.x->shape[1];
  if (rows != chain.g->shape[0] || chain.g->shape[1] != columns || chain.gx->shape[1] != columns ||
      chain.gx->shape[0] != chain.x->shape[0] || chain.sums->shape[0] != entries)
    return bad_sizes;
  return c_order(*chain.sums) ? done : bad_order;
}

}  // namespace

// numbers: (count, 7) int64, one record for each factor, the one applied first in front; its values
// are a C array of the dtype of x.
extern "C" int lazyops_chain_grad(const int64_t* numbers, int64_t count, void* x, void* g, void* gx,
                                  void* sums) {
  Held in(x, 0), from(g, 0), to(gx, WRITABLE), out(sums, WRITABLE);
  if (!(in.held && from.held && to.held && out.held)) return failed;
  const Chain chain{numbers, count, &in.b, &from.b, &to.b, &out.b};
  Type type;
  const Outcome outcome = check(chain, type);
  if (outcome != done) return outcome;
  bool good = false;
  void* state = save_thread();
  switch (type) {
    case Type::f32: good = gradients<float, false>(chain); break;
    case Type::f64: good = gradients<double, false>(chain); break;
    case Type::c64: good = gradients<float, true>(chain); break;
    case Type::c128: good = gradients<double, true>(chain); break;
  }
  restore_thread(state);
  return good ? done : 4;
}
