/*
 * Preloaded into OpenIKED's iked, so that its IKE can be tested where two things are missing:
 *
 * PF_KEY (RFC 2367), which a kernel may lack (CONFIG_NET_KEY). socket(PF_KEY) then becomes a socketpair, and a
 * thread at its far end grants every request by sending it back with errno 0. No SA is ever installed, but IKE
 * goes on as if. Where the kernel has PF_KEY this does nothing.
 *
 * The user _iked, who is not mapped in a user namespace with one user. Changing to an unmapped user is said to have
 * succeeded. Where the change is possible it is made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define PFKEY_DOMAIN 15     /* AF_KEY, linux/socket.h */
#define SADB_REGISTER 7     /* RFC 2367, section 3.1.7 */
#define SADB_MSG_SIZE 16    /* struct sadb_msg, RFC 2367, section 2.2 */
#define PFKEY_PATIENCE 1    /* ms, pfkey_reply() of iked */
#define SHIM_PATIENCE 10000 /* ms */
#define IP_POLICY 16        /* IP_IPSEC_POLICY, linux/in.h */
#define IPV6_POLICY 34      /* IPV6_IPSEC_POLICY, linux/in6.h */

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	unsigned char b[65536];
	ssize_t n;

	while ((n = recv(fd, b, sizeof b, 0)) > 0) {
		b[2] = 0; /* sadb_msg_errno */
		if (n > SADB_MSG_SIZE && b[1] == SADB_REGISTER) {
			b[4] = SADB_MSG_SIZE / 8; /* sadb_msg_len: the header alone, no algorithms */
			b[5] = 0;
			n = SADB_MSG_SIZE;
		}
		send(fd, b, n, MSG_NOSIGNAL);
	}
	close(fd);
	return 0;
}

int socket(int domain, int type, int protocol)
{
	int (*real)(int, int, int) = dlsym(RTLD_NEXT, "socket");
	int fd = real(domain, type, protocol), pair[2];
	pthread_t thread;

	if (domain != PFKEY_DOMAIN || fd >= 0)
		return fd;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
		return -1;
	if (pthread_create(&thread, 0, serve, (void *)(intptr_t)pair[1]))
		return -1;
	return pair[0];
}

/* The policy by which a socket's own packets bypass IPsec: refused by a kernel without IPsec, and not needed there. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
	int (*real)(int, int, int, const void *, socklen_t) = dlsym(RTLD_NEXT, "setsockopt");
	int r = real(fd, level, name, value, len);

	if (r && ((level == IPPROTO_IP && name == IP_POLICY) || (level == IPPROTO_IPV6 && name == IPV6_POLICY)))
		return 0;
	return r;
}

/* iked gives PF_KEY 1 ms to answer. A kernel does so before write() returns; the thread may have to wait its turn. */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int (*real)(struct pollfd *, nfds_t, int) = dlsym(RTLD_NEXT, "poll");

	return real(fds, n, timeout == PFKEY_PATIENCE ? SHIM_PATIENCE : timeout);
}

static int unless_unmapped(int r)
{
	return r && (errno == EINVAL || errno == EPERM) ? 0 : r;
}

int setgroups(size_t n, const gid_t *list)
{
	int (*real)(size_t, const gid_t *) = dlsym(RTLD_NEXT, "setgroups");

	return unless_unmapped(real(n, list));
}

int setresgid(gid_t r, gid_t e, gid_t s)
{
	int (*real)(gid_t, gid_t, gid_t) = dlsym(RTLD_NEXT, "setresgid");

	return unless_unmapped(real(r, e, s));
}

int setresuid(uid_t r, uid_t e, uid_t s)
{
	int (*real)(uid_t, uid_t, uid_t) = dlsym(RTLD_NEXT, "setresuid");

	return unless_unmapped(real(r, e, s));
}
