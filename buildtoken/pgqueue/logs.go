package pgqueue

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/buildtoken/buildtoken/buildtoken/console"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// fullPiece is the size of the pieces of a log that grows faster than it is stored.
// Other servers are not notified of each of them.
const fullPiece = 32 << 10

const (
	beginLog = `insert into queue.logs (job, number) select job, number from queue.builds where job = $1 and number = $2 and running and ($3::bigint = 0 or run = $3)
		on conflict do nothing`
	appendLog = `with grown as (
			update queue.logs set size = size + length($4::bytea), complete = $5
				where job = $1 and number = $2 and size = $3 and not complete
					and exists (select from queue.builds where job = $1 and number = $2 and running and ($6::bigint = 0 or run = $6))
				returning job, number
		), piece as (
			insert into queue.pieces (job, number, off, body, written) select job, number, $3, $4, clock_timestamp() from grown where length($4) > 0
		)
		select exists (select from grown)`
	logState = `select coalesce(l.size, 0), coalesce(l.complete, false), b.running, l.job is not null, b.run
		from queue.builds b left join queue.logs l using (job, number) where b.job = $1 and b.number = $2`
	// readLog starts with the piece that holds the offset.
	readLog = `select off, body from queue.pieces where job = $1 and number = $2 and off < $4 and off >=
			(select off from queue.pieces where job = $1 and number = $2 and off <= $3 order by off desc limit 1)
			and ($5::bigint = 0 or exists (select from queue.builds where job = $1 and number = $2 and run = $5))
		order by off`
	// logTimes starts with the piece that holds the offset.
	logTimes = `select off, written from queue.pieces where job = $1 and number = $2 and off < $4 and written is not null and off >=
			coalesce((select off from queue.pieces where job = $1 and number = $2 and off <= $3 order by off desc limit 1), 0)
		order by off limit 65536`
)

// AppendLog adds p to the log of a running build if the log ends at offset, and returns
// the size of the log. If it ends elsewhere, nothing is added. After the last piece the
// log is complete.
//
// When the last piece was added, the whole log is durable, since the end of the build
// is recorded next. Any other piece becomes durable with the next commit: a sync for
// each would be one for each line of a slow build. After a crash of the database it may
// be missing, which the returned size of a later call shows. AppendLog returns
// queue.ErrNotRunning if the log is complete, or if this build has ended on record.
func (q *DB) AppendLog(ctx context.Context, job string, number, offset int64, p []byte, last bool) (size int64, err error) {
	if err := q.ask(ctx); err != nil {
		return 0, err
	}
	leave, err := q.bulk.enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, q.opts.Timeout)
	defer cancel()
	if p == nil {
		p = []byte{}
	}
	var grown, complete, running bool
	var run, ours int64 = 0, q.known.run(buildKey{job, number})
	b := new(pgx.Batch) // which is one transaction
	if !last {
		b.Queue("select set_config('synchronous_commit', 'off', true)")
	}
	if offset == 0 {
		b.Queue(beginLog, job, number, ours)
	}
	b.Queue(appendLog, job, number, offset, p, last, ours).QueryRow(scan(&grown))
	b.Queue(logState, job, number).Query(func(rows pgx.Rows) error {
		return forEach(rows, []any{&size, &complete, &running, nil, &run}, func() error { return nil })
	})
	if err := q.pool.SendBatch(ctx, q.names.inAll(b)).Close(); err != nil {
		return 0, fmt.Errorf("%w: log of %s #%d: %w", queue.ErrStorage, job, number, err)
	}
	if grown && len(p) < fullPiece {
		q.hub.tell(message{Notice: queue.Notice{Logs: []string{job}}})
	}
	if !grown && (complete || !running || ours != 0 && ours != run) {
		err = fmt.Errorf("%w: log of %s #%d", queue.ErrNotRunning, job, number)
	}
	return size, err
}

// LogState returns the state of the log of a build. The log of a build that has just
// started is empty. LogState returns queue.ErrNotFound if there is no such build, or if it
// has ended and has no log here.
func (q *DB) LogState(ctx context.Context, job string, number int64) (s console.State, err error) {
	if checkJob(job) != nil {
		return s, fmt.Errorf("%w: log of a build of %q", queue.ErrNotFound, job)
	}
	leave, err := q.bulk.enter(ctx)
	if err != nil {
		return s, err
	}
	defer leave()
	var running, exists bool
	err = q.query(ctx, logState, []any{job, number}, func(rows pgx.Rows) error {
		running, exists = false, false
		return forEach(rows, []any{&s.Size, &s.Complete, &running, &exists, &s.Build}, func() error { return nil })
	})
	if err == nil && !running && !exists {
		err = fmt.Errorf("%w: log of %s #%d", queue.ErrNotFound, job, number)
	}
	return s, err
}

// ReadLog reads bytes of a log from offset on into p, and returns how many there are. It
// returns queue.ErrNotFound if the number is not that of the build any more; 0 is any build.
func (q *DB) ReadLog(ctx context.Context, job string, number, build, offset int64, p []byte) (int, error) {
	leave, err := q.bulk.enter(ctx)
	if err != nil {
		return 0, err
	}
	n := 0
	err = q.query(ctx, readLog, []any{job, number, offset, offset + int64(len(p)), build}, func(rows pgx.Rows) error {
		n = 0
		for rows.Next() {
			var at int64
			var body pgtype.DriverBytes // good until the next row, which saves a copy
			if err := rows.Scan(&at, &body); err != nil {
				return err
			}
			skip := offset + int64(n) - at
			if skip < 0 {
				break // what comes before it was just dropped
			}
			if skip < int64(len(body)) {
				n += copy(p[n:], body[skip:])
			}
		}
		return rows.Err()
	})
	leave()
	if err == nil && n == 0 && build != 0 {
		s, err := q.LogState(ctx, job, number)
		if err == nil && s.Build != build {
			err = fmt.Errorf("%w: log of an earlier %s #%d", queue.ErrNotFound, job, number)
		}
		return 0, err
	}
	return n, err
}

// LogTimes returns when the bytes of a log between two offsets were appended, by the clock of
// the database. A log that grows all the time is appended to a few times a second.
func (q *DB) LogTimes(ctx context.Context, job string, number, from, to int64) ([]console.Stamp, error) {
	leave, err := q.bulk.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	var all []console.Stamp
	err = q.query(ctx, logTimes, []any{job, number, from, to}, func(rows pgx.Rows) error {
		all = nil
		var s console.Stamp
		return forEach(rows, []any{&s.Offset, &s.At}, func() error {
			all = append(all, console.Stamp{Offset: s.Offset, At: s.At.UTC().Truncate(time.Millisecond)})
			return nil
		})
	})
	return all, err
}

// dropPieces is how many pieces of logs one statement drops: 8 MiB at most.
const dropPieces = 256

// DropLogs drops the logs of a job's builds with lower numbers, whose records were
// dropped. It blocks no trigger and no build, and skips what another call is dropping.
func (q *DB) DropLogs(ctx context.Context, job string, below int64) error {
	const sql = `delete from queue.pieces where (job, number, off) in
		(select job, number, off from queue.pieces where job = $1 and number < $2 order by number, off limit $3 for update skip locked)`
	for {
		if err := q.ask(ctx); err != nil {
			return err
		}
		tag, err := q.pool.Exec(ctx, q.names.in(sql), job, below, dropPieces) // the connection bounds each statement
		if err != nil {
			return fmt.Errorf("%w: drop logs of %s: %w", queue.ErrStorage, job, err)
		}
		if tag.RowsAffected() < dropPieces {
			return nil
		}
	}
}

// writeLogs completes the logs of lost builds.
func (l *locked) writeLogs(b *pgx.Batch) {
	if l.lost {
		for _, build := range l.builds {
			endLog(b, build)
		}
	}
}

// endLog queues the statements that complete the log of a build with its last lines,
// which start on a new line.
func endLog(b *pgx.Batch, build queue.Build) {
	job, number := build.Item.Job, build.Number
	b.Queue("insert into queue.logs (job, number) values ($1, $2) on conflict do nothing", job, number)
	// With the row locked, the next statement sees the last piece.
	b.Queue("select from queue.logs where job = $1 and number = $2 for update", job, number)
	b.Queue(`with ending as (
			select l.size, case when right_byte.b <> 10 then '\x0a'::bytea || $3 else $3 end as text
				from queue.logs l left join lateral (select get_byte(body, length(body) - 1) as b from queue.pieces
					where job = $1 and number = $2 order by off desc limit 1) right_byte on true
				where l.job = $1 and l.number = $2
		), piece as (
			insert into queue.pieces (job, number, off, body, written) select $1, $2, size, text, clock_timestamp() from ending
		)
		update queue.logs set size = logs.size + length(text), complete = true from ending where job = $1 and number = $2`,
		job, number, []byte(strings.Join(build.LastLines(), "\n")+"\n"))
}
