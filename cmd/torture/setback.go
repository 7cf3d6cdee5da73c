package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// setBacks replaces the database of several servers by earlier states of itself, while
// they run and clients trigger: by a copy of the data directory, and by an asynchronous
// standby that lacks the last changes. Nothing may be recorded for another build than the one
// that ran, no two builds of an item may run at once, and nothing may be lost that the earlier
// state has.
type setBacks struct {
	options
	dir     string
	h       *history
	fates   *fates
	d       dice
	members []*setBackNode
	next    atomic.Int64 // numbers IDs
	begun   time.Time

	// database is used by one goroutine at a time.
	database *pgserver.Server
	socket   atomic.Value // a string, where it listens
	// saved is when the state was saved that can be put back; zero if there is none.
	saved time.Time
	done  struct{ restored, promoted, crashes, kills, stops, cuts, resets, pauses, rounds int }
	mu    sync.Mutex // guards done
}

// setBackNode is one server over all its lives. One goroutine at a time starts and ends it.
type setBackNode struct {
	name  string
	site  site
	proxy *proxy
	srv   *server
	life  int
}

// setBackTakeover is takeover_after of the servers.
const setBackTakeover = 5 * time.Second

// setBackJobs returns the jobs, and whether each is concurrent.
func setBackJobs() map[string]bool {
	return map[string]bool{"alone/a": false, "alone/b": false, "wide/a": true, "wide/b": true, "slow/alone": false, "slow/wide": true}
}

// trialSetBacks runs in dir, which is removed if nothing was found.
func trialSetBacks(ctx context.Context, o options, dir string, stop func()) ([]string, error) {
	s, release, err := newSetBacks(ctx, o, dir, stop)
	if err != nil {
		return nil, err
	}
	defer release()
	err = s.run(ctx)
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	say(s.line())
	if len(s.h.found) == 0 && err == nil {
		err = os.RemoveAll(dir)
	}
	return s.h.found, err
}

func newSetBacks(ctx context.Context, o options, dir string, stop func()) (_ *setBacks, release func(), err error) {
	s := &setBacks{options: o, dir: filepath.ToSlash(dir), d: newDice(o.seed, 0), begun: now()}
	var ends undo
	defer func() {
		if err != nil {
			ends.run()
		}
	}()
	if s.database, err = pgserver.Start(); err != nil { //nolint:contextcheck // it is bounded by itself
		return nil, nil, fmt.Errorf("start Postgres: %w", err)
	}
	ends.add(func() { _ = s.database.Stop() })
	if err := s.leadsTo(s.database); err != nil {
		return nil, nil, err
	}
	labels := map[string][]string{}
	for n := range max(o.servers, 2) {
		node, err := s.newNode(ctx, fmt.Sprintf("n%d", n+1))
		if err != nil {
			return nil, nil, err
		}
		s.members = append(s.members, node)
		labels[node.name] = nil
		ends.add(node.proxy.close)
		ends.add(func() {
			if node.srv != nil {
				node.srv.kill(false)
			}
		})
	}
	s.fates = newFates(setBackTakeover, labels)
	endTrace, err := s.fates.traceTo(dir)
	if err != nil {
		return nil, nil, err
	}
	ends.add(endTrace)
	s.h = newHistory(s.fates, setBackJobs(), filepath.Join(dir, "ledger"), stop)
	return s, ends.run, nil
}

func (s *setBacks) newNode(ctx context.Context, name string) (*setBackNode, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	n := &setBackNode{name: name, site: site{dir: s.dir, home: path.Join(s.dir, name), self: filepath.ToSlash(self)}}
	if err := os.Mkdir(n.site.home, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	if err := reserve(ctx, &n.site.address, &n.site.admin); err != nil {
		return nil, err
	}
	n.proxy, err = newProxy(ctx, func(ctx context.Context) (net.Conn, error) {
		at, _ := s.socket.Load().(string)
		return new(net.Dialer).DialContext(ctx, "unix", at)
	})
	return n, err
}

// leadsTo makes new connections of the servers lead to a database.
func (s *setBacks) leadsTo(database *pgserver.Server) error {
	at, err := socketOf(database)
	if err == nil {
		s.socket.Store(at)
	}
	return err
}

func (n *setBackNode) caddyfile() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("{\nadmin %s\nauto_https off\npersist_config off\nskip_install_trust\ngrace_period 2s", n.site.admin)
	line("build_token {\nqueue postgres %q {\ntakeover_after %v\nkey %s\n}\nnode %s",
		"postgres://buildtoken@"+n.proxy.address()+"/postgres?sslmode=disable", setBackTakeover, key, n.name)
	line("executors 4\nqueue_limit 10000\nkeep_builds 1000000\nshutdown_timeout 700ms\nwrong_tokens off\n}\n}")
	line("http://%s {\nbuild_token {\nroot_url http://torture.test\naccess {\nread `true`\n}\ntoken %s\nquiet_period 0s", n.site.address, secret)
	for _, folder := range []string{"alone", "wide", "slow"} {
		line("folder %s {", folder)
		for job, concurrent := range setBackJobs() {
			if name, ok := strings.CutPrefix(job, folder+"/"); ok {
				line("job %s {\ncoalesce never\nparam ID string\nparam FILE file", name)
				if concurrent {
					line("concurrent")
				}
				line("run %q mine -ledger %q -life %s {\nkill_delay 300ms\n}\n}", n.site.self, path.Join(n.site.dir, "ledger"), n.lifeName())
			}
		}
		line("}")
	}
	line("}\n}")
	return b.String()
}

// lifeName is the name of the life that runs.
func (n *setBackNode) lifeName() string { return fmt.Sprintf("%s/%d", n.name, n.life) }

// start starts the next life of a server.
func (s *setBacks) start(n *setBackNode) error {
	n.life++
	var err error
	n.srv, err = startServer(s.binary, n.site, n.life, n.caddyfile())
	return err
}

// over looks through the log of the life that is over.
func (s *setBacks) over(n *setBackNode) error {
	complaints, err := n.srv.complaints(func(line string, at time.Time) bool {
		if strings.Contains(line, "was set back") {
			return s.h.nearSetBack(at)
		}
		return s.fates.anyDisturbed(at.Add(-complaining), at.Add(jitter))
	})
	for _, line := range complaints {
		s.h.report("%s: the server's log has: %.600s", n.lifeName(), line)
	}
	if err == nil && len(complaints) == 0 && n.life > 10 {
		_ = os.Remove(filepath.Join(n.site.home, fmt.Sprintf("life-%d.log", n.life-10))) // saves space
	}
	n.srv = nil
	return err
}

// run starts clients and faults, round after round, and checks after
// each that what is on record is what has happened.
func (s *setBacks) run(ctx context.Context) error {
	say(fmt.Sprintf("%d servers, takeover_after %v", len(s.members), setBackTakeover))
	for _, n := range s.members {
		if err := s.start(n); err != nil {
			return err
		}
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	for end := now().Add(s.length); now().Before(end); {
		s.count(&s.done.rounds)
		if err := errors.Join(s.round(ctx), ctx.Err()); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		if err := s.quiet(ctx); err != nil {
			return err
		}
		if s.done.rounds%5 == 0 {
			s.h.mu.Lock()
			say(s.line())
			s.h.mu.Unlock()
		}
	}
	for _, n := range s.members {
		if !n.srv.stop(20*time.Second) || n.srv.err != nil {
			s.h.report("%s: SIGTERM did not end the server well: %v", n.lifeName(), n.srv.err)
		}
		if err := s.over(n); err != nil {
			return err
		}
	}
	return s.h.read() // builds that outlived their server may have written late
}

func (s *setBacks) count(of *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*of++
}

// line is what a run did, in a few lines. The caller must hold the history's mu.
func (s *setBacks) line() string {
	c := s.h.counts
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf(`%v: %d rounds; the database: %d times an older data directory, %d times a standby that lacks changes, %d crashes
servers: %d kills, %d orderly stops, %d pauses, %d cut off, %d times connections reset
%d triggers: %d answered, %d refused, %d without an answer; %d sent again with their key
%d builds ran, %d of them as a repetition of one that the database had lost, %d were lost with it, %d ran on beside another (no server could stop them)
checks: %d results, %d logs, %d answers that the database has lost`,
		now().Sub(s.begun).Round(time.Second), s.done.rounds, s.done.restored, s.done.promoted, s.done.crashes,
		s.done.kills, s.done.stops, s.done.pauses, s.done.cuts, s.done.resets,
		c.triggers, c.accepted, c.refused, c.unknown, c.again,
		c.runs, c.repeated, c.stopped, c.beside, c.checked, c.logs, c.lost)
}
