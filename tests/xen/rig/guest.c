/*
 * The guest of the Xen tests: PID 1 of a kernel that has nothing else, so that it boots fast and can
 * tell exactly what its memory and its disks held at one instant.
 *
 * It counts in its memory, ten times a second. On its console it takes lines `TOKEN COMMAND`, and
 * answers `=TOKEN c=COUNT torn=TORN ...`:
 *
 *   c          nothing more
 *   wN TEXT    write TEXT to the first sector of disk N
 *   rN         read it: `[TEXT]`
 *   s          from now on write each count to the second sector of every disk, after looking that the
 *              sector holds the one before: a disk that went elsewhere than the memory counts as TORN
 *   S          stop that
 *   d          what those sectors hold: `d0=COUNT d1=COUNT`
 *   q          power off
 *   p          crash the kernel
 *
 * An error of a disk is an answer too: `error: REASON`. Twice a second it says `TICK c=COUNT`. It says
 * `READY disks=FOUND` when it has seen as many disks as `disks=N` on the kernel's command line wants,
 * or has waited five seconds for them.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { SECTOR = 512, DISKS = 4, TEXT = 0, STAMP = SECTOR, PERIOD_MS = 100, TICK = 5 };

static uint32_t count, torn;
static int stamping;
static char sector[SECTOR] __attribute__((aligned(SECTOR)));

static void say(const char *format, ...)
{
    char line[1024];
    va_list words;
    va_start(words, format);
    int length = vsnprintf(line, sizeof line - 1, format, words);
    va_end(words);
    if (length > (int)sizeof line - 2)
        length = sizeof line - 2;
    line[length] = '\n';
    /* In one piece. */
    if (write(1, line, length + 1) < 0)
        return;
}

static long long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Disk N past all caches, or -1. */
static int disk(int n)
{
    char path[] = "/dev/xvda";
    path[8] += n;
    return open(path, O_RDWR | O_DIRECT | O_SYNC);
}

/* One sector of disk N into or out of `sector`: 0, or -1 and errno. */
static int transfer(int n, off_t at, int writing)
{
    int fd = disk(n);
    if (fd < 0)
        return -1;
    ssize_t done = writing ? pwrite(fd, sector, SECTOR, at) : pread(fd, sector, SECTOR, at);
    int reason = done < 0 ? errno : EIO;
    close(fd);
    errno = reason;
    return done == SECTOR ? 0 : -1;
}

static int stamp_of(int n, uint32_t *stamp)
{
    int failed = transfer(n, STAMP, 0);
    memcpy(stamp, sector, sizeof *stamp);
    return failed;
}

/* The disks hold the count before this one, or the memory and they are not of one instant. */
static void stamp_disks(void)
{
    for (int n = 0; n < DISKS; n++) {
        uint32_t before;
        if (stamp_of(n, &before) != 0) {
            if (errno != ENOENT && errno != ENXIO)
                say("ERROR c=%u disk %d: %s", count, n, strerror(errno));
            continue;
        }
        if (before != count - 1) {
            torn++;
            say("TORN c=%u disk %d holds %u", count, n, before);
        }
        memset(sector, 0, SECTOR);
        memcpy(sector, &count, sizeof count);
        if (transfer(n, STAMP, 1) != 0)
            say("ERROR c=%u disk %d: %s", count, n, strerror(errno));
    }
}

/* The first stamps, which have none before them. */
static const char *start_stamping(void)
{
    for (int n = 0; n < DISKS; n++) {
        memset(sector, 0, SECTOR);
        memcpy(sector, &count, sizeof count);
        if (transfer(n, STAMP, 1) != 0 && errno != ENOENT && errno != ENXIO)
            return strerror(errno);
    }
    stamping = 1;
    return NULL;
}

static void obey(char *line)
{
    char *token = strsep(&line, " "), *command = strsep(&line, " ");
    if (!command || !*command)
        return;
    int n = command[1] ? command[1] - '0' : 0;
    char answer[SECTOR + 64] = "";
    const char *error = NULL;
    switch (command[0]) {
    case 'c':
        break;
    case 'w':
        memset(sector, 0, SECTOR);
        strncpy(sector, line ? line : "", SECTOR - 1);
        if (transfer(n, TEXT, 1) != 0)
            error = strerror(errno);
        break;
    case 'r':
        if (transfer(n, TEXT, 0) != 0)
            error = strerror(errno);
        else
            snprintf(answer, sizeof answer, " [%.*s]", SECTOR, sector);
        break;
    case 's':
        error = start_stamping();
        break;
    case 'S':
        stamping = 0;
        break;
    case 'd':
        for (int n = 0, end = 0; n < DISKS; n++) {
            uint32_t stamp;
            if (stamp_of(n, &stamp) == 0)
                end += snprintf(answer + end, sizeof answer - end, " d%d=%u", n, stamp);
        }
        break;
    case 'q':
        say("=%s c=%u torn=%u", token, count, torn);
        reboot(RB_POWER_OFF);
        break;
    case 'p': {
        int trigger = open("/proc/sysrq-trigger", O_WRONLY);
        if (write(trigger, "c", 1) < 0)
            error = strerror(errno);
        break;
    }
    default:
        error = "no such command";
    }
    say("=%s c=%u torn=%u%s%s%s", token, count, torn, error ? " error: " : "", error ? error : "", answer);
}

/* Whatever there is to read; the last line may come in pieces. */
static void listen_once(int wait_ms)
{
    static char buffer[2 * SECTOR];
    static size_t held;
    struct pollfd console = {.fd = 0, .events = POLLIN};
    if (poll(&console, 1, wait_ms) <= 0)
        return;
    ssize_t got = read(0, buffer + held, sizeof buffer - 1 - held);
    if (got <= 0) {
        usleep(wait_ms * 1000);
        return;
    }
    held += got;
    buffer[held] = 0;
    char *rest = buffer, *end;
    while ((end = strpbrk(rest, "\r\n"))) {
        *end = 0;
        obey(rest);
        rest = end + 1;
    }
    held = strlen(rest);
    if (held == sizeof buffer - 1)
        held = 0;
    memmove(buffer, rest, held);
}

static void load_modules(void)
{
    char path[256];
    FILE *list = fopen("/modules", "r");
    while (list && fgets(path, sizeof path, list)) {
        path[strcspn(path, "\n")] = 0;
        int fd = open(path, O_RDONLY);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) != 0)
            say("ERROR %s: %s", path, strerror(errno));
        close(fd);
    }
}

static int count_disks(void)
{
    int found = 0;
    for (char path[] = "/dev/xvda"; found < DISKS && access(path, F_OK) == 0; path[8]++)
        found++;
    return found;
}

int main(int argc, char **argv)
{
    (void)argc;
    /* The kernel runs this as /sbin/poweroff and /sbin/reboot when the host asks for it. */
    if (getpid() != 1)
        return reboot(strstr(argv[0], "reboot") ? RB_AUTOBOOT : RB_POWER_OFF);

    mount("proc", "/proc", "proc", 0, NULL);
    mount("dev", "/dev", "devtmpfs", 0, NULL);
    load_modules();
    struct termios mode;
    if (tcgetattr(0, &mode) == 0) {
        cfmakeraw(&mode);
        mode.c_oflag |= OPOST | ONLCR;
        tcsetattr(0, TCSANOW, &mode);
    }
    char *disks = getenv("disks");
    int wanted = disks ? atoi(disks) : 0;
    for (int n = 0; n < 100 && count_disks() < wanted; n++)
        usleep(50000);
    say("READY disks=%d", count_disks());

    long long next = now_ms();
    for (;;) {
        long long left = next - now_ms();
        if (left > 0) {
            listen_once(left);
            continue;
        }
        /* No catching up after a stand-still. */
        next = now_ms() + PERIOD_MS;
        count++;
        if (stamping)
            stamp_disks();
        if (count % TICK == 0)
            say("TICK c=%u", count);
    }
}
