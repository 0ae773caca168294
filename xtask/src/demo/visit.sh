# What an agent would do, as far as anybody can see from outside of it.
say() { printf '\n%s\n' "$*"; }

say "I am $(id -un), in $PWD on a Linux $(uname -r) of my own. My proxy is $HTTPS_PROXY."

say "A request to the API, with the credential that I have, which is none:"
curl --silent --show-error https://api.demo.example/v1/whoami

say "A request to a host that nobody allowed:"
curl --silent --show-error https://elsewhere.example/

say "Past the proxy, to the 127.0.0.1 of the machine that I am on:"
curl --silent --show-error --noproxy '*' --max-time 30 "http://127.0.0.1:$HOST_PORT/"

say "Past the proxy, to some address on the internet:"
curl --silent --show-error --noproxy '*' --max-time 30 http://192.0.2.1/

say "My work:"
echo "Somebody was here." >notes.txt
git add notes.txt && git commit --message 'Say who was here' && git log --format='%h %an: %s'
