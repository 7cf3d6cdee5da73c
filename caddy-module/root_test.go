package caddymodule_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestLocation checks the URL to which a client is sent for its item.
func TestLocation(t *testing.T) {
	const job = "job x {\n token secret\n run true\n}\n"
	for _, tt := range []struct {
		name, servers, body, target string
		header                      []string
		want                        string // ADDR stands for the address of the server
	}{
		{"at the root of a port", "", jobs(job), "", nil, "http://ADDR/queue/item/1/"},
		{"below a stripped prefix", "", "handle_path /ci/* {\n" + jobs(job) + "}", "/ci", nil, "http://ADDR/ci/queue/item/1/"},
		{"below two stripped prefixes", "", "handle_path /a/* {\n handle_path /b/* {\n" + jobs(job) + "}\n}", "/a/b", nil, "http://ADDR/a/b/queue/item/1/"},
		{"below a prefix with an escape", "", "handle_path \"/a b/*\" {\n" + jobs(job) + "}", "/a%20b", nil, "http://ADDR/a%20b/queue/item/1/"},
		{"below a prefix, with a doubled slash", "", "handle_path /ci/* {\n" + jobs(job) + "}", "/ci/", nil, "http://ADDR/ci/queue/item/1/"},
		{"below an escaped prefix, with a doubled slash", "", "handle_path \"/a b/*\" {\n" + jobs(job) + "}", "/a%20b/", nil, "http://ADDR/a%20b/queue/item/1/"},
		{"by another name", "", jobs(job), "", []string{"Host", "ci.example.com"}, "http://ci.example.com/queue/item/1/"},
		{"by an address, at the last port", "", jobs(job), "", []string{"Host", "[2001:db8::1]:65535"}, "http://[2001:db8::1]:65535/queue/item/1/"},
		{"at a port after the last", "", jobs(job), "", []string{"Host", "ci.example.com:65536"}, "http://ADDR/queue/item/1/"},
		{"by what looks like an address", "", jobs(job), "", []string{"Host", "[2001:db8::x]"}, "http://ADDR/queue/item/1/"},
		{"by a name that can't stand in a URL", "", jobs(job), "", []string{"Host", "ci.example.com(x)"}, "http://ADDR/queue/item/1/"},
		{"by a configured URL", "", "handle_path /ci/* {\n" + strings.Replace(jobs(job), "{", "{\n root_url https://ci.example.com/builds", 1) + "}", "/ci", nil, "https://ci.example.com/builds/queue/item/1/"},
		{"with the host that an untrusted client claims", "", jobs(job), "", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "evil.example.com"}, "http://ADDR/queue/item/1/"},
		{"with the host that a trusted proxy reports", "servers {\n trusted_proxies static 127.0.0.1/32\n}", jobs(job), "", []string{"X-Forwarded-Proto", "https", "X-Forwarded-Host", "ci.example.com:8443"}, "https://ci.example.com:8443/queue/item/1/"},
		{"with the host that the first of two proxies reports", "servers {\n trusted_proxies static 127.0.0.1/32\n}", jobs(job), "", []string{"X-Forwarded-Proto", "https, http", "X-Forwarded-Host", "ci.example.com, inner"}, "https://ci.example.com/queue/item/1/"},
		{"with an invalid host from a trusted proxy", "servers {\n trusted_proxies static 127.0.0.1/32\n}", jobs(job), "", []string{"X-Forwarded-Proto", "gopher", "X-Forwarded-Host", "ci.example.com/x"}, "http://ADDR/queue/item/1/"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			text := strings.Replace(s.caddyfile("", tt.body), "debug", "debug\n"+tt.servers, 1)
			s.load(strings.Replace(text, "http://"+s.addr, "http://:"+s.addr[strings.LastIndex(s.addr, ":")+1:], 1))
			a := s.get(tt.target+"/buildByToken/build?job=x&token=secret", tt.header...)
			if a.status != http.StatusCreated {
				t.Fatalf("got %d %q, want 201", a.status, a.body)
			}
			if got, want := a.header.Get("Location"), strings.Replace(tt.want, "ADDR", s.addr, 1); got != want {
				t.Errorf("Location: got %q, want %q", got, want)
			}
		})
	}
}

// TestRedirectsStayOnTheHost requests paths that a browser could interpret as those of another
// host, if they were part of the address of a build or page.
func TestRedirectsStayOnTheHost(t *testing.T) {
	s := newSite(t)
	s.load(s.caddyfile("", "handle_path /ci/* {\n"+strings.Replace(jobs("job x {\n token secret {\n grant trigger status\n }\n run true\n}"), "{", "{\n access {\n read `true`\n }", 1)+"}"))
	if a := s.get("/ci/buildByToken/build?job=x&token=secret", "Prefer", "wait=30"); a.status != http.StatusOK && a.status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q", a.status, a.body)
	}
	for _, target := range []string{
		"/ci/job/x/lastBuild/", "//ci/job/x/lastBuild/", "///ci/job/x/lastBuild/", "/./ci/job/x/lastBuild/", "/%2e/ci/job/x/lastBuild/",
		"//evil.example/|/..%2f..%2fci/job/x/lastBuild/", "//evil.example/../ci/job/x/lastBuild/", "/%2fevil.example/..%2f..%2fci/job/x/lastBuild/",
		`/\evil.example/..%2f..%2fci/job/x/lastBuild/`, "/%5cevil.example/..%2f..%2fci/job/x/lastBuild/", "//evil.example%2f..%2f..%2fci/job/x/lastBuild/",
	} {
		for _, accept := range []string{"text/html", "*/*"} {
			a := s.get(target, "Accept", accept)
			at := strings.ReplaceAll(a.header.Get("Location"), "http://"+s.addr+"/", "/")
			if at != "" && (!strings.HasPrefix(at, "/") || strings.HasPrefix(at, "//") || strings.HasPrefix(at, `/\`) || strings.Contains(at, "/.")) {
				t.Errorf("GET %s (%s) = %d, Location %q", target, accept, a.status, a.header.Get("Location"))
			}
			if strings.Contains(a.body, "evil.example") && a.status < 300 {
				t.Errorf("GET %s (%s) = %d, and the page links to another host", target, accept, a.status)
			}
		}
	}
}

// certificate writes a certificate for localhost and returns the arguments of the tls
// directive.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: cert},
		"key.pem":  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "cert.pem") + " " + filepath.Join(dir, "key.pem")
}

// TestLocationOverTLS sends requests with HTTP/2 and with HTTP/1.1.
func TestLocationOverTLS(t *testing.T) {
	s := newSite(t)
	port := s.addr[strings.LastIndex(s.addr, ":"):]
	text := s.caddyfile("", "tls "+certificate(t)+"\n"+jobs("job x {\n token secret\n run true\n}"))
	text = strings.Replace(text, "auto_https off", "auto_https disable_redirects\n skip_install_trust\n http_port "+freeAddress(t)[len("127.0.0.1:"):], 1)
	s.load(strings.Replace(text, "http://"+s.addr, "https://localhost"+port, 1))
	h2, h1 := insecure(), insecure()
	h1.ForceAttemptHTTP2 = false
	for _, transport := range []*http.Transport{h1, h2} { // a minimal machine may not know the name localhost
		transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, s.addr)
		}
	}
	for proto, transport := range map[int]*http.Transport{1: h1, 2: h2} {
		a := request(t, transport, http.MethodGet, "https://localhost"+port+"/buildByToken/build?job=x&token=secret&delay=1h")
		if got, want := a.header.Get("Location"), "https://localhost"+port+"/queue/item/1/"; got != want {
			t.Errorf("Location: got %q (status %d), want %q", got, a.status, want)
		}
		if a.proto != proto {
			t.Errorf("got HTTP/%d, want HTTP/%d", a.proto, proto)
		}
	}
}

// TestRemoteAndUser verifies that rules see the address and the user that Caddy has determined.
func TestRemoteAndUser(t *testing.T) {
	s := newSite(t)
	const rules = "job x {\n token secret {\n allow `request.remote_ip == \"203.0.113.7\"`\n}\n run true\n}\n"
	body := "basic_auth /job/* {\n alice $2a$04$f5HBYHqU9Ww1tEDulIbHYOGzp2tgd9w58uIPxLUqoikVUXjQSx9OW\n}\n" + jobs(rules)
	s.load(strings.Replace(s.caddyfile("", body), "debug", "servers {\n trusted_proxies static 127.0.0.1/32\n trusted_proxies_strict\n}", 1))
	if a := s.get("/buildByToken/build?job=x&token=secret"); a.status != http.StatusForbidden {
		t.Errorf("from the proxy itself: got %d, want 403", a.status)
	}
	if a := s.get("/buildByToken/build?job=x&token=secret", "X-Forwarded-For", "198.51.100.1, 203.0.113.7"); a.status != http.StatusCreated {
		t.Errorf("from behind the proxy: got %d %q, want 201", a.status, a.body)
	}
	if a := s.get("/job/x/api/json"); a.status != http.StatusUnauthorized {
		t.Errorf("without an account: got %d, want the 401 of basic_auth", a.status)
	}
	if a := s.get("/job/x/api/json", "Authorization", "Basic YWxpY2U6d29uZGVybGFuZA=="); a.status != http.StatusOK || !strings.Contains(a.body, `"fullName":"x"`) {
		t.Errorf("alice: got %d %s, want 200 and the job", a.status, a.body)
	}
}
