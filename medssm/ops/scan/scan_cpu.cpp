// Selective scan on CPU: lanes of a vector are channels, states sit in registers, time is sequential.
//
//   s_t = softplus(dt_t + bias)   h_t = exp(s_t A) h_{t-1} + s_t u_t B_t   y_t = C_t . h_t + D u_t
//   out_t = (sum over routes of y_t) * silu(z_t)
//
// Step t of route k touches position pos[k][t], so orders of visiting are tables, never copies.
// dt may be of low rank: dt_t = sum_r low_t[r] W[r], formed in registers. Steps from lengths[b] on
// are not visited: outputs and gradients there are 0. With a local window of w steps y_t sees the
// later steps of its window too: h_t + r_t - s_t u_t B_t, r_t = a_t r_{t+1} + s_t u_t B_t.
//
// The backward keeps one state per chunk and computes the states of one chunk at a time again. When
// batch and channel blocks leave threads idle the length is cut into segments: end states and decays
// of the segments, a carry over them, then the segments side by side (products of decays only, never
// a division). Who computes what depends on the number of threads only in these segments and in the
// parts whose sums over channels are added at the end.
#include "crew.h"
#include "scan_backward.h"
#include "scan_forward.h"

template <class S, int N> struct Carries {  // per (batch, segment, block): N states and a sum of s
  std::vector<V<S>> states, sums;
  int64_t blocks, segments;
  explicit Carries(const ScanCall& g)
      : states(size_t(g.batch * g.segments * blocks_of<S>(g) * N)),
        sums(size_t(g.batch * g.segments * blocks_of<S>(g))),
        blocks(blocks_of<S>(g)), segments(g.segments) {}
  int64_t row(int64_t b, int64_t block, int64_t segment) const {
    return (b * segments + segment) * blocks + block;
  }
  V<S>* at(int64_t b, int64_t block, int64_t segment) { return &states[size_t(row(b, block, segment) * N)]; }
  V<S>& sum(int64_t b, int64_t block, int64_t segment) { return sums[size_t(row(b, block, segment))]; }
};
template <class S, int N> static void decay(V<S>* h, const V<S>* A, V<S> total) {
  for (int n = 0; n < N; n++) h[n] *= exp2v(A[n] * S(LOG2E) * total);
}
// Neighbouring channel blocks that one task takes: as many as share a reading of B and C without
// leaving a thread idle.
struct Shares {
  int64_t width, parts;  // blocks of a task, tasks of one batch element
  template <class S> static Shares of(const ScanCall& g, S) {
    constexpr int64_t most = 4;
    const int64_t blocks = blocks_of<S>(g), all = g.batch * g.segments * blocks;
    const int64_t threads = std::max<int64_t>(1, g.threads);
    const int64_t rounds = (all + threads * most - 1) / (threads * most);
    const int64_t width = std::min(blocks, (all + threads * rounds - 1) / (threads * rounds));
    return {width, (blocks + width - 1) / width};
  }
};
template <class S> static int64_t blocks_in(const ScanCall& g, int64_t first, int64_t width) {
  return std::min(width, blocks_of<S>(g) - first);
}

// ---- forward -----------------------------------------------------------------------------------
// Scans `blocks` blocks from w on over one segment, from the states at `states` (N a block).
template <class S, int N, Mode MODE> static void scan_segment(const ScanCall& g, const Walk<S>& w,
                                                              int64_t blocks, int64_t segment,
                                                              V<S>* states, V<S>* totals) {
  std::vector<Column<S, N>> columns(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; i++)
    columns[size_t(i)].start(g, Walk<S>(g, w.b, w.k, w.group, w.block + i), states + i * N);
  scan_chunks<S, N, MODE>(g, w, blocks, segment_start(g, segment), segment_start(g, segment + 1),
                          columns.data());
  for (int64_t i = 0; i < blocks; i++) {
    std::memcpy(states + i * N, columns[size_t(i)].h, sizeof(columns[0].h));
    if (totals) totals[i] = columns[size_t(i)].total;
  }
}
template <class S, int N, Mode MODE> static void one_pass(const ScanCall& g, const Shares& share,
                                                          int64_t k, int64_t group, int64_t item) {
  const int64_t first = item % share.parts * share.width;
  const Walk<S> w(g, item / share.parts, k, group, first);
  const int64_t blocks = blocks_in<S>(g, first, share.width);
  std::vector<V<S>> states(size_t(blocks * N));
  for (int64_t i = 0; i < blocks; i++) {
    const Walk<S> at(g, w.b, k, group, first + i);
    load_states<S, N>(&states[size_t(i * N)], g.h0, at.state(g), g.states, at);
  }
  scan_segment<S, N, MODE>(g, w, blocks, 0, states.data(), nullptr);
  for (int64_t i = 0; i < blocks; i++) {
    const Walk<S> at(g, w.b, k, group, first + i);
    store_states<S, N>(g.hT, at.state(g), g.states, &states[size_t(i * N)], at);
  }
}
// The states at the start of every segment, from the end states of segments that began from zero.
template <class S, int N> static void carry_right(const ScanCall& g, Carries<S, N>& ends, int64_t k,
                                                  int64_t group) {
  for (int64_t i = 0; i < g.batch * ends.blocks; i++) {
    const Walk<S> w(g, i / ends.blocks, k, group, i % ends.blocks);
    V<S> A[N], h[N];
    load_states<S, N>(A, g.A, w.rate(g), g.states, w);
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
}
template <class S, int N, Mode MODE> static void split_pass(const ScanCall& g, const Shares& share,
                                                            Carries<S, N>& ends, int64_t k,
                                                            int64_t group) {
  const int64_t tasks = g.batch * share.parts;
  parallel_for(tasks * (g.segments - 1), g.threads, [&](int64_t j) {
    const int64_t i = j % tasks, segment = j / tasks, first = i % share.parts * share.width;
    const Walk<S> w(g, i / share.parts, k, group, first);
    const int64_t blocks = blocks_in<S>(g, first, share.width);
    V<S>* h = ends.at(w.b, first, segment + 1);
    std::fill(h, h + blocks * N, V<S>{});
    scan_segment<S, N, STATES>(g, w, blocks, segment, h, &ends.sum(w.b, first, segment + 1));
  });
  carry_right<S, N>(g, ends, k, group);
  parallel_for(tasks * g.segments, g.threads, [&](int64_t j) {
    const int64_t i = j % tasks, segment = j / tasks, first = i % share.parts * share.width;
    const Walk<S> w(g, i / share.parts, k, group, first);
    const int64_t blocks = blocks_in<S>(g, first, share.width);
    V<S>* h = ends.at(w.b, first, segment);
    scan_segment<S, N, MODE>(g, w, blocks, segment, h, nullptr);
    if (segment + 1 < g.segments) return;
    for (int64_t n = 0; n < blocks; n++) {
      const Walk<S> at(g, w.b, k, group, first + n);
      store_states<S, N>(g.hT, at.state(g), g.states, h + n * N, at);
    }
  });
}
template <class S, int N, Mode MODE> static void forward(const ScanCall& g) {
  const Shares share = Shares::of(g, S());
  if (g.segments == 1)
    return parallel_for(g.batch * share.parts, g.threads, [&](int64_t i) {
      for (int64_t k = 0; k < g.routes; k++)
        for (int64_t group = 0; group < groups_of(g); group++)
          one_pass<S, N, MODE>(g, share, k, group, i);
    });
  Carries<S, N> ends(g);
  for (int64_t k = 0; k < g.routes; k++)
    for (int64_t group = 0; group < groups_of(g); group++)
      split_pass<S, N, MODE>(g, share, ends, k, group);
}

// ---- backward ----------------------------------------------------------------------------------
template <class S, int N, bool LOCAL> static void back_segment(const ScanCall& g, int64_t b,
                                                               int64_t k, int64_t group, int64_t part,
                                                               int64_t segment,
                                                               Carries<S, N>& carries,
                                                               const PartSums<S>& parts) {
  const int64_t all = blocks_of<S>(g), first = part * all / g.parts;
  const int64_t blocks = (part + 1) * all / g.parts - first;
  std::vector<BackColumn<S, N>> columns(static_cast<size_t>(blocks));
  for (int64_t i = 0; i < blocks; i++)
    columns[size_t(i)].start(g, Walk<S>(g, b, k, group, first + i),
                             carries.at(b, first + i, segment));
  back_chunks<S, N, LOCAL>(g, Walk<S>(g, b, k, group, first), blocks, part, segment_start(g, segment),
                           segment_start(g, segment + 1), columns.data(), parts);
  for (int64_t i = 0; i < blocks; i++)
    columns[size_t(i)].finish(g, Walk<S>(g, b, k, group, first + i), segment);
}
// What comes from the right of every segment, from the adjoints of segments that got nothing.
template <class S, int N> static void carry_left(const ScanCall& g, Carries<S, N>& carries,
                                                 int64_t k, int64_t group) {
  const int64_t last = g.segments - 1;
  for (int64_t i = 0; i < g.batch * carries.blocks; i++) {
    const Walk<S> w(g, i / carries.blocks, k, group, i % carries.blocks);
    V<S> A[N], q[N];
    load_states<S, N>(A, g.A, w.rate(g), g.states, w);
    for (int n = 0; n < N; n++) q[n] = carries.at(w.b, w.block, last)[n];
    for (int64_t segment = last; segment > 0; segment--) {
      decay<S, N>(q, A, carries.sum(w.b, w.block, segment));
      V<S>* left = carries.at(w.b, w.block, segment - 1);
      for (int n = 0; n < N; n++) left[n] = q[n] = q[n] + left[n];
    }
  }
}
// Gradients that sum over batch and segments: each task has its own, added up at the end.
template <class S> struct SlotSums {
  std::unique_ptr<S[]> data;
  const ScanCall& results;
  ScanCall own;  // the call, its small gradients in `data`
  explicit SlotSums(const ScanCall& g) : results(g), own(g) {
    const int64_t channels = slots() * g.routes * g.channels, groups = groups_of(g);
    data.reset(new S[size_t(channels * (g.states + 1 + groups + g.rank * groups))]);
    S* at = data.get();
    own.dA = at;
    own.dD = at += channels * g.states;
    own.dbias = at += channels;
    own.dW = at + channels * groups;
  }
  int64_t slots() const { return results.segments * results.batch; }
  void add(void* to, const void* from, int64_t count, int64_t groups) const {
    for (int64_t i = 0; to && i < count; i++) {
      S sum = 0;
      for (int64_t slot = 0; slot < slots(); slot++)
        for (int64_t j = 0; j < groups; j++) sum += ((const S*)from)[(slot * count + i) * groups + j];
      ((S*)to)[i] = sum;
    }
  }
  void add_up() const {
    const ScanCall& g = results;
    const int64_t channels = g.routes * g.channels;
    add(g.dA, own.dA, channels * g.states, 1);
    add(g.dD, own.dD, channels, 1);
    add(g.dbias, own.dbias, channels, groups_of(g));
    add(g.dW, own.dW, channels * g.rank, groups_of(g));
  }
};
template <class S, int N, bool LOCAL> static void backward_pass(const ScanCall& g, const PartSums<S>& parts) {
  const int64_t blocks = blocks_of<S>(g), tasks = g.batch * blocks;
  Carries<S, N> carries(g);
  // from the right of the whole length comes the gradient of the last state
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
          back_segment<S, N, LOCAL>(g, b, k, group, part, 0, carries, parts);
        }
    });
  for (int64_t k = 0; k < g.routes; k++)
    for (int64_t group = 0; group < groups_of(g); group++) {
      for (int64_t b = 0; b < g.batch; b++) prepare(b, k, group, 0, blocks);
      parallel_for(tasks * (g.segments - 1), g.threads, [&](int64_t j) {
        const int64_t i = j % tasks, segment = j / tasks + 1;
        const Walk<S> w(g, i / blocks, k, group, i % blocks);
        V<S>* carry = carries.at(w.b, w.block, segment - 1);
        std::fill(carry, carry + N, V<S>{});
        V<S> total = V<S>{};
        adjoint_chunks<S, N>(g, w, segment_start(g, segment), segment_start(g, segment + 1), carry,
                             total);
        carries.sum(w.b, w.block, segment) = total;
      });
      carry_left<S, N>(g, carries, k, group);
      parallel_for(g.batch * g.parts * g.segments, g.threads, [&](int64_t j) {
        const int64_t b = j % g.batch, part = j / g.batch % g.parts, segment = j / g.batch / g.parts;
        back_segment<S, N, LOCAL>(g, b, k, group, part, segment, carries, parts);
      });
    }
}

template <class S, int N, bool LOCAL> static void backward(const ScanCall& g) {
  const PartSums<S> parts(g);
  const SlotSums<S> slots(g);
  backward_pass<S, N, LOCAL>(slots.own, parts);
  slots.add_up();
  if (!parts.data) return;
  const int64_t chunks = (g.length + CHUNK - 1) / CHUNK;
  parallel_for(g.batch * g.routes * chunks, g.threads, [&](int64_t i) {
    parts.finish(g, i / chunks / g.routes, i / chunks % g.routes, i % chunks * CHUNK);
  });
}

// ---- the door ----------------------------------------------------------------------------------
template <class S, int N> static void run(const ScanCall& g, int back) {
  const bool local = g.window > 1;  // a window of one step sees nothing but itself
  if (back) local ? backward<S, N, true>(g) : backward<S, N, false>(g);
  else local ? forward<S, N, LOCAL>(g) : forward<S, N, OUTPUTS>(g);
}
static void want_large_pages_for(const ScanCall& g, const View& v) {
  const int64_t last = (g.batch - 1) * v.stride[0] + (g.routes - 1) * v.stride[1] +
                       (g.length - 1) * v.stride[2] + (g.channels - 1) * v.stride[3];
  want_large_pages(v.data, (last + 1) * item_size(v.kind));
}
#define EXPORT extern "C" __attribute__((visibility("default")))
// 0: done, 1: the route table is no permutation of the positions, 2: no memory, 3: no float16
EXPORT int medssm_scan(const ScanCall* g, int is_double, int back) {
  try {
    if (g->pos && !back && !visits_every_position_once(g->pos, g->routes, g->length)) return 1;
    if (g->batch * g->length * g->channels == 0) return 0;
    for (const View* v : {&g->u, &g->dt, &g->B, &g->C, &g->z})
      if (v->kind == 3 && !WITH_HALF) return 3;
    for (const View* v : {&g->y, &g->out, &g->du}) want_large_pages_for(*g, *v);
    if (!g->rank) want_large_pages_for(*g, g->ddt);
    if (is_double) run<double, GROUP>(*g, back);  // for gradcheck: one size, padded
    else if (g->states == 1) run<float, 1>(*g, back);
    else if (g->states == 2) run<float, 2>(*g, back);
    else if (g->states <= 4) run<float, 4>(*g, back);
    else if (g->states <= 8) run<float, 8>(*g, back);
    else run<float, GROUP>(*g, back);
  } catch (const std::bad_alloc&) {
    return 2;
  }
  return 0;
}
EXPORT int medssm_scan_call_size() { return int(sizeof(ScanCall)); }
EXPORT int medssm_scan_has_half() { return WITH_HALF; }
