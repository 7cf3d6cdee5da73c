//go:build unix

package caddymodule_test

import (
	"context"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestClientsOnAUnixSocketHaveNoAddress sends triggers over a Unix socket. Logs and causes must
// not invent an address for them, and must not have an empty one.
func TestClientsOnAUnixSocketHaveNoAddress(t *testing.T) {
	s := newSite(t)
	socket := filepath.Join(t.TempDir(), "s")
	s.load(strings.Replace(s.caddyfile("", jobs("job x {\n token secret {\n grant trigger status log\n }\n run true\n}")), "\tlog\n", "\tbind unix/"+socket+"\n\tlog\n", 1))
	over := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	if a := request(t, over, http.MethodGet, "http://"+s.addr+"/buildByToken/build?job=x&token=wrong"); a.status != http.StatusForbidden {
		t.Errorf("wrong token: got %d %q, want 403", a.status, a.body)
	}
	if a := request(t, over, http.MethodGet, "http://"+s.addr+"/buildByToken/build?job=x&token=secret"); a.status != http.StatusCreated {
		t.Fatalf("trigger: got %d %q, want 201", a.status, a.body)
	}
	a := request(t, over, http.MethodGet, "http://"+s.addr+"/buildByToken/log?job=x&token=secret&item=1")
	if !strings.HasPrefix(a.body, "Started by remote host (no address)\n") {
		t.Errorf("log: got %q", a.body)
	}
	s.mustNotLog("invalid IP")
}
