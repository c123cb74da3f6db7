// Gradient of the input, gathered: every pixel of the input sums what the taps that met it gave.

// Add what a row of the output gives to the strips `first` and before `last`: the lower one meets it by the next tap
// row. The transposed window is a flipped one whose weights lie at the pixels of the output.
template <class T, int K, int V, int first, int last>
INVNAS_DEVICE void grad_input_row(const T* row, const T* weights, const Sizes& n, int left, Strips<T, V>& sum) {
    constexpr int P = strip_pixels;
    const int C = here(n.channels), pitch = here(n.pixel_pitch);
    left = here(left);
#pragma unroll
    for (int q = 0; q < P + K - 1; ++q, row += C) {
        Sum<T> value[V];
        load<V>(row, within(left + q, n.out_width), value);
#pragma unroll
        for (int j = first; j < last; ++j)
#pragma unroll
            for (int p = 0; p < P; ++p) {
                const int v = K - 1 - (q - p);
                if (v >= 0 && v < K) add_products<V>(sum[j][p], widen(weights[j * K + v]), value);
            }
        weights += q % P < P - 1 ? pitch : here(n.strip_pitch) - (P - 1) * pitch;
    }
}

// Store finished strips from (y, x) on, and clear them.
template <class T, int V>
INVNAS_DEVICE void finish(
    T* result, const Sizes& n, int image, int y, int x, int last, int channel, Strips<T, V>& sum) {
    T* to = result + pixel_of(image, n.in_height, n.in_width, y, x) * n.channels + channel;
#pragma unroll
    for (int j = 0; j < strip_rows; ++j, to += n.in_width * n.channels)
#pragma unroll
        for (int p = 0; p < strip_pixels; ++p) {
            if (y + j < last && x + p < n.in_width) store<V>(to + p * n.channels, sum[j][p]);
#pragma unroll
            for (int i = 0; i < V; ++i) sum[j][p][i] = 0;
        }
}

// The block walks down the rows of the output, whose kernel values pass through shared memory one row ahead: each is
// fetched once a tile, where threads that stay would need a halo of K - 1 rows of them at once. A row reaches K rows of
// the input, so (K + 1) / 2 rows of threads hold all pairs in reach. A pair meets K + 1 rows: the upper strip the first
// K of them, from tap row K - 1 on, the lower one the last K. Then the thread stores it, and its next pair, K + 1 rows
// below, just comes into reach.
template <class T, int K, int V, int S>
INVNAS_DEVICE void grad_input_strips(const T* grad, const T* kernels, T* result, const Sizes& n) {
    constexpr int P = strip_pixels, R = strip_rows;
    struct Own {
        Strips<T, V> sum;
    };
    INVNAS_OWN(Own);
    const int width = blockDim.y * P, padding = n.padding;
    const Tile tile = tile_of(n, width);
    T* shared = shared_memory<T>();
    const int columns = width + K - 1, left = tile.x + padding - (K - 1);
    const int room = (columns + P - 1) / P * static_cast<int>(n.strip_pitch);  // of one row
    const int begin = tile.y + padding - (K - 1);
    const int last = tile.y + n.tile_rows < n.in_height ? tile.y + n.tile_rows : n.in_height;
    INVNAS_PHASE {
        const Region region = {begin, left, 1, columns};
        if (within(begin, n.out_height)) move<true, P>(shared, const_cast<T*>(kernels), n, tile, region);
#pragma unroll
        for (int i = 0; i < R * P * V; ++i) own.sum[i / (P * V)][i / V % P][i % V] = 0;
    }
    INVNAS_SYNC
#pragma unroll 1
    for (int step = 0; step < (last - tile.y + 1) / R * R + K - 1; ++step) {
        const int y = begin + step;
        INVNAS_PHASE {
            const Region region = {y + 1, left, 1, columns};
            if (within(y + 1, n.out_height))
                move<true, P>(shared + (step + 1) % 2 * room, const_cast<T*>(kernels), n, tile, region);
            const Lane lane = lane_of<V>(n, tile);
            const int met = (step + K + 1 - R * static_cast<int>(threadIdx.z)) % (K + 1);  // rows, before this one
            const int to = tile.y + step - met, x = tile.x + threadIdx.y * P;
            if (lane.works && x < n.in_width && to >= tile.y && to < last) {
                const int first = left + static_cast<int>(threadIdx.y) * P;
                const i64 from = pixel_of(tile.image, n.out_height, n.out_width, y, first);
                const T* row = grad + from * n.channels + lane.channel;
                const T* strip = shared + step % 2 * room + position<P>(n, threadIdx.y * P);
                const T* weights = strip + (lane.group * K + K - 1 - met) * K;
                if (within(y, n.out_height)) {
                    if (met == 0)
                        grad_input_row<T, K, V, 0, 1>(row, weights, n, first, own.sum);
                    else if (met < K)
                        grad_input_row<T, K, V, 0, 2>(row, weights, n, first, own.sum);
                    else
                        grad_input_row<T, K, V, 1, 2>(row, weights, n, first, own.sum);
                }
                if (met == K) finish<T, V>(result, n, tile.image, to, x, last, lane.channel, own.sum);
            }
        }
        INVNAS_SYNC
    }
}

// Of `tap_step` neighbouring taps at most one reaches a pixel of the input from a pixel of the output: the first.
INVNAS_DEVICE int first_tap(const Sizes& n, int at) {
    const int s = n.stride, d = n.dilation, K = n.kernel_size;
    for (int tap = 0; tap < n.tap_step; ++tap)
        if ((at + static_cast<int>(n.padding) - tap * d) % s == 0) return tap;
    return K;
}

template <class T, int V>
INVNAS_DEVICE void grad_input_pixel(
    const T* grad, const T* kernels, T* result, const Sizes& n, int image, int y, int x, const Lane& lane, int group) {
    const int K = n.kernel_size, s = n.stride, d = n.dilation, padding = n.padding, step = n.tap_step, C = n.channels;
    const int u0 = first_tap(n, y), v0 = first_tap(n, x), back = step * d / s;  // pixels between two taps that reach
    const int pitch = n.groups * K * K, start = (x + padding - v0 * d) / s;
    Sum<T> sum[V] = {};
    for (int u = u0, row = (y + padding - u0 * d) / s; u < K; u += step, row -= back) {
        if (!within(row, n.out_height)) continue;
        const i64 pixel = pixel_of(image, n.out_height, n.out_width, row, start);
        const T* upper = grad + pixel * C + lane.channel;
        const T* weight = kernels + pixel * pitch + (group * K + u) * K + v0;
        for (int v = v0, column = start; v < K; v += step, column -= back) {
            if (within(column, n.out_width)) {
                Sum<T> value[V], factor[1];
                load<V>(upper, true, value);
                load<1>(weight, true, factor);
                add_products<V>(sum, factor[0], value);
            }
            upper -= back * C;
            weight += step - back * pitch;
        }
    }
    store<V>(result + pixel_of(image, n.in_height, n.in_width, y, x) * n.channels + lane.channel, sum);
}

template <class T, int K, int V, int S>
INVNAS_DEVICE void grad_input_any(const T* grad, const T* kernels, T* result, const Sizes& n) {
    const Tile tile = tile_of(n, blockDim.y);
    INVNAS_PHASE {
        const Lane lane = lane_of<V>(n, tile);
        const int y = tile.y + threadIdx.z, x = tile.x + threadIdx.y;
        if (lane.works && y < n.in_height && x < n.in_width)
            grad_input_pixel<T, V>(grad, kernels, result, n, tile.image, y, x, lane, tile.group + lane.group);
    }
}
