// The loops, compiled once per instruction set: the file that includes this one defines INVNAS_ISA (a namespace),
// INVNAS_TARGET (an attribute on every function) and INVNAS_BYTES (width of a vector register).
//
// Every result is written by one thread in one order of additions: the same for any number of threads.

namespace invnas::INVNAS_ISA {

template <class T>
constexpr i64 lanes_of = INVNAS_BYTES / sizeof(T);

template <class T, int L>
struct Lanes {
    typedef T V __attribute__((vector_size(L * sizeof(T))));
    typedef T U __attribute__((vector_size(L * sizeof(T)), aligned(alignof(T)), may_alias));
};
template <class T>
struct Lanes<T, 1> {
    typedef T V;
    typedef T U;
};

// What folding does to the sums of the channels from c on; NaN stays NaN.
template <class T, int L>
INVNAS_TARGET inline __attribute__((always_inline)) void finish(
    const Finish<T>& f, i64 c, typename Lanes<T, L>::V* sum, int count) {
    typedef typename Lanes<T, L>::V V;
    typedef typename Lanes<T, L>::U U;
    const V scale = *reinterpret_cast<const U*>(f.scale + c), bias = *reinterpret_cast<const U*>(f.bias + c);
    const V low = f.low - V{}, high = f.high - V{};
#pragma GCC unroll 8
    for (int p = 0; p < count; ++p) {
        V y = sum[p] * scale + bias;
        y = y < low ? low : y;
        sum[p] = y > high ? high : y;
    }
}

// P neighbouring pixels of one row, L channels of one group, K x K taps at stride S: every pixel of the source is
// loaded once and meets up to K of the P pixels. Seen from the destination the transposed window is a flipped one
// whose weights lie at the source's pixel. A tap outside the map is skipped, never multiplied by zero.
template <class T, int L, int K, int S, int P, Kind kind, bool border>
INVNAS_TARGET inline __attribute__((always_inline)) void dense_block(
    const T* source, i64 row_step, i64 pixel_step, const T* weights, i64 weights_row, i64 weights_pixel,
    i64 rows, i64 first, i64 last, T* destination, const Finish<T>& end, i64 c) {
    typedef typename Lanes<T, L>::V V;
    typedef typename Lanes<T, L>::U U;
    constexpr bool transposed = kind == Kind::transposed;
    V sum[P] = {};
    for (i64 u = 0; u < rows; ++u) {
#pragma GCC unroll 24
        for (int q = 0; q < S * (P - 1) + K; ++q) {
            if (border && (q < first || q >= last)) continue;
            const V x = *reinterpret_cast<const U*>(source + q * pixel_step);
#pragma GCC unroll 8
            for (int p = 0; p < P; ++p) {
                const int v = q - S * p;
                if (v < 0 || v >= K) continue;
                sum[p] += x * (transposed ? weights[q * weights_pixel + (K - 1 - v)] : weights[p * weights_pixel + v]);
            }
        }
        source += row_step;
        weights += weights_row;
    }
    if constexpr (kind == Kind::folded) finish<T, L>(end, c, sum, P);
#pragma GCC unroll 8
    for (int p = 0; p < P; ++p) *reinterpret_cast<U*>(destination + p * pixel_step) = sum[p];
}

// One row of the destination, the channels [c0, c1) of every group in steps of L. The last block steps back to end
// with the row, so a few pixels are computed twice to the same value.
template <class T, int L, int K, int S, int P, Kind kind>
INVNAS_TARGET void dense_row(const Gather<T>& m, i64 image, i64 y, i64 c0, i64 c1) {
    constexpr bool transposed = kind == Kind::transposed;
    const i64 C = m.channels, cg = m.group_channels(), taps = m.taps(), pixel = m.groups * taps;
    const i64 padding = transposed ? K - 1 - m.window.padding : m.window.padding;
    const i64 top = y * S - padding, u0 = std::max<i64>(0, -top), u1 = std::min<i64>(K, m.source_height - top);
    const i64 rows = std::max<i64>(0, u1 - u0), met = S * (P - 1) + K;
    for (i64 block = 0; block < m.width; block += P) {
        const i64 x0 = std::min(block, m.width - P), left = x0 * S - padding;
        const i64 first = std::max<i64>(0, -left), last = std::min<i64>(met, m.source_width - left);
        const i64 from = (image * m.source_height + top + u0) * m.source_width + left;
        const i64 to = (image * m.height + y) * m.width + x0;
        const i64 at = transposed ? from * pixel + (K - 1 - u0) * K : (to - m.weights_row * m.width) * pixel + u0 * K;
        const i64 weights_row = transposed ? m.source_width * pixel - K : K;
        for (i64 g = 0; g < m.groups; ++g) {
            for (i64 c = g * cg + c0; c < g * cg + c1; c += L) {
                const T *source = m.source + from * C + c, *weights = m.weights + at + g * taps;
                T* destination = m.destination + to * C + c;
                if (first == 0 && last == met)
                    dense_block<T, L, K, S, P, kind, false>(
                        source, m.source_width * C, C, weights, weights_row, pixel, rows, first, last, destination,
                        m.finish, c);
                else
                    dense_block<T, L, K, S, P, kind, true>(
                        source, m.source_width * C, C, weights, weights_row, pixel, rows, first, last, destination,
                        m.finish, c);
            }
        }
    }
}

// One pixel of the destination, N neighbouring vectors of L channels, any window.
template <class T, int L, int N, bool folded>
INVNAS_TARGET inline __attribute__((always_inline)) void any_block(
    const Gather<T>& m, i64 image, i64 y, i64 x, const i64* channel, const i64* group) {
    typedef typename Lanes<T, L>::V V;
    typedef typename Lanes<T, L>::U U;
    const i64 C = m.channels, taps = m.taps(), K = m.window.k;
    const Meeting* all_rows = m.rows->all.data();
    const Meeting* all_columns = m.columns->all.data();
    const i64 here = (image * m.height + y) * m.width + x;
    V sum[N] = {};
    for (i64 r = m.rows->start[y]; r < m.rows->start[y + 1]; ++r) {
        const Meeting row = all_rows[r];
        for (i64 c = m.columns->start[x]; c < m.columns->start[x + 1]; ++c) {
            const Meeting column = all_columns[c];
            const i64 there = (image * m.source_height + row.source) * m.source_width + column.source;
            const i64 pixel = m.transposed() ? there : here - m.weights_row * m.width;
            const T* w = m.weights + pixel * m.groups * taps + row.tap * K + column.tap;
            const T* s = m.source + there * C;
#pragma GCC unroll 4
            for (int n = 0; n < N; ++n) sum[n] += *reinterpret_cast<const U*>(s + channel[n]) * w[group[n] * taps];
        }
    }
    if constexpr (folded)
        for (int n = 0; n < N; ++n) finish<T, L>(m.finish, channel[n], sum + n, 1);
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) *reinterpret_cast<U*>(m.destination + here * C + channel[n]) = sum[n];
}

template <class T, int L, bool folded>
INVNAS_TARGET void any_row(const Gather<T>& m, i64 image, i64 y, i64 c0, i64 c1) {
    const i64 cg = m.group_channels(), steps = (c1 - c0) / L, vectors = steps * m.groups;
    for (i64 x = 0; x < m.width; ++x) {
        i64 g = 0, step = 0, channel[4], group[4];
        for (i64 n = 0; n < vectors;) {
            const i64 count = vectors - n < 4 ? 1 : 4;
            for (i64 k = 0; k < count; ++k) {
                channel[k] = g * cg + c0 + step * L;
                group[k] = g;
                if (++step == steps) step = 0, ++g;
            }
            if (count == 4)
                any_block<T, L, 4, folded>(m, image, y, x, channel, group);
            else
                any_block<T, L, 1, folded>(m, image, y, x, channel, group);
            n += count;
        }
    }
}

template <class T>
using Row = void (*)(const Gather<T>&, i64, i64, i64, i64);

template <class T, int L, int K, int P>
Row<T> pick_kind(const Gather<T>& m) {
    if (m.kind == Kind::transposed) return dense_row<T, L, K, 1, P, Kind::transposed>;
    if (m.window.stride == 2)
        return m.kind == Kind::folded ? dense_row<T, L, K, 2, P, Kind::folded> : dense_row<T, L, K, 2, P, Kind::forward>;
    return m.kind == Kind::folded ? dense_row<T, L, K, 1, P, Kind::folded> : dense_row<T, L, K, 1, P, Kind::forward>;
}

// Blocks that waste the fewest pixels at the end of a row, the widest among equals.
template <class T, int L, int K>
Row<T> pick_block(const Gather<T>& m) {
    auto waste = [&](i64 block) { return (m.width + block - 1) / block * block; };
    if (m.width >= 8 && waste(8) <= waste(7) && waste(8) <= waste(4)) return pick_kind<T, L, K, 8>(m);
    if (m.width >= 7 && waste(7) <= waste(4)) return pick_kind<T, L, K, 7>(m);
    return pick_kind<T, L, K, 4>(m);
}

template <class T, int L>
Row<T> pick_row(const Gather<T>& m) {
    if constexpr (sizeof(T) == 4 && L >= 4) {
        if (m.rows == nullptr) {
            if (m.window.k == 3) return pick_block<T, L, 3>(m);
            if (m.window.k == 5) return pick_block<T, L, 5>(m);
            return pick_block<T, L, 7>(m);
        }
    }
    return m.kind == Kind::folded ? any_row<T, L, true> : any_row<T, L, false>;
}

// Cover the channels of a group by vectors of L, and what is left by narrower ones.
template <class T, int L>
void gather_lanes(const Gather<T>& m, i64 begin, i64 end, i64 c0) {
    const i64 c1 = c0 + (m.group_channels() - c0) / L * L;
    if (c1 > c0) {
        const Row<T> row = pick_row<T, L>(m);
        for (i64 n = begin; n < end; ++n) row(m, n / m.height, n % m.height, c0, c1);
    }
    if constexpr (L > 1) {
        if (c1 < m.group_channels()) gather_lanes<T, L / 2>(m, begin, end, c1);
    }
}

// Rows [begin, end) of all rows of the batch.
template <class T>
void gather(const Gather<T>& m, i64 begin, i64 end) {
    gather_lanes<T, lanes_of<T>>(m, begin, end, 0);
}

// R rows of taps by L taps of a row, for one pixel and one group: the sum over the channels needs no reduction,
// because a vector holds neighbouring taps. What a vector holds past the end of a row of taps is overwritten by the
// next row or, in the last one, not written.
template <class T, int L, int R>
INVNAS_TARGET inline __attribute__((always_inline)) void tap_block(
    const T* const* slots, i64 offset, i64 row_width, const T* gradient, i64 cg, i64 K, i64 v0, T* weights, bool last) {
    typedef typename Lanes<T, L>::V V;
    typedef typename Lanes<T, L>::U U;
    const T* row[R];
#pragma GCC unroll 8
    for (int u = 0; u < R; ++u) row[u] = slots[u] + offset;
    V sum[R] = {};
    for (i64 c = 0; c < cg; ++c) {
#pragma GCC unroll 8
        for (int u = 0; u < R; ++u) sum[u] += *reinterpret_cast<const U*>(row[u] + c * row_width) * gradient[c];
    }
#pragma GCC unroll 8
    for (int u = 0; u < R; ++u) {
        T* to = weights + u * K;
        if (v0 + L <= K || (v0 == 0 && !(last && u == R - 1) && L <= 2 * K))
            *reinterpret_cast<U*>(to) = sum[u];
        else
            __builtin_memcpy(to, &sum[u], std::min<i64>(L, K - v0) * sizeof(T));
    }
}

// The kernels of one row of pixels; `slots` are the input's rows under the window, `columns` where each pixel's first
// tap lies in them. `fixed` is K where the compiler shall know it, else 0.
template <class T, int L, int fixed>
INVNAS_TARGET void tap_row(const Correlate<T>& m, const T* const* slots, const i64* columns, i64 pixel) {
    constexpr int R = fixed ? fixed : 4;
    const i64 K = fixed ? fixed : m.window.k, cg = m.channels / m.groups, width = m.row_width();
    for (i64 g = 0; g < m.groups; ++g) {
        for (i64 x = 0; x < m.width; ++x) {
            const T* gradient = m.gradient + (pixel + x) * m.channels + g * cg;
            T* weights = m.weights + ((pixel + x) * m.groups + g) * K * K;
            for (i64 v = 0; v < K; v += L) {
                const i64 offset = g * cg * width + columns[x] + v;
                i64 u = 0;
                for (; u + R <= K; u += R)
                    tap_block<T, L, R>(slots + u, offset, width, gradient, cg, K, v, weights + u * K + v, u + R == K);
                for (; !fixed && u < K; ++u)
                    tap_block<T, L, 1>(slots + u, offset, width, gradient, cg, K, v, weights + u * K + v, u + 1 == K);
            }
        }
    }
}

// to[c * step + x] = from[x * columns + c], in tiles that stay in registers.
template <class T>
INVNAS_TARGET void transpose(const T* from, i64 rows, i64 columns, T* to, i64 step) {
    constexpr i64 tile = 4;
    i64 x = 0;
    for (; x + tile <= rows; x += tile) {
        for (i64 c = 0; c < columns; ++c) {
            T held[tile];
#pragma GCC unroll 4
            for (i64 k = 0; k < tile; ++k) held[k] = from[(x + k) * columns + c];
            __builtin_memcpy(to + c * step + x, held, sizeof(held));
        }
    }
    for (; x < rows; ++x)
        for (i64 c = 0; c < columns; ++c) to[c * step + x] = from[x * columns + c];
}

// Write one row of the zero-padded input into the ring, channel by channel.
template <class T>
INVNAS_TARGET void fill_row(const Correlate<T>& m, i64 image, i64 y, T* slot) {
    const i64 width = m.row_width(), C = m.channels, d = m.window.dilation;
    if (y < 0 || y >= m.in_height) return std::fill(slot, slot + C * width, T(0));
    const T* row = m.input + (image * m.in_height + y) * m.in_width * C;
    if (d == 1) return transpose(row, m.in_width, C, slot + m.window.padding, width);
    for (i64 x = 0; x < m.in_width; ++x) {
        T* to = slot + m.place(x + m.window.padding);
        for (i64 c = 0; c < C; ++c) to[c * width] = row[x * C + c];
    }
}

template <class T>
using TapRow = void (*)(const Correlate<T>&, const T* const*, const i64*, i64);

template <class T, int L>
TapRow<T> pick_taps(i64 K) {
    if (K == 3) return tap_row<T, L, 3>;
    if (K == 5) return tap_row<T, L, 5>;
    if (K == 7) return tap_row<T, L, 7>;
    return tap_row<T, L, 0>;
}

template <class T>
void correlate(const Correlate<T>& m, i64 begin, i64 end, T* scratch) {
    constexpr int wide = lanes_of<T> < 8 ? lanes_of<T> : 8, narrow = wide < 4 ? wide : 4;
    const i64 K = m.window.k, d = m.window.dilation, ring = m.ring(), size = m.channels * m.row_width();
    const TapRow<T> row = K <= 4 ? pick_taps<T, narrow>(K) : pick_taps<T, wide>(K);
    std::vector<const T*> slots(K);
    std::vector<i64> columns(m.width);
    for (i64 x = 0; x < m.width; ++x) columns[x] = m.place(x * m.window.stride);
    i64 filled = 0;  // rows of the padded input of this image that are or were in the ring
    for (i64 n = begin; n < end; ++n) {
        const i64 image = n / m.height, y = n % m.height, top = y * m.window.stride;
        if (n == begin || y == 0) filled = top;
        for (filled = std::max(filled, top); filled < top + ring; ++filled)
            fill_row(m, image, filled - m.window.padding, scratch + filled % ring * size);
        for (i64 u = 0; u < K; ++u) slots[u] = scratch + (top + u * d) % ring * size;
        row(m, slots.data(), columns.data(), n * m.width);
    }
}

}  // namespace invnas::INVNAS_ISA
