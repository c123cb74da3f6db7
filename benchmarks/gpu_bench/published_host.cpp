// The text of published.cu on a processor: the grid is two loops. Built by published.py with the macros of one shape.
struct Place {
    int x;
};
static Place blockIdx, threadIdx, blockDim{32}, gridDim{3};  // fewer threads than elements: the stride is walked too

#define __global__
#include "published.cu"

#define RUN(name)                                                                                \
    extern "C" void run_##name(const float* first, const float* second, float* result) {         \
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)                                \
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) name(first, second, result); \
    }

RUN(published_forward)
RUN(published_grad_input)
RUN(published_grad_kernels)
