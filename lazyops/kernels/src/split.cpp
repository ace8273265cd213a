// Best rank-one approximations of all blocks of a split, each block read once.
// The blocks are a strided view (a, A, D, d, b, c) of the matrix or factor, the halves are views
// (a, A, D, d, b, 1) and (a, A, D, d, 1, c) of the new factors, in double precision.
#include <atomic>

#include "buffers.h"
#include "scratch.h"
#include "split_lanes.h"
#include "threads.h"

namespace {

constexpr int MIRRORED = 1;

struct View {
  char* p;
  I shape[6], stride[6];  // in bytes

  explicit View(const PyBuffer& b) : p(static_cast<char*>(b.buf)) {
    for (int i = 0; i < 6; ++i) shape[i] = b.shape[i], stride[i] = b.strides[i];
  }
  I grid() const { return shape[0] * shape[1] * shape[2] * shape[3]; }
  char* at(I i, I j, I k, I l) const {
    return p + i * stride[0] + j * stride[1] + k * stride[2] + l * stride[3];
  }
};

struct Split {
  View t, left, right, facts;
  bool mirrored;
  int exponent;
};

void write(const Split& g, const Facts& f, I i, I j, I k, I l) {
  char* to = g.facts.at(i, j, k, l);
  for (const double x : {f.energy, f.tail, f.lower, f.turn}) {
    *reinterpret_cast<double*>(to) = x;
    to += g.facts.stride[4];
  }
}

// Power of two that brings the largest number of the block to [1/2, 1); NONE: zeros, BAD: not finite
constexpr int NONE = 1 << 20, BAD = NONE + 1;
template <class S, int P>
int exponent_of(const Block<S, P>& k) {
  S most = 0;
  for (I j = 0; j < k.b; ++j)
    for (I l = 0; l < P * k.c; ++l) {
      const S x = std::abs(k.row(j)[l]);
      if (!(x <= std::numeric_limits<S>::max())) return BAD;
      most = std::max(most, x);
    }
  int e = 0;
  std::frexp(most, &e);
  return most == 0 ? NONE : e;
}

template <class S>
void times_power(S* x, I count, int e) {
  for (I l = 0; l < count; ++l) x[l] = std::ldexp(x[l], e);
}

// One block, scaled if its numbers are not of ordinary size.
template <class S, int P>
Facts block(Room<S, P>& m, S* copy, bool mirrored, Feed<S, P>& feed, int& e) {
  const Block<S, P> k{copy, m.b, m.c};
  const Products<S, S, P> p{k, m.rows};
  S energy = p.norms(m.u);
  constexpr S LOW = sizeof(S) == 4 ? S(1e-12) : S(1e-100), HIGH = 1 / LOW;
  e = 0;
  if (!(energy > LOW && energy < HIGH)) {
    e = exponent_of(k);
    if (e >= NONE) {
      clear(m.left, P * m.rows);
      clear(m.right, P * m.c);
      (mirrored ? m.right : m.left)[0] = 1;
      const double nothing = e == BAD ? std::numeric_limits<double>::quiet_NaN() : 0;
      e = 0;
      return Facts{nothing, nothing, nothing, nothing};
    }
    times_power(copy, k.b * P * k.c, -e);
    energy = p.norms(m.u);
  }
  return RankOne<S, P>{m, k, mirrored, feed}(energy);
}

// Strips of blocks that are neighbours along A; while one is worked on the next one is copied.
// GROUP row classes follow each other, so that the left half is written by whole lines.
template <class S, int P>
struct RowsPart {
  static constexpr I GROUP = 8;
  const Split& g;
  const I strip;
  double* const stage;  // (GROUP, strip, P, rows)
  Room<S, P> m;

  static I bytes(const Split& g, I strip) {
    return I(sizeof(double)) * stage_size(g, strip) + Room<S, P>::bytes(g.t.shape[4], g.t.shape[5], 2 * strip);
  }
  static I stage_size(const Split& g, I strip) {
    return GROUP * strip * P * padded(g.t.shape[4], width<S>);
  }

  RowsPart(const Split& g, I strip, void* memory)
      : g(g), strip(strip), stage(static_cast<double*>(memory)),
        m(stage + stage_size(g, strip), g.t.shape[4], g.t.shape[5]) {}

  static I strips(const Split& g, I strip) { return (g.t.shape[1] + strip - 1) / strip; }
  static I groups(const Split& g, I strip) {
    return g.t.shape[0] * g.t.shape[3] * ((g.t.shape[2] + GROUP - 1) / GROUP) * strips(g, strip);
  }

  struct At { I i, j, k, l, count, classes; };

  At at(I group) const {  // strips inside: neighbours in a row follow each other
    const View& t = g.t;
    const I n = strips(g, strip), some = (t.shape[2] + GROUP - 1) / GROUP;
    const I j = group % n * strip, k = group / n % some * GROUP, rest = group / n / some;
    return {rest / t.shape[3], j, k, rest % t.shape[3], std::min(strip, t.shape[1] - j),
            std::min(GROUP, t.shape[2] - k)};
  }

  Feed<S, P> feed(const At& a, I k, I next, int buffer) const {
    const View& t = g.t;
    return {t.at(a.i, a.j, a.k + k, a.l), t.at(a.i, a.j, a.k + next, a.l), t.stride[4], t.stride[1],
            a.count, m.b, t.shape[5], m.copy + buffer * strip * m.rows * P * m.c, m.rows, m.c, 0};
  }

  void operator()(I first, I last) {
    int buffer = 0;
    At a = at(first);
    Feed<S, P> now = feed(a, 0, 0, buffer);
    for (I group = first; group < last; ++group) {
      const At then = at(std::min(group + 1, last - 1));
      for (I k = 0; k < a.classes; ++k) {
        now.finish();
        buffer ^= 1;
        const bool end = k + 1 == a.classes;
        Feed<S, P> next = end ? feed(then, 0, then.classes > 1, buffer)
                              : feed(a, k + 1, std::min(k + 2, a.classes - 1), buffer);
        if (end && group + 1 == last) next.j = next.b;
        for (I s = 0; s < a.count; ++s) one(a, k, s, now.to + s * m.rows * P * m.c, next);
        now = next;
      }
      flush(a);
      a = then;
    }
  }

  void one(const At& a, I k, I s, S* copy, Feed<S, P>& next) {
    if (g.exponent) times_power(copy, m.b * P * m.c, -g.exponent);
    int e;
    const Facts f = block(m, copy, g.mirrored, next, e);
    const double by = std::ldexp(1.0, e);
    if (e) scale(g.mirrored ? m.left : m.right, P * (g.mirrored ? m.rows : m.c), by);
    std::copy(m.left, m.left + P * m.rows, stage + (k * strip + s) * P * m.rows);
    char* right = g.right.at(a.i, a.j + s, a.k + k, a.l);
    for (I l = 0; l < g.t.shape[5]; ++l)
      for (int p = 0; p < P; ++p)
        reinterpret_cast<double*>(right + l * g.right.stride[5])[p] = m.right[p * m.c + l];
    const double by2 = by * by;
    write(g, {f.energy * by2, f.tail * by2, f.lower < 0 ? -1 : f.lower * by2, f.turn * by2},
          a.i, a.j + s, a.k + k, a.l);
  }

  void flush(const At& a) {
    const I step = strip * P * m.rows;
    for (I s = 0; s < a.count; ++s)
      for (I j = 0; j < m.b; ++j) {
        char* to = g.left.at(a.i, a.j + s, a.k, a.l) + j * g.left.stride[4];
        const double* from = stage + s * P * m.rows + j;
        for (I k = 0; k < a.classes; ++k)
          for (int p = 0; p < P; ++p)
            reinterpret_cast<double*>(to + k * g.left.stride[2])[p] = from[k * step + p * m.rows];
      }
  }
};

// f(first, last, memory) over parts of the tasks, `ns` a number; whether there was memory
template <class F>
bool shared(const Split& g, I tasks, double each, I bytes, const F& f) {
  const double ns = each * double(g.t.grid()) * double(g.t.shape[4] * g.t.shape[5]);
  std::atomic<bool> good{true};
  share(tasks, team_for(ns), [&](I first, I last) {
    thread_local Scratch own;
    if (void* memory = own.of(size_t(bytes))) f(first, last, memory);
    else good = false;
    own.rest();
  });
  return good;
}

template <class S, int P>
bool by_rows(const Split& g) {
  const View& t = g.t;
  const I size = t.shape[5] * P * I(sizeof(S));
  const I strip = t.stride[1] == size ? std::max<I>(1, 1024 / size) : 1;
  return shared(g, RowsPart<S, P>::groups(g, strip), 0.3 * P, RowsPart<S, P>::bytes(g, strip),
                [&](I first, I last, void* m) { RowsPart<S, P>(g, strip, m)(first, last); });
}

// W blocks at a time, in the order of the grid.
template <int P>
void lanes_part(const Split& g, I first, I last, void* memory) {
  constexpr int W = width<double>;
  const View& t = g.t;
  const int row = g.mirrored ? 5 : 4, column = 9 - row;  // mirrored: the transposed blocks
  const View &one = g.mirrored ? g.right : g.left, &two = g.mirrored ? g.left : g.right;
  LaneBlocks<P> m(memory, t.shape[row], t.shape[column]);
  const I blocks = t.grid();
  I now[4], k = first * W;
  for (int axis = 3; axis >= 0; k /= t.shape[axis--]) now[axis] = k % t.shape[axis];
  for (I group = first; group < last; ++group) {
    I at[W][4];
    const char* from[W];
    bool together = P == 1;
    for (int n = 0; n < W; ++n) {
      std::copy(now, now + 4, at[n]);
      if (group * W + n + 1 < blocks)  // the last block fills the lanes behind it
        for (int axis = 3; ++now[axis] == t.shape[axis]; --axis) now[axis] = 0;
      from[n] = t.at(at[n][0], at[n][1], at[n][2], at[n][3]);
      together &= from[n] == from[0] + n * I(sizeof(double));
    }
    for (I j = 0; j < m.b; ++j)
      for (I l = 0; l < m.c; ++l) {
        const I off = j * t.stride[row] + l * t.stride[column];
        Vec<double>* to = m.t + (j * m.c + l) * P;
        if (together) to[0] = Lane<double>::load(reinterpret_cast<const double*>(from[0] + off));
        else
          for (int n = 0; n < W; ++n)
            for (int p = 0; p < P; ++p) to[p][n] = reinterpret_cast<const double*>(from[n] + off)[p];
      }
    Facts facts[W];
    m(facts);
    for (int n = 0; n < W && group * W + n < blocks; ++n) {
      const I* k = at[n];
      char *u = one.at(k[0], k[1], k[2], k[3]), *w = two.at(k[0], k[1], k[2], k[3]);
      for (I j = 0; j < m.b; ++j)
        for (int p = 0; p < P; ++p) reinterpret_cast<double*>(u + j * one.stride[row])[p] = m.u[j * P + p][n];
      for (I l = 0; l < m.c; ++l)
        for (int p = 0; p < P; ++p) reinterpret_cast<double*>(w + l * two.stride[column])[p] = m.w[l * P + p][n];
      write(g, facts[n], k[0], k[1], k[2], k[3]);
    }
  }
}

template <int P>
bool by_lanes(const Split& g) {
  const I b = g.t.shape[4], c = g.t.shape[5], W = width<double>;
  const I bytes = std::max(LaneBlocks<P>::bytes(b, c), LaneBlocks<P>::bytes(c, b));
  return shared(g, (g.t.grid() + W - 1) / W, 2.0 * P, bytes, [&](I first, I last, void* m) {
    lanes_part<P>(g, first, last, m);
  });
}

constexpr I SMALL = 1024;  // numbers of a block for which lanes are blocks

bool same_grid(const PyBuffer& x, const PyBuffer& t) {
  return x.ndim == 6 && std::equal(x.shape, x.shape + 4, t.shape);
}

bool whole_numbers(const PyBuffer& b, I part) {
  return std::all_of(b.strides, b.strides + b.ndim, [&](I s) { return s % part == 0; });
}

Outcome check(const PyBuffer& t, const PyBuffer& left, const PyBuffer& right, const PyBuffer& facts,
              Type& type) {
  Type one, two, three;
  if (!type_of(t, type) || !type_of(left, one) || !type_of(right, two) || !type_of(facts, three))
    return bad_dtype;
  const Type wide = type == Type::f32 || type == Type::f64 ? Type::f64 : Type::c128;
  if (one != wide || two != wide || three != Type::f64) return bad_dtype;
  if (!same_grid(t, t) || !same_grid(left, t) || !same_grid(right, t) || !same_grid(facts, t))
    return bad_sizes;
  const I b = t.shape[4], c = t.shape[5];
  if (b < 1 || c < 1 || left.shape[4] != b || left.shape[5] != 1 || right.shape[4] != 1 ||
      right.shape[5] != c || facts.shape[4] != 4 || facts.shape[5] != 1)
    return bad_sizes;
  const I part = type == Type::f32 || type == Type::c64 ? 4 : 8;
  const bool ordered = whole_numbers(t, part) && whole_numbers(left, 8) && whole_numbers(right, 8) &&
                       whole_numbers(facts, 8);
  return ordered ? done : bad_order;
}

int split(const PyBuffer& t, const PyBuffer& left, const PyBuffer& right, const PyBuffer& facts,
          int flags, int exponent) {
  Type type;
  const Outcome outcome = check(t, left, right, facts, type);
  if (outcome != done) return outcome;
  const Split g{View(t), View(left), View(right), View(facts), (flags & MIRRORED) != 0, exponent};
  if (g.t.grid() == 0) return done;
  const bool lanes = g.t.shape[4] * g.t.shape[5] <= SMALL && exponent == 0 &&
                     (type == Type::f64 || type == Type::c128);
  if (!lanes && t.strides[5] != t.itemsize && t.shape[5] != 1) return bad_order;
  bool good = false;
  void* state = save_thread();
  switch (type) {
    case Type::f32: good = by_rows<float, 1>(g); break;
    case Type::f64: good = lanes ? by_lanes<1>(g) : by_rows<double, 1>(g); break;
    case Type::c64: good = by_rows<float, 2>(g); break;
    case Type::c128: good = lanes ? by_lanes<2>(g) : by_rows<double, 2>(g); break;
  }
  restore_thread(state);
  return good ? done : 4;
}

}  // namespace

extern "C" int lazyops_split(void* t, void* left, void* right, void* facts, int flags, int exponent) {
  Held in(t, 0), one(left, WRITABLE), two(right, WRITABLE), out(facts, WRITABLE);
  if (!(in.held && one.held && two.held && out.held)) return failed;
  return split(in.b, one.b, two.b, out.b, flags, exponent);
}
