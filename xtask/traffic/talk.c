// talk ADDRESS PORT BYTES REPLY - connects with TCP, sends BYTES bytes, takes REPLY bytes and ends.
//
// A program of its own for `cargo xtask service` and `soak`: small, so that it starts quickly in an emulated guest.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int count, char **arguments)
{
	static char buffer[65536];
	struct sockaddr_in to = { .sin_family = AF_INET };

	if (count < 5 || inet_pton(AF_INET, arguments[1], &to.sin_addr) != 1) {
		fprintf(stderr, "usage: talk ADDRESS PORT BYTES REPLY\n");
		return 2;
	}
	to.sin_port = htons((unsigned short)atoi(arguments[2]));
	long send_left = atol(arguments[3]), receive_left = atol(arguments[4]);
	int connection = socket(AF_INET, SOCK_STREAM, 0);
	if (connection < 0 || connect(connection, (struct sockaddr *)&to, sizeof(to)))
		return fail("connect");
	while (send_left > 0) {
		size_t part = send_left < (long)sizeof(buffer) ? (size_t)send_left : sizeof(buffer);
		ssize_t sent = send(connection, buffer, part, MSG_NOSIGNAL);
		if (sent <= 0)
			return fail("send");
		send_left -= sent;
	}
	while (receive_left > 0) {
		ssize_t received = recv(connection, buffer, sizeof(buffer), 0);
		if (received <= 0)
			return fail("receive");
		receive_left -= received;
	}
	return 0;
}
