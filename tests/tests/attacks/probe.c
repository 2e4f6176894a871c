/* Makes the system calls that a step may not make, and tells how each ended: "name errno". */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static void call(const char *name, long number, long a, long b, long c, long d, long e)
{
	errno = 0;
	long result = syscall(number, a, b, c, d, e);
	printf("%s %s\n", name, result >= 0 ? "DONE" : strerrorname_np(errno));
}

#ifdef __x86_64__
/* The 32-bit entry, from a 64-bit program. */
static void entry32(const char *name, int number, int a, int b, int c)
{
	long result;
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(0), "D"(0)
			 : "memory", "r8", "r9", "r10", "r11");
	result = (int)result;
	printf("32:%s %s\n", name, result >= 0 ? "DONE" : strerrorname_np(-result));
}
#endif

int main(void)
{
	static char buffer[4096];
	setvbuf(stdout, NULL, _IONBF, 0);
	call("socket-alg", SYS_socket, 38, SOCK_SEQPACKET, 0, 0, 0);
	call("socket-vsock", SYS_socket, 40, SOCK_STREAM, 0, 0, 0);
	call("io_uring_setup", 425, 8, (long)buffer, 0, 0, 0);
	call("io_uring_enter", 426, 0, 0, 0, 0, 0);
	call("io_uring_register", 427, 0, 0, 0, 0, 0);
	call("keyctl", SYS_keyctl, 0, -3, 1, 0, 0);
	call("add_key", SYS_add_key, (long)"user", (long)"x", (long)"y", 1, -3);
	call("request_key", SYS_request_key, (long)"user", (long)"x", 0, -3, 0);
	call("userfaultfd", SYS_userfaultfd, 1, 0, 0, 0, 0);
	call("bpf", SYS_bpf, 0, (long)buffer, 64, 0, 0);
	call("perf_event_open", SYS_perf_event_open, (long)buffer, 0, -1, -1, 0);
	call("mount", SYS_mount, (long)"x", (long)"/tmp", (long)"tmpfs", 0, 0);
	call("umount2", SYS_umount2, (long)"/proc", 2, 0, 0, 0);
	call("pivot_root", SYS_pivot_root, (long)"/tmp", (long)"/tmp", 0, 0, 0);
	call("open_tree", 428, AT_FDCWD, (long)"/", 1, 0, 0);
	call("move_mount", 429, AT_FDCWD, (long)"/proc", AT_FDCWD, (long)"/tmp", 0);
	call("fsopen", 430, (long)"tmpfs", 0, 0, 0, 0);
	call("fsconfig", 431, 0, 0, 0, 0, 0);
	call("fsmount", 432, 0, 0, 0, 0, 0);
	call("fspick", 433, AT_FDCWD, (long)"/", 0, 0, 0);
	call("mount_setattr", 442, AT_FDCWD, (long)"/", 0, 0, 0);
	call("unshare-user", SYS_unshare, CLONE_NEWUSER, 0, 0, 0, 0);
	call("unshare-mount", SYS_unshare, CLONE_NEWNS, 0, 0, 0, 0);
	call("unshare-net", SYS_unshare, CLONE_NEWNET, 0, 0, 0, 0);
	call("setns", SYS_setns, open("/proc/self/ns/mnt", O_RDONLY), 0, 0, 0, 0);
	call("clone3", 435, (long)buffer, 88, 0, 0, 0);
	call("clone-user", SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
	call("clone-mount", SYS_clone, CLONE_NEWNS | SIGCHLD, 0, 0, 0, 0);
	call("open_by_handle_at", SYS_open_by_handle_at, AT_FDCWD, (long)buffer, 0, 0, 0);
	call("kexec_load", SYS_kexec_load, 0, 0, 0, 0, 0);
	call("init_module", SYS_init_module, (long)buffer, 1, (long)"", 0, 0);
	call("finit_module", SYS_finit_module, 0, (long)"", 0, 0, 0);
	call("delete_module", SYS_delete_module, (long)"x", 0, 0, 0, 0);
	call("swapon", SYS_swapon, (long)"/tmp/x", 0, 0, 0, 0);
	call("reboot", SYS_reboot, 0, 0, 0, 0, 0);
	call("acct", SYS_acct, (long)"/tmp/x", 0, 0, 0, 0);
	call("quotactl", SYS_quotactl, 0, 0, 0, 0, 0);
	call("settimeofday", SYS_settimeofday, (long)buffer, 0, 0, 0, 0);
	call("sethostname", SYS_sethostname, (long)"x", 1, 0, 0, 0);
	call("syslog", SYS_syslog, 3, (long)buffer, 100, 0, 0);
	call("fanotify_init", SYS_fanotify_init, 0, 0, 0, 0, 0);
	call("move_pages", SYS_move_pages, 1, 0, 0, 0, 0);
	call("kcmp", SYS_kcmp, 1, 1, 0, 0, 0);
	call("personality", SYS_personality, 0x0040000 | 0x0000001, 0, 0, 0, 0);
	call("vhangup", SYS_vhangup, 0, 0, 0, 0, 0);
	call("new-call", 600, 0, 0, 0, 0, 0);
#ifdef __x86_64__
	call("iopl", SYS_iopl, 3, 0, 0, 0, 0);
	call("ioperm", SYS_ioperm, 0x80, 1, 1, 0, 0);
	call("x32-keyctl", 0x40000000 | SYS_keyctl, 0, -3, 1, 0, 0);
	call("x32-mount", 0x40000000 | SYS_mount, 0, 0, 0, 0, 0);
	entry32("mount", 21, 0, 0, 0);
	entry32("umount2", 52, 0, 0, 0);
	entry32("keyctl", 288, 0, -3, 1);
	entry32("unshare", 310, CLONE_NEWUSER, 0, 0);
	entry32("setns", 346, 0, 0, 0);
	entry32("bpf", 357, 0, 0, 0);
	entry32("userfaultfd", 374, 1, 0, 0);
	entry32("io_uring_setup", 425, 8, 0, 0);
	entry32("clone3", 435, 0, 0, 0);
	entry32("socket-alg", 359, 38, SOCK_SEQPACKET, 0);
	entry32("socketcall", 102, 1, 0, 0);
	entry32("clone-user", 120, CLONE_NEWUSER | SIGCHLD, 0, 0);
	entry32("reboot", 88, 0, 0, 0);
#endif
	/* Nothing but this step is there to be traced. */
	for (int pid = 2; pid < 5000; pid++)
		if (pid != getpid() && ptrace(PTRACE_ATTACH, pid, 0, 0) == 0)
			printf("ptrace DONE %d\n", pid);
	puts("end");
	return 0;
}
