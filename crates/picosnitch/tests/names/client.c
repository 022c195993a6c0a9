/* Connects to port 7000 of each name and sends KIND and the name: client KIND NAME... */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int count, char **arguments)
{
	for (int i = 2; i < count; i++) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
		char line[600], answer[100];
		int connection, failed = getaddrinfo(arguments[i], "7000", &hints, &found);

		if (failed) {
			fprintf(stderr, "%s: %s\n", arguments[i], gai_strerror(failed));
			return 1;
		}
		connection = socket(found->ai_family, SOCK_STREAM, 0);
		if (connect(connection, found->ai_addr, found->ai_addrlen)) {
			perror(arguments[i]);
			return 1;
		}
		snprintf(line, sizeof(line), "%s %s\n", arguments[1], arguments[i]);
		if (write(connection, line, strlen(line)) < 0 || read(connection, answer, sizeof(answer)) < 0)
			perror(arguments[i]);
		close(connection);
		freeaddrinfo(found);
	}
	return 0;
}
