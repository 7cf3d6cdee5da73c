package main_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
)

var deliveries = flag.Int("deliveries", 8, "how many of the largest webhook deliveries come at once, beside as many slow ones")

// largestDelivery is the size of the largest body that a forge sends, in bytes.
const largestDelivery = 25 << 20

// pushOfManyFiles returns a push of nearly the largest size, without its end.
func pushOfManyFiles() string {
	var b strings.Builder
	b.WriteString(`{"ref":"refs/heads/main","before":"` + strings.Repeat("1", 40) + `","after":"` + strings.Repeat("2", 40) +
		`","repository":{"full_name":"shop/api","default_branch":"main"},"commits":[{"id":"` + strings.Repeat("2", 40) + `","added":["README.md"`)
	for i := 0; b.Len() < largestDelivery-1000; i++ {
		fmt.Fprintf(&b, `,"services/component-%04d/internal/file_number_%07d.go"`, i%1000, i)
	}
	b.WriteString(`]}],"number":`)
	return b.String()
}

// dialerOf returns the dialer of a client with a separate address, because the bodies of one
// client have a limit.
func dialerOf(i int) *net.Dialer {
	return &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1+byte(i/250), 1+byte(i%250))}}
}

// TestLargestDeliveriesAtOnce sends many of the largest deliveries at once, while as many others
// have stopped in the middle of theirs. All are carried out, and the memory does not grow with
// their number.
func TestLargestDeliveriesAtOnce(t *testing.T) {
	s := newServer(t, "webhook github s3cret {\n max_size 25MiB\n}\njob pushed {\n quiet_period 24h\n param N string\n on github push {\n"+
		" when `event.files.exists(f, f == \"README.md\") && size(body.commits) == 1`\n set N `body.number`\n}\n run true\n}\n")
	s.start()
	start := pushOfManyFiles()
	request := func(body io.Reader, n int64, sum string) *http.Request {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.site+"/buildByToken/webhook?job=pushed", body)
		if err != nil {
			t.Fatal(err)
		}
		r.ContentLength = n
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-GitHub-Event", "push")
		r.Header.Set("X-Hub-Signature-256", "sha256="+sum)
		return r
	}
	for i := range *deliveries {
		conn, err := dialerOf(i).DialContext(t.Context(), "tcp", s.site)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		var head strings.Builder
		if err := request(nil, 0, strings.Repeat("0", 64)).Write(&head); err != nil {
			t.Fatal(err)
		}
		stopped := strings.Replace(head.String(), "Content-Length: 0", fmt.Sprint("Content-Length: ", largestDelivery), 1) + start[:200<<10]
		if _, err := io.WriteString(conn, stopped); err != nil {
			t.Fatal(err)
		}
	}
	var all sync.WaitGroup
	for i := range *deliveries {
		all.Go(func() {
			end := fmt.Sprintf("%d}", i)
			mac := hmac.New(sha256.New, []byte("s3cret"))
			_, _ = io.WriteString(mac, start+end)
			n := int64(len(start) + len(end))
			r := request(io.MultiReader(strings.NewReader(start), strings.NewReader(end)), n, hex.EncodeToString(mac.Sum(nil)))
			resp, err := (&http.Transport{DialContext: dialerOf(i).DialContext, DisableKeepAlives: true}).RoundTrip(r)
			if err != nil {
				t.Errorf("delivery %d: %v", i, err)
				return
			}
			defer resp.Body.Close()
			text, err := io.ReadAll(resp.Body)
			if err != nil || resp.StatusCode != http.StatusCreated {
				t.Errorf("delivery %d: got %d %q, %v, want 201", i, resp.StatusCode, text, err)
			}
		})
	}
	all.Wait()
	const most = 1 << 30
	if peak := s.peak(); peak > most {
		t.Errorf("the server needed %d MiB, want at most %d", peak>>20, most>>20)
	} else {
		t.Logf("the server needed %d MiB for %d deliveries at once", peak>>20, *deliveries)
	}
}
