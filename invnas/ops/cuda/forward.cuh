// Forward: Y[c] = sum over the taps of W[group of c] * X[c] at the pixel under the tap.

// A strip of the output: the P pixels from (y, x) on, V channels.
template <class T, int K, int V, int S>
INVNAS_DEVICE void forward_strip(
    const T* input, const T* weights, T* output, const Sizes& n, int image, int y, int x, int channel) {
    constexpr int P = strip_pixels;
    const int left = x * S - static_cast<int>(n.padding), pitch = n.pixel_pitch, C = n.channels;
    Sum<T> sum[P][V] = {};
#pragma unroll 1
    for (int u = 0; u < K; ++u, weights += K) {
        const int from = y * S + u - static_cast<int>(n.padding);
        if (!within(from, n.in_height)) continue;
        const T* row = input + pixel_of(image, n.in_height, n.in_width, from, left) * C + channel;
#pragma unroll
        for (int q = 0; q < (P - 1) * S + K; ++q) {
            Sum<T> value[V];
            load<V>(row + static_cast<i64>(q) * C, within(left + q, n.in_width), value);
#pragma unroll
            for (int p = 0; p < P; ++p) {
                const int v = q - p * S;
                if (v >= 0 && v < K) add_products<V>(sum[p], widen(weights[p * pitch + v]), value);
            }
        }
    }
    T* to = output + pixel_of(image, n.out_height, n.out_width, y, x) * C + channel;
#pragma unroll
    for (int p = 0; p < P; ++p)
        if (x + p < n.out_width) store<V>(to + static_cast<i64>(p) * C, sum[p]);
}

template <class T, int K, int V, int S>
INVNAS_DEVICE void forward_strips(const T* input, const T* kernels, T* output, const Sizes& n) {
    constexpr int P = strip_pixels;
    const Tile tile = tile_of(n, blockDim.y * P);
    T* shared = shared_memory<T>();
    INVNAS_PHASE {
        const Region region = {tile.y, tile.x, static_cast<int>(blockDim.z), static_cast<int>(blockDim.y) * P};
        move<true, P>(shared, const_cast<T*>(kernels), n, tile, region);
    }
    INVNAS_SYNC
    INVNAS_PHASE {
        const Lane lane = lane_of<V>(n, tile);
        const int y = tile.y + threadIdx.z, x = tile.x + threadIdx.y * P;
        const T* weights =
            shared + position<P>(n, (threadIdx.z * blockDim.y + threadIdx.y) * P) + lane.group * (K * K);
        if (lane.works && y < n.out_height && x < n.out_width)
            forward_strip<T, K, V, S>(input, weights, output, n, tile.image, y, x, lane.channel);
    }
}

template <class T, int V>
INVNAS_DEVICE void forward_pixel(
    const T* input, const T* weights, T* output, const Sizes& n, int image, int y, int x, int channel) {
    const int K = n.kernel_size, s = n.stride, d = n.dilation, C = n.channels, padding = n.padding;
    Sum<T> sum[V] = {};
    for (int u = 0; u < K; ++u) {
        const int from = y * s + u * d - padding;
        if (!within(from, n.in_height)) continue;
        const T* row = input + pixel_of(image, n.in_height, n.in_width, from, 0) * C + channel;
        for (int v = 0; v < K; ++v) {
            const int column = x * s + v * d - padding;
            Sum<T> value[V];
            load<V>(row + static_cast<i64>(column) * C, within(column, n.in_width), value);
            add_products<V>(sum, widen(weights[u * K + v]), value);
        }
    }
    store<V>(output + pixel_of(image, n.out_height, n.out_width, y, x) * C + channel, sum);
}

template <class T, int K, int V, int S>
INVNAS_DEVICE void forward_any(const T* input, const T* kernels, T* output, const Sizes& n) {
    const Tile tile = tile_of(n, blockDim.y);
    T* shared = shared_memory<T>();
    INVNAS_PHASE {
        const Region region = {tile.y, tile.x, static_cast<int>(blockDim.z), static_cast<int>(blockDim.y)};
        if (n.staged) move<true, 1>(shared, const_cast<T*>(kernels), n, tile, region);
    }
    INVNAS_SYNC
    INVNAS_PHASE {
        const Lane lane = lane_of<V>(n, tile);
        const int y = tile.y + threadIdx.z, x = tile.x + threadIdx.y, taps = n.kernel_size * n.kernel_size;
        if (lane.works && y < n.out_height && x < n.out_width) {
            const i64 pixel = pixel_of(tile.image, n.out_height, n.out_width, y, x);
            const T* far = kernels + (pixel * n.groups + tile.group + lane.group) * taps;
            const T* near = shared + position<1>(n, threadIdx.z * blockDim.y + threadIdx.y) + lane.group * taps;
            if (n.staged)
                forward_pixel<T, V>(input, near, output, n, tile.image, y, x, lane.channel);
            else
                forward_pixel<T, V>(input, far, output, n, tile.image, y, x, lane.channel);
        }
    }
}
