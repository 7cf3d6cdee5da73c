package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/buildtoken/buildtoken/internal/pgserver"
)

// cluster runs several servers on one queue in a real PostgreSQL, each behind its own proxy.
type cluster struct {
	options
	dir      string
	m        *model
	ledger   *ledger
	fates    *fates
	d        dice
	next     atomic.Int64 // numbers causes
	members  []*node
	takeover time.Duration
	busy     net.Listener // occupies an address

	// database is used by one goroutine at a time.
	database *pgserver.Server
	socket   string           // where the database, or the pooler in front of it, listens
	front    *pgserver.Server // the pooler; nil: there is none
}

// newCluster creates the directories, starts the database, and reserves the addresses.
func newCluster(ctx context.Context, o options, dir string, stop func()) (_ *cluster, release func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, fmt.Errorf("find this program: %w", err)
	}
	c := &cluster{options: o, dir: dir, d: newDice(o.seed, 0)}
	// Short, so that there are many takeovers.
	c.takeover = time.Duration(3+c.d.IntN(3)) * time.Second
	if err := os.Mkdir(filepath.Join(dir, "locks"), 0o700); err != nil {
		return nil, nil, fmt.Errorf("make a folder: %w", err)
	}
	var ends undo
	defer func() {
		if err != nil {
			ends.run()
		}
	}()
	if c.database, err = pgserver.Start(); err != nil { //nolint:contextcheck // it is bounded by itself
		return nil, nil, fmt.Errorf("start Postgres: %w", err)
	}
	ends.add(func() { _ = c.database.Stop() }) // if it was killed, it is gone
	front := c.database
	if o.pooler {
		// A session for each connection of each server, and some for those that were cut.
		if front, err = c.database.Pooler("pool_mode = session", "default_pool_size = 90", "max_client_conn = 1000", "server_login_retry = 0.1"); err != nil { //nolint:contextcheck // it is bounded by itself
			return nil, nil, fmt.Errorf("start PgBouncer: %w", err)
		}
		ends.add(func() { _ = front.Stop() })
		c.front = front
	}
	if c.socket, err = socketOf(front); err != nil {
		return nil, nil, err
	}
	if c.busy, err = listen(ctx); err != nil {
		return nil, nil, err
	}
	ends.add(func() { _ = c.busy.Close() })
	all, labels := clusterJobs(), map[string][]string{}
	for n := range o.servers {
		name := fmt.Sprintf("n%d", n+1)
		labels[name] = labelsOf(n, o.servers)
		member, err := c.newNode(ctx, name, labels[name], filepath.ToSlash(self), all)
		if err != nil {
			return nil, nil, err
		}
		c.members = append(c.members, member)
		ends.add(member.proxy.close)
	}
	c.fates = newFates(c.takeover, labels)
	endTrace, err := c.fates.traceTo(dir)
	if err != nil {
		return nil, nil, err
	}
	ends.add(endTrace)
	c.m = newModel(all, stop)
	c.m.fates = c.fates
	c.ledger = &ledger{path: c.members[0].site.ledger()}
	return c, ends.run, nil
}

// run starts clients and faults, round after round. After each round it verifies that nothing
// is missing.
func (c *cluster) run(ctx context.Context) error {
	say(fmt.Sprintf("%d servers, takeover_after %v", len(c.members), c.takeover))
	begun, end := now(), now().Add(c.length)
	defer c.abandon()
	for _, n := range c.members {
		n.revived = c.fates.begin(dead, n.name)
		n.start(calm()) //nolint:contextcheck // halt ends it, not ctx
	}
	if err := c.quiet(ctx, false); err != nil {
		return err
	}
	for round := 1; now().Before(end) && (c.kills == 0 || c.m.killed() < c.kills); round++ {
		c.round(ctx, round, end)
		if c.front != nil && c.front.Ended() != nil {
			return c.front.Ended()
		}
		if err := c.quiet(ctx, false); err != nil {
			return err
		}
		if round%10 == 0 {
			say(now().Sub(begun).Round(time.Second), c.m.line())
		}
	}
	if err := c.quiet(ctx, true); err != nil {
		return err
	}
	c.m.account()
	for _, n := range c.members {
		if err := n.end(); err != nil {
			return err
		}
	}
	return c.ledger.read(c.m) // builds that outlived their server can write late
}

// abandon kills what is still running.
func (c *cluster) abandon() {
	for _, n := range c.members {
		n.abandon()
	}
}

// round is a period with faults. When it returns, the faults are over, as far as it can tell.
func (c *cluster) round(ctx context.Context, round int, end time.Time) {
	whole := ctx
	length := 8*time.Second + c.d.within(22*time.Second)
	ctx, cancel := context.WithTimeout(whole, min(length, max(8*time.Second, end.Sub(now()))))
	defer cancel()
	var clients, faults sync.WaitGroup
	stream := func(of int) dice { return newDice(c.seed, uint64(round)<<8|uint64(of)) } //nolint:gosec // both are small
	for n := range c.clients * len(c.members) {
		u := c.visitor(stream(n + 1))
		clients.Go(func() { u.live(ctx) }) // waited for below
	}
	for n, member := range c.members {
		t := &tormentor{c: c, n: member, d: stream(100 + n)}
		faults.Go(func() { t.live(ctx) }) // waited for below
	}
	storm := &storm{c: c, d: stream(200)}
	faults.Go(func() { storm.live(ctx) }) // waited for below
	faults.Wait()
	clients.Wait()
}

// labelsOf returns the labels of one of several servers. A single server has all labels.
func labelsOf(n, of int) []string {
	switch {
	case of == 1:
		return []string{"any", "odd", "even"}
	case n%2 == 0:
		return []string{"any", "odd"}
	default:
		return []string{"any", "even"}
	}
}

// clusterJobs returns the jobs of several servers: those of one server, some that only some
// servers can build, and some that take longer than a takeover.
func clusterJobs() []*job {
	all := jobs()
	for _, j := range all {
		switch j.name {
		case "team/app/stubborn":
			j.rare = 40
		case "team/long":
			j.rare = 30
		}
	}
	return append(all,
		&job{name: "at/first", label: "n1", alone: true, quiet: 30 * time.Millisecond, keep: keepBuilds, work: 10 * time.Millisecond},
		&job{name: "at/odd", label: "odd", options: []string{"concurrent", "coalesce never"}, keep: keepBuilds, work: 30 * time.Millisecond},
		&job{name: "at/even", label: "even", alone: true, quiet: 60 * time.Millisecond, keep: keepBuilds, work: 20 * time.Millisecond},
		&job{name: "slow/alone", alone: true, rare: 70, quiet: 50 * time.Millisecond, keep: keepBuilds, work: 8 * time.Second},
		&job{
			name: "slow/wide", label: "any", rare: 40, options: []string{"concurrent"}, keep: keepBuilds, work: 6 * time.Second,
			params: []param{{"VERSION", "string", []string{"", "1", "2", "3"}}},
		},
		&job{name: "slow/stubborn", label: "odd", rare: 40, alone: true, keep: keepBuilds, work: 7 * time.Second, stubborn: true},
	)
}
