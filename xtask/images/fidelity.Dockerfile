# What an unpacked image can get wrong: each later layer changes what an earlier one made.
FROM base
RUN mkdir -p /f/dir/sub /f/opaque/old /f/gone/deep /f/turn && cd /f \
 && echo one > dir/file && ln dir/file dir/hard && ln dir/file hard-elsewhere && ln -s ../dir/file dir/soft \
 && ln -s /nowhere/at/all dangling && echo old > opaque/old/file && echo old > opaque/file && echo x > gone/deep/file \
 && echo file > turn/file-to-dir && mkdir turn/dir-to-file && echo in > turn/dir-to-file/inner \
 && cp /bin/true setuid && chmod 4755 setuid && cp /bin/true setgid && chmod 2755 setgid && chmod 1777 dir/sub \
 && echo m > mode-000 && chmod 000 mode-000 && echo m > mode-7777 && chmod 7777 mode-7777 && echo m > mode-0421 && chmod 0421 mode-0421 \
 && mkdir owned && echo o > owned/file && chown -R 1234:4321 owned && chown 4000000000:65534 owned/file \
 && name=$(printf 'n%.0s' $(seq 120)) && echo long > "$name" && deep=long && mkdir long \
 && for i in 1 2 3; do deep="$deep/$name"; mkdir "$deep"; done && echo deep > "$deep/file" && ln "$deep/file" "$deep/hard" \
 && ln -s "$deep/file" long-link && printf 'sp ace' > 'a name with spaces' && echo u > 'ünïcode' && : > empty \
 && truncate -s 1048577 sparse && mkfifo pipe && touch -d '1999-12-31 23:59:59.123456789' dated
RUN cd /f && rm -r gone && rm hard-elsewhere && rm turn/file-to-dir && mkdir turn/file-to-dir && echo in > turn/file-to-dir/inner \
 && rm -r turn/dir-to-file && echo file > turn/dir-to-file && chmod 0600 dir/file && rm -r opaque && mkdir -m 0750 opaque && echo new > opaque/new \
 && ln setuid setuid-hard && chown 7:8 'a name with spaces'
RUN cd /f && rm -r turn/file-to-dir && echo file-again > turn/file-to-dir && rm turn/dir-to-file && mkdir turn/dir-to-file \
 && echo again > turn/dir-to-file/other && mkdir gone && echo back > gone/file && echo two > dir/file && rm empty && rm -r opaque && mkdir opaque \
 && rm /etc/motd && rm -r /usr/share/doc/bash
CMD ["bash"]
