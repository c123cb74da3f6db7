// Every entry of the library over random shapes against naive loops; built by test_cpu.py with the sanitizers on.
#include <cmath>
#include <cstdio>
#include <random>

#include "involution.cpp"

using invnas::i64;

template <class T>
using Entry = int (*)(const T*, const T*, T*, const i64*);

template <class T>
bool agrees(const char* what, const std::vector<T>& got, const std::vector<double>& want, double tolerance) {
    for (std::size_t n = 0; n < got.size(); ++n)
        if (!(std::abs(got[n] - want[n]) <= tolerance)) {
            std::printf("%s differs at %zu: %g for %g\n", what, n, double(got[n]), want[n]);
            return false;
        }
    return true;
}

template <class T>
bool check(Entry<T> forward, Entry<T> grad_input, Entry<T> grad_kernels, const i64* n, std::mt19937& random) {
    const i64 B = n[0], C = n[1], G = n[2], H = n[3], W = n[4], h = n[5], w = n[6], K = n[7], s = n[8], d = n[9], p = n[10];
    // Exact sizes on the heap: one element too far is a report.
    std::vector<T> x(B * H * W * C), k(B * h * w * G * K * K), gy(B * h * w * C), y(gy.size()), gx(x.size()), gk(k.size());
    std::normal_distribution<double> normal;
    for (std::vector<T>* values : {&x, &k, &gy})
        for (T& value : *values) value = T(normal(random));
    std::vector<double> wy(y.size()), wx(x.size()), wk(k.size());
    for (i64 b = 0; b < B; ++b)
        for (i64 i = 0; i < h; ++i)
            for (i64 j = 0; j < w; ++j)
                for (i64 u = 0; u < K; ++u)
                    for (i64 v = 0; v < K; ++v)
                        for (i64 c = 0; c < C; ++c) {
                            const i64 r = i * s + u * d - p, q = j * s + v * d - p;
                            if (r < 0 || r >= H || q < 0 || q >= W) continue;
                            const i64 from = ((b * H + r) * W + q) * C + c, to = ((b * h + i) * w + j) * C + c;
                            const i64 by = (((b * h + i) * w + j) * G + c / (C / G)) * K * K + u * K + v;
                            wy[to] += double(k[by]) * x[from];
                            wx[from] += double(k[by]) * gy[to];
                            wk[by] += double(gy[to]) * x[from];
                        }
    const double tolerance = sizeof(T) == 4 ? 1e-3 : 1e-11;
    if (forward(x.data(), k.data(), y.data(), n) || grad_input(gy.data(), k.data(), gx.data(), n) ||
        grad_kernels(gy.data(), x.data(), gk.data(), n))
        return false;
    return agrees("output", y, wy, tolerance) && agrees("gradient of the input", gx, wx, tolerance) &&
           agrees("gradient of the kernels", gk, wk, tolerance);
}

template <class T>
using Spanned = int (*)(const T*, const T*, T*, const i64*, const T*, const T*, double, double, const T*, const T*,
                        const T*, const T*, i64, i64);

// What makes its kernels itself against the same kernels made before.
template <class T>
bool check_spanned(Entry<T> forward, Spanned<T> spanned, const i64* n, i64 inputs, bool reduced, std::mt19937& random) {
    const i64 B = n[0], C = n[1], pixels = B * n[5] * n[6], taps = n[2] * n[7] * n[7], hidden = reduced ? 3 : inputs;
    std::vector<T> x(B * n[3] * n[4] * C), map(pixels * inputs), reduce(inputs * hidden), reduce_bias(hidden),
        span(hidden * taps), span_bias(taps), scale(C), bias(C), k(pixels * taps), y(pixels * C), found(y.size());
    std::normal_distribution<double> normal;
    for (std::vector<T>* values : {&x, &map, &reduce, &reduce_bias, &span, &span_bias, &scale, &bias})
        for (T& value : *values) value = T(normal(random));
    for (i64 p = 0; p < pixels; ++p) {
        std::vector<double> made(map.begin() + p * inputs, map.begin() + (p + 1) * inputs);
        if (reduced) {
            std::vector<double> less(hidden);
            for (i64 r = 0; r < hidden; ++r) {
                less[r] = reduce_bias[r];
                for (i64 i = 0; i < inputs; ++i) less[r] += made[i] * reduce[i * hidden + r];
                less[r] = std::max(less[r], 0.0);
            }
            made = less;
        }
        for (i64 t = 0; t < taps; ++t) {
            double sum = span_bias[t];
            for (i64 r = 0; r < hidden; ++r) sum += made[r] * span[r * taps + t];
            k[p * taps + t] = T(sum);
        }
    }
    if (forward(x.data(), k.data(), y.data(), n) ||
        spanned(x.data(), map.data(), found.data(), n, scale.data(), bias.data(), -1, 2, reduced ? reduce.data() : nullptr,
                reduced ? reduce_bias.data() : nullptr, span.data(), span_bias.data(), inputs, hidden))
        return false;
    std::vector<double> want(y.size());
    for (std::size_t at = 0; at < y.size(); ++at)
        want[at] = std::min(2.0, std::max(-1.0, double(y[at]) * scale[at % C] + bias[at % C]));
    return agrees("what makes its kernels", found, want, sizeof(T) == 4 ? 1e-2 : 1e-10);
}

int main() {
    std::mt19937 random(7);
    auto one_of = [&](std::initializer_list<i64> values) { return values.begin()[random() % values.size()]; };
    for (int isa = 0; isa < 3; ++isa) {
        invnas_instruction_set(isa);
        for (int round = 0; round < 300; ++round) {
            const i64 K = one_of({1, 2, 3, 5, 7, 9}), s = one_of({1, 1, 2, 3}), d = one_of({1, 1, 2});
            const i64 p = one_of({0, 1, d * (K - 1) / 2, K}), G = one_of({1, 2, 5}), cg = one_of({1, 3, 4, 8, 12, 16, 20});
            const i64 H = one_of({1, 4, 7}), W = one_of({1, 5, 7, 8, 11}), reach = d * (K - 1) + 1;
            if (H + 2 * p < reach || W + 2 * p < reach) continue;
            const i64 n[] = {one_of({0, 1, 2}), G * cg, G, H, W, (H + 2 * p - reach) / s + 1, (W + 2 * p - reach) / s + 1,
                             K, s, d, p, 1};
            const i64 inputs = one_of({1, 2, 17});
            const bool reduced = random() % 2;
            if (!check_spanned<float>(invnas_forward_float32, invnas_spanned_float32, n, inputs, reduced, random) ||
                !check_spanned<double>(invnas_forward_float64, invnas_spanned_float64, n, inputs, reduced, random) ||
                !check<float>(invnas_forward_float32, invnas_grad_input_float32, invnas_grad_kernels_float32, n, random) ||
                !check<double>(invnas_forward_float64, invnas_grad_input_float64, invnas_grad_kernels_float64, n, random)) {
                std::printf("K %ld, stride %ld, dilation %ld, padding %ld, G %ld, C %ld, %ld x %ld, isa %d\n", long(K), long(s),
                            long(d), long(p), long(G), long(n[1]), long(H), long(W), isa);
                return 1;
            }
        }
    }
    std::puts("all agree");
    return 0;
}
