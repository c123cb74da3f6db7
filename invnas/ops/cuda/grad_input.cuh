// Gradient of the input, gathered: every pixel of the input sums what the taps that met it gave.

// Add what row y of the output gives to a strip of the input, by tap row u. The transposed window is a flipped one
// whose weights lie at the pixels of the output.
template <class T, int K, int V>
INVNAS_DEVICE void grad_input_row(
    const T* row, const T* weights, const Sizes& n, int left, Sum<T> (&sum)[strip_pixels][V]) {
    constexpr int P = strip_pixels;
#pragma unroll
    for (int q = 0; q < P + K - 1; ++q) {
        Sum<T> value[V];
        load<V>(row + q * n.channels, within(left + q, n.out_width), value);
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int v = K - 1 - (q - p);
            if (v >= 0 && v < K) add_products<V>(sum[p], widen(weights[position<P>(n, q) + v]), value);
        }
    }
}

// The block walks down the rows of the output, whose kernel values pass through shared memory one row ahead. A row
// reaches K rows of the input: K rows of threads hold them, each another tap row u. A thread whose u comes to 0 has
// met all of its K rows; it writes, and begins the row K below.
template <class T, int K, int V, int S>
INVNAS_DEVICE void grad_input_strips(const T* grad, const T* kernels, T* result, const Sizes& n) {
    constexpr int P = strip_pixels;
    struct Own {
        Sum<T> sum[P][V];
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
        for (int p = 0; p < P; ++p)
#pragma unroll
            for (int i = 0; i < V; ++i) own.sum[p][i] = 0;
    }
    INVNAS_SYNC
#pragma unroll 1
    for (int step = 0; step < last - tile.y + K - 1; ++step) {
        const int y = begin + step;
        INVNAS_PHASE {
            const Region region = {y + 1, left, 1, columns};
            if (within(y + 1, n.out_height))
                move<true, P>(shared + (step + 1) % 2 * room, const_cast<T*>(kernels), n, tile, region);
            const Lane lane = lane_of<V>(n, tile);
            const int u = K - 1 - (step + K - static_cast<int>(threadIdx.z)) % K;
            const int to = y - padding + u, x = tile.x + threadIdx.y * P;
            if (lane.works && x < n.in_width && to >= tile.y && to < last) {
                const int first = left + static_cast<int>(threadIdx.y) * P;
                const i64 from = pixel_of(tile.image, n.out_height, n.out_width, y, first);
                const T* strip = shared + step % 2 * room + position<P>(n, threadIdx.y * P);
                const T* weights = strip + (lane.group * K + u) * K;
                if (within(y, n.out_height))
                    grad_input_row<T, K, V>(grad + from * n.channels + lane.channel, weights, n, first, own.sum);
                if (u == 0) {
                    const i64 pixel = pixel_of(tile.image, n.in_height, n.in_width, to, x);
                    T* there = result + pixel * n.channels + lane.channel;
#pragma unroll
                    for (int p = 0; p < P; ++p) {
                        if (x + p < n.in_width) store<V>(there + p * n.channels, own.sum[p]);
#pragma unroll
                        for (int i = 0; i < V; ++i) own.sum[p][i] = 0;
                    }
                }
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
    const int K = n.kernel_size, s = n.stride, d = n.dilation, padding = n.padding;
    const int u0 = first_tap(n, y), v0 = first_tap(n, x);
    Sum<T> sum[V] = {};
    for (int u = u0; u < K; u += n.tap_step) {
        const int row = (y + padding - u * d) / s;
        if (!within(row, n.out_height)) continue;
        for (int v = v0; v < K; v += n.tap_step) {
            const int column = (x + padding - v * d) / s;
            if (!within(column, n.out_width)) continue;
            const i64 pixel = pixel_of(image, n.out_height, n.out_width, row, column);
            Sum<T> value[V], factor[1];
            load<V>(grad + pixel * n.channels + lane.channel, true, value);
            load<1>(kernels + ((pixel * n.groups + group) * K + u) * K + v, true, factor);
            add_products<V>(sum, factor[0], value);
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
