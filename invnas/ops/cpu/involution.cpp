// Involution on a CPU behind a plain C interface: no headers of torch, no headers of Python.
//
// Memory: maps (B, H, W, C), kernels (B, H', W', G, K * K), all dense. Vectors are the compiler's own vector types, so
// the same source serves x86-64 and ARM; on x86-64 the widest instruction set of this machine is chosen at run time.

#include <algorithm>
#include <cstdint>
#include <exception>
#include <vector>

#include "isa.h"
#include "shapes.h"

#define INVNAS_ISA baseline
#define INVNAS_TARGET
#define INVNAS_BYTES 16
#include "kernels.h"
#include "span.h"
#undef INVNAS_ISA
#undef INVNAS_TARGET
#undef INVNAS_BYTES

#if defined(__x86_64__)
#define INVNAS_ISA avx2
#define INVNAS_TARGET __attribute__((target("avx2,fma")))
#define INVNAS_BYTES 32
#include "kernels.h"
#include "span.h"
#undef INVNAS_ISA
#undef INVNAS_TARGET
#undef INVNAS_BYTES

#define INVNAS_ISA avx512
#define INVNAS_TARGET __attribute__((target("avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")))
#define INVNAS_BYTES 64
#include "kernels.h"
#include "span.h"
#endif

// Threads are torch's own: its OpenMP runtime is in the process before this library is, and these names bind to it.
// Where there is none they stay null and one thread does the work.
extern "C" {
__attribute__((weak)) void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned);
__attribute__((weak)) int omp_get_thread_num(void);
__attribute__((weak)) int omp_get_num_threads(void);
}

namespace invnas {
namespace {

Isa chosen = best_isa();

template <class T>
void gather(const Gather<T>& m, i64 begin, i64 end) {
#if defined(__x86_64__)
    if (chosen == avx512_isa) return avx512::gather(m, begin, end);
    if (chosen == avx2_isa) return avx2::gather(m, begin, end);
#endif
    baseline::gather(m, begin, end);
}

template <class T>
void correlate(const Correlate<T>& m, i64 begin, i64 end, T* scratch) {
#if defined(__x86_64__)
    if (chosen == avx512_isa) return avx512::correlate(m, begin, end, scratch);
    if (chosen == avx2_isa) return avx2::correlate(m, begin, end, scratch);
#endif
    baseline::correlate(m, begin, end, scratch);
}

template <class T>
void spanned(const Spanned<T>& s, i64 begin, i64 end, T* scratch) {
#if defined(__x86_64__)
    if (chosen == avx512_isa) return avx512::spanned(s, begin, end, scratch);
    if (chosen == avx2_isa) return avx2::spanned(s, begin, end, scratch);
#endif
    baseline::spanned(s, begin, end, scratch);
}

// Below this many multiply-adds a thread is not worth waking.
constexpr i64 macs_per_thread = 1 << 20;

i64 useful_threads(i64 wanted, i64 rows, i64 macs) {
    if (GOMP_parallel == nullptr || omp_get_thread_num == nullptr || omp_get_num_threads == nullptr) return 1;
    return std::max<i64>(1, std::min({wanted, rows, macs / macs_per_thread}));
}

template <class Body>
struct Team {
    const Body* body;
    i64 rows;

    static void run(void* self) {
        const Team& team = *static_cast<Team*>(self);
        const i64 me = omp_get_thread_num(), all = omp_get_num_threads();
        (*team.body)(team.rows * me / all, team.rows * (me + 1) / all, me);
    }
};

// Call body(begin, end, thread) for a cut of the rows into as many pieces as there are threads.
template <class Body>
void parallel(i64 rows, i64 threads, const Body& body) {
    Team<Body> team{&body, rows};
    if (threads > 1)
        GOMP_parallel(Team<Body>::run, &team, static_cast<unsigned>(threads), 0);
    else
        body(i64(0), rows, i64(0));
}

// Call body with a gather that knows who meets whom; where the dense loops run it need not.
template <class T, class Body>
void ready(Gather<T> m, const Body& body) {
    const Window& w = m.window;
    const bool near = w.dilation == 1 && (w.stride == 1 || (w.stride == 2 && !m.transposed()));
    const bool dense = sizeof(T) == 4 && near && (w.k == 3 || w.k == 5 || w.k == 7) && m.width >= 4 &&
                       m.group_channels() % 4 == 0;
    const Meetings rows(w, dense ? 0 : m.height, m.source_height, m.transposed());
    const Meetings columns(w, dense ? 0 : m.width, m.source_width, m.transposed());
    m.rows = dense ? nullptr : &rows;
    m.columns = dense ? nullptr : &columns;
    body(m);
}

template <class T>
int run_gather(const Gather<T>& asked, i64 batch, i64 threads) try {
    ready(asked, [&](const Gather<T>& m) {
        const i64 outputs = m.transposed() ? m.source_height * m.source_width : m.height * m.width;
        threads = useful_threads(threads, batch * m.height, batch * outputs * m.channels * m.taps());
        parallel(batch * m.height, threads, [&](i64 begin, i64 end, i64) { gather(m, begin, end); });
    });
    return 0;
} catch (const std::exception&) {
    return 1;
}

template <class T>
int run_spanned(Spanned<T> s, i64 batch, i64 threads) try {
    ready(s.gather, [&](const Gather<T>& m) {
        s.gather = m;
        const i64 rows = batch * m.height, outputs = s.span.outputs * (s.span.inputs + m.group_channels());
        s.chunk = std::max<i64>(1, std::min(rows, Spanned<T>::pixels / m.width));
        threads = useful_threads(threads, rows, rows * m.width * (outputs + s.reduce.outputs * s.reduce.inputs));
        std::vector<T> scratch(threads * s.scratch());
        parallel(rows, threads, [&](i64 begin, i64 end, i64 thread) {
            spanned(s, begin, end, scratch.data() + thread * s.scratch());
        });
    });
    return 0;
} catch (const std::exception&) {
    return 1;
}

template <class T>
int run_correlate(const Correlate<T>& m, i64 batch, i64 threads) try {
    const i64 rows = batch * m.height, macs = rows * m.width * m.channels * m.window.k * m.window.k;
    threads = useful_threads(threads, rows, macs);
    std::vector<T> scratch(threads * m.scratch());
    parallel(rows, threads, [&](i64 begin, i64 end, i64 thread) {
        correlate(m, begin, end, scratch.data() + thread * m.scratch());
    });
    return 0;
} catch (const std::exception&) {
    return 1;
}

}  // namespace
}  // namespace invnas

// sizes: batch, channels, groups, height, width, output height, output width, K, stride, dilation, padding, threads.
// scale and bias: one for each channel; low and high: what the result is kept between.
// All return 0, or 1 when there was no memory for the bookkeeping.
#define INVNAS_DEFINE(T, suffix)                                                                                      \
    int invnas_forward_##suffix(const T* input, const T* kernels, T* output, const std::int64_t* n) {                 \
        return invnas::run_gather<T>({input, kernels, output, n[3], n[4], n[5], n[6], n[1], n[2],                     \
                                      {n[7], n[8], n[9], n[10]}, invnas::Kind::forward, {}, nullptr, nullptr},      \
                                     n[0], n[11]);                                                                    \
    }                                                                                                                 \
    int invnas_folded_##suffix(const T* input, const T* kernels, T* output, const std::int64_t* n, const T* scale,    \
                               const T* bias, double low, double high) {                                              \
        return invnas::run_gather<T>({input, kernels, output, n[3], n[4], n[5], n[6], n[1], n[2],                     \
                                      {n[7], n[8], n[9], n[10]}, invnas::Kind::folded,                                \
                                      {scale, bias, static_cast<T>(low), static_cast<T>(high)}, nullptr, nullptr},    \
                                     n[0], n[11]);                                                                    \
    }                                                                                                                 \
    int invnas_spanned_##suffix(const T* input, const T* map, T* output, const std::int64_t* n, const T* scale,       \
                                const T* bias, double low, double high, const T* reduce, const T* reduce_bias,        \
                                const T* span, const T* span_bias, std::int64_t inputs, std::int64_t hidden) {        \
        return invnas::run_spanned<T>({{input, nullptr, output, n[3], n[4], n[5], n[6], n[1], n[2],                   \
                                        {n[7], n[8], n[9], n[10]}, invnas::Kind::folded,                              \
                                        {scale, bias, static_cast<T>(low), static_cast<T>(high)}, nullptr, nullptr},  \
                                       map, {reduce, reduce_bias, inputs, hidden},                                    \
                                       {span, span_bias, hidden, n[2] * n[7] * n[7]}},                                \
                                      n[0], n[11]);                                                                   \
    }                                                                                                                 \
    int invnas_grad_input_##suffix(const T* grad, const T* kernels, T* output, const std::int64_t* n) {               \
        return invnas::run_gather<T>({grad, kernels, output, n[5], n[6], n[3], n[4], n[1], n[2],                      \
                                      {n[7], n[8], n[9], n[10]}, invnas::Kind::transposed, {}, nullptr, nullptr},   \
                                     n[0], n[11]);                                                                    \
    }                                                                                                                 \
    int invnas_grad_kernels_##suffix(const T* grad, const T* input, T* kernels, const std::int64_t* n) {              \
        return invnas::run_correlate<T>({grad, input, kernels, n[3], n[4], n[5], n[6], n[1], n[2],                    \
                                         {n[7], n[8], n[9], n[10]}}, n[0], n[11]);                                    \
    }

extern "C" {
#pragma GCC visibility push(default)
INVNAS_DEFINE(float, float32)
INVNAS_DEFINE(double, float64)

// Name of the instruction set in use; `wanted` in 0..2 narrows it for tests, -1 leaves it.
const char* invnas_instruction_set(int wanted) {
    if (wanted >= 0) invnas::chosen = std::min(static_cast<invnas::Isa>(wanted), invnas::best_isa());
    static const char* const names[] = {"baseline", "AVX2", "AVX-512"};
    return names[invnas::chosen];
}
#pragma GCC visibility pop
}
