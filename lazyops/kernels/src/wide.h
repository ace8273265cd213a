// The batch form of a run of radix-2 factors: lanes are columns, a value is one number for all.
//
// Nothing is copied for its own sake: the first factors read x where it lies, the last ones write y
// where it goes, and between them a tile of one block and some columns stays in the caches. Three
// factors at a time are applied to 8 rows x 2 vectors in registers. The tile is walked depth first:
// a part that fits L1 goes through all factors that stay within it before the next part is touched,
// so the tile crosses L2 once, not once for every three factors.
#pragma once
#include "move.h"
#include "stages.h"

namespace {

// Row j of a group lies at p + (j & 1) s1 + (j >> 1 & 1) s2 + (j >> 2) s4: equally spaced rows are
// of this kind, and so are those that a bit reversal makes of them.
template <class T>
struct Rows {
  T* p;
  I s1, s2, s4;
  INLINE T* at(int j) const {
    T* q = p;
    if (j & 1) q += s1;
    if (j & 2) q += s2;
    if (j & 4) q += s4;
    return q;
  }
};

enum class Place { tile, memory, past };  // past: written around the caches

template <class T, int P, Place IN>
INLINE Num<T, P> fetch(const T* p, bool conj) {
  if constexpr (P == 1 || IN == Place::tile) return get<T, P>(p);
  else return Tile<T, P>::planar(p, conj);
}

template <class T, int P, Place OUT>
INLINE void leave(T* p, const Num<T, P>& n, bool conj) {
  if constexpr (OUT == Place::tile) put<T, P>(p, n);
  else Tile<T, P>::template pairs<OUT == Place::past>(p, n, conj);
}

template <class T, int P, int S, bool TR, int H, Place IN, Place OUT>
INLINE void micro(const Rows<const T>& x, const Rows<T>& y, const T* v, I ahead, bool conj) {
  constexpr int R = 1 << S, E = P * width<T>;
  Num<T, P> z[R][H];
#pragma GCC unroll 8
  for (int j = 0; j < R; ++j)
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) z[j][h] = fetch<T, P, IN>(x.at(j) + h * E, conj);
  if (ahead)
#pragma GCC unroll 8
    for (int j = 0; j < R; ++j)
#pragma GCC unroll 4
      for (int h = 0; h < H * P; ++h) __builtin_prefetch(x.at(j) + ahead + h * width<T>);
  levels<T, P, S, TR, H, 0>(z, [v](int e) { return value<T, P, true>(v, e); });
#pragma GCC unroll 8
  for (int j = 0; j < R; ++j)
#pragma GCC unroll 2
    for (int h = 0; h < H; ++h) leave<T, P, OUT>(y.at(j) + h * E, z[j][h], conj);
}

// One group on all units of a tile.
template <class T, int P, int S, bool TR, Place IN, Place OUT>
INLINE void group(Rows<const T> x, Rows<T> y, const T* v, I units, I ahead, bool conj) {
  constexpr int E = P * width<T>, H = P == 1 ? 2 : 1;
  I u = 0;
  for (; u + H <= units; u += H, x.p += H * E, y.p += H * E)
    micro<T, P, S, TR, H, IN, OUT>(x, y, v, ahead, conj);
  if constexpr (H > 1)
    if (u < units) micro<T, P, S, TR, 1, IN, OUT>(x, y, v, ahead, conj);
}

// Codes are decoded for several groups and all columns at once, the same groups of all blocks.
struct Span {
  I from = 0, to = 0;
};
constexpr I ROOM = 1024;     // numbers of a step
constexpr I MANY_STEPS = 32;  // no run of this form has more

// Blocks l .. l + n of a run and some columns.
template <class T, int P>
struct Wide {
  const Step* steps;
  I count;                  // of steps
  const char* values;       // of all blocks, those of `period` blocks one after the other
  I tile_bytes, period;
  I first;                  // number l of the first block in the period
  I blocks, units;          // side by side; vectors of columns
  const T* x;               // block l, first column
  const I *in_row, *in_lane;  // real numbers times in_step from x to a row, to a block
  I in_step;
  T* y;
  const I *out_row, *out_lane;
  I out_step;
  T* tile;
  I row, block;             // real numbers of a row, of a block of the tile
  bool direct_in, direct_out, past, conj;
  T* decoded;               // ROOM * P for each step
  Span* spans;              // which numbers of each step are there

  INLINE I at(I r) const { return padded(r) * row; }

  INLINE const char* values_at(I b) const {
    I q = first + b;
    if (q >= period) q -= period;  // no more blocks than a period lie side by side
    return values + q * tile_bytes;
  }

  // The first of numbers e .. e + K of block 0 of a step, and how far apart blocks are.
  template <I K>
  INLINE const T* numbers(const Step& t, I e, I& apart) const {
    apart = ROOM / blocks;
    Span& s = spans[&t - steps];
    T* const room = decoded + (&t - steps) * ROOM * P;
    if (e < s.from || e + K > s.to) {
      const I all = t.outer ? t.alpha * t.outer : t.inner ? t.delta * t.inner : K, some = apart / K * K;
      s.from = e;
      s.to = all - e < some ? all : e + some;
      for (I b = 0; b < blocks; ++b)
        values_of<T, P, true>(values_at(b), t).at(e, s.to - e, room + b * apart * P);
    }
    return room + (e - s.from) * P;
  }

  template <int S, bool TR, Place IN, Place OUT>
  void groups(const Step& t, I i) const {
    constexpr I R = 1 << S, K = S << (S + 1);
    const I d = t.delta;
    for (I l = 0; l < d; ++l) {
      const I r = i * R * d + l;
      const Rows<T> w{tile + at(r), at(r + d) - at(r), S > 1 ? at(r + 2 * d) - at(r) : 0,
                      S > 2 ? at(r + 4 * d) - at(r) : 0};
      Rows<const T> from{w.p, w.s1, w.s2, w.s4};
      Rows<T> to = w;
      I ahead = 0;
      if constexpr (IN == Place::memory) {
        const I o = in_row[r];
        from = {x + o * in_step, (in_row[r + d] - o) * in_step,
                S > 1 ? (in_row[r + 2 * d] - o) * in_step : 0,
                S > 2 ? (in_row[r + 4 * d] - o) * in_step : 0};
        // the rows of the next group, so that their lines are under way
        const I next = l + 1 < d ? r + 1 : r + 1 + (R - 1) * d;
        if (next < t.alpha * R * d) ahead = (in_row[next] - o) * in_step;
      }
      if constexpr (OUT != Place::tile) {
        const I o = out_row[r];
        to = {y + o * out_step, (out_row[r + d] - o) * out_step,
              S > 1 ? (out_row[r + 2 * d] - o) * out_step : 0,
              S > 2 ? (out_row[r + 4 * d] - o) * out_step : 0};
      }
      const I e = i * t.outer + l * t.inner;
      I apart = 0;
      const T* const room = t.coding ? numbers<K>(t, e, apart) : nullptr;
      for (I b = 0; b < blocks; ++b) {
        Rows<const T> f = from;
        Rows<T> o = to;
        f.p += IN == Place::memory ? (in_lane[b] - in_lane[0]) * in_step : b * block;
        o.p += OUT != Place::tile ? (out_lane[b] - out_lane[0]) * out_step : b * block;
        const T* const v = room ? room + b * apart * P : reinterpret_cast<const T*>(values_at(b) + t.values) + e * P;
        group<T, P, S, TR, IN, OUT>(f, o, v, units, ahead, conj);
      }
    }
  }

  template <int S, bool TR>
  void step(I s, I i) const {
    const Step& t = steps[s];
    if (s + 1 == count && direct_out) {
      past ? groups<S, TR, Place::tile, Place::past>(t, i)
           : groups<S, TR, Place::tile, Place::memory>(t, i);
    } else if (s == 0 && direct_in) {
      groups<S, TR, Place::memory, Place::tile>(t, i);
    } else {
      groups<S, TR, Place::tile, Place::tile>(t, i);
    }
  }

  void one(I s, I i) const {
    const Step& t = steps[s];
    const bool tr = t.transposed;
    if (t.b == 1) tr ? step<1, true>(s, i) : step<1, false>(s, i);
    else if (t.b == 2) tr ? step<2, true>(s, i) : step<2, false>(s, i);
    else if constexpr (BYTES == 64) tr ? step<3, true>(s, i) : step<3, false>(s, i);
  }

  // Steps that grow (forward): those below first, part by part.
  void up(I s, I i) const {
    if (s > 0) {
      const I parts = steps[s - 1].alpha / steps[s].alpha;
      for (I k = 0; k < parts; ++k) up(s - 1, i * parts + k);
    }
    one(s, i);
  }

  // Steps that shrink (transposed): those within a part follow at once.
  void down(I s, I i) const {
    one(s, i);
    if (s + 1 == count) return;
    const I parts = steps[s + 1].alpha / steps[s].alpha;
    for (I k = 0; k < parts; ++k) down(s + 1, i * parts + k);
  }

  void run() const {
    if (steps[0].transposed) for (I i = 0; i < steps[0].alpha; ++i) down(0, i);
    else for (I i = 0; i < steps[count - 1].alpha; ++i) up(count - 1, i);
  }
};

}  // namespace
