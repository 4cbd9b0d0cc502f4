"""What the processes of a run may use of a host: processors, threads, file descriptors."""
