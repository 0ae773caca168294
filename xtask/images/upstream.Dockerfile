# The world that tests' bundles reach: servers of the tests' in Python, and a git server behind sshd.
FROM upstream-base
RUN install -d /run/sshd
CMD ["python3"]
