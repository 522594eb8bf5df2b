/* The floor of bench/drift.py: one pass over two ascending samples that gives the Kolmogorov-Smirnov statistic, ties
   exact, and the first Wasserstein distance. */
#include <math.h>

void merge(const float *a, long n, const float *b, long m, double *out) {
    double ks = 0, wasserstein = 0, last = 0, difference = 0;
    long i = 0, j = 0;
    while (i < n || j < m) {
        float value = j == m || (i < n && a[i] <= b[j]) ? a[i] : b[j];
        wasserstein += fabs(difference) * (value - last);
        while (i < n && a[i] == value) i++;
        while (j < m && b[j] == value) j++;
        difference = (double)i / n - (double)j / m;
        if (fabs(difference) > ks) ks = fabs(difference);
        last = value;
    }
    out[0] = ks;
    out[1] = wasserstein;
}
