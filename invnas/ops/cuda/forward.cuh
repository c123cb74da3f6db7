// Forward: Y[c] = sum over the taps of W[group of c] * X[c] at the pixel under the tap.

// Add what one row of the input gives to the strips `first` and before `last`, whose tap rows lie `below` apart.
template <class T, int K, int V, int S, int first, int last>
INVNAS_DEVICE void forward_row(
    const T* row, const T* weights, int below, const Sizes& n, int left, Strips<T, V>& sum) {
    constexpr int P = strip_pixels;
    const int C = here(n.channels), pitch = here(n.pixel_pitch);
    left = here(left);
#pragma unroll
    for (int q = 0; q < (P - 1) * S + K; ++q, row += C) {
        Sum<T> value[V];
        load<V>(row, within(left + q, n.in_width), value);
#pragma unroll
        for (int j = first; j < last; ++j)
#pragma unroll
            for (int p = 0; p < P; ++p) {
                const int v = q - p * S;
                if (v >= 0 && v < K) add_products<V>(sum[j][p], widen(weights[j * below + p * pitch + v]), value);
            }
    }
}

// Strips of the output: the P pixels from (y, x) on and those below, V channels. A row of the input that both meet is
// S tap rows further up for the lower one; the first S rows meet the upper alone, the last S the lower. With
// stride 1 every pair begins at a multiple of K + S rows, wherever that is in its window: pairs in reach of a row then
// read it at the same time, which a small L1 cache serves, and the order of additions depends on y alone. With stride 2
// fewer pairs share a row, and no register is left.
template <class T, int K, int V, int S, bool folded>
INVNAS_DEVICE void forward_pair(
    const T* input, const T* weights, T* output, const Told& n, int image, int y, int x, int channel) {
    constexpr int P = strip_pixels;
    const int left = x * S - static_cast<int>(n.padding), top = y * S - static_cast<int>(n.padding), C = n.channels;
    const int below = blockDim.y * static_cast<int>(n.strip_pitch) - S * K;
    Strips<T, V> sum = {};
    const int begin = S == 1 ? (K + S - y % (K + S)) % (K + S) : 0;
#pragma unroll 1
    for (int at = begin; at < begin + K + S; ++at) {
        const int r = at < K + S ? at : at - K - S;
        if (!within(top + r, n.in_height)) continue;
        const T* taps = weights + r * K;
        const T* row = input + pixel_of(image, n.in_height, n.in_width, top + r, left) * C + channel;
        if (r < S)
            forward_row<T, K, V, S, 0, 1>(row, taps, below, n, left, sum);
        else if (r < K)
            forward_row<T, K, V, S, 0, 2>(row, taps, below, n, left, sum);
        else
            forward_row<T, K, V, S, 1, 2>(row, taps, below, n, left, sum);
    }
    T* to = output + pixel_of(image, n.out_height, n.out_width, y, x) * C + channel;
    Sum<T> scale[V], bias[V];
    if (folded) load_finish<V, T>(n.end, channel, scale, bias);
#pragma unroll
    for (int j = 0; j < strip_rows; ++j, to += n.out_width * C)
#pragma unroll
        for (int p = 0; p < P; ++p)
            if (y + j < n.out_height && x + p < n.out_width) {
                if (folded) finish(n.end, scale, bias, sum[j][p]);
                store<V>(to + static_cast<i64>(p) * C, sum[j][p]);
            }
}

template <class T, int K, int V, int S, bool folded = false>
INVNAS_DEVICE void forward_strips(const T* input, const T* kernels, T* output, const Told& n) {
    constexpr int P = strip_pixels, R = strip_rows;
    const Tile tile = tile_of(n, blockDim.y * P);
    T* shared = shared_memory<T>();
    INVNAS_PHASE {
        const Region region = {tile.y, tile.x, static_cast<int>(blockDim.z) * R, static_cast<int>(blockDim.y) * P};
        move<true, P>(shared, const_cast<T*>(kernels), n, tile, region);
    }
    INVNAS_SYNC
    INVNAS_PHASE {
        const Lane lane = lane_of<V>(n, tile);
        const int y = tile.y + threadIdx.z * R, x = tile.x + threadIdx.y * P;
        const T* weights =
            shared + position<P>(n, (threadIdx.z * R * blockDim.y + threadIdx.y) * P) + lane.group * (K * K);
        if (lane.works && y < n.out_height && x < n.out_width)
            forward_pair<T, K, V, S, folded>(input, weights, output, n, tile.image, y, x, lane.channel);
    }
}

template <class T, int V, bool folded>
INVNAS_DEVICE void forward_pixel(
    const T* input, const T* weights, T* output, const Told& n, int image, int y, int x, int channel) {
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
    Sum<T> scale[V], bias[V];
    if (folded) {
        load_finish<V, T>(n.end, channel, scale, bias);
        finish(n.end, scale, bias, sum);
    }
    store<V>(output + pixel_of(image, n.out_height, n.out_width, y, x) * C + channel, sum);
}

template <class T, int K, int V, int S, bool folded = false>
INVNAS_DEVICE void forward_any(const T* input, const T* kernels, T* output, const Told& n) {
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
                forward_pixel<T, V, folded>(input, near, output, n, tile.image, y, x, lane.channel);
            else
                forward_pixel<T, V, folded>(input, far, output, n, tile.image, y, x, lane.channel);
        }
    }
}

// The same with what folding adds before a sum is stored.
template <class T, int K, int V, int S>
INVNAS_DEVICE void folded_strips(const T* input, const T* kernels, T* output, const Told& n) {
    forward_strips<T, K, V, S, true>(input, kernels, output, n);
}

template <class T, int K, int V, int S>
INVNAS_DEVICE void folded_any(const T* input, const T* kernels, T* output, const Told& n) {
    forward_any<T, K, V, S, true>(input, kernels, output, n);
}
