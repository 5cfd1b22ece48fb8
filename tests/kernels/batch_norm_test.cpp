#include "tests/kernels/kernel_test.h"

MEDFUSION_KERNEL_TESTS(batch_norm)
