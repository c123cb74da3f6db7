// Every loop of the onnxruntime node on memory of the exact size, for the sanitizers, against naive loops.
#include <cmath>
#include <cstdio>
#include <random>

#include "node.cpp"

using namespace invnas;

static std::mt19937 random_bits(0);

template <class T>
static std::vector<T> numbers(i64 count) {
    std::normal_distribution<double> normal;
    std::vector<T> all(count);
    for (T& one : all) one = static_cast<T>(normal(random_bits));
    return all;
}

template <class T>
static bool agrees(i64 batch, i64 groups, i64 group_channels, i64 H, i64 W, Window w, i64 hidden, bool folded) {
    const i64 C = groups * group_channels, reach = w.dilation * (w.k - 1) + 1, taps = w.k * w.k;
    const i64 h = (H + 2 * w.padding - reach) / w.stride + 1, width = (W + 2 * w.padding - reach) / w.stride + 1;
    const auto x = numbers<T>(batch * C * H * W), scale = numbers<T>(C), bias = numbers<T>(C);
    const auto span = numbers<T>(groups * hidden * taps), span_bias = numbers<T>(groups * taps);
    const auto map = numbers<T>(batch * (hidden ? hidden : groups * taps) * h * width);
    std::vector<T> y(batch * C * h * width);
    Planes<T> m{x.data(), map.data(), hidden ? span.data() : nullptr, span_bias.data(),
                {folded ? scale.data() : nullptr, bias.data(), T(-0.5), T(2)}, y.data(),
                batch, C, groups, hidden, H, W, h, width, w};
    m.cut();
    for (i64 tile = 0; tile < m.tiles(); ++tile) compute(m, tile);
    auto weight = [&](i64 b, i64 g, i64 t, i64 at) {
        if (!hidden) return double(map[((b * groups + g) * taps + t) * h * width + at]);
        double sum = span_bias[g * taps + t];
        for (i64 c = 0; c < hidden; ++c)
            sum += double(span[(g * hidden + c) * taps + t]) * map[(b * hidden + c) * h * width + at];
        return sum;
    };
    for (i64 n = 0; n < batch * C * h * width; ++n) {
        const i64 at = n % (h * width), c = n / (h * width) % C, b = n / (h * width) / C;
        double sum = 0;
        for (i64 t = 0; t < taps; ++t) {
            const i64 i = at / width * w.stride + t / w.k * w.dilation - w.padding;
            const i64 j = at % width * w.stride + t % w.k * w.dilation - w.padding;
            if (i >= 0 && i < H && j >= 0 && j < W)
                sum += weight(b, c / group_channels, t, at) * x[((b * C + c) * H + i) * W + j];
        }
        if (folded) sum = std::min(std::max(sum * scale[c] + bias[c], -0.5), 2.0);
        if (std::abs(sum - y[n]) > (sizeof(T) == 4 ? 1e-3 : 1e-9)) {
            std::printf("%ld x %ld, K %ld, stride %ld, dilation %ld, padding %ld, hidden %ld: %g is not %g\n", long(H),
                        long(W), long(w.k), long(w.stride), long(w.dilation), long(w.padding), long(hidden),
                        double(y[n]), sum);
            return false;
        }
    }
    return true;
}

int main() {
    bool all = true;
    for (int isa = 0; isa <= best_isa(); ++isa) {
        chosen = static_cast<Isa>(isa);
        for (const i64 k : {1, 2, 3, 7})
            for (const i64 stride : {1, 2, 3})
                for (const i64 dilation : {1, 2})
                    for (const i64 side : {1, 5, 23})
                        for (const i64 hidden : {0, 3}) {
                            const Window window{k, stride, dilation, dilation * (k - 1) / 2 + (k + 1) % 2 * dilation};
                            all &= agrees<float>(2, 2, 5, side, side + 14, window, hidden, side == 5);
                            all &= agrees<double>(1, 1, 17, side, side, window, hidden, side == 5);
                        }
        all &= agrees<float>(1, 1, 16, 2, 700, {9, 1, 1, 4}, 2, true);  // more room than the stack holds
    }
    return all ? 0 : 1;
}
