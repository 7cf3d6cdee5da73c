package caddymodule_test

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkHTTP compares triggers through a real Caddy with a static `respond` of the same
// Caddy, over keep-alive connections on loopback. The cases alternate in short slices, so that
// a machine whose speed varies affects all of them. The results are medians over the rounds, as
// requests per second and as ratios to respond.
//
// Other processes on the machine affect these rates. They hardly affect the processor time of a
// request, client included. The ratios of processor time (respond's by the case's, so that they
// compare like those of the rates) are the rates of an idle machine on which requests wait for
// nothing but the processors.
//
// The case hook is a common home-made solution: a server that runs a command for each request,
// and answers when it has ended. Its command does nothing.
//
// The clients share the processors with the server. They write prepared bytes and read as
// little as possible, so that most of the measured time is the server's.
func BenchmarkHTTP(b *testing.B) {
	address := startCaddy(b, "")
	cases := append(triggerCases(address), fixedCase("hook", hookServer(b), "/", "200"))
	for _, clients := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) { compare(b, clients, cases) })
	}
}

// BenchmarkHTTPAmongJobs shows that the cost of a trigger does not depend on the number of
// jobs.
func BenchmarkHTTPAmongJobs(b *testing.B) {
	for _, jobs := range []int{1, 1_000, 100_000} {
		b.Run(fmt.Sprintf("jobs=%d", jobs), func(b *testing.B) {
			compare(b, 64, triggerCases(startCaddy(b, manyJobs(jobs))))
		})
	}
}

// BenchmarkHTTPBesideNotifications shows that a trigger costs the same while notifications
// wait, ten for each of as many items, whose receiver refuses connections.
func BenchmarkHTTPBesideNotifications(b *testing.B) {
	receivers := ""
	for i := range 10 {
		receivers += fmt.Sprintf("notify to%d http://127.0.0.1:1/ {\n on queued\n}\n", i)
	}
	for _, items := range []int{0, 1_000} {
		b.Run(fmt.Sprintf("waiting=%d", 10*items), func(b *testing.B) {
			address := startCaddy(b, "job told {\n param N string\n run true\n"+receivers+"}\n")
			fill := dial(b, address, 1).clients[0]
			for i := range items {
				request := fmt.Sprintf("GET /buildByToken/buildWithParameters?job=told&token=TacoTuesday&N=%d HTTP/1.1\r\nHost: %s\r\n\r\n", i, address)
				if err := fill.ask([]byte(request), "201"); err != nil {
					b.Fatal(err)
				}
			}
			compare(b, 64, triggerCases(address))
		})
	}
}

// BenchmarkHTTPAudited shows what the audit log costs: the ratios without it, with one that Caddy's
// logger encodes and discards, and with one that it writes to a file.
func BenchmarkHTTPAudited(b *testing.B) {
	for _, output := range []string{"", "discard", "file"} {
		b.Run("audit="+cmp.Or(output, "off"), func(b *testing.B) {
			dir, address := b.TempDir(), freeAddress(b)
			text := siteText(dir, address, benchmarkSite(""))
			if output == "file" {
				output += " " + dir + "/audit.log"
			}
			if output != "" {
				text = strings.Replace(text, "output discard\n\t}\n\tbuild_token {\n", `output discard
		exclude build_token.audit
	}
	log audit {
		output `+output+`
		include build_token.audit
	}
	build_token {
		audit
`, 1)
			}
			serve(b, text)
			compare(b, 16, triggerCases(address))
		})
	}
}

// httpCase is a kind of request.
type httpCase struct {
	name, address, status string
	request               func([]byte) []byte
}

func fixedCase(name, address, path, status string) httpCase {
	request := []byte("GET " + path + " HTTP/1.1\r\nHost: " + address + "\r\n\r\n")
	return httpCase{name, address, status, func([]byte) []byte { return request }}
}

// triggerCases are respond, and the possible ways of a trigger.
func triggerCases(address string) []httpCase {
	var serial atomic.Int64
	return []httpCase{
		fixedCase("respond", address, "/static", "200"),
		fixedCase("refused", address, "/buildByToken/build?job=plain&token=wrong", "403"),
		fixedCase("unknown", address, "/buildByToken/build?job=nosuch&token=wrong", "404"),
		fixedCase("joined", address, "/buildByToken/build?job=plain&token=TacoTuesday&cause=push", "303"),
		{"new", address, "201", func(buf []byte) []byte {
			buf = append(buf[:0], "GET /buildByToken/buildWithParameters?job=numbered&token=TacoTuesday&cause=push&N="...)
			buf = strconv.AppendInt(buf, serial.Add(1), 10)
			return append(buf, " HTTP/1.1\r\nHost: "+address+"\r\n\r\n"...)
		}},
	}
}

// compare reports the ratio of every case to the first.
func compare(b *testing.B, clients int, cases []httpCase) {
	b.Helper()
	rates, costs := make([][]float64, len(cases)), make([][]float64, len(cases))
	pools := make([]*clientPool, len(cases))
	for i, c := range cases {
		pools[i] = dial(b, c.address, clients)
		// One request first, so that there is an item to join.
		pools[i].run(b, 0, "", c.request)
	}
	for b.Loop() {
		for range rounds {
			for i, c := range cases {
				rate, cost := pools[i].run(b, slice, c.status, c.request)
				rates[i], costs[i] = append(rates[i], rate), append(costs[i], cost)
			}
		}
	}
	b.ReportMetric(median(rates[0]), cases[0].name+"/s")
	for i, c := range cases[1:] {
		b.ReportMetric(median(ratios(rates[i+1], rates[0])), c.name+"-ratio")
		b.ReportMetric(median(ratios(costs[0], costs[i+1])), c.name+"-cpu-ratio")
		b.ReportMetric(median(rates[i+1]), c.name+"/s")
	}
	b.ReportMetric(0, "ns/op") // an op is all rounds, which is not of interest
}

// hookServer runs a command for each request.
func hookServer(b *testing.B) (address string) {
	b.Helper()
	path, err := exec.LookPath("true")
	if err != nil {
		b.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := exec.CommandContext(r.Context(), path).Run(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		fmt.Fprintln(w, "done")
	}))
	b.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

// manyJobs returns the lines of n jobs in folders of a hundred.
func manyJobs(n int) string {
	var b strings.Builder
	for i := range n {
		if i%100 == 0 {
			fmt.Fprintf(&b, "folder f%d {\n", i/100)
		}
		fmt.Fprintf(&b, "job j%d {\n token secret%d\n param REF string main\n allow `params.REF != \"x\"`\n run true {param.REF}\n}\n", i, i)
		if i%100 == 99 || i == n-1 {
			b.WriteString("}\n")
		}
	}
	return b.String()
}

const (
	rounds = 9
	slice  = 250 * time.Millisecond
)

// ratios are those of each round.
func ratios(a, b []float64) []float64 {
	each := make([]float64, len(a))
	for i := range a {
		each[i] = a[i] / b[i]
	}
	return each
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// startCaddy runs a Caddy with a static answer, two jobs whose items stay queued, and more
// lines of the directive. It returns the address.
func startCaddy(b *testing.B, more string) string {
	b.Helper()
	return serveSite(b, benchmarkSite(more))
}

func benchmarkSite(more string) string {
	return `
	respond /static "hello"
	build_token {
		quiet_period 24h
		token TacoTuesday
		job plain {
			run true
		}
		job numbered {
			param N string
			run true
		}
` + more + `
	}
`
}

// clientPool is a number of open connections.
type clientPool struct{ clients []*client }

type client struct {
	conn net.Conn
	in   *bufio.Reader
	buf  []byte
}

func dial(b *testing.B, address string, n int) *clientPool {
	b.Helper()
	p := &clientPool{}
	for range n {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = conn.Close() })
		p.clients = append(p.clients, &client{conn: conn, in: bufio.NewReader(conn)})
	}
	return p
}

// run sends requests from all clients, one after the other, for a while. It returns the
// requests per second, and the seconds of processor time for each request. It fails if a status
// is not the wanted one.
func (p *clientPool) run(b *testing.B, d time.Duration, status string, request func([]byte) []byte) (rate, cost float64) {
	b.Helper()
	var done atomic.Int64
	var wait sync.WaitGroup
	start, before := time.Now(), processorTime(b)
	for _, c := range p.clients {
		wait.Go(func() {
			for first := true; first || time.Since(start) < d; first = false {
				c.buf = request(c.buf)
				if err := c.ask(c.buf, status); err != nil {
					b.Error(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wait.Wait()
	n := float64(done.Load())
	return n / time.Since(start).Seconds(), (processorTime(b) - before).Seconds() / n
}

// ask sends one request and reads its answer.
func (c *client) ask(request []byte, status string) error {
	if _, err := c.conn.Write(request); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(line, []byte(status)) {
		return fmt.Errorf("got %q, want status %s", line, status)
	}
	length := 0
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, ok := bytes.Cut(line, []byte(": ")); ok && bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	_, err = io.CopyN(io.Discard, c.in, int64(length))
	return err
}
