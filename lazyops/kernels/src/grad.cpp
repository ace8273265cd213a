// Gradients of a chain of Kronecker-sparse factors y = K_L ... K_1 x, given g = dL/dy:
//
//   gx = K_1^H ... K_L^H g        gv_q[(i, r, s, l)] += sum over columns of g_q[r] conj(x_q[s])
//
// with x_q what enters factor q and g_q the gradient of what leaves it. Columns are independent but
// for the sums: they are taken tile by tile. Neighbouring factors are a segment: what they do falls
// apart into blocks of few rows, each of which is gathered, sent through all factors of the
// segment and back, and scattered. Between segments a tile lies in L2; memory sees x, g and gx once,
// and only what enters a segment is kept.
//
// Sums are added in one order, whatever the number of threads: tiles are dealt into chunks, as many
// as the shapes say, each chunk has sums of its own, and those are added from first to last.

#include "buffers.h"
#include "grad_steps.h"
#include "scratch.h"
#include "threads.h"

#include <numeric>

namespace {

constexpr int MOST_FACTORS = 256, NO_MEMORY = 4;
constexpr I RECORD = 7;  // address of values, a, b, c, d, flags, whether their gradient is asked for
constexpr I VECTORS = 4;  // of a row of a tile
constexpr I BLOCK_BYTES = 136 << 10;  // bytes of a block with all that is kept of it
constexpr I CHUNKS = 16, FEW_CHUNKS = 4, ALL_SUMS = 256 << 20;  // bytes of the sums of all chunks

struct Chain {
  const int64_t* numbers;
  I count;
  const PyBuffer *x, *g, *gx, *sums;  // gx: (n, k); sums: all gradients, one after the other
};

// ---- tiles ------------------------------------------------------------------------------------

// Rows of numbers, `pitch` real numbers apart.
template <class T>
struct Lines {
  T* p;
  I pitch;
};

// Moves between an array and a tile of `count` columns, padded with zeros to C.
template <class T, bool Z>
struct Mover {
  static constexpr I E = Z ? 2 : 1, W = width<T>;
  const PyBuffer& b;
  I from, count, C;

  T* at(I j, I k) const {
    return reinterpret_cast<T*>(static_cast<char*>(b.buf) + j * b.strides[0] + (from + k) * b.strides[1]);
  }
  // Whether blocks can be gathered from the array itself.
  bool plain() const {
    return !Z && count == C && b.strides[1] == I(sizeof(T)) && b.strides[0] % I(sizeof(T)) == 0;
  }
  Lines<T> rows() const { return {at(0, 0), I(b.strides[0] / I(sizeof(T)))}; }
  bool turned() const { return b.strides[0] == I(E * sizeof(T)) && b.strides[1] != I(E * sizeof(T)); }

  void take(T* tile) const {
    const I n = b.shape[0];
    I j = 0;
    if (turned())
      for (; j + W <= n; j += W) turn(tile + j * E * C, j);
    for (; j < n; ++j) {
      T* to = tile + j * E * C;
      I k = 0;
      if (b.strides[1] == I(E * sizeof(T)))
        for (; k + W <= count; k += W) {
          Vec<T> q[E];
          for (I e = 0; e < E; ++e) q[e] = Lane<T>::load(at(j, k) + e * W);
          apart<T, E>(q);
          for (I e = 0; e < E; ++e) Lane<T>::store(to + e * C + k, q[e]);
        }
      for (; k < C; ++k)
        for (I e = 0; e < E; ++e) to[e * C + k] = k < count ? at(j, k)[e] : T(0);
    }
  }
  void give(const T* tile) const {
    const I n = b.shape[0];
    I j = 0;
    if (turned())
      for (; j + W <= n; j += W) turn_back(tile + j * E * C, j);
    for (; j < n; ++j) {
      const T* of = tile + j * E * C;
      I k = 0;
      if (b.strides[1] == I(E * sizeof(T)))
        for (; k + W <= count; k += W) {
          Vec<T> q[E];
          for (I e = 0; e < E; ++e) q[e] = Lane<T>::load(of + e * C + k);
          mixed<T, E>(q);
          for (I e = 0; e < E; ++e) Lane<T>::store(at(j, k) + e * W, q[e]);
        }
      for (; k < count; ++k)
        for (I e = 0; e < E; ++e) at(j, k)[e] = of[e * C + k];
    }
  }
  // W rows, whose numbers lie side by side, in squares of W / E rows and W columns.
  void turn(T* to, I j) const {
    for (I part = 0; part < E; ++part, j += W / E, to += W / E * E * C)
      for (I k = 0; k < C; k += W) {
        Vec<T> q[W];
        for (I i = 0; i < W; ++i) q[i] = k + i < count ? Lane<T>::load(at(j, k + i)) : Vec<T>{};
        transpose<T>(q);
        for (I i = 0; i < W; ++i) Lane<T>::store(to + i / E * E * C + i % E * C + k, q[i]);
      }
  }
  void turn_back(const T* of, I j) const {
    for (I part = 0; part < E; ++part, j += W / E, of += W / E * E * C)
      for (I k = 0; k < count; k += W) {
        Vec<T> q[W];
        for (I i = 0; i < W; ++i) q[i] = Lane<T>::load(of + i / E * E * C + i % E * C + k);
        transpose<T>(q);
        for (I i = 0; i < W && k + i < count; ++i) Lane<T>::store(at(j, k + i), q[i]);
      }
  }
};

// ---- segments ---------------------------------------------------------------------------------

// A step of a segment: factor q, or factors q and q + 1; where its sums begin, and how many numbers
// they are for each block (0: they lie as the values do).
struct Leg {
  I q;
  bool pair;
  I sums, of_block;
};

// Factors first .. last - 1 on blocks (i, l), i < A, l < D: row p of one is row (i rows + p) D + l.
struct Segment {
  I first, last, A, D, in, out, most;  // rows of a block: entering, leaving, at most
  I from, steps;                       // among the steps of all
};

template <class T, bool Z>
struct Gradients {
  static constexpr I E = Z ? 2 : 1, W = width<T>;
  const Chain& chain;
  I columns, C, tiles, chunks;
  Factor<T> f[MOST_FACTORS];
  I places[MOST_FACTORS];  // of the gradients of each factor in the result
  Leg step[MOST_FACTORS];
  Segment segment[MOST_FACTORS];
  I segments = 0, all_steps = 0, sums = 0;     // real numbers of the sums of a chunk
  I kept = 0, widest = 0, block = 0, held = 0;  // rows: kept of a tile, of a tile, of blocks

  explicit Gradients(const Chain& chain) : chain(chain), columns(chain.x->shape[1]) {
    const I vectors = (columns + W - 1) / W;
    C = W * (vectors < VECTORS / E ? vectors : VECTORS / E);
    tiles = (columns + C - 1) / C;
    I at = 0;
    for (I q = 0; q < chain.count; ++q) {
      const int64_t* n = chain.numbers + q * RECORD;
      const I b = n[2], c = n[3], d = n[4];
      const bool t = n[5] & TRANSPOSE;
      f[q] = {reinterpret_cast<const T*>(n[0]), n[1], t ? c : b, t ? b : c, d, b * c * d * E,
              (t ? d : c * d) * E, (t ? c * d : d) * E, E, n[5] & CONJ ? T(-1) : T(1), n[6] != 0};
      places[q] = at;
      if (n[6]) at += n[1] * b * c * d * E;
    }
    // as even as their number allows, and of pairs
    I most = cut(chain.count);
    const I count = segments;
    for (most -= 1 + most % 2; most >= 2; most -= 2) {
      cut(most);
      if (segments > count) break;
    }
    cut(most + 2);
    for (I k = 0; k < segments; ++k) set_up(segment[k]);
    const I bytes = sums * I(sizeof(T)), room = bytes ? ALL_SUMS / bytes : CHUNKS;
    chunks = room < FEW_CHUNKS ? FEW_CHUNKS : room < CHUNKS ? room : CHUNKS;
    if (chunks > tiles) chunks = tiles;
  }

  // The factors in segments of `most` at most whose blocks stay near; how many the longest has.
  I cut(I most) {
    I longest = 0;
    segments = 0;
    for (I q = 0; q < chain.count;) {
      Segment s{q, q + 1, f[q].a, f[q].d, 0, 0, 0, 0, 0};
      for (I next = q + 1; next < chain.count && next - q < most; ++next) {
        const I A = std::gcd(s.A, f[next].a), D = std::gcd(s.D, f[next].d);
        I bytes = 0;
        for (I k = q; k <= next; k += 1 + (k < next && two(k)))
          bytes += f[k].rows_in() / (A * D) * E * C * I(sizeof(T));
        if (bytes + f[next].rows_out() / (A * D) * E * C * I(sizeof(T)) > BLOCK_BYTES) break;
        s.A = A, s.D = D, s.last = next + 1;
      }
      if (s.last - s.first > longest) longest = s.last - s.first;
      segment[segments++] = s;
      q = s.last;
    }
    return longest;
  }
  bool two(I q) const {
    Pair<T> p;
    return Pair<T>::of(f[q], &f[q + 1], p);
  }

  void set_up(Segment& s) {
    const I blocks = s.A * s.D;
    s.in = f[s.first].rows_in() / blocks;
    s.out = f[s.last - 1].rows_out() / blocks;
    s.from = all_steps;
    I rows = 0;
    for (I q = s.first; q < s.last;) {
      Pair<T> p;
      const Factor<T> one = local(s, q, 0, 0), then = q + 1 < s.last ? local(s, q + 1, 0, 0) : one;
      const bool both = q + 1 < s.last && Pair<T>::of(one, &then, p);
      const bool pair = both || Pair<T>::of(one, nullptr, p);
      const I of_block = pair ? SUMS * E * p.groups * p.d : 0;
      step[all_steps++] = {q, pair, sums, of_block};
      sums += pair ? of_block * blocks : f[q].wanted ? f[q].a * f[q].vi : 0;
      rows += one.rows_in();
      for (I r : {one.rows_in(), one.rows_out()}) s.most = r > s.most ? r : s.most;
      q += 1 + both;
    }
    s.steps = all_steps - s.from;
    if (rows > held) held = rows;
    if (s.most > block) block = s.most;
    kept += s.in * blocks;
    for (I r : {s.in, s.out}) widest = r * blocks > widest ? r * blocks : widest;
  }

  // Factor q on block (i, l).
  Factor<T> local(const Segment& s, I q, I i, I l) const {
    Factor<T> g = f[q];
    g.a /= s.A;
    g.d /= s.D;
    g.v += i * g.a * g.vi + l * E;
    g.vl = s.D * E;
    return g;
  }
  Pair<T> pair(const Segment& s, I q, I next, I i, I l) const {
    Pair<T> p;
    const Factor<T> one = local(s, q, i, l);
    if (next - q == 1) {
      Pair<T>::of(one, nullptr, p);
    } else {
      const Factor<T> then = local(s, q + 1, i, l);
      Pair<T>::of(one, &then, p);
    }
    return p;
  }
  I after(const Segment& s, I k) const { return k + 1 < s.steps ? step[s.from + k + 1].q : s.last; }

  void gather(const Segment& s, I rows, Lines<const T> of, T* to, I i, I l) const {
    for (I p = 0; p < rows; ++p, to += E * C) {
      const T* in = of.p + ((i * rows + p) * s.D + l) * of.pitch;
      for (I k = 0; k < E * C; k += W) Lane<T>::store(to + k, Lane<T>::load(in + k));
    }
  }
  void scatter(const Segment& s, I rows, const T* of, Lines<T> to, I i, I l) const {
    for (I p = 0; p < rows; ++p, of += E * C) {
      T* out = to.p + ((i * rows + p) * s.D + l) * to.pitch;
      for (I k = 0; k < E * C; k += W) Lane<T>::store(out + k, Lane<T>::load(of + k));
    }
  }

  // What enters each of the first `steps` steps of a block, and the next: one after the other in `x`.
  // Returns where the last lies.
  T* ahead(const Segment& s, I steps, T* x, I i, I l) const {
    for (I k = 0; k < steps; ++k) {
      const Leg& now = step[s.from + k];
      T* y = x + f[now.q].rows_in() / (s.A * s.D) * E * C;
      if (now.pair) forward<T, Z>(pair(s, now.q, after(s, k), i, l), x, y, C);
      else forward<T, Z>(local(s, now.q, i, l), x, y, C);
      x = y;
    }
    return x;
  }

  // Back through a block: `last` is what entered its last step. Returns where the gradient lies.
  T* back(const Segment& s, const T* last, T* g, T* other, T* mine, I i, I l) const {
    const T* x = last;
    for (I k = s.steps; k-- > 0;) {
      const Leg& now = step[s.from + k];
      if (now.pair) {
        backward<T, Z>(pair(s, now.q, after(s, k), i, l), x, g, mine + now.sums + (i * s.D + l) * now.of_block, C);
      } else {
        const Factor<T> one = local(s, now.q, i, l);
        backward<T, Z>(one, x, g, other, mine + now.sums + (one.v - f[now.q].v), C);
        std::swap(g, other);
      }
      if (k) x -= f[step[s.from + k - 1].q].rows_in() / (s.A * s.D) * E * C;
    }
    return g;
  }

  template <class F>
  static void each_block(const Segment& s, const F& run) {
    for (I i = 0; i < s.A; ++i)
      for (I l = 0; l < s.D; ++l) run(i, l);
  }

  I scratch() const { return (kept + 2 * widest + held + 3 * block) * E * C; }

  void tile(I which, T* memory, T* mine) const {
    const I row = E * C, from = which * C, count = columns - from < C ? columns - from : C;
    T *full = memory, *one = full + kept * row, *two = one + widest * row, *x = two + widest * row;
    T *g = x + (held + block) * row, *other = g + block * row;
    const Mover<T, Z> take_x{*chain.x, from, count, C}, take_g{*chain.g, from, count, C},
        give{*chain.gx, from, count, C};
    Lines<const T> in[MOST_FACTORS];
    for (I k = 0; k < segments; ++k) {
      in[k] = {full, row};
      full += segment[k].in * segment[k].A * segment[k].D * row;
    }
    if (take_x.plain()) in[0] = {take_x.rows().p, take_x.rows().pitch};
    else take_x.take(const_cast<T*>(in[0].p));
    for (I k = 0; k + 1 < segments; ++k) {
      const Segment& s = segment[k];
      const Lines<T> to{const_cast<T*>(in[k + 1].p), row};
      each_block(s, [&](I i, I l) {
        gather(s, s.in, in[k], x, i, l);
        scatter(s, s.out, ahead(s, s.steps, x, i, l), to, i, l);
      });
    }
    Lines<const T> now{one, row};
    if (take_g.plain()) now = {take_g.rows().p, take_g.rows().pitch};
    else take_g.take(one);
    for (I k = segments; k-- > 0;) {
      const Segment& s = segment[k];
      const Lines<T> to = k == 0 && give.plain() ? give.rows() : Lines<T>{now.p == one ? two : one, row};
      each_block(s, [&](I i, I l) {
        gather(s, s.in, in[k], x, i, l);
        const T* last = ahead(s, s.steps - 1, x, i, l);
        gather(s, s.out, now, g, i, l);
        scatter(s, s.in, back(s, last, g, other, mine, i, l), to, i, l);
      });
      now = {to.p, to.pitch};
    }
    if (!give.plain()) give.give(now.p);
  }

  // The sums of a chunk into the order of the values.
  void unpack(const T* all, T* result) const {
    for (I k = 0; k < segments; ++k) {
      const Segment& s = segment[k];
      for (I n = 0; n < s.steps; ++n) {
        const Leg& now = step[s.from + n];
        const I next = after(s, n);
        if (!now.pair) {
          if (f[now.q].wanted) std::memcpy(result + places[now.q], all + now.sums, f[now.q].a * f[now.q].vi * sizeof(T));
          continue;
        }
        each_block(s, [&](I i, I l) {
          const T* of = all + now.sums + (i * s.D + l) * now.of_block;
          const Pair<T> p = pair(s, now.q, next, i, l);
          for (I gi = 0; gi < p.groups; ++gi)
            for (I gl = 0; gl < p.d; ++gl, of += SUMS * E) {
              unpack(p.f, f[now.q], places[now.q], of, p, p.bit, gi, gl, result);
              if (p.two) unpack(p.g, f[now.q + 1], places[now.q + 1], of + SUMS / 2, p, 1 - p.bit, gi, gl, result);
            }
        });
      }
    }
  }
  static void unpack(const Factor<T>& mine, const Factor<T>& whole, I place, const T* of, const Pair<T>& p,
                     int bit, I gi, I gl, T* result) {
    if (!mine.wanted) return;
    for (int k = 0; k < 2; ++k) {
      T* to = result + place + (mine.v - whole.v) + p.place(mine, bit, k, gi, gl);
      for (int r = 0; r < 2; ++r)
        for (int c = 0; c < 2; ++c, ++of) {
          to[r * mine.vr + c * mine.vs] = of[0];
          if (Z) to[r * mine.vr + c * mine.vs + 1] = mine.sign * of[SUMS];
        }
    }
  }

  bool run() const {
    double work = 0;
    for (I q = 0; q < chain.count; ++q)
      work += double(f[q].rows_out()) * double(f[q].ins) * double(columns) * double(E * E) * 3;
    const int team = team_for(work / 16);
    const bool alone = team <= 1 || chunks <= 1;
    thread_local Scratch store;
    T* all = static_cast<T*>(store.of((alone ? 2 : chunks) * (sums + W) * sizeof(T)));
    std::atomic<bool> good{all != nullptr};
    if (!all) return false;
    const auto chunk = [&](I which, T* mine) {
      thread_local Scratch memory;
      T* own = static_cast<T*>(memory.of(scratch() * sizeof(T)));
      if (!own) return good.store(false);
      clear(mine, sums);
      for (I t = tiles * which / chunks; t < tiles * (which + 1) / chunks; ++t) tile(t, own, mine);
      memory.rest();
    };
    if (alone) {
      clear(all, sums);
      for (I k = 0; k < chunks && good; ++k) {
        chunk(k, all + sums);
        add(all, all + sums, sums);
      }
    } else {
      share(chunks, team, [&](I from, I to) {
        for (I k = from; k < to; ++k) chunk(k, all + k * sums);
      });
      for (I i = 0; i < sums; ++i) all[i] += T(0);  // as they are added alone
      for (I k = 1; k < chunks; ++k) add(all, all + k * sums, sums);
    }
    unpack(all, static_cast<T*>(chain.sums->buf));
    store.rest();
    return good;
  }
};

template <class T, bool Z>
bool gradients(const Chain& chain) {
  return Gradients<T, Z>(chain).run();
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
  return good ? done : NO_MEMORY;
}
