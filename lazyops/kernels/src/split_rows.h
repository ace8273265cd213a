// Best rank-one approximation of one block whose rows are contiguous, copied to cache (planar if
// complex). The direction is found by Gram steps v <- T^H T v in the type of the block; what is
// returned, and what is proven about it, is computed from the block in double precision.
//
// With u = T v, |v| = 1, rho = |u|^2, w = T^H u / |u|, rho' = |w|^2, tau = |T - u w^H / |u||^2:
// sigma_1^2 <= rho + |r|^2 / (rho - beta), |r|^2 = rho (rho' - rho) (Kato-Temple), whenever
// beta >= sigma_2^2 and beta < rho. So the best error^2 is at least
//     tau - (rho' - rho) beta / (rho - beta),
// where beta = tau will do (sigma_2^2 <= |T|^2 - sigma_1^2 <= tau). Where no beta is small enough,
// sigma_1^2 is bounded by traces of T T^H and of its powers. What a Gram step in another basis
// would change, |T - u u^H T| turned to the form T v v^H, is at most tau (rho' - rho) / rho'.
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
constexpr int FEW = 16;          // rows or columns up to which nothing less is accepted
constexpr double ENOUGH = 0.8;   // proven part of the squared error that is good enough
constexpr double GAIN = 3e-4;   // of the squared error: a step that gains less is the last

// Memory of one thread for blocks (b, c): `copies` of them, and what is computed from one.
template <class S, int P>
struct Room {
  static constexpr I W = width<S>;  // a multiple of that of double
  const I b, columns, c, rows;      // c: columns and zeros, c and rows are multiples of W
  double *left, *right, *other;
  S *v, *w, *u, *power[2], *copy;

  static I bytes(I b, I c, I copies) {
    const I rows = padded(b, W), wide = padded(c, W), most = std::max(rows, wide);
    return I(sizeof(double)) * P * (rows + 2 * wide) +
           I(sizeof(S)) * P * (2 * most + rows + 2 * rows * rows + copies * rows * wide);
  }

  Room(void* at, I b_, I c_) : b(b_), columns(c_), c(padded(c_, W)), rows(padded(b_, W)) {
    const I most = std::max(rows, c);
    left = static_cast<double*>(at);
    right = left + P * rows;
    other = right + P * c;
    v = reinterpret_cast<S*>(other + P * c);
    w = v + P * most;
    u = w + P * most;
    power[0] = u + P * rows;
    power[1] = power[0] + P * rows * rows;
    copy = power[1] + P * rows * rows;
  }
};

// The largest of n eigenvalues is at most this, by trace and Frobenius norm (Wolkowicz and Styan,
// Linear Algebra Appl. 29, 1980, 471-506); the trace is known to a relative `rounding`.
inline double largest_eigenvalue(double trace, double norm, double n, double rounding) {
  const double least = (1 - rounding) * trace / n;
  return (1 + rounding) * trace / n + std::sqrt((n - 1) * std::max(norm * norm / n - least * least, 0.0));
}

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
    iterate(energy);
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
    prove(f, rho);
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

  // Gram steps until the last ones, in double precision, will be exact enough; or no more is gained.
  void iterate(S energy) const {
    const Products<S, S, P> s{k, m.rows, &feed};
    for (int step = 0; step < MOST_STEPS; ++step) {
      s.gram(m.v, m.u, m.w);
      const S rho = energy_of(m.u, P * m.rows), next2 = energy_of(m.w, P * m.c);
      std::swap_ranges(m.v, m.v + P * m.c, m.w);
      scale(m.v, P * m.c, 1 / std::sqrt(next2));
      const S next = next2 / rho, gain = std::max<S>(next - rho, 0);
      const S rest = std::max<S>(energy - next, 8 * S(UNIT) * energy), ratio = rest / next;
      if (gain * ratio * ratio <= S(1e-5) * (next - rest) || gain <= S(GAIN) * rest) return;
    }
  }

  void prove(Facts& f, double rho) const {
    const double n = double(std::min(k.b, m.columns)), whole = f.energy + f.tail;
    const double gain = gain_of(f.energy, f.tail, rho, P * (k.b + k.c));
    const double enough = n <= FEW ? f.tail - EXACT * whole : ENOUGH * f.tail;
    const auto by_gap = [&](double beta) {
      return beta < rho ? f.tail - gain * beta / (rho - beta) : -1.0;
    };
    f.turn = f.tail * gain / f.energy;
    f.lower = by_gap(f.tail);
    if (f.lower >= enough) return;
    const double rounding = UNIT * double(k.c + k.b + 8);
    double norm[LEVELS], most = 0;
    for (I j = 0; j < k.b; j += PANEL) {  // sigma_1^2 of a stack is at most the sum of its parts'
      const Block<S, P> part{k.row(j), std::min(PANEL, k.b - j), k.c};
      double trace;
      const double norm = outer(part, m.power[0], rounding, trace);
      most += largest_eigenvalue(trace, norm, double(part.b), rounding);
    }
    f.lower = std::max(f.lower, whole - most);
    if (f.lower >= enough) return;
    double trace;
    norm[0] = outer(k, m.power[0], rounding, trace);
    f.lower = std::max({f.lower, whole - largest_eigenvalue(trace, norm[0], n, rounding),
                        by_gap(std::sqrt(std::max(norm[0] * norm[0] - f.energy * f.energy, 0.0)))});
    for (int level = 1; level < LEVELS && f.lower < enough; ++level) {
      const Block<S, P> last{m.power[(level - 1) & 1], k.b, m.rows};
      scale(m.power[(level - 1) & 1], P * k.b * m.rows, S(1 / norm[level - 1]));
      norm[level] = outer(last, m.power[level & 1], rounding, trace);
      double s = 1 + 4 * UNIT;
      for (int i = level; i > 0; --i) s = std::sqrt(norm[i] * s) + 2 * UNIT;
      f.lower = std::max(f.lower, whole - norm[0] * s);
    }
    if (f.lower < enough) f.lower = -1;
  }

  static constexpr int LEVELS = 6;
  static constexpr I PANEL = 16;

  // to = conj(X X^H) of b rows X; its trace, and its Frobenius norm with all rounding errors.
  double outer(const Block<S, P>& x, S* to, double rounding, double& trace) const {
    const Products<S, S, P> p{x, m.rows};
    double total = 0;
    trace = 0;
    for (I i = 0; i < x.b; ++i, to += P * m.rows) {
      std::copy(x.row(i), x.row(i) + P * x.c, m.v);
      if (P == 2) scale(m.v + x.c, x.c, S(-1));
      p.forward(m.v, to);
      total += double(energy_of(to, padded(x.b, width<S>)));
      if (P == 2) total += double(energy_of(to + m.rows, padded(x.b, width<S>)));
      trace += double(to[i]);
    }
    return std::sqrt(total) * (1 + rounding) + 2 * rounding * trace;
  }
};

}  // namespace
