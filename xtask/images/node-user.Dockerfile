# An image for an agent: it has a user, whose home is root's on purpose, as careless images have it.
FROM base
RUN groupadd --gid 1000 node && useradd --create-home --uid 1000 --gid node --shell /bin/bash node
RUN mkdir /home/node/.cache && echo mine > /home/node/.cache/file && chown -R root:root /home/node && chmod 0755 /tmp
ENV AGENT=node NODE_ENV=production
WORKDIR /work
USER node
CMD ["bash"]
