// Gradient of the kernels: W'[tap] = sum over the channels of the group of Y'[c] * X[c] at the pixel under the tap.

// Products of P pixels of the gradient with the input under tap row `row`, for the V channels that both begin at.
template <class T, int K, int V, int S, int P>
INVNAS_DEVICE void products(
    const T* row, int left, const Sizes& n, const Sum<T> (&grad)[P][V], Sum<T> (&sum)[P][K]) {
    const int C = here(n.channels);
    left = here(left);
#pragma unroll
    for (int q = 0; q < (P - 1) * S + K; ++q) {
        Sum<T> value[V];
        load<V>(row, within(left + q, n.in_width), value);
        row += C;
#pragma unroll
        for (int p = 0; p < P; ++p) {
            const int v = q - p * S;
            if (v < 0 || v >= K) continue;
#pragma unroll
            for (int i = 0; i < V; ++i) sum[p][v] += grad[p][i] * value[i];
        }
    }
}

template <class T, int V, int P>
INVNAS_DEVICE void load_strip(const T* from, const Sizes& n, int x, Sum<T> (&to)[P][V]) {
#pragma unroll
    for (int p = 0; p < P; ++p) load<V>(from + p * n.channels, within(x + p, n.out_width), to[p]);
}

// 1, 2 or 4 neighbouring threads (at most P) share a group. Each sums over its channels the taps of P pixels, row by
// row of taps; then they exchange halves, so that each ends with the sums of the group for its P / lanes pixels.
template <class T, int K, int V, int S>
INVNAS_DEVICE void grad_kernels_strips(const T* grad, const T* input, T* result, const Sizes& n) {
    constexpr int P = products_strip<K, S>, half = P / 2;
    struct Own {
        Sum<T> grad[P][V], sum[P][K], other[half * K];
    };
    INVNAS_OWN(Own);
    const int width = blockDim.y * P, lanes = n.group_lanes, shift = lanes >> 1, group_channels = n.group_channels;
    const bool one_load = group_channels == lanes * V;
    const Tile tile = tile_of(n, width);
    T* shared = shared_memory<T>();
#pragma unroll 1
    for (int u = 0; u < K; ++u) {
        INVNAS_PHASE {
            const int lane = here(threadIdx.x), group = tile.group + (lane >> shift), begin = (lane & (lanes - 1)) * V;
            const int y = tile.y + here(threadIdx.z), x = tile.x + here(threadIdx.y) * P, padding = n.padding;
            const int from = y * S + u - padding, left = x * S - padding, image = here(tile.image), C = n.channels;
#pragma unroll
            for (int p = 0; p < P; ++p)
#pragma unroll
                for (int v = 0; v < K; ++v) own.sum[p][v] = 0;
            if (group < n.groups && y < n.out_height && x < n.out_width) {
                const int channel = group * group_channels + begin;
                const T* upper = grad + pixel_of(image, n.out_height, n.out_width, y, x) * C + channel;
                const T* row = input + pixel_of(image, n.in_height, n.in_width, from, left) * C + channel;
                if (one_load && u == 0) load_strip<T, V, P>(upper, n, x, own.grad);
                if (within(from, n.in_height)) {
#pragma unroll 1
                    for (int step = 0; begin + step < group_channels; step += lanes * V) {
                        if (!one_load) load_strip<T, V, P>(upper + step, n, x, own.grad);
                        products<T, K, V, S, P>(row + step, left, n, own.grad, own.sum);
                    }
                }
            }
        }
        if (lanes >= 2) {
            INVNAS_PHASE {
                const bool odd = threadIdx.x & 1;
#pragma unroll
                for (int i = 0; i < half; ++i)
#pragma unroll
                    for (int v = 0; v < K; ++v) {
                        own.other[i * K + v] = odd ? own.sum[i][v] : own.sum[i + half][v];
                        own.sum[i][v] = odd ? own.sum[i + half][v] : own.sum[i][v];
                    }
            }
            INVNAS_EXCHANGE(other, half * K, 1)
            INVNAS_PHASE {
#pragma unroll
                for (int i = 0; i < half * K; ++i) own.sum[i / K][i % K] += own.other[i];
            }
        }
        if (P == 4 && lanes == 4) {
            INVNAS_PHASE {
                const bool odd = threadIdx.x & 2;
#pragma unroll
                for (int v = 0; v < K; ++v) {
                    own.other[v] = odd ? own.sum[0][v] : own.sum[1][v];
                    own.sum[0][v] = odd ? own.sum[1][v] : own.sum[0][v];
                }
            }
            INVNAS_EXCHANGE(other, K, 2)
            INVNAS_PHASE {
#pragma unroll
                for (int v = 0; v < K; ++v) own.sum[0][v] += own.other[v];
            }
        }
        INVNAS_PHASE {
            const int lane = here(threadIdx.x), strip = here(threadIdx.z) * blockDim.y + here(threadIdx.y);
            const int held = P / lanes, first = lanes == 1 ? 0 : lane % 2 * half + (lanes == 4 ? lane / 2 % 2 : 0);
            T* to = shared + position<P>(n, strip * P) + (lane >> shift) * (K * K) + u * K;
#pragma unroll
            for (int p = 0; p < P; ++p)
#pragma unroll
                for (int v = 0; v < K; ++v)
                    if (p < held) narrow(own.sum[p][v], to[(first + p) * static_cast<int>(n.pixel_pitch) + v]);
        }
    }
    INVNAS_SYNC
    INVNAS_PHASE {
        const Region region = {tile.y, tile.x, static_cast<int>(blockDim.z), width};
        move<false, P>(shared, result, n, tile, region);
    }
}

// One kernel value a thread.
template <class T, int K, int V, int S>
INVNAS_DEVICE void grad_kernels_any(const T* grad, const T* input, T* result, const Sizes& n) {
    INVNAS_PHASE {
        const int k = n.kernel_size, group_channels = n.group_channels;
        const i64 element = blockIdx.x * static_cast<i64>(blockDim.x) + threadIdx.x, taps = static_cast<i64>(k) * k;
        const i64 pixel = element / taps / n.groups;
        if (pixel < n.batch * n.out_height * n.out_width) {
            const int tap = element % taps, group = element / taps % n.groups;
            const int x = pixel % n.out_width, y = pixel / n.out_width % n.out_height;
            const int image = pixel / n.out_width / n.out_height;
            const int row = y * n.stride + tap / k * n.dilation - n.padding;
            const int column = x * n.stride + tap % k * n.dilation - n.padding;
            const T* one = grad + pixel * n.channels + group * group_channels;
            const i64 met = pixel_of(image, n.in_height, n.in_width, row, column);
            const T* other = input + met * n.channels + group * group_channels;
            Sum<T> sum = 0;
            if (within(row, n.in_height) && within(column, n.in_width)) {
#pragma unroll 1
                for (int c = 0; c < group_channels; c += V) {
                    Sum<T> a[V], b[V];
                    load<V>(one + c, true, a);
                    load<V>(other + c, true, b);
#pragma unroll
                    for (int i = 0; i < V; ++i) sum += a[i] * b[i];
                }
            }
            narrow(sum, result[element]);
        }
    }
}
