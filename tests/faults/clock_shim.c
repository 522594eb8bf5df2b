/* Preloaded into PostgreSQL: its clock is the machine's plus the seconds in the file that CLOCK_OFFSET_FILE names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    static int (*real)(struct timeval *restrict, void *restrict);
    char text[32] = {0};
    const char *path = getenv("CLOCK_OFFSET_FILE");
    int result, file;

    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "gettimeofday");
    result = real(now, zone);
    if (path && (file = open(path, O_RDONLY | O_CLOEXEC)) >= 0) {
        if (read(file, text, sizeof text - 1) > 0)
            now->tv_sec += atol(text);
        close(file);
    }
    return result;
}
