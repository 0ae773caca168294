# A stand-in for the bundle: a plain forward proxy on port 8888, and a web server behind it on port 8080.
FROM proxy-base
RUN mkdir -p /srv/www && echo 'the page behind the proxy' > /srv/www/index.html \
 && printf '%s\n' 'Port 8888' 'Listen 0.0.0.0' 'Timeout 60' 'MaxClients 50' 'LogLevel Connect' > /etc/tinyproxy/bottle.conf \
 && printf '%s\n' '#!/bin/sh' 'busybox httpd -p 8080 -h /srv/www' 'exec tinyproxy -d -c /etc/tinyproxy/bottle.conf' > /usr/local/bin/serve \
 && chmod 755 /usr/local/bin/serve
EXPOSE 8888
# A bundle gets no capability, so its daemons cannot change their user themselves.
USER nobody
CMD ["/usr/local/bin/serve"]
