/*
 * The operations of `cargo xtask cost`. One thread is both ends of each exchange, over loopback.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "operations.h"

#define SMALL 64
#define LARGE (64 * 1024)
/* Distinct domains that are asked for, one after the other. */
#define DOMAINS 64
#define GROUPS 10000
#define GROUPS_PORT 4000
#define STREAM_PORT 4001
#define DATAGRAM_PORT 4002
#define NAME_SERVER_PORT 53
#define TLS_PORT 443

static char buffer[LARGE];
/* The sockets of the current repetition, which end_repetition() closes. */
static int server = -1, client = -1, listener = -1;

int must(int result, const char *what)
{
	if (result < 0)
		err(1, "%s", what);
	return result;
}

static void must_move(ssize_t bytes, size_t expected, const char *what)
{
	if (bytes < 0)
		err(1, "%s", what);
	if ((size_t)bytes != expected)
		errx(1, "%s moved %zd of %zu bytes", what, bytes, expected);
}

static struct sockaddr_in address(uint32_t host, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(host) };
}

static int bound(int type, uint32_t host, uint16_t port)
{
	struct sockaddr_in local = address(host, port);
	int made = must(socket(AF_INET, type | SOCK_CLOEXEC, 0), "socket"), yes = 1;

	must(setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), "SO_REUSEADDR");
	must(bind(made, (struct sockaddr *)&local, sizeof(local)), "bind");
	return made;
}

static void to_server(int from, uint16_t port)
{
	struct sockaddr_in peer = address(INADDR_LOOPBACK, port);

	must(connect(from, (struct sockaddr *)&peer, sizeof(peer)), "connect");
}

/* The next close sends a reset, so that no port is left in TIME_WAIT. */
static void reset_on_close(int connection)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	must(setsockopt(connection, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), "SO_LINGER");
}

void end_repetition(void)
{
	int *all[] = { &server, &client, &listener };

	for (size_t at = 0; at < sizeof(all) / sizeof(*all); at++) {
		if (*all[at] >= 0)
			close(*all[at]);
		*all[at] = -1;
	}
}

static void begin_nothing(void)
{
}

static void begin_datagrams(void)
{
	server = bound(SOCK_DGRAM, INADDR_LOOPBACK, DATAGRAM_PORT);
	client = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
}

static void begin_connected_datagrams(void)
{
	begin_datagrams();
	to_server(client, DATAGRAM_PORT);
}

static void udp_connected(long number)
{
	(void)number;
	must_move(send(client, buffer, SMALL, 0), SMALL, "send");
	must_move(recv(server, buffer, SMALL, 0), SMALL, "recv");
}

static void udp_unconnected(long number)
{
	struct sockaddr_in peer = address(INADDR_LOOPBACK, DATAGRAM_PORT);

	(void)number;
	must_move(sendto(client, buffer, SMALL, 0, (struct sockaddr *)&peer, sizeof(peer)), SMALL, "sendto");
	must_move(recv(server, buffer, SMALL, 0), SMALL, "recv");
}

static void listen_at(uint16_t port)
{
	listener = bound(SOCK_STREAM, INADDR_LOOPBACK, port);
	must(listen(listener, 16), "listen");
}

static void begin_stream(void)
{
	int room = 4 << 20;

	listen_at(STREAM_PORT);
	client = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
	/* One thread writes and reads, so a whole message has to fit into the sockets. */
	must(setsockopt(client, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)), "SO_SNDBUFFORCE");
	must(setsockopt(listener, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)), "SO_RCVBUFFORCE");
	to_server(client, STREAM_PORT);
	server = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	reset_on_close(server);
}

static void tcp_small(long number)
{
	(void)number;
	must_move(send(client, buffer, SMALL, 0), SMALL, "send");
	must_move(recv(server, buffer, SMALL, MSG_WAITALL), SMALL, "recv");
}

static void tcp_large(long number)
{
	(void)number;
	must_move(send(client, buffer, LARGE, 0), LARGE, "send");
	must_move(recv(server, buffer, LARGE, MSG_WAITALL), LARGE, "recv");
}

static void begin_connections(void)
{
	listen_at(STREAM_PORT);
}

/* Connects, sends what is given, accepts, receives it, closes both ends. */
static void converse(uint16_t port, const void *first_bytes, size_t length)
{
	int from = must(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket"), accepted;

	to_server(from, port);
	if (length)
		must_move(send(from, first_bytes, length, 0), length, "send");
	accepted = must(accept4(listener, NULL, NULL, SOCK_CLOEXEC), "accept");
	if (length)
		must_move(recv(accepted, buffer, length, MSG_WAITALL), length, "recv");
	reset_on_close(accepted);
	close(accepted);
	close(from);
}

static void tcp_connection(long number)
{
	(void)number;
	converse(STREAM_PORT, NULL, 0);
}

static void start_program(long number)
{
	char *arguments[] = { "true", NULL }, *environment[] = { NULL };
	int status;
	pid_t child;

	(void)number;
	errno = posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environment);
	must(errno ? -1 : 0, "posix_spawn");
	must(waitpid(child, &status, 0), "waitpid");
	if (status)
		errx(1, "/bin/true ended with status %d", status);
}

static void begin_name_server(void)
{
	server = bound(SOCK_DGRAM, INADDR_LOOPBACK, NAME_SERVER_PORT);
}

/* A question for the address of hostNN.example.org (RFC 1035, section 4). */
static size_t dns_question(unsigned char *message, long number)
{
	static const unsigned char head[12] = { 0, 0, 1, 0, 0, 1 };
	static const unsigned char tail[] = "\7example\3org\0\0\1\0\1"; /* type A, class IN */
	size_t length = sizeof(head);
	char label[8];

	memcpy(message, head, sizeof(head));
	message[0] = number >> 8;
	message[1] = number;
	snprintf(label, sizeof(label), "host%02ld", number % DOMAINS);
	message[length++] = 6;
	memcpy(message + length, label, 6);
	length += 6;
	memcpy(message + length, tail, sizeof(tail) - 1);
	return length + sizeof(tail) - 1;
}

/* Turns the question into its answer: one address, valid for five minutes. */
static size_t dns_answer(unsigned char *message, size_t length, long number)
{
	unsigned char record[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 44, 0, 4, 192, 0, 2, number % DOMAINS };

	message[2] = 0x81;
	message[3] = 0x80;
	message[7] = 1;
	memcpy(message + length, record, sizeof(record));
	return length + sizeof(record);
}

static void dns_lookup(long number)
{
	unsigned char message[512];
	struct sockaddr_in asker;
	socklen_t asker_length = sizeof(asker);
	size_t length = dns_question(message, number);
	/* As the C library does, a socket for each question. */
	int resolver = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	to_server(resolver, NAME_SERVER_PORT);
	must_move(send(resolver, message, length, 0), length, "send");
	must_move(recvfrom(server, message, sizeof(message), 0, (struct sockaddr *)&asker, &asker_length), length,
		  "recvfrom");
	length = dns_answer(message, length, number);
	must_move(sendto(server, message, length, 0, (struct sockaddr *)&asker, asker_length), length, "sendto");
	must_move(recv(resolver, message, sizeof(message), 0), length, "recv");
	close(resolver);
}

static void begin_tls(void)
{
	listen_at(TLS_PORT);
}

/* A ClientHello with one cipher suite and one extension, the server's name hostNN.example.org (RFC 8446, 4.1.2). */
static void tls_hello(long number)
{
	unsigned char hello[] = "\x16\3\1\0\x4a"		   /* record: handshake */
				"\1\0\0\x46\3\3"		   /* ClientHello, TLS 1.2 */
				"................................" /* random */
				"\0\0\2\x13\1\1\0"		   /* no session, one cipher suite, no compression */
				"\0\x1b\0\0\0\x17\0\x15\0\0\x12"   /* one extension: a list of one host name */
				"host00.example.org";

	hello[sizeof(hello) - 15] += number % DOMAINS / 10;
	hello[sizeof(hello) - 14] += number % DOMAINS % 10;
	converse(TLS_PORT, hello, sizeof(hello) - 1);
}

static void begin_groups(void)
{
	int least = 1;

	/* It is never read: what does not fit is dropped, and only the sender makes groups. */
	server = bound(SOCK_DGRAM, INADDR_ANY, GROUPS_PORT);
	must(setsockopt(server, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)), "SO_RCVBUF");
	client = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
}

static void window_of_groups(long number)
{
	(void)number;
	for (uint32_t group = 0; group < GROUPS; group++) {
		struct sockaddr_in peer = address((127 << 24 | 1 << 16) + group, GROUPS_PORT);

		must_move(sendto(client, buffer, SMALL, 0, (struct sockaddr *)&peer, sizeof(peer)), SMALL, "sendto");
	}
}

/* Operations that cost the daemon little are measured more often: its regular work weighs more there. */
const struct operation operations[] = {
	{ "idle", 0, 0, 11, begin_nothing, NULL },
	{ "udp-connected", 200, PORTIONS, 11, begin_connected_datagrams, udp_connected },
	{ "udp-unconnected", 200, PORTIONS, 11, begin_datagrams, udp_unconnected },
	{ "tcp-64", 200, PORTIONS, 11, begin_stream, tcp_small },
	{ "tcp-64k", 50, PORTIONS, 11, begin_stream, tcp_large },
	{ "tcp-connection", 100, PORTIONS, 5, begin_connections, tcp_connection },
	{ "exec", 15, PORTIONS, 7, begin_nothing, start_program },
	{ "dns", 100, PORTIONS, 5, begin_name_server, dns_lookup },
	{ "tls-hello", 100, PORTIONS, 5, begin_tls, tls_hello },
	{ "window-10000", 1, 1, 5, begin_groups, window_of_groups },
};

const size_t operation_count = sizeof(operations) / sizeof(*operations);
