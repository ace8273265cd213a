// Runs of factors, one after the other: y = (run_n ... run_1) x. A run is a Kronecker-sparse
// factor whose blocks are small chains: a tile of W blocks (vector form) or of some blocks times
// some columns (batch form) is gathered, all factors of the run are applied in cache, and it is
// scattered. What runs is a program of integers made by kernels/program.py, which keeps alive
// every array that the program names; the arrays x and y are checked here.
//
// Every number is computed by the same operations in the same order whatever the number of
// threads: they share out tiles, never sums.
#include <cstdlib>

#include "buffers.h"
#include "move.h"
#include "scratch.h"
#include "stages.h"
#include "threads.h"
#include "wide.h"

namespace {

struct Run {
  I lanes, rows, group;  // blocks; rows of the largest tile; blocks side by side at most (batch)
  Side in, out;
  const char* values;
  I tile_bytes;  // of the values of one tile (vector: W blocks, batch: one)
  I period;      // tiles of values; then they start again
  I steps_at, steps, conj, far;  // far: values from memory
  I wide;  // batch: how much of wide.h does (flags)
  I spare;  // real numbers of decoded values that a step needs at a time
};
enum : I { WIDE = 1, DIRECT_IN = 2, DIRECT_OUT = 4 };

struct Header {
  I rows, columns, type, batch, turned, runs, work, mid;  // work: multiplications for one column
};

struct Program {
  Header head;
  Run runs[1];  // head.runs of them, then the steps
};

thread_local Scratch between, tiles;

// ---- one tile ------------------------------------------------------------------------------

constexpr I VECTOR_TILE = 64 << 10, L1_TILE = 16 << 10, BATCH_TILE = 512 << 10;  // bytes
constexpr I VECTOR_UNITS = 16, BATCH_UNITS = 16;

inline I within(I low, I n, I high) { return n < low ? low : n > high ? high : n; }

// How a run is cut into tiles for k columns: units of columns, blocks side by side.
struct Cut {
  I units, blocks;
  size_t scratch;  // real numbers
};

template <class T, int P>
Cut cut_of(const Run& r, I k, const Header& h) {
  constexpr I W = width<T>, E = P * W, S = sizeof(T);
  if (!h.batch) {
    const I units = within(1, VECTOR_TILE / (r.rows * E * S), k < VECTOR_UNITS ? k : VECTOR_UNITS);
    return {units, 1, size_t(2 * r.rows * units * E + r.spare)};
  }
  // an array in Fortran order is turned in squares over so many blocks
  const I least = h.turned && (r.in.mode == LANES || r.out.mode == LANES) ? r.group : 1;
  // what is applied factor by factor is to stay in L1
  const I all = (k + W - 1) / W, tile = (r.wide ? BATCH_TILE : L1_TILE) / (r.rows * E * S);
  const I units = within(1, tile / least, all < BATCH_UNITS ? all : BATCH_UNITS);
  const I blocks = within(least, tile / units, r.group);
  const I spare = r.wide && r.spare ? r.steps * ROOM * P : r.spare;
  return {units, blocks, size_t((blocks + 1) * (padded(r.rows) + 1) * units * E + spare)};
}

template <class T, int P>
void vector_tile(const Run& r, const Step* steps, I tile, Grid<const T> x, Grid<T> y, I k,
                 const Cut& cut, T* w) {
  using M = Tile<T, P>;
  constexpr int W = width<T>;
  const char* v = r.values + tile % r.period * r.tile_bytes;
  const I l0 = tile * W, n = r.lanes - l0 < W ? r.lanes - l0 : W;
  for (I u = 0; u < k; u += cut.units) {
    const I units = k - u < cut.units ? k - u : cut.units;
    const Shape z{units, units * M::E, r.far != 0};
    M::gather(r.in, x, l0, n, u, units, w, r.conj);
    T* other = w + r.rows * z.row;
    const T* done = apply<T, P, false>(steps, r.steps, v, tile, w, other, other + r.rows * z.row, z);
    M::scatter(r.out, y, l0, n, u, units, done, r.conj);
  }
}

// Radix-2 factors only: see wide.h.
template <class T, int P>
void wide_tile(const Run& r, const Step* steps, const typename Tile<T, P>::Batch& z,
               Grid<const T> x, Grid<T> y, bool past, T* w) {
  using M = Tile<T, P>;
  const bool whole = z.count % width<T> == 0;
  const bool in = whole && (r.wide & DIRECT_IN) && x.column == P,
             out = whole && (r.wide & DIRECT_OUT) && y.column == P;
  if (!in) M::gather_columns(r.in, x, z, w);
  Wide<T, P> g;
  g.steps = steps;
  g.count = r.steps;
  g.values = r.values;
  g.tile_bytes = r.tile_bytes;
  g.period = r.period;
  g.first = z.l0 % r.period;
  g.blocks = z.n;
  g.units = z.units;
  g.x = in ? x.p + r.in.lane[z.l0] * x.step + z.c0 * P : nullptr;
  g.in_row = r.in.row;
  g.in_lane = r.in.lane + z.l0;
  g.in_step = x.step;
  g.y = out ? y.p + r.out.lane[z.l0] * y.step + z.c0 * P : nullptr;
  g.out_row = r.out.row;
  g.out_lane = r.out.lane + z.l0;
  g.out_step = y.step;
  g.tile = w;
  g.row = z.units * M::E;
  g.block = z.block;
  g.direct_in = in;
  g.direct_out = out;
  g.past = past && out && at_vector(g.y, y.step);
  g.conj = z.conj;
  Span spans[MANY_STEPS];
  g.decoded = w + (z.n + 1) * z.block;
  g.spans = spans;
  g.run();
  if (!out) M::scatter_columns(r.out, y, z, w, past);
}

// The last factor of a run, written to y itself; meanwhile the rows of the next block are asked for.
template <class T, int P>
void last_factor(const Run& r, const Step& t, const Values<T, P, true>& v, I l,
                 const typename Tile<T, P>::Batch& z, Grid<const T> x, Grid<T> y, bool past,
                 const T* w, T* decoded, const Shape& s) {
  using M = Tile<T, P>;
  const I* row = r.out.row;
  T* to = y.p + r.out.lane[l] * y.step + z.c0 * P;
  const bool more = l + 1 < r.lanes && !r.in.index && x.column == P;
  const T* next = more ? x.p + r.in.lane[l + 1] * x.step + z.c0 * P : nullptr;
  const I lines = z.units * M::E * I(sizeof(T)) / 64;
  const auto ask = [&](I from, I count) {
    if (next)
      for (I k = from; k < from + count && k < r.in.rows; ++k)
        for (I q = 0; q < lines; ++q)
          __builtin_prefetch(reinterpret_cast<const char*>(next + r.in.row[k] * x.step) + 64 * q);
  };
  if (past && at_vector(to, y.step))
    factor_to<T, P, true>(t, v, w, s, decoded, [&](I k, I u, const Num<T, P>& n) {
      M::template pairs<true>(to + row[k] * y.step + u * M::E, n, z.conj);
    }, ask);
  else
    factor_to<T, P, true>(t, v, w, s, decoded, [&](I k, I u, const Num<T, P>& n) {
      M::pairs(to + row[k] * y.step + u * M::E, n, z.conj);
    }, ask);
}

template <class T, int P>
void batch_tile(const Run& r, const Step* steps, typename Tile<T, P>::Batch z, Grid<const T> x,
                Grid<T> y, bool past, T* w) {
  using M = Tile<T, P>;
  if (z.pad) return wide_tile<T, P>(r, steps, z, x, y, past, w);
  const Shape s{z.units, z.units * M::E, false};
  M::gather_columns(r.in, x, z, w);
  const Step& end = steps[r.steps - 1];
  const bool direct = end.op == Op::factor && !r.out.index && y.column == P && z.count % width<T> == 0;
  T *spare = w + z.n * z.block, *decoded = spare + r.rows * s.row, *first = w;
  for (I b = 0; b < z.n; ++b) {
    const char* v = r.values + (z.l0 + b) % r.period * r.tile_bytes;
    T* mine = w + b * z.block;
    T* done = apply<T, P, true>(steps, r.steps - direct, v, z.l0 + b, mine, spare, decoded, s);
    if (direct) last_factor<T, P>(r, end, values_of<T, P, true>(v, end), z.l0 + b, z, x, y, past, done, decoded, s);
    else if (z.n == 1) first = done;
    else if (done != mine) std::memcpy(mine, done, r.out.rows * s.row * sizeof(T));
  }
  if (!direct) M::scatter_columns(r.out, y, z, first, past);
}

// Columns c0 .. c0 + count of blocks l0 .. l0 + n: whole vectors first, what is left over apart.
template <class T, int P>
void batch_tiles(const Run& r, const Step* steps, I l0, I n, I c0, I count, Grid<const T> x,
                 Grid<T> y, bool past, T* w) {
  constexpr I W = width<T>, E = P * W;
  const bool pad = r.wide & WIDE;
  const auto one = [&](I from, I columns) {
    const I units = (columns + W - 1) / W, rows = pad ? padded(r.rows) + 1 : r.rows;
    batch_tile<T, P>(r, steps, {l0, n, from, columns, units, rows * units * E, pad, r.conj != 0}, x,
                     y, past, w);
  };
  const I whole = pad ? count / W * W : count;
  if (whole) one(c0, whole);
  if (whole < count) one(c0 + whole, count - whole);
}

// ---- a product -----------------------------------------------------------------------------

// Rough time on one core: what decides whether a team pays.
template <class T, int P>
double nanoseconds(const Header& h, I k) {
  const double rate = (h.batch ? 40 : 16) * 4.0 / sizeof(T) * P;  // multiplications a ns
  return double(h.work) * double(k) / rate;
}

// Bytes of a result, or of an intermediate one, that no cache holds until it is read.
constexpr size_t PAST = 6 << 20;

// Bytes of the intermediate results of a panel of columns that one thread takes through all runs.
constexpr size_t PANEL = 4 << 20;

template <class T, int P>
struct Execution {
  static constexpr I W = width<T>, E = P * W;
  const Header& h;
  const Run* runs;
  const Step* all;
  Grid<const T> x;
  Grid<T> y;
  I k;
  int team;
  std::atomic<bool> bad{false};

  Execution(const Program& g, Grid<const T> x, Grid<T> y, I k)
      : h(g.head), runs(g.runs), all(reinterpret_cast<const Step*>(g.runs + h.runs)), x(x), y(y),
        k(k), team(team_for(nanoseconds<T, P>(h, k))) {}

  T* tile_memory(size_t numbers) {
    T* w = static_cast<T*>(tiles.of(numbers * sizeof(T)));
    if (!w) bad.store(true, std::memory_order_relaxed);
    return w;
  }

  bool run() {
    if (!h.batch) return vector();
    if (h.runs > 1) {
      const size_t column = size_t(h.mid) * P * sizeof(T);
      I width_of = I(PANEL / column) / W * W;
      const I share_of = (k / (2 * team) + W - 1) / W * W;
      if (width_of > share_of) width_of = share_of;
      const I least = h.turned ? W : 2 * W;  // columns far apart: the fewer at once the better
      if (width_of >= least && k >= least * team) return by_panels(width_of);
    }
    // so many columns at a time that the intermediate results fit memory that is kept
    const I column = (h.runs > 2 ? 2 : 1) * h.mid * P * sizeof(T);
    const I most = h.runs > 1 ? within(2 * W, I(Scratch::KEEP) / column / W * W, k) : k;
    for (I c = 0; c < k; c += most)
      if (!by_runs(c, k - c < most ? k - c : most)) return false;
    return true;
  }

  // One vector, or a few: lanes are blocks.
  bool vector() {
    // columns a power of two apart would fall into one set of a cache
    const I column = h.mid * P + 4 * E;
    const size_t half = size_t(column) * k;
    T* mid = nullptr;
    if (h.runs > 1 && !(mid = static_cast<T*>(between.of((h.runs > 2 ? 2 : 1) * half * sizeof(T))))) return false;
    for (I q = 0; q < h.runs; ++q) {
      const Run& r = runs[q];
      const Grid<const T> in = q == 0 ? x : Grid<const T>{mid + ((q - 1) & 1) * half, P, column};
      const Grid<T> out = q + 1 == h.runs ? y : Grid<T>{mid + (q & 1) * half, P, column};
      const Cut cut = cut_of<T, P>(r, k, h);
      share((r.lanes + W - 1) / W, team, [&](I from, I to) {
        T* w = tile_memory(cut.scratch);
        for (I t = from; w && t < to; ++t)
          vector_tile<T, P>(r, all + r.steps_at, t, in, out, k, cut, w);
        tiles.rest();
      });
    }
    between.rest();
    return !bad;
  }

  // Columns c0 .. c0 + count through the tiles from .. to of a run.
  void tiles_of(const Run& r, const Cut& cut, I from, I to, I c0, I count, Grid<const T> in,
                Grid<T> out, bool past, T* w) {
    const I groups = (r.lanes + cut.blocks - 1) / cut.blocks, panel = cut.units * W;
    for (I t = from; t < to; ++t) {
      const I l0 = t % groups * cut.blocks, c = t / groups * panel;
      const I n = r.lanes - l0 < cut.blocks ? r.lanes - l0 : cut.blocks;
      const I columns = count - c < panel ? count - c : panel;
      batch_tiles<T, P>(r, all + r.steps_at, l0, n, c0 + c, columns, in, out, past, w);
    }
  }

  static I tile_count(const Run& r, const Cut& cut, I columns) {
    const I panel = cut.units * W;
    return (r.lanes + cut.blocks - 1) / cut.blocks * ((columns + panel - 1) / panel);
  }

  // Each thread takes a panel of columns through all runs: no line crosses from core to core, and
  // the intermediate results stay in its cache.
  bool by_panels(I width_of) {
    const size_t half = size_t(h.mid) * width_of * P;
    const bool past = size_t(h.rows) * k * P * sizeof(T) > PAST;
    size_t most = 0;
    for (I q = 0; q < h.runs; ++q) {
      const size_t need = cut_of<T, P>(runs[q], width_of, h).scratch;
      if (need > most) most = need;
    }
    share((k + width_of - 1) / width_of, team, [&](I from, I to) {
      T* mid = static_cast<T*>(between.of(2 * half * sizeof(T)));
      T* w = mid ? tile_memory(most) : nullptr;
      if (!w) return bad.store(true, std::memory_order_relaxed);
      for (I panel = from; panel < to; ++panel) {
        const I c0 = panel * width_of, count = k - c0 < width_of ? k - c0 : width_of;
        for (I q = 0; q < h.runs; ++q) {
          const Run& r = runs[q];
          const bool last = q + 1 == h.runs;
          // an intermediate panel holds its own columns only
          Grid<const T> in = q == 0 ? x : Grid<const T>{mid + ((q - 1) & 1) * half, width_of * P, P};
          Grid<T> out = last ? y : Grid<T>{mid + (q & 1) * half, width_of * P, P};
          if (q == 0) in.p += c0 * in.column;
          if (last) out.p += c0 * out.column;
          const Cut cut = cut_of<T, P>(r, width_of, h);
          tiles_of(r, cut, 0, tile_count(r, cut, count), 0, count, in, out, last && past, w);
        }
      }
      if (past) fence();
      between.rest();
      tiles.rest();
    });
    return !bad;
  }

  // Columns c0 .. c0 + count through one run after the other.
  bool by_runs(I c0, I count) {
    const I row = (count + W - 1) / W * E;  // of an intermediate result
    const size_t half = size_t(h.mid) * row, bytes = half * sizeof(T);
    T* mid = nullptr;
    if (h.runs > 1 && !(mid = static_cast<T*>(between.of((h.runs > 2 ? 2 : 1) * bytes)))) return false;
    for (I q = 0; q < h.runs; ++q) {
      const Run& r = runs[q];
      const bool last = q + 1 == h.runs;
      Grid<const T> in = q == 0 ? x : Grid<const T>{mid + ((q - 1) & 1) * half, row, P};
      Grid<T> out = last ? y : Grid<T>{mid + (q & 1) * half, row, P};
      if (q == 0) in.p += c0 * in.column;
      if (last) out.p += c0 * out.column;
      const bool past = (last ? size_t(h.rows) * k * P * sizeof(T) : bytes) > PAST;
      const Cut cut = cut_of<T, P>(r, count, h);
      share(tile_count(r, cut, count), team, [&](I from, I to) {
        T* w = tile_memory(cut.scratch);
        if (w) tiles_of(r, cut, from, to, 0, count, in, out, past, w);
        if (past) fence();
        tiles.rest();
      });
    }
    between.rest();
    return !bad;
  }
};

enum { no_memory = 4 };

template <class T, int P>
int product(const Program& g, const PyBuffer& x, const PyBuffer& y, I k, I parts) {
  constexpr I S = sizeof(T);
  // parts = 2: complex x in a real chain, k columns of pairs
  const Grid<const T> in{static_cast<const T*>(x.buf), x.strides[0] / S, parts == 2 ? 1 : x.strides[1] / S};
  const Grid<T> out{static_cast<T*>(y.buf), y.strides[0] / S, parts == 2 ? 1 : y.strides[1] / S};
  return Execution<T, P>(g, in, out, k * parts).run() ? done : int(no_memory);
}

// Numbers side by side: a complex column may be taken as two real ones.
inline bool side_by_side(const PyBuffer& b) {
  return b.shape[1] == 1 || b.strides[1] == b.itemsize;
}

inline bool whole_strides(const PyBuffer& b, I part) {
  return b.strides[0] % part == 0 && b.strides[1] % part == 0;
}

int chain(const Program& g, const PyBuffer& x, const PyBuffer& y) {
  Type tx, ty;
  if (!type_of(x, tx) || !type_of(y, ty) || tx != ty) return bad_dtype;
  if (x.ndim != 2 || y.ndim != 2 || x.shape[0] != g.head.columns || y.shape[0] != g.head.rows ||
      x.shape[1] != y.shape[1])
    return bad_sizes;
  const Type type = Type(g.head.type);
  const bool twice = tx != type;
  if (twice && !((type == Type::f32 && tx == Type::c64) || (type == Type::f64 && tx == Type::c128)))
    return bad_dtype;
  if (twice && !(side_by_side(x) && side_by_side(y))) return bad_order;
  const I part = type == Type::f32 || type == Type::c64 ? 4 : 8;
  if (!whole_strides(x, part) || !whole_strides(y, part)) return bad_order;
  const I k = x.shape[1];
  if (k == 0) return done;
  const bool release = double(g.head.work) * double(k) > LONG;
  void* state = release ? save_thread() : nullptr;
  int outcome = failed;
  switch (type) {
    case Type::f32: outcome = product<float, 1>(g, x, y, k, 1 + twice); break;
    case Type::f64: outcome = product<double, 1>(g, x, y, k, 1 + twice); break;
    case Type::c64: outcome = product<float, 2>(g, x, y, k, 1); break;
    case Type::c128: outcome = product<double, 2>(g, x, y, k, 1); break;
  }
  if (release) restore_thread(state);
  return outcome;
}

}  // namespace

extern "C" {

int lazyops_chain(const void* program, void* x, void* y) {
  Held in(x, 0), out(y, WRITABLE);
  if (!(in.held && out.held)) return failed;
  return chain(*static_cast<const Program*>(program), in.b, out.b);
}

int lazyops_vector_bytes() { return BYTES; }
}
