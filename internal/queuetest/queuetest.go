// Package queuetest checks that all backends of package queue behave alike: it runs
// the scripts of testdata/queue, and tests each promise that the callers of a queue
// rely on.
//
// A backend calls [Run] from one of its tests. The flag -update writes the answers in the
// scripts again; then read the diff.
//
// All instants are passed in and are in 2026, so a backend that reads a clock to decide
// something fails.
package queuetest

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

var update = flag.Bool("update", false, "write the answers in testdata anew")

// Update reports whether the test runs with -update.
func Update() bool { return *update }

// Queue is the union of the interfaces that the callers of a backend declare.
type Queue interface {
	SetRules(ctx context.Context, now time.Time, c queue.Config) error
	Schedule(ctx context.Context, now time.Time, r queue.Request) (item queue.Item, created bool, err error)
	Cancel(ctx context.Context, now time.Time, job string, id int64, by string) error
	Claim(ctx context.Context, now time.Time, node queue.Node, executors []int) (started []queue.Build, next time.Time, err error)
	Finish(ctx context.Context, now time.Time, job string, number int64, r queue.Result, reason string) (queue.Build, error)
	Abort(ctx context.Context, job string, number int64, by string) error
	Aborts(ctx context.Context) ([]queue.Build, error)
	Lost(ctx context.Context) ([]queue.Build, error)
	Reclaim(ctx context.Context, now time.Time, reason string, keep func(queue.Build) bool) ([]queue.Build, error)
	SetHandle(ctx context.Context, job string, number int64, handle []byte) error
	Adopt(ctx context.Context, builds []queue.Build, node queue.Node, executors []int) (adopted []queue.Build, err error)
	Lanes(ctx context.Context, jobs []string) ([]queue.Lane, error)
	Overviews(ctx context.Context, jobs []string) ([]queue.Overview, error)
	Gone(ctx context.Context) ([]queue.Lane, error)
	AllLanes(ctx context.Context) ([]queue.Lane, error)
	Forget(ctx context.Context, job string) error
	Entry(ctx context.Context, now time.Time, id int64) (queue.Entry, error)
	Items(ctx context.Context, now time.Time, job string, limit int) ([]queue.Entry, error)
	Build(ctx context.Context, job string, number int64) (queue.Build, error)
	Builds(ctx context.Context, job string, before int64, limit int) ([]queue.Build, error)
	Oldest(ctx context.Context, job string) (int64, error)
	Refs(ctx context.Context) ([]string, error)
	TakeNotifications(ctx context.Context, now time.Time, targets []string, limit int) (due []queue.Notification, next time.Time, err error)
	MaySend(id int64) bool
	SettleNotification(ctx context.Context, now time.Time, id int64, a queue.Attempt) (queue.Notification, error)
	RetryNotification(ctx context.Context, now time.Time, id int64) error
	Notifications(ctx context.Context, f queue.NotificationFilter) ([]queue.Notification, error)
	Backlogs(ctx context.Context) ([]queue.Backlog, error)
	NotificationsChanged() <-chan struct{}
	SaveTokenUses(ctx context.Context, now time.Time, uses []queue.TokenUse) error
	TokenUses(ctx context.Context) ([]queue.TokenUse, error)
	Changed() <-chan struct{}
	Close() error
}

// MaxKiB is the limit for the parameters of all items of a [Store].
const MaxKiB = 1000

// Store is a place that contains one queue.
type Store interface {
	// Open opens the queue of the store, without a limit of items, and with [MaxKiB]
	// for their parameters. The test closes it before it opens the same store again.
	Open(t *testing.T) Queue
	// Copy returns another store with what is durable at this moment, as a power cut
	// would leave it. The queue of the store may be open and in use.
	Copy(t *testing.T) Store
}

// Run runs the whole suite. empty returns a new, empty store.
func Run(t *testing.T, empty func(t *testing.T) Store) {
	t.Run("script", func(t *testing.T) { runScripts(t, empty) })
	for _, c := range contract() {
		t.Run(c.name, func(t *testing.T) {
			store := empty(t)
			q := store.Open(t)
			t.Cleanup(func() { _ = q.Close() }) // closing twice is allowed
			c.run(t, store, q)
		})
	}
}
