/* What one process has of malloc, without what malloc keeps for later: preloaded by .ci/soak. Once a second it is written, in octets and as
   a long, into a file with the name in HELD, a dot, and the number of the process. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static void *tell(void *page) {
    for (;;) {
        struct mallinfo2 info = mallinfo2();
        *(volatile long *)page = (long)(info.uordblks + info.hblkhd);
        sleep(1);
    }
    return NULL;
}

__attribute__((constructor)) static void begin(void) {
    char path[4096];
    const char *name = getenv("HELD");
    if (!name || snprintf(path, sizeof path, "%s.%d", name, (int)getpid()) >= (int)sizeof path)
        return;
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0)
        return;
    void *page = ftruncate(file, sizeof(long)) ? MAP_FAILED : mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (page == MAP_FAILED)
        return;
    /* Signals are for the program's threads. */
    sigset_t all, before;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    if (pthread_create(&thread, NULL, tell, page) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
