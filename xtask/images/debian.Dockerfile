FROM tools-base
ENV LANG=C.UTF-8 GREETING="hello from the image"
CMD ["bash"]
