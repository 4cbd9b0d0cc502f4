"""Sockets, encryption, authentication and warnings of every process: the only room with zmq."""
