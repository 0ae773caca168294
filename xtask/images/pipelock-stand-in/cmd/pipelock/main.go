// A stand-in for pipelock: allowlist only. For tests, see README.md.
//
//	pipelock run --config FILE
//
// SIGHUP makes it read the file again. What it does is logged on stdout, a line of JSON each.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const what = "stand-in for pipelock: allowlist only"

const connectLimit = 10 * time.Second

// What it takes of pipelock's configuration.
type config struct {
	Allowlist  []string `json:"api_allowlist"`
	FetchProxy struct {
		Listen string `json:"listen"`
	} `json:"fetch_proxy"`
	hash string
}

type proxy struct {
	config    atomic.Pointer[config]
	transport http.Transport
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 4 || os.Args[1] != "run" || os.Args[2] != "--config" {
		log.Fatal(what + ": usage: pipelock run --config FILE")
	}
	path := os.Args[3]
	read, err := readConfig(path)
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
	// What comes back goes on as it is.
	served := &proxy{transport: http.Transport{DisableCompression: true}}
	served.config.Store(read)
	listener, err := net.Listen("tcp", read.FetchProxy.Listen)
	if err != nil {
		log.Fatalf("%s: %v", what, err)
	}
	note("startup", "version", what, "listen", read.FetchProxy.Listen, "config_hash", read.hash)
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	go func() {
		for range hangUps {
			served.reload(path)
		}
	}()
	log.Fatal(http.Serve(listener, served))
}

func readConfig(path string) (*config, error) {
	bytes, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	read := &config{}
	if err := json.Unmarshal(bytes, read); err != nil {
		return nil, err
	}
	if read.FetchProxy.Listen == "" {
		return nil, errors.New(path + " does not say where to listen")
	}
	hash := sha256.Sum256(bytes)
	read.hash = hex.EncodeToString(hash[:])
	return read, nil
}

// The launcher waits for the line that has the configuration's hash.
func (p *proxy) reload(path string) {
	read, err := readConfig(path)
	if err != nil {
		note("config_reload", "status", "failure", "detail", err.Error())
		return
	}
	p.config.Store(read)
	note("config_reload", "status", "success", "config_hash", read.hash)
}

func (c *config) allows(host string) bool {
	host = strings.ToLower(host)
	for _, pattern := range c.Allowlist {
		domain, below := strings.CutPrefix(pattern, "*.")
		if host == domain || below && strings.HasSuffix(host, "."+domain) {
			return true
		}
	}
	return false
}

func (p *proxy) ServeHTTP(to http.ResponseWriter, request *http.Request) {
	host := request.URL.Hostname()
	if request.Method == http.MethodConnect {
		host, _, _ = net.SplitHostPort(request.Host)
	}
	switch {
	case host == "":
		http.Error(to, what, http.StatusNotFound)
	case !p.config.Load().allows(host):
		refuse(to, request, "domain not in allowlist: "+host)
	case request.Method == http.MethodConnect:
		tunnel(to, request)
	default:
		p.forward(to, request)
	}
}

func refuse(to http.ResponseWriter, request *http.Request, reason string) {
	note("blocked", "method", request.Method, "target", request.Host, "reason", reason)
	http.Error(to, "blocked: "+reason, http.StatusForbidden)
}

func tunnel(to http.ResponseWriter, request *http.Request) {
	upstream, err := net.DialTimeout("tcp", request.Host, connectLimit)
	if err != nil {
		http.Error(to, err.Error(), http.StatusBadGateway)
		return
	}
	defer upstream.Close()
	client, buffered, err := http.NewResponseController(to).Hijack()
	if err != nil {
		http.Error(to, err.Error(), http.StatusInternalServerError)
		return
	}
	defer client.Close()
	note("allowed", "method", request.Method, "target", request.Host)
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection Established\r\n\r\n"); err != nil {
		return
	}
	over := make(chan struct{}, 2)
	pass := func(to io.Writer, from io.Reader) {
		_, _ = io.Copy(to, from)
		over <- struct{}{}
	}
	go pass(upstream, buffered)
	go pass(client, upstream)
	<-over
}

func (p *proxy) forward(to http.ResponseWriter, request *http.Request) {
	request.RequestURI = ""
	// For this proxy, and nobody behind it.
	request.Header.Del("Proxy-Authorization")
	request.Header.Del("Proxy-Connection")
	answer, err := p.transport.RoundTrip(request)
	if err != nil {
		http.Error(to, err.Error(), http.StatusBadGateway)
		return
	}
	defer answer.Body.Close()
	note("allowed", "method", request.Method, "target", request.Host)
	for name, values := range answer.Header {
		to.Header()[name] = values
	}
	to.WriteHeader(answer.StatusCode)
	_, _ = io.Copy(to, answer.Body)
}

// Writes a line to the log.
func note(event string, pairs ...string) {
	entry := map[string]string{"component": what, "event": event, "time": time.Now().UTC().Format(time.RFC3339)}
	for at := 0; at+1 < len(pairs); at += 2 {
		entry[pairs[at]] = pairs[at+1]
	}
	line, err := json.Marshal(entry)
	if err == nil {
		fmt.Println(string(line))
	}
}
