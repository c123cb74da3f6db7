// The loops of one tile, compiled once per instruction set: the file that includes this one defines INVNAS_ISA (a
// namespace), INVNAS_TARGET (an attribute on every function) and INVNAS_BYTES (width of a vector register).
//
// A vector holds neighbouring pixels, since onnxruntime keeps maps plane by plane: there the weights of a tap are
// neighbours too, and serve every channel of their group. Every result is written by one thread in one order of
// additions. Where the last vector of a row would reach past it, it steps back instead, and a few pixels are computed
// twice to the same value.

namespace invnas::INVNAS_ISA {

template <class T>
constexpr int lanes_of = INVNAS_BYTES / sizeof(T);

template <class T, int L>
struct Pixels {
    typedef T V __attribute__((vector_size(L * sizeof(T))));
    typedef T U __attribute__((vector_size(L * sizeof(T)), aligned(alignof(T)), may_alias));
};
template <class T>
struct Pixels<T, 1> {
    typedef T V;
    typedef T U;
};

// Write one phase of a padded row: pixel q * s - left of the source for every q, zeros where that is beside the map.
template <class T, int s>
INVNAS_TARGET void fill_phase(const T* row, i64 width, i64 stride, i64 left, i64 phase, T* to) {
    const i64 step = s ? s : stride;  // the compiler knows the usual ones
    const i64 begin = std::min(phase, std::max<i64>(0, (left + step - 1) / step));
    const i64 end = std::max(begin, std::min(phase, (width + left + step - 1) / step));
    const T* from = row + begin * step - left;
    for (i64 q = 0; q < begin; ++q) to[q] = 0;
    for (i64 q = 0; q < end - begin; ++q) to[begin + q] = from[q * step];
    for (i64 q = end; q < phase; ++q) to[q] = 0;
}

template <class T, int s>
INVNAS_TARGET void fill_rows(const Planes<T>& m, const Tile& t, T* room) {
    const i64 stride = m.window.stride, p = m.window.padding, W = m.source_width, top = t.first * stride - p;
    const i64 rows = m.room_rows(t.last - t.first);
    for (i64 c = 0; c < t.channels; ++c) {
        const T* plane = m.source + (t.image * m.channels + t.channel + c) * m.source_height * W;
        for (i64 r = 0; r < rows; ++r) {
            T* to = room + c * m.room_plane + r * m.pitch;
            const i64 y = top + r;
            if (y < 0 || y >= m.source_height)
                std::fill(to, to + m.pitch, T(0));
            else
                for (i64 f = 0; f < stride; ++f)
                    fill_phase<T, s>(plane + y * W, W, stride, p - f, m.phase, to + f * m.phase);
        }
    }
}

// Copy what a tile meets of the source into its room.
template <class T>
void fill(const Planes<T>& m, const Tile& t, T* room) {
    if (m.window.stride == 1) return fill_rows<T, 1>(m, t, room);
    if (m.window.stride == 2) return fill_rows<T, 2>(m, t, room);
    fill_rows<T, 0>(m, t, room);
}

// The weights of R taps at X vectors of pixels: span^T times the hidden map.
template <class T, int L, int X, int R>
INVNAS_TARGET inline __attribute__((always_inline)) void span_block(
    const T* map, i64 plane, i64 hidden, const T* span, i64 taps, const T* bias, T* to, i64 step) {
    typedef typename Pixels<T, L>::V V;
    typedef typename Pixels<T, L>::U U;
    V sum[R][X];
#pragma GCC unroll 10
    for (int r = 0; r < R; ++r)
        for (int x = 0; x < X; ++x) sum[r][x] = V{} + bias[r];
    for (i64 c = 0; c < hidden; ++c) {
        V at[X];
#pragma GCC unroll 2
        for (int x = 0; x < X; ++x) at[x] = *reinterpret_cast<const U*>(map + x * L);
#pragma GCC unroll 10
        for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
            for (int x = 0; x < X; ++x) sum[r][x] += at[x] * span[r];
        }
        map += plane;
        span += taps;
    }
#pragma GCC unroll 10
    for (int r = 0; r < R; ++r) {
#pragma GCC unroll 2
        for (int x = 0; x < X; ++x) *reinterpret_cast<U*>(to + r * step + x * L) = sum[r][x];
    }
}

// The weights of all taps at X vectors of pixels.
template <class T, int L, int X>
INVNAS_TARGET void span_taps(const T* map, i64 plane, i64 hidden, const T* span, i64 taps, const T* bias, T* to, i64 step) {
    i64 t = 0;
    if (taps == 9) return span_block<T, L, X, 9>(map, plane, hidden, span, taps, bias, to, step);
    if (taps >= 10) {
        for (; t < taps; t += 10) {
            const i64 from = std::min(t, taps - 10);
            span_block<T, L, X, 10>(map, plane, hidden, span + from, taps, bias + from, to + from * step, step);
        }
    }
    for (; t < taps; ++t) span_block<T, L, X, 1>(map, plane, hidden, span + t, taps, bias + t, to + t * step, step);
}

// The weights of one group at `pixels` neighbouring pixels: (K * K, pixels).
template <class T, int L = lanes_of<T>>
INVNAS_TARGET void span_pixels(const Planes<T>& m, const T* map, i64 group, i64 first, i64 pixels, T* to) {
    constexpr int X = INVNAS_BYTES == 64 ? 2 : 1;  // what fits the registers
    const T *span = m.span + group * m.hidden * m.taps(), *bias = m.span_bias + group * m.taps();
    i64 x = first;
    auto block = [&](auto vectors, i64 at) {
        span_taps<T, L, decltype(vectors)::value>(map + at, m.plane(), m.hidden, span, m.taps(), bias, to + at, pixels);
    };
    for (; x + X * L <= pixels; x += X * L) block(std::integral_constant<int, X>(), x);
    for (; x + L <= pixels; x += L) block(std::integral_constant<int, 1>(), x);
    if constexpr (L > 1) {
        if (x == pixels) return;
        if (pixels >= L && pixels - x > L / 2)
            block(std::integral_constant<int, 1>(), pixels - L);
        else
            span_pixels<T, L / 2>(m, map, group, x, pixels, to);
    }
}

// L pixels of one row of the destination, N channels of one group. `room` is the padded source of the first channel at
// the first pixel, `weights` those of the first tap there.
template <class T, int L, int N>
INVNAS_TARGET inline __attribute__((always_inline)) void pixel_block(
    const Planes<T>& m, const T* room, const T* weights, i64 step, i64 channel, T* destination) {
    typedef typename Pixels<T, L>::V V;
    typedef typename Pixels<T, L>::U U;
    const i64 K = m.window.k, down = m.window.dilation * m.pitch;
    V sum[N] = {};
    for (i64 u = 0; u < K; ++u) {
        for (i64 v = 0; v < K; ++v) {
            const V w = *reinterpret_cast<const U*>(weights);
            const T* s = room + m.columns[v];
#pragma GCC unroll 16
            for (int n = 0; n < N; ++n) sum[n] += *reinterpret_cast<const U*>(s + n * m.room_plane) * w;
            weights += step;
        }
        room += down;
    }
#pragma GCC unroll 16
    for (int n = 0; n < N; ++n) {
        V y = sum[n];
        if (m.finish.scale) {
            y = y * m.finish.scale[channel + n] + m.finish.bias[channel + n];
            y = y < m.finish.low ? V{} + m.finish.low : y;
            y = y > m.finish.high ? V{} + m.finish.high : y;
        }
        *reinterpret_cast<U*>(destination + n * m.plane()) = y;
    }
}

template <class T, int L, int N>
INVNAS_TARGET void pixel_row(
    const Planes<T>& m, const T* room, const T* weights, i64 step, i64 channel, T* destination) {
    for (i64 x = 0; x < m.width; x += L) {
        const i64 at = std::min(x, m.width - L);
        pixel_block<T, L, N>(m, room + at, weights + at, step, channel, destination + at);
    }
}

// One row of a tile: `weights` are (K * K, ...), `step` apart from tap to tap.
template <class T, int L = lanes_of<T>>
INVNAS_TARGET void tile_row(const Planes<T>& m, const Tile& t, i64 y, const T* room, const T* weights, i64 step) {
    if constexpr (L > 1) {
        if (m.width < L) return tile_row<T, L / 2>(m, t, y, room, weights, step);
    }
    constexpr int wide = INVNAS_BYTES == 64 ? 16 : 8;
    T* to = m.destination + (t.image * m.channels + t.channel) * m.plane() + y * m.width;
    const T* from = room + (y - t.first) * m.window.stride * m.pitch;
    i64 c = 0;
    auto channels = [&](auto several) {
        constexpr int N = decltype(several)::value;
        for (; c + N <= t.channels; c += N)
            pixel_row<T, L, N>(m, from + c * m.room_plane, weights, step, t.channel + c, to + c * m.plane());
    };
    channels(std::integral_constant<int, wide>());
    channels(std::integral_constant<int, 4>());
    channels(std::integral_constant<int, 1>());
}

template <class T>
void tile(const Planes<T>& m, const Tile& t, T* room) {
    T* made = room + m.room();
    fill(m, t, room);
    if (m.span == nullptr) {
        const T* weights = m.weights + (t.image * m.groups + t.group) * m.taps() * m.plane();
        for (i64 y = t.first; y < t.last; ++y) tile_row(m, t, y, room, weights + y * m.width, m.plane());
        return;
    }
    for (i64 first = t.first; first < t.last; first += m.chunk) {
        const i64 last = std::min(first + m.chunk, t.last), pixels = (last - first) * m.width;
        const T* map = m.weights + t.image * m.hidden * m.plane() + first * m.width;
        span_pixels(m, map, t.group, 0, pixels, made);
        for (i64 y = first; y < last; ++y) tile_row(m, t, y, room, made + (y - first) * m.width, pixels);
    }
}

}  // namespace invnas::INVNAS_ISA
