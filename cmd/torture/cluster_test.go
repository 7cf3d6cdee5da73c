package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"
)

// at returns an instant of the stories below. They begin at 0, and a server is given up after 6
// s.
func at(seconds float64) time.Time {
	return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}

const lasting = -1.0 // the end of a spell that has not ended

// was records a spell of a server.
func (f *fates) was(k kind, server string, from, to float64) {
	s := spell{from: at(from), to: at(to)}
	if to == lasting {
		s.to = time.Time{}
	}
	f.spells[server][k] = append(f.spells[server][k], s)
}

func three() *fates {
	return newFates(6*time.Second, map[string][]string{"n1": {"odd"}, "n2": {"even"}, "n3": {"odd"}})
}

func TestMayLose(t *testing.T) {
	for _, tt := range []struct {
		name string
		was  func(*fates)
		want bool // of a build on n1 from 10 to 20
	}{
		{"nothing", func(*fates) {}, false},
		{"another server died", func(f *fates) { f.was(dead, "n2", 12, 30) }, false},
		{"it died", func(f *fates) { f.was(dead, "n1", 12, 12.5) }, true},
		{"it is dead still", func(f *fates) { f.was(dead, "n1", 12, lasting) }, true},
		{"it had died long before", func(f *fates) { f.was(dead, "n1", 1, 5) }, false},
		{"it died later", func(f *fates) { f.was(dead, "n1", 21, 25) }, false},
		{"a short pause", func(f *fates) { f.was(paused, "n1", 12, 13) }, false},
		{"a pause for more than half of the lease", func(f *fates) { f.was(paused, "n1", 12, 15.5) }, true},
		{"a reload", func(f *fates) { f.was(reloading, "n1", 12, 18) }, false},
		{"cut off for long", func(f *fates) { f.was(cut, "n1", 12, 18) }, true},
		{"cut off again and again", func(f *fates) {
			f.was(cut, "n1", 12, 12.5)
			f.was(cut, "n1", 13, 13.5)
			f.was(cut, "n1", 14, 14.5)
		}, true},
		{"cut off now and then", func(f *fates) { f.was(cut, "n1", 11, 11.1); f.was(cut, "n1", 19, 19.1) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := three()
			tt.was(f)
			if got := f.mayLose("n1", at(10), at(20)); got != tt.want {
				t.Errorf("mayLose = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCannotEnd(t *testing.T) {
	for _, tt := range []struct {
		name string
		was  func(*fates)
		want bool // of n1 at 20
	}{
		{"nothing", func(*fates) {}, false},
		{"cut off for long, which it notices", func(f *fates) { f.was(cut, "n1", 10, lasting) }, false},
		{"paused past its lease", func(f *fates) { f.was(paused, "n1", 12, lasting) }, true},
		{"paused, with a lease that is not over", func(f *fates) { f.was(paused, "n1", 16, lasting) }, false},
		{"cut off, and paused before it has noticed", func(f *fates) { f.was(cut, "n1", 12, lasting); f.was(paused, "n1", 14, lasting) }, true},
		{"paused past its lease, and goes on since a moment", func(f *fates) { f.was(paused, "n1", 12, 19) }, true},
		{"paused past its lease, and goes on since a while", func(f *fates) { f.was(paused, "n1", 5, 16) }, false},
		{"killed, and not there again", func(f *fates) { f.was(dead, "n1", 12, lasting) }, true},
		{"another one is paused", func(f *fates) { f.was(paused, "n2", 12, lasting) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := three()
			tt.was(f)
			if got := f.cannotEnd("n1", at(20)); got != tt.want {
				t.Errorf("cannotEnd = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestCalmIsThatOfTheServerThatIsWell(t *testing.T) {
	f := three()
	for _, server := range []string{"n1", "n2", "n3"} {
		f.was(cut, server, 0, 10)
	}
	f.was(dead, "n1", 12, lasting)
	f.was(paused, "n2", 15, 16)
	f.was(cut, "n3", 11, 19)
	if got := f.calm(at(5), at(20)); got != 3500*time.Millisecond {
		t.Errorf("calm = %v, want 3.5s: n2 is well from 11.5 to 15, and from 17.5 on", got)
	}
}

// TestClusterModelFinds is TestModelFinds for the rules of several servers.
func TestClusterModelFinds(t *testing.T) {
	type plot struct {
		*story
		f *fates
	}
	// show shows the build of item 1, which ran on n1 from 10 to 20, with a sign of life at 15.
	show := func(p *plot, result, reason string, sign float64) {
		p.started = at(10)
		p.writes("start")
		p.m.wrote(entry{Job: "wide", Number: 1, Item: 1, What: "alive", At: at(sign), Node: p.node})
		p.result, p.reason, p.duration = result, reason, 10*time.Second
		p.builds(1, 1)
	}
	for _, tt := range []struct {
		name  string
		plant func(*plot)
		want  string // a part of the failure; "" if there is none
	}{
		{"nothing if there is no fault", func(p *plot) { show(p, "SUCCESS", "", 15) }, ""},
		{"a build that is lost with its server", func(p *plot) { p.f.was(dead, "n1", 18, lasting); show(p, "ABORTED", "lost", 15) }, ""},
		{"a build that is lost without a reason", func(p *plot) { p.f.was(dead, "n2", 18, lasting); show(p, "ABORTED", "lost", 15) }, "although nothing was wrong"},
		{"a build that is lost without a word", func(p *plot) { p.f.was(dead, "n1", 18, lasting); show(p, "ABORTED", "", 15) }, "there is no reason"},
		{"a build that runs on record although its server is gone", func(p *plot) {
			p.f.was(dead, "n1", 11, lasting)
			p.started = at(10)
			p.result, p.reason, p.duration = "ABORTED", "lost", 40*time.Second
			p.builds(1, 1)
		}, "although others were well"},
		{"a command of a cut-off server that goes on", func(p *plot) { p.f.was(cut, "n1", 10, lasting); show(p, "ABORTED", "lost", 20.5) }, "its command was still there"},
		{"a command of a paused server that goes on", func(p *plot) { p.f.was(paused, "n1", 10, lasting); show(p, "ABORTED", "lost", 20.5) }, ""},
		{"a command that goes on after a success", func(p *plot) { show(p, "SUCCESS", "", 20.5) }, "its command was still there"},
		{"a build on another server than that which runs it", func(p *plot) { p.node = "n2"; p.writes("start"); p.node = "n3"; p.builds(1, 1) }, `the API returns "n3"`},
		{"a build on a server without the label", func(p *plot) { p.m.jobs["wide"].label = "even"; p.builds(1, 1) }, "has not its label"},
		{"a build beside one of a server that could end it", func(p *plot) {
			p.f.was(cut, "n1", 10, lasting)
			p.started = at(15)
			p.writes("start")
			p.m.wrote(entry{Job: "wide", Number: 2, Item: 2, What: "beside", At: at(20), Node: "n2", Beside: 1})
		}, "ran beside another build"},
		{"a build beside one of a server that could not", func(p *plot) {
			p.f.was(paused, "n1", 10, lasting)
			p.started = at(15)
			p.writes("start")
			p.m.wrote(entry{Job: "wide", Number: 2, Item: 2, What: "beside", At: at(20), Node: "n2", Beside: 1})
		}, ""},
		{"an item that two servers start", func(p *plot) { p.writes("start"); p.node = "n2"; p.writes("start") }, "ran twice"},
		{"an end that another server did not report", func(p *plot) {
			number := int64(1)
			p.m.endShown(1, &endJSON{State: "ended", Build: &number, Result: "SUCCESS"})
			p.result = "FAILURE"
			p.builds(1, 1)
		}, `was "SUCCESS" and is "FAILURE"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &plot{story: begin(), f: three()}
			p.m.fates, p.node = p.f, "n1"
			// The trigger came before all that.
			for _, cause := range p.causes {
				p.m.triggers[cause][0].sent, p.m.triggers[cause][0].delay = at(0), 0
			}
			tt.plant(p)
			switch found := strings.Join(p.m.found, "\n"); {
			case tt.want == "" && found != "":
				t.Errorf("found %s", found)
			case !strings.Contains(found, tt.want):
				t.Errorf("found %q, want %q", found, tt.want)
			}
		})
	}
}

// echo is a server that returns what it receives, with a proxy in front of it.
func echo(t *testing.T) *proxy {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() { // ends with the listener
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }() // ends with the connection
		}
	}()
	p, err := newProxy(t.Context(), func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	return p
}

func dial(t *testing.T, p *proxy) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// says sends a word. It returns what came back within a moment, and why there was no more.
func says(t *testing.T, conn net.Conn, word string, patience time.Duration) (string, error) {
	t.Helper()
	if _, err := io.WriteString(conn, word); err != nil {
		return "", err
	}
	return hears(t, conn, len(word), patience)
}

func hears(t *testing.T, conn net.Conn, n int, patience time.Duration) (string, error) {
	t.Helper()
	if err := conn.SetReadDeadline(now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, n)
	m, err := io.ReadFull(conn, got)
	return string(bytes.TrimRight(got[:m], "\x00")), err
}

func TestProxy(t *testing.T) {
	const long, short = 10 * time.Second, 50 * time.Millisecond
	t.Run("lets through", func(t *testing.T) {
		conn := dial(t, echo(t))
		if got, err := says(t, conn, "hello", long); got != "hello" {
			t.Errorf("received %q, %v", got, err)
		}
	})
	for _, how := range []flow{held, muted} {
		t.Run("holds, and passes it on later", func(t *testing.T) {
			p := echo(t)
			conn := dial(t, p)
			if got, err := says(t, conn, "a", long); got != "a" {
				t.Fatalf("received %q, %v", got, err)
			}
			p.set(how)
			if got, err := says(t, conn, "b", short); got != "" || err == nil {
				t.Errorf("received %q, %v through a proxy that holds", got, err)
			}
			p.set(flows)
			if got, err := hears(t, conn, 1, long); got != "b" {
				t.Errorf("received %q, %v later", got, err)
			}
		})
	}
	t.Run("holds, and loses it", func(t *testing.T) {
		p := echo(t)
		conn := dial(t, p)
		p.set(held)
		_, _ = says(t, conn, "a", short)
		p.reset()
		p.set(flows)
		if got, err := hears(t, conn, 1, long); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("received %q, %v", got, err)
		}
		if got, err := says(t, dial(t, p), "b", long); got != "b" {
			t.Errorf("a new connection received %q, %v", got, err)
		}
	})
	t.Run("resets after some pieces", func(t *testing.T) {
		p := echo(t)
		conn := dial(t, p)
		if got, err := says(t, conn, "a", long); got != "a" {
			t.Fatalf("received %q, %v", got, err)
		}
		p.resetAfter(3) // b, b, c
		if got, err := says(t, conn, "b", long); got != "b" {
			t.Fatalf("received %q, %v", got, err)
		}
		if got, err := says(t, conn, "c", long); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("received %q, %v", got, err)
		}
	})
	t.Run("refuses", func(t *testing.T) {
		p := echo(t)
		p.set(refused)
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", p.address())
		if err != nil {
			return // the word got through before
		}
		t.Cleanup(func() { _ = conn.Close() })
		if got, err := says(t, conn, "a", long); err == nil {
			t.Errorf("received %q through a proxy that refuses", got)
		}
	})
}
