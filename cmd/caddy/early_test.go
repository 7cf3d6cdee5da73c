package main_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// relay passes the datagrams between clients and the server. It holds back what the server sends while gate
// is locked: a client that hears nothing cannot end its handshake.
func relay(t *testing.T, server string, gate *sync.RWMutex) string {
	t.Helper()
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { front.Close() })
	running.Go(func() {
		backs := map[string]net.Conn{}
		defer func() {
			for _, back := range backs {
				back.Close()
			}
		}()
		for packet := make([]byte, 65536); ; {
			n, from, err := front.ReadFrom(packet)
			if err != nil {
				return
			}
			back := backs[from.String()]
			if back == nil {
				if back, err = net.Dial("udp", server); err != nil {
					t.Error(err)
					return
				}
				backs[from.String()] = back
				running.Go(func() {
					for packet := make([]byte, 65536); ; {
						n, err := back.Read(packet)
						if err != nil {
							return
						}
						gate.RLock()
						_, _ = front.WriteTo(packet[:n], from) // like a network, which can lose it
						gate.RUnlock()
					}
				})
			}
			_, _ = back.Write(packet[:n])
		}
	})
	return front.LocalAddr().String()
}

// TestEarlyDataOfHTTP3StartsNothing sends a trigger in the first datagrams of a resumed connection. Anyone
// who records them can send them again, as often as they like.
func TestEarlyDataOfHTTP3StartsNothing(t *testing.T) {
	s := newServer(t, "")
	secure := freeAddress(t)
	_, port, err := net.SplitHostPort(secure)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("{\n\tadmin %s\n\tauto_https disable_redirects\n\tskip_install_trust\n}\nhttp://%s {\n\trespond /ready ready\n}\n"+
		"https://localhost:%s {\n\tbind 127.0.0.1\n\tlog\n\ttls internal\n\tbuild_token {\n\t\tjob x {\n\t\t\tquiet_period 1h\n\t\t\ttoken secret\n\t\t\trun true\n\t\t}\n\t}\n}\n", s.admin, s.site, port)
	if err := os.WriteFile(s.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.start()
	var gate sync.RWMutex
	address := relay(t, secure, &gate)
	sessions := tls.NewLRUClientSessionCache(1)
	// send sends a request over a new connection. The first one gets a ticket for the next ones.
	send := func(method, target string) (status int, early bool) {
		var conn *quic.Conn
		client := &http3.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: sessions},
			Dial: func(ctx context.Context, _ string, t *tls.Config, c *quic.Config) (*quic.Conn, error) {
				var err error
				conn, err = quic.DialAddrEarly(ctx, address, t, c)
				return conn, err
			},
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, method, "https://localhost:"+port+target, nil)
		if err != nil {
			t.Error(err)
			return 0, false
		}
		resp, err := client.RoundTrip(r)
		if err != nil {
			t.Errorf("%s %s: %v", method, target, err)
			return 0, false
		}
		defer resp.Body.Close()
		if _, err := io.ReadAll(resp.Body); err != nil {
			t.Errorf("%s %s: %v", method, target, err)
		}
		return resp.StatusCode, conn.ConnectionState().Used0RTT
	}
	s.eventually("the certificate is there", func() bool {
		c, err := tls.Dial("tcp", secure, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	const trigger = "/buildByToken/build?job=x&token=secret"
	if status, early := send(http.MethodGet, "/buildByToken/"); status != http.StatusNotFound || early {
		t.Fatalf("the first request: got %d, early %v", status, early)
	}
	gate.Lock()
	unlock := sync.OnceFunc(gate.Unlock)
	defer unlock()
	var sending sync.WaitGroup
	sending.Go(func() {
		if status, early := send(http3.MethodGet0RTT, trigger); status != http.StatusTooEarly || !early {
			t.Errorf("a trigger in early data: got %d, early %v, want 425", status, early)
		}
	})
	s.eventually("the trigger was answered", func() bool { return strings.Contains(s.output(), "/buildByToken/build?") })
	unlock()
	sending.Wait()
	if n := s.items(t); n != 0 {
		t.Errorf("%d items are queued, want none", n)
	}
	if status, _ := send(http.MethodGet, trigger); status != http.StatusCreated {
		t.Errorf("the trigger, repeated after the handshake: got %d, want 201", status)
	}
}
