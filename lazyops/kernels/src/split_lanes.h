// Best rank-one approximations of many small blocks at once, one block in each lane, in double
// precision. The same steps as in split_rows.h, and the same proof where there is a gap. Where the
// steps do not settle, the Gram matrix G is squared again and again: with g_k = G^(2^k) of trace 1,
// lambda_1(g_k)^2 <= |g_k|^2 lambda_1(g_(k+1)), so that the norms bound sigma_1^2 as closely as
// rounding allows, and a row of the last power is its vector. What is accepted is the best
// approximation up to rounding (EXACT); blocks whose numbers are too small to be squared are left
// to the caller (lower < 0).
#pragma once
#include "split_rows.h"

namespace {

template <int P>
struct LaneBlocks {
  typedef Vec<double> V;
  static constexpr int W = width<double>, MOST_STEPS = 12, LEVELS = 44;
  static constexpr double UNIT = std::numeric_limits<double>::epsilon() * P;
  const I b, c;
  const I n;  // order of the smaller Gram matrix
  V *const t, *const u, *const v, *const w, *const power;  // (b, c), b, c, c, 2 (n, n) of P vectors

  static I bytes(I b, I c) {
    const I n = std::min(b, c);
    return I(sizeof(V)) * P * (b * c + std::max(b, c) + 2 * c + 2 * n * n);
  }

  LaneBlocks(void* at, I b, I c)
      : b(b), c(c), n(std::min(b, c)), t(static_cast<V*>(at)), u(t + P * b * c),
        v(u + P * std::max(b, c)), w(v + P * c), power(w + P * c) {}

  static V squares(const V* x, I count) {
    V s = {};
    for (I l = 0; l < P * count; ++l) s += x[l] * x[l];
    return s;
  }
  static V root(V x) {
    for (int j = 0; j < W; ++j) x[j] = std::sqrt(x[j]);
    return x;
  }
  static V most(V x, V y) { return x > y ? x : y; }
  static void times(V* x, I count, V by) {
    for (I l = 0; l < P * count; ++l) x[l] *= by;
  }

  // u = T v, w = T^H u
  void gram() const {
    for (I l = 0; l < P * c; ++l) w[l] = V{};
    for (I j = 0; j < b; ++j) {
      const V* row = t + j * c * P;
      V re = {}, im = {};
      for (I l = 0; l < c; ++l) {
        re += row[P * l] * v[P * l];
        if (P == 2) {
          re -= row[2 * l + 1] * v[2 * l + 1];
          im += row[2 * l] * v[2 * l + 1];
          im += row[2 * l + 1] * v[2 * l];
        }
      }
      u[P * j] = re;
      if (P == 2) u[2 * j + 1] = im;
      for (I l = 0; l < c; ++l) {
        w[P * l] += row[P * l] * re;
        if (P == 2) {
          w[2 * l] += row[2 * l + 1] * im;
          w[2 * l + 1] += row[2 * l] * im;
          w[2 * l + 1] -= row[2 * l + 1] * re;
        }
      }
    }
  }

  // v = the largest row, conjugated, of norm 1; returns |T|^2
  V start() const {
    const V one = Lane<double>::splat(1);
    V energy = {}, top = -one;
    for (I j = 0; j < b; ++j) {
      const V e = squares(t + j * c * P, c);
      energy += e;
      const auto more = e > top;
      top = more ? e : top;
      for (I l = 0; l < P * c; ++l) v[l] = more ? (P == 2 && (l & 1) ? -t[j * c * P + l] : t[j * c * P + l]) : v[l];
    }
    times(v, c, one / root(top > V{} ? top : one));
    return energy;
  }

  // One Gram step; whether all lanes are settled.
  bool step(V energy) const {
    const V one = Lane<double>::splat(1);
    gram();
    const V rho = squares(u, b), next2 = squares(w, c);
    const V next = next2 / (rho > V{} ? rho : one);
    for (I l = 0; l < P * c; ++l) v[l] = w[l];
    times(v, c, one / root(next2 > V{} ? next2 : one));
    const V gain = most(next - rho, V{}), rest = most(energy - next, energy * (8 * UNIT));
    bool settled = true;
    for (int j = 0; j < W; ++j) {
      const double ratio = rest[j] / next[j];
      const double excess = gain[j] * ratio * ratio * rest[j];  // over next - rest: after one more
      settled &= excess <= 0.1 * EXACT * energy[j] * (next[j] - rest[j]) ||
                 !(gain[j] > 2 * UNIT * energy[j]);
    }
    return settled;
  }

  // |T - u w^T|^2
  V tail() const {
    V s = {};
    for (I j = 0; j < b; ++j)
      for (I l = 0; l < c; ++l) {
        const V* x = t + (j * c + l) * P;
        V e = x[0] - u[P * j] * w[P * l];
        if (P == 2) {
          e += u[2 * j + 1] * w[2 * l + 1];
          const V f = x[P - 1] - u[2 * j] * w[2 * l + 1] - u[2 * j + 1] * w[2 * l];
          s += f * f;
        }
        s += e * e;
      }
    return s;
  }

  // sum of x[l along] conj(y[l along])
  static void product(const V* x, const V* y, I count, I along, V& re, V& im) {
    re = im = V{};
    for (I l = 0; l < count; ++l, x += along, y += along) {
      re += x[0] * y[0];
      if (P == 2) {
        re += x[P - 1] * y[P - 1];
        im += x[P - 1] * y[0];
        im -= x[0] * y[P - 1];
      }
    }
  }

  // g (n, n) = the products of the rows (or columns) of x, times `by`; returns its trace
  V products(const V* x, I count, I own, I along, V by, V* g) const {
    V trace = {};
    for (I i = 0; i < n; ++i)
      for (I j = i; j < n; ++j) {
        V re, im;
        product(x + i * own, x + j * own, count, along, re, im);
        V *one = g + (i * n + j) * P, *two = g + (j * n + i) * P;
        one[0] = two[0] = re * by;
        if (P == 2) one[P - 1] = im * by, two[P - 1] = -im * by;
        if (i == j) trace += one[0];
      }
    return trace;
  }

  // v = the direction that the powers of the smaller Gram matrix show; returns what
  // sigma_1^2 / energy is at most.
  V powers(V energy) const {
    const V one = Lane<double>::splat(1);
    const bool by_rows = b <= c;
    V *g = power, *h = power + P * n * n;
    if (by_rows) products(t, c, P * c, P, one / energy, g);
    else products(t, b, P, P * c, one / energy, g);
    V norm2[LEVELS];
    int last = 0;
    for (;; ++last) {
      norm2[last] = products(g, n, P * n, P, one, h);  // g is Hermitian: this is its square
      bool open = false;
      for (int j = 0; j < W; ++j) open |= 1 - norm2[last][j] > 4 * UNIT * double(n);
      if (!open || last + 1 == LEVELS) break;
      times(h, n * n, one / norm2[last]);
      std::swap(g, h);
    }
    take_row(g, by_rows);
    const double rounding = UNIT * double(n + 4);
    V s = root(norm2[last]) * (1 + rounding);
    for (int k = last - 1; k >= 0; --k) s = root(norm2[k] * (s + rounding)) * (1 + 2 * UNIT);
    return s + UNIT * double(std::max(b, c) + 8);
  }

  // v from the row of g with the largest diagonal: its conjugate is u, or it is v
  void take_row(const V* g, bool by_rows) const {
    V top = Lane<double>::splat(-1);
    V* x = by_rows ? u : v;
    for (I i = 0; i < n; ++i) {
      const V* row = g + i * n * P;
      const auto more = row[i * P] > top;
      top = more ? row[i * P] : top;
      for (I l = 0; l < P * n; ++l) x[l] = more ? (by_rows && P == 2 && (l & 1) ? -row[l] : row[l]) : x[l];
    }
    for (I l = 0; by_rows && l < P * c; ++l) v[l] = V{};
    for (I j = 0; by_rows && j < b; ++j)
      for (I l = 0; l < c; ++l) {
        const V *x = u + j * P, *y = t + (j * c + l) * P;
        v[l * P] += x[0] * y[0];
        if (P == 2) {
          v[2 * l] += x[P - 1] * y[P - 1];
          v[2 * l + 1] += x[P - 1] * y[0];
          v[2 * l + 1] -= x[0] * y[P - 1];
        }
      }
    const V s = squares(v, c), one = Lane<double>::splat(1);
    times(v, c, one / root(s > V{} ? s : one));
  }

  // Leaves u and w with T ~ u w^T, |u| = 1.
  void operator()(Facts* facts) const {
    const V one = Lane<double>::splat(1), energy = start();
    bool settled = false;
    for (int s = 0; s < MOST_STEPS && !settled; ++s) settled = step(energy);
    V most = one + one;
    if (!settled) most = powers(energy > V{} ? energy : one);
    if (!finish(energy, most, facts) && settled) finish(energy, powers(energy > V{} ? energy : one), facts);
  }

  // The halves by the direction v, and what is known of them, sigma_1^2 <= most * energy among it;
  // whether all lanes are proven.
  bool finish(V energy, V most, Facts* facts) const {
    const V one = Lane<double>::splat(1);
    bool proven = true;
    gram();
    const V rho = squares(u, b), by = one / root(rho > V{} ? rho : one);
    times(u, b, by);
    times(w, c, by);
    for (I l = 0; P == 2 && l < c; ++l) w[2 * l + 1] = -w[2 * l + 1];
    const V kept = squares(w, c), rest = tail();
    for (int j = 0; j < W; ++j) {
      const double gain = gain_of(kept[j], rest[j], rho[j], P * (b + c)), whole = kept[j] + rest[j];
      const double over = std::min(excess(gain, rho[j], rest[j]), most[j] * energy[j] - kept[j]);
      facts[j] = {kept[j], rest[j], std::max(rest[j] - std::max(over, 0.0), 0.0),
                  rest[j] * gain / kept[j]};
      if (!(energy[j] > 1e-200 && energy[j] < 1e200)) special(j, energy[j], facts[j]);
      else if (!(over <= EXACT * whole)) facts[j].lower = -1, proven = false;
    }
    return proven;
  }

  // Squared error above the smallest possible, at most: Kato-Temple, as in split_rows.h.
  static double excess(double gain, double rho, double beta) {
    return beta < rho ? gain * beta / (rho - beta)
                      : std::numeric_limits<double>::infinity();
  }

  void special(int lane, double energy, Facts& f) const {
    double top = 0;
    for (I l = 0; l < P * b * c; ++l) top = std::max(top, std::abs(t[l][lane]));
    for (I l = 0; l < P * b; ++l) u[l][lane] = l == 0;
    for (I l = 0; l < P * c; ++l) w[l][lane] = 0;
    const double known = std::isfinite(energy) && top == 0 ? 0 : std::numeric_limits<double>::quiet_NaN();
    f = {known, known, std::isfinite(energy) && top > 0 ? -1 : known, known};
  }
};

}  // namespace
