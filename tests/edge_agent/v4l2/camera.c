/* A camera without hardware: preloaded into a process, it makes one path a V4L2 device that gives YUYV frames.
 *
 *   V4L2_STAND_IN           the path
 *   V4L2_STAND_IN_CONTROL   a file that says what the camera does, if not its duty: black, stall (it gives nothing)
 *                           or unplug
 *
 * A frame is red on the left and blue on the right. A strip along its top says its number, modulo 256: eight fields,
 * the most significant bit first, white for 1. The device's descriptor is a file in memory that holds the buffers, so
 * that mmap and munmap are the system's own. It is as strict as drivers are: no other format while there are buffers,
 * no frame without a queued buffer. One process may open it once at a time, and use it from one thread. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <time.h>
#include <unistd.h>

#define SYSTEMS(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MOST_BUFFERS 4
#define LARGEST (1 << 20) /* bytes from one buffer to the next */

static const struct { unsigned width, height; } SIZES[] = {{160, 120}, {320, 240}, {640, 480}};
#define SIZE_COUNT (sizeof SIZES / sizeof *SIZES)

static int camera = -1;
static unsigned width, height, fps;
static unsigned buffers, queue[MOST_BUFFERS], queued;
static int streaming;
static double due;
static unsigned frame;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int is(const char *what) {
    char said[16] = "";
    FILE *control = fopen(getenv("V4L2_STAND_IN_CONTROL"), "r");
    if (control) {
        fread(said, 1, sizeof said - 1, control);
        fclose(control);
    }
    return strcmp(said, what) == 0;
}

static int fail(int error) {
    errno = error;
    return -1;
}

/* The device's file */

static int open_camera(void) {
    if (is("unplug")) return fail(ENOENT);
    if (camera >= 0) return fail(EBUSY);
    width = SIZES[0].width, height = SIZES[0].height, fps = 30;
    buffers = queued = streaming = frame = 0;
    camera = memfd_create("camera", MFD_CLOEXEC);
    return camera;
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    const char *device = getenv("V4L2_STAND_IN");
    return device && strcmp(path, device) == 0 ? open_camera() : SYSTEMS(open64)(path, flags, mode);
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int close(int fd) {
    if (fd == camera && fd >= 0) camera = -1;
    return SYSTEMS(close)(fd);
}

/* Frames */

static int ready(void) {
    return is("unplug") || (streaming && queued && now() >= due && !is("stall"));
}

int select(int count, fd_set *reads, fd_set *writes, fd_set *errors, struct timeval *timeout) {
    if (camera < 0 || camera >= count || !reads || !FD_ISSET(camera, reads))
        return SYSTEMS(select)(count, reads, writes, errors, timeout);
    double end = timeout ? now() + timeout->tv_sec + timeout->tv_usec / 1e6 : 1e18;
    FD_ZERO(reads);
    for (; !ready(); usleep(1000))
        if (now() >= end) return 0;
    FD_SET(camera, reads);
    return 1;
}

static void paint(unsigned char *pixels, unsigned number) {
    static const unsigned char RED[] = {82, 90, 240}, BLUE[] = {41, 240, 110}, WHITE[] = {235, 128, 128},
                               BLACK[] = {16, 128, 128}; /* Y, U, V: ITU-R BT.601 */
    int black = is("black");
    for (unsigned y = 0; y < height; y++)
        for (unsigned x = 0; x < width; x += 2, pixels += 4) {
            const unsigned char *colour = x < width / 2 ? RED : BLUE;
            if (y < height / 8) colour = number >> (7 - x * 8 / width) & 1 ? WHITE : BLACK;
            if (black) colour = BLACK;
            pixels[0] = pixels[2] = colour[0], pixels[1] = colour[1], pixels[3] = colour[2];
        }
}

static int describe(struct v4l2_buffer *buffer) {
    if (buffer->index >= buffers || buffer->memory != V4L2_MEMORY_MMAP) return fail(EINVAL);
    buffer->length = width * height * 2;
    buffer->m.offset = buffer->index * LARGEST;
    return 0;
}

static int enqueue(struct v4l2_buffer *buffer) {
    if (describe(buffer)) return -1;
    for (unsigned i = 0; i < queued; i++)
        if (queue[i] == buffer->index) return fail(EINVAL);
    queue[queued++] = buffer->index;
    return 0;
}

static int dequeue(struct v4l2_buffer *buffer) {
    static unsigned char pixels[LARGEST];
    if (!streaming) return fail(EINVAL);
    if (!ready()) return fail(EAGAIN);
    buffer->index = queue[0];
    memmove(queue, queue + 1, --queued * sizeof *queue);
    describe(buffer);
    buffer->bytesused = buffer->length;
    buffer->sequence = frame;
    paint(pixels, frame++);
    due = now() + 1.0 / fps;
    return pwrite(camera, pixels, buffer->length, buffer->m.offset) == buffer->length ? 0 : fail(EIO);
}

/* What can be asked of it */

/* How much of the two sizes is in one alone, by which Linux's uvcvideo finds the nearest. */
static unsigned long difference(unsigned size, const struct v4l2_pix_format *wish) {
    unsigned long w = SIZES[size].width, h = SIZES[size].height;
    unsigned long common = (w < wish->width ? w : wish->width) * (h < wish->height ? h : wish->height);
    return w * h + (unsigned long)wish->width * wish->height - 2 * common;
}

static int set_format(struct v4l2_pix_format *wish, int keep) {
    unsigned best = 0;
    for (unsigned size = 1; size < SIZE_COUNT; size++)
        if (difference(size, wish) < difference(best, wish)) best = size;
    if (keep && buffers) return fail(EBUSY);
    if (keep) width = SIZES[best].width, height = SIZES[best].height;
    wish->width = SIZES[best].width, wish->height = SIZES[best].height;
    wish->pixelformat = V4L2_PIX_FMT_YUYV, wish->field = V4L2_FIELD_NONE;
    wish->bytesperline = wish->width * 2, wish->sizeimage = wish->width * wish->height * 2;
    wish->colorspace = V4L2_COLORSPACE_SMPTE170M;
    return 0;
}

static int set_rate(struct v4l2_captureparm *wish, int keep) {
    struct v4l2_fract *time = &wish->timeperframe;
    if (keep && time->numerator && time->denominator) fps = time->denominator / time->numerator;
    fps = fps < 1 ? 1 : fps > 30 ? 30 : fps;
    *wish = (struct v4l2_captureparm){.capability = V4L2_CAP_TIMEPERFRAME, .timeperframe = {1, fps}};
    return 0;
}

static int request_buffers(struct v4l2_requestbuffers *wish) {
    if (wish->memory != V4L2_MEMORY_MMAP) return fail(EINVAL);
    if (wish->count > MOST_BUFFERS) wish->count = MOST_BUFFERS;
    buffers = wish->count, queued = streaming = 0;
    return ftruncate(camera, (off_t)buffers * LARGEST);
}

static int answer(unsigned long request, void *with) {
    struct v4l2_capability *capability = with;
    struct v4l2_fmtdesc *description = with;
    struct v4l2_format *format = with;
    switch (request) {
    case VIDIOC_QUERYCAP:
        *capability = (struct v4l2_capability){.driver = "stand-in", .card = "a camera without hardware"};
        capability->device_caps = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        capability->capabilities = capability->device_caps | V4L2_CAP_DEVICE_CAPS;
        return 0;
    case VIDIOC_ENUM_FMT:
        if (description->index) return fail(EINVAL);
        description->pixelformat = V4L2_PIX_FMT_YUYV;
        return 0;
    case VIDIOC_G_FMT:
        format->fmt.pix.width = width, format->fmt.pix.height = height;
        return set_format(&format->fmt.pix, 0);
    case VIDIOC_TRY_FMT: return set_format(&format->fmt.pix, 0);
    case VIDIOC_S_FMT: return set_format(&format->fmt.pix, 1);
    case VIDIOC_G_PARM: return set_rate(&((struct v4l2_streamparm *)with)->parm.capture, 0);
    case VIDIOC_S_PARM: return set_rate(&((struct v4l2_streamparm *)with)->parm.capture, 1);
    case VIDIOC_REQBUFS: return request_buffers(with);
    case VIDIOC_QUERYBUF: return describe(with);
    case VIDIOC_QBUF: return enqueue(with);
    case VIDIOC_DQBUF: return dequeue(with);
    case VIDIOC_STREAMON: streaming = 1; return 0;
    case VIDIOC_STREAMOFF: streaming = queued = 0; return 0;
    default: return fail(EINVAL); /* it has no controls */
    }
}

int ioctl(int fd, unsigned long request, ...) {
    va_list more;
    va_start(more, request);
    void *with = va_arg(more, void *);
    va_end(more);
    if (fd != camera || fd < 0) return SYSTEMS(ioctl)(fd, request, with);
    return is("unplug") ? fail(ENODEV) : answer(request, with);
}
