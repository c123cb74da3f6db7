// Kernels made where they are used: the last map of the kernel generator, times its span, a few rows at a time, so that
// they are in a cache when the loops of involution read them and never in memory as a whole. Compiled once per
// instruction set, after kernels.h.

namespace invnas::INVNAS_ISA {

// P pixels by X vectors of outputs, from output t on.
template <class T, int L, int P, int X>
INVNAS_TARGET inline __attribute__((always_inline)) void linear_block(
    const Linear<T>& layer, const T* map, i64 t, T* to) {
    typedef typename Lanes<T, L>::V V;
    typedef typename Lanes<T, L>::U U;
    const i64 in = layer.inputs, out = layer.outputs;
    const T *weight = layer.weight + t, *bias = layer.bias + t;
    V sum[P][X];
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
        for (int x = 0; x < X; ++x) sum[p][x] = *reinterpret_cast<const U*>(bias + x * L);
    }
    for (i64 r = 0; r < in; ++r) {
        V w[X];
#pragma GCC unroll 4
        for (int x = 0; x < X; ++x) w[x] = *reinterpret_cast<const U*>(weight + x * L);
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
            for (int x = 0; x < X; ++x) sum[p][x] += w[x] * map[p * in + r];
        }
        weight += out;
    }
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 4
        for (int x = 0; x < X; ++x) *reinterpret_cast<U*>(to + p * out + t + x * L) = sum[p][x];
    }
}

// All outputs at P pixels. The last vector steps back to end with them: some are computed twice to the same value.
template <class T, int L, int P>
INVNAS_TARGET void pixel_block(const Linear<T>& layer, const T* map, T* to) {
    if constexpr (L > 1) {
        if (layer.outputs < L) return pixel_block<T, L / 2, P>(layer, map, to);
    }
    constexpr int X = INVNAS_BYTES == 64 ? 3 : 2;  // what fits the registers
    i64 t = 0;
    for (; t + X * L <= layer.outputs; t += X * L) linear_block<T, L, P, X>(layer, map, t, to);
    for (; X > 2 && t + 2 * L <= layer.outputs; t += 2 * L) linear_block<T, L, P, 2>(layer, map, t, to);
    for (; t < layer.outputs; t += L) linear_block<T, L, P, 1>(layer, map, std::min(t, layer.outputs - L), to);
}

// to (pixels, outputs) = layer of map (pixels, inputs).
template <class T>
INVNAS_TARGET void apply(const Linear<T>& layer, const T* map, i64 pixels, T* to) {
    constexpr int P = INVNAS_BYTES == 64 ? 7 : 6, L = lanes_of<T>;
    const i64 in = layer.inputs, out = layer.outputs;
    if (pixels < P) {
        for (i64 p = 0; p < pixels; ++p) pixel_block<T, L, 1>(layer, map + p * in, to + p * out);
        return;
    }
    for (i64 block = 0; block < pixels; block += P) {
        const i64 p = std::min(block, pixels - P);
        pixel_block<T, L, P>(layer, map + p * in, to + p * out);
    }
}

template <class T>
INVNAS_TARGET void rectify(T* values, i64 count) {
    for (i64 n = 0; n < count; ++n) values[n] = values[n] < 0 ? 0 : values[n];  // NaN stays NaN
}

// Rows [begin, end) of all rows of the batch.
template <class T>
INVNAS_TARGET void spanned(const Spanned<T>& s, i64 begin, i64 end, T* scratch) {
    Gather<T> m = s.gather;
    m.weights = scratch;
    T* const hidden = scratch + s.made();
    for (i64 row = begin; row < end; row += s.chunk) {
        const i64 rows = std::min(s.chunk, end - row), pixels = rows * m.width, before = row * m.width;
        if (s.reduce.weight) {
            apply(s.reduce, s.map + before * s.reduce.inputs, pixels, hidden);
            rectify(hidden, pixels * s.reduce.outputs);
        }
        apply(s.span, s.reduce.weight ? hidden : s.map + before * s.span.inputs, pixels, scratch);
        m.weights_row = row;
        gather(m, row, row + rows);
    }
}

}  // namespace invnas::INVNAS_ISA
