// The published mapping of involution, written from its description: one thread for each element of the result, every
// size a macro, contiguous (B, C, H, W) maps and (B, G, K, K, H', W') kernels, float32, no reuse. The baseline.
//
// Macros: BATCH CHANNELS GROUPS HEIGHT WIDTH OUT_HEIGHT OUT_WIDTH KERNEL STRIDE DILATION PADDING.

#define EACH(index, count) \
    for (int index = blockIdx.x * blockDim.x + threadIdx.x; index < (count); index += blockDim.x * gridDim.x)

extern "C" __global__ void published_forward(const float* input, const float* weight, float* output) {
    EACH(index, BATCH * CHANNELS * OUT_HEIGHT * OUT_WIDTH) {
        const int n = index / CHANNELS / OUT_HEIGHT / OUT_WIDTH, c = index / OUT_HEIGHT / OUT_WIDTH % CHANNELS;
        const int h = index / OUT_WIDTH % OUT_HEIGHT, w = index % OUT_WIDTH, g = c / (CHANNELS / GROUPS);
        float value = 0;
#pragma unroll
        for (int kh = 0; kh < KERNEL; ++kh)
#pragma unroll
            for (int kw = 0; kw < KERNEL; ++kw) {
                const int y = h * STRIDE + kh * DILATION - PADDING, x = w * STRIDE + kw * DILATION - PADDING;
                if (y < 0 || y >= HEIGHT || x < 0 || x >= WIDTH) continue;
                const int tap = ((n * GROUPS + g) * KERNEL + kh) * KERNEL + kw;
                value += weight[(tap * OUT_HEIGHT + h) * OUT_WIDTH + w] *
                         input[((n * CHANNELS + c) * HEIGHT + y) * WIDTH + x];
            }
        output[index] = value;
    }
}

extern "C" __global__ void published_grad_input(const float* grad, const float* weight, float* result) {
    EACH(index, BATCH * CHANNELS * HEIGHT * WIDTH) {
        const int n = index / CHANNELS / HEIGHT / WIDTH, c = index / HEIGHT / WIDTH % CHANNELS;
        const int y = index / WIDTH % HEIGHT, x = index % WIDTH, g = c / (CHANNELS / GROUPS);
        float value = 0;
#pragma unroll
        for (int kh = 0; kh < KERNEL; ++kh)
#pragma unroll
            for (int kw = 0; kw < KERNEL; ++kw) {
                const int from_h = y + PADDING - kh * DILATION, from_w = x + PADDING - kw * DILATION;
                if (from_h % STRIDE != 0 || from_w % STRIDE != 0) continue;
                const int h = from_h / STRIDE, w = from_w / STRIDE;
                if (from_h < 0 || h >= OUT_HEIGHT || from_w < 0 || w >= OUT_WIDTH) continue;
                const int tap = ((n * GROUPS + g) * KERNEL + kh) * KERNEL + kw;
                value += weight[(tap * OUT_HEIGHT + h) * OUT_WIDTH + w] *
                         grad[((n * CHANNELS + c) * OUT_HEIGHT + h) * OUT_WIDTH + w];
            }
        result[index] = value;
    }
}

extern "C" __global__ void published_grad_kernels(const float* grad, const float* input, float* result) {
    EACH(index, BATCH * GROUPS * KERNEL * KERNEL * OUT_HEIGHT * OUT_WIDTH) {
        const int w = index % OUT_WIDTH, h = index / OUT_WIDTH % OUT_HEIGHT, tap = index / OUT_WIDTH / OUT_HEIGHT;
        const int kw = tap % KERNEL, kh = tap / KERNEL % KERNEL, g = tap / KERNEL / KERNEL % GROUPS;
        const int n = tap / KERNEL / KERNEL / GROUPS;
        const int y = h * STRIDE + kh * DILATION - PADDING, x = w * STRIDE + kw * DILATION - PADDING;
        float value = 0;
        if (y >= 0 && y < HEIGHT && x >= 0 && x < WIDTH)
            for (int c = g * (CHANNELS / GROUPS); c < (g + 1) * (CHANNELS / GROUPS); ++c)
                value += grad[((n * CHANNELS + c) * OUT_HEIGHT + h) * OUT_WIDTH + w] *
                         input[((n * CHANNELS + c) * HEIGHT + y) * WIDTH + x];
        result[index] = value;
    }
}
