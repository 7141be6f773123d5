// Selective scan on CPU: lanes of a vector are channels, states sit in registers, time is sequential.
//
//   s_t = softplus(dt_t + bias)   h_t = exp(s_t A) h_{t-1} + s_t u_t B_t   y_t = C_t . h_t + D u_t
//   out_t = (sum over routes of y_t) * silu(z_t)
//
// Step t of route k touches position pos[k][t], so orders of visiting are tables, never copies.
// dt may be of low rank: dt_t = sum_r low_t[r] W[r], formed in registers. The backward keeps one
// state per CHUNK steps and recomputes the states of one chunk at a time. When batch and channel
// blocks leave threads idle the length is cut into segments: end states and decays of the segments,
// a carry over them, then the segments side by side (products of decays only, never a division).
#include "simd.h"

constexpr int GROUP = 16;  // states in one pass; more states are more passes (the scan is linear)
constexpr int RANK = 16;   // largest low rank of dt formed inside

extern "C" struct ScanCall {  // mirrored in cpu.py
  int64_t batch, routes, length, channels, states, rank, softplus, threads, segments, parts;
  const int32_t* pos;                                    // (routes, length) or null
  const void *A, *D, *bias, *W, *h0;                     // (k,d,n) (k,d) (k,d) (k,d,r) (b,k,d,n)
  void *hT, *starts;                                     // (b,k,d,n); states at chunk starts
  const void* dhT;
  void *dA, *dD, *dbias, *dW, *dh0;                      // first four: (segments, b, k, d, ...)
  int64_t part_stride;                                   // of dB, dC and the low rank ddt
  View u, dt, B, C, z, y, out, dout, du, ddt, dB, dC, dz;
};

template <class S> struct Walk {  // one channel block of one route and one group of states
  int64_t b, k, group, block, first;
  int lanes, states;
  const int32_t* table;
  Walk(const ScanCall& g, int64_t b_, int64_t k_, int64_t group_, int64_t block_)
      : b(b_), k(k_), group(group_), block(block_), first(block_ * LANES<S>),
        lanes(int(std::min<int64_t>(LANES<S>, g.channels - first))),
        states(int(std::min<int64_t>(GROUP, g.states - group_ * GROUP))),
        table(g.pos ? g.pos + k_ * g.length : nullptr) {}
  int64_t channel(const ScanCall& g) const { return k * g.channels + first; }
  int64_t state(const ScanCall& g) const {
    return ((b * g.routes + k) * g.channels + first) * g.states + group * GROUP;
  }
};
static int64_t chunks_of(const ScanCall& g) { return (g.length + CHUNK - 1) / CHUNK; }
static int64_t groups_of(const ScanCall& g) { return (g.states + GROUP - 1) / GROUP; }
template <class S> static int64_t blocks_of(const ScanCall& g) {
  return (g.channels + LANES<S> - 1) / LANES<S>;
}
static int64_t segment_start(const ScanCall& g, int64_t segment) {
  return segment * chunks_of(g) / g.segments;
}
template <class S, int N> static S* start_of_chunk(const ScanCall& g, const Walk<S>& w, int64_t c) {
  int64_t row = ((w.b * g.routes + w.k) * groups_of(g) + w.group) * chunks_of(g) + c;
  return (S*)g.starts + (row * blocks_of<S>(g) + w.block) * N * LANES<S>;
}
template <class S, int N> INLINE void load_states(V<S>* h, const void* from, int64_t offset,
                                                  int64_t step, const Walk<S>& w) {
  for (int n = 0; n < N; n++)
    h[n] = from && n < w.states ? load_lanes<S>((const S*)from + offset + n, step, w.lanes) : V<S>{};
}
template <class S, int N> INLINE void store_states(void* to, int64_t offset, int64_t step,
                                                   const V<S>* h, const Walk<S>& w) {
  if (to)
    for (int n = 0; n < w.states; n++) store_lanes<S>((S*)to + offset + n, step, h[n], w.lanes);
}

// ---- what a chunk reads ------------------------------------------------------------------------
template <class S, int N> struct Tiles {
  V<S> u[CHUNK], raw[CHUNK], s[CHUNK], e[CHUNK], y[CHUNK], z[CHUNK], slope[CHUNK];
  alignas(64) S B[CHUNK * N], C[CHUNK * N], low[CHUNK * RANK];
};
template <class S> struct Fixed {  // what is constant along the length
  V<S> bias, D, W[RANK];
};
template <class S> static void load_fixed(Fixed<S>& f, const ScanCall& g, const Walk<S>& w) {
  const int64_t c = w.channel(g);
  f.bias = load_lanes<S>(g.bias ? (const S*)g.bias + c : nullptr, 1, w.lanes);
  f.D = load_lanes<S>(g.D && w.group == 0 ? (const S*)g.D + c : nullptr, 1, w.lanes);
  for (int r = 0; r < g.rank; r++)
    f.W[r] = load_lanes<S>((const S*)g.W + c * g.rank + r, g.rank, w.lanes);
}
template <class S, int N> static void read_steps(Tiles<S, N>& x, const ScanCall& g,
                                                 const Walk<S>& w, const Fixed<S>& f, Steps s) {
  gather<S, LANES<S>>((S*)x.u, rows_of(g.u, w.b, w.k, w.first), s, w.lanes);
  if (g.rank) {
    gather<S, RANK>(x.low, rows_of(g.dt, w.b, w.k, 0), s, int(g.rank));
    for (int t = 0; t < s.count; t++) {
      V<S> sum = f.bias;
      for (int r = 0; r < g.rank; r++) sum += f.W[r] * x.low[t * RANK + r];
      x.raw[t] = sum;
    }
  } else {
    gather<S, LANES<S>>((S*)x.raw, rows_of(g.dt, w.b, w.k, w.first), s, w.lanes);
    for (int t = 0; t < s.count; t++) x.raw[t] += f.bias;
  }
  for (int t = 0; t < s.count; t++) x.s[t] = g.softplus ? softplus<S>(x.raw[t]) : x.raw[t];
}
template <class S, int N> INLINE void read_states(S* tile, const View& v, const Walk<S>& w, Steps s) {
  gather<S, N>(tile, rows_of(v, w.b, w.k, w.group * GROUP), s, w.states);
}
INLINE Steps steps_of(const ScanCall& g, const int32_t* table, int64_t c) {
  return {table, c * CHUNK, int(std::min<int64_t>(CHUNK, g.length - c * CHUNK))};
}

// ---- forward -----------------------------------------------------------------------------------
template <class S, int N> static void write_steps(Tiles<S, N>& x, const ScanCall& g,
                                                  const Walk<S>& w, Steps s) {
  constexpr int L = LANES<S>;
  const bool add = (w.k > 0 && g.y.stride[1] == 0) || w.group > 0;
  const bool last = w.k == g.routes - 1 && w.group == groups_of(g) - 1;
  const Rows y = rows_of(g.y, w.b, w.k, w.first);
  if (!(g.z.data && last)) return scatter<S, L>((const S*)x.y, y, s, w.lanes, add);
  if (add) {
    gather<S, L>((S*)x.e, y, s, w.lanes);
    for (int t = 0; t < s.count; t++) x.y[t] += x.e[t];
  }
  if (y.data) scatter<S, L>((const S*)x.y, y, s, w.lanes, false);
  gather<S, L>((S*)x.z, rows_of(g.z, w.b, 0, w.first), s, w.lanes);
  for (int t = 0; t < s.count; t++) x.y[t] *= x.z[t] * sigmoid<S>(x.z[t]);
  scatter<S, L>((const S*)x.y, rows_of(g.out, w.b, 0, w.first), s, w.lanes, false);
}
// STATES: only the end state h and the sum of s over the chunks; else outputs too.
template <class S, int N, bool STATES> static void scan_chunks(const ScanCall& g, const Walk<S>& w,
                                                               int64_t c0, int64_t c1, V<S>* state,
                                                               V<S>& total) {
  Fixed<S> f;
  load_fixed<S>(f, g, w);
  V<S> A2[N], h[N];
  load_states<S, N>(A2, g.A, w.channel(g) * g.states + w.group * GROUP, g.states, w);
  for (int n = 0; n < N; n++) { A2[n] *= S(LOG2E); h[n] = state[n]; }
  Tiles<S, N> x;
  for (int64_t c = c0; c < c1; c++) {
    const Steps s = steps_of(g, w.table, c);
    if (!STATES && g.starts) std::memcpy(start_of_chunk<S, N>(g, w, c), h, sizeof(h));
    read_steps<S, N>(x, g, w, f, s);
    read_states<S, N>(x.B, g.B, w, s);
    if (!STATES) read_states<S, N>(x.C, g.C, w, s);
    for (int t = 0; t < s.count; t++) {
      const V<S> d = x.s[t], du = d * x.u[t];
      const S *B = x.B + t * N, *C = x.C + t * N;
      V<S> sum = f.D * x.u[t];
      if (STATES) total += d;
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) {
        h[n] = exp2v(d * A2[n]) * h[n] + du * B[n];
        if (!STATES) sum += h[n] * C[n];
      }
      x.y[t] = sum;
    }
    if (!STATES) write_steps<S, N>(x, g, w, s);
  }
  for (int n = 0; n < N; n++) state[n] = h[n];
}

// ---- backward: g_t = C_t e_t + a_{t+1} g_{t+1} ---------------------------------------------------
// e = d loss / d (sum of y): dout, through the gate where there is one; dz on the way.
template <class S, int N> static void read_gradient(Tiles<S, N>& x, const ScanCall& g,
                                                    const Walk<S>& w, Steps s, bool with_dz) {
  constexpr int L = LANES<S>;
  gather<S, L>((S*)x.e, rows_of(g.dout, w.b, w.k, w.first), s, w.lanes);
  if (!g.z.data) return;
  gather<S, L>((S*)x.z, rows_of(g.z, w.b, 0, w.first), s, w.lanes);
  with_dz = with_dz && w.k == 0 && w.group == 0;
  if (with_dz) gather<S, L>((S*)x.y, rows_of(g.y, w.b, 0, w.first), s, w.lanes);
  for (int t = 0; t < s.count; t++) {
    const V<S> z = x.z[t], m = sigmoid<S>(z);
    if (with_dz) x.y[t] *= x.e[t] * silu_slope<S>(z, m);
    x.e[t] *= z * m;
  }
  if (with_dz) scatter<S, L>((const S*)x.y, rows_of(g.dz, w.b, 0, w.first), s, w.lanes, false);
}
// a_1 g_1 of a segment that gets nothing from its right, and the sum of its s
template <class S, int N> static void adjoint_chunks(const ScanCall& g, const Walk<S>& w,
                                                     int64_t c0, int64_t c1, V<S>* carry,
                                                     V<S>& total) {
  Fixed<S> f;
  load_fixed<S>(f, g, w);
  V<S> A2[N], q[N];
  load_states<S, N>(A2, g.A, w.channel(g) * g.states + w.group * GROUP, g.states, w);
  for (int n = 0; n < N; n++) { A2[n] *= S(LOG2E); q[n] = carry[n]; }
  Tiles<S, N> x;
  for (int64_t c = c1 - 1; c >= c0; c--) {
    const Steps s = steps_of(g, w.table, c);
    read_steps<S, N>(x, g, w, f, s);
    read_states<S, N>(x.C, g.C, w, s);
    read_gradient<S, N>(x, g, w, s, false);
    for (int t = s.count - 1; t >= 0; t--) {
      total += x.s[t];
#pragma GCC unroll 16
      for (int n = 0; n < N; n++) q[n] = (q[n] + x.e[t] * x.C[t * N + n]) * exp2v(x.s[t] * A2[n]);
    }
  }
  for (int n = 0; n < N; n++) carry[n] = q[n];
}
template <class S, int N> struct Block {  // what one channel block carries from chunk to chunk
  V<S> carry[N], A[N], dA[N], dW[RANK], dD, dbias;
  Fixed<S> fixed;
};
template <class S, int N> struct Scratch {
  V<S> h[CHUNK * N], a[CHUNK * N], dB[CHUNK * N], dC[CHUNK * N], dlow[CHUNK * RANK];
  V<S> du[CHUNK], ds[CHUNK];
  alignas(64) S sums[CHUNK * GROUP];
  Tiles<S, N> x;
};
template <class S, int N> static void replay(Scratch<S, N>& m, const Block<S, N>& q, const S* start,
                                             int count) {
  V<S> A2[N], h[N];
  std::memcpy(h, start, sizeof(h));
  for (int n = 0; n < N; n++) A2[n] = q.A[n] * S(LOG2E);
  for (int t = 0; t < count; t++) {
    const V<S> d = m.x.s[t], du = d * m.x.u[t];
    const S* B = m.x.B + t * N;
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) {
      const V<S> a = exp2v(d * A2[n]);
      h[n] = a * h[n] + du * B[n];
      m.a[t * N + n] = a;
      m.h[t * N + n] = h[n];
    }
  }
}
template <class S, int N> static void step_back(Scratch<S, N>& m, Block<S, N>& q, int count,
                                                bool first) {
  V<S> carry[N], dA[N];
  for (int n = 0; n < N; n++) { carry[n] = q.carry[n]; dA[n] = q.dA[n]; }
  for (int t = count - 1; t >= 0; t--) {
    const V<S> d = m.x.s[t], u = m.x.u[t], du = d * u, e = m.x.e[t];
    const S *B = m.x.B + t * N, *C = m.x.C + t * N;
    V<S>*pB = m.dB + t * N, *pC = m.dC + t * N, *pa = m.a + t * N, *ph = m.h + t * N;
    V<S> gB = V<S>{}, wA = V<S>{};
#pragma GCC unroll 16
    for (int n = 0; n < N; n++) {
      const V<S> gn = carry[n] + e * C[n], h = ph[n];
      pC[n] = first ? e * h : pC[n] + e * h;
      pB[n] = first ? gn * du : pB[n] + gn * du;
      gB += gn * B[n];
      const V<S> w = gn * (h - du * B[n]);  // = g_t a_t h_{t-1}
      dA[n] += w * d;
      wA += w * q.A[n];
      carry[n] = gn * pa[n];
    }
    m.du[t] = q.fixed.D * e + d * gB;
    q.dD += e * u;
    m.ds[t] = wA + u * gB;
  }
  for (int n = 0; n < N; n++) { q.carry[n] = carry[n]; q.dA[n] = dA[n]; }
}
template <class S, int N> static void finish_steps(Scratch<S, N>& m, Block<S, N>& q,
                                                   const ScanCall& g, const Walk<S>& w, Steps s,
                                                   bool first) {
  constexpr int L = LANES<S>;
  for (int t = 0; t < s.count; t++) {
    if (g.softplus) m.ds[t] *= sigmoid<S>(m.x.raw[t]);
    q.dbias += m.ds[t];
    for (int r = 0; r < g.rank; r++) {
      V<S>& low = m.dlow[t * RANK + r];
      low = first ? m.ds[t] * q.fixed.W[r] : low + m.ds[t] * q.fixed.W[r];
      q.dW[r] += m.ds[t] * m.x.low[t * RANK + r];
    }
  }
  const bool add_u = (w.k > 0 && g.du.stride[1] == 0) || w.group > 0;
  scatter<S, L>((const S*)m.du, rows_of(g.du, w.b, w.k, w.first), s, w.lanes, add_u);
  if (!g.rank)
    scatter<S, L>((const S*)m.ds, rows_of(g.ddt, w.b, w.k, w.first), s, w.lanes, w.group > 0);
}
template <class S, int N> static void write_sums(S* sums, const V<S>* lanes, int width, Rows r,
                                                 Steps s, bool add) {
  for (int t = 0; t < s.count; t++)
    for (int n = 0; n < width; n++) sums[t * N + n] = sum_lanes<S>(lanes[t * N + n]);
  scatter<S, N>(sums, r, s, width, add);
}
template <class S> static Rows part_rows(const ScanCall& g, const View& v, const Walk<S>& w,
                                         int64_t part, int64_t first) {
  Rows r = rows_of(v, w.b, w.k, first);
  r.data += part * g.part_stride * item_size(v.kind);
  return r;
}
// Chunks c0 .. c1 of a range of channel blocks; carry holds a g from the right of the segment.
template <class S, int N> static void back_chunks(const ScanCall& g, int64_t b, int64_t k,
                                                  int64_t group, int64_t part, int64_t segment,
                                                  const V<S>* carry) {
  const int64_t all = blocks_of<S>(g), block0 = part * all / g.parts;
  const int64_t count = (part + 1) * all / g.parts - block0;
  const int64_t c0 = segment_start(g, segment), c1 = segment_start(g, segment + 1);
  std::vector<char> raw(sizeof(Block<S, N>) * size_t(count) + sizeof(Scratch<S, N>) + 64);
  auto& m = *(Scratch<S, N>*)(((uintptr_t)raw.data() + 63) & ~(uintptr_t)63);
  auto* blocks = (Block<S, N>*)(&m + 1);
  for (int64_t i = 0; i < count; i++) {
    const Walk<S> w(g, b, k, group, block0 + i);
    std::memset((void*)&blocks[i], 0, sizeof(blocks[i]));
    load_fixed<S>(blocks[i].fixed, g, w);
    load_states<S, N>(blocks[i].A, g.A, w.channel(g) * g.states + group * GROUP, g.states, w);
    for (int n = 0; n < N; n++) blocks[i].carry[n] = carry[(block0 + i) * N + n];
  }
  for (int64_t c = c1 - 1; c >= c0; c--) {
    const Walk<S> any(g, b, k, group, 0);
    const Steps s = steps_of(g, any.table, c);
    read_states<S, N>(m.x.B, g.B, any, s);
    read_states<S, N>(m.x.C, g.C, any, s);
    for (int64_t i = 0; i < count; i++) {
      const Walk<S> w(g, b, k, group, block0 + i);
      read_steps<S, N>(m.x, g, w, blocks[i].fixed, s);
      read_gradient<S, N>(m.x, g, w, s, true);
      replay<S, N>(m, blocks[i], start_of_chunk<S, N>(g, w, c), s.count);
      step_back<S, N>(m, blocks[i], s.count, i == 0);
      finish_steps<S, N>(m, blocks[i], g, w, s, i == 0);
    }
    write_sums<S, N>(m.sums, m.dB, any.states, part_rows(g, g.dB, any, part, group * GROUP), s, false);
    write_sums<S, N>(m.sums, m.dC, any.states, part_rows(g, g.dC, any, part, group * GROUP), s, false);
    if (g.rank)
      write_sums<S, RANK>(m.sums, m.dlow, int(g.rank), part_rows(g, g.ddt, any, part, 0), s, group > 0);
  }
  for (int64_t i = 0; i < count; i++) {
    const Walk<S> w(g, b, k, group, block0 + i);
    const int64_t row = ((segment * g.batch + b) * g.routes + k) * g.channels + w.first;
    const Block<S, N>& q = blocks[i];
    store_states<S, N>(g.dA, row * g.states + group * GROUP, g.states, q.dA, w);
    if (segment == 0) store_states<S, N>(g.dh0, w.state(g), g.states, q.carry, w);
    if (g.dD && group == 0) store_lanes<S>((S*)g.dD + row, 1, q.dD, w.lanes);
    S* slot = (S*)g.dbias + row * groups_of(g) + group;
    if (g.dbias) store_lanes<S>(slot, groups_of(g), q.dbias, w.lanes);
    for (int r = 0; r < g.rank; r++)
      store_lanes<S>((S*)g.dW + (row * g.rank + r) * groups_of(g) + group, g.rank * groups_of(g),
                     q.dW[r], w.lanes);
  }
}

// ---- who does what -----------------------------------------------------------------------------
template <class S, int N> struct Carries {  // per (batch, block, segment): N states and a sum of s
  std::vector<char> raw;
  V<S>* base;
  int64_t blocks, segments;
  Carries(const ScanCall& g)
      : raw(size_t(g.batch * blocks_of<S>(g) * g.segments) * (N + 1) * VBYTES + 64),
        base((V<S>*)(((uintptr_t)raw.data() + 63) & ~(uintptr_t)63)),
        blocks(blocks_of<S>(g)), segments(g.segments) {}
  // the blocks of one (batch, segment) lie side by side, sums of s after all states
  V<S>* at(int64_t b, int64_t block, int64_t segment) {
    return base + ((b * segments + segment) * blocks + block) * N;
  }
  V<S>& sum(int64_t b, int64_t block, int64_t segment) {
    return *(base + int64_t(raw.size() / VBYTES - 1) / (N + 1) * N +
             (b * segments + segment) * blocks + block);
  }
};
template <class S, int N> static void decay(V<S>* h, const V<S>* A, V<S> total) {
  for (int n = 0; n < N; n++) h[n] *= exp2v(A[n] * S(LOG2E) * total);
}
template <class S, int N> static void forward(const ScanCall& g) {
  const int64_t blocks = blocks_of<S>(g), tasks = g.batch * blocks;
  auto one_pass = [&](int64_t k, int64_t group, int64_t i) {
    const Walk<S> w(g, i / blocks, k, group, i % blocks);
    V<S> h[N], total = V<S>{};
    load_states<S, N>(h, g.h0, w.state(g), g.states, w);
    scan_chunks<S, N, false>(g, w, 0, chunks_of(g), h, total);
    store_states<S, N>(g.hT, w.state(g), g.states, h, w);
  };
  if (g.segments == 1)
    return parallel_for(tasks, g.threads, [&](int64_t i) {
      for (int64_t k = 0; k < g.routes; k++)
        for (int64_t group = 0; group < groups_of(g); group++) one_pass(k, group, i);
    });
  Carries<S, N> ends(g);
  for (int64_t k = 0; k < g.routes; k++)
    for (int64_t group = 0; group < groups_of(g); group++) {
      parallel_for(tasks * (g.segments - 1), g.threads, [&](int64_t j) {
        const int64_t i = j % tasks, segment = j / tasks;
        const Walk<S> w(g, i / blocks, k, group, i % blocks);
        V<S>* h = ends.at(w.b, w.block, segment + 1);
        for (int n = 0; n < N; n++) h[n] = V<S>{};
        V<S> total = V<S>{};
        scan_chunks<S, N, true>(g, w, segment_start(g, segment), segment_start(g, segment + 1), h,
                                total);
        ends.sum(w.b, w.block, segment + 1) = total;
      });
      for (int64_t i = 0; i < tasks; i++) {
        const Walk<S> w(g, i / blocks, k, group, i % blocks);
        V<S> A[N], h[N];
        load_states<S, N>(A, g.A, w.channel(g) * g.states + group * GROUP, g.states, w);
        load_states<S, N>(h, g.h0, w.state(g), g.states, w);
        for (int64_t segment = 0; segment < g.segments; segment++) {
          V<S>* end = ends.at(w.b, w.block, segment);
          if (segment) {
            decay<S, N>(h, A, ends.sum(w.b, w.block, segment));
            for (int n = 0; n < N; n++) h[n] += end[n];
          }
          for (int n = 0; n < N; n++) end[n] = h[n];
        }
      }
      parallel_for(tasks * g.segments, g.threads, [&](int64_t j) {
        const int64_t i = j % tasks, segment = j / tasks;
        const Walk<S> w(g, i / blocks, k, group, i % blocks);
        V<S>*h = ends.at(w.b, w.block, segment), total = V<S>{};
        scan_chunks<S, N, false>(g, w, segment_start(g, segment), segment_start(g, segment + 1), h,
                                 total);
        if (segment == g.segments - 1) store_states<S, N>(g.hT, w.state(g), g.states, h, w);
      });
    }
}
template <class S, int N> static void backward(const ScanCall& g) {
  const int64_t blocks = blocks_of<S>(g), tasks = g.batch * blocks;
  Carries<S, N> carries(g);
  // the carry that comes from the right of the whole length: the gradient of the last state
  auto prepare = [&](int64_t b, int64_t k, int64_t group, int64_t first, int64_t end) {
    for (int64_t i = first; i < end; i++) {
      const Walk<S> w(g, b, k, group, i);
      load_states<S, N>(carries.at(b, i, g.segments - 1), g.dhT, w.state(g), g.states, w);
    }
  };
  if (g.segments == 1)
    return parallel_for(g.batch * g.parts, g.threads, [&](int64_t i) {
      const int64_t b = i / g.parts, part = i % g.parts;
      for (int64_t k = 0; k < g.routes; k++)
        for (int64_t group = 0; group < groups_of(g); group++) {
          prepare(b, k, group, part * blocks / g.parts, (part + 1) * blocks / g.parts);
          back_chunks<S, N>(g, b, k, group, part, 0, carries.at(b, 0, 0));
        }
    });
  for (int64_t k = 0; k < g.routes; k++)
    for (int64_t group = 0; group < groups_of(g); group++) {
      for (int64_t b = 0; b < g.batch; b++) prepare(b, k, group, 0, blocks);
      parallel_for(tasks * (g.segments - 1), g.threads, [&](int64_t j) {
        const int64_t i = j % tasks, segment = j / tasks + 1;
        const Walk<S> w(g, i / blocks, k, group, i % blocks);
        V<S>* carry = carries.at(w.b, w.block, segment - 1);
        for (int n = 0; n < N; n++) carry[n] = V<S>{};
        V<S> total = V<S>{};
        adjoint_chunks<S, N>(g, w, segment_start(g, segment), segment_start(g, segment + 1), carry,
                             total);
        carries.sum(w.b, w.block, segment) = total;
      });
      for (int64_t i = 0; i < tasks; i++) {
        const Walk<S> w(g, i / blocks, k, group, i % blocks);
        V<S> A[N], q[N];
        load_states<S, N>(A, g.A, w.channel(g) * g.states + group * GROUP, g.states, w);
        for (int n = 0; n < N; n++) q[n] = carries.at(w.b, w.block, g.segments - 1)[n];
        for (int64_t segment = g.segments - 1; segment > 0; segment--) {
          decay<S, N>(q, A, carries.sum(w.b, w.block, segment));
          V<S>* left = carries.at(w.b, w.block, segment - 1);
          for (int n = 0; n < N; n++) left[n] = q[n] = q[n] + left[n];
        }
      }
      parallel_for(g.batch * g.parts * g.segments, g.threads, [&](int64_t j) {
        const int64_t b = j % g.batch, part = j / g.batch % g.parts, segment = j / g.batch / g.parts;
        back_chunks<S, N>(g, b, k, group, part, segment, carries.at(b, 0, segment));
      });
    }
}
template <class S, int N> static void run(const ScanCall& g, int back) {
  back ? backward<S, N>(g) : forward<S, N>(g);
}
#define EXPORT extern "C" __attribute__((visibility("default")))
// 0: done, 1: the route table is no permutation of the positions
EXPORT int medssm_scan(const ScanCall* g, int is_double, int back) {
  if (g->pos && !back && !visits_every_position_once(g->pos, g->routes, g->length)) return 1;
  if (g->batch * g->length * g->channels == 0) return 0;
  if (is_double) run<double, GROUP>(*g, back);  // for gradcheck: one size, padded
  else if (g->states == 1) run<float, 1>(*g, back);
  else if (g->states == 2) run<float, 2>(*g, back);
  else if (g->states <= 4) run<float, 4>(*g, back);
  else if (g->states <= 8) run<float, 8>(*g, back);
  else run<float, GROUP>(*g, back);
  return 0;
}
EXPORT int medssm_scan_call_size() { return int(sizeof(ScanCall)); }
EXPORT int medssm_scan_has_half() { return WITH_HALF; }
