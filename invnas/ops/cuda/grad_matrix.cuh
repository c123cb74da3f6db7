// Gradient of the kernels, half types, stride 1, on the matrix unit: a warp takes 8 x 2 pixels and a group.
//
// The unit multiplies 16 pixels of the gradient x 16 channels with 16 channels x 8 pixels of the input. With a row of
// the input, which is tap row u of the upper 8 pixels and u - 1 of the lower, the product of pixel p and source q, both
// counted from the left end, is tap v = q - p where 0 <= v < K; the others are thrown away, which costs less than not
// computing them. Two blocks of 8 sources reach all taps of K <= 9.
//
// Lane 4 * g + t gives the unit column g: of both rows of the gradient, and of a block of the input, each time channels
// 4t to 4t + 3 of 16, in one load. The unit calls them channels 2t, 2t + 1, 2t + 8, 2t + 9, on both sides alike: the
// order of a sum is ours to choose. It gets back the products of its two pixels with sources 2t and 2t + 1 of a block.

#ifndef INVNAS_HOST

#define INVNAS_MMA(kind, a, b, c)                                                                                  \
    asm("mma.sync.aligned.m16n8k16.row.col.f32." kind "." kind ".f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "      \
        "{%0,%1,%2,%3};"                                                                                           \
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                                           \
        : "r"(a[0][0]), "r"(a[1][0]), "r"(a[0][1]), "r"(a[1][1]), "r"(b[0]), "r"(b[1]))

INVNAS_DEVICE void multiply(Half, const unsigned (&a)[2][2], const unsigned (&b)[2], float (&c)[4]) {
    INVNAS_MMA("f16", a, b, c);
}

INVNAS_DEVICE void multiply(Bfloat, const unsigned (&a)[2][2], const unsigned (&b)[2], float (&c)[4]) {
    INVNAS_MMA("bf16", a, b, c);
}

// In C++ the condition would become a branch, with the address computed anew inside it.
template <class T>
INVNAS_DEVICE void store_if(bool wanted, T* shared, T value) {
    asm volatile("{ .reg .pred p; setp.ne.s32 p, %0, 0; @p st.shared.b16 [%1], %2; }" ::"r"(static_cast<int>(wanted)),
                 "r"(static_cast<unsigned>(__cvta_generic_to_shared(shared))), "h"(value.bits));
}

// The whole warp adds `own.a` times every block of `own.b` to `own.c`.
#define INVNAS_MULTIPLY(T) \
    _Pragma("unroll") for (int j_ = 0; j_ < 2; ++j_) multiply(T{}, own.a, own.b[j_], own.c[j_]);

#endif

template <class T>
INVNAS_DEVICE void load_words(const T* from, bool inside, unsigned (&to)[2]) {
    Vector<T, 4> vector = {};
    if (inside) vector.word = __ldg(reinterpret_cast<const Word<8>*>(from));
    to[0] = vector.pairs[0];
    to[1] = vector.pairs[1];
}

// One row of taps of a lane's upper (half 0) or lower pixel. Of its products with source 2t + e of the two blocks,
// exactly one is tap 0 to 7.
template <int K, class T>
INVNAS_DEVICE void store_taps(const float (&c)[2][4], int half, int lane, T* to) {
    static_assert(K <= 9, "two blocks of sources reach no further");
#pragma unroll
    for (int e = 0; e < 2; ++e) {
        const int offset = lane % 4 * 2 + e - lane / 4, tap = offset & 7, i = 2 * half + e;
        T value, last;
        narrow(offset >= 0 ? c[0][i] : c[1][i], value);
        narrow(c[1][i], last);
        store_if(tap < K, to + tap, value);
        if (K > 8) store_if(offset == 0, to + 8, last);
    }
}

// Rows of warps go down the tile's pairs of rows, a whole number of times. `one`: a group has 16 channels, so that the
// gradient is loaded once.
template <class T, int K, bool one>
INVNAS_DEVICE void matrix_tile(const T* grad, const T* input, T* result, const Sizes& n) {
    struct Own {
        const T *upper, *source;  // of the lane's first channels: its upper pixel, and what lies under its first tap
        int x, y, rows;           // of the upper pixel; rows of the map from there on
        unsigned a[2][2], b[2][2];
        float c[2][4];
    };
    INVNAS_OWN(Own);
    const int width = blockDim.y * 8, height = n.tile_rows, C = n.channels, group_channels = n.group_channels;
    const Tile tile = tile_of(n, width);
    T* shared = shared_memory<T>();
#pragma unroll 1
    for (int begin = 0; begin < height; begin += 2 * blockDim.z) {
        INVNAS_PHASE {
            const int lane = threadIdx.x % 32, group = tile.group + threadIdx.x / 32, row = begin + threadIdx.z * 2;
            const int y = tile.y + row, x = tile.x + threadIdx.y * 8 + lane / 4;
            const int channel = group * group_channels + lane % 4 * 4, padding = n.padding;
            own.rows = group < n.groups ? static_cast<int>(n.out_height) - y : 0;
            own.x = x, own.y = y;
            own.upper = grad + pixel_of(tile.image, n.out_height, n.out_width, y, x) * C + channel;
            own.source = input + pixel_of(tile.image, n.in_height, n.in_width, y - padding, x - padding) * C + channel;
        }
#pragma unroll(K + 1)  // told the number, the compiler makes a sixth fewer instructions of it
        for (int u = 0; u <= K; ++u) {
#pragma unroll 1
            for (int step = 0; step < (one ? 16 : group_channels); step += 16) {
                INVNAS_PHASE {
                    const int padding = n.padding, left = own.x - padding, below = n.out_width * C;
                    const bool inside = own.rows > 0 && within(own.y + u - padding, n.in_height);
                    // A zero that the compiler does not know: it would copy these words anew for every product.
                    const unsigned zero = n.stride - 1;
#pragma unroll
                    for (int half = 0; half < 2 && (!one || u == 0); ++half) {
                        const bool there = own.x < n.out_width && half < own.rows;
                        load_words(own.upper + step + half * below, there, own.a[half]);
                        own.a[half][0] ^= zero;
                        own.a[half][1] ^= zero;
                    }
#pragma unroll
                    for (int j = 0; j < 2; ++j) {
                        load_words(own.source + step + j * 8 * C, inside && within(left + 8 * j, n.in_width), own.b[j]);
#pragma unroll
                        for (int i = 0; i < 4 && step == 0; ++i) own.c[j][i] = 0;
                    }
                }
                INVNAS_MULTIPLY(T)
            }
            INVNAS_PHASE {
                const int lane = threadIdx.x % 32, row = begin + threadIdx.z * 2, pitch = n.pixel_pitch;
                const int pixel = row * width + threadIdx.y * 8 + lane / 4;
                T* to = shared + pixel * pitch + threadIdx.x / 32 * (K * K) + u * K;
                if (u < K) store_taps<K>(own.c, 0, lane, to);
                if (u > 0) store_taps<K>(own.c, 1, lane, to + width * pitch - K);
                own.source += n.in_width * C;
            }
        }
    }
    INVNAS_SYNC
    INVNAS_PHASE {
        const Region region = {tile.y, tile.x, height, width};
        move<false, 8>(shared, result, n, tile, region);
    }
}

template <class T, int K, int V, int S>
INVNAS_DEVICE void grad_kernels_matrix(const T* grad, const T* input, T* result, const Sizes& n) {
    static_assert(V == 4 && S == 1, "the unit takes four channels of a lane");
    if (n.group_channels == 16)
        matrix_tile<T, K, true>(grad, input, result, n);
    else
        matrix_tile<T, K, false>(grad, input, result, n);
}
