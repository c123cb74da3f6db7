// The entry points. Bytes bound them: per element of the output with K = 7 and 16 channels a group, forward moves 5.06
// elements (input 1, kernels 49 / 16, output 1), and the two gradients 10.1. One kernel for both gradients would move
// 9.1, for they share only the upper gradient, and would need a halo of the kernels: there are two.
//
// "strips": K is compiled in, stride 1 or 2 and dilation 1. A thread computes P neighbouring pixels, in two rows except
// in the gradient of the kernels, and what it loads of one meets up to K of the P in each row. "any": every window, K
// read at run time, one pixel a thread. "matrix": by warps on the matrix unit, stride 1.

// Threads of a block, and blocks that shall fit a multiprocessor: together they bound the registers of a thread.
#define INVNAS_BOUNDS_forward_strips 256, 2
#define INVNAS_BOUNDS_forward_any 256, 2
#define INVNAS_BOUNDS_folded_strips 256, 2
#define INVNAS_BOUNDS_folded_any 256, 2
#define INVNAS_BOUNDS_grad_input_strips 256, 2
#define INVNAS_BOUNDS_grad_input_any 256, 2
#define INVNAS_BOUNDS_grad_kernels_strips 256, 2
#define INVNAS_BOUNDS_grad_kernels_any 256, 2
#define INVNAS_BOUNDS_grad_kernels_matrix 256, 3

#define INVNAS_ENTRY(name, kind, T, K, V, S)                                                         \
    extern "C" __global__ void __launch_bounds__(INVNAS_BOUNDS_##kind)                               \
        name(const T* __restrict__ first, const T* __restrict__ second, T* __restrict__ result, const Told n) { \
        kind<T, K, V, S>(first, second, result, n);                                                  \
    }

#ifdef INVNAS_NAME
#define INVNAS_EXPANDED(name, kind, T, K, V, S) INVNAS_ENTRY(name, kind, T, K, V, S)
INVNAS_EXPANDED(INVNAS_NAME, INVNAS_KIND, INVNAS_T, INVNAS_K, INVNAS_V, INVNAS_S)
#endif
