// Best rank-one approximation of one block whose rows are contiguous, copied to cache (planar if
// complex). The direction is found by Gram steps v <- T^H T v in the type of the block; what is
// returned, and what is proven about it, is computed from the block in double precision.
//
// With u = T v, |v| = 1, rho = |u|^2, w = T^H u / |u|, rho' = |w|^2, tau = |T - u w^H / |u||^2:
// sigma_1^2 <= rho + |r|^2 / (rho - beta), |r|^2 = rho (rho' - rho) (Kato-Temple), whenever
// beta >= sigma_2^2 and beta < rho. So the best error^2 is at least
//     tau - (rho' - rho) beta / (rho - beta),
// where beta = tau will do (sigma_2^2 <= |T|^2 - sigma_1^2 <= tau). What a Gram step in another
// basis would change, |T - u u^H T| turned to the form T v v^H, is at most tau (rho' - rho) / rho'.
//
// A block without such a gap: its Gram matrix G is formed, and the direction found by Chebyshev
// polynomials of G. That nothing larger is there is proven by a Cholesky factorization: if that of
// mu I - G runs to its end, sigma_1^2 <= mu + its rounding (Rump, BIT 46, 2006, 433-452), and the
// best error^2 is at least |T|^2 - sigma_1^2. A block is accepted only if its tau is thus proven to
// be within NEAR of the best one.
#pragma once
#include <cmath>
#include <limits>

#include "split_products.h"

namespace {

// What is known about one block; squares. lower < 0: not proven. energy NaN: not finite.
struct Facts {
  double energy, tail, lower, turn;  // rho', tau, best error^2 at least, |u u^H T - T v v^H|^2 at most
};

constexpr double EXACT = 1e-13;  // of |T|^2: an error^2 so near the smallest one is the smallest
constexpr double NEAR = 3e-4;   // of an error^2: that much above the best one is accepted

// Memory of one thread for blocks (b, c): `copies` of them, and what is computed from one.
template <class S, int P>
struct Room {
  static constexpr I W = width<S>;  // a multiple of that of double
  const I b, columns, c, rows;      // c: columns and zeros, c and rows are multiples of W
  double *left, *right, *other;
  S *v, *w, *u, *gram, *turned, *copy;

  static I bytes(I b, I c, I copies) {
    const I rows = padded(b, W), wide = padded(c, W), most = std::max(rows, wide);
    return I(sizeof(double)) * P * (rows + 2 * wide) +
           I(sizeof(S)) * P * (2 * most + rows + P * rows * rows + (1 + copies) * rows * wide);
  }

  Room(void* at, I b_, I c_) : b(b_), columns(c_), c(padded(c_, W)), rows(padded(b_, W)) {
    const I most = std::max(rows, c);
    left = static_cast<double*>(at);
    right = left + P * rows;
    other = right + P * c;
    v = reinterpret_cast<S*>(other + P * c);
    w = v + P * most;
    u = w + P * most;
    gram = u + P * rows;
    turned = gram + P * P * rows * rows;
    copy = turned + P * rows * c;
  }
};

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
    Facts f{0, 0, -1, 0};
    if (iterate(energy)) f = halves();
    for (int round = 0; f.lower < 0 && round < 2; ++round) {
      form_gram();
      lead(energy, S(round == 0 ? NEAR / 16 : NEAR / 4096));
      f = halves();
      if (f.lower < 0) prove(f);
    }
    return f;
  }

  // The halves in double precision, and what their residuals prove.
  Facts halves() const {
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
    const double gain = gain_of(f.energy, f.tail, rho, P * (k.b + k.c));
    f.turn = f.tail * gain / f.energy;
    f.lower = f.tail < rho ? f.tail - gain * f.tail / (rho - f.tail) : -1;
    if (f.lower < (1 - NEAR) * f.tail - EXACT * (f.energy + f.tail)) f.lower = -1;
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

  // Gram steps until the last ones, in double precision, will be exact enough; false: no gap shows.
  bool iterate(S energy) const {
    const Products<S, S, P> s{k, m.rows, &feed};
    for (int step = 0; step < MOST_STEPS; ++step) {
      s.gram(m.v, m.u, m.w);
      const S rho = energy_of(m.u, P * m.rows), next2 = energy_of(m.w, P * m.c);
      std::swap_ranges(m.v, m.v + P * m.c, m.w);
      scale(m.v, P * m.c, 1 / std::sqrt(next2));
      const S next = next2 / rho, gain = std::max<S>(next - rho, 0);
      const S rest = std::max<S>(energy - next, 8 * S(UNIT) * energy), ratio = rest / next;
      if (gain * ratio * ratio <= S(1e-5) * (next - rest)) return true;
      if (rest >= next && step >= 2) return false;
    }
    return false;
  }

  // G = conj(T T^H) as a real symmetric matrix of order P * rows: [[Re, -Im], [Im, Re]] if complex.
  void form_gram() const {
    const I n = P * m.rows;
    turn(k, m.turned, m.rows);
    clear(m.gram, n * n);
    const S *re = m.turned, *im = m.turned + k.c * m.rows;
    for (I i = 0; i < k.b; ++i) {  // Re = re re^T + im im^T, Im = re im^T - im re^T
      S* to = m.gram + i * n;
      add_rows(k.row(i), P * k.c, re, to, m.rows);
      if (P == 1) continue;
      add_rows(k.row(i) + k.c, k.c, re, to + m.rows, m.rows);
      scale(to + m.rows, m.rows, S(-1));
      add_rows(k.row(i), k.c, im, to + m.rows, m.rows);
      std::copy(to, to + m.rows, to + m.rows * n + m.rows);
      for (I j = 0; j < m.rows; ++j) to[m.rows * n + j] = -to[m.rows + j];
    }
  }

  // u = the leading eigenvector of G, v = T^H u: in each round a Chebyshev polynomial that is small
  // on [0, rho], where rho <= sigma_1^2 is the Rayleigh quotient so far; `enough`: of the squared
  // error, what a round must gain for another one.
  void lead(S energy, S enough) const {
    const I n = P * m.rows;
    const Products<S, S, 1> g{{m.gram, n, n}, n};
    S rho = 0;
    for (int round = 0; round < ROUNDS; ++round) {
      scale(m.u, n, 1 / std::sqrt(energy_of(m.u, n)));
      g.backward(m.u, m.v);  // G is symmetric: no sums across lanes
      const S before = rho;
      rho = dot(m.u, m.v, n);
      if (round > 0 && rho - before <= enough * (energy - rho)) break;
      combine(m.v, 2 / rho, m.u, S(-1), m.v, n);
      for (int degree = 1; degree < DEGREE; ++degree) {
        g.backward(m.v, m.w);
        combine(m.w, 4 / rho, m.v, S(-2), m.w, n);
        combine(m.w, S(1), m.u, S(-1), m.u, n);
        std::swap_ranges(m.u, m.u + n, m.v);
      }
      std::copy(m.v, m.v + n, m.u);
    }
    const Products<S, S, P> s{k, m.rows, &feed};
    s.backward(m.u, m.v);
    scale(m.v, P * m.c, 1 / std::sqrt(energy_of(m.v, P * m.c)));
  }

  // Whether nothing larger is in G, which is lost.
  void prove(Facts& f) const {
    const double whole = f.energy + f.tail;
    // Rounding: of the sums of products in G, and of Cholesky (Rump, Corollary 2.4; two roundings more
    // for the product with a reciprocal, one for the shift).
    constexpr double U = 0.51 * std::numeric_limits<S>::epsilon();
    const double order = double(P * k.b), sums = 2 * sums_of(P * k.c);
    const double trace = order * (f.energy + NEAR * f.tail);  // of mu I - G at most
    const double rounding = U * (sums * whole + (order + 4) * trace) + EXACT * whole;
    const double mu = f.energy + NEAR * f.tail - rounding;
    if (mu > f.energy && definite(S(mu))) f.lower = whole - mu - rounding;
  }

  // Whether the Cholesky factorization of shift * I - G, row by row in place of G, runs to its end.
  bool definite(S shift) const {
    constexpr I W = width<S>, TILE = 4;
    const I n = P * m.rows;
    for (I i = 0; i < n; ++i) {
      S* row = m.gram + i * n;
      scale(row, n, S(-1));
      row[i] += shift;
      I l = i / W * W;
      for (; l + TILE * W <= n; l += TILE * W) eliminate<TILE>(i, l, n);
      for (; l < n; l += W) eliminate<1>(i, l, n);
      if (!(row[i] > 0)) return false;
      scale(row, n, 1 / std::sqrt(row[i]));
    }
    return true;
  }

  // Row i minus its products with the rows above: H vectors from column l on.
  template <int H>
  INLINE void eliminate(I i, I l, I n) const {
    constexpr I W = width<S>;
    Vec<S> acc[H], odd[H] = {};
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) acc[h] = Lane<S>::load(m.gram + i * n + l + h * W);
    for (I j = 0; j < i; j += 2) {
      const S *one = m.gram + j * n, *two = one + (j + 1 < i ? n : 0);
      const Vec<S> x = Lane<S>::splat(one[i]), y = Lane<S>::splat(j + 1 < i ? two[i] : S(0));
#pragma GCC unroll 4
      for (int h = 0; h < H; ++h) {
        acc[h] -= x * Lane<S>::load(one + l + h * W);
        odd[h] -= y * Lane<S>::load(two + l + h * W);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < H; ++h) Lane<S>::store(m.gram + i * n + l + h * W, acc[h] + odd[h]);
  }

  static constexpr int ROUNDS = 16, DEGREE = 8;
};

}  // namespace
