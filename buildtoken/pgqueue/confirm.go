package pgqueue

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// errUnheard is returned by a claim if the database server was started after the last
// heartbeat. It may be another server, or have an older state.
var errUnheard = errors.New("the server has not made sure yet that the database knows its builds")

// confirm compares the builds of this server with the database after that has recovered
// from a crash, was replaced by a standby, or was set back to an older state. The server
// takes a new epoch, in which the builds on record continue. The others are stopped
// ([DB.Aborts]): their items are queued again or lost, and their numbers are used again.
// Builds that run on record but not here are ended by [DB.ReclaimLost].
func (q *DB) confirm(ctx context.Context, conn *pgx.Conn) error {
	q.starting.Lock() // so that every claim on record has handed out its builds
	defer q.starting.Unlock()
	own, _ := q.lease.get()
	_, pulse := q.lease.nextPulse()
	sent := time.Now()
	var epoch int64
	var found comparison
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var last int64
		onRecord, ended := map[buildKey]int64{}, map[int64]bool{}
		jobs, numbers := q.known.keys()
		b := new(pgx.Batch)
		b.Queue("select epoch from queue.servers where server = $1 for update", q.opts.Server).QueryRow(scan(&last))
		b.Queue("select body::text, run from queue.builds where running and server = $1", q.opts.Server).Query(func(rows pgx.Rows) error {
			_, err := readRuns(onRecord)(rows)
			return err
		})
		b.Queue(`select run from queue.builds join unnest($1::text[], $2::bigint[]) k(job, number) using (job, number)
			where not running`, jobs, numbers).Query(func(rows pgx.Rows) error {
			var run int64
			return forEach(rows, []any{&run}, func() error { ended[run] = true; return nil })
		})
		if err := tx.SendBatch(ctx, q.names.inAll(b)).Close(); err != nil {
			return err
		}
		epoch = max(last, own) + 1
		found = q.known.compare(onRecord, ended, own)
		var keptJobs []string
		var keptNumbers []int64
		for _, b := range found.kept {
			keptJobs, keptNumbers = append(keptJobs, b.job), append(keptNumbers, b.number)
		}
		writes := new(pgx.Batch)
		writes.Queue(`update queue.builds set epoch = $1 from unnest($2::text[], $3::bigint[]) k(job, number)
			where builds.job = k.job and builds.number = k.number`, epoch, keptJobs, keptNumbers)
		writes.Queue(`update queue.servers set epoch = $2, beat = clock_timestamp(), released = false, pulse = $3,
				mark = (select mark from queue.incarnations), stopping = $4
			where server = $1`, q.opts.Server, epoch, pulse, append([]string{}, found.stopping...))
		return tx.SendBatch(ctx, q.names.inAll(writes)).Close()
	})
	if err != nil {
		return fmt.Errorf("make sure of builds: %w", err)
	}
	q.known.confirm(found, epoch)
	q.lease.setStopping(found.stopping)
	q.setBack.Store(epoch)
	q.lease.confirmPulse(pulse)
	q.lease.set(epoch, sent, startOf(conn), q.claimLimit())
	if len(found.lost) > 0 {
		var names []string
		for _, b := range found.lost {
			names = append(names, fmt.Sprintf("%s #%d", b.job, b.number))
		}
		slices.Sort(names)
		q.opts.Log.Error("the database was set back or replaced, and has lost the start of builds: they are stopped", zap.Strings("builds", names))
	} else {
		q.opts.Log.Info("the database has started anew, and knows all builds of this server", zap.Int("builds", len(found.kept)))
	}
	q.change()                                                                       // for the builds that are to be stopped
	q.hub.tell(message{Due: atOnce, Servers: true, Notice: queue.Notice{All: true}}) // others wait for this
	return nil
}

// tellStopping notifies other servers when the jobs change of which this server stops
// a build.
func (q *DB) tellStopping(jobs []string) {
	if q.lease.setStopping(jobs) {
		q.change()
		q.hub.tell(message{Due: atOnce})
	}
}

// hearUs sends a heartbeat on a connection of the pool.
func (q *DB) hearUs(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, q.opts.TTL/4)
	defer cancel()
	conn, err := q.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Release()
	return q.beat(ctx, conn.Conn())
}

// startOf returns when the database server of a connection was started, by its own
// clock. An older state of a database can only be put back between two starts.
func startOf(conn *pgx.Conn) string {
	start, _ := conn.PgConn().CustomData()["start"].(string)
	return start
}
