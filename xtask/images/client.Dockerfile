# A guest of the tests of bundles: what it asks its bundle with, and an agent that is not root.
FROM client-base
RUN useradd --create-home --shell /bin/sh agent
USER agent
WORKDIR /home/agent
CMD ["sh"]
